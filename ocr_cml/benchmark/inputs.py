"""What every side is given: files in one folder, made from a seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ppocr_data import synth
from ppocr_data.errors import DataError
from ppocr_data.labels import read_labels

PAGE_HW = (736, 1280)


def photos(folder: Path, count: int, size: tuple[int, int] = (720, 1280), seed: int = 7) -> tuple[Path, Path]:
    """`count` synthetic JPEG pictures with labels; (label file, data_dir)."""
    synth.generate(folder, train=count, val=1, size=size, seed=seed)
    return folder / "train.txt", folder


def first_lines(label_file: Path, data_dir: Path, count: int, folder: Path) -> tuple[Path, Path]:
    """The first `count` samples of the user's own label file; (label file, data_dir)."""
    try:
        lines = label_file.read_text(encoding="utf-8").split("\n")[:count]  # as `read_labels` parts them
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--label_file: {label_file} cannot be read: {error}") from None
    folder.mkdir(parents=True, exist_ok=True)
    chosen = folder / "train.txt"
    chosen.write_text("\n".join(lines), encoding="utf-8")
    try:  # a mistake in them is told here, not by a side, and of the file that has it
        report = read_labels(chosen, data_dir)
    except DataError as error:
        raise DataError(str(error).replace(str(chosen), str(label_file))) from None
    if not report.samples:
        raise DataError(f"--label_file: {label_file} has no line; the form is image<TAB>[{{...}}, ...]")
    return chosen, data_dir


def quads(
    rng: np.random.Generator, count: int, size: tuple[int, int], heights: tuple[float, float] = (10, 22)
) -> list[np.ndarray]:
    """`count` words, float32 `[4,2]`, a little turned, inside (H, W), on a grid so that they do not overlap."""
    height, width = size
    columns = max(1, round((count * width / height / 3) ** 0.5))
    rows = -(-count // columns)
    cell_w, cell_h = width / columns, height / rows
    places = rng.permutation(columns * rows)[:count]
    words = []
    for place in places:
        row, column = divmod(int(place), columns)
        tall = min(float(rng.uniform(*heights)), 0.7 * cell_h)
        wide = float(rng.uniform(0.45, 0.85)) * cell_w
        centre = ((column + 0.5) * cell_w, (row + 0.5) * cell_h)
        words.append(cv2.boxPoints((centre, (wide, tall), float(rng.uniform(-6, 6)))))
    return words


def target_polygons(path: Path, images: int, polygons: int, size: tuple[int, int] = (640, 640), seed: int = 7) -> None:
    """Polygons of `images` crops, every tenth don't care, as JSON."""
    rng = np.random.default_rng(seed)
    pages = [
        {
            "polygons": [word.tolist() for word in quads(rng, polygons, size)],
            "ignore": [index % 10 == 9 for index in range(polygons)],
        }
        for _ in range(images)
    ]
    path.write_text(json.dumps({"size": size, "pages": pages}), encoding="utf-8")


def score_pages(path: Path, images: int, boxes: int, seed: int = 7) -> None:
    """Probability maps as a network would give them, with ground truth: `path`.npy and `path`.json.

    Every word is found, shrunken by 0.4 and blurred at its edge, one in eight with doubt; every tenth is don't care,
    every twelfth is missing in the labels.
    """
    rng = np.random.default_rng(seed)
    maps, pages = [], []
    for _ in range(images):
        words = quads(rng, boxes, PAGE_HW, (14, 34))
        canvas = np.zeros(PAGE_HW, np.float32)
        for index, word in enumerate(words):
            (centre, (long, short), angle) = cv2.minAreaRect(word)
            distance = long * short * (1 - 0.4**2) / (2 * (long + short))
            kernel = cv2.boxPoints((centre, (max(2, long - 2 * distance), max(2, short - 2 * distance)), angle))
            cv2.fillPoly(canvas, [np.rint(kernel).astype(np.int32)], 0.5 if index % 8 == 7 else 0.95)
        noise = rng.normal(0, 0.02, PAGE_HW).astype(np.float32)
        maps.append(np.clip(cv2.GaussianBlur(canvas, (5, 5), 0.8) + noise, 0, 1))
        known = [index for index in range(boxes) if index % 12 != 11]
        pages.append(
            {"polygons": [words[index].tolist() for index in known], "ignore": [index % 10 == 9 for index in known]}
        )
    np.save(path.with_suffix(".npy"), np.stack(maps))
    path.with_suffix(".json").write_text(json.dumps(pages), encoding="utf-8")


def loss_maps(path: Path, batch: int, size: int, seed: int = 7) -> None:
    """Two students' logits, a teacher's map and the targets of a batch, as an .npz of float32 `[N,1,H,W]`."""
    from ppocr_data.targets import shrink_target, threshold_target

    rng = np.random.default_rng(seed)
    made: dict[str, list[np.ndarray]] = {}

    def keep(name: str, value: np.ndarray) -> None:
        made.setdefault(name, []).append(value.astype(np.float32)[None])

    for _ in range(batch):
        words = quads(rng, 12, (size, size), (14, 40))
        ignore = np.arange(12) % 6 == 5
        kernels, mask = shrink_target((size, size), words, ignore, 0.4)
        values, border = threshold_target((size, size), words, ignore, 0.4)
        smooth = cv2.GaussianBlur(kernels.astype(np.float32), (9, 9), 2)
        for name in ("shrink", "shrink2"):
            keep(name, 8 * smooth - 4 + rng.normal(0, 1, (size, size)))
        for name in ("threshold", "threshold2"):
            keep(name, 4 * values / 255 - 2 + rng.normal(0, 0.3, (size, size)))
        keep("teacher", np.clip(smooth + rng.normal(0, 0.03, (size, size)), 0, 1))
        for name, value in (("shrink_map", kernels), ("shrink_mask", mask), ("threshold_mask", border)):
            keep(name, value)
        keep("threshold_map", values / 255)
    arrays: dict[str, Any] = {name: np.stack(value) for name, value in made.items()}
    np.savez(path, **arrays)


def read_pages(path: str, name: str = "pages") -> list[tuple[Sequence[np.ndarray], np.ndarray]]:
    """Polygons and don't-care flags of every page of a JSON file."""
    read = json.loads(Path(path).read_text(encoding="utf-8"))
    pages = read[name] if isinstance(read, dict) else read
    return [([np.array(p, np.float32) for p in page["polygons"]], np.array(page["ignore"], bool)) for page in pages]
