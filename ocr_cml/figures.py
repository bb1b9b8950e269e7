"""What all figures share: how lines are told apart, and files that are whole and equal for equal numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from ppocr_data.atomic import replacing

COLOURS = tuple(mpl.color_sequences["tab10"])
_DASHES = ("-", "--", "-.", ":")


def line_style(place: int) -> dict[str, Any]:
    """Colour and dash of the line at a place, as arguments of `plot`: forty lines until one comes again."""
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": _DASHES[place // len(COLOURS) % len(_DASHES)]}


def save_figure(figure: Figure, files: Sequence[Path]) -> None:
    """Write a figure into image files, each whole or not at all; the suffix says which kind.

    Equal figures make equal files.

    Raises:
        OSError: a file cannot be written.
    """
    with mpl.rc_context({"svg.hashsalt": "ocr_cml"}):
        for path in files:
            with replacing(path) as fresh:
                figure.savefig(fresh, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)
