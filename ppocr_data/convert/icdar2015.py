"""ICDAR 2015 Incidental Scene Text."""

from __future__ import annotations

from pathlib import Path

from ppocr_data.convert import icdar2017
from ppocr_data.convert.files import after_prefix, label_files, numbered_lines, pair, quadrilateral, read_pairs
from ppocr_data.convert.record import Progress, Reading, Text
from ppocr_data.errors import DataError


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """ICDAR 2015 Incidental Scene Text (Karatzas et al. 2015), task 4.1: words in quadrilaterals.

    `img_1.jpg` has `gt_img_1.txt`. A line is `x1,y1,x2,y2,x3,y3,x4,y4,transcription` in UTF-8, often with a byte-order
    mark; the transcription may hold commas. `###` is don't-care.
    """
    pairs = pair(images, label_files(labels, (".txt",), after_prefix("gt_")))
    records = read_pairs(images, pairs, parse, progress)
    words = [word for record in records for word in record.texts]
    # Read as this format, the don't-care texts of that one ("Latin,###") would be taught as readable.
    if words and all(word.split(",")[0] in icdar2017.SCRIPTS and "," in word for word in words):
        raise DataError(f"{labels}: every text begins with a script ({words[0]!r}); convert this set as icdar2017")
    return Reading(records)


def parse(path: Path) -> list[Text]:
    """The texts of one label file."""
    texts: list[Text] = []
    for where, line in numbered_lines(path):
        polygon, (word,) = quadrilateral(line, where)
        texts.append((polygon, word))
    return texts
