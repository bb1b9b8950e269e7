"""PaddleOCR's detection labels: one line an image, `image<TAB>[{"transcription": "...", "points": [[x,y],...]}, ...]`.

A transcription of `###` or `*`, or a true `ignore` or `difficult` beside it, marks text that nobody can read ("don't
care"): it is neither text nor background. Polygons have four points or more, in either direction. UTF-8 with or
without a byte-order mark, lines ended by LF or CRLF; blank lines are nothing. An empty list is an image without text.
A box with a `score` needs no transcription: what `tools/infer_det.py` writes is a label file too.

Mistakes are refused, all of a file in one message. `on_bad="skip"` goes on without them and lists them:
- no tab, no JSON, no list, no such image, an image outside the folder, coordinates that are no finite numbers: the
  line is left out;
- an outline that crosses or touches itself, or has three points: its convex hull becomes don't care;
- a polygon without area: it is left out, as it covers no pixel.

A line is left out whole where a polygon cannot be located, because its text would otherwise be taught as background.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from . import geometry
from .errors import DataError
from .folders import visible_files

OnBad = Literal["error", "skip"]

DONT_CARE = ("###", "*")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_SHOWN = 10
_LARGEST_COORDINATE = 1e6
_NO_AREA = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One labelled (or unlabelled) image.

    image: the image file. polygons: float32 `[K,2]` each, K >= 3, original pixels. texts: one a polygon.
    ignore: bool `[P]`, True = don't care. source: where it is said ("labels.txt:12"). labelled: False where nothing is
    known about the image's text (then there are no polygons, which does not mean that there is no text).
    """

    image: Path
    polygons: tuple[np.ndarray, ...]
    texts: tuple[str, ...]
    ignore: np.ndarray
    source: str
    labelled: bool = True

    @property
    def readable(self) -> int:
        """How many of its texts are not don't care."""
        return int((~self.ignore).sum())


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What reading label files gave: the usable samples, and one line a problem ("labels.txt:12: ...")."""

    samples: tuple[Sample, ...]
    problems: tuple[str, ...]


class _BadLine(Exception):
    """The line cannot be used at all."""


def read_label_file(path: Path, data_dir: Path, *, allow_outside: bool = False) -> list[Sample]:
    """Read one label file strictly.

    Args:
        path: the label file.
        data_dir: the folder that the image names are relative to.
        allow_outside: accept absolute names and names that climb out of `data_dir`.

    Raises:
        DataError: the folder or the file is missing, the file is not UTF-8, or any line is bad; all bad lines are in
            one message.
    """
    return list(read_labels(path, data_dir, allow_outside=allow_outside).samples)


def read_labels(path: Path, data_dir: Path, *, allow_outside: bool = False, on_bad: OnBad = "error") -> LabelReport:
    """Read one label file; like `read_label_file`, but `on_bad="skip"` mends or leaves out what is bad and lists it."""
    path, data_dir = Path(path), Path(data_dir)
    if not allow_outside and not data_dir.is_dir():
        raise DataError(f"{data_dir}: no such folder; it is the data_dir in which the images of {path} are looked for")
    samples: list[Sample] = []
    problems: list[str] = []
    for number, raw in enumerate(_read_bytes(path).split(b"\n"), start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not line.strip():
            continue
        source = f"{path}:{number}"
        try:
            sample, found = _parse_line(line, data_dir, source, allow_outside)
        except _BadLine as bad:
            problems.append(f"{source}: {bad}")
        else:
            problems.extend(f"{source}: {problem}" for problem in found)
            samples.append(sample)
    if problems and on_bad == "error":
        raise DataError(_summary(path, problems))
    return LabelReport(tuple(samples), tuple(problems))


def read_images(where: Path | Sequence[Path]) -> list[Sample]:
    """Unlabelled samples from a folder (with its subfolders, sorted, without hidden files) or from a list of images.

    Raises:
        DataError: the folder or an image is missing, or there is no image.
    """
    if isinstance(where, (str, Path)):
        folder = Path(where)
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder of images")
        paths = sorted(p for p in visible_files(folder) if p.suffix.lower() in IMAGE_SUFFIXES)
    else:
        paths = [Path(p) for p in where]
        missing = [f"{p}: no such image or folder" for p in paths if not _is_file(p)]
        if missing:
            raise DataError("\n".join([*missing[:_SHOWN], *_more(missing)]))
    if not paths:
        raise DataError(f"{where}: no image here (looked for {', '.join(IMAGE_SUFFIXES)})")
    return [Sample(path, (), (), np.zeros(0, bool), str(path), labelled=False) for path in paths]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its name is longer than names can be
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot read the label file ({error.strerror}); check label_file_list") from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: the label file is UTF-16; save it as UTF-8")
    return data


def _summary(path: Path, problems: list[str]) -> str:
    head = f"{path}: {len(problems)} bad {'entry' if len(problems) == 1 else 'entries'} in this label file"
    advice = "Mend these lines; of a training set Train.dataset.on_bad_sample: skip leaves them out."
    return "\n  ".join([head, *problems[:_SHOWN], *_more(problems), advice])


def _more(problems: list[str]) -> list[str]:
    return [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []


def _parse_line(line: bytes, data_dir: Path, source: str, allow_outside: bool) -> tuple[Sample, list[str]]:
    try:
        text = line.decode("utf-8").strip("\r\n")
    except UnicodeDecodeError as error:
        raise _BadLine(f"byte {error.start} is not UTF-8; save the file as UTF-8") from error
    name, tab, payload = text.partition("\t")
    if not tab:
        raise _BadLine("no tab between the image and its labels; the form is image<TAB>[{...}, ...]")
    image = _image_path(name.strip(), data_dir, allow_outside)
    try:
        entries = json.loads(payload)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of more digits than Python converts
        mac = "; the file's lines end as on old Macs, save it with those of today" if "\r" in payload else ""
        raise _BadLine(f"what follows the tab is not JSON ({error}){mac}") from error
    if not isinstance(entries, list):
        raise _BadLine("what follows the tab must be a JSON list, [] for an image without text")
    polygons, texts, ignore, problems = [], [], [], []
    for number, entry in enumerate(entries, start=1):
        given, word, skip = _parse_entry(entry, f"text {number}")
        points, problem = _check_outline(given)
        if problem:
            problems.append(f"text {number} ({word[:20]!r}): {problem}")
        if points is not None:
            polygons.append(points)
            texts.append(word)
            ignore.append(skip or problem is not None)
    return Sample(image, tuple(polygons), tuple(texts), np.array(ignore, bool), source), problems


def _image_path(name: str, data_dir: Path, allow_outside: bool) -> Path:
    if not name:
        raise _BadLine("no image name before the tab")
    path, root = data_dir / name, data_dir.absolute()
    # Lexical on purpose: links inside the folder were put there by its owner and may point anywhere.
    if not allow_outside and not Path(os.path.normpath(root / name)).is_relative_to(os.path.normpath(root)):
        raise _BadLine(
            f"image {name} lies outside of {data_dir}; if that is meant, set allow_outside: true beside data_dir"
        )
    try:
        exists = path.is_file()
    except OSError as error:
        raise _BadLine(f"image {name[:80]} cannot be looked up ({error.strerror})") from error
    if not exists and (other := _in_another_form(data_dir, name)):
        return other
    if not exists:
        hint = "; folders are parted by / here" if "\\" in name else ""
        seen_from = "" if path.is_absolute() else f", which is seen from {Path.cwd()}"
        raise _BadLine(f"no such image: {path}; image names are relative to data_dir{seen_from}{hint}")
    return path


def _in_another_form(folder: Path, name: str) -> Path | None:
    """The file whose accents are written in another of Unicode's ways, as in macOS's archives; None without one."""
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} - {name}
    return next((folder / form for form in sorted(forms) if _is_file(folder / form)), None)


def _parse_entry(entry: Any, where: str) -> tuple[np.ndarray, str, bool]:
    """The points (finite float32 `[K,2]`, K >= 3), text and don't-care flag of one entry of the JSON list."""
    if not isinstance(entry, dict):
        raise _BadLine(f'{where}: must be {{"transcription": ..., "points": ...}}, is {str(entry)[:40]}')
    word = entry.get("transcription", "" if "score" in entry else None)  # a detector's box says where, not what
    if not isinstance(word, str):
        raise _BadLine(f"{where}: transcription must be a string ('###' where nobody can read it)")
    points = entry.get("points")
    if not isinstance(points, list) or not all(_is_point(p) for p in points):
        raise _BadLine(f"{where} ({word[:20]!r}): points must be [[x, y], ...], numbers")
    if len(points) < 3:
        raise _BadLine(f"{where} ({word[:20]!r}): {len(points)} points; a polygon needs at least 4")
    # Compared as Python numbers: json reads integers of any length, which would not fit an array.
    if not all(abs(value) <= _LARGEST_COORDINATE for point in points for value in point):
        raise _BadLine(f"{where} ({word[:20]!r}): a coordinate is NaN, infinite or beyond {_LARGEST_COORDINATE:.0f}")
    try:
        marked = [flag(entry, key, f"{where} ({word[:20]!r})") for key in ("ignore", "difficult")]
    except DataError as error:
        raise _BadLine(str(error)) from None
    return np.array(points, np.float32), word, word.strip() in DONT_CARE or any(marked)


def flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    """A yes or no of a JSON object, which some tools write as 1 or 0; no where it is absent or null.

    Raises:
        DataError: it is something else, and what was meant cannot be known.
    """
    value = entry.get(key)
    if value is None or (isinstance(value, (bool, int)) and value in (0, 1)):
        return bool(value)
    raise DataError(f"{where}: {key} must be true or false, is {str(value)[:40]!r}")


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(type(value) in (int, float) for value in point)


def _check_outline(points: np.ndarray) -> tuple[np.ndarray | None, str | None]:
    """The points to go on with (None: leave the polygon out) and what is wrong, None where nothing is."""
    hull = geometry.convex_hull(points)
    if len(hull) < 3 or geometry.area(hull) < _NO_AREA:
        return None, "the polygon has no area"
    if len(points) < 4:
        return hull, "3 points; a polygon needs at least 4"
    if not geometry.is_simple(points):
        return hull, "the outline crosses or touches itself; give the points in order around the text"
    return points, None
