"""Overhaul of feature distillation (Heo et al., ICCV 2019, section 3)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import paddle
from paddle import Tensor, nn

from ocr_cml.losses.base import FeatureTerm
from ocr_cml.losses.features import conv_bn, same_size


def margins_of_batch(guide: Tensor) -> Tensor:
    """The mean of each channel's negative responses in this batch, `[1,C,1,1]`; 0 where a channel has none."""
    negative = (guide < 0).astype("float32")
    count = negative.sum(axis=[0, 2, 3], keepdim=True)
    return (guide * negative).sum(axis=[0, 2, 3], keepdim=True) / paddle.clip(count, min=1.0)


def margins_of_norm(scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The expected negative response behind a batch normalisation (the paper's equation 3), `[C]`.

    The responses of channel c are taken as normal with standard deviation |scale| and mean shift; the margin is their
    mean given that they are negative. Where that almost never happens (mean over 3 deviations) it is -3 deviations, as
    in the authors' code.
    """
    deviation = np.abs(scale.astype(np.float64))
    mean = shift.astype(np.float64)
    ratio = mean / np.maximum(deviation, 1e-12)
    below = np.array([0.5 * math.erfc(value / math.sqrt(2)) for value in ratio])
    density = np.exp(-0.5 * ratio**2) / math.sqrt(2 * math.pi)
    expected = mean - deviation * density / np.maximum(below, 1e-12)
    return np.where(below > 0.001, expected, -3.0 * deviation).astype(np.float32)


def partial_l2(learner: Tensor, guide: Tensor, margin: Tensor) -> Tensor:
    """Mean square distance to max(guide, margin), except where that is at most 0 and the learner is below it already.

    Args:
        learner: `[N,C,h,w]`, connected.
        guide: `[N,C,h,w]`, the responses before the ReLU.
        margin: `[1,C,1,1]`, not positive.
    """
    target = paddle.maximum(guide, margin)
    counts = paddle.logical_or(learner > target, target > 0).astype("float32")
    return (paddle.square(learner - target) * counts).mean()


class OFDLoss(FeatureTerm):
    """Imitate the teacher's positive responses; be merely negative where it is negative.

    The learner's feature passes a 1x1 convolution and batch normalisation, trained with it. Margins come from the
    statistics of the teacher's batch normalisation where `bind` is given them, else from the batch at hand (as in the
    zoo). Features that were taken behind a ReLU (ResNet's) have no negative part: their margin is 0.
    The loss is the mean over elements, as in the zoo; the authors' code divides the sum by 1000 N and halves it for
    every stage further from the output.

    Args:
        layers: pairs of feature names, [learner's, guide's]. Sizes are averaged to the smaller.
    """

    log_name: ClassVar[str] = "ofd"

    def __init__(self, *, layers: Sequence[tuple[str, str]]) -> None:
        super().__init__(layers=layers)
        self._margins: dict[int, Tensor] = {}

    def bind(
        self,
        learner_channels: Mapping[str, int],
        guide_channels: Mapping[str, int],
        guide_norms: Mapping[str, tuple[np.ndarray, np.ndarray]] | None = None,
    ) -> None:
        """As FeatureTerm.bind.

        Args:
            learner_channels: channels of every feature of the learner, by name.
            guide_channels: the same of the guide.
            guide_norms: scale and shift `[C]` of the batch normalisation that a feature of the guide comes from.
        """
        super().bind(learner_channels, guide_channels)
        for index, (_, theirs) in enumerate(self.layers):
            if guide_norms is not None and theirs in guide_norms:
                margin = margins_of_norm(*guide_norms[theirs])
                self._margins[index] = paddle.to_tensor(margin).reshape([1, -1, 1, 1])

    def connector(self, learner: int, guide: int) -> nn.Layer:
        """1x1 convolution and batch normalisation, whatever the channels."""
        return conv_bn(learner, guide)

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """See `partial_l2`."""
        ours, theirs = same_size(self.connectors[index](learner), guide)
        margin = self._margins[index] if index in self._margins else margins_of_batch(theirs)
        return partial_l2(ours, theirs, margin)
