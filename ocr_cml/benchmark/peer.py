"""PaddleOCR's side. Runs in a virtual environment with paddleocr 2.10.0 and imports nothing of this project.

That package brings `ppocr`'s loader, targets and post-process. Metric, networks and losses are in PaddleOCR's source
alone: the variable PPOCR_SOURCE names a checkout, whose `ppocr` is then used for everything.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from typing import Any

import cv2
import numpy as np

_SOURCE = os.environ.get("PPOCR_SOURCE")
if _SOURCE:
    sys.path.insert(0, _SOURCE)
else:
    import paddleocr  # noqa: F401  (puts its own folder on the path)

_LOG = logging.getLogger("peer")


def _pages(path: str) -> list[tuple[list[np.ndarray], np.ndarray]]:
    with open(path, encoding="utf-8") as file:  # noqa: PTH123
        read = json.load(file)
    pages = read["pages"] if isinstance(read, dict) else read
    return [([np.array(p, np.float32) for p in page["polygons"]], np.array(page["ignore"], bool)) for page in pages]


def targets(path: str, size: int) -> Any:
    """See `ours.targets`."""
    from ppocr.data.imaug.make_border_map import MakeBorderMap
    from ppocr.data.imaug.make_shrink_map import MakeShrinkMap

    cv2.setNumThreads(1)
    border, shrink, pages = MakeBorderMap(shrink_ratio=0.4), MakeShrinkMap(shrink_ratio=0.4), _pages(path)

    def once() -> dict[str, Any]:
        given = [
            {"image": np.zeros((size, size, 3), np.uint8), "polys": np.array(p), "ignore_tags": i.copy()}
            for p, i in pages
        ]
        start = time.perf_counter()
        made = [shrink(border(data)) for data in given]
        seconds = (time.perf_counter() - start) / len(given)
        return {"seconds": seconds, "text": int(sum(data["shrink_map"].sum() for data in made))}

    return once


def _configuration(label_file: str, data_dir: str, transforms: list[Any], batch: int, workers: int) -> dict[str, Any]:
    keys = ["image", "threshold_map", "threshold_mask", "shrink_map", "shrink_mask"]
    dataset: dict[str, Any] = {
        "name": "SimpleDataSet",
        "data_dir": data_dir,
        "label_file_list": [label_file],
        "ratio_list": [1.0],
    }
    dataset["transforms"] = [*transforms, {"ToCHWImage": None}, {"KeepKeys": {"keep_keys": keys}}]
    loading: dict[str, Any] = {"shuffle": True, "drop_last": True, "batch_size_per_card": batch, "num_workers": workers}
    return {"Global": {"distributed": False}, "Train": {"dataset": dataset, "loader": loading}}


def _endless(configuration: dict[str, Any]) -> Any:
    import paddle
    from ppocr.data import build_dataloader

    paddle.set_device("cpu")
    batches = build_dataloader(configuration, "Train", paddle.set_device("cpu"), _LOG, seed=1)
    while True:
        yield from batches


def loader(label_file: str, data_dir: str, transforms: list[Any], batch: int, batches: int, workers: int = 1) -> Any:
    """See `ours.loader`."""

    def once() -> dict[str, Any]:
        drawn = _endless(_configuration(label_file, data_dir, transforms, batch, workers))
        next(drawn)
        start = time.perf_counter()
        for _ in range(batches):
            next(drawn)
        return {"seconds": (time.perf_counter() - start) / (batch * batches)}

    return once


def scoring(stem: str) -> Any:
    """See `ours.scoring`; the metric only with PaddleOCR's source."""
    from ppocr.postprocess.db_postprocess import DBPostProcess

    cv2.setNumThreads(1)
    maps, pages = np.load(f"{stem}.npy"), _pages(f"{stem}.json")
    postprocess = DBPostProcess(thresh=0.3, box_thresh=0.6, max_candidates=1000, unclip_ratio=1.5)

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        found = [postprocess({"maps": prob[None, None]}, [(*prob.shape, 1.0, 1.0)])[0] for prob in maps]
        between = time.perf_counter()
        answer: dict[str, Any] = {
            "postprocess": (between - start) / len(maps),
            "boxes": sum(len(page["points"]) for page in found),
        }
        if _SOURCE:
            from ppocr.metrics.det_metric import DetMetric

            metric = DetMetric()
            between = time.perf_counter()
            for page, (truth, ignore) in zip(found, pages):  # noqa: B905
                metric([page], [None, None, [truth], [ignore]])
            answer["metric"] = (time.perf_counter() - between) / len(maps)
            keys = ("detMatched", "gtCare", "detCare")
            answer["counts"] = [sum(result[key] for result in metric.results) for key in keys]
        return answer

    return once


