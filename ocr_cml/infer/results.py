"""`results.txt`: what may stand in it, and whether what lies in a folder is an earlier call's, or somebody else's."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ocr_cml.pictures import writable_name
from ppocr_data.errors import DataError

RESULTS = "results.txt"
PART = f"{RESULTS}.part"
"""What it is called while it grows."""

_KEYS = {"points", "score"}
"""Of a text in it. One with other keys is a label, and not this tool's to replace."""


def unwritable(path: str) -> str:
    """Why a line cannot begin with this path; nothing where it can."""
    bad = {"\t", "\n", "\r"} & set(path)
    return f"{path!r}: {RESULTS} cannot hold a name with a tab or a line end; rename the image" if bad else ""


def earlier_pictures(output: Path) -> set[Path]:
    """The pictures that an earlier call has made, by its results, whole or cut short."""
    found = set()
    for results in _earlier_results(output):
        text = results.read_text(encoding="utf-8", errors="surrogateescape")
        found |= {line.partition("\t")[0] for line in text.split("\n") if _is_result(line)}
    return {picture for path in found if (picture := (output / writable_name(Path(path))).resolve()).is_file()}


def _earlier_results(output: Path) -> list[Path]:
    """What an earlier call, or somebody else, has left under the names of our results."""
    return [file for name in (RESULTS, PART) if (file := output / name).is_file()]


def refuse_foreign(output: Path, pictures: Iterable[Path]) -> None:
    """Raise DataError where something would be replaced that no earlier call has written.

    Args:
        output: the folder.
        pictures: those to write that are no earlier call's.
    """
    kept = _earlier_results(output)
    foreign = [file for file in kept if not _is_ours(file)]
    if output / PART not in kept:  # of a killed call, which has left pictures before it wrote their lines
        foreign += sorted(file for file in pictures if file.exists())
    if foreign:
        raise DataError(f"{foreign[0]}: is there and was not written by this tool; choose another --output")


def _is_ours(results: Path) -> bool:
    """Whether each line is a result, and there is one; the last of a file that still grows may have been cut short."""
    try:
        *lines, rest = results.read_text(encoding="utf-8", errors="surrogateescape").split("\n")
    except OSError:
        return False
    if results.name == RESULTS and (rest or not lines):
        return False
    if rest and not lines and "\t[" not in rest:
        return False
    return all(map(_is_result, lines))


def _is_result(line: str) -> bool:
    """Whether a line is as `Detections.line` writes it: a path, a tab, a list of texts."""
    try:
        texts = json.loads(line.partition("\t")[2])
    except ValueError:
        return False
    return isinstance(texts, list) and all(isinstance(text, dict) and text.keys() == _KEYS for text in texts)
