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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ppocr_data import geometry
from ppocr_data.errors import DataError
from ppocr_data.folders import visible_files

OnBad = Literal["error", "skip"]
ProblemKind = Literal["bad-line", "missing", "crossing", "no-area"]
"""Of those of `ppocr_data.check` what the reader finds."""

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


@dataclass(frozen=True, slots=True, eq=False)
class Problem:
    """What is wrong with a line of a label file, or with a text in it; in words "labels.txt:12: text 3 ('word'): ...".

    source: "labels.txt:12". kind, reason: what is wrong. text: the number of the text in its line, from 1; None where
    the line is meant. word: its transcription, where it has one. points: its outline as it is in the file, float32
    `[K,2]`, of "crossing" and "no-area".
    """

    source: str
    kind: ProblemKind
    reason: str
    text: int | None = None
    word: str | None = None
    points: np.ndarray | None = None

    def __str__(self) -> str:
        word = "" if self.word is None else f" ({self.word[:20]!r})"
        return f"{self.source}: " + ("" if self.text is None else f"text {self.text}{word}: ") + self.reason


@dataclass(frozen=True, slots=True)
class LabelReport:
    """What reading label files gave: the usable samples, and what is wrong."""

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


class _BadLine(Exception):
    """The line cannot be used at all."""

    def __init__(
        self, reason: str, text: int | None = None, word: str | None = None, *, kind: ProblemKind = "bad-line"
    ) -> None:
        super().__init__(reason)
        self.reason, self.text, self.word, self.kind = reason, text, word, kind


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
    problems: list[Problem] = []
    for number, raw in enumerate(_read_bytes(path).split(b"\n"), start=1):
        line = raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw
        if not line.strip():
            continue
        source = f"{path}:{number}"
        try:
            sample, found = _parse_line(line, data_dir, source, allow_outside)
        except _BadLine as bad:
            problems.append(Problem(source, bad.kind, bad.reason, bad.text, bad.word))
        else:
            problems.extend(found)
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


def of_other_kinds(files: Iterable[Path]) -> str:
    """How many of the files are no images by their endings, and by which, in words; nothing where all are."""
    endings = [file.suffix.lower() or "no ending" for file in files if file.suffix.lower() not in IMAGE_SUFFIXES]
    count = len(endings)
    return f"{count} file{'s' * (count != 1)} of other kinds ({', '.join(sorted(set(endings)))})" if endings else ""


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # its name is longer than names can be
        return False


def _read_bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"{path}: cannot read the label file ({error.strerror}); label_file_list, or the command "
            "line, must name a file of lines IMAGE<TAB>TEXTS"
        ) from error
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise DataError(f"{path}: the label file is UTF-16; save it as UTF-8")
    return data


def _summary(path: Path, problems: Sequence[Problem]) -> str:
    head = f"{path}: {len(problems)} bad {'entry' if len(problems) == 1 else 'entries'} in this label file"
    advice = "Mend these lines; of a training set Train.dataset.on_bad_sample: skip leaves them out."
    return "\n  ".join([head, *map(str, problems[:_SHOWN]), *_more(problems), advice])


def _more(problems: Sequence[object]) -> list[str]:
    return [f"... and {len(problems) - _SHOWN} more"] if len(problems) > _SHOWN else []


def _parse_line(line: bytes, data_dir: Path, source: str, allow_outside: bool) -> tuple[Sample, list[Problem]]:
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
        given, word, skip = _parse_entry(entry, number)
        points, wrong = _check_outline(given)
        if wrong:
            kind, reason = wrong
            problems.append(Problem(source, kind, reason, number, word, None if kind == "bad-line" else given))
        if points is not None:
            polygons.append(points)
            texts.append(word)
            ignore.append(skip or wrong is not None)
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
        reason = f"no such image: {path}; image names are relative to data_dir{seen_from}{hint}"
        raise _BadLine(reason, kind="missing")
    return path


def _in_another_form(folder: Path, name: str) -> Path | None:
    """The file whose accents are written in another of Unicode's ways, as in macOS's archives; None without one."""
    forms = {unicodedata.normalize(form, name) for form in ("NFC", "NFD")} - {name}
    return next((folder / form for form in sorted(forms) if _is_file(folder / form)), None)


def _parse_entry(entry: Any, number: int) -> tuple[np.ndarray, str, bool]:
    """The points (finite float32 `[K,2]`, K >= 3), text and don't-care flag of one entry of the JSON list."""
    if not isinstance(entry, dict):
        raise _BadLine(f'must be {{"transcription": ..., "points": ...}}, is {str(entry)[:40]}', number)
    word = entry.get("transcription", "" if "score" in entry else None)  # a detector's box says where, not what
    if not isinstance(word, str):
        raise _BadLine("transcription must be a string ('###' where nobody can read it)", number)
    points = entry.get("points")
    if not isinstance(points, list) or not all(_is_point(p) for p in points):
        raise _BadLine("points must be [[x, y], ...], numbers", number, word)
    if len(points) < 3:
        raise _BadLine(f"{len(points)} points; a polygon needs at least 4", number, word)
    # Compared as Python numbers: json reads integers of any length, which would not fit an array.
    if not all(abs(value) <= _LARGEST_COORDINATE for point in points for value in point):
        raise _BadLine(f"a coordinate is NaN, infinite or beyond {_LARGEST_COORDINATE:.0f}", number, word)
    marked = [_flag(entry, key) for key in ("ignore", "difficult")]
    if wrong := next((each for each in marked if isinstance(each, str)), None):
        raise _BadLine(wrong, number, word)
    return np.array(points, np.float32), word, word.strip() in DONT_CARE or any(marked)


def flag(entry: Mapping[str, Any], key: str, where: str) -> bool:
    """A yes or no of a JSON object, which some tools write as 1 or 0; no where it is absent or null.

    Raises:
        DataError: it is something else, and what was meant cannot be known.
    """
    found = _flag(entry, key)
    if isinstance(found, str):
        raise DataError(f"{where}: {found}")
    return found


def _flag(entry: Mapping[str, Any], key: str) -> bool | str:
    """The yes or no, or in words what is there instead."""
    value = entry.get(key)
    if value is None or (isinstance(value, (bool, int)) and value in (0, 1)):
        return bool(value)
    return f"{key} must be true or false, is {str(value)[:40]!r}"


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(type(value) in (int, float) for value in point)


def _check_outline(points: np.ndarray) -> tuple[np.ndarray | None, tuple[ProblemKind, str] | None]:
    """The points to go on with (None: leave the polygon out), and by kind and in words what is wrong with it."""
    hull = geometry.convex_hull(points)
    if len(hull) < 3 or geometry.area(hull) < _NO_AREA:
        return None, ("no-area", "the polygon has no area")
    if len(points) < 4:
        return hull, ("bad-line", "3 points; a polygon needs at least 4")
    if not geometry.is_simple(points):
        return hull, ("crossing", "the outline crosses or touches itself; give the points in order around the text")
    return points, None
