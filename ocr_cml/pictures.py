"""Picture files: finding, reading, drawing polygons on them, writing."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError
from ppocr_data.folders import entries, natural
from ppocr_data.labels import IMAGE_SUFFIXES, of_other_kinds

_GREEN = (40, 190, 40)


def read_image(path: Path) -> np.ndarray:
    """The file's pixels, uint8 BGR `[H,W,3]`. Raises DataError, naming it, where there are none."""
    try:
        return DecodeImage().decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def find_images(path: Path) -> list[Path]:
    """The image itself, or a folder's images (neither hidden ones nor those of its subfolders), img_2 before img_10.

    Raises:
        DataError: there is none, or the folder cannot be read.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: does not exist; give an image or a folder of images")
    found = [file for file in entries(path) if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    if not found:
        rest = f"; {others.removeprefix(f'{path}: ')}" if (others := left_out(path)) else ""
        raise DataError(f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)}){rest}")
    return sorted(found, key=lambda file: natural(file.name.lower()))


def left_out(folder: Path) -> str:
    """What of a folder `find_images` leaves out, in words; nothing where that is all right or no folder."""
    if not folder.is_dir():
        return ""
    others = entries(folder)
    inside = sum(file.is_dir() for file in others)
    unknown, lost = of_other_kinds(filter(Path.is_file, others)), sum(not file.exists() for file in others)
    parts = [unknown] if unknown else []
    parts += [f"{inside} subfolder{'s' * (inside != 1)}"] if inside else []
    parts += [f"{lost} link{'s' * (lost != 1)} to what is not there"] if lost else []
    return f"{folder}: left out {' and '.join(parts)}" if parts else ""


def further_pages(paths: Iterable[Path]) -> str:
    """Which images have pages behind the first, which alone is read, in words; nothing where none has."""
    found = [path for path in paths if path.suffix.lower() in (".tif", ".tiff") and _has_second_page(path)]
    if not found:
        return ""
    rest = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return f"{found[0]}{rest}: of several pages the first is read; save each as an image to have all"


def _has_second_page(path: Path) -> bool:
    """Whether the directory of a TIFF's first page (TIFF 6.0, section 2) points to another one."""
    try:
        with path.open("rb") as file:
            order = "<" if file.read(2) == b"II" else ">"
            (magic, first) = struct.unpack(f"{order}HI", file.read(6))
            file.seek(first)
            (entries_of_page,) = struct.unpack(f"{order}H", file.read(2))
            file.seek(first + 2 + 12 * entries_of_page)
            (following,) = struct.unpack(f"{order}I", file.read(4))
    except (OSError, struct.error):
        return False  # it cannot be read, and the one who reads it says so
    return magic == 42 and following != 0


def draw(image: np.ndarray, polygons: Sequence[np.ndarray]) -> np.ndarray:
    """A copy of uint8 BGR `[H,W,3]` with the polygons outlined in green, thicker on larger images."""
    picture = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 600))
    cv2.polylines(picture, [np.rint(p).astype(np.int32) for p in polygons], True, _GREEN, thickness, cv2.LINE_AA)
    return picture


def writable_name(path: Path) -> str:
    """The file's name, with `.png` added where OpenCV writes no format by it: `scan.jfif` becomes `scan.jfif.png`."""
    # By the suffix alone: OpenCV ends the process over a name that is no UTF-8.
    known = path.suffix.isascii() and path.suffix and cv2.haveImageWriter(f"x{path.suffix}")
    return path.name if known else f"{path.name}.png"


def save_picture(path: Path, picture: np.ndarray) -> None:
    """Write uint8 BGR `[H,W,3]` in the format that the suffix names. Raises DataError for a suffix that names none."""
    try:
        encoded, data = cv2.imencode(path.suffix, picture)
    except cv2.error:  # no such format
        encoded = False
    if not encoded:
        raise DataError(f"{path}: OpenCV cannot write {path.suffix or 'unnamed kinds of'} files")
    path.write_bytes(data.tobytes())


def as_bgr(image: np.ndarray) -> np.ndarray:
    """A grey, BGR or BGRA array as uint8 BGR `[H,W,3]`. Raises DataError for anything else."""
    if image.dtype != np.uint8 or not image.size or image.ndim not in (2, 3):
        raise DataError(f"an image must be uint8 [H,W,3] BGR and not empty; got {image.dtype} {list(image.shape)}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4):
        raise DataError(f"an image must have 1, 3 or 4 channels, the last axis; got {list(image.shape)}")
    if channels == 3:
        return image
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR)
