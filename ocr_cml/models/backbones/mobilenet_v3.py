"""MobileNetV3 (Howard et al., Searching for MobileNetV3, ICCV 2019) as PaddleOCR's detectors use it."""

from __future__ import annotations

from paddle import Tensor, nn

from ocr_cml.models.blocks import Block
from ocr_cml.models.layers import ConvBN, SqueezeExcite, make_divisible, require_one_of

# kernel, expanded channels, output channels, squeeze-excite, activation, stride
_Row = tuple[int, int, int, bool, str, int]
_LARGE: tuple[_Row, ...] = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
_SMALL: tuple[_Row, ...] = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hardswish", 2),
    (5, 240, 40, True, "hardswish", 1),
    (5, 240, 40, True, "hardswish", 1),
    (5, 120, 48, True, "hardswish", 1),
    (5, 144, 48, True, "hardswish", 1),
    (5, 288, 96, True, "hardswish", 2),
    (5, 576, 96, True, "hardswish", 1),
    (5, 576, 96, True, "hardswish", 1),
)
# rows, channels of the last 1x1 convolution, how many leading rows belong to the first stage whatever their stride
_CONFIGS = {"large": (_LARGE, 960, 3), "small": (_SMALL, 576, 1)}
_SCALES = (0.35, 0.5, 0.75, 1.0, 1.25)


class _ResidualUnit(Block):
    """Expand, depthwise, optional squeeze-excite, project; with a shortcut where the shape is kept."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int, row: _Row, use_se: bool) -> None:
        super().__init__()
        kernel, _, _, _, act, stride = row
        self.has_shortcut = stride == 1 and in_channels == out_channels
        self.expand_conv = ConvBN(in_channels, hidden, 1, act=act)
        self.bottleneck_conv = ConvBN(hidden, hidden, kernel, stride, groups=hidden, act=act)
        self.mid_se = SqueezeExcite(hidden) if use_se else None
        self.linear_conv = ConvBN(hidden, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bottleneck_conv(self.expand_conv(x))
        if self.mid_se is not None:
            y = self.mid_se(y)
        y = self.linear_conv(y)
        return x + y if self.has_shortcut else y


class MobileNetV3(nn.Layer):
    """Four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input [N,in_channels,H,W]; H, W multiples of 32.

    Args:
        in_channels: channels of the image.
        model_name: "large" or "small".
        scale: width multiplier, one of 0.35, 0.5, 0.75, 1.0, 1.25.
        disable_se: leave out the squeeze-excite blocks (PP-OCR: faster, no loss in detection).

    Raises:
        ModelError: an argument has a value that does not exist.
    """

    def __init__(
        self, in_channels: int = 3, model_name: str = "large", scale: float = 0.5, disable_se: bool = False
    ) -> None:
        super().__init__()
        require_one_of("model_name", model_name, _CONFIGS)
        require_one_of("scale", scale, _SCALES)
        rows, last_channels, first_stage = _CONFIGS[model_name]
        channels = make_divisible(16 * scale, 8)
        self.conv = ConvBN(in_channels, channels, 3, 2, act="hardswish")
        stages: list[list[nn.Layer]] = [[]]
        self.out_channels: list[int] = []
        for index, row in enumerate(rows):
            if row[5] == 2 and index >= first_stage:
                self.out_channels.append(channels)
                stages.append([])
            hidden, outputs = make_divisible(scale * row[1], 8), make_divisible(scale * row[2], 8)
            stages[-1].append(_ResidualUnit(channels, hidden, outputs, row, row[3] and not disable_se))
            channels = outputs
        self.out_channels.append(make_divisible(scale * last_channels, 8))
        stages[-1].append(ConvBN(channels, self.out_channels[-1], 1, act="hardswish"))
        self.stage0, self.stage1, self.stage2, self.stage3 = (nn.Sequential(*blocks) for blocks in stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.conv(x)
        features = []
        for stage in (self.stage0, self.stage1, self.stage2, self.stage3):
            x = stage(x)
            features.append(x)
        return features
