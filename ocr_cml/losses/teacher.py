"""The teacher term of collaborative mutual learning (Du et al., PP-OCRv2, arXiv 2109.03144, section 2.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import paddle
from paddle import Tensor, nn

from ocr_cml.losses.base import Role, require, require_choice
from ocr_cml.losses.db import MainLoss, check_db_arguments, dice_loss, idle_main_loss_arguments, main_loss
from ocr_cml.losses.divergences import bernoulli_kl
from ocr_cml.losses.maps import TEXT_LEVEL, dilated, guide_logit, in_float32, logit
from ocr_cml.losses.pixels import Balance, check_pixel_arguments, mean_over, pixel_weight
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput
from ppocr_data.errors import ModelError


def dilated_target(guide: Tensor, thresh: float, dilation: int) -> Tensor:
    """1 where sigmoid(guide) > thresh, grown by `dilation` pixels in width and height, half of it on either side.

    PaddleOCR dilates by a 2x2 kernel, on the host: one pixel, to the right and downwards only, which moves every box by
    half a pixel. A symmetric growth is even; 2 is the smallest, a 3x3 maximum on the device.
    """
    with paddle.no_grad():
        return dilated((guide > logit(thresh)).astype("float32"), dilation // 2)


class TeacherLoss(nn.Layer):
    """What a frozen teacher teaches, on labelled and unlabelled images alike.

    `dilated` (PP-OCRv2): alpha * main(P, D) + Dice(B, D), D the teacher's map over `thresh`, dilated.
    `soft`: alpha * KL(P_teacher || P) of every pixel's Bernoulli, averaged: the teacher's doubt is kept, and B is left
    to the labels.

    Args:
        kind: `dilated` or `soft`.
        thresh: dilated: probability over which the teacher sees text, between 0 and 1.
        dilation: dilated: growth of D in pixels, width and height, half on either side: 0, 2, 4, ...; PP-OCRv2's is 2,
            which contradicts labels shrunk by the teacher's ratio along every edge (docs/methods.md).
        alpha: weight of the shrink map's loss, >= 0; soft: > 0.
        main_loss_type: dilated: loss of the shrink map.
        balance_loss: dilated with BCE: mine hard background.
        ohem_ratio: dilated with BCE: background pixels kept for each text pixel, > 0.
        eps: dilated: keeps ratios finite; between 0 and 0.5.
        use_mask: leave out the don't-care text of labelled images.
        temperature: soft: divides both logits; the value is multiplied by its square; > 0.
        confidence: count only pixels where the teacher gives max(q, 1 - q) at least this probability, 0.5 to 0.999999;
            none: all.
        balance: soft: `pixels` is the plain mean, `text` half the mean around text and half the rest (see DMLLoss).

    Raises:
        ConfigError: an unknown choice, or a value out of range.
    """

    role: ClassVar[Role] = "teacher"
    log_name: ClassVar[str] = "teacher"

    def __init__(
        self,
        *,
        kind: Literal["dilated", "soft"] = "dilated",
        thresh: float = TEXT_LEVEL,
        dilation: int = 0,
        alpha: float = 5.0,
        main_loss_type: MainLoss = "DiceLoss",
        balance_loss: bool = True,
        ohem_ratio: float = 3.0,
        eps: float = 1e-6,
        use_mask: bool = True,
        temperature: float = 1.0,
        confidence: float | None = None,
        balance: Balance = "pixels",
    ) -> None:
        super().__init__()
        require_choice("TeacherLoss", "kind", kind, ("dilated", "soft"))
        check_db_arguments("TeacherLoss", alpha, ohem_ratio, main_loss_type, eps)
        check_pixel_arguments("TeacherLoss", temperature, confidence, balance)
        require(0 < thresh < 1, f"TeacherLoss.thresh: must lie between 0 and 1, is {thresh}")
        even = dilation >= 0 and dilation % 2 == 0
        require(even, f"TeacherLoss.dilation: grows both sides alike, so must be 0, 2, 4, ...; is {dilation}")
        softly = kind == "soft" or (temperature == 1 and balance == "pixels")
        require(softly, "TeacherLoss.temperature, balance: are for kind: soft; leave them out or set kind to soft")
        require(kind == "dilated" or alpha > 0, "TeacherLoss.alpha: is the whole of kind: soft, so must be above 0")
        self.kind, self.thresh, self.dilation, self.alpha, self.eps = kind, thresh, dilation, alpha, eps
        self.main_loss_type, self.balance_loss, self.ohem_ratio = main_loss_type, balance_loss, ohem_ratio
        self.use_mask, self.temperature, self.confidence, self.balance = use_mask, temperature, confidence, balance

    @staticmethod
    def idle(arguments: Mapping[str, Any]) -> dict[str, str]:
        """Arguments that have no effect, each with the setting by which it has none. Takes all of them."""
        if arguments["kind"] == "soft":
            dilated_only = ("thresh", "dilation", "main_loss_type", "balance_loss", "ohem_ratio", "eps")
            return dict.fromkeys(dilated_only, "kind: soft")
        return idle_main_loss_arguments(arguments)

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The scalar loss of `learner` against `guide`.

        Raises:
            ModelError: `dilated` needs a binary map, and the learner gives none.
        """
        assert guide is not None, "TeacherLoss needs a guide"
        learner = in_float32(learner)
        seen = guide_logit(guide, learner.shrink_logit)
        weight = pixel_weight(seen, targets, self.use_mask, self.confidence)
        return (self._soft if self.kind == "soft" else self._dilated)(learner, seen, weight, targets)

    def _soft(self, learner: DetOutput, seen: Tensor, weight: Tensor | None, targets: Targets) -> Tensor:
        value = bernoulli_kl(seen / self.temperature, learner.shrink_logit / self.temperature)
        return self.alpha * self.temperature**2 * mean_over(self.balance, seen, targets, weight)(value)

    def _dilated(self, learner: DetOutput, seen: Tensor, weight: Tensor | None, targets: Targets) -> Tensor:
        if learner.threshold_logit is None:
            raise ModelError("TeacherLoss: the network gives no threshold map; put it into training mode, or use soft")
        target = dilated_target(seen, self.thresh, self.dilation)
        mask = paddle.ones_like(seen) if weight is None else weight
        shape = main_loss(
            self.main_loss_type,
            learner.shrink_logit,
            learner.shrink_prob,
            target,
            mask,
            balance=self.balance_loss,
            ratio=self.ohem_ratio,
            eps=self.eps,
        )
        return self.alpha * shape + dice_loss(learner.binary_prob, target, mask, self.eps)
