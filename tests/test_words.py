"""Quantities in words."""

from __future__ import annotations

import pytest

from ocr_cml.words import duration, memory, mistakes, pace


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (50, "50 s"), (59.6, "1 min 00 s"), (500, "8 min 20 s"), (11_100, "3 h 05 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (2.345, "2.35 s a step"),
        (1.0, "1.00 s a step"),
        (0.25, "4.0 steps a second"),
        (0, "1000000000.0 steps a second"),
    ],
)
def test_pace(seconds: float, text: str) -> None:
    assert pace(seconds) == text


@pytest.mark.parametrize(("size", "text"), [(3.5e8, "350 MB"), (1e9, "1.0 GB"), (1.44e9, "1.4 GB")])
def test_memory(size: float, text: str) -> None:
    assert memory(size) == text


def test_mistakes() -> None:
    assert mistakes(["a key"]) == "1 mistake:\n  a key"
    assert mistakes(["one", "two"]) == "2 mistakes:\n  one\n  two"
