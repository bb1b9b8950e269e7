"""ICDAR 2019 SROIE receipts."""

from __future__ import annotations

from pathlib import Path

from ppocr_data.convert import icdar2015
from ppocr_data.convert.files import label_files, pair, read_pairs
from ppocr_data.convert.record import Progress, Reading


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """ICDAR 2019 SROIE receipts (Huang et al. 2019), task 1: text lines in quadrilaterals.

    `004.jpg` has `004.csv` or `004.txt`. The lines are ICDAR 2015's: unquoted, whatever the suffix says. There is no
    don't-care flag.
    """
    found = label_files(labels, (".csv",), lambda path: path.stem)
    found = found or label_files(labels, (".txt",), lambda path: path.stem)
    return Reading(read_pairs(images, pair(images, found), icdar2015.parse, progress))
