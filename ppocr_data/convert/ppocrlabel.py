"""Folders labelled with PPOCRLabel."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ppocr_data.convert.files import image_files, numbered_lines
from ppocr_data.convert.json_file import get, point, want
from ppocr_data.convert.record import DONT_CARE_TEXT, Progress, Reading, Record, Text
from ppocr_data.errors import DataError

LABELS, STATES = "Label.txt", "fileState.txt"
_CROPS = "crop_img"  # recognition crops that the tool exports below the images


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """PPOCRLabel folders: `Label.txt` and `fileState.txt` beside the images.

    `labels` is the folder, or the label file itself. `Label.txt` names an image as `folder/image`; only the name is
    used, so that a renamed or moved folder is still understood. The tool writes no line for a checked image without
    text: one that `fileState.txt` calls checked is an image without text. All other images are taken to be unlabelled
    so far and left out, and so are the crops in `crop_img`. `difficult` and `###` are don't-care.
    """
    label_file = labels / LABELS if labels.is_dir() else labels
    here = _images_by_name(images)
    lines = list(numbered_lines(label_file))
    found: dict[str, Record] = {}
    for done, (where, line) in enumerate(lines, start=1):
        given, tab, payload = line.partition("\t")
        if not tab:
            raise DataError(f"{where}: no tab between the image and its labels")
        name = _name(given)
        if name not in here:
            raise DataError(f"{where}: its image {images / name} is missing")
        if name in found:
            raise DataError(f"{where}: {name} was labelled before in this file")
        texts = _texts(payload, where)
        found[name] = Record(here[name], [polygon for polygon, _ in texts], [word for _, word in texts])
        if progress is not None:
            progress(done, len(lines))
    empty = sorted(_checked(label_file.with_name(STATES)) & (here.keys() - found.keys()))
    records = {**found, **{name: Record(here[name], [], []) for name in empty}}
    left = len(here) - len(records)
    notes = (f"{left} images that were not checked yet left out",) if left else ()
    return Reading([records[name] for name in here if name in records], notes)


def _images_by_name(images: Path) -> dict[str, str]:
    """Paths below the folder by file name."""
    here: dict[str, str] = {}
    for path in image_files(images):
        inner = path.relative_to(images)
        if _CROPS in inner.parts:
            continue
        if path.name in here:
            raise DataError(f"{path}: {images / here[path.name]} has the same name; convert the folders one by one")
        here[path.name] = inner.as_posix()
    return here


def _name(given: str) -> str:
    """The last part of a path that was written on this system or on Windows."""
    return re.split(r"[/\\]", given.strip())[-1]


def _texts(payload: str, where: str) -> list[Text]:
    try:
        entries = want(json.loads(payload), list, where)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: what follows the tab is not JSON ({error})") from error
    texts = []
    for number, entry in enumerate(entries, start=1):
        place = f"{where}: text {number}"
        word = get(want(entry, dict, place), "transcription", str, place)
        polygon = [point(value, f"{place}.points") for value in get(entry, "points", list, place)]
        if len(polygon) < 3:
            raise DataError(f"{place}: {len(polygon)} points; a polygon needs at least 4")
        texts.append((polygon, DONT_CARE_TEXT if entry.get("difficult") is True else word))
    return texts


def _checked(states: Path) -> set[str]:
    """The names of the images that a person has confirmed, none where there is no such file."""
    if not states.is_file():
        return set()
    checked = set()
    for where, line in numbered_lines(states):
        given, tab, state = line.rpartition("\t")
        if not tab or state.strip() not in ("0", "1"):
            raise DataError(f"{where}: expected image<TAB>1, found {line!r}")
        if state.strip() == "1":
            checked.add(_name(given))
    return checked
