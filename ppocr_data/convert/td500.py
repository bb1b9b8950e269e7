"""MSRA-TD500."""

from __future__ import annotations

import math
from pathlib import Path

from ppocr_data.convert.files import label_files, number, numbered_lines, pair, read_pairs, tidy
from ppocr_data.convert.record import DONT_CARE_TEXT, Progress, Reading, Text
from ppocr_data.errors import DataError

_FIELDS = ("index", "difficulty", "x", "y", "width", "height", "theta")


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """MSRA-TD500 (Yao et al. 2012): text lines in rotated boxes, without transcriptions.

    `IMG_0059.JPG` has `IMG_0059.gt`, in one folder as a rule. A line is `index difficulty x y width height theta`: the
    upright box with its top left corner at (x, y), turned about its centre by theta radians, clockwise as one sees it.
    Difficulty 1 is don't-care.
    """
    pairs = pair(images, label_files(labels, (".gt",), lambda path: path.stem))
    return Reading(read_pairs(images, pairs, parse, progress))


def parse(path: Path) -> list[Text]:
    """The texts of one label file; a readable line has the transcription ""."""
    texts: list[Text] = []
    for where, line in numbered_lines(path):
        fields = line.split()
        if len(fields) != len(_FIELDS):
            raise DataError(f"{where}: expected {' '.join(_FIELDS)}, found {line.strip()!r}")
        if fields[1] not in ("0", "1"):
            raise DataError(f"{where}: difficulty must be 0 or 1, is {fields[1]!r}")
        x, y, width, height = (number(field, where) for field in fields[2:6])
        theta = _angle(fields[6], where)
        if width <= 0 or height <= 0:
            raise DataError(f"{where}: width and height must be positive, found {line.strip()!r}")
        texts.append((turned_box(x, y, width, height, theta), DONT_CARE_TEXT if fields[1] == "1" else ""))
    return texts


def turned_box(x: float, y: float, width: float, height: float, theta: float) -> list[list[float]]:
    """The corners of a box turned about its centre, in the text's own order: clockwise from its top left."""
    cosine, sine = math.cos(theta), math.sin(theta)
    middle_x, middle_y = x + width / 2, y + height / 2
    halves = [(-width / 2, -height / 2), (width / 2, -height / 2), (width / 2, height / 2), (-width / 2, height / 2)]
    return [[tidy(middle_x + cosine * a - sine * b), tidy(middle_y + sine * a + cosine * b)] for a, b in halves]


def _angle(field: str, where: str) -> float:
    number(field, where)  # refuses what is no finite number
    if abs(float(field)) > math.pi:
        raise DataError(f"{where}: theta {field} is more than half a turn; it must be in radians")
    return float(field)
