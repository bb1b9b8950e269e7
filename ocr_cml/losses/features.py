"""Sizes, lengths and connectors of paired features, the same for every method on them."""

from __future__ import annotations

import paddle
import paddle.nn.functional as F
from paddle import Tensor, nn

_TINY = 1e-12


def conv_bn(in_channels: int, out_channels: int) -> nn.Layer:
    """The usual connector: a 1x1 convolution without bias and batch normalisation."""
    start = paddle.ParamAttr(initializer=nn.initializer.KaimingNormal())
    return nn.Sequential(
        nn.Conv2D(in_channels, out_channels, 1, weight_attr=start, bias_attr=False), nn.BatchNorm2D(out_channels)
    )


def same_size(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps `[N,C,h,w]`, averaged down to the smaller height and the smaller width of the two."""
    size = [min(a.shape[2], b.shape[2]), min(a.shape[3], b.shape[3])]
    return pooled(a, size), pooled(b, size)


def pooled(x: Tensor, size: list[int]) -> Tensor:
    """`x` `[N,C,h,w]` averaged down to the height and width of `size`."""
    return x if list(x.shape[2:]) == size else F.adaptive_avg_pool2d(x, size)


def length(x: Tensor, axis: int | list[int], keepdim: bool = False) -> Tensor:
    """Euclidean length whose gradient at zero is zero, not NaN; its value there is 1e-6."""
    return paddle.sqrt(paddle.square(x).sum(axis=axis, keepdim=keepdim) + _TINY)
