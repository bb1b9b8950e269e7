"""The plain implementation that the fast paths are compared with: the method as its paper states it, step by step.

The tests hold the fast paths to the results of these functions, and the benchmark measures both.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
import pyclipper
from shapely.geometry import Polygon

from ocr_cml.benchmark.inputs import read_pages
from ocr_cml.benchmark.plain_training import losses, step
from ocr_cml.metrics import IOU
from ocr_cml.normalization import Normalization
from ppocr_data import geometry
from ppocr_data.dataset import DetDataset, record_of
from ppocr_data.op import Op
from ppocr_data.transforms import build_ops

__all__ = ["loader", "losses", "scoring", "step", "targets"]

Round = Callable[[], dict[str, Any]]
_THRESH, _BOX_THRESH, _UNCLIP = 0.3, 0.6, 1.5


# --- targets ---------------------------------------------------------------------------------------------------------


def make_targets(
    size: tuple[int, int], polygons: Sequence[np.ndarray], ignore: np.ndarray, ratio: float = 0.4
) -> dict[str, np.ndarray]:
    """The four maps of simple polygons that lie inside the image, as float32 `[H,W]`."""
    kernels, care = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    rise, border = np.zeros(size, np.float32), np.zeros(size, np.uint8)
    for points, skip in zip(polygons, ignore, strict=True):
        distance = Polygon(points).area * (1 - ratio**2) / Polygon(points).length
        if skip or np.ptp(points, axis=0).min() < 8:
            geometry.fill(care, points, 0)
        else:
            for kernel in geometry.offset(points, -distance):
                geometry.fill(kernels, kernel, 1)
        if not skip:
            for grown in geometry.offset(points, distance):
                geometry.fill(border, grown, 1)
            low = np.maximum(np.floor(points.min(axis=0) - distance).astype(int), 0)
            high = np.ceil(points.max(axis=0) + distance).astype(int) + 1
            window = rise[low[1] : high[1], low[0] : high[0]]
            near = outline_distance(window.shape, points - low.astype(np.float32))
            np.maximum(window, 1 - np.minimum(near / distance, 1), out=window)
    maps = {"shrink_map": kernels, "shrink_mask": care, "threshold_map": 0.3 + 0.4 * rise, "threshold_mask": border}
    return {name: value.astype(np.float32) for name, value in maps.items()}


def outline_distance(size: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """The distance of every pixel from a polygon's outline, float32 `[H,W]`."""
    ys, xs = np.mgrid[: size[0], : size[1]].astype(np.float32)
    nearest = np.full(size, np.inf, np.float32)
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        along = end - start
        share = ((xs - start[0]) * along[0] + (ys - start[1]) * along[1]) / max(float(along @ along), 1e-12)
        share = share.clip(0, 1)
        nearest = np.minimum(nearest, np.hypot(xs - start[0] - share * along[0], ys - start[1] - share * along[1]))
    return nearest


def targets(path: str, size: int) -> Round:
    """See `ours.targets`."""
    cv2.setNumThreads(1)
    pages = read_pages(path)

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        made = [make_targets((size, size), polygons, ignore) for polygons, ignore in pages]
        seconds = (time.perf_counter() - start) / len(pages)
        return {"seconds": seconds, "text": int(sum(maps["shrink_map"].sum() for maps in made))}

    return once


# --- loader ----------------------------------------------------------------------------------------------------------


def _sample(ops: Sequence[Op], dataset: DetDataset, epoch: int, index: int) -> dict[str, np.ndarray]:
    """A sample whose every step is carried out on whole images, then normalised to float32 `[3,H,W]`."""
    sample, rng = dataset.samples[index], np.random.default_rng([1, epoch, index])
    record = {**record_of(sample, epoch), "ext": dataset.another}
    for op in ops:
        record = op(record, rng)
    maps = {name: record[name].astype(np.float32) for name in ("shrink_map", "shrink_mask", "threshold_mask")}
    return {
        "image": Normalization().apply(record["image"][None])[0],
        **maps,
        "threshold_map": record["threshold_map"].astype(np.float32) / 255,
    }


