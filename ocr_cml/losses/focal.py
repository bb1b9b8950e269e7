"""The focal loss of a masked map (Lin et al., Focal Loss for Dense Object Detection, ICCV 2017), of PP-OCRv6."""

from __future__ import annotations

import math

import paddle
import paddle.nn.functional as F
from paddle import Tensor


def focal_loss(
    logit: Tensor, target: Tensor, mask: Tensor, *, alpha: float = 0.25, gamma: float = 2.0, eps: float = 1e-6
) -> Tensor:
    """The mean over counted pixels of -alpha_t (1 - p_t)^gamma log p_t; PaddleOCR's value.

    Probabilities are clipped to [eps, 1 - eps], as PaddleOCR does, so a pixel beyond has no gradient from this term.

    Args:
        logit: `[N,1,H,W]`, float32.
        target: 0 or 1, the same shape.
        mask: 1 where a pixel counts, else 0.
        alpha: weight of text; background has 1 - alpha.
        gamma: how strongly pixels that are right already are discounted; 0 is cross-entropy.
        eps: keeps the logarithm and the ratio finite.
    """
    limit = math.log((1 - eps) / eps)
    z = paddle.clip(logit, -limit, limit)
    right = z * (2 * target - 1)  # the logit of p_t
    share = alpha * target + (1 - alpha) * (1 - target)
    loss = share * F.sigmoid(-right) ** gamma * F.softplus(-right)
    return (loss * mask).sum() / (mask.sum() + eps)
