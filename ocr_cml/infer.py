"""Find text in pictures with an exported detector; reads nothing but the exported folder."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from ocr_cml.postprocess import DBPostProcess
from ocr_cml.runtime import FrozenDetector, open_detector
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import DataError
from ppocr_data.transforms import DetResizeForTest

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
RESULTS = "results.txt"
_GREEN = (40, 190, 40)


@dataclass(frozen=True)
class Detections:
    """The text of one image.

    Attributes:
        polygons: int32 `[K,2]` (x, y) in pixels of the image; quads run clockwise from the upper left.
        scores: the mean probability inside each, in [0, 1].
    """

    polygons: list[np.ndarray]
    scores: list[float]

    def line(self, path: str) -> str:
        """A line of `results.txt`: `path<TAB>[{"points": [[x,y],...], "score": s}, ...]`."""
        found = [{"points": p.tolist(), "score": s} for p, s in zip(self.polygons, self.scores, strict=True)]
        return f"{path}\t{json.dumps(found)}"


class TextDetector:
    """An image, or the path of one, -> `Detections`.

    Args:
        network: what turns pixels into maps.
        resize, postprocess: by default those that belong to the network.
    """

    def __init__(
        self,
        network: FrozenDetector,
        resize: DetResizeForTest | None = None,
        postprocess: DBPostProcess | None = None,
    ) -> None:
        self.network = network
        self.resize = resize or network.config.resize
        self.postprocess = postprocess or network.config.postprocess

    def __call__(self, image: np.ndarray | str | Path) -> Detections:
        """Find the text of one image: uint8 `[H,W,3]` BGR (grey and BGRA are converted), or a file.

        Raises:
            DataError: the file or the array is no image.
        """
        pixels = _as_bgr(image) if isinstance(image, np.ndarray) else read_image(Path(image))
        return self.batch([pixels])[0]

    def batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Several uint8 BGR images at once, all of one size after resizing."""
        maps = self.network.probability(np.stack([self.resize.resize(image) for image in images]))
        sizes = [(image.shape[0], image.shape[1]) for image in images]
        return [Detections(*self.postprocess(map_, size)) for map_, size in zip(maps, sizes, strict=True)]


@dataclass
class Summary:
    """What became of a folder: images done, boxes found, and the message of every image that could not be read."""

    images: int = 0
    boxes: int = 0
    failures: list[str] = field(default_factory=list)


def load_detector(
    folder: Path | str, engine: str = "auto", device: str = "cpu", threads: int | None = None
) -> TextDetector:
    """Open an exported folder; see `open_detector` for the arguments.

    Normalisation, resize rule and post-process come from its `inference.yml`; without one, the defaults are the
    shorter side at least 736, thresholds 0.3 and 0.6, unclip 1.5.

    Raises:
        ModelError: it is no text detector, or the engine or device is not there.
    """
    return TextDetector(open_detector(folder, engine, device, threads))


def read_image(path: Path) -> np.ndarray:
    """The file's pixels, uint8 BGR `[H,W,3]`. Raises DataError, naming it, where there are none."""
    try:
        return DecodeImage().decode(path.read_bytes())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: {error}") from error


def find_images(path: Path) -> list[Path]:
    """The image itself, or a folder's images (not those of its subfolders), img_2 before img_10.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise DataError(f"{path}: does not exist; give an image or a folder of images")
    found = [file for file in path.iterdir() if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()]
    if not found:
        raise DataError(f"{path}: holds no image ({', '.join(IMAGE_SUFFIXES)})")
    return sorted(found, key=lambda file: _natural(file.name))


def detect_files(
    detector: TextDetector,
    paths: Sequence[Path],
    output: Path,
    batch_size: int = 1,
    progress: Callable[[Iterable[Path]], Iterable[Path]] = iter,
) -> Summary:
    """Write `results.txt`, a line an image in the order of `paths`, and a picture of each with its polygons.

    An image that cannot be read gets no line; its message is kept and the others are done.

    Args:
        detector: what finds the text.
        paths: image files.
        output: folder to write to; made if need be. Pictures keep their file's name.
        batch_size: neighbours of equal size that are answered at once.
        progress: wraps the paths to show how far it is, as tqdm does.

    Raises:
        DataError: a picture would overwrite an image that was given, or the folder cannot be written.
    """
    if any(output.resolve() == path.resolve().parent for path in paths):
        raise DataError(f"{output}: holds the images, which the pictures would overwrite; choose another --output")
    summary = Summary()
    try:
        output.mkdir(parents=True, exist_ok=True)
        with (output / RESULTS).open("w", encoding="utf-8") as results:
            for group in _groups(detector, progress(paths), batch_size, summary):
                answers = detector.batch([image for _, image in group])
                for (path, image), found in zip(group, answers, strict=True):
                    results.write(found.line(str(path)) + "\n")
                    _save_picture(output / path.name, draw(image, found.polygons))
                    summary.images += 1
                    summary.boxes += len(found.polygons)
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from error
    return summary


def draw(image: np.ndarray, polygons: Sequence[np.ndarray]) -> np.ndarray:
    """A copy of uint8 BGR `[H,W,3]` with the polygons outlined in green, thicker on larger images."""
    picture = image.copy()
    thickness = max(1, round(max(image.shape[:2]) / 600))
    cv2.polylines(picture, [np.rint(p).astype(np.int32) for p in polygons], True, _GREEN, thickness, cv2.LINE_AA)
    return picture


def _groups(
    detector: TextDetector, paths: Iterable[Path], batch_size: int, summary: Summary
) -> Iterator[list[tuple[Path, np.ndarray]]]:
    """Neighbouring images of equal network size, in order, at most `batch_size` in memory."""
    group: list[tuple[Path, np.ndarray]] = []
    group_size: tuple[int, int] | None = None
    for path in paths:
        try:
            image = read_image(path)
        except DataError as error:
            summary.failures.append(str(error))
            continue
        size = detector.resize.target_size(*image.shape[:2])
        if group and (len(group) >= batch_size or size != group_size):
            yield group
            group = []
        group_size = size
        group.append((path, image))
    if group:
        yield group


def _save_picture(path: Path, picture: np.ndarray) -> None:
    encoded, data = cv2.imencode(path.suffix, picture)
    if not encoded:
        raise DataError(f"{path}: OpenCV cannot write {path.suffix} files")
    path.write_bytes(data.tobytes())


def _as_bgr(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8 or not image.size or image.ndim not in (2, 3):
        raise DataError(f"an image must be uint8 [H,W,3] BGR and not empty; got {image.dtype} {list(image.shape)}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels not in (1, 3, 4):
        raise DataError(f"an image must have 1, 3 or 4 channels, the last axis; got {list(image.shape)}")
    if channels == 3:
        return image
    return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR if channels == 1 else cv2.COLOR_BGRA2BGR)


def _natural(name: str) -> list[tuple[int, str]]:
    """img_2 sorts before img_10; names without figures as usual."""
    return [(int(part), "") if part.isdecimal() else (-1, part.lower()) for part in re.split(r"(\d+)", name)]
