"""The exported detector: an image, or a stream of files, -> the text in each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from ocr_cml import inference_yml
from ocr_cml.infer.results import unwritable
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.overlap import ahead
from ocr_cml.pictures import as_bgr, read_image
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.runtime import FrozenDetector, open_detector
from ppocr_data.errors import DataError
from ppocr_data.transforms import DetResizeForTest

Result = TypeVar("Result")


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
        """A line of `results.txt`: `path<TAB>[{"points": [[x,y],...], "score": s}, ...]`.

        Raises:
            DataError: the path has a tab or a line end, by which a reader of the line would go astray.
        """
        if problem := unwritable(path):
            raise DataError(problem)
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
            DataError: the file or the array is no image, or it is neither.
        """
        if not isinstance(image, np.ndarray | str | os.PathLike):
            raise DataError(
                f"one image is wanted, as a path or as a uint8 BGR array [H,W,3]; got {type(image).__name__}"
                + (" (cv2.imread answers so for a file that it cannot read)" if image is None else "")
            )
        pixels = as_bgr(image) if isinstance(image, np.ndarray) else read_image(Path(image))
        return self.batch([pixels])[0]

    def batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Several uint8 BGR images at once, all of one size after resizing.

        Raises:
            DataError: they are of several sizes.
        """
        resized = [self.resize.resize(image) for image in images]
        sizes = sorted({pixels.shape[:2] for pixels in resized})
        if len(sizes) > 1:
            listed = ", ".join(f"{height}x{width}" for height, width in sizes[:3])
            raise DataError(f"images of a batch have several sizes after resizing ({listed}); ask for each by itself")
        maps = self.network.probability(np.stack(resized)) if resized else ()
        return [self.read_map(map_, image) for map_, image in zip(maps, images, strict=True)]

    def read_map(self, map_: np.ndarray, image: np.ndarray) -> Detections:
        """The text of an image `[H,W,3]` from its probability map, float32 `[h,w]`."""
        return Detections(*self.postprocess(map_, (image.shape[0], image.shape[1])))

    def stream(self, paths: Iterable[Path], batch_size: int = 1) -> Iterator[tuple[Path, Detections]]:
        """The text of many files, in their order; while the network answers, neighbours are read and post-processed.

        Args:
            paths: image files.
            batch_size: neighbours of equal size after resizing that the network answers at once.

        Raises:
            DataError: a file is no image.
        """
        return finished(self, paths, batch_size, None, lambda path, _, found: (path, found))


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


def without_settings(model: Path) -> str:
    """How a model without `inference.yml`, as PaddleOCR's older ones are, is read; nothing of one that has it."""
    stated = inference_yml.beside(model)
    if stated.is_file() or not model.exists():
        return ""
    config = InferenceConfig()
    post, resize = config.postprocess, config.resize
    return (
        f"{model}: has no {stated.name} beside it, so images are resized by limit_side_len {resize.limit_side_len}, "
        f"limit_type {resize.limit_type}, and maps are read with thresh {post.thresh:g}, box_thresh "
        f"{post.box_thresh:g}, unclip_ratio {post.unclip_ratio:g}; PaddleOCR's runtime has limits of its own"
    )


def finished(
    detector: TextDetector,
    paths: Iterable[Path],
    batch_size: int,
    failures: list[str] | None,
    finish: Callable[[Path, np.ndarray, Detections], Result],
) -> Iterator[Result]:
    """`finish(path, image, detections)` of every image, in order.

    Args:
        failures: takes the message of every file that is no image; None raises the first.
        finish: runs beside the network.
    """

    def read(path: Path) -> tuple[Path, np.ndarray, np.ndarray] | DataError:
        try:
            image = read_image(path)
        except DataError as error:
            return error
        return path, image, detector.resize.resize(image)

    def answered() -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
        images = _readable(ahead(read, paths, 2 * batch_size), failures)
        for group in _groups(images, batch_size):
            maps = detector.network.probability(np.stack([pixels for _, _, pixels in group]))
            yield from ((path, image, map_) for (path, image, _), map_ in zip(group, maps, strict=True))

    def last(item: tuple[Path, np.ndarray, np.ndarray]) -> Result:
        path, image, map_ = item
        return finish(path, image, detector.read_map(map_, image))

    return ahead(last, answered(), 2 * batch_size)


def _readable(
    read: Iterable[tuple[Path, np.ndarray, np.ndarray] | DataError], failures: list[str] | None
) -> Iterator[tuple[Path, np.ndarray, np.ndarray]]:
    for item in read:
        if not isinstance(item, DataError):
            yield item
        elif failures is None:
            raise item
        else:
            failures.append(str(item))


def _groups(
    images: Iterable[tuple[Path, np.ndarray, np.ndarray]], batch_size: int
) -> Iterator[list[tuple[Path, np.ndarray, np.ndarray]]]:
    """Neighbours whose last arrays have one shape, at most `batch_size` together."""
    group: list[tuple[Path, np.ndarray, np.ndarray]] = []
    for item in images:
        if group and (len(group) >= batch_size or item[2].shape != group[0][2].shape):
            yield group
            group = []
        group.append(item)
    if group:
        yield group
