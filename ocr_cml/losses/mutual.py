"""The mutual term: each student imitates its peers (Zhang et al., Deep Mutual Learning, CVPR 2018).

A text map is a Bernoulli distribution a pixel. All divergences are computed from logits, so that none overflows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ocr_cml.losses.base import Role, require, require_choice
from ocr_cml.losses.maps import balanced_mean, guide_logit, in_float32, logit, resized, text_region, weighted_mean
from ocr_cml.losses.targets import Targets
from ocr_cml.models.detector import CLIPPED
from ppocr_data.errors import ModelError

if TYPE_CHECKING:
    from ocr_cml.models.detector import DetOutput

Divergence = Literal["kl", "js", "symmetric_kl", "ppocr"]
Balance = Literal["pixels", "text"]
MapName = Literal["shrink", "threshold", "binary"]


def bernoulli_kl(guide: Tensor, learner: Tensor) -> Tensor:
    """KL(sigmoid(guide) || sigmoid(learner)) of every pixel, from logits; no gradient into the guide.

    sigmoid(u) (u - z) + softplus(z) - softplus(u): zero where equal, finite for any finite logits; its gradient with
    respect to z is sigmoid(z) - sigmoid(u).
    """
    with paddle.no_grad():
        q = F.sigmoid(guide)
        entropy = F.softplus(guide) - q * guide
    return F.softplus(learner) - q * learner - entropy


def bernoulli_js(guide: Tensor, learner: Tensor) -> Tensor:
    """Jensen-Shannon divergence of every pixel, from logits, in [0, log 2]; no gradient into the guide.

    Half of KL(p || m) + KL(q || m) with m = (p + q) / 2. The mixture is the minimiser of that sum over m, so that the
    gradient through it vanishes and it may be held constant.
    """
    with paddle.no_grad():
        mixture = _log_mean(guide, learner) - _log_mean(-guide, -learner)
        from_guide = bernoulli_kl(guide, mixture)
    p = F.sigmoid(learner)
    from_learner = p * (learner - mixture) + F.softplus(mixture) - F.softplus(learner)
    return 0.5 * (from_learner + from_guide)


def _log_mean(a: Tensor, b: Tensor) -> Tensor:
    """log((sigmoid(a) + sigmoid(b)) / 2)."""
    log_a, log_b = F.log_sigmoid(a), F.log_sigmoid(b)
    return paddle.maximum(log_a, log_b) + paddle.log1p(paddle.expm1(-paddle.abs(log_a - log_b)) / 2)


def bernoulli_symmetric_kl(guide: Tensor, learner: Tensor) -> Tensor:
    """Half of KL(q || p) + KL(p || q) of every pixel, which is (p - q)(z - u) / 2; no gradient into the guide."""
    guide = guide.detach()
    return 0.5 * (F.sigmoid(learner) - F.sigmoid(guide)) * (learner - guide)


def ppocr_divergence(guide: Tensor, learner: Tensor, eps: float = 1e-5) -> Tensor:
    """PaddleOCR's DMLLoss of every pixel: half of q ln(q/p) + p ln(p/q), without the part of 1 - p.

    That part weighs a disagreement on sure text as much as one on sure background; without it, text counts for little.
    Its eps leave about 1e-5 where both are equal. Gradient flows into both arguments; DMLLoss detaches the guide.
    """
    q, p = F.sigmoid(guide), F.sigmoid(learner)
    ratio = (q + eps) / (p + eps)
    return 0.5 * (q * paddle.log(ratio + eps) + p * paddle.log(1.0 / ratio + eps))


DIVERGENCES = {
    "kl": bernoulli_kl,
    "js": bernoulli_js,
    "symmetric_kl": bernoulli_symmetric_kl,
    "ppocr": ppocr_divergence,
}


class DMLLoss(nn.Layer):
    """Divergence from a peer's map, averaged over pixels and batch. The peer is detached (the paper's Algorithm 1).

    Unlabelled images count like the others (section 3.5). With divergence `ppocr` too the guide is detached: PaddleOCR
    sends one symmetric loss into both networks of a pair, here each direction is a term of its own, and the two
    together give each network exactly the gradient that PaddleOCR gives it.

    Args:
        divergence: `kl` from the peer (the paper), `js` Jensen-Shannon, `symmetric_kl` the mean of both directions, or
            `ppocr`, PaddleOCR's formula.
        temperature: divides both logits; the value is multiplied by its square, so that the gradient keeps its scale.
        use_mask: leave out the don't-care text of labelled images.
        confidence: count only pixels where the peer gives max(q, 1 - q) at least this probability; none: all.
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
        region = text_region(seen, targets) if self.balance == "text" else None
        means = []
        for name in self.maps:
            ours = _logit_of(learner, name)
            theirs = seen if name == "shrink" else resized(_logit_of(in_float32(guide), name).detach(), ours)
            value = DIVERGENCES[self.divergence](theirs / self.temperature, ours / self.temperature)
            means.append(weighted_mean(value, weight) if region is None else balanced_mean(value, region, weight))
        return paddle.add_n(means) * self.temperature**2


def _logit_of(output: DetOutput, name: str) -> Tensor:
    """The logit of a map by its name; that of the binary map is k (P - T)."""
    if name == "shrink":
        return output.shrink_logit
    if output.threshold_logit is None:
        raise ModelError(f"DMLLoss.maps: the network gives no {name} map; compare the shrink map")
    if name == "threshold":
        return output.threshold_logit
    return output.k * (output.shrink_prob - output.threshold_prob)


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
    valid = confidence is None or 0.5 <= confidence <= 1 - CLIPPED
    require(
        valid, f"{term}.confidence: max(q, 1 - q) lies in [0.5, {1 - CLIPPED}], as maps are clipped; is {confidence}"
    )
    require_choice(term, "balance", balance, ("pixels", "text"))
