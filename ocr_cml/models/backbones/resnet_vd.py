"""ResNet-vd (He et al., Bag of Tricks for Image Classification, CVPR 2019): variant D, deep stem of variant C."""

from __future__ import annotations

from collections.abc import Sequence

import paddle.nn.functional as F
from paddle import Tensor, nn

from ocr_cml.models.blocks import Block
from ocr_cml.models.convolutions import Conv2D
from ocr_cml.models.layers import require_one_of
from ppocr_data.errors import ModelError

_DEPTHS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 12, 48, 3),
}
_FILTERS = (64, 128, 256, 512)


class _ConvBN(Block):
    """Convolution, batch normalisation, optional ReLU, under ResNet_vd's parameter names."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, relu: bool = False, pool: bool = False
    ) -> None:
        super().__init__()
        self.relu, self.pool = relu, pool
        self._conv = Conv2D(inputs, outputs, kernel, stride, padding=(kernel - 1) // 2, bias_attr=False)
        self._batch_norm = nn.BatchNorm2D(outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.pool:  # variant D: average before the 1x1 shortcut instead of a stride that skips pixels
            x = F.avg_pool2d(x, 2, 2, ceil_mode=True)
        x = self._batch_norm(self._conv(x))
        return F.relu(x) if self.relu else x


class _Block(Block):
    """A residual block: two 3x3 convolutions, or 1x1, 3x3, 1x1 (bottleneck, four times the channels out)."""

    def __init__(self, inputs: int, filters: int, stride: int, *, bottleneck: bool, project: bool, pool: bool) -> None:
        super().__init__()
        outputs = filters * 4 if bottleneck else filters
        self.conv2: _ConvBN | None = None
        if bottleneck:
            self.conv0 = _ConvBN(inputs, filters, 1, relu=True)
            self.conv1 = _ConvBN(filters, filters, 3, stride, relu=True)
            self.conv2 = _ConvBN(filters, outputs, 1)
        else:
            self.conv0 = _ConvBN(inputs, filters, 3, stride, relu=True)
            self.conv1 = _ConvBN(filters, outputs, 3)
        self.short = _ConvBN(inputs, outputs, 1, pool=pool) if project else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.conv0(x))
        if self.conv2 is not None:
            y = self.conv2(y)
        return F.relu(y + (x if self.short is None else self.short(x)))


class ResNet_vd(nn.Layer):
    """Four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input [N,in_channels,H,W]; H, W multiples of 32.

    Args:
        in_channels: channels of the image.
        layers: depth: 18, 34, 50, 101, 152 or 200.
        dcn_stage: PaddleOCR's switch, per stage, for deformable convolutions; only all-off is supported.

    Raises:
        ModelError: an unknown depth, or deformable convolutions are asked for.
    """

    def __init__(self, in_channels: int = 3, layers: int = 50, dcn_stage: Sequence[bool] | None = None) -> None:
        super().__init__()
        require_one_of("layers", layers, _DEPTHS)
        if dcn_stage is not None and any(dcn_stage):
            raise ModelError(
                f"dcn_stage: {list(dcn_stage)} asks for deformable convolutions, which are not supported: no "
                "PP-OCR detector has them, and ONNX engines often lack the operator; leave dcn_stage out"
            )
        bottleneck = layers >= 50
        self.conv1_1 = _ConvBN(in_channels, 32, 3, 2, relu=True)
        self.conv1_2 = _ConvBN(32, 32, 3, relu=True)
        self.conv1_3 = _ConvBN(32, 64, 3, relu=True)
        self.depths = _DEPTHS[layers]
        self.out_channels = [filters * 4 if bottleneck else filters for filters in _FILTERS]
        inputs = 64
        for stage, depth in enumerate(self.depths):
            for index in range(depth):
                block = _Block(
                    inputs,
                    _FILTERS[stage],
                    2 if index == 0 and stage > 0 else 1,
                    bottleneck=bottleneck,
                    project=index == 0,
                    pool=stage > 0,
                )
                self.add_sublayer(f"bb_{stage}_{index}", block)
                inputs = self.out_channels[stage]

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv1_3(self.conv1_2(self.conv1_1(x)))
        x = F.max_pool2d(x, 3, 2, padding=1)
        features = []
        for stage, depth in enumerate(self.depths):
            for index in range(depth):
                x = getattr(self, f"bb_{stage}_{index}")(x)
            features.append(x)
        return features
