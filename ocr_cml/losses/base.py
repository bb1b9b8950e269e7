"""What loss terms share: targets on the device, means over some of the pixels, argument checks, pairs of features."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ocr_cml.batches import on_device
from ppocr_data.errors import ConfigError, ModelError
from ppocr_data.spelling import hint

if TYPE_CHECKING:  # the networks are not needed to compute a loss
    from ocr_cml.models.detector import DetOutput
    from ppocr_data.loader import Batch

Role = Literal["supervised", "mutual", "teacher"]

"""supervised: learns from labels; mutual: its guide is a peer that learns as well; teacher: its guide is frozen."""

TEXT_LEVEL = 0.3
"""Probability from which a pixel counts as text: the threshold of PP-OCR's post-processing."""


@dataclass(frozen=True)
class Targets:
    """A batch's labels on the device. All maps are float32 `[N,1,H,W]`.

    Attributes:
        shrink_map: S, 1 inside shrunken text, else 0.
        shrink_mask: 0 on don't-care text, else 1.
        threshold_map: the border band's values, in [0, 1].
        threshold_mask: 1 on the border band, else 0.
        has_label: `[N,1,1,1]`, 1 for labelled images, 0 for the others, whose maps mean nothing.
    """

    shrink_map: Tensor
    shrink_mask: Tensor
    threshold_map: Tensor
    threshold_mask: Tensor
    has_label: Tensor

    @cached_property
    def label_mask(self) -> Tensor:
        """1 where a label teaches: labelled images without their don't-care text. Computed once a batch."""
        return self.shrink_mask * self.has_label

    @cached_property
    def label_text(self) -> Tensor:
        """1 on labelled text that counts. Computed once a batch."""
        return self.shrink_map * self.label_mask

    @cached_property
    def care_mask(self) -> Tensor:
        """1 everywhere but on the don't-care text of labelled images: what terms between networks may look at."""
        return 1.0 - (1.0 - self.shrink_mask) * self.has_label


def decode_targets(batch: Batch) -> Targets:
    """Decode a loader's uint8 `[N,H,W]` maps on the device, which are sent a quarter of the bytes of float32."""

    def decode(name: str) -> Tensor:
        return on_device(batch, name).unsqueeze(1).astype("float32")

    return Targets(
        shrink_map=decode("shrink_map"),
        shrink_mask=decode("shrink_mask"),
        threshold_map=decode("threshold_map") / 255.0,
        threshold_mask=decode("threshold_mask"),
        has_label=on_device(batch, "has_label").astype("float32").reshape([-1, 1, 1, 1]),
    )


def as_float32(x: Tensor) -> Tensor:
    """`x` in float32: sums over millions of pixels, exponentials and k = 50 need it, whatever the network ran in."""
    return x if x.dtype == paddle.float32 else x.astype("float32")


def in_float32(output: DetOutput) -> DetOutput:
    """The output with float32 maps; itself where they are already."""
    if output.shrink_logit.dtype == paddle.float32:
        return output
    threshold = None if output.threshold_logit is None else as_float32(output.threshold_logit)
    return replace(output, shrink_logit=as_float32(output.shrink_logit), threshold_logit=threshold)


def guide_logit(guide: DetOutput, like: Tensor) -> Tensor:
    """The guide's shrink logit, detached, float32, resized (bilinear) to the learner's map where strides differ."""
    return resized(as_float32(guide.shrink_logit.detach()), like)


def resized(x: Tensor, like: Tensor) -> Tensor:
    """`x` `[N,C,h,w]` resized bilinearly to the height and width of `like`."""
    if x.shape[2:] == like.shape[2:]:
        return x
    return F.interpolate(x, size=like.shape[2:], mode="bilinear", align_corners=False)


def weighted_mean(x: Tensor, weight: Tensor | None) -> Tensor:
    """Mean of `x` over all pixels of the batch, or over those that `weight` (same shape) counts.

    A weight of zero everywhere gives 0 that still hangs on the graph.
    """
    if weight is None:
        return x.mean()
    total = weight.sum()
    return (x * weight).sum() / (total + (total == 0).astype("float32"))


def balanced_mean(x: Tensor, region: Tensor, weight: Tensor | None) -> Tensor:
    """Half the mean inside `region` plus half the mean outside. A side without pixels adds nothing.

    Text covers a few per cent of an image, so the plain mean of a map's divergence hardly depends on it.
    """
    inside, outside = (region, 1.0 - region) if weight is None else (region * weight, (1.0 - region) * weight)
    return 0.5 * (weighted_mean(x, inside) + weighted_mean(x, outside))


