"""A detector: backbone, neck and head by name, and what it answers."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

from ocr_cml.models.backbones import BACKBONES
from ocr_cml.models.heads import HEADS
from ocr_cml.models.layers import Fusible
from ocr_cml.models.necks import NECKS
from ppocr_data.errors import ModelError
from ppocr_data.spelling import hint

PARTS: dict[str, dict[str, type[nn.Layer]]] = {"Backbone": BACKBONES, "Neck": NECKS, "Head": HEADS}
"""The parts of a detector in their order, with the classes that each can be."""
CLIPPED = 1e-6
"""So far from 0 and 1 a map of probabilities is held when it is read as logits."""


@dataclass(frozen=True, eq=False)
class DetOutput:
    """What a detector says about a batch of images [N,3,H,W]; all maps are float32 [N,1,H,W].

    The probability maps are computed once, at first use: several terms of a step look at the same ones.

    Attributes:
        shrink_logit: logit of the probability P that a pixel lies in shrunken text.
        threshold_logit: logit of the threshold map T; None in eval, and for networks that only give P.
        features: intermediate maps by name: "backbone.0" (1/4) ... "backbone.3" (1/32), "neck" (1/4).
        k: steepness of the binary map.
        auxiliary: what auxiliary heads say while training, by level (p2, p3, p4); empty where there are none.
    """

    shrink_logit: Tensor
    threshold_logit: Tensor | None = None
    features: dict[str, Tensor] = field(default_factory=dict)
    k: float = 50.0
    auxiliary: Mapping[str, DetOutput] = field(default_factory=dict)

    @classmethod
    def from_probability(cls, probability: Tensor) -> DetOutput:
        """The output of a network that answers with P itself, clipped to [1e-6, 1 - 1e-6]: finite logits."""
        p = probability.astype("float32")
        # 1 - P and not P is clipped for the upper end: float32 has no 1 - 1e-6.
        logits = paddle.log(paddle.clip(p, min=CLIPPED)) - paddle.log(paddle.clip(1.0 - p, min=CLIPPED))
        return cls(logits).as_from_probability()

    def as_from_probability(self) -> DetOutput:
        """The output with the logits that `from_probability` would give, so that a guide means one thing in any engine.

        Those of published detectors go to 80 and beyond; a map of probabilities says no more than 13.8.
        """
        largest = math.log((1 - CLIPPED) / CLIPPED)
        return replace(self, shrink_logit=paddle.clip(self.shrink_logit, -largest, largest))

    @cached_property
    def shrink_prob(self) -> Tensor:
        """P in (0, 1)."""
        return F.sigmoid(self.shrink_logit)

    @cached_property
    def threshold_prob(self) -> Tensor:
        """T in (0, 1). Raises ValueError where there is no threshold map."""
        if self.threshold_logit is None:
            raise ValueError("this output has no threshold map: the network is in eval mode, or gives only P")
        return F.sigmoid(self.threshold_logit)

    @property
    def binary_logit(self) -> Tensor:
        """k (P - T), of which B is the sigmoid. Raises ValueError where there is no threshold map."""
        return self.k * (self.shrink_prob - self.threshold_prob)

    @cached_property
    def binary_prob(self) -> Tensor:
        """B = sigmoid(k (P - T)): the differentiable binarization (Liao et al., AAAI 2020, equation 2)."""
        return F.sigmoid(self.binary_logit)

    def detached(self) -> DetOutput:
        """The same maps as fixed numbers that hold no activations; without features and auxiliary answers."""
        threshold = None if self.threshold_logit is None else self.threshold_logit.detach()
        return DetOutput(self.shrink_logit.detach(), threshold, k=self.k)


class Detector(nn.Layer):
    """An image [N,in_channels,H,W], float, normalised, H and W multiples of `stride` -> DetOutput at input resolution.

    The parts are named as in PaddleOCR, so a parameter's name is PaddleOCR's: `backbone.conv.conv.weight`.

    No branch depends on a tensor. So nothing is converted for a graph (`not_to_static`): it is the same without, and
    to rewrite the source of each part would take Paddle seconds at every export.
    """

    stride = 32

    def __init__(self, backbone: nn.Layer, neck: nn.Layer, head: nn.Layer, in_channels: int = 3) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.backbone = backbone
        self.neck = neck
        self.head = head
        self.k = float(getattr(head, "k", 50.0))
        self._auxiliary = bool(getattr(head, "aux_in_channels", 0))

    @paddle.jit.not_to_static
    def forward(self, x: Tensor) -> DetOutput:
        """Raises ModelError if the image's height or width is not a multiple of `stride`."""
        levels = self._levels(x)
        auxiliary: dict[str, DetOutput] = {}
        if self.training and self._auxiliary:
            merged = self.neck.merge(levels)
            joined = self.neck.join(merged)
            auxiliary = {name: self._output(*logits) for name, logits in self.head.auxiliary(merged).items()}
        else:
            joined = self.neck(levels)
        features = {f"backbone.{i}": level for i, level in enumerate(levels)} | {"neck": joined}
        return replace(self._output(*self.head(joined)), features=features, auxiliary=auxiliary)

    def _output(self, shrink: Tensor, threshold: Tensor | None) -> DetOutput:
        return DetOutput(as_float32(shrink), None if threshold is None else as_float32(threshold), k=self.k)

    @property
    def feature_channels(self) -> dict[str, int]:
        """Channels of each entry of `DetOutput.features`."""
        widths = {f"backbone.{i}": channels for i, channels in enumerate(self.backbone.out_channels)}
        return widths | {"neck": self.neck.out_channels}

    @paddle.jit.not_to_static
    def probability(self, x: Tensor) -> Tensor:
        """P [N,1,H,W] alone: what is evaluated and exported. Equal to `forward(x).shrink_prob` to rounding."""
        return as_float32(self.head.probability(self.neck(self._levels(x))))

    def check_size(self, x: Tensor) -> None:
        """Raises ModelError if the image's height or width is not a multiple of `stride`."""
        if x.shape[2] % self.stride or x.shape[3] % self.stride:
            raise ModelError(f"an image of {x.shape[2]}x{x.shape[3]} pixels: both must be multiples of {self.stride}")

    def _levels(self, x: Tensor) -> list[Tensor]:
        if paddle.in_dynamic_mode():  # in a graph, height and width may be unknown
            self.check_size(x)
        return self.backbone(x)

    def fuse_for_export(self) -> Detector:
        """A copy in eval mode whose parallel branches (PPLCNetV3) are single convolutions; this network is unchanged.

        The maps agree to rounding. Parameter names of fused layers differ from the checkpoint's.
        """
        fused = copy.deepcopy(self)
        fused.eval()
        for layer in fused.sublayers():
            if isinstance(layer, Fusible):
                layer.fuse()
        return fused


