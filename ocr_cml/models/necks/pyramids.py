"""The necks of PP-OCRv2 to v5, and what all necks are made of."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, Tensor, nn

from ocr_cml.models.convolutions import Conv2D
from ocr_cml.models.layers import SqueezeExcite, require_channels, require_one_of, upsample_nearest
from ppocr_data.errors import ModelError


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> Conv2D:
    """A convolution without bias that keeps the size at stride 1, as all necks initialise it."""
    attribute = ParamAttr(initializer=nn.initializer.KaimingUniform())
    return Conv2D(inputs, outputs, kernel, stride, padding=kernel // 2, weight_attr=attribute, bias_attr=False)


def each(layers: Sequence[nn.Layer], inputs: list[Tensor]) -> list[Tensor]:
    """Layer i on input i. (Paddle's tracer for export knows no `zip(..., strict=True)`.)"""
    return [layer(inputs[i]) for i, layer in enumerate(layers)]


def top_down(laterals: list[Tensor]) -> list[Tensor]:
    """Adds each coarser map, doubled, to the next finer one. Maps are ordered fine to coarse."""
    merged = [laterals[-1]]
    for lateral in reversed(laterals[:-1]):
        merged.append(lateral + upsample_nearest(merged[-1], 2))
    return merged[::-1]


def join(levels: list[Tensor]) -> Tensor:
    """Brings all levels (fine to coarse) to the finest resolution and concatenates them, coarsest first."""
    return paddle.concat([upsample_nearest(level, 2**i) for i, level in reversed(list(enumerate(levels)))], axis=1)


def aggregate_paths(levels: list[Tensor], halve: nn.LayerList) -> list[Tensor]:
    """Adds each finer map, halved by its convolution, to the next coarser one (PANet's bottom-up path)."""
    paths = [levels[0]]
    for i, layer in enumerate(halve):
        paths.append(levels[i + 1] + layer(paths[-1]))
    return paths


class DBFPN(nn.Layer):
    """The feature pyramid of DB (Liao et al., AAAI 2020): 1x1 laterals, top-down sums, 3x3 to a quarter of them.

    Args:
        in_channels: widths of the four feature maps, fine to coarse.
        out_channels: width of the result, a multiple of 4, at least 8.
        use_asf: DB++'s adaptive scale fusion; only false is supported.
    """

    def __init__(self, in_channels: list[int], out_channels: int, use_asf: bool = False) -> None:
        super().__init__()
        require_channels("out_channels", out_channels)
        if use_asf:
            raise ModelError("use_asf: adaptive scale fusion (DB++) is not supported; PP-OCR's detectors do not use it")
        self.out_channels = out_channels
        self.in2_conv, self.in3_conv, self.in4_conv, self.in5_conv = (conv(c, out_channels, 1) for c in in_channels)
        self.p2_conv, self.p3_conv, self.p4_conv, self.p5_conv = (
            conv(out_channels, out_channels // 4, 3) for _ in in_channels
        )

    def forward(self, features: list[Tensor]) -> Tensor:
        laterals = (self.in2_conv, self.in3_conv, self.in4_conv, self.in5_conv)
        outputs = (self.p2_conv, self.p3_conv, self.p4_conv, self.p5_conv)
        merged = top_down(each(laterals, features))
        return join(each(outputs, merged))


class IntraCL(nn.Layer):
    """Intra-instance collaborative learning (Du et al., I3CL, IJCV 2022): tall, wide, square kernels; residual.

    Args:
        channels: in and out; the inside has half of them.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = channels // 2
        self.conv1x1_reduce_channel = Conv2D(channels, inner, 1)
        self.conv1x1_return_channel = Conv2D(inner, channels, 1)
        for k in (7, 5, 3):
            self.add_sublayer(f"v_layer_{k}x1", Conv2D(inner, inner, (k, 1), padding=(k // 2, 0)))
            self.add_sublayer(f"q_layer_1x{k}", Conv2D(inner, inner, (1, k), padding=(0, k // 2)))
            self.add_sublayer(f"c_layer_{k}x{k}", Conv2D(inner, inner, k, padding=k // 2))
        self.bn = nn.BatchNorm2D(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1x1_reduce_channel(x)
        for k in (7, 5, 3):
            y = (
                getattr(self, f"c_layer_{k}x{k}")(y)
                + getattr(self, f"v_layer_{k}x1")(y)
                + getattr(self, f"q_layer_1x{k}")(y)
            )
        return x + F.relu(self.bn(self.conv1x1_return_channel(y)))


class IntraCLMixin(nn.Layer):
    """Holds the optional IntraCL blocks of a neck, one a level, named `incl1` (finest) to `incl4`."""

    def add_intracl(self, channels: int, intracl: bool) -> None:
        self.intracl = intracl
        if intracl:
            self.incl1, self.incl2, self.incl3, self.incl4 = (IntraCL(channels) for _ in range(4))

    def refine(self, levels: list[Tensor]) -> list[Tensor]:
        if not self.intracl:
            return levels
        return each((self.incl1, self.incl2, self.incl3, self.incl4), levels)


class RSELayer(nn.Layer):
    """Convolution followed by squeeze-excite, which is added to its input (shortcut) or replaces it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, shortcut: bool) -> None:
        super().__init__()
        self.shortcut = shortcut
        self.in_conv = conv(inputs, outputs, kernel)
        self.se_block = SqueezeExcite(outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.in_conv(x)
        return x + self.se_block(x) if self.shortcut else self.se_block(x)


class RSEFPN(IntraCLMixin):
    """DBFPN with residual squeeze-excite after every convolution (PP-OCRv3, arXiv 2206.03001, section 3).

    Args:
        in_channels: widths of the four feature maps, fine to coarse.
        out_channels: width of the result, a multiple of 4, at least 8.
        shortcut: add the squeeze-excite to its input (residual) instead of replacing it.
        intracl: refine each level by an IntraCL block.
    """

    def __init__(self, in_channels: list[int], out_channels: int, shortcut: bool = True, intracl: bool = False) -> None:
        super().__init__()
        require_channels("out_channels", out_channels)
        self.out_channels = out_channels
        quarter = out_channels // 4
        self.ins_conv = nn.LayerList([RSELayer(c, out_channels, 1, shortcut) for c in in_channels])
        self.inp_conv = nn.LayerList([RSELayer(out_channels, quarter, 3, shortcut) for _ in in_channels])
        self.add_intracl(quarter, intracl)

    def forward(self, features: list[Tensor]) -> Tensor:
        merged = top_down(each(self.ins_conv, features))
        return join(self.refine(each(self.inp_conv, merged)))


class _DSConv(nn.Layer):
    """The light stand-in for a 9x9 convolution: 9x9 depthwise, 1x1 to four times the width, 1x1 down; residual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = Conv2D(inputs, inputs, 9, padding=4, groups=inputs, bias_attr=False)
        self.bn1 = nn.BatchNorm2D(inputs)
        self.conv2 = Conv2D(inputs, inputs * 4, 1, bias_attr=False)
        self.bn2 = nn.BatchNorm2D(inputs * 4)
        self.conv3 = Conv2D(inputs * 4, outputs, 1, bias_attr=False)
        self.conv_end = Conv2D(inputs, outputs, 1, bias_attr=False) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn1(self.conv1(x))
        y = self.conv3(F.relu(self.bn2(self.conv2(y))))
        return y if self.conv_end is None else y + self.conv_end(x)


class LKPAN(IntraCLMixin):
    """Path aggregation with 9x9 kernels (PP-OCRv3, arXiv 2206.03001, section 3): the teacher's neck.

    Args:
        in_channels: widths of the four feature maps, fine to coarse.
        out_channels: width of the result, a multiple of 4, at least 8.
        mode: "large" (full 9x9 convolutions) or "lite" (depthwise separable ones).
        intracl: refine each level by an IntraCL block (PP-OCRv4 and v5 server).
    """

    def __init__(self, in_channels: list[int], out_channels: int, mode: str = "large", intracl: bool = False) -> None:
        super().__init__()
        require_channels("out_channels", out_channels)
        require_one_of("mode", mode, ("large", "lite"))
        self.out_channels = out_channels
        quarter = out_channels // 4

        def wide(inputs: int) -> nn.Layer:
            return conv(inputs, quarter, 9) if mode == "large" else _DSConv(inputs, quarter)

        self.ins_conv = nn.LayerList([conv(c, out_channels, 1) for c in in_channels])
        self.inp_conv = nn.LayerList([wide(out_channels) for _ in in_channels])
        self.pan_head_conv = nn.LayerList([conv(quarter, quarter, 3, 2) for _ in in_channels[1:]])
        self.pan_lat_conv = nn.LayerList([wide(quarter) for _ in in_channels])
        self.add_intracl(quarter, intracl)

    def forward(self, features: list[Tensor]) -> Tensor:
        merged = top_down(each(self.ins_conv, features))
        paths = aggregate_paths(each(self.inp_conv, merged), self.pan_head_conv)
        return join(self.refine(each(self.pan_lat_conv, paths)))
