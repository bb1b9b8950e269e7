"""PP-HGNet and PP-HGNetV2 (PaddleClas): the backbones of PP-OCRv4's and v5's server detectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, Tensor, nn

from ocr_cml.models.blocks import Block
from ocr_cml.models.convolutions import Conv2D
from ocr_cml.models.layers import BranchedStem, ConvBN
from ppocr_data.errors import ModelError


def _conv(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, **options: Any) -> ConvBN:
    """Convolution, normalisation and, unless `act=None`, ReLU."""
    options = {"act": "relu", "init": nn.initializer.KaimingNormal(), "decay_norm": False} | options
    return ConvBN(inputs, outputs, kernel, stride, groups, **options)


def _require_det(det: bool, name: str) -> None:
    if det is not True:
        raise ModelError(f"det: false is the recogniser's {name}; a detector needs det: true")


class _ChannelAttention(nn.Layer):
    """Effective squeeze-excite: one 1x1 convolution and a sigmoid (Lee & Park, CenterMask, CVPR 2020)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = Conv2D(channels, channels, 1, weight_attr=ParamAttr(initializer=nn.initializer.KaimingNormal()))

    def forward(self, x: Tensor) -> Tensor:
        return x * F.sigmoid(self.conv(F.adaptive_avg_pool2d(x, 1)))


class _LightConv(nn.Layer):
    """Pointwise without activation, then depthwise with one."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, 1, act=None)
        self.conv2 = _conv(outputs, outputs, kernel, groups=outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class _Block(Block):
    """A chain of convolutions whose input and every output are concatenated and aggregated; optional shortcut."""

    def __init__(self, layers: Sequence[nn.Layer], aggregate: dict[str, nn.Layer], shortcut: bool) -> None:
        super().__init__()
        self.layers = nn.LayerList(layers)
        self.aggregate = tuple(aggregate)
        for name, layer in aggregate.items():
            self.add_sublayer(name, layer)
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        outputs = [x]
        for layer in self.layers:
            outputs.append(layer(outputs[-1]))
        y = paddle.concat(outputs, axis=1)
        for name in self.aggregate:
            y = getattr(self, name)(y)
        return x + y if self.shortcut else y


class _Stage(nn.Layer):
    """Blocks, halved before by a depthwise convolution unless it is the first stage."""

    def __init__(self, inputs: int, blocks: Sequence[nn.Layer], halve: bool) -> None:
        super().__init__()
        self.downsample = _conv(inputs, inputs, 3, 2, groups=inputs, act=None) if halve else None
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x if self.downsample is None else self.downsample(x))


def _run(stages: nn.LayerList, x: Tensor) -> list[Tensor]:
    features = []
    for stage in stages:
        x = stage(x)
        features.append(x)
    return features


class PPHGNet_small(nn.Layer):
    """Four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input [N,in_channels,H,W]; H, W multiples of 32.

    Args:
        in_channels: channels of the image.
        det: true is the detector's strides; false, the recogniser's, is refused with a ModelError.
    """

    # input, inner and output channels, blocks of six convolutions
    STAGES = ((128, 128, 256, 1), (256, 160, 512, 1), (512, 192, 768, 2), (768, 224, 1024, 1))

    def __init__(self, in_channels: int = 3, det: bool = True) -> None:
        super().__init__()
        _require_det(det, "PPHGNet_small")
        self.stem = nn.Sequential(_conv(in_channels, 64, 3, 2), _conv(64, 64, 3), _conv(64, 128, 3))
        self.stages = nn.LayerList()
        for index, (inputs, inner, outputs, depth) in enumerate(self.STAGES):
            blocks = [self._block(inputs if i == 0 else outputs, inner, outputs, i > 0) for i in range(depth)]
            self.stages.append(_Stage(inputs, blocks, halve=index > 0))
        self.out_channels = [row[2] for row in self.STAGES]

    @staticmethod
    def _block(inputs: int, inner: int, outputs: int, shortcut: bool) -> _Block:
        layers = [_conv(inputs if i == 0 else inner, inner, 3) for i in range(6)]
        join = {"aggregation_conv": _conv(inputs + 6 * inner, outputs, 1), "att": _ChannelAttention(outputs)}
        return _Block(layers, join, shortcut)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _run(self.stages, F.max_pool2d(self.stem(x), 3, 2, padding=1))


class PPHGNetV2_B4(nn.Layer):
    """Four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input [N,in_channels,H,W]; H, W multiples of 32.

    PaddleOCR's checkpoints carry the classifier's `last_conv`, which no detector computes: it is kept under its name so
    that files go both ways, and is not trainable.

    Args:
        in_channels: channels of the image.
        det: true is the detector's strides; false, the recogniser's, is refused with a ModelError.
    """

    # input, inner and output channels, blocks of six layers, light (depthwise separable) layers, kernel
    STAGES = (
        (48, 48, 128, 1, False, 3),
        (128, 96, 512, 1, False, 3),
        (512, 192, 1024, 3, True, 5),
        (1024, 384, 2048, 1, True, 5),
    )

    def __init__(self, in_channels: int = 3, det: bool = True) -> None:
        super().__init__()
        _require_det(det, "PPHGNetV2_B4")
        self.stem = BranchedStem(in_channels, 32, 48, init=nn.initializer.KaimingNormal())
        self.stages = nn.LayerList()
        for index, (inputs, inner, outputs, depth, light, kernel) in enumerate(self.STAGES):
            make = _LightConv if light else _conv
            blocks = []
            for i in range(depth):
                first = inputs if i == 0 else outputs
                layers = [make(first if j == 0 else inner, inner, kernel) for j in range(6)]
                join: dict[str, nn.Layer] = {
                    "aggregation_squeeze_conv": _conv(first + 6 * inner, outputs // 2, 1),
                    "aggregation_excitation_conv": _conv(outputs // 2, outputs, 1),
                }
                blocks.append(_Block(layers, join, shortcut=i > 0))
            self.stages.append(_Stage(inputs, blocks, halve=index > 0))
        self.out_channels = [row[2] for row in self.STAGES]
        unused = ParamAttr(initializer=nn.initializer.Constant(0.0), trainable=False)
        self.last_conv = Conv2D(self.out_channels[-1], 2048, 1, weight_attr=unused, bias_attr=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        return _run(self.stages, self.stem(x))
