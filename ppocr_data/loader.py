"""Training batches: an endless, seeded sequence of samples, made in this process or by workers.

Which samples a batch holds is a pure function of (seed, batch number, rank), and a sample is one of (seed, epoch,
index): with any number of workers, and after a resume at any batch, the batches are the same bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

from ppocr_data.dataset import DetDataset
from ppocr_data.errors import DataError
from ppocr_data.op import Record
from ppocr_data.workers import WorkerPool

MAPS = ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask")
_PERMUTATION = 1

Key = tuple[int, int, int]
"""(0 for the labelled set, 1 for the unlabelled; epoch; index)."""


@dataclass
class Batch:
    """N samples of one size, all uint8 so that little crosses between processes; N counts labelled, then unlabelled.

    image `[N,H,W,3]` BGR. shrink_map, shrink_mask, threshold_mask `[N,H,W]` of 0 and 1. threshold_map `[N,H,W]`,
    fixed point: its value is q / 255. has_label bool `[N]`. sources: where each sample comes from. epoch: the latest
    of its labelled samples'. problems: what was skipped on the way, one line each.
    """

    image: np.ndarray
    shrink_map: np.ndarray
    shrink_mask: np.ndarray
    threshold_map: np.ndarray
    threshold_mask: np.ndarray
    has_label: np.ndarray
    sources: list[str]
    epoch: int = 0
    problems: list[str] = field(default_factory=list)


def collate(samples: Sequence[Record]) -> Batch:
    """Stack samples of one size, as `DetDataset` makes them, into a batch."""
    arrays = {key: np.stack([sample[key] for sample in samples]) for key in ("image", *MAPS)}
    return Batch(
        **arrays,
        has_label=np.array([sample["has_label"] for sample in samples], bool),
        sources=[sample["source"] for sample in samples],
        epoch=max((sample["epoch"] for sample in samples if sample["has_label"]), default=samples[-1]["epoch"]),
        problems=[problem for sample in samples for problem in sample["problems"]],
    )


class KeyStream:
    """The endless sequence of (epoch, index) keys, cut into full batches.

    Epoch after epoch, each in an order of its own, the samples form one sequence; rank r of W takes every W-th of it,
    beginning with the r-th. Batches are cut from that without regard to epochs: a batch may hold the end of one and
    the start of the next, no sample is left out, and none comes twice in an epoch.

    Args:
        length: samples in an epoch, of all ranks together.
        batch_size: samples in a batch of one rank.
        seed: >= 0.
        rank, world_size: which share of the sequence is ours.
        shuffle: False keeps the order of the data set in every epoch.
        number: which stream of a training this is; each has an order of its own, even over the same images.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        *,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
        shuffle: bool = True,
        number: int = 0,
    ) -> None:
        if length < 1 or batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"no stream of {length} samples in batches of {batch_size} for rank {rank}/{world_size}")
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world_size, self.shuffle, self.number = rank, world_size, shuffle, number
        self._orders: dict[int, np.ndarray] = {}

    def keys(self, batch: int) -> list[tuple[int, int]]:
        """The (epoch, index) keys of batch number `batch`, counted from 0."""
        first = batch * self.batch_size
        places = [(first + i) * self.world_size + self.rank for i in range(self.batch_size)]
        return [(place // self.length, int(self._order(place // self.length)[place % self.length])) for place in places]

    def _order(self, epoch: int) -> np.ndarray:
        if epoch not in self._orders:
            # The fourth word keeps this apart from the chance of the samples, whose seeds are [seed, epoch, index].
            rng = np.random.default_rng([self.seed, epoch, self.number, _PERMUTATION])
            order = rng.permutation(self.length) if self.shuffle else np.arange(self.length)
            self._orders = {e: o for e, o in self._orders.items() if e == epoch - 1} | {epoch: order}
        return self._orders[epoch]


class _BatchMaker:
    """What a worker runs: keys to a batch."""

    def __init__(self, datasets: Sequence[DetDataset]) -> None:
        self.datasets = datasets

    def __call__(self, keys: Sequence[Key]) -> Batch:
        return collate([self.datasets[which][epoch, index] for which, epoch, index in keys])

    def describe(self, keys: Sequence[Key]) -> str:
        """Where the samples of these keys are written: "train.txt:3, train.txt:17"."""
        return ", ".join(self.datasets[which].source(epoch, index) for which, epoch, index in keys)


class TrainLoader:
    """An endless iterator of batches; make one with `train_loader`. Close it, or use it in a `with` statement."""

    def __init__(
        self,
        datasets: Sequence[DetDataset],
        streams: Sequence[KeyStream],
        workers: int,
        start: int,
        patience: float,
        restarts: int,
    ) -> None:
        self.streams, self.batch = streams, start
        self._make = _BatchMaker(datasets)
        tasks = self._tasks(start)
        self._pool = (
            WorkerPool(self._make, tasks, workers, patience, restarts, self._make.describe) if workers else None
        )
        self._closed = False

    def _tasks(self, batch: int) -> Iterator[list[Key]]:
        while True:
            yield self._keys(batch)
            batch += 1

    def _keys(self, batch: int) -> list[Key]:
        return [(which, *key) for which, stream in enumerate(self.streams) for key in stream.keys(batch)]

    def __iter__(self) -> TrainLoader:
        return self

    def __next__(self) -> Batch:
        """The next batch; `self.batch` counts on. Raises DataError as the data set does, from workers too."""
        if self._closed:
            raise StopIteration
        batch = self._pool.get() if self._pool else self._make(self._keys(self.batch))
        self.batch += 1
        return batch

    def close(self) -> None:
        """End the workers. Safe to call twice."""
        self._closed = True
        if self._pool:
            self._pool.close()

    def __enter__(self) -> TrainLoader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def train_loader(
    dataset: DetDataset,
    batch_size: int,
    num_workers: int = 0,
    seed: int = 0,
    rank: int = 0,
    world_size: int = 1,
    start_batch: int = 0,
    *,
    shuffle: bool = True,
    unlabeled: DetDataset | None = None,
    unlabeled_per_batch: int = 0,
    worker_timeout: float = 300.0,
    worker_restarts: int = 3,
) -> TrainLoader:
    """Open the endless stream of training batches.

    Args:
        dataset: the labelled (or only) set.
        batch_size: its samples in a batch of this rank.
        num_workers: processes that make batches; 0 makes them in this one.
        seed: of the order of the samples; the data sets have seeds of their own.
        rank, world_size: this process among those that train together.
        start_batch: number of the first batch; a resumed run gives the number of batches already taken.
        shuffle: False keeps the order of the data set.
        unlabeled: a second set, `unlabeled_per_batch` samples of which follow the labelled ones in every batch.
        worker_timeout: seconds without a batch after which a worker is taken to hang.
        worker_restarts: how often in a row a worker that died or hangs is replaced.

    Raises:
        DataError: `unlabeled` and `unlabeled_per_batch` do not go together.
    """
    if (unlabeled is None) != (unlabeled_per_batch == 0):
        raise DataError("an unlabelled set and a number of unlabelled samples in a batch are given together or not")
    sets = [dataset] if unlabeled is None else [dataset, unlabeled]
    streams = [
        KeyStream(len(part), count, seed=seed, rank=rank, world_size=world_size, shuffle=shuffle, number=number)
        for number, (part, count) in enumerate(zip(sets, (batch_size, unlabeled_per_batch), strict=False))
    ]
    return TrainLoader(sets, streams, num_workers, start_batch, worker_timeout, worker_restarts)
