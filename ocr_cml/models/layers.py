"""Building blocks that several networks share.

Parameter names (`conv.weight`, `bn._mean`, `scale`, ...) are those of PaddleOCR, so that its checkpoints load.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, Tensor, nn
from paddle.regularizer import L2Decay

from ocr_cml.models.blocks import Block
from ocr_cml.models.convolutions import Conv2D
from ppocr_data.errors import ModelError

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"relu": F.relu, "hardswish": F.hardswish}


def make_divisible(value: float, divisor: int) -> int:
    """The multiple of `divisor` nearest to `value`, at least `divisor`, never below 90 % of `value` (MobileNetV2)."""
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def require_one_of(argument: str, value: Any, known: Any) -> None:
    """Raises ModelError unless `value` is one of `known` (and not a bool posing as a number)."""
    options = list(known)
    if value not in options or (isinstance(value, bool) and not any(value is option for option in options)):
        raise ModelError(f"{argument}: {value!r} is not supported; choose one of {', '.join(map(repr, options))}")


def require_channels(argument: str, value: Any) -> None:
    """Raises ModelError unless `value` is a multiple of 4 (a neck splits its channels over four levels), at least 8."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 8 or value % 4:
        raise ModelError(f"{argument}: {value!r} must be a multiple of 4 and at least 8, e.g. 96")


class _Repeat(paddle.autograd.PyLayer):
    """Pixel repetition whose gradient is a sum over blocks; on a CPU twice or more as fast as F.interpolate's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: int) -> Tensor:
        ctx.factor = factor
        n, c, h, w = x.shape
        # Columns first, then rows: each expand copies along one axis, which is what the CPU kernel does fast.
        wide = x.reshape([n * c * h * w, 1]).expand([n * c * h * w, factor]).reshape([n * c * h, 1, w * factor])
        return wide.expand([n * c * h, factor, w * factor]).reshape([n, c, h * factor, w * factor])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return F.avg_pool2d(gradient, ctx.factor, divisor_override=1)  # divisor 1: the sum of each block


def upsample_nearest(x: Tensor, factor: int) -> Tensor:
    """Repeats every pixel `factor` times in both directions: [N,C,H,W] -> [N,C,H*factor,W*factor].

    Equal to `F.interpolate(x, scale_factor=factor, mode="nearest")`. In a static graph (export) that is what it is:
    inference engines have a fast kernel for it, and height and width may stay unknown there.
    """
    if factor == 1:
        return x
    if not paddle.in_dynamic_mode():
        return F.interpolate(x, scale_factor=factor, mode="nearest")
    return _Repeat.apply(x, factor)


class ConvBN(Block):
    """Convolution without bias, batch normalisation and, if named, an activation. [N,C,H,W] -> [N,C',H',W'].

    Args:
        padding: pixels, or "SAME"; by default what keeps the size at stride 1 with an odd kernel.
        act: "relu", "hardswish" or None.
        init: the convolution's initializer; None is Paddle's default.
        lr_mult: factor on the learning rate of all its parameters.
        decay_norm: False keeps weight decay away from the normalisation's scale and shift.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        groups: int = 1,
        *,
        padding: int | str | None = None,
        act: str | None = None,
        init: nn.initializer.Initializer | None = None,
        lr_mult: float = 1.0,
        decay_norm: bool = True,
    ) -> None:
        super().__init__()
        self.act = act
        self.conv = Conv2D(
            in_channels,
            out_channels,
            kernel_size,
            stride,
            padding=(kernel_size - 1) // 2 if padding is None else padding,
            groups=groups,
            weight_attr=ParamAttr(initializer=init, learning_rate=lr_mult),
            bias_attr=False,
        )
        regularizer = None if decay_norm else L2Decay(0.0)
        self.bn = nn.BatchNorm2D(
            out_channels,
            weight_attr=ParamAttr(learning_rate=lr_mult, regularizer=regularizer),
            bias_attr=ParamAttr(learning_rate=lr_mult, regularizer=regularizer),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv(x))
        return x if self.act is None else ACTIVATIONS[self.act](x)


class BranchedStem(Block):
    """To a quarter of the resolution, with a 2x2 pooled and a 2x2 convolved branch in the middle.

    The stem of PP-HGNetV2 and PPLCNetV4: [N,inputs,H,W] -> [N,outputs,H/4,W/4].

    Args:
        middle: width of each branch.
        init: of its convolutions, as in `ConvBN`.
    """

    def __init__(self, inputs: int, middle: int, outputs: int, init: nn.initializer.Initializer | None = None) -> None:
        super().__init__()

        def conv(inputs: int, outputs: int, kernel: int, stride: int = 1, padding: str | None = None) -> ConvBN:
            return ConvBN(inputs, outputs, kernel, stride, padding=padding, act="relu", init=init, decay_norm=False)

        self.stem1 = conv(inputs, middle, 3, 2)
        self.stem2a = conv(middle, middle // 2, 2, padding="SAME")
        self.stem2b = conv(middle // 2, middle, 2, padding="SAME")
        self.stem3 = conv(middle * 2, middle, 3, 2)
        self.stem4 = conv(middle, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem1(x)
        pooled = F.max_pool2d(x, 2, 1, padding="SAME")
        return self.stem4(self.stem3(paddle.concat([pooled, self.stem2b(self.stem2a(x))], axis=1)))


class SqueezeExcite(nn.Layer):
    """Channel attention (Hu et al., Squeeze-and-Excitation Networks, 2018) with a hard sigmoid. Keeps the shape.

    Args:
        channels: input and output channels; the bottleneck has a quarter of them.
        slope: of the hard sigmoid max(0, min(1, slope * x + 0.5)): 0.2 in MobileNetV3 and RSEFPN, 1/6 in PPLCNetV3.
    """

    def __init__(self, channels: int, *, slope: float = 0.2, lr_mult: float = 1.0) -> None:
        super().__init__()
        self.slope = slope
        squeezed = max(1, channels // 4)

        def conv(inputs: int, outputs: int) -> Conv2D:
            attributes = {name: ParamAttr(learning_rate=lr_mult) for name in ("weight_attr", "bias_attr")}
            return Conv2D(inputs, outputs, 1, **attributes)

        self.conv1 = conv(channels, squeezed)
        self.conv2 = conv(squeezed, channels)

    def forward(self, x: Tensor) -> Tensor:
        weight = F.relu(self.conv1(F.adaptive_avg_pool2d(x, 1)))
        return x * F.hardsigmoid(self.conv2(weight), slope=self.slope, offset=0.5)


class Fusible(nn.Layer):
    """A layer with parallel branches that collapse into one convolution once training is over."""

    def fuse(self) -> None:
        """Replaces the branches by their sum, in place. Only meaningful in eval; irreversible."""
        raise NotImplementedError


def fold_batch_norm(kernel: np.ndarray, norm: nn.BatchNorm2D) -> tuple[np.ndarray, np.ndarray]:
    """The kernel [O,I,h,w] and bias [O], both float64, of a convolution that contains the normalisation after it."""
    mean, variance, scale, shift = (
        tensor.numpy().astype(np.float64) for tensor in (norm._mean, norm._variance, norm.weight, norm.bias)
    )
    gain = scale / np.sqrt(variance + norm._epsilon)
    return kernel.astype(np.float64) * gain[:, None, None, None], shift - mean * gain
