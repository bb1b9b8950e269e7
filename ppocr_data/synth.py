"""The embedded set: synthetic text images with labels in PaddleOCR's format, made on first use.

Procedural backgrounds, fonts that a dependency ships (or the user's own), rotation, perspective, blur, noise, light and
dark text, don't-care text, and drawings that are not text. Image i of a part depends on (seed, part, i) alone and is
the same to the last bit on the same machine with the same versions of numpy, OpenCV and Pillow.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ppocr_data import in_use
from ppocr_data.decode import MOST_MEGAPIXELS
from ppocr_data.digests import sha256_of
from ppocr_data.errors import DataError
from ppocr_data.locks import lock
from ppocr_data.synth_fonts import Font, load_fonts
from ppocr_data.synth_page import Page, draw_page

LOG = logging.getLogger(__name__)
GENERATOR = "ocr_cml synthetic text"
VERSION = 1  # raise it whenever the same parameters give other images
PARTS = ("train", "val")  # a part's position is its id in the random stream
MANIFEST = "dataset.json"
OURS = {*PARTS, *(f"{part}.txt" for part in PARTS), MANIFEST}
ASKED = ("train", "val", "size", "seed")
"""Of the parameters, those that a user chooses in numbers."""
LARGEST_SIDE = 65500
"""Of a JPEG, as OpenCV writes them."""
SMALLEST_SIDE = 96
JPEG_QUALITY = 95

Progress = Callable[[int, int], None]


def generate(
    folder: Path | str,
    *,
    train: int = 400,
    val: int = 60,
    size: tuple[int, int] = (384, 384),
    seed: int = 2026,
    fonts: Path | str | None = None,
    progress: Progress | None = None,
) -> None:
    """Make the set in `folder`: train/*.jpg, val/*.jpg, train.txt, val.txt and, last, dataset.json.

    It is made in a temporary folder beside `folder` and renamed, so `folder` never holds half a set; a set made
    earlier by this generator is replaced, anything else is left alone and is an error.

    Args:
        folder: where the set goes; also the `data_dir` of both label files.
        train, val: images of each part, at least 1.
        size: height and width of the images in pixels, each at least 96.
        seed: 0 or more; the whole set follows from it.
        fonts: a folder with .ttf or .otf files instead of the fonts that matplotlib ships.
        progress: called as `progress(done, total)` after each image.

    Raises:
        DataError: parameters out of range, fonts that cannot be used, or a folder that holds something else.
    """
    folder, faces, parameters = _prepare(folder, train, val, size, seed, fonts)
    with _sole_writer(folder):
        _make(folder, faces, parameters, progress)


def ensure(
    folder: Path | str,
    *,
    train: int = 400,
    val: int = 60,
    size: tuple[int, int] = (384, 384),
    seed: int = 2026,
    fonts: Path | str | None = None,
    progress: Progress | None = None,
) -> bool:
    """`generate`, unless `folder` already holds exactly that set, whole. True where images were made.

    A set with other parameters is replaced, and the log says so, unless another process has called this and still
    runs. Several processes may call it at once: one generates, the others wait for it.

    Raises:
        DataError: as `generate`, or another process reads a set with other parameters from the folder.
    """
    folder, faces, parameters = _prepare(folder, train, val, size, seed, fonts)
    in_use.hold(folder)
    if _is_whole(folder, parameters):
        return False
    in_use.release(folder)
    with _sole_writer(folder):
        made = not _is_whole(folder, parameters)  # else another process made it while this one waited
        if made:
            _tell_replaced(folder, parameters)
            _make(folder, faces, parameters, progress)
        in_use.hold(folder)  # before another one may write
    return made


def sample_page(part: str, index: int, *, size: tuple[int, int], seed: int, fonts: list[Font]) -> Page:
    """Image `index` of `part` ("train" or "val") before compression, with its labels and its ink."""
    rng = np.random.default_rng([seed, PARTS.index(part), index])
    return draw_page(rng, *size, fonts)


def _prepare(
    folder: Path | str, train: int, val: int, size: tuple[int, int], seed: int, fonts: Path | str | None
) -> tuple[Path, list[Font], dict[str, Any]]:
    """Check the arguments; the folder, the fonts, and the parameters that the images follow from."""
    if train < 1 or val < 1:
        raise DataError(f"synthetic set: train and val must be at least 1, not {train} and {val}")
    if min(size) < SMALLEST_SIDE:
        raise DataError(f"synthetic set: size must be at least {SMALLEST_SIDE} on each side, not {size[0]}x{size[1]}")
    if max(size) > LARGEST_SIDE or size[0] * size[1] > MOST_MEGAPIXELS * 1e6:
        raise DataError(
            f"synthetic set: size must be at most {LARGEST_SIDE} on each side and {MOST_MEGAPIXELS:g} megapixels, not "
            f"{size[0]}x{size[1]}"
        )
    if seed < 0:
        raise DataError(f"synthetic set: seed must be 0 or more, not {seed}")
    faces = load_fonts(None if fonts is None else Path(fonts))
    parameters = {
        "generator": GENERATOR,
        "version": VERSION,
        "train": train,
        "val": val,
        "size": list(size),
        "seed": seed,
        "fonts": {face.path.name: face.sha256 for face in faces},
    }
    return Path(folder).resolve(), faces, parameters  # what a link names is filled, and the link stays


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """The folder's dataset.json, or None where there is none that this generator wrote."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return manifest if isinstance(manifest, dict) and manifest.get("generator") == GENERATOR else None


def _tell_replaced(folder: Path, parameters: dict[str, Any]) -> None:
    """What a folder held before is gone for the runs that began with it."""
    before = _read_manifest(folder) or {}
    changed = [key for key in ASKED if key in before and before[key] != parameters[key]]
    if changed:
        was, is_now = (", ".join(f"{key} {source[key]}" for key in changed) for source in (before, parameters))
        LOG.warning(
            "%s: holds the synthetic set of %s and is made anew with %s; a run that began with the former makes that "
            "anew in turn. To keep both name another folder, as data_dir too",
            *(folder, was, is_now),
        )


def _foreign(folder: Path) -> str | None:
    """What there is that this generator did not make, so that replacing the set would lose it; None where nothing."""
    if not folder.is_dir():
        return "is no folder"
    names = {path.name for path in folder.iterdir()}
    if not names:
        return None
    manifest = _read_manifest(folder)
    if manifest is None:
        return "holds something else than a synthetic set"
    try:
        counts, labels = {part: int(manifest[part]) for part in PARTS}, dict(manifest["labels_sha256"])
    except (KeyError, TypeError, ValueError):
        return f"has a {MANIFEST} that cannot be read"
    for part in PARTS:
        made, file = {_name(i) for i in range(counts[part])}, folder / f"{part}.txt"
        if (folder / part).is_dir():
            names |= {f"{part}/{path.name}" for path in (folder / part).iterdir() if path.name not in made}
        if file.is_file() and sha256_of(file) != labels.get(part):
            return f"has a {file.name} that was changed (without it the set is made anew)"
    added = sorted(names - OURS)
    return f"holds {added[0]}, which is not of the synthetic set" if added else None


def _is_whole(folder: Path, parameters: dict[str, Any]) -> bool:
    """Whether the folder holds the set with these parameters, its label files unchanged and no image missing."""
    manifest = _read_manifest(folder)
    if manifest is None or not _states(manifest, parameters):
        return False
    try:
        labels = manifest["labels_sha256"]
        return all(
            labels[part] == sha256_of(folder / f"{part}.txt")
            and {path.name for path in (folder / part).iterdir()} >= {_name(i) for i in range(parameters[part])}
            for part in PARTS
        )
    except (OSError, KeyError, TypeError):
        return False


def _states(manifest: Mapping[str, Any], parameters: Mapping[str, Any]) -> bool:
    return all(manifest.get(key) == value for key, value in parameters.items())


def _name(index: int) -> str:
    return f"{index:06}.jpg"


@contextlib.contextmanager
def _sole_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; clear what a killed generator left. The system frees the lock of a dead process."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with (folder.parent / f".{folder.name}.lock").open("w+") as handle:
            if lock(handle, wait=True):  # else two starts at once both generate, and the first to finish wins
                for leftover in folder.parent.glob(f".{folder.name}.making-*"):
                    shutil.rmtree(leftover, ignore_errors=True)
            yield
    except OSError as error:
        raise DataError(f"{folder}: the synthetic set cannot be written ({error})") from error


def _make(folder: Path, faces: list[Font], parameters: dict[str, Any], progress: Progress | None) -> None:
    if folder.exists() and (foreign := _foreign(folder)):
        raise DataError(f"{folder}: {foreign}, and would be replaced; name a new or an empty folder")
    LOG.info("%s: making the synthetic set of %d images", folder, parameters["train"] + parameters["val"])
    before = _read_manifest(folder)
    other = before is not None and not _states(before, parameters)
    with in_use.without_readers(folder) if other else contextlib.nullcontext():
        _put_new(folder, faces, parameters, progress)


def _put_new(folder: Path, faces: list[Font], parameters: dict[str, Any], progress: Progress | None) -> None:
    making = Path(tempfile.mkdtemp(prefix=f".{folder.name}.making-", dir=folder.parent))
    try:
        fresh = making / "new"
        fresh.mkdir()
        labels = {part: _write_part(fresh, part, faces, parameters, progress) for part in PARTS}
        manifest = json.dumps({**parameters, "labels_sha256": labels}, indent=1, sort_keys=True)
        (fresh / MANIFEST).write_text(manifest + "\n", encoding="utf-8")
        if folder.exists():
            folder.rename(making / "old")
        try:
            fresh.rename(folder)
        except OSError:
            # Without locks another process may have put the same set there first.
            if not _is_whole(folder, parameters):
                raise
    finally:
        shutil.rmtree(making, ignore_errors=True)


def _write_part(
    folder: Path, part: str, faces: list[Font], parameters: dict[str, Any], progress: Progress | None
) -> str:
    """Write one part's images and label file; the label file's SHA-256."""
    (folder / part).mkdir()
    lines = []
    done, total = (0 if part == "train" else parameters["train"]), parameters["train"] + parameters["val"]
    for index in range(parameters[part]):
        page = sample_page(part, index, size=tuple(parameters["size"]), seed=parameters["seed"], fonts=faces)
        jpeg = cv2.imencode(".jpg", page.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
        (folder / part / _name(index)).write_bytes(jpeg.tobytes())
        boxes = [
            {"transcription": text, "points": [[round(float(x), 1), round(float(y), 1)] for x, y in polygon]}
            for text, polygon in zip(page.texts, page.polygons, strict=True)
        ]
        lines.append(f"{part}/{_name(index)}\t{json.dumps(boxes, ensure_ascii=False)}\n")
        if progress is not None:
            progress(done + index + 1, total)
    content = "".join(lines).encode("utf-8")
    (folder / f"{part}.txt").write_bytes(content)
    return hashlib.sha256(content).hexdigest()
