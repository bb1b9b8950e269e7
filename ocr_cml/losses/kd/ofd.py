"""Overhaul of feature distillation (Heo et al., ICCV 2019, section 3)."""

from __future__ import annotations

from typing import ClassVar

import paddle
from paddle import Tensor, nn

from ocr_cml.losses.base import FeatureTerm
from ocr_cml.losses.features import conv_bn, same_size
from ocr_cml.losses.maps import mean


def margins_of_batch(guide: Tensor) -> Tensor:
    """The mean of each channel's negative responses in this batch, `[1,C,1,1]`; 0 where a channel has none."""
    negative = (guide < 0).astype("float32")
    count = negative.sum(axis=[0, 2, 3], keepdim=True)
    return (guide * negative).sum(axis=[0, 2, 3], keepdim=True) / paddle.clip(count, min=1.0)


def partial_l2(learner: Tensor, guide: Tensor, margin: Tensor) -> Tensor:
    """Mean square distance to max(guide, margin), except where that is at most 0 and the learner is below it already.

    Args:
        learner: `[N,C,h,w]`, connected.
        guide: `[N,C,h,w]`, the responses before the ReLU.
        margin: `[1,C,1,1]`, not positive.
    """
    target = paddle.maximum(guide, margin)
    counts = paddle.logical_or(learner > target, target > 0).astype("float32")
    return mean(paddle.square(learner - target) * counts)


class OFDLoss(FeatureTerm):
    """Imitate the teacher's positive responses; be merely negative where it is negative.

    The learner's feature passes a 1x1 convolution and batch normalisation, trained with it.

    The margin is the mean negative response of each channel in the batch at hand, as in the zoo. The paper computes its
    expectation from the batch normalisation that a feature comes from (its equation 3); a stage of MobileNetV3, ResNet
    or PPLCNetV3 ends in a sum with a shortcut or an activation, and a neck in none, so that this form does not hold
    here. Features that were taken behind a ReLU (ResNet's) have no negative part: their margin is 0.
    The loss is the mean over elements, as in the zoo; the authors' code divides the sum by 1000 N and halves it for
    every stage further from the output.

    Args:
        layers: pairs of feature names, [learner's, guide's]. Sizes are averaged to the smaller.
    """

    log_name: ClassVar[str] = "ofd"

    def connector(self, learner: int, guide: int) -> nn.Layer:
        """1x1 convolution and batch normalisation, whatever the channels."""
        return conv_bn(learner, guide)

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """See `partial_l2`."""
        ours, theirs = same_size(self.connectors[index](learner), guide)
        return partial_l2(ours, theirs, margins_of_batch(theirs))
