"""Training batches on their way from the loader to the device.

On a CPU a batch is the loader's. On a GPU its bytes go into pinned memory and from there to the device while the host
goes on; for `paddle.to_tensor(array)` it would wait. The batches of the next step are fetched and sent while the device
still computes the present one.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Protocol

import numpy as np
import paddle
from paddle import Tensor

from ocr_cml.schema import Config
from ppocr_data.dataset import DetDataset
from ppocr_data.loader import Batch, train_loader


@dataclass
class SentBatch(Batch):
    """A batch whose arrays are also on the device, by the names of its fields, in their types."""

    tensors: dict[str, Tensor] = field(default_factory=dict)


def on_device(batch: Batch, name: str) -> Tensor:
    """One of a batch's arrays as a tensor in its own type: the one that was sent, or copied now."""
    return batch.tensors[name] if isinstance(batch, SentBatch) else paddle.to_tensor(getattr(batch, name))


def pixels(batch: Batch) -> np.ndarray | Tensor:
    """The images where they are: what `Normalization.to_device` takes."""
    return batch.tensors["image"] if isinstance(batch, SentBatch) else batch.image


class Mark(Protocol):
    """A point in the device's work, such as `paddle.device.Event`."""

    def query(self) -> bool:
        """Whether the device has got there. Does not wait."""


class Copier(Protocol):
    """How arrays get to a device."""

    def pin(self, array: np.ndarray) -> Tensor:
        """The array in memory from which the device copies by itself."""

    def start(self, pinned: Tensor) -> Tensor:
        """Begin to copy to the device. Work that the device is given from now on sees the whole copy."""

    def mark(self) -> Mark:
        """The point at which all copies begun so far are done."""


class PinnedCopier:
    """Pinned memory and copies for which the host does not wait, on Paddle's current GPU and its current stream.

    The copies are work of the same stream as the kernels, so that kernels see them whole without further ado.
    """

    def pin(self, array: np.ndarray) -> Tensor:
        return paddle.to_tensor(array, place=paddle.CUDAPinnedPlace())

    def start(self, pinned: Tensor) -> Tensor:
        return pinned.cuda(blocking=False)

    def mark(self) -> Mark:
        event = paddle.device.Event()
        event.record()
        return event


class TrainBatches:
    """The loader's batches, in its order; with a copier they come as `SentBatch`.

    An error of the loader is raised where its batch is due, however early it was met; then and from then on.

    Args:
        batches: what the loader gives.
        copier: None leaves the arrays where they are.
        depth: how many batches `prepare` sends in advance.
    """

    def __init__(self, batches: Iterator[Batch], copier: Copier | None = None, depth: int = 1) -> None:
        self._batches, self._copier, self._depth = batches, copier, depth
        self._ready: deque[Batch] = deque()
        self._failure: Exception | None = None
        self._under_way: deque[tuple[Mark, list[Tensor]]] = deque()

    def __iter__(self) -> TrainBatches:
        return self

    def __next__(self) -> Batch:
        if self._ready:
            return self._ready.popleft()
        if self._failure is not None:
            raise self._failure
        return self._send(next(self._batches))

    def prepare(self) -> None:
        """Fetch and send the batches of the next step. To be called once the device has been given the present one."""
        while self._copier is not None and self._failure is None and len(self._ready) < self._depth:
            try:
                self._ready.append(self._send(next(self._batches)))
            except Exception as error:  # noqa: BLE001 - raised by __next__, once the batches before it are used up
                self._failure = error

    def _send(self, batch: Batch) -> Batch:
        if self._copier is None:
            return batch
        while self._under_way and self._under_way[0][0].query():
            self._under_way.popleft()
        given = {each.name: getattr(batch, each.name) for each in fields(batch)}
        pinned = {name: self._copier.pin(value) for name, value in given.items() if isinstance(value, np.ndarray)}
        tensors = {name: self._copier.start(source) for name, source in pinned.items()}
        # Pinned memory that nobody holds is given to the next batch, perhaps before the device has read it.
        self._under_way.append((self._copier.mark(), list(pinned.values())))
        return SentBatch(**given, tensors=tensors)


def copier_here() -> Copier | None:
    """The way to Paddle's current device; None where that is no GPU."""
    return PinnedCopier() if paddle.get_device().startswith("gpu") else None


@contextlib.contextmanager
def open_batches(
    config: Config,
    dataset: DetDataset,
    unlabelled: DetDataset | None,
    batch_size: int,
    start: int,
    rank: int,
    world_size: int,
) -> Iterator[TrainBatches]:
    """The endless batches of a training; their loader is closed at the end.

    Args:
        config: `Train` and the seed.
        dataset: the labelled (or only) set.
        unlabelled: a second set whose samples follow in every batch.
        batch_size: samples of `dataset` in a batch of this process.
        start: number of the first batch: so many were used already.
        rank, world_size: this process among those that train together.
    """
    section, second = config.Train.loader, config.Train.unlabeled
    loader = train_loader(
        dataset,
        batch_size=batch_size,
        unlabeled=unlabelled,
        unlabeled_per_batch=second.batch_size_per_card if unlabelled is not None and second else 0,
        num_workers=section.num_workers,
        seed=config.Global.seed,
        rank=rank,
        world_size=world_size,
        start_batch=start,
        shuffle=section.shuffle,
        worker_timeout=section.worker_timeout,
        worker_restarts=section.worker_restarts,
    )
    with loader:
        yield TrainBatches(iter(loader), copier_here(), depth=config.Optimizer.accumulate)
