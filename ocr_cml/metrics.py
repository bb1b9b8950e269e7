"""ICDAR 2015's detection protocol (Karatzas et al., ICDAR 2015, challenge 4; PaddleOCR's `eval_det_iou.py`).

A detection is right if its intersection over union with a readable ground truth exceeds 0.5, one to one, in the order
of the lists. A detection of which more than half lies in one don't-care region is not counted at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import shapely

IOU = 0.5
DONT_CARE_SHARE = 0.5


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
        free = self.det_care.copy() if keep is None else self.det_care & keep
        hits = self.iou > IOU
        matched = np.full(len(self.gt_care), -1)
        for gt in np.flatnonzero(self.gt_care):
            candidates = np.flatnonzero(hits[gt] & free)
            if len(candidates):
                matched[gt] = candidates[0]
                free[candidates[0]] = False
        return matched

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
    """Lay the detections of one image on its ground truth.

    A ground truth that is no valid polygon is left out, as in PaddleOCR. A detection that is none (crossing sides, no
    area, NaN) overlaps nothing: it counts as wrong, where PaddleOCR would forget it.

    Args:
        pred_polys: detections, each `[K,2]`, in pixels, in the order in which they are to be matched.
        gt_polys: ground truths, each `[K,2]`, in the same pixels.
        ignore: `[G]`, True = don't care.
    """
    if len(gt_polys) != len(ignore):
        raise ValueError(f"{len(gt_polys)} ground truths, but {len(ignore)} ignore flags")
    gt_valid, gt_shapes = _shapes(gt_polys)
    det_valid, det_shapes = _shapes(pred_polys)
    care = ~np.asarray(ignore, bool)[gt_valid]
    shared = np.zeros((len(gt_shapes), len(pred_polys)))
    if len(gt_shapes) and len(det_shapes):
        shared[:, det_valid] = _intersections(gt_shapes, det_shapes)
    gt_area = shapely.area(gt_shapes)
    det_area = np.zeros(len(pred_polys))
    det_area[det_valid] = shapely.area(det_shapes)
    iou = shared / np.maximum(gt_area[:, None] + det_area - shared, np.finfo(float).tiny)
    swallowed = shared[~care] > DONT_CARE_SHARE * det_area
    return Overlap(iou, care, ~(swallowed & (det_area > 0)).any(axis=0))


def _shapes(polygons: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the valid polygons, and their shapes."""
    indices, shapes = [], []
    for index, points in enumerate(polygons):
        points = np.asarray(points, np.float64).reshape(-1, 2)
        if len(points) >= 3 and np.isfinite(points).all():
            indices.append(index)
            shapes.append(shapely.Polygon(points))
    found = np.array(shapes, dtype=object)
    valid = shapely.is_valid(found) if shapes else np.zeros(0, bool)
    return np.array(indices, int)[valid], found[valid]


def _intersections(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas `[len(first), len(second)]` of the intersections; polygons whose bounding boxes are apart cost nothing."""
    a, b = shapely.bounds(first)[:, None], shapely.bounds(second)[None]
    near = (a[..., :2] < b[..., 2:]).all(axis=-1) & (b[..., :2] < a[..., 2:]).all(axis=-1)
    rows, columns = np.nonzero(near)
    areas = np.zeros(near.shape)
    areas[rows, columns] = shapely.area(shapely.intersection(first[rows], second[columns]))
    return areas
