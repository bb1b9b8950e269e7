"""Neuron selectivity transfer (Huang & Wang, Like What You Like, 2017, section 4.2: the polynomial kernel)."""

from __future__ import annotations

from typing import ClassVar

import paddle
from paddle import Tensor

from ocr_cml.losses.base import FeatureTerm
from ocr_cml.losses.features import length, same_size
from ocr_cml.losses.maps import mean


def mmd(learner: Tensor, guide: Tensor) -> Tensor:
    """Squared maximum mean discrepancy between two sets of channels under the kernel (x . y)^2, the mean over images.

    Each channel is a point: its activations over space, normalised to length 1. The kernel's values are the squared
    entries of Gram matrices `[N,C,C']`, normalised there: nothing of the size N C C' h w is made, nor a normalised copy
    of the features.

    Args:
        learner: `[N,C,h,w]`.
        guide: `[N,C',h,w]`; the number of channels may differ.
    """
    ours, theirs = learner.flatten(2), guide.flatten(2)
    a, b = length(ours, 2, keepdim=True), length(theirs, 2, keepdim=True)
    within = _kernel_mean(ours, ours, a, a) + _kernel_mean(theirs, theirs, b, b)
    return within - 2.0 * _kernel_mean(ours, theirs, a, b)


def _kernel_mean(x: Tensor, y: Tensor, x_length: Tensor, y_length: Tensor) -> Tensor:
    gram = paddle.matmul(x, y, transpose_y=True)
    return mean(paddle.square(gram / (x_length * y_length.transpose([0, 2, 1]))))


class NSTLoss(FeatureTerm):
    """Match the distribution of the teacher's spatial activation patterns (d = 2, c = 0; paper and common code agree).

    Args:
        layers: pairs of feature names, [learner's, guide's]. Channels may differ; sizes are averaged to the smaller.
    """

    log_name: ClassVar[str] = "nst"

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """See `mmd`."""
        return mmd(*same_size(learner, guide))