def dilated(region: Tensor, radius: int) -> Tensor:
    """A `[N,1,H,W]` map of 0 and 1 grown by `radius` pixels on every side, on the device."""
    return F.max_pool2d(region, 2 * radius + 1, stride=1, padding=radius) if radius else region


def text_region(guide: Tensor, targets: Targets) -> Tensor:
    """1 where the guide (logits `[N,1,H,W]`) or a label sees text, and two pixels around, where outlines differ."""
    seen = (guide > logit(TEXT_LEVEL)).astype("float32")
    return dilated(paddle.maximum(seen, targets.label_text), radius=2)


def logit(probability: float) -> float:
    """log(p / (1 - p)), so that a map of logits can be compared with a probability without a sigmoid."""
    return math.log(probability / (1 - probability))


def require(condition: bool, message: str) -> None:
    """Raise ConfigError unless a user's argument is valid."""
    if not condition:
        raise ConfigError(message)


def require_choice(term: str, key: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ConfigError naming the nearest choice unless `value` is one of `choices`."""
    if value not in choices:
        raise ConfigError(f"{term}.{key}: unknown {value!r}; {hint(value, choices)}")


class FeatureTerm(nn.Layer):
    """The mean of a loss over pairs of features.

    A subclass gives `pair_loss` and, if it carries weights (trained with the learner, never exported), `connector`.
    `bind` is called once, before the optimizer is made; a term with connectors serves one learner and one guide.

    Args:
        layers: pairs of feature names, [learner's, guide's], for example [[backbone.2, backbone.2], [neck, neck]].

    Raises:
        ConfigError: an entry is no pair of names.
    """

    role: ClassVar[Role] = "teacher"
    log_name: ClassVar[str]

    def __init__(self, *, layers: Sequence[tuple[str, str]]) -> None:
        super().__init__()
        name = type(self).__name__
        require(len(layers) > 0, f"{name}.layers: name at least one pair of features: [[neck, neck]]")
        for pair in layers:
            fine = not isinstance(pair, str) and len(pair) == 2 and all(isinstance(end, str) for end in pair)
            require(fine, f"{name}.layers: {pair!r} is no pair [learner's feature, guide's feature]")
        self.layers = [(ours, theirs) for ours, theirs in layers]
        self.connectors = nn.LayerList()

    def bind(self, learner_channels: Mapping[str, int], guide_channels: Mapping[str, int]) -> None:
        """Check that both networks have the named features, and make the connectors between their channels.

        Args:
            learner_channels: channels of every feature of the learner, by name.
            guide_channels: the same of the guide.

        Raises:
            ConfigError: a feature that a network does not have, with the nearest that it has.
        """
        for ours, theirs in self.layers:
            require_choice(type(self).__name__, "layers (learner)", ours, tuple(learner_channels))
            require_choice(type(self).__name__, "layers (guide)", theirs, tuple(guide_channels))
        made = [self.connector(learner_channels[ours], guide_channels[theirs]) for ours, theirs in self.layers]
        self.connectors = nn.LayerList([layer for layer in made if layer is not None])

    def connector(self, learner: int, guide: int) -> nn.Layer | None:
        """The trained layer between a pair's features of so many channels; None: the method needs none."""
        return None

    def pair_loss(self, index: int, learner: Tensor, guide: Tensor) -> Tensor:
        """The scalar loss of pair `index`; float32 features `[N,C,h,w]` as the networks gave them, guide detached."""
        raise NotImplementedError

    def forward(self, learner: DetOutput, guide: DetOutput | None, targets: Targets) -> Tensor:
        """The mean of the pairs' losses. Labels are not used.

        Raises:
            ModelError: a network does not give a feature, as an inference model does not.
        """
        assert guide is not None, f"{type(self).__name__} needs a guide"
        with paddle.amp.auto_cast(enable=False):  # Gram matrices and norms lose too much in 16 bits
            losses = [
                self.pair_loss(index, self._feature(learner, ours), self._feature(guide, theirs).detach())
                for index, (ours, theirs) in enumerate(self.layers)
            ]
        return paddle.add_n(losses) / len(losses)

    def _feature(self, output: DetOutput, name: str) -> Tensor:
        if name not in output.features:
            has = ", ".join(output.features) or "none"
            raise ModelError(f"{type(self).__name__}.layers: the network gives no feature {name!r}; it gives {has}")
        return as_float32(output.features[name])
