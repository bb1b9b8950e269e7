"""SCUT-CTW1500: curved text lines of 14 points, in the four forms in which the set has been published."""

from __future__ import annotations

from pathlib import Path

from ppocr_data.convert.files import corners, label_files, number, numbered_lines, pair, read_pairs
from ppocr_data.convert.record import Polygon, Progress, Reading, Text
from ppocr_data.convert.xml_lines import Element, elements
from ppocr_data.errors import DataError

_POINTS = 14
_BEFORE_TEXT = "####"
_SLACK = 10  # pixels by which the circumscribed box of the first edition may differ from that of its points


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """SCUT-CTW1500 (Liu et al. 2017, annotations v2 of 2020): curved text lines of 14 points.

    Training labels are XML, `0001.xml` for `0001.jpg`: `<box left top width height>` with `<label>` and `<segs>`, 28
    numbers. Test labels are text, `0001001.txt` for `1001.jpg`: `x1,y1,...,x14,y14,####text`. The edition of 2017 has
    `xmin,ymin,xmax,ymax` and 14 offsets from (xmin, ymin), and no texts; files that give 14 points in place of the
    offsets, or the 14 points alone, are read as well. `###` is don't-care.
    """
    found = label_files(labels, (".xml", ".txt"), _stem)
    return Reading(read_pairs(images, pair(images, found), parse, progress))


def _stem(path: Path) -> str:
    """The test part's label files have three zeros before the image's number of four digits."""
    return path.stem[3:] if len(path.stem) == 7 and path.stem.startswith("000") else path.stem


def parse(path: Path) -> list[Text]:
    """The texts of one label file."""
    if path.suffix.lower() == ".xml":
        return [_box(box, path) for image in elements(path, "Annotations", "image") for box in image.children]
    return [_line(line, where) for where, line in numbered_lines(path)]


def _box(box: Element, path: Path) -> Text:
    where = f"{path}:{box.line}"
    parts = {child.tag: child.text for child in box.children}
    if box.tag != "box" or not {"label", "segs"} <= parts.keys():
        raise DataError(f"{where}: expected a <box> with <label> and <segs>, found <{box.tag}>")
    fields = parts["segs"].strip().strip(",").split(",")
    if len(fields) != 2 * _POINTS:
        raise DataError(f"{where}: <segs> must hold {2 * _POINTS} numbers, holds {len(fields)}")
    return corners(fields, where), parts["label"]


def _line(line: str, where: str) -> Text:
    head, marked, text = line.partition(_BEFORE_TEXT)
    fields = head.strip().rstrip(",").split(",")
    if len(fields) == 2 * _POINTS:
        return corners(fields, where), text if marked else ""
    if len(fields) == 4 + 2 * _POINTS and not marked:
        return _in_box([number(field, where) for field in fields], where), ""
    raise DataError(
        f"{where}: expected {2 * _POINTS} numbers and {_BEFORE_TEXT}text, or {4 + 2 * _POINTS} numbers; "
        f"found {len(fields)} fields"
    )


def _in_box(values: list[float], where: str) -> Polygon:
    """14 points that follow their circumscribed box: offsets from its corner or, where these fit better, positions."""
    box, points = values[:4], [values[i : i + 2] for i in range(4, len(values), 2)]
    moved = [[x + box[0], y + box[1]] for x, y in points]
    nearest = min((moved, points), key=lambda polygon: _misfit(box, polygon))
    if _misfit(box, nearest) > _SLACK:
        raise DataError(f"{where}: the 14 points fill the box {box} neither as offsets nor as positions")
    return nearest


def _misfit(box: list[float], polygon: Polygon) -> float:
    """The largest difference, in pixels, between a box and that of a polygon."""
    xs, ys = zip(*polygon, strict=True)
    return max(abs(a - b) for a, b in zip(box, (min(xs), min(ys), max(xs), max(ys)), strict=True))