def _work(dataset: DetDataset, batch: int, batches: int, results: Any) -> None:
    cv2.setNumThreads(0)
    for number in range(batches):
        places = [number * batch + i for i in range(batch)]
        samples = [_sample(dataset.ops, dataset, p // len(dataset), p % len(dataset)) for p in places]
        results.put({name: np.stack([sample[name] for sample in samples]) for name in samples[0]})


def loader(
    label_file: str, data_dir: str, transforms: list[dict[str, Any]], batch: int, batches: int, workers: int = 1
) -> Round:
    """See `ours.loader`; one process and a queue of float32 arrays."""

    def once() -> dict[str, Any]:
        dataset = DetDataset.from_label_files(label_file, data_dir, build_ops(transforms), seed=1)
        context = multiprocessing.get_context("fork")
        results = context.Queue(maxsize=2)
        process = context.Process(target=_work, args=(dataset, batch, batches + 1, results), daemon=True)
        process.start()
        results.get()
        start = time.perf_counter()
        for _ in range(batches):
            results.get()
        seconds = (time.perf_counter() - start) / (batch * batches)
        process.join()
        return {"seconds": seconds}

    return once


# --- boxes and counts ------------------------------------------------------------------------------------------------


def boxes_of(prob: np.ndarray) -> tuple[list[np.ndarray], list[float]]:
    """The quads of a map, in its own pixels, and their scores: DB's post-process without any short cut."""
    contours, _ = cv2.findContours((prob > _THRESH).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    quads, scores = [], []
    height, width = prob.shape
    for contour in contours[:1000]:
        corners, side = _mini_box(contour)
        if side < 3:
            continue
        score = _score(prob, corners)
        if score < _BOX_THRESH:
            continue
        polygon = Polygon(corners)
        offset = pyclipper.PyclipperOffset()
        offset.AddPath(corners.tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
        grown = np.array(offset.Execute(polygon.area * _UNCLIP / polygon.length)).reshape(-1, 1, 2)
        corners, side = _mini_box(grown)
        if side < 5:
            continue
        quads.append(np.clip(np.round(corners), 0, (width, height)).astype(np.int32))
        scores.append(score)
    return quads, scores


def _mini_box(contour: np.ndarray) -> tuple[np.ndarray, float]:
    rectangle = cv2.minAreaRect(contour)
    points = sorted(cv2.boxPoints(rectangle), key=lambda point: point[0])
    left, right = sorted(points[:2], key=lambda p: p[1]), sorted(points[2:], key=lambda p: p[1])
    return np.array([left[0], right[0], right[1], left[1]]), min(rectangle[1])


def _score(prob: np.ndarray, corners: np.ndarray) -> float:
    height, width = prob.shape
    x0, x1 = np.clip([np.floor(corners[:, 0].min()), np.ceil(corners[:, 0].max())], 0, width - 1).astype(int)
    y0, y1 = np.clip([np.floor(corners[:, 1].min()), np.ceil(corners[:, 1].max())], 0, height - 1).astype(int)
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    cv2.fillPoly(mask, [(corners - np.array([x0, y0], corners.dtype)).astype(np.int32)], 1)
    return cv2.mean(prob[y0 : y1 + 1, x0 : x1 + 1], mask)[0]


def count(found: Sequence[np.ndarray], truth: Sequence[np.ndarray], ignore: np.ndarray) -> tuple[int, int, int]:
    """(matched, ground truths that count, detections that count) by the official script, pair by pair."""
    gts, dets = [Polygon(points) for points in truth], [Polygon(points) for points in found]
    ious = np.zeros((len(gts), len(dets)))
    swallowed = np.zeros(len(dets), bool)
    for column, det in enumerate(dets):
        for row, gt in enumerate(gts):
            shared = det.intersection(gt).area
            ious[row, column] = shared / det.union(gt).area
            swallowed[column] |= bool(ignore[row]) and shared / det.area > 0.5
    taken = swallowed.copy()
    matched = 0
    for row in np.flatnonzero(~ignore):
        for column in range(len(dets)):
            if not taken[column] and ious[row, column] > IOU:
                taken[column] = True
                matched += 1
                break
    return matched, int((~ignore).sum()), int((~swallowed).sum())


def scoring(stem: str) -> Round:
    """See `ours.scoring`."""
    cv2.setNumThreads(1)
    maps, pages = np.load(f"{stem}.npy"), read_pages(f"{stem}.json")

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        found = [boxes_of(prob)[0] for prob in maps]
        between = time.perf_counter()
        counts = [count(polygons, *page) for polygons, page in zip(found, pages, strict=True)]
        end = time.perf_counter()
        return {
            "postprocess": (between - start) / len(maps),
            "metric": (end - between) / len(maps),
            "boxes": sum(map(len, found)),
            "counts": np.sum(counts, axis=0).tolist(),
        }

    return once
