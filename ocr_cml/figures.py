"""What all figures share: how lines are told apart, and files that are whole and equal for equal numbers."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure

from ppocr_data.atomic import replacing

COLOURS = tuple(mpl.color_sequences["tab10"])
_DASHES = ("-", "--", "-.", ":")
_CHINESE = ("Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC", "SimHei")
"""For names that matplotlib's own font has no letters for."""


def line_style(place: int) -> dict[str, Any]:
    """Colour and dash of the line at a place, as arguments of `plot`: forty lines until one comes again."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": _DASHES[place // len(COLOURS) % len(_DASHES)]}


@functools.cache
def _installed(fonts: tuple[str, ...]) -> list[str]:
    known = {font.name for font in font_manager.fontManager.ttflist}
    return [font for font in fonts if font in known]


def height_for(lines: int) -> float:
    """Inches of a figure with a legend of so many lines beside its axes."""
    return max(4.5, 0.6 + 0.22 * lines)


def named(label: str) -> str:
    """A name as a line's label: one that begins with `_` would be missing from the legend."""
    return f" {label}" if label.startswith("_") else label


def save_figure(figure: Figure, files: Sequence[Path]) -> None:
    """Write a figure into image files, each whole or not at all; the suffix says which kind.

    Equal figures make equal files.

    Raises:
        OSError: a file cannot be written.
    """
    fonts = [*mpl.rcParams["font.sans-serif"][:1], *_installed(_CHINESE)]
    with mpl.rc_context({"svg.hashsalt": "ocr_cml", "font.sans-serif": fonts}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")  # it is a box in the picture
        for path in files:
            with replacing(path) as fresh:
                figure.savefig(fresh, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
