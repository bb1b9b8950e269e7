"""Convolutions that train fast on a CPU: Paddle's own layers, parameters and results to rounding, another way there.

Paddle's CPU kernels unfold an image into columns, k x k times its size, and multiply. Three cases cost much more than
their arithmetic, and each has an equal that does not:

- A k x k convolution from many channels to few unfolds the many. The transposed convolution with the turned kernel
  multiplies first and folds the few.
- The gradient of a depthwise convolution with respect to its input folds columns channel by channel. It is itself a
  depthwise convolution, with the turned kernel, which has a direct kernel.
- A bias is added by a broadcast along all four axes, ten times slower than along rows of pixels.

Only in training, in dynamic mode, on a CPU and in float32: a GPU has cuDNN, and what is evaluated or exported is the
plain operator.
"""

from __future__ import annotations

from typing import Any

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

_NARROWS = 2
"""From so many times more input than output channels it pays to multiply first."""


class Conv2D(nn.Conv2D):
    """`nn.Conv2D`, in training whatever way is the fastest here. [N,C,H,W] -> [N,C',H',W']."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and _on_cpu(x)) or self._padding_mode != "zeros":
            return super().forward(x)
        y = self._without_bias(x)
        return y if self.bias is None else add_to_channels(y, self.bias)

    def _without_bias(self, x: Tensor) -> Tensor:
        if self._keeps_size and self._groups == 1 and self._in_channels >= _NARROWS * self._out_channels:
            return narrowing_conv(x, self.weight)
        if self._keeps_size and self._groups == self._in_channels == self._out_channels and paddle.is_grad_enabled():
            return _Depthwise.apply(x, self.weight)
        return F.conv2d(x, self.weight, None, self._stride, self._padding, self._dilation, self._groups)

    @property
    def _keeps_size(self) -> bool:
        """Whether an odd, square kernel larger than a pixel goes over every pixel once."""
        size = self._kernel_size[0]
        return (
            size > 1
            and size % 2 == 1
            and self._kernel_size[1] == size
            and _is_all(self._stride, 1)
            and _is_all(self._dilation, 1)
            and _is_all(self._padding, size // 2)
        )


class Conv2DTranspose(nn.Conv2DTranspose):
    """`nn.Conv2DTranspose`, in training with its bias added the fast way. [N,C,H,W] -> [N,C',H',W']."""

    def forward(self, x: Tensor, output_size: Any = None) -> Tensor:
        if not (self.training and _on_cpu(x)) or self.bias is None or output_size is not None:
            return super().forward(x, output_size)
        y = F.conv2d_transpose(
            x, self.weight, None, self._stride, self._padding, self.output_padding, self._dilation, self._groups
        )
        return add_to_channels(y, self.bias)


def narrowing_conv(x: Tensor, weight: Tensor) -> Tensor:
    """`F.conv2d(x, weight, padding=k // 2)` of an odd, square kernel [C',C,k,k], by its transposed convolution."""
    turned = paddle.flip(weight, [2, 3]).transpose([1, 0, 2, 3])
    return F.conv2d_transpose(x, turned, padding=weight.shape[2] // 2)


def add_to_channels(x: Tensor, bias: Tensor) -> Tensor:
    """x [N,C,H,W] plus bias [C], row by row."""
    n, c, h, w = x.shape
    return (x.reshape([n * c, h * w]) + bias.tile([n]).unsqueeze(1)).reshape([n, c, h, w])


class _Depthwise(paddle.autograd.PyLayer):
    """A depthwise convolution that keeps the size; its input's gradient is one too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.needs_input = not x.stop_gradient
        # The weight's gradient is Paddle's own, from a graph that knows no other input.
        ctx.own = weight.detach()
        ctx.own.stop_gradient = weight.stop_gradient
        with paddle.enable_grad():
            ctx.y = _depthwise(x.detach(), ctx.own)
        return ctx.y.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None]:
        to_input = _depthwise(gradient, paddle.flip(ctx.own.detach(), [2, 3])) if ctx.needs_input else None
        if ctx.own.stop_gradient:
            return to_input, None
        # Not paddle.grad: it keeps its state in one place for all threads, and students learn in several.
        ctx.y.backward(gradient)
        return to_input, ctx.own.grad


def _depthwise(x: Tensor, weight: Tensor) -> Tensor:
    return F.conv2d(x, weight, padding=weight.shape[2] // 2, groups=weight.shape[0])


def _on_cpu(x: Tensor) -> bool:
    return (
        paddle.in_dynamic_mode()
        and x.place.is_cpu_place()
        and x.dtype == paddle.float32
        and not paddle.is_autocast_enabled()
    )


def _is_all(value: int | list[int] | tuple[int, ...] | str, wanted: int) -> bool:
    values = value if isinstance(value, (list, tuple)) else [value]
    return all(one == wanted for one in values)
