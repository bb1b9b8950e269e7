"""The supervised loss of Differentiable Binarization (Liao et al., AAAI 2020, section 3.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ocr_cml.losses.base import Role, require, require_choice
from ocr_cml.losses.focal import focal_loss
from ocr_cml.losses.maps import in_float32, weighted_mean
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput
from ppocr_data.errors import ModelError

MainLoss = Literal["DiceLoss", "BCELoss"]
MAIN_LOSSES: tuple[str, ...] = ("DiceLoss", "BCELoss")

VIRTUAL_TEXT = 0.05
"""Share of the counted pixels that a batch without text is given as text that is predicted perfectly."""


def dice_loss(prediction: Tensor, target: Tensor, mask: Tensor, eps: float = 1e-6) -> Tensor:
    """1 - 2 |PS| / (|P| + |S|) over the whole batch, PaddleOCR's value wherever there is text.

    One ratio for the batch, not a mean over images: its scale does not depend on the batch size, and an image without
    text is judged together with those that have some.

    Without any text the ratio is constantly 1 and its gradient exactly 0, so background would never be pushed down.
    Such a batch is scored as if `VIRTUAL_TEXT` of its counted pixels (v of them) were text, predicted perfectly:
    |P| / (|P| + 2 v), which is in [0, 1), zero only at P = 0, and pulls on background about as hard as a batch with
    that much text does. Nothing waits for the device. If no pixel counts at all, the value is 0, attached to the graph.

    Args:
        prediction: probabilities `[N,1,H,W]`.
        target: 0 or 1, the same shape.
        mask: 1 where a pixel counts, else 0.
        eps: keeps the ratio finite.
    """
    seen, text = prediction * mask, target * mask
    positives = text.sum()
    empty = (positives == 0).astype("float32")
    virtual = empty * (2 * VIRTUAL_TEXT * mask.sum() + eps)
    union = seen.sum() + positives + eps * (1 - empty) + virtual
    return 1.0 - (2.0 * (seen * text).sum() + virtual) / union


def mined_bce(logit: Tensor, target: Tensor, mask: Tensor, ratio: float = 3.0, eps: float = 1e-6) -> Tensor:
    """Binary cross-entropy over all text pixels and the `ratio` times as many hardest background pixels.

    The number of pixels kept stays on the device: the hardest are those above a threshold read from the sorted losses;
    pixels tied at the threshold share what is left of the number. So the value equals that of PaddleOCR's top-k, and
    nothing waits for the device. Sorting 4x640x640 pixels takes about 0.2 s on a CPU core.

    A batch without text keeps `ratio` times its virtual text (see `dice_loss`), whose loss is zero.

    Args:
        logit: `[N,1,H,W]`.
        target: 0 or 1, the same shape.
        mask: 1 where a pixel counts, else 0.
        ratio: background pixels kept for each text pixel, in all rounded down.
        eps: keeps the ratio finite.
    """
    loss = F.softplus(logit) - logit * target
    positive, negative = target * mask, (1.0 - target) * mask
    text = positive.sum()
    virtual = (text == 0).astype("float32") * VIRTUAL_TEXT * mask.sum()
    with paddle.no_grad():
        kept = paddle.minimum(negative.sum(), paddle.floor(ratio * text) + ratio * virtual)
        chosen = _hardest(loss * negative - (1.0 - negative), kept) * negative
    return (loss * (positive + chosen)).sum() / (text + virtual + kept + eps)


def _hardest(loss: Tensor, count: Tensor) -> Tensor:
    """Weights in [0, 1] summing to `count`: 1 on the largest values of `loss`, a share on those tied with the last."""
    size = loss.size
    order, _ = paddle.topk(loss.flatten(), size)
    last = paddle.clip(paddle.ceil(count).astype("int64") - 1, 0, size - 1)
    threshold = paddle.gather(order, last.reshape([1]))
    above, tied = (loss > threshold).astype("float32"), (loss == threshold).astype("float32")
    return above + tied * (paddle.clip(count - above.sum(), min=0.0) / tied.sum())


def main_loss(
    kind: MainLoss,
    logit: Tensor,
    probability: Tensor,
    target: Tensor,
    mask: Tensor,
    *,
    balance: bool,
    ratio: float,
    eps: float,
) -> Tensor:
    """The loss of the shrink map: Dice (PP-OCR) or cross-entropy with hard-negative mining (the paper).

    Dice is one number for the batch, so that mining it is the identity: `balance` and `ratio` concern BCE only.
    """
    if kind == "DiceLoss":
        return dice_loss(probability, target, mask, eps)
    if balance:
        return mined_bce(logit, target, mask, ratio, eps)
    return weighted_mean(F.softplus(logit) - logit * target, mask)


class DBLoss(nn.Layer):
    """alpha * main(P, S) + beta * L1(T on the border band) + Dice(B, S), on labelled images without don't-care text.

    Equals PaddleOCR's DBLoss wherever a batch has text; see `dice_loss` for batches without. A batch without labels
    gives 0, attached to the graph.

    Args:
        alpha: weight of the shrink map's loss, >= 0.
        beta: weight of the threshold map's loss, >= 0.
        ohem_ratio: BCE: background pixels kept for each text pixel, > 0.
        main_loss_type: loss of the shrink map.
        balance_loss: BCE: mine hard background; false is the mean over all pixels.
        eps: keeps ratios finite; between 0 and 0.5.
        aux_weight_p2, aux_weight_p3, aux_weight_p4: weights of the same loss on the maps of auxiliary heads (PP-OCRv6),
            >= 0.
        focal_alpha, focal_gamma, dice_weight, focal_weight: DiceFocalLoss, on P and B: dice_weight * Dice +
            focal_weight * focal loss; all >= 0, focal_alpha <= 1.

    Raises:
        ConfigError: an argument out of range.
    """

    role: ClassVar[Role] = "supervised"
    log_name: ClassVar[str] = "db"

    def __init__(
        self,
        *,
        alpha: float = 5.0,
        beta: float = 10.0,
        ohem_ratio: float = 3.0,
        main_loss_type: Literal["DiceLoss", "BCELoss", "DiceFocalLoss"] = "DiceLoss",
        balance_loss: bool = True,
        eps: float = 1e-6,
        aux_weight_p2: float = 0.0,
        aux_weight_p3: float = 0.0,
        aux_weight_p4: float = 0.0,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        dice_weight: float = 1.0,
        focal_weight: float = 1.0,
    ) -> None:
        super().__init__()
        check_db_arguments("DBLoss", alpha, ohem_ratio, main_loss_type, eps, (*MAIN_LOSSES, "DiceFocalLoss"))
        require(beta >= 0, f"DBLoss.beta: must be at least 0, is {beta}")
        self.aux_weights = {"p4": aux_weight_p4, "p3": aux_weight_p3, "p2": aux_weight_p2}
        for level, weight in self.aux_weights.items():
            require(weight >= 0, f"DBLoss.aux_weight_{level}: must be at least 0, is {weight}")
        require(0 <= focal_alpha <= 1, f"DBLoss.focal_alpha: must be between 0 and 1, is {focal_alpha}")
        for name, value in (("focal_gamma", focal_gamma), ("dice_weight", dice_weight), ("focal_weight", focal_weight)):
            require(value >= 0, f"DBLoss.{name}: must be at least 0, is {value}")
        self.focal_alpha, self.focal_gamma = focal_alpha, focal_gamma
        some = main_loss_type != "DiceFocalLoss" or dice_weight + focal_weight + beta > 0
        require(some, "DBLoss.dice_weight, focal_weight, beta: are all 0, so the term teaches nothing; raise one")
        self.dice_weight, self.focal_weight = dice_weight, focal_weight
        self.alpha, self.beta, self.eps = alpha, beta, eps
        self.ohem_ratio, self.main_loss_type, self.balance_loss = ohem_ratio, main_loss_type, balance_loss

    @staticmethod
    def idle(arguments: Mapping[str, Any]) -> dict[str, str]:
        """Arguments that have no effect, each with the setting by which it has none. Takes all of them."""
        kind = arguments["main_loss_type"]
        idle = idle_main_loss_arguments(arguments)
        if kind != "DiceFocalLoss":
            focal = ("focal_alpha", "focal_gamma", "dice_weight", "focal_weight")
            idle |= dict.fromkeys(focal, f"main_loss_type: {kind}")
        return idle

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The scalar loss of `learner`; `guide` is not used.

        Raises:
            ModelError: the learner gives no threshold map, or no auxiliary maps where they have a weight.
        """
        if learner.threshold_logit is None:
            raise ModelError("DBLoss: the network gives no threshold map; put it into training mode")
        total = self._maps_loss(in_float32(learner), targets)
        for level, weight in self.aux_weights.items():
            if weight > 0 and level not in learner.auxiliary:
                raise ModelError(
                    f"DBLoss.aux_weight_{level}: the network gives no auxiliary maps; set Head.aux_in_channels and a "
                    "neck RepLKFPN or RepLKPAN, or the weight to 0"
                )
            if weight > 0:
                total = total + weight * self._maps_loss(in_float32(learner.auxiliary[level]), targets)
        return total

    def _maps_loss(self, output: DetOutput, targets: Targets) -> Tensor:
        """The loss of one pair of shrink and threshold map."""
        border = targets.threshold_mask * targets.has_label
        error = paddle.abs(output.threshold_prob - targets.threshold_map)
        band = (error * border).sum() / (border.sum() + self.eps)
        if self.main_loss_type == "DiceFocalLoss":
            shape = self._dice_focal(output.shrink_logit, output.shrink_prob, targets)
            binary = self._dice_focal(output.binary_logit, output.binary_prob, targets)
        else:
            shape = main_loss(
                self.main_loss_type,
                output.shrink_logit,
                output.shrink_prob,
                targets.shrink_map,
                targets.label_mask,
                balance=self.balance_loss,
                ratio=self.ohem_ratio,
                eps=self.eps,
            )
            binary = dice_loss(output.binary_prob, targets.shrink_map, targets.label_mask, self.eps)
        return self.alpha * shape + self.beta * band + binary

    def _dice_focal(self, logit: Tensor, probability: Tensor, targets: Targets) -> Tensor:
        text, mask = targets.shrink_map, targets.label_mask
        focal = focal_loss(logit, text, mask, alpha=self.focal_alpha, gamma=self.focal_gamma, eps=self.eps)
        return self.dice_weight * dice_loss(probability, text, mask, self.eps) + self.focal_weight * focal


def idle_main_loss_arguments(arguments: Mapping[str, Any]) -> dict[str, str]:
    """Those of `main_loss` that have no effect, each with the setting by which it has none."""
    kind = arguments["main_loss_type"]
    if kind != "BCELoss":
        return dict.fromkeys(("balance_loss", "ohem_ratio"), f"main_loss_type: {kind}")
    return {} if arguments["balance_loss"] else {"ohem_ratio": "balance_loss: false"}


def check_db_arguments(
    term: str,
    alpha: float,
    ohem_ratio: float,
    main_loss_type: str,
    eps: float,
    kinds: tuple[str, ...] = MAIN_LOSSES,
) -> None:
    """Raise ConfigError unless the arguments that DBLoss and TeacherLoss share are valid."""
    require_choice(term, "main_loss_type", main_loss_type, kinds)
    require(alpha >= 0, f"{term}.alpha: must be at least 0, is {alpha}")
    require(ohem_ratio > 0, f"{term}.ohem_ratio: must be above 0, is {ohem_ratio}")
    require(0 < eps < 0.5, f"{term}.eps: must lie between 0 and 0.5, is {eps}")
