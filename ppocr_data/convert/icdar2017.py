"""ICDAR 2017 Multi-Lingual Text (MLT)."""

from __future__ import annotations

from pathlib import Path

from ppocr_data.convert.files import label_files, numbered_lines, pair, quadrilateral, read_pairs
from ppocr_data.convert.record import Progress, Reading, Text
from ppocr_data.errors import DataError

SCRIPTS = frozenset(  # Hindi since MLT 2019
    ["Arabic", "Latin", "Chinese", "Japanese", "Korean", "Bangla", "Hindi", "Symbols", "Mixed", "None"]
)


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """ICDAR 2017 MLT (Nayef et al. 2017), task 1, and MLT 2019: words in quadrilaterals, with their script.

    `img_1.jpg` has `gt_img_1.txt` (2017) or `img_1.txt` (2019). A line is
    `x1,y1,x2,y2,x3,y3,x4,y4,script,transcription`. `###` is don't-care. The training images come in several folders:
    name the one above them.
    """
    pairs = pair(images, label_files(labels, (".txt",), lambda path: path.stem.removeprefix("gt_")))
    return Reading(read_pairs(images, pairs, parse, progress))


def parse(path: Path) -> list[Text]:
    """The texts of one label file."""
    texts: list[Text] = []
    for where, line in numbered_lines(path):
        polygon, (script, word) = quadrilateral(line, where, ("script",))
        if script.strip() not in SCRIPTS:
            raise DataError(f"{where}: unknown script {script!r}; known: {', '.join(sorted(SCRIPTS))}")
        texts.append((polygon, word))
    return texts
