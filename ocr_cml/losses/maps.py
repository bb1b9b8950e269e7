"""What terms do with maps: their precision and size, means over some of the pixels, where text is."""

from __future__ import annotations

import math
from dataclasses import replace

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput, as_float32

TEXT_LEVEL = 0.3
"""Probability from which a pixel counts as text: the threshold of PP-OCR's post-processing."""


def in_float32(output: DetOutput) -> DetOutput:
    """The output with float32 maps; itself where they are already."""
    if output.shrink_logit.dtype == paddle.float32:
        return output
    threshold = None if output.threshold_logit is None else as_float32(output.threshold_logit)
    return replace(output, shrink_logit=as_float32(output.shrink_logit), threshold_logit=threshold)


def guide_logit(guide: DetOutput, like: Tensor) -> Tensor:
    """The guide's shrink logit, detached, float32, resized (bilinear) to the learner's map where strides differ."""
    return resized(as_float32(guide.shrink_logit.detach()), like)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """`x` `[N,C,h,w]` resized bilinearly to the height and width of `like`."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def mean(x: Tensor) -> Tensor:
    """Mean over all elements. Paddle's own adds them up one by one on a CPU: of ten million a per cent is lost."""
    return x.sum() / x.size


def weighted_mean(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of `x` over all pixels of the batch, or over those that `weight` (same shape) counts.

    A weight of zero everywhere gives 0 that still hangs on the graph.
    """
    if weight is None:
        return mean(x)
    total = weight.sum()
    return (x * weight).sum() / (total + (total == 0).astype("float32"))


def balanced_mean(x: Tensor, region: Tensor, weight: Tensor | None) -> Tensor:
    """Half the mean inside `region` plus half the mean outside. A side without pixels adds nothing.

    Text covers a few per cent of an image, so the plain mean of a map's divergence hardly depends on it.
    """
    inside, outside = (region, 1.0 - region) if weight is None else (region * weight, (1.0 - region) * weight)
    return 0.5 * (weighted_mean(x, inside) + weighted_mean(x, outside))


def dilated(region: Tensor, radius: int) -> Tensor:
    """A `[N,1,H,W]` map of 0 and 1 grown by `radius` pixels on every side, on the device."""
    return F.max_pool2d(region, 2 * radius + 1, stride=1, padding=radius) if radius else region


def text_region(guide: Tensor, targets: Targets) -> Tensor:
    """1 where the guide (logits `[N,1,H,W]`) or a label sees text, and two pixels around, where outlines differ."""
    seen = (guide > logit(TEXT_LEVEL)).astype("float32")
    return dilated(paddle.maximum(seen, targets.label_text), radius=2)


def logit(probability: float) -> float:
    """log(p / (1 - p)), so that a map of logits can be compared with a probability without a sigmoid."""
    return math.log(probability / (1 - probability))
