"""Mimicking logits (Ba & Caruana, Do Deep Nets Really Need to be Deep?, NIPS 2014, section 2.2)."""

from __future__ import annotations

from typing import ClassVar

import paddle
from paddle import Tensor, nn

from ocr_cml.losses.base import Role
from ocr_cml.losses.maps import guide_logit, weighted_mean
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput, as_float32


class LogitsLoss(nn.Layer):
    """Mean square of the difference of the shrink map's logits; the paper's, without its factor 1/2 (as common code).

    A teacher's logits are those of its probabilities, clipped to 13.8 (`DetOutput.as_from_probability`), whichever
    engine it answers in: unclipped ones, of 80 and more, would make the loss one about pixels that nobody doubts.

    Args:
        use_mask: leave out the don't-care text of labelled images.
    """

    role: ClassVar[Role] = "teacher"
    log_name: ClassVar[str] = "logits"

    def __init__(self, *, use_mask: bool = False) -> None:
        super().__init__()
        self.use_mask = use_mask

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The scalar loss of `learner` against `guide`."""
        assert guide is not None, "LogitsLoss needs a guide"
        ours = as_float32(learner.shrink_logit)
        error = paddle.square(ours - guide_logit(guide, ours))
        return weighted_mean(error, targets.care_mask if self.use_mask else None)