def as_float32(x: Tensor) -> Tensor:
    """`x` in float32: sums over millions of pixels, exponentials and k = 50 need it, whatever the network ran in."""
    return x if x.dtype == paddle.float32 else x.astype("float32")


def accepted_arguments(part: str, name: str) -> list[str]:
    """The YAML arguments of a network part, e.g. ("Neck", "LKPAN") -> ["out_channels", "mode", "intracl"].

    The widths between parts follow from the parts themselves, so `in_channels` is the backbone's alone.
    """
    parameters = list(inspect.signature(PARTS[part][name]).parameters)
    return [argument for argument in parameters if part == "Backbone" or argument != "in_channels"]


def _build_part(part: str, spec: Mapping[str, Any], **widths: list[int] | int) -> nn.Layer:
    settings = spec.get(part)
    if not isinstance(settings, Mapping) or "name" not in settings:
        raise ModelError(f"{part}: must be a mapping with a name, one of {', '.join(PARTS[part])}")
    name = settings["name"]
    if name not in PARTS[part]:
        known = list(PARTS[part])
        raise ModelError(f"{part}.name: unknown {name!r}; {hint(name, known)}")
    arguments = {key: value for key, value in settings.items() if key != "name"}
    accepted = accepted_arguments(part, name)
    for key in arguments:
        if key not in accepted:
            raise ModelError(f"{part}.{key}: {name} has no such argument; it takes {', '.join(accepted)}")
    cls = PARTS[part][name]
    required = inspect.signature(cls).parameters.items()
    for key, parameter in required:
        if parameter.default is inspect.Parameter.empty and key not in arguments and key not in widths:
            raise ModelError(f"{part}.{key}: {name} needs this argument")
    try:
        return cls(**widths, **arguments)
    except ModelError as error:
        raise ModelError(f"{part}.{error}") from None


def build_detector(spec: Mapping[str, Any]) -> Detector:
    """A detector with fresh weights from PaddleOCR's Architecture keys.

    Args:
        spec: {"Backbone": {"name": ..., **arguments}, "Neck": {...}, "Head": {...}}; see the classes for the arguments.

    Raises:
        ModelError: an unknown part, name or argument (naming the nearest known one), or a value that cannot be.
    """
    for part in spec:
        if part not in PARTS:
            raise ModelError(f"{part}: unknown part; {hint(part, PARTS, 'a detector has')}")
    backbone = _build_part("Backbone", spec)
    neck = _build_part("Neck", spec, in_channels=backbone.out_channels)
    head = _build_part("Head", spec, in_channels=neck.out_channels)
    auxiliary = getattr(head, "aux_in_channels", 0)
    if auxiliary and not hasattr(neck, "merge"):
        raise ModelError("Head.aux_in_channels: only the necks RepLKFPN and RepLKPAN give what auxiliary heads need")
    if auxiliary not in (0, neck.out_channels):
        raise ModelError(f"Head.aux_in_channels: must be the neck's out_channels, {neck.out_channels}")
    return Detector(backbone, neck, head, in_channels=int(spec["Backbone"].get("in_channels", 3)))