# --- training: PaddleOCR's source alone ------------------------------------------------------------------------------

_LOSSES: list[dict[str, Any]] = [
    {
        "DistillationDilaDBLoss": {
            "weight": 1.0,
            "model_name_pairs": [["Student", "Teacher"], ["Student2", "Teacher"]],
            "key": "maps",
            "balance_loss": True,
            "main_loss_type": "DiceLoss",
            "alpha": 5,
            "beta": 10,
            "ohem_ratio": 3,
        }
    },
    {
        "DistillationDMLLoss": {
            "maps_name": "thrink_maps",
            "weight": 1.0,
            "model_name_pairs": ["Student", "Student2"],
            "key": "maps",
        }
    },
    {
        "DistillationDBLoss": {
            "weight": 1.0,
            "model_name_list": ["Student", "Student2"],
            "balance_loss": True,
            "main_loss_type": "DiceLoss",
            "alpha": 5,
            "beta": 10,
            "ohem_ratio": 3,
        }
    },
]


def losses(path: str) -> Any:
    """See `ours.losses`."""
    import paddle
    from ppocr.losses.combined_loss import CombinedLoss

    given = {name: paddle.to_tensor(value) for name, value in np.load(path).items()}
    combined = CombinedLoss(_LOSSES)
    labels = [None, *(given[name][:, 0] for name in ("threshold_map", "threshold_mask", "shrink_map", "shrink_mask"))]
    learned = [given[name] for name in ("shrink", "threshold", "shrink2", "threshold2")]
    for logit in learned:
        logit.stop_gradient = False

    def maps(shrink: Any, threshold: Any) -> dict[str, Any]:
        p, t = paddle.nn.functional.sigmoid(shrink), paddle.nn.functional.sigmoid(threshold)
        binary = paddle.reciprocal(1 + paddle.exp(-50 * (p - t)))
        return {"maps": paddle.concat([p, t, binary], axis=1)}

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        teacher = {"maps": paddle.concat([given["teacher"]] * 3, axis=1)}
        answers = {"Student": maps(*learned[:2]), "Student2": maps(*learned[2:]), "Teacher": teacher}
        total = combined(answers, labels)["loss"]
        total.backward()
        seconds = time.perf_counter() - start
        value = float(total.mean())
        for logit in learned:
            logit.clear_gradient()
        return {"seconds": seconds, "value": value}

    return once


def step(
    label_file: str,
    data_dir: str,
    transforms: list[Any],
    batch: int,
    student: dict[str, Any],
    teacher: dict[str, Any],
    teacher_weights: str,
    students: int = 2,
) -> Any:
    """See `ours.step`: PaddleOCR's networks, losses and loop; the teacher starts from random weights here."""
    import paddle
    from ppocr.losses.combined_loss import CombinedLoss
    from ppocr.modeling.architectures import build_model

    paddle.set_device("cpu")
    paddle.seed(1)
    common = {"model_type": "det", "algorithm": "DB", "Transform": None, "return_all_feats": False}
    names = ["Student", "Student2"][:students]
    models = {"Teacher": {"freeze_params": True, **common, **teacher}}
    models |= {name: {"freeze_params": False, **common, **json.loads(json.dumps(student))} for name in names}
    architecture = {"name": "DistillationModel", "algorithm": "Distillation", "model_type": "det", "Models": models}
    model, combined = build_model(architecture), CombinedLoss(_LOSSES)
    moved = [p for p in model.parameters() if p.trainable]
    optimizer = paddle.optimizer.Adam(1e-3, parameters=moved)
    drawn = _endless(_configuration(label_file, data_dir, transforms, batch, 1))

    def once() -> dict[str, Any]:
        times = [time.perf_counter()]
        data = next(drawn)
        times.append(time.perf_counter())
        model.train()
        answers = model(data[0])
        times.append(time.perf_counter())
        total = combined(answers, data)["loss"]
        times.append(time.perf_counter())
        total.backward()
        times.append(time.perf_counter())
        optimizer.step()
        optimizer.clear_grad()
        total.numpy()
        times.append(time.perf_counter())
        parts = dict(zip(("waiting", "forward", "losses", "backward", "optimizer"), np.diff(times).tolist()))  # noqa: B905
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        return {"seconds": times[-1] - times[0], "peak": peak, **parts}

    return once
