"""The plain implementation of the losses and of the training step: formulas written out, dygraph, Paddle's defaults."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

Round = Callable[[], dict[str, Any]]


def total_loss(students: list[tuple[Any, Any]], teacher: Any, targets: dict[str, Any]) -> Any:
    """The sum of all terms of CML for pairs of shrink and threshold logits; `teacher` is its probability map."""
    import paddle
    import paddle.nn.functional as F

    text, care = targets["shrink_map"], targets["shrink_mask"]
    seen = F.max_pool2d((teacher > 0.3).astype("float32"), 3, stride=1, padding=1)
    total = paddle.zeros([])
    for number, (shrink, threshold) in enumerate(students):
        p, t = F.sigmoid(shrink), F.sigmoid(threshold)
        binary = F.sigmoid(50 * (p - t))
        border = targets["threshold_mask"]
        total = total + 5 * _dice(p, text, care) + _dice(binary, text, care)
        total = total + 10 * (paddle.abs(t - targets["threshold_map"]) * border).sum() / (border.sum() + 1e-6)
        total = total + 5 * _dice(p, seen, care) + _dice(binary, seen, care)
        for other, (peer, _) in enumerate(students):
            if other != number:
                total = total + _kl(F.sigmoid(peer.detach()), p).mean() / (len(students) - 1)
    return total


def _dice(prediction: Any, target: Any, mask: Any) -> Any:
    shared = (prediction * target * mask).sum()
    return 1 - 2 * shared / ((prediction * mask).sum() + (target * mask).sum() + 1e-6)


def _kl(q: Any, p: Any) -> Any:
    import paddle

    q, p = q.clip(1e-7, 1 - 1e-7), p.clip(1e-7, 1 - 1e-7)
    return q * paddle.log(q / p) + (1 - q) * paddle.log((1 - q) / (1 - p))


def losses(path: str) -> Round:
    """See `training.losses`."""
    import paddle

    given = {name: paddle.to_tensor(value) for name, value in np.load(path).items()}
    learned = [given[name] for name in ("shrink", "threshold", "shrink2", "threshold2")]
    for logit in learned:
        logit.stop_gradient = False

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        total = total_loss([(learned[0], learned[1]), (learned[2], learned[3])], given["teacher"], given)
        total.backward()
        seconds = time.perf_counter() - start
        for logit in learned:
            logit.clear_gradient()
        return {"seconds": seconds, "value": float(total)}

    return once


def step(
    label_file: str,
    data_dir: str,
    transforms: list[dict[str, Any]],
    batch: int,
    student: dict[str, Any],
    teacher: dict[str, Any],
    teacher_weights: str,
    students: int = 2,
) -> Round:
    """See `training.step`: the same networks and batches, the teacher in dygraph, nothing set up for speed."""
    import paddle
    import paddle.nn.functional as F

    from ocr_cml.models import build_detector, heads
    from ocr_cml.models.necks import pyramids
    from ocr_cml.models.weight_files import read_weights
    from ocr_cml.models.weights import load_into
    from ocr_cml.normalization import Normalization
    from ppocr_data.dataset import DetDataset
    from ppocr_data.loader import train_loader
    from ppocr_data.transforms import build_ops

    def interpolate(x: Any, factor: int) -> Any:
        return x if factor == 1 else F.interpolate(x, scale_factor=factor, mode="nearest")

    pyramids.upsample_nearest = heads.upsample_nearest = interpolate
    paddle.seed(1)
    learners = [build_detector(student) for _ in range(students)]
    guide = build_detector(teacher)
    load_into(guide, read_weights(teacher_weights, "Teacher"), frozen=True, source=teacher_weights)
    guide.eval()
    moved = [p for learner in learners for p in learner.parameters() if not p.stop_gradient]
    optimizer = paddle.optimizer.Adam(1e-3, parameters=moved)
    dataset = DetDataset.from_label_files(label_file, data_dir, build_ops(transforms), seed=1, allow_outside=True)
    batches: Iterator[Any] = iter(train_loader(dataset, batch, num_workers=1, seed=1))

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        drawn = next(batches)
        maps = {name: getattr(drawn, name) for name in ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask")}
        targets = {name: paddle.to_tensor(value[:, None].astype(np.float32)) for name, value in maps.items()}
        targets["threshold_map"] = targets["threshold_map"] / 255
        images = paddle.to_tensor(Normalization().apply(drawn.image))
        with paddle.no_grad():
            answer = guide.probability(images)
        outputs = [learner(images) for learner in learners]
        total = total_loss([(o.shrink_logit, o.threshold_logit) for o in outputs], answer, targets)
        total.backward()
        optimizer.step()
        optimizer.clear_grad()
        float(total)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}

    return once
