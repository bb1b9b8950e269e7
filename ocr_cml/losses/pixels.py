"""What the terms on soft maps share: which pixels count, and how they are weighed against each other."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import paddle
from paddle import Tensor

from ocr_cml.losses.base import require, require_choice
from ocr_cml.losses.maps import balanced_mean, logit, text_region, weighted_mean
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import CLIPPED

Balance = Literal["pixels", "text"]


def mean_over(balance: Balance, guide: Tensor, targets: Targets, weight: Tensor | None) -> Callable[[Tensor], Tensor]:
    """The mean by which a map of values `[N,1,H,W]` becomes the term's scalar.

    Args:
        balance: `pixels` is the plain mean, `text` half that around text and half that of the rest.
        guide: logits `[N,1,H,W]`, which say with the labels where text is.
        targets: the labels.
        weight: which pixels count, as 0 and 1; None for all.
    """
    if balance == "text":
        return partial(balanced_mean, region=text_region(guide, targets), weight=weight)
    return partial(weighted_mean, weight=weight)


def pixel_weight(guide: Tensor, targets: Targets, use_mask: bool, confidence: float | None) -> Tensor | None:
    """Which pixels count, as 0 and 1 `[N,1,H,W]`, or None for all.

    Args:
        guide: the guide's logits.
        targets: give the don't-care text.
        use_mask: leave that text out.
        confidence: leave out pixels where the guide's max(q, 1 - q) is below this.
    """
    weight = targets.care_mask if use_mask else None
    if confidence is None:
        return weight
    sure = (paddle.abs(guide) >= logit(confidence)).astype("float32")
    return sure if weight is None else sure * weight


def check_pixel_arguments(term: str, temperature: float, confidence: float | None, balance: str) -> None:
    """Raise ConfigError unless the arguments that terms on soft maps share are valid."""
    require(temperature > 0, f"{term}.temperature: must be above 0, is {temperature}")
    most = 1 - CLIPPED
    valid = confidence is None or 0.5 <= confidence <= most
    require(valid, f"{term}.confidence: max(q, 1 - q) lies in [0.5, {most}], as maps are clipped; is {confidence}")
    require_choice(term, "balance", balance, ("pixels", "text"))
