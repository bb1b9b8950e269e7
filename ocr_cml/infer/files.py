"""Many images -> a folder with `results.txt` and a picture of each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ocr_cml.infer.detector import Detections, TextDetector, finished
from ocr_cml.infer.results import PART, RESULTS, earlier_pictures, refuse_foreign, unwritable
from ocr_cml.pictures import draw, save_picture, writable_name
from ppocr_data.errors import DataError


@dataclass
class Summary:
    """What became of a folder: images done, boxes found, and the message of every image that could not be read."""

    images: int = 0
    boxes: int = 0
    failures: list[str] = field(default_factory=list)


def detect_files(
    detector: TextDetector,
    paths: Sequence[Path],
    output: Path,
    batch_size: int = 1,
    progress: Callable[[Iterable[tuple[Path, Detections]]], Iterable[tuple[Path, Detections]]] = iter,
) -> Summary:
    """Write `results.txt`, a line an image in the order of `paths`, and a picture of each with its polygons.

    While it grows it is called `results.txt.part`. Pictures of an earlier call's images go when it is whole.

    An image that cannot be read gets no line; its message is kept and the others are done.

    Args:
        detector: what finds the text.
        paths: image files.
        output: folder to write to; made if need be. Pictures keep their file's name, with `.png` added to one by which
            OpenCV knows no format.
        batch_size: neighbours of equal size that are answered at once.
        progress: wraps what is found to show how far it is, as tqdm does.

    Raises:
        DataError: a picture would overwrite an image that was given, or a file that no earlier call has written; or
            the folder cannot be written.
    """
    written = {(output / writable_name(path)).resolve() for path in paths}
    if any(
        output.resolve() in (path.parent.resolve(), path.resolve().parent) or path.resolve() in written
        for path in paths
    ):
        raise DataError(f"{output}: holds the images, which the pictures would overwrite; choose another --output")
    _refuse_one_name(paths, output)
    earlier = earlier_pictures(output)
    refuse_foreign(output, written - earlier)
    unnamed = {path: text for path in paths if (text := unwritable(str(path)))}
    summary = Summary(failures=list(unnamed.values()))
    paths = [path for path in paths if path not in unnamed]

    def finish(path: Path, image: np.ndarray, found: Detections) -> tuple[Path, Detections]:
        save_picture(output / writable_name(path), draw(image, found.polygons))
        return path, found

    try:
        output.mkdir(parents=True, exist_ok=True)
        # Beside its place until it is whole: what is there may be another call's, and stays if nothing comes of this.
        part = output / PART
        # Line by line: by what it names the next call knows the pictures of one that was killed.
        with part.open("w", buffering=1, encoding="utf-8", errors="surrogateescape") as results:
            for path, found in progress(finished(detector, paths, batch_size, summary.failures, finish)):
                results.write(found.line(str(path)) + "\n")
                summary.images += 1
                summary.boxes += len(found.polygons)
        if summary.images:
            part.replace(output / RESULTS)
            for picture in earlier - written:
                picture.unlink(missing_ok=True)
        else:
            part.unlink()
    except BrokenPipeError:  # of who shows the progress
        raise
    except OSError as error:
        raise DataError(f"{output}: cannot be written ({error.strerror})") from error
    return summary


def _refuse_one_name(paths: Iterable[Path], output: Path) -> None:
    """Raise DataError where two images would have one picture."""
    owners: dict[str, Path] = {}
    for path in paths:
        other = owners.setdefault(writable_name(path), path)
        if other.resolve() != path.resolve():
            raise DataError(
                f"{output}: {other} and {path} have one name, and so would their pictures; look at one folder a call"
            )
