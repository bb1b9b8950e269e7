"""Image files to pixels, refusing files that OpenCV would quietly fill up with grey."""

from __future__ import annotations

import io
import re
import struct
import warnings
from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
from PIL import Image
from pydantic import Field

from ppocr_data.errors import DataError
from ppocr_data.op import Op, Record

_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
# In a JPEG's coded data, ff 00 is a byte of data, ff d0..d7 are restart marks, and ff ff is filling.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_BY_PILLOW = ("BMP", "WEBP", "TIFF")
_HEADER_ERRORS = (
    *(OSError, ValueError, SyntaxError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(AttributeError, AssertionError, struct.error),
)
"""What Pillow raises for headers that are none."""
_TIFF = (b"II*\0", b"MM\0*")
_ORIENTATION = 274
"""Of EXIF's tags."""
_UNDO: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda image: image[:, ::-1],
    3: lambda image: image[::-1, ::-1],
    4: lambda image: image[::-1],
    5: lambda image: image.transpose(1, 0, 2),
    6: lambda image: np.rot90(image, 1),
    7: lambda image: image[::-1, ::-1].transpose(1, 0, 2),
    8: lambda image: np.rot90(image, -1),
}
"""What turns an upright picture into the stored one, by the orientation that the file states."""
MOST_MEGAPIXELS = 100.0
"""Of an image that is decoded, where nothing else is said."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class DecodeImage(Op):
    """Read `record["path"]` into uint8 BGR `[H,W,3]`; grey and palette images become colour, transparency is dropped.

    The orientation that a camera wrote into the file (EXIF of JPEG, PNG and TIFF) is applied, as PaddleOCR does: labels
    are expected to be made on the upright picture.
    """

    img_mode: Literal["BGR"] = Field(default="BGR", description="Channel order of the pixels; only BGR.")
    channel_first: Literal[False] = Field(default=False, description="Only false: the layout changes on the device.")
    ignore_orientation: bool = Field(default=False, description="Leave the picture as stored, whatever EXIF says.")
    max_megapixels: float = Field(
        default=MOST_MEGAPIXELS, gt=0, description="Refuse images of more than this many megapixels."
    )

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Add `image`. Raises DataError, naming image and label line, for a file that is not a whole image."""
        try:
            return {**record, "image": self.decode(record["path"].read_bytes())}
        except OSError as error:
            raise DataError(f"{record['source']}: cannot read image {record['path']} ({error.strerror})") from error
        except ValueError as error:
            raise DataError(f"{record['source']}: image {record['path']}: {error}") from error

    def decode(self, data: bytes) -> np.ndarray:
        """The pixels of an encoded image. Raises ValueError with the reason where there are none."""
        if not data:
            raise ValueError("the file is empty; copy it again")
        size, whole = inspect(data)
        if size is None and whole:
            raise ValueError("cannot be decoded; it is damaged or no JPEG, PNG, BMP, WebP or TIFF file")
        if size is not None and size[0] * size[1] > self.max_megapixels * 1e6:
            raise ValueError(self._too_large(*size))
        if not whole:
            raise ValueError("the file is truncated; copy it again")
        flags = cv2.IMREAD_COLOR | (cv2.IMREAD_IGNORE_ORIENTATION if self.ignore_orientation else 0)
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            raise_where_memory_is_short(error)
            raise ValueError(f"cannot be decoded ({error.err})") from error
        if image is None:
            raise ValueError("cannot be decoded; it is damaged")
        if image.shape[0] * image.shape[1] > self.max_megapixels * 1e6:
            raise ValueError(self._too_large(image.shape[1], image.shape[0]))
        return _turned_back(image, data) if self.ignore_orientation and data[:4] in _TIFF else image

    def _too_large(self, width: int, height: int) -> str:
        return f"{width}x{height} pixels are more than max_megapixels: {self.max_megapixels:g}; scale it down"


def raise_where_memory_is_short(error: cv2.error) -> None:
    """Raise MemoryError for what is no property of the image, and may be another time."""
    if error.code == cv2.Error.StsNoMem:
        raise MemoryError(error.err) from error


def _turned_back(image: np.ndarray, data: bytes) -> np.ndarray:
    """A TIFF's picture as stored: OpenCV turns it upright whatever it is told."""
    with Image.open(io.BytesIO(data), formats=["TIFF"]) as header:
        undo = _UNDO.get(header.getexif().get(_ORIENTATION, 1))
    return image if undo is None else np.ascontiguousarray(undo(image))


def inspect(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """What an encoded image says of itself: its (width, height), None where it says none, and whether its end is there.

    Nothing is decoded, so a few bytes that promise gigapixels cost no memory. JPEG, PNG, BMP, WebP and TIFF are known;
    of TIFF the end is taken to be there, as its parts lie in any order.
    """
    if data[:2] == b"\xff\xd8":
        return _inspect_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        size = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
        return (size if len(data) >= 24 else None), _PNG_END in data
    if data[:2] == b"BM":
        return _stated_size(data), len(data) >= int.from_bytes(data[2:6], "little")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _stated_size(data), len(data) >= 8 + int.from_bytes(data[4:8], "little")
    return _stated_size(data), True


def _stated_size(data: bytes) -> tuple[int, int] | None:
    """The size in the header, as Pillow reads it; None where there is no header that it understands."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data), formats=_BY_PILLOW) as image:
                return image.size
    except Image.DecompressionBombError as error:
        raise ValueError(f"more pixels than any network can use ({error}); scale it down") from error
    except _HEADER_ERRORS:
        return None


def _inspect_jpeg(data: bytes) -> tuple[tuple[int, int] | None, bool]:
    """Walk the segments: an embedded preview has an end mark of its own, and some cameras append data to the file."""
    size, at = None, 2
    while found := _JPEG_MARKER.search(data, at):
        marker, at = data[found.end() - 1], found.end()
        if marker == 0xD9:
            return size, True
        length = int.from_bytes(data[at : at + 2], "big")
        if marker in _JPEG_FRAMES and len(data) >= at + 7:
            stated = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 3 : at + 5], "big")
            size = max(size or stated, stated, key=lambda pair: pair[0] * pair[1])  # a second frame hides no first
        at += max(length, 2)
    return size, False
