"""Soft targets (Hinton, Vinyals, Dean, Distilling the Knowledge in a Neural Network, 2015, section 2)."""

from __future__ import annotations

from typing import ClassVar

from paddle import Tensor, nn

from ocr_cml.losses.base import Role, require
from ocr_cml.losses.divergences import bernoulli_kl
from ocr_cml.losses.maps import guide_logit, weighted_mean
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput, as_float32


class STLoss(nn.Layer):
    """T^2 * KL(sigmoid(u / T) || sigmoid(z / T)), the mean over pixels: the two-class softmax of Hinton's formula.

    Args:
        temperature: T, > 0; above 1 it lets the teacher's small probabilities speak.
        use_mask: leave out the don't-care text of labelled images.

    Raises:
        ConfigError: a temperature that is not positive.
    """

    role: ClassVar[Role] = "teacher"
    log_name: ClassVar[str] = "st"

    def __init__(self, *, temperature: float = 4.0, use_mask: bool = False) -> None:
        super().__init__()
        require(temperature > 0, f"STLoss.temperature: must be above 0, is {temperature}")
        self.temperature, self.use_mask = temperature, use_mask

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The scalar loss of `learner` against `guide`."""
        assert guide is not None, "STLoss needs a guide"
        ours = as_float32(learner.shrink_logit)
        value = bernoulli_kl(guide_logit(guide, ours) / self.temperature, ours / self.temperature)
        return self.temperature**2 * weighted_mean(value, targets.care_mask if self.use_mask else None)
