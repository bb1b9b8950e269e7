"""Fitting the post-process to labelled images, from maps computed once.

Shrink ratio and unclip ratio belong together, and a student's maps are less sure of themselves than a teacher's: the
usual thresholds are rarely the best ones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ocr_cml.metrics import Counts, GroundTruth
from ocr_cml.postprocess import DBPostProcess, Outline
from ppocr_data.errors import DataError

FITTED = ("thresh", "box_thresh", "unclip_ratio")


@dataclass(frozen=True)
class Grid:
    """The values to try, each within the limits of `DBPostProcess`."""

    thresh: tuple[float, ...] = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
    box_thresh: tuple[float, ...] = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75)
    unclip_ratio: tuple[float, ...] = (0.6, 0.8, 1.0, 1.2, 1.4, 1.5, 1.7, 2.0, 2.4)


@dataclass(frozen=True)
class Trial:
    """One row of the table: three numbers and what they score."""

    thresh: float
    box_thresh: float
    unclip_ratio: float
    counts: Counts

    @property
    def hmean(self) -> float:
        """In [0, 1]."""
        return self.counts.result()["hmean"]


@dataclass(frozen=True)
class TuneResult:
    """The fitted post-process, its trial, and every trial from the best down."""

    best: DBPostProcess
    trial: Trial
    table: list[Trial]

    def overrides(self) -> str:
        """The fitted values as `-o` assignments."""
        return " ".join(f"PostProcess.{name}={getattr(self.best, name):g}" for name in FITTED)

    def at_the_edge(self) -> list[str]:
        """A sentence for each fitted value that is the lowest or highest tried: what lies beyond may be better."""
        said = []
        for name in FITTED:
            tried, value = {getattr(trial, name) for trial in self.table}, getattr(self.trial, name)
            if len(tried) > 2 and value in (min(tried), max(tried)):
                which = "lowest" if value == min(tried) else "highest"
                said.append(f"{name} {value:g} is the {which} that was tried; what lies beyond may fit better")
        return said


class Tuner:
    """Finds the thresh, box_thresh and unclip_ratio of the highest hmean; of equals, the nearest to `base`.

    Regions are outlined once for each thresh, grown and compared with the labels once for each thresh and unclip_ratio;
    box_thresh only selects among them. An image is looked at once, so nothing is kept of it.

    Args:
        grid: values to try; those of `base` are tried as well, so that what is fitted is never worse than it.
        base: where everything else comes from (dilation, score mode, quads or polygons).
    """

    def __init__(self, grid: Grid | None = None, base: DBPostProcess | None = None) -> None:
        self.base = base or DBPostProcess()
        tried = grid or Grid()
        self.grid = Grid(**{name: tuple(sorted({*getattr(tried, name), getattr(self.base, name)})) for name in FITTED})
        names = itertools.product(self.grid.thresh, self.grid.box_thresh, self.grid.unclip_ratio)
        self._totals = dict.fromkeys(names, Counts())
        self._images = 0

    def add(
        self, prob: np.ndarray, image_hw: tuple[int, int], polygons: Sequence[np.ndarray], ignore: np.ndarray
    ) -> None:
        """Look at one image.

        Args:
            prob: float32 `[h,w]` probabilities.
            image_hw: (H, W) of the original image.
            polygons: ground truth, each `[K,2]` in pixels of the original.
            ignore: bool `[P]`, True = don't care.
        """
        self._images += 1
        for key, counts in _score_image(prob, image_hw, polygons, ignore, self.grid, self.base).items():
            self._totals[key] += counts

    def result(self) -> TuneResult:
        """The best of the grid. Raises DataError where no image was looked at."""
        if not self._images:
            raise DataError("there is no image to fit the post-process on")
        trials = [Trial(*key, counts) for key, counts in self._totals.items()]
        table = sorted(trials, key=lambda trial: (-trial.hmean, _distance(trial, self.base)))
        best = self.base.model_copy(update={name: getattr(table[0], name) for name in FITTED})
        return TuneResult(DBPostProcess.model_validate(best.model_dump()), table[0], table)


def tune(
    maps: Iterable[np.ndarray],
    image_sizes: Iterable[tuple[int, int]],
    ground_truths: Iterable[tuple[Sequence[np.ndarray], np.ndarray]],
    grid: Grid | None = None,
    base: DBPostProcess | None = None,
) -> TuneResult:
    """`Tuner` over a whole set at once; the three iterables are parallel, and may be generators."""
    tuner = Tuner(grid, base)
    for prob, image_hw, (polygons, ignore) in zip(maps, image_sizes, ground_truths, strict=True):
        tuner.add(prob, image_hw, polygons, ignore)
    return tuner.result()


def _score_image(
    prob: np.ndarray,
    image_hw: tuple[int, int],
    polygons: Sequence[np.ndarray],
    ignore: np.ndarray,
    grid: Grid,
    base: DBPostProcess,
) -> dict[tuple[float, float, float], Counts]:
    """Counts of one image at each point of the grid."""
    counts = {}
    lowest = min(grid.box_thresh)
    truth = GroundTruth(polygons, ignore)
    for thresh in grid.thresh:
        candidates = base.model_copy(update={"thresh": thresh}).candidates(prob)
        candidates = [candidate for candidate in candidates if candidate.score >= lowest]
        outlines = [Outline(candidate.points) for candidate in candidates]
        for ratio in grid.unclip_ratio:
            grown = base.grow_all(outlines, prob.shape, image_hw, ratio)
            laid = truth.overlap([polygon for polygon in grown if polygon is not None])
            scores = np.array([c.score for c, p in zip(candidates, grown, strict=True) if p is not None], np.float64)
            for box_thresh in grid.box_thresh:
                counts[thresh, box_thresh, ratio] = laid.counts(scores >= box_thresh)
    return counts


def _distance(trial: Trial, base: DBPostProcess) -> float:
    """How far a trial's numbers are from the base's, relative to the base's."""
    pairs = [(getattr(trial, name), getattr(base, name)) for name in FITTED]
    return sum(abs(value / usual - 1) for value, usual in pairs)
