"""ICDAR 2015's detection protocol (Karatzas et al., ICDAR 2015, challenge 4; PaddleOCR's `eval_det_iou.py`).

A detection is right if its intersection over union with a readable ground truth exceeds 0.5, one to one, in the order
of the lists. A detection of which more than half lies in one don't-care region is not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import shapely

IOU = 0.5
DONT_CARE_SHARE = 0.5
_FARTHEST = 1e9
"""Pixels, beyond which no outline is mended: GEOS fails where products of coordinates overflow."""


@dataclass(frozen=True, slots=True)
class Counts:
    """What precision and recall are made of; counts of images, or of ranks, are added."""

    tp: int = 0
    num_gt: int = 0
    num_det: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.tp + other.tp, self.num_gt + other.num_gt, self.num_det + other.num_det)

    def __iter__(self) -> Iterator[int]:
        return iter((self.tp, self.num_gt, self.num_det))

    def result(self) -> dict[str, float]:
        """precision, recall, hmean in [0, 1] (0 where there is nothing to divide by), and the three counts."""
        precision = self.tp / self.num_det if self.num_det else 0.0
        recall = self.tp / self.num_gt if self.num_gt else 0.0
        hmean = 2 * precision * recall / (precision + recall) if self.tp else 0.0
        return {
            "precision": precision,
            "recall": recall,
            "hmean": hmean,
            "tp": self.tp,
            "num_gt": self.num_gt,
            "num_det": self.num_det,
        }


@dataclass(frozen=True)
class Overlap:
    """How the D detections of an image lie on its G ground truths.

    Attributes:
        iou: float64 `[G,D]`.
        gt_care: bool `[G]`, False for don't care.
        det_care: bool `[D]`, False for a detection that a don't-care region swallows.
    """

    iou: np.ndarray
    gt_care: np.ndarray
    det_care: np.ndarray

    def matches(self, keep: np.ndarray | None = None) -> np.ndarray:
        """Which detection each ground truth is matched with, int `[G]`, -1 for none and for don't care.

        Args:
            keep: bool `[D]`; with it, as if only these detections had been made.
        """
        matched = np.full(len(self.gt_care), -1)
        kept = None if keep is None else keep.tolist()
        taken: set[int] = set()
        for gt, detections in self._fitting:
            for detection in detections:
                if detection not in taken and (kept is None or kept[detection]):
                    matched[gt] = detection
                    taken.add(detection)
                    break
        return matched

    @cached_property
    def _fitting(self) -> list[tuple[int, list[int]]]:
        """The ground truths that count and have detections that fit, each with those detections, in order."""
        fitting: dict[int, list[int]] = {}
        rows, columns = np.nonzero((self.iou > IOU) & self.gt_care[:, None] & self.det_care)
        for gt, detection in zip(rows.tolist(), columns.tolist(), strict=True):
            fitting.setdefault(gt, []).append(detection)
        return list(fitting.items())

    def counts(self, keep: np.ndarray | None = None) -> Counts:
        """Match and count; with `keep` (bool `[D]`), as if only these detections had been made."""
        counted = self.det_care if keep is None else self.det_care & keep
        return Counts(int((self.matches(keep) >= 0).sum()), int(self.gt_care.sum()), int(counted.sum()))


class DetMetric:
    """Adds up images; `counts` can be summed over ranks and put back."""

    def __init__(self) -> None:
        self.counts = Counts()

    def add(
        self, pred_polys: Sequence[np.ndarray], gt_polys: Sequence[np.ndarray], ignore: Sequence[bool] | np.ndarray
    ) -> None:
        """Count one image; see `overlap` for the arguments."""
        self.counts += overlap(pred_polys, gt_polys, ignore).counts()

    def result(self) -> dict[str, float]:
        """precision, recall, hmean in [0, 1]; tp, num_gt, num_det."""
        return self.counts.result()


def overlap(
    pred_polys: Sequence[np.ndarray], gt_polys: Sequence[np.ndarray], ignore: Sequence[bool] | np.ndarray
) -> Overlap:
    """Lay the detections of one image on its ground truth; see `GroundTruth`.

    Args:
        pred_polys: detections, each `[K,2]`, in pixels, in the order in which they are to be matched.
        gt_polys: ground truths, each `[K,2]`, in the same pixels.
        ignore: `[G]`, True = don't care.
    """
    return GroundTruth(gt_polys, ignore).overlap(pred_polys)


class GroundTruth:
    """The ground truth of one image, on which detections are laid, once or many times.

    A ground truth that is no valid polygon is left out, as in PaddleOCR. A detection whose outline touches or crosses
    itself, as one may that is rounded to whole pixels, stands for what it encloses; one without an area, or of NaN,
    overlaps nothing and counts as wrong. PaddleOCR would forget both.

    Args:
        polygons: ground truths, each `[K,2]`, in pixels.
        ignore: `[G]`, True = don't care.
    """

    def __init__(self, polygons: Sequence[np.ndarray], ignore: Sequence[bool] | np.ndarray) -> None:
        if len(polygons) != len(ignore):
            raise ValueError(f"{len(polygons)} ground truths, but {len(ignore)} ignore flags")
        valid, self._shapes = _shapes(polygons)
        self._care = ~np.asarray(ignore, bool)[valid]
        self._area = shapely.area(self._shapes)

    def overlap(self, detections: Sequence[np.ndarray]) -> Overlap:
        """Lay detections, each `[K,2]`, in the same pixels, on it, in the order in which they are to be matched."""
        valid, shapes = _shapes(detections, mend=True)
        shared = np.zeros((len(self._shapes), len(detections)))
        if len(self._shapes) and len(shapes):
            shared[:, valid] = _intersections(self._shapes, shapes)
        area = np.zeros(len(detections))
        area[valid] = shapely.area(shapes)
        iou = shared / np.maximum(self._area[:, None] + area - shared, np.finfo(float).tiny)
        swallowed = shared[~self._care] > DONT_CARE_SHARE * area
        return Overlap(iou, self._care, ~(swallowed & (area > 0)).any(axis=0))


def _shapes(polygons: Sequence[np.ndarray], mend: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the valid polygons, and their shapes; with `mend`, what the others enclose, where it has an area."""
    shapes = np.full(len(polygons), None, object)
    by_length: dict[int, list[int]] = {}
    for index, polygon in enumerate(polygons):
        by_length.setdefault(np.size(polygon) // 2, []).append(index)
    for length, indices in by_length.items():
        if length >= 3:  # polygons of one length are made into shapes at once
            points = np.array([polygons[index] for index in indices], np.float64).reshape(-1, length, 2)
            finite = np.isfinite(points).all(axis=(1, 2))
            shapes[np.array(indices)[finite]] = shapely.polygons(points[finite])
    valid = shapely.is_valid(shapes)
    if mend and not valid.all():
        in_reach = np.abs(shapely.bounds(shapes)).max(axis=1) < _FARTHEST  # of what is missing NaN, which is not below
        crossing = np.flatnonzero(~valid & in_reach)
        shapes[crossing] = [_mended(outline) for outline in shapes[crossing]]
        valid[crossing] = shapely.area(shapes[crossing]) > 0
    valid = np.flatnonzero(valid)
    return valid, shapes[valid]


def _mended(outline: shapely.Polygon) -> shapely.Geometry:
    """What an outline that touches or crosses itself encloses.

    GEOS may fail where coordinates lie 1e-30 apart; then by its other method, and if that fails too, nothing.
    """
    for method, lines in (("linework", True), ("structure", False)):
        with suppress(shapely.errors.GEOSException):
            mended = shapely.make_valid(outline, method=method, keep_collapsed=lines)
            return shapely.buffer(mended, 0)  # 0: without lines that stick out
    return shapely.Polygon()


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas `[len(first), len(second)]` of the intersections; polygons whose bounding boxes are apart cost nothing."""
    a, b = shapely.bounds(first)[:, None], shapely.bounds(second)[None]
    near = (a[..., :2] < b[..., 2:]).all(axis=-1) & (b[..., :2] < a[..., 2:]).all(axis=-1)
    rows, columns = np.nonzero(near)
    areas = np.zeros(near.shape)
    areas[rows, columns] = shapely.area(shapely.intersection(first[rows], second[columns]))
    return areas
