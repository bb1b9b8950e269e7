"""ICDAR 2013 Focused Scene Text."""

from __future__ import annotations

import re
from pathlib import Path

from ppocr_data.convert.files import (
    after_prefix,
    label_files,
    number,
    numbered_lines,
    pair,
    read_pairs,
    upright_box,
)
from ppocr_data.convert.record import Progress, Reading, Text
from ppocr_data.errors import DataError

_BETWEEN = r"(?:\s*,\s*|\s+)"
_LINE = re.compile(r"\s*" + rf"([^\s,]+){_BETWEEN}" * 4 + r"(.*?)\s*")
_FOUR_MORE = re.compile(rf"(-?\d+{_BETWEEN}){{4}}.*")


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """ICDAR 2013 Focused Scene Text (Karatzas et al. 2013), task 2.1: words in upright boxes.

    `100.jpg` has `gt_100.txt`. A line is `left top right bottom "text"` in the training part and
    `left, top, right, bottom, "text"` in the test part; in the text a backslash comes before a quotation mark or a
    backslash. The set has no don't-care flag (a text of `###` is taken for one).
    """
    pairs = pair(images, label_files(labels, (".txt",), after_prefix("gt_")))
    return Reading(read_pairs(images, pairs, parse, progress))


def parse(path: Path) -> list[Text]:
    """The texts of one label file."""
    texts: list[Text] = []
    for where, line in numbered_lines(path):
        found = _LINE.fullmatch(line)
        if found is None:
            raise DataError(f'{where}: expected left top right bottom "text", found {line.strip()!r}')
        left, top, right, bottom = (number(field, where) for field in found.groups()[:4])
        if _FOUR_MORE.fullmatch(found[5]):
            raise DataError(f"{where}: eight numbers are four corners, not a box; convert this set as icdar2015")
        if right <= left or bottom <= top:
            raise DataError(f"{where}: right and bottom must lie beyond left and top, found {line.strip()!r}")
        texts.append((upright_box(left, top, right, bottom), _unquoted(found[5], where)))
    return texts


def _unquoted(text: str, where: str) -> str:
    if not text.startswith('"'):
        return text
    if len(text) < 2 or not text.endswith('"'):
        raise DataError(f"{where}: the quotation mark before the text is not closed")
    return re.sub(r'\\(["\\])', r"\1", text[1:-1])
