"""PP-OCRv6's necks: large depthwise kernels that train as several dilated branches and are exported as one.

The branches are those of UniRepLKNet (Ding et al., CVPR 2024, arXiv 2311.15599). Names and shapes are PaddleOCR's.
"""

from __future__ import annotations

import numpy as np
from paddle import Tensor, nn

from ocr_cml.models.convolutions import Conv2D
from ocr_cml.models.layers import Fusible, SqueezeExcite, fold_batch_norm, require_channels, require_one_of
from ocr_cml.models.necks.pyramids import IntraCLMixin, RSELayer, aggregate_paths, conv, each, top_down
from ocr_cml.models.necks.pyramids import join as joined  # to_static takes a method's name for the function itself

# kernel -> (size, dilation) of the branches beside it
_BRANCHES = {
    5: ((3, 1), (3, 2)),
    7: ((5, 1), (3, 2), (3, 3)),
    9: ((5, 1), (5, 2), (3, 3), (3, 4)),
    11: ((5, 1), (5, 2), (3, 3), (3, 4), (3, 5)),
    13: ((5, 1), (7, 2), (3, 3), (3, 4), (3, 5)),
}


class DilatedReparam(Fusible):
    """Sum of a large depthwise convolution and smaller dilated ones inside its reach, each normalised.

    Args:
        channels: in and out.
        kernel: 5, 7, 9, 11 or 13.
    """

    def __init__(self, channels: int, kernel: int) -> None:
        super().__init__()
        self.channels, self.kernel = channels, kernel

        def depthwise(size: int, dilation: int) -> Conv2D:
            padding = dilation * (size - 1) // 2
            return Conv2D(
                channels, channels, size, padding=padding, dilation=dilation, groups=channels, bias_attr=False
            )

        self.lk_origin = depthwise(kernel, 1)
        self.origin_bn = nn.BatchNorm2D(channels)
        for size, dilation in _BRANCHES[kernel]:
            self.add_sublayer(f"dil_conv_k{size}_{dilation}", depthwise(size, dilation))
            self.add_sublayer(f"dil_bn_k{size}_{dilation}", nn.BatchNorm2D(channels))
        self.fused: Conv2D | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None:
            return self.fused(x)
        y = self.origin_bn(self.lk_origin(x))
        for size, dilation in _BRANCHES[self.kernel]:
            branch = getattr(self, f"dil_conv_k{size}_{dilation}")
            y = y + getattr(self, f"dil_bn_k{size}_{dilation}")(branch(x))
        return y

    def fuse(self) -> None:
        """Replaces the branches by one convolution: each dilated kernel is spread out inside the large one."""
        if self.fused is not None:
            return
        whole, bias = fold_batch_norm(self.lk_origin.weight.numpy(), self.origin_bn)
        for size, dilation in _BRANCHES[self.kernel]:
            name = f"k{size}_{dilation}"
            weight, norm = getattr(self, f"dil_conv_{name}").weight, getattr(self, f"dil_bn_{name}")
            kernel, shift = fold_batch_norm(weight.numpy(), norm)
            first = self.kernel // 2 - dilation * (size // 2)
            at = np.arange(size) * dilation + first
            whole[:, :, at[:, None], at] += kernel
            bias = bias + shift
            delattr(self, f"dil_conv_{name}")
            delattr(self, f"dil_bn_{name}")
        del self.lk_origin, self.origin_bn
        fused = Conv2D(self.channels, self.channels, self.kernel, padding=self.kernel // 2, groups=self.channels)
        fused.weight.set_value(whole.astype("float32"))
        fused.bias.set_value(bias.astype("float32"))
        self.fused = fused


class RepLKFPN(IntraCLMixin):
    """RSEFPN whose 3x3 convolutions are large depthwise ones, each followed by 1x1 and squeeze-excite.

    Args:
        in_channels: widths of the four feature maps, fine to coarse.
        out_channels: width of the result, a multiple of 4, at least 8.
        shortcut: add the squeeze-excite to its input (residual) instead of replacing it.
        dilated_kernel_size: 5, 7, 9, 11 or 13.
        intracl: refine each level by an IntraCL block.
    """

    def __init__(
        self,
        in_channels: list[int],
        out_channels: int,
        shortcut: bool = True,
        dilated_kernel_size: int = 7,
        intracl: bool = False,
    ) -> None:
        super().__init__()
        require_channels("out_channels", out_channels)
        require_one_of("dilated_kernel_size", dilated_kernel_size, _BRANCHES)
        self.out_channels, self.shortcut = out_channels, shortcut
        quarter = out_channels // 4
        self.ins_conv = nn.LayerList([RSELayer(c, out_channels, 1, shortcut) for c in in_channels])
        self.inp_conv_dw = nn.LayerList([DilatedReparam(out_channels, dilated_kernel_size) for _ in in_channels])
        self.inp_conv_pw = nn.LayerList([conv(out_channels, quarter, 1) for _ in in_channels])
        self.inp_conv_se = nn.LayerList([SqueezeExcite(quarter) for _ in in_channels])
        self.add_intracl(quarter, intracl)

    def merge(self, features: list[Tensor]) -> list[Tensor]:
        """The top-down maps [N,out_channels,h,w] at 1/4 ... 1/32, from which auxiliary heads answer."""
        return top_down(each(self.ins_conv, features))

    def join(self, merged: list[Tensor]) -> Tensor:
        """What `forward` gives, from what `merge` gives."""
        levels = each(self.inp_conv_pw, each(self.inp_conv_dw, merged))
        weighted = each(self.inp_conv_se, levels)
        if self.shortcut:
            weighted = [level + weighted[i] for i, level in enumerate(levels)]
        return joined(self.refine(weighted))

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.join(self.merge(features))


class _DilatedConv(nn.Layer):
    """The stand-in for a full 9x9 convolution: large depthwise, 1x1, normalisation."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dw = DilatedReparam(inputs, 9)
        self.pw = conv(inputs, outputs, 1)
        self.bn = nn.BatchNorm2D(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.pw(self.dw(x)))


class RepLKPAN(IntraCLMixin):
    """LKPAN whose 9x9 convolutions are large depthwise ones, each followed by 1x1.

    Args:
        in_channels: widths of the four feature maps, fine to coarse.
        out_channels: width of the result, a multiple of 4, at least 8.
        mode: accepted from PaddleOCR's files, which have no other than "large".
        intracl: refine each level by an IntraCL block.
    """

    def __init__(self, in_channels: list[int], out_channels: int, mode: str = "large", intracl: bool = False) -> None:
        super().__init__()
        require_channels("out_channels", out_channels)
        require_one_of("mode", mode, ("large",))
        self.out_channels = out_channels
        quarter = out_channels // 4
        self.ins_conv = nn.LayerList([conv(c, out_channels, 1) for c in in_channels])
        self.inp_conv = nn.LayerList([_DilatedConv(out_channels, quarter) for _ in in_channels])
        self.pan_head_conv = nn.LayerList([conv(quarter, quarter, 3, 2) for _ in in_channels[1:]])
        self.pan_lat_conv = nn.LayerList([_DilatedConv(quarter, quarter) for _ in in_channels])
        self.add_intracl(quarter, intracl)

    def merge(self, features: list[Tensor]) -> list[Tensor]:
        """The top-down maps [N,out_channels,h,w] at 1/4 ... 1/32, from which auxiliary heads answer."""
        return top_down(each(self.ins_conv, features))

    def join(self, merged: list[Tensor]) -> Tensor:
        """What `forward` gives, from what `merge` gives."""
        paths = aggregate_paths(each(self.inp_conv, merged), self.pan_head_conv)
        return joined(self.refine(each(self.pan_lat_conv, paths)))

    def forward(self, features: list[Tensor]) -> Tensor:
        return self.join(self.merge(features))
