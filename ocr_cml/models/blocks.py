"""Blocks: parts of a network that hold their inside until the backward pass, or compute it a second time in it.

In a step of mutual learning all students' activations are held at once. A block of a small backbone widens its input
several times over and narrows it again, so its inside is most of them, and costs little to compute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import paddle
from paddle import Tensor, nn

_STATISTICS = ("_mean", "_variance")
"""How Paddle's normalisations name theirs."""


class Block(nn.Layer):
    """A layer from one map to one map, [N,C,H,W] -> [N,C',H',W'], whose `forward` depends on nothing else.

    Attributes:
        recomputed: while it learns, hold the input alone and compute the inside anew in the backward pass (Chen et al.,
            Training Deep Nets with Sublinear Memory Cost, arXiv 1604.06174): less memory for one more forward pass. The
            same numbers; gradients that meet in the block's input may be summed in another order. Without effect in a
            static graph, and where nothing is learnt.
    """

    recomputed = False

    def __call__(self, x: Tensor) -> Tensor:
        """`forward(x)`."""
        if self.recomputed and self.training and paddle.in_dynamic_mode() and self._learns(x):
            return _Again.apply(_needs_gradient(), x, self)
        return super().__call__(x)

    def _learns(self, x: Tensor) -> bool:
        if not paddle.is_grad_enabled():
            return False
        return not x.stop_gradient or any(not weight.stop_gradient for weight in self.parameters())


def recompute_blocks(network: nn.Layer) -> int:
    """Let the outermost blocks of a network be `recomputed`; returns how many there are."""
    count = 0
    for child in network.children():
        if isinstance(child, Block):
            child.recomputed = True
            count += 1
        else:
            count += recompute_blocks(child)
    return count


def running_statistics(network: nn.Layer) -> dict[str, Tensor]:
    """A network's running means and variances by name.

    Paddle counts them among the parameters, not among the buffers. Their names set them apart: that they take no
    gradient they share with weights that never move.
    """
    return {name: value for name, value in network.state_dict().items() if name.endswith(_STATISTICS)}


@contextmanager
def statistics_kept(network: nn.Layer) -> Iterator[None]:
    """Let a network in training mode compute without a trace: its running statistics stay as they were."""
    put_back = statistics_now(network)
    try:
        yield
    finally:
        put_back()


def statistics_now(network: nn.Layer) -> Callable[[], None]:
    """Remember a network's running statistics; what is returned gives them back to it."""
    before = [(value, value.clone()) for value in running_statistics(network).values()]

    def put_back() -> None:
        with paddle.no_grad():
            for value, kept in before:
                paddle.assign(kept, value)

    return put_back


class _Again(paddle.autograd.PyLayer):
    """A block's output without its inside. What `forward` computes leaves no graph; `backward` makes it."""

    @staticmethod
    def forward(ctx: Any, anchor: Tensor, x: Tensor, block: Block) -> Tensor:
        ctx.block, ctx.anchor = block, anchor
        ctx.x = x.detach()
        ctx.x.stop_gradient = x.stop_gradient
        ctx.precision = {"enable": paddle.is_autocast_enabled(), "dtype": paddle.get_autocast_dtype()}
        return nn.Layer.__call__(block, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor | None]:
        with statistics_kept(ctx.block):
            with paddle.enable_grad(), paddle.amp.auto_cast(**ctx.precision):
                y = nn.Layer.__call__(ctx.block, ctx.x)
            # The weights' gradients arrive where they belong. Not paddle.grad: see convolutions.py.
            y.backward(gradient)  # before the statistics are put back: they are the graph's inputs
        return paddle.zeros_like(ctx.anchor), ctx.x.grad


def _needs_gradient() -> Tensor:
    """An input that makes a block learn which sees the image: its weights take a gradient, the image does not."""
    anchor = paddle.zeros([1])
    anchor.stop_gradient = False
    return anchor
