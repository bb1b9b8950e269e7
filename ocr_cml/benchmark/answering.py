"""Ours: evaluation with and without fitting the post-process, and the exported detector from file to boxes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ocr_cml.environment import cpu_cores, tune_process

Round = Callable[[], dict[str, Any]]


def evaluation(model_dir: str, label_file: str, data_dir: str, limit: int, batch: int) -> Round:
    """One evaluation of a network, without and with `--tune`; seconds an image of each."""
    tune_process()
    from ocr_cml.evaluate import Evaluator
    from ocr_cml.runtime import open_detector
    from ocr_cml.tune import Tuner
    from ppocr_data.dataset import EvalDataset
    from ppocr_data.transforms import DecodeImage, DetResizeForTest

    network = open_detector(model_dir, "onnx", threads=cpu_cores())
    ops = [DecodeImage(), DetResizeForTest(limit_side_len=limit, limit_type="min")]
    dataset = EvalDataset.from_label_files(label_file, data_dir, ops, allow_outside=True)
    judge = Evaluator(dataset, network.config.postprocess, batch)

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        scores = judge.score({"net": network.probability})
        between = time.perf_counter()
        judge.score({"net": network.probability}, tuners={"net": Tuner(base=judge.postprocess)})
        end = time.perf_counter()
        return {
            "plain": (between - start) / len(dataset),
            "tuned": (end - between) / len(dataset),
            "hmean": scores["net"]["hmean"],
        }

    return once


def detector(model_dir: str, folder: str, limit: int, limit_type: str, batch: int) -> Round:
    """Files to boxes, one call a file (`single`) and the whole folder (`folder`); seconds an image of each."""
    tune_process()
    from ocr_cml.infer import find_images, load_detector
    from ppocr_data.transforms import DetResizeForTest

    found = load_detector(model_dir)
    found.resize = DetResizeForTest(limit_side_len=limit, limit_type=limit_type)
    paths = find_images(Path(folder))

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        boxes = [[polygon.tolist() for polygon in found(path).polygons] for path in paths]
        between = time.perf_counter()
        streamed = [answer for _, answer in found.stream(paths, batch)]
        end = time.perf_counter()
        return {
            "single": (between - start) / len(paths),
            "folder": (end - between) / len(paths),
            "boxes": boxes,
            "streamed": [[polygon.tolist() for polygon in answer.polygons] for answer in streamed],
        }

    return once
