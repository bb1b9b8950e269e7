"""Finding, pairing and reading the files of a data set. Nothing here writes."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ppocr_data.convert.record import Progress, Record, Text
from ppocr_data.errors import DataError
from ppocr_data.folders import natural, visible_files
from ppocr_data.labels import IMAGE_SUFFIXES

Parser = Callable[[Path], list[Text]]
"""The texts of one label file. Raises DataError with file and line."""

_CORNERS = 4
_OTHER_IMAGES = (".gif", ".jp2", ".jfif", ".avif", ".heic", ".heif", ".pdf")  # which OpenCV does not read, or not here


def image_files(folder: Path) -> list[Path]:
    """The images of a folder and its subfolders, img_9 before img_10."""
    found = [path for path in visible_files(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    return sorted(found, key=lambda path: natural(path.relative_to(folder).as_posix()))


def composed(name: str) -> str:
    """A file's name by which it is looked up: macOS writes its accents apart from their letters, others as one."""
    return unicodedata.normalize("NFC", name)


def by_stem(paths: Iterable[Path], stem: Callable[[Path], str]) -> dict[str, Path]:
    """Files by their stem, composed. Raises DataError where two have the same."""
    found: dict[str, Path] = {}
    for path in paths:
        key = composed(stem(path))
        if key in found:
            raise DataError(
                f"{path}: belongs to the same image name {key!r} as {found[key]}; rename one, or convert their folders "
                "one by one"
            )
        found[key] = path
    return found


def pair(images: Path, label_files: dict[str, Path]) -> list[tuple[Path, Path]]:
    """Every image with its label file, in the order of their numbers. Each must have the other.

    Args:
        images: the image folder, searched with its subfolders.
        label_files: label files by the stem of their image.

    Raises:
        DataError: two images of one stem, an image or a label file alone, or none at all.
    """
    pictures = by_stem(image_files(images), lambda path: path.stem)
    if not pictures or not label_files:
        raise DataError(
            f"{images}: {len(pictures)} images here, and {len(label_files)} label files with this format's names in "
            "the folder of labels; is this the set, and is it of this format?"
        )
    for stem in sorted(label_files.keys() - pictures.keys(), key=natural)[:1]:
        raise DataError(f"{label_files[stem]}: its image {images / stem}.* is missing{_other_kind(images, stem)}")
    alone = sorted(pictures.keys() - label_files.keys(), key=natural)
    for stem in alone[:1]:
        raise DataError(f"{pictures[stem]}: its label file is missing{_more(len(alone) - 1, 'image')}")
    return [(path, label_files[stem]) for stem, path in pictures.items()]


def _other_kind(images: Path, stem: str) -> str:
    """A hint where a file of that name exists that OpenCV does not read: some public sets hold GIF images."""
    for path in visible_files(images):
        if path.stem == stem and path.suffix.lower() in _OTHER_IMAGES:
            return f" ({path.name} is not read here; convert it to PNG)"
    return ""


def _more(count: int, what: str) -> str:
    return f" (and those of {count} more {what}{'s' * (count > 1)})" if count else ""


def read_pairs(images: Path, pairs: list[tuple[Path, Path]], parse: Parser, progress: Progress | None) -> list[Record]:
    """One record a pair of image and label file.

    In none of the sets that come in pairs `*` says that nobody can read a text, as it does in PaddleOCR's label files:
    a text of that one sign is kept without it.
    """
    records = []
    for done, (image, label_file) in enumerate(pairs, start=1):
        texts = parse(label_file)
        name = image.relative_to(images).as_posix()
        words = ["" if word.strip() == "*" else word for _, word in texts]
        records.append(Record(name, [polygon for polygon, _ in texts], words))
        if progress is not None:
            progress(done, len(pairs))
    return records


def label_files(labels: Path, suffixes: tuple[str, ...], stem: Callable[[Path], str]) -> dict[str, Path]:
    """The label files of a folder and its subfolders by the stem of their image."""
    return by_stem((path for path in visible_files(labels) if path.suffix.lower() in suffixes), stem)


def after_prefix(prefix: str) -> Callable[[Path], str]:
    """For files named prefix + the image's stem: that stem. Raises DataError where the prefix is not there."""

    def stem(path: Path) -> str:
        if not path.stem.startswith(prefix):
            raise DataError(f"{path}: expected a name that begins with {prefix!r}")
        return path.stem.removeprefix(prefix)

    return stem


def read_text(path: Path) -> str:
    """A UTF-8 file, with or without a byte-order mark. Line ends are left as they are."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataError(f"{path}:{line}: not UTF-8 (byte {error.start}); convert the file to UTF-8 first") from error


def numbered_lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a UTF-8 file that are not blank, each with its place "file:line"."""
    # Not splitlines(): a transcription may hold U+2028 and its like, which end no line here.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        line = line.rstrip("\r")
        if "\r" in line:
            raise DataError(
                f"{path}:{number}: lines end as on old Macs, by CR alone; save the file with today's line ends"
            )
        if line.strip():
            yield f"{path}:{number}", line


def number(field: str, where: str) -> float:
    """A finite coordinate; whole ones as int, so that they are written without a point."""
    try:
        value = float(field) if "_" not in field else math.nan  # which Python reads as a separator
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DataError(f"{where}: {field.strip()!r} is not a coordinate")
    return tidy(value)


def tidy(value: float) -> float:
    """A coordinate to the hundredth of a pixel, an int where it is whole."""
    value = round(value, 2)
    return int(value) if value == int(value) else value


def corners(fields: list[str], where: str) -> list[list[float]]:
    """x1, y1, x2, y2, ... as points."""
    values = [number(field, where) for field in fields]
    return [values[i : i + 2] for i in range(0, len(values), 2)]


def quadrilateral(line: str, where: str, columns: tuple[str, ...] = ()) -> tuple[list[list[float]], list[str]]:
    """Four corners, then named `columns`, then the transcription, which may itself hold commas.

    Returns the corners and [*columns, transcription].
    """
    fields = line.split(",", 2 * _CORNERS + len(columns))
    if len(fields) <= 2 * _CORNERS + len(columns):
        form = ",".join(["x1,y1,x2,y2,x3,y3,x4,y4", *columns, "transcription"])
        raise DataError(f"{where}: expected {form}, found {line.strip()!r}")
    return corners(fields[: 2 * _CORNERS], where), fields[2 * _CORNERS :]


def upright_box(left: float, top: float, right: float, bottom: float) -> list[list[float]]:
    """The corners of a box, clockwise from the top left."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]
