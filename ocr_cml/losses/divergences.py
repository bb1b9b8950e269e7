"""How far two text maps are apart, pixel by pixel, computed from logits so that none overflows.

A text map is a Bernoulli distribution a pixel.
"""

from __future__ import annotations

from typing import Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor

from ocr_cml.models.heads import mean_logit

Divergence = Literal["kl", "js", "symmetric_kl", "ppocr"]


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
        mixture = mean_logit(guide, learner)
        from_guide = bernoulli_kl(guide, mixture)
    p = F.sigmoid(learner)
    from_learner = p * (learner - mixture) + F.softplus(mixture) - F.softplus(learner)
    return 0.5 * (from_learner + from_guide)


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
