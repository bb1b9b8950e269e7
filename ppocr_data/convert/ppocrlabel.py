"""Folders labelled with PPOCRLabel."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ppocr_data.convert.files import composed, image_files, numbered_lines
from ppocr_data.convert.json_file import get, point, want
from ppocr_data.convert.record import DONT_CARE_TEXT, Progress, Reading, Record, Text
from ppocr_data.errors import DataError
from ppocr_data.labels import flag

LABELS, STATES = "Label.txt", "fileState.txt"
_CROPS = "crop_img"  # recognition crops that the tool exports below the images


def read(images: Path, labels: Path, progress: Progress | None = None) -> Reading:
    """PPOCRLabel folders: `Label.txt` and `fileState.txt` beside the images; or any label file of PaddleOCR's.

    `labels` is the folder, or the label file itself. PPOCRLabel names an image as `folder/image`. A name that is no
    path below `images` is looked up by its last part, so that a renamed or moved folder is still understood. The tool
    writes no line for a checked image without text: one that `fileState.txt` calls checked is an image without text.
    One that it calls unchecked is left out, labelled or not. All other images are taken to be unlabelled so far and
    left out, and so are the crops in `crop_img`. `difficult`, `ignore` and `###` are don't-care. Of any other label
    file those images are left out that it does not name, whatever a `fileState.txt` beside it says.
    """
    label_file = labels / LABELS if labels.is_dir() else labels
    folder = _Images(images)
    lines = list(numbered_lines(label_file))
    found: dict[str, Record] = {}
    for done, (where, line) in enumerate(lines, start=1):
        given, tab, payload = line.partition("\t")
        if not tab:
            raise DataError(f"{where}: no tab between the image and its labels")
        image = folder.find(given, where, labels=True)
        if image is None:
            raise DataError(f"{where}: no image {given.strip()} below {images}, nor one called {_last(given)}")
        if image in found:
            raise DataError(f"{where}: {image} was labelled before in this file")
        texts = _texts(payload, where)
        found[image] = Record(image, [polygon for polygon, _ in texts], [word for _, word in texts])
        if progress is not None:
            progress(done, len(lines))
    own = label_file.name == LABELS
    states = _states(label_file.with_name(STATES), folder) if own else {}
    for image, checked in states.items():
        if not checked:
            found.pop(image, None)
        elif image not in found:
            found[image] = Record(image, [], [])
    left = len(folder.paths) - len(found)
    which = "were not checked yet" if own else f"{label_file.name} does not name"
    notes = (*folder.notes(), *([f"{left} images that {which} left out"] if left else []))
    return Reading([found[image] for image in folder.paths if image in found], notes)


class _Images:
    """The images of a folder, by their paths below it and by their names."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._root = folder, composed(folder.resolve().name)
        inner = [path.relative_to(folder) for path in image_files(folder)]
        self.paths = [path.as_posix() for path in inner if _CROPS not in path.parts]
        self._by_path = {composed(path): path for path in self.paths}
        self._by_name: dict[str, list[str]] = {}
        for path in self.paths:
            self._by_name.setdefault(_last(path), []).append(path)
        self._moved: dict[str, str] = {}

    def find(self, given: str, where: str, *, labels: bool = False) -> str | None:
        """The path below the folder, None where there is no such image.

        Raises:
            DataError: several images have that name.
        """
        *above, last = _parts(given)
        if path := self._by_path.get(composed(given.strip())):
            return path
        if above and above[-1] == self._root and last in self._by_path:
            return self._by_path[last]
        found = self._by_name.get(last, [])
        if len(found) > 1:
            raise DataError(f"{where}: {last} may be {' or '.join(found)}; convert the folders one by one")
        if labels and found and above and above[-1] != (composed(Path(found[0]).parent.name) or self._root):
            self._moved[given.strip()] = found[0]
        return found[0] if found else None

    def notes(self) -> list[str]:
        """What is to be said of images whose labels name them in another folder: theirs they may be, or not."""
        if not self._moved:
            return []
        given, found = next(iter(self._moved.items()))
        return [
            f"{len(self._moved)} images were found by their names alone, in another folder than labels say ({given} "
            f"is taken for {self._folder / found}): are they the same pictures?"
        ]


def _last(given: str) -> str:
    """The last part of a path that was written on this system or on Windows."""
    return _parts(given)[-1]


def _parts(given: str) -> list[str]:
    return re.split(r"[/\\]", composed(given.strip()))


def _texts(payload: str, where: str) -> list[Text]:
    try:
        entries = want(json.loads(payload), list, where)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: what follows the tab is not JSON ({error})") from error
    texts = []
    for number, entry in enumerate(entries, start=1):
        place = f"{where}: text {number}"
        detected = "score" in want(entry, dict, place) and "transcription" not in entry  # says where, not what
        word = "" if detected else get(entry, "transcription", str, place)
        polygon = [point(value, f"{place}.points") for value in get(entry, "points", list, place)]
        if len(polygon) < 3:
            raise DataError(f"{place}: {len(polygon)} points; a polygon needs at least 4")
        marked = [flag(entry, key, place) for key in ("difficult", "ignore")]
        texts.append((polygon, DONT_CARE_TEXT if any(marked) else word))
    return texts


def _states(states: Path, folder: _Images) -> dict[str, bool]:
    """Whether a person has confirmed each image that the file names; nothing where there is no such file."""
    if not states.is_file():
        return {}
    checked = {}
    for where, line in numbered_lines(states):
        given, tab, state = line.rpartition("\t")
        if not tab or state.strip() not in ("0", "1"):
            raise DataError(f"{where}: expected image<TAB>1, found {line!r}")
        image = folder.find(given, where)
        if image is not None:
            checked[image] = state.strip() == "1"
    return checked
