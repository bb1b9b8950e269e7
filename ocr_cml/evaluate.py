"""Scoring: every network, and the ensemble of the students, on one reading of the evaluation images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ocr_cml.distributed import sum_over_ranks
from ocr_cml.metrics import DetMetric
from ocr_cml.overlap import ahead
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.records import ENSEMBLE
from ocr_cml.tune import Tuner
from ppocr_data.dataset import EvalDataset
from ppocr_data.errors import ModelError

MapFunction = Callable[[np.ndarray], np.ndarray]
"""uint8 images `[N,H,W,3]` (BGR, H and W multiples of 32) -> float32 probability maps `[N,H,W]`."""


_WAITING = 4
"""Batches' worth of pages that wait for others of their shape."""


@dataclass(frozen=True)
class Page:
    """One evaluation image: pixels at network size, ground truth in pixels of the original."""

    image: np.ndarray
    polygons: list[np.ndarray]
    ignore: np.ndarray
    original_hw: tuple[int, int]
    source: str


def batches(dataset: EvalDataset, batch_size: int, indices: Sequence[int]) -> Iterator[list[Page]]:
    """Read pages and give them in batches of equal shape, each page once.

    Few are held in memory: of images that all differ in size the first one goes alone before many wait for their like.
    """
    waiting: dict[tuple[int, ...], list[Page]] = {}

    def read(index: int) -> Page:
        record = dataset[index]
        return Page(record["image"], record["polygons"], record["ignore"], record["image_hw"], record["source"])

    for page in ahead(read, indices, 2 * batch_size):
        group = waiting.setdefault(page.image.shape, [])
        group.append(page)
        if len(group) == batch_size:
            yield waiting.pop(page.image.shape)
        elif sum(map(len, waiting.values())) > _WAITING * batch_size:
            yield waiting.pop(next(iter(waiting)))
    yield from waiting.values()


class Evaluator:
    """Scores maps on an evaluation set by ICDAR 2015's protocol.

    Args:
        dataset: resized images with ground truth.
        postprocess: maps to polygons.
        batch_size: images of equal shape that a network answers at once.
        rank, world_size: this process scores every `world_size`-th image; counts are summed, so the result is that of
            one process.
    """

    def __init__(
        self, dataset: EvalDataset, postprocess: DBPostProcess, batch_size: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.dataset = dataset
        self.postprocess = postprocess
        self.batch_size = batch_size
        self._indices = range(rank, len(dataset), world_size)
        self._world_size = world_size

    def score(
        self,
        networks: Mapping[str, MapFunction],
        ensemble_of: Sequence[str] = (),
        tuners: Mapping[str, Tuner] | None = None,
    ) -> dict[str, dict[str, float]]:
        """Precision, recall and hmean (and the counts behind them) of each network, and of the `ensemble` if asked.

        Args:
            networks: by name, what answers a batch.
            ensemble_of: names whose mean map is scored too; fewer than two make no ensemble.
            tuners: by name, what is shown the same maps to fit the post-process on them.

        Raises:
            ModelError: a network's map holds NaN; the message names it and the image.
        """
        metrics = {name: DetMetric() for name in scored(networks, ensemble_of)}

        def answered() -> Iterator[tuple[list[Page], dict[str, np.ndarray]]]:
            for pages in batches(self.dataset, self.batch_size, self._indices):
                images = np.stack([page.image for page in pages])
                maps = {name: network(images) for name, network in networks.items()}
                yield pages, with_ensemble(maps, ensemble_of)

        def judge(answer: tuple[list[Page], dict[str, np.ndarray]]) -> None:
            pages, maps = answer
            for name, metric in metrics.items():
                for page, map_ in zip(pages, maps[name], strict=True):
                    try:
                        polygons, _ = self.postprocess(map_, page.original_hw)
                    except ModelError as error:
                        raise ModelError(f"{name}, asked for {page.source}: {error}") from error
                    metric.add(polygons, page.polygons, page.ignore)
                    if tuners:
                        tuners[name].add(map_, page.original_hw, page.polygons, page.ignore)

        # One thread judges, batch after batch, while the networks answer the next one.
        for _ in ahead(judge, answered(), 1):
            pass
        if self._world_size > 1:
            for metric in metrics.values():
                metric.counts = type(metric.counts)(*sum_over_ranks(metric.counts))
        return {name: metric.result() for name, metric in metrics.items()}


def scored(networks: Iterable[str], ensemble_of: Collection[str]) -> list[str]:
    """The names of what `Evaluator.score` scores: every network's, and `ensemble` where two or more make one."""
    return [*networks, *([ENSEMBLE] if len(ensemble_of) > 1 else [])]


def with_ensemble(maps: Mapping[str, np.ndarray], ensemble_of: Collection[str]) -> dict[str, np.ndarray]:
    """The maps `[N,h,w]` by name, and where two or more make one the mean of theirs as `ensemble`, behind them."""
    if len(ensemble_of) < 2:
        return dict(maps)
    mean = np.stack([maps[name] for name in ensemble_of]).mean(axis=0, dtype=np.float32)
    return {**maps, ENSEMBLE: np.asarray(mean)}


def table(scores: Mapping[str, Mapping[str, float]]) -> str:
    """Scores as lines for people."""
    width = max(len(name) for name in scores)
    lines = [f"{'network':<{width}}  precision  recall  hmean"]
    for name, score in scores.items():
        lines.append(f"{name:<{width}}  {score['precision']:9.4f}  {score['recall']:6.4f}  {score['hmean']:.4f}")
    return "\n".join(lines)


def without_text(dataset: EvalDataset) -> str:
    """A warning where nothing can be found in any evaluation image; else nothing."""
    if dataset.readable:
        return ""
    return (
        f"the {len(dataset)} evaluation images have no readable text (none at all, or all of it don't care): every "
        "hmean will be 0, and no student is better than another; look at Eval.dataset.label_file_list"
    )
