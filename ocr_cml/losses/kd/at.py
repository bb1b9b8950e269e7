"""Attention transfer (Zagoruyko & Komodakis, Paying More Attention to Attention, ICLR 2017, section 3.1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import paddle
from paddle import Tensor

from ocr_cml.losses.base import FeatureTerm, require, require_choice
from ocr_cml.losses.features import length, same_size
from ocr_cml.losses.maps import mean

_TINY = 1e-30


def attention(feature: Tensor, p: float) -> Tensor:
    """sum_c |F|^p of a feature `[N,C,h,w]` -> `[N,1,h,w]`."""
    magnitude = paddle.square(feature) if p == 2 else paddle.abs(feature) ** p
    return magnitude.sum(axis=1, keepdim=True)


def attention_loss(learner: Tensor, guide: Tensor, p: float, mode: str) -> Tensor:
    """The distance of two features' normalised attention; channels may differ, sizes too.

    Maps of different size are averaged to the smaller one before they are normalised.
    """
    # The maps are normalised, so the features' scale is nothing to them; but its 2p-th power soon is nothing at all.
    largest = (paddle.amax(x.detach().abs(), axis=[1, 2, 3], keepdim=True) for x in (learner, guide))
    learner, guide = (x / (most + _TINY) for x, most in zip((learner, guide), largest, strict=True))
    ours, theirs = (x.flatten(1) for x in same_size(attention(learner, p), attention(guide, p)))
    difference = ours / length(ours, 1, keepdim=True) - theirs / length(theirs, 1, keepdim=True)
    return mean(length(difference, 1)) if mode == "paper" else mean(paddle.square(difference))


class ATLoss(FeatureTerm):
    """Imitate where the teacher's features are large.

    Args:
        layers: pairs of feature names, [learner's, guide's].
        p: power of the activations, > 0.
        mode: `paper`, the Euclidean distance of an image's two maps, averaged over images (in [0, sqrt 2]); `code`, the
            authors' and the zoo's mean of squares, which shrinks with the number of pixels (their weight is 1000).

    Raises:
        ConfigError: an unknown mode, or a power that is not positive.
    """

    log_name: ClassVar[str] = "at"

    def __init__(
        self, *, layers: Sequence[tuple[str, str]], p: float = 2.0, mode: Literal["paper", "code"] = "paper"
    ) -> None:
        super().__init__(layers=layers)
        require_choice("ATLoss", "mode", mode, ("paper", "code"))
        require(p > 0, f"ATLoss.p: must be above 0, is {p}")
        self.p, self.mode = p, mode

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """See `attention_loss`."""
        return attention_loss(learner, guide, self.p, self.mode)
