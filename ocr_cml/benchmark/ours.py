"""Ours: the cases, each a function that prepares and returns what does one round, in a process set up as our tools'."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from ocr_cml.benchmark.answering import detector, evaluation
from ocr_cml.benchmark.inputs import read_pages
from ocr_cml.benchmark.training import losses, step
from ocr_cml.environment import tune_process
from ocr_cml.metrics import DetMetric
from ocr_cml.postprocess import DBPostProcess
from ppocr_data.dataset import DetDataset
from ppocr_data.loader import train_loader
from ppocr_data.transforms import build_ops

Round = Callable[[], dict[str, Any]]

__all__ = ["detector", "evaluation", "loader", "losses", "scoring", "step", "targets"]


def targets(path: str, size: int) -> Round:
    """Shrink and threshold maps of every page; `seconds` an image."""
    tune_process()
    cv2.setNumThreads(1)
    border, shrink = build_ops([{"MakeBorderMap": {"shrink_ratio": 0.4}}, {"MakeShrinkMap": {"shrink_ratio": 0.4}}])
    rng = np.random.default_rng(0)
    image = np.zeros((size, size, 3), np.uint8)
    pages = [{"image": image, "polygons": p, "ignore": i, "epoch": 0} for p, i in read_pages(path)]

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        made = [shrink(border(page, rng), rng) for page in pages]
        seconds = (time.perf_counter() - start) / len(pages)
        return {"seconds": seconds, "text": int(sum(page["shrink_map"].sum() for page in made))}

    return once


def loader(
    label_file: str, data_dir: str, transforms: list[dict[str, Any]], batch: int, batches: int, workers: int = 1
) -> Round:
    """Batches as the trainer draws them, from worker processes; `seconds` an image, after the first batch."""

    tune_process()

    def once() -> dict[str, Any]:
        dataset = DetDataset.from_label_files(label_file, data_dir, build_ops(transforms), seed=1)
        with train_loader(dataset, batch, num_workers=workers, seed=1) as batches_of:
            next(batches_of)
            start = time.perf_counter()
            for _ in range(batches):
                next(batches_of)
            return {"seconds": (time.perf_counter() - start) / (batch * batches)}

    return once


def scoring(stem: str) -> Round:
    """Maps to boxes, boxes to counts; seconds an image of each."""
    tune_process()
    cv2.setNumThreads(1)
    maps, pages = np.load(f"{stem}.npy"), read_pages(f"{stem}.json")
    postprocess = DBPostProcess()

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        found = [postprocess(prob, prob.shape)[0] for prob in maps]
        between = time.perf_counter()
        metric = DetMetric()
        for polygons, (truth, ignore) in zip(found, pages, strict=True):
            metric.add(polygons, truth, ignore)
        end = time.perf_counter()
        return {
            "postprocess": (between - start) / len(maps),
            "metric": (end - between) / len(maps),
            "boxes": sum(map(len, found)),
            "counts": list(metric.counts),
        }

    return once
