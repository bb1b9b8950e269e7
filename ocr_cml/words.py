"""Quantities in words, as the log, the display, the report and messages say them."""

from __future__ import annotations

from collections.abc import Sequence


def duration(seconds: float) -> str:
    """Seconds as `50 s`, `8 min 20 s` or `3 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def pace(seconds: float) -> str:
    """Seconds a step, or steps a second, whichever is the larger number."""
    return f"{seconds:.2f} s a step" if seconds >= 1 else f"{1 / max(seconds, 1e-9):.1f} steps a second"


def mistakes(found: Sequence[str]) -> str:
    """`2 mistakes:` and a line for each."""
    count = f"{len(found)} mistakes" if len(found) != 1 else "1 mistake"
    return "\n".join([f"{count}:", *(f"  {text}" for text in found)])


def memory(size: float) -> str:
    """Bytes as `350 MB` or `1.4 GB`."""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
