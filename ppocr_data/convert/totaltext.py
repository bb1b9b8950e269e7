"""Total-Text: words as polygons, in the forms in which the set has been published."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from ppocr_data.convert.files import corners, label_files, number, numbered_lines, pair, read_pairs
from ppocr_data.convert.matlab import cells
from ppocr_data.convert.record import DONT_CARE_TEXT, Progress, Reading, Text
from ppocr_data.errors import DataError
from ppocr_data.labels import IMAGE_SUFFIXES

_ENTRY = re.compile(
    r"x:\s*\[\[(?P<x>[^\]]*)\]\],\s*y:\s*\[\[(?P<y>[^\]]*)\]\],\s*ornt:\s*\[(?P<kind>[^\]]*)\],"
    r"\s*transcriptions:\s*\[(?P<text>.*)\]",
    re.DOTALL,
)
_UNREADABLE = "#"  # as orientation or as transcription
_FEWEST = 3  # points


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """Total-Text (Ch'ng and Chan 2017): words as polygons of 4 points and more.

    `img1.jpg` has `poly_gt_img1.mat`, `gt_img1.mat` (needs scipy), `poly_gt_img1.txt`, or `img1.jpg.txt`. The text form
    is `x: [[..]], y: [[..]], ornt: [u'c'], transcriptions: [u'..']`, which may go over several lines; files with
    `x1,y1,...,xn,yn,transcription` a line, the transcription without commas, are read as well. `#` as orientation or
    transcription is don't-care, and so is `###`. Don't-care marks of one or two points cover nothing and are left out.
    """
    dropped: list[str] = []
    pairs = pair(images, label_files(labels, (".mat", ".txt"), _stem))
    records = read_pairs(images, pairs, lambda path: parse(path, dropped), progress)
    if not dropped:
        return Reading(records)
    return Reading(records, (f"{len(dropped)} don't-care marks without an area left out, the first at {dropped[0]}",))


def _stem(path: Path) -> str:
    stem = path.stem.removeprefix("poly_").removeprefix("gt_")
    return stem.rpartition(".")[0] if stem.lower().endswith(IMAGE_SUFFIXES) else stem


def parse(path: Path, dropped: list[str]) -> list[Text]:
    """The texts of one label file; the places of marks without an outline are added to `dropped`."""
    texts = []
    for where, polygon, word in _mat(path) if path.suffix.lower() == ".mat" else _txt(path):
        if len(polygon) >= _FEWEST:
            texts.append((polygon, word))
        elif word == DONT_CARE_TEXT:
            dropped.append(where)
        else:
            raise DataError(f"{where}: {word!r} has {len(polygon)} points; a polygon needs at least {_FEWEST}")
    return texts


def _mat(path: Path) -> Iterator[tuple[str, list[list[float]], str]]:
    for row, (label_x, x, label_y, y, word, kind) in enumerate(cells(path, ("polygt", "gt"), columns=6), start=1):
        where = f"{path}: row {row}"
        if (label_x, label_y) != (["x:"], ["y:"]) or len(x) != len(y):
            raise DataError(f"{where}: expected 'x:', its values, 'y:', as many values, a text and an orientation")
        points = corners([str(value) for point in zip(x, y, strict=True) for value in point], where)
        if not all(isinstance(item, str) for item in (*word, *kind)):
            raise DataError(f"{where}: the text and the orientation must be strings, are {word!r:.80} and {kind!r:.80}")
        yield where, points, _word(kind, word)


def _txt(path: Path) -> Iterator[tuple[str, list[list[float]], str]]:
    for where, entry in _entries(path):
        if not entry.startswith("x:"):
            *fields, word = entry.split(",")
            if len(fields) < 2 * _FEWEST or len(fields) % 2:
                raise DataError(f"{where}: expected x: [[..]], y: [[..]], ... or x1,y1,...,xn,yn,text, found {entry!r}")
            yield where, corners(fields, where), _word([], [word])
            continue
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise DataError(
                f"{where}: expected x: [[..]], y: [[..]], ornt: [..], transcriptions: [..], found {entry!r}"
            )
        xs, ys = ([number(value, where) for value in found[axis].split()] for axis in "xy")
        if len(xs) != len(ys):
            raise DataError(f"{where}: {len(xs)} values of x, but {len(ys)} of y")
        polygon = [[x, y] for x, y in zip(xs, ys, strict=True)]
        yield where, polygon, _word(_strings(found["kind"], where), _strings(found["text"], where))


def _entries(path: Path) -> Iterator[tuple[str, str]]:
    """Entries with the place where they begin; one that is not complete goes on in the next line."""
    place, entry = "", ""
    for where, line in numbered_lines(path):
        if entry.startswith("x:") and not line.startswith("x:") and not _ENTRY.fullmatch(entry):
            entry += f" {line.strip()}"
            continue
        if entry:
            yield place, entry
        place, entry = where, line.strip()
    if entry:
        yield place, entry


def _strings(listing: str, where: str) -> list[str]:
    """What stands in a list that Python printed, such as `u'c'`."""
    try:
        found = ast.literal_eval(f"[{listing}]")
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two of brackets in brackets in brackets
        found = [None]
    if not all(isinstance(item, str) for item in found):
        shown = listing if len(listing) <= 80 else f"{listing[:77]}..."
        raise DataError(f"{where}: [{shown}] is not a list of quoted texts")
    return found


def _word(kind: list[str], text: list[str]) -> str:
    word = ", ".join(text)
    return DONT_CARE_TEXT if kind == [_UNREADABLE] or word in ("", _UNREADABLE) else word
