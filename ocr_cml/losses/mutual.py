"""The mutual term: each student imitates its peers (Zhang et al., Deep Mutual Learning, CVPR 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import paddle
from paddle import Tensor, nn

from ocr_cml.losses.base import Role, require, require_choice
from ocr_cml.losses.divergences import DIVERGENCES, Divergence
from ocr_cml.losses.maps import guide_logit, in_float32, resized
from ocr_cml.losses.pixels import Balance, check_pixel_arguments, mean_over, pixel_weight
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import DetOutput
from ppocr_data.errors import ModelError

MapName = Literal["shrink", "threshold", "binary"]


class DMLLoss(nn.Layer):
    """Divergence from a peer's map, averaged over pixels and batch. The peer is detached (the paper's Algorithm 1).

    Unlabelled images count like the others (section 3.5). With divergence `ppocr` too the guide is detached: PaddleOCR
    sends one symmetric loss into both networks of a pair, here each direction is a term of its own, and the two
    together give each network exactly the gradient that PaddleOCR gives it.

    Args:
        divergence: `kl` from the peer (the paper), `js` Jensen-Shannon, `symmetric_kl` the mean of both directions, or
            `ppocr`, PaddleOCR's formula.
        temperature: divides both logits; the value is multiplied by its square, so that the gradient keeps its scale;
            > 0.
        use_mask: leave out the don't-care text of labelled images.
        confidence: count only pixels where the peer gives max(q, 1 - q) at least this probability, 0.5 to 0.999999;
            none: all.
        balance: `pixels` is the plain mean; `text` is half the mean around text (where the peer or a label sees it) and
            half the mean of the rest: text is a few per cent of the pixels, and hardly moves a plain mean.
        maps: the maps that are compared, each adding its mean.

    Raises:
        ConfigError: an unknown choice, or a value out of range.
    """

    role: ClassVar[Role] = "mutual"
    log_name: ClassVar[str] = "mutual"

    def __init__(
        self,
        *,
        divergence: Divergence = "kl",
        temperature: float = 1.0,
        use_mask: bool = False,
        confidence: float | None = None,
        balance: Balance = "pixels",
        maps: Sequence[MapName] = ("shrink",),
    ) -> None:
        super().__init__()
        require_choice("DMLLoss", "divergence", divergence, tuple(DIVERGENCES))
        check_pixel_arguments("DMLLoss", temperature, confidence, balance)
        plain = divergence != "ppocr" or temperature == 1
        require(plain, "DMLLoss.temperature: PaddleOCR's divergence has none; set it to 1, or divergence to kl")
        require(len(maps) > 0 and not isinstance(maps, str), "DMLLoss.maps: give a list of at least one map: [shrink]")
        for name in maps:
            require_choice("DMLLoss", "maps", name, ("shrink", "threshold", "binary"))
        self.divergence, self.temperature, self.maps = divergence, temperature, tuple(maps)
        self.use_mask, self.confidence, self.balance = use_mask, confidence, balance

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The scalar divergence of `learner` from `guide`, summed over the maps.

        Raises:
            ModelError: a threshold or binary map is wanted of a network that gives none.
        """
        assert guide is not None, "DMLLoss needs a guide"
        learner = in_float32(learner)
        seen = guide_logit(guide, learner.shrink_logit)
        weight = pixel_weight(seen, targets, self.use_mask, self.confidence)
        mean = mean_over(self.balance, seen, targets, weight)
        means = []
        for name in self.maps:
            ours = _logit_of(learner, name)
            theirs = seen if name == "shrink" else resized(_logit_of(in_float32(guide), name).detach(), ours)
            value = DIVERGENCES[self.divergence](theirs / self.temperature, ours / self.temperature)
            means.append(mean(value))
        return paddle.add_n(means) * self.temperature**2


def _logit_of(output: DetOutput, name: str) -> Tensor:
    """The logit of a map by its name; that of the binary map is k (P - T)."""
    if name == "shrink":
        return output.shrink_logit
    if output.threshold_logit is None:
        raise ModelError(f"DMLLoss.maps: the network gives no {name} map; compare the shrink map")
    if name == "threshold":
        return output.threshold_logit
    return output.binary_logit
