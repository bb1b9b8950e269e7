"""Attentive feature distillation (Wang et al., Pay Attention to Features, Transfer Learn Faster CNNs, ICLR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ocr_cml.losses.base import FeatureTerm, require_choice
from ocr_cml.losses.features import conv_bn, length, same_size
from ocr_cml.losses.maps import mean

_SQUEEZE = 16
_NARROWEST = 4  # fewer ReLU units may all be dead from the start


def attended_distance(learner: Tensor, guide: Tensor, attention: Tensor, mode: str) -> Tensor:
    """The attention-weighted sum over channels of the mean square distance, averaged over images.

    Args:
        learner: `[N,C,h,w]`.
        guide: the same shape.
        attention: `[N,C]`, each row sums to 1.
        mode: `zoo` divides every channel by its length over space first, `paper` does not.
    """
    if mode == "zoo":
        learner, guide = (x / length(x, [2, 3], keepdim=True) for x in (learner, guide))
    distance = paddle.square(learner - guide).mean(axis=[2, 3])
    return mean((attention * distance).sum(axis=1))


class ChannelAttention(nn.Layer):
    """The importance of each of the guide's channels, `[N,C,h,w]` -> `[N,C]`, rows summing to 1.

    Two fully connected layers on the spatially pooled feature, max(C / 16, 4) wide between them. `paper`: pooled
    magnitudes, softmax. `zoo`: a squeeze-and-excitation block, pooled means, sigmoid over its sum; its author found the
    former unstable.
    """

    def __init__(self, channels: int, mode: str) -> None:
        super().__init__()
        self.mode = mode
        middle = max(channels // _SQUEEZE, _NARROWEST)
        self.squeeze, self.excite = nn.Linear(channels, middle), nn.Linear(middle, channels)

    def forward(self, guide: Tensor) -> Tensor:
        pooled = (paddle.abs(guide) if self.mode == "paper" else guide).mean(axis=[2, 3])
        score = self.excite(F.relu(self.squeeze(pooled)))
        if self.mode == "paper":
            return F.softmax(score, axis=1)
        gate = F.sigmoid(score)
        return gate / gate.sum(axis=1, keepdim=True)


class _Connector(nn.Layer):
    """A pair's attention and, where channels differ, the learner's way to the guide's."""

    def __init__(self, learner: int, guide: int, mode: str) -> None:
        super().__init__()
        self.attention = ChannelAttention(guide, mode)
        self.channels = nn.Identity() if learner == guide else conv_bn(learner, guide)


class AFDLoss(FeatureTerm):
    """L2 between features, each channel weighted by a learned attention that reads the teacher's feature.

    The attention is trained with the learner, by this loss.

    Args:
        layers: pairs of feature names, [learner's, guide's]. Unequal channels get a 1x1 convolution with batch
            normalisation; sizes are averaged to the smaller.
        mode: `zoo`: SE attention, features normalised over space, so that the value shrinks with the number of pixels
            (weigh it accordingly); `paper`: softmax attention, features as they are.

    Raises:
        ConfigError: an unknown mode.
    """

    log_name: ClassVar[str] = "afd"

    def __init__(self, *, layers: Sequence[tuple[str, str]], mode: Literal["paper", "zoo"] = "zoo") -> None:
        super().__init__(layers=layers)
        require_choice("AFDLoss", "mode", mode, ("paper", "zoo"))
        self.mode = mode

    def connector(self, learner: int, guide: int) -> nn.Layer:
        """Attention over the guide's channels, and a way to them where the learner's differ."""
        return _Connector(learner, guide, self.mode)

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """See `attended_distance`."""
        connector = self.connectors[index]
        ours, theirs = same_size(connector.channels(learner), guide)
        return attended_distance(ours, theirs, connector.attention(theirs), self.mode)
