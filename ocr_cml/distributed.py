"""Several processes, on Paddle's own engine: `python -m paddle.distributed.launch ... tools/train.py`.

Gradients are averaged by one explicit all-reduce of one flat buffer after backward. The students are 1 to 4 MB, so
there is nothing to gain from overlapping it with backward, and without a wrapper the names of the parameters, the
checkpoints and the loop are those of a single process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import nn

from ocr_cml.models.blocks import running_statistics

_LAUNCHER = os.getppid()


def launcher_is_gone() -> bool:
    """Whether the process that started this one has ended: its own signal may have reached nobody else."""
    return os.getppid() != _LAUNCHER


def start() -> tuple[int, int]:
    """Join the process group where one was launched; returns (rank, world size)."""
    if int(os.environ.get("PADDLE_TRAINERS_NUM", "1")) <= 1:
        return 0, 1
    dist.init_parallel_env()
    return dist.get_rank(), dist.get_world_size()


@paddle.no_grad()
def average_gradients(parameters: Iterable[paddle.Tensor], world_size: int) -> None:
    """Replace each gradient by its mean over the ranks. A parameter without one counts as zero.

    One that has none anywhere is left without: a gradient of zeros would let weight decay eat what no term teaches.
    """
    if world_size == 1:
        return
    parameters = list(parameters)
    flat = paddle.concat([(p.grad if p.grad is not None else paddle.zeros_like(p)).flatten() for p in parameters])
    dist.all_reduce(flat)
    _scatter_back(flat / world_size, parameters)


def _scatter_back(flat: paddle.Tensor, parameters: list[paddle.Tensor]) -> None:
    start_at, without = 0, []
    for parameter in parameters:
        piece = flat[start_at : start_at + parameter.size].reshape(parameter.shape)
        start_at += parameter.size
        if parameter.grad is None:
            without.append((parameter, piece))
        else:
            paddle.assign(piece, parameter.grad)
    if not without:
        return
    # Read from the device where a parameter lacks a gradient here, which is where no term reaches its branch.
    somewhere = paddle.stack([(piece != 0).any() for _, piece in without]).numpy()
    for (parameter, piece), reached in zip(without, somewhere, strict=True):
        if reached:
            parameter.grad = piece


@paddle.no_grad()
def average_statistics(layers: Iterable[nn.Layer], world_size: int) -> None:
    """Make running statistics equal on all ranks: each rank saw its own batches."""
    if world_size == 1:
        return
    for layer in layers:
        for statistic in running_statistics(layer).values():
            total = statistic.clone()
            dist.all_reduce(total)
            paddle.assign(total / world_size, statistic)


@paddle.no_grad()
def broadcast_weights(layers: Iterable[nn.Layer], world_size: int) -> None:
    """Start every rank from rank 0's weights."""
    if world_size == 1:
        return
    for layer in layers:
        for value in layer.state_dict().values():
            dist.broadcast(value, src=0)


def sum_over_ranks(values: Iterable[int]) -> list[int]:
    """Element-wise sum of whole numbers over all ranks."""
    total = paddle.to_tensor(np.asarray(list(values), np.int64))
    dist.all_reduce(total)
    return [int(value) for value in total.numpy()]


def largest_of_ranks(value: int, world_size: int) -> int:
    """The largest of all ranks' values, the same on each. Every rank must call it."""
    if world_size == 1:
        return value
    total = paddle.to_tensor([value], dtype="int64")
    dist.all_reduce(total, op=dist.ReduceOp.MAX)
    return int(total)
