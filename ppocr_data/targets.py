"""The training targets of DB, built at the crop (Liao et al., AAAI 2020, section 3.4; Vatti offsets as in PSENet).

A text of area A and outline length L is shrunk by D = A (1 - r^2) / L, with r the shrink ratio: that is the text's
kernel. The threshold map rises from `thresh_min` at distance D from the outline, on both sides, to `thresh_max` on it.
Polygons are cut to the image first, so a text that the image cuts counts by what is seen of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from . import geometry
from .errors import ConfigError
from .op import Op, Record

_PADDLEOCR_RISE = 0.2
_SMALL_OUTLINE = 40_000
"""Sides times pixels up to which all sides of a polygon are drawn at once."""


class RatioSchedule(BaseModel):
    """A shrink ratio that moves linearly over the epochs, then stays."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start: float = Field(gt=0, lt=1, description="Shrink ratio of epoch 0.")
    end: float = Field(gt=0, lt=1, description="Shrink ratio from epoch total_epoch on.")
    total_epoch: int = Field(ge=1, description="Number of epochs from start to end.")

    def at(self, epoch: int) -> float:
        """The ratio of an epoch, counted from 0."""
        return self.start + (self.end - self.start) * min(epoch, self.total_epoch) / self.total_epoch


class _RatioOp(Op):
    shrink_ratio: float | RatioSchedule = Field(
        default=0.4,
        description="How far text is shrunk, between 0 and 1; a number, or {start, end, total_epoch} over the epochs.",
    )
    total_epoch: int | None = Field(
        default=None,
        ge=1,
        description="PaddleOCR's schedule beside a plain shrink_ratio: it rises by 0.2 over this many epochs.",
    )

    @model_validator(mode="after")
    def _check_ratio(self) -> _RatioOp:
        if isinstance(self.shrink_ratio, RatioSchedule):
            if self.total_epoch is not None:
                raise ValueError("total_epoch stands inside shrink_ratio already; remove the one beside it")
        elif not 0 < self.shrink_ratio < 1:
            raise ValueError(f"shrink_ratio must lie between 0 and 1, is {self.shrink_ratio}")
        elif self.total_epoch is not None and self.shrink_ratio + _PADDLEOCR_RISE >= 1:
            raise ValueError(
                f"shrink_ratio {self.shrink_ratio} with total_epoch rises by {_PADDLEOCR_RISE}, to 1 or more"
            )
        return self

    @property
    def schedule(self) -> RatioSchedule:
        """The ratio over the epochs, whichever way it was written."""
        if isinstance(self.shrink_ratio, RatioSchedule):
            return self.shrink_ratio
        rise = 0.0 if self.total_epoch is None else _PADDLEOCR_RISE
        return RatioSchedule(start=self.shrink_ratio, end=self.shrink_ratio + rise, total_epoch=self.total_epoch or 1)


class MakeShrinkMap(_RatioOp):
    """Adds `shrink_map` and `shrink_mask`, see `shrink_target`."""

    min_text_size: float = Field(
        default=8, ge=0, description="Text whose upright box is narrower or lower than this (pixels) is don't care."
    )

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Add the two maps, at the size of `record["image"]`."""
        ratio = self.schedule.at(record["epoch"])
        size = record["image"].shape[:2]
        kernels, mask = shrink_target(size, record["polygons"], record["ignore"], ratio, self.min_text_size)
        return {**record, "shrink_map": kernels, "shrink_mask": mask}


class MakeBorderMap(_RatioOp):
    """Adds `threshold_map` and `threshold_mask`, see `threshold_target`."""

    thresh_min: float = Field(default=0.3, ge=0, le=1, description="Threshold far from any outline.")
    thresh_max: float = Field(default=0.7, ge=0, le=1, description="Threshold on the outline.")

    @model_validator(mode="after")
    def _check_range(self) -> MakeBorderMap:
        if self.thresh_min >= self.thresh_max:
            raise ValueError(f"thresh_min {self.thresh_min} must be less than thresh_max {self.thresh_max}")
        return self

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Add the two maps, at the size of `record["image"]`."""
        ratio = self.schedule.at(record["epoch"])
        size = record["image"].shape[:2]
        values, mask = threshold_target(
            size, record["polygons"], record["ignore"], ratio, self.thresh_min, self.thresh_max
        )
        return {**record, "threshold_map": values, "threshold_mask": mask}


def check_shrink_ratios(ops: Sequence[Op]) -> None:
    """Refuse a list of ops whose kernels and borders are made with different ratios.

    Raises:
        ConfigError: MakeShrinkMap and MakeBorderMap disagree.
    """
    made = {type(op).__name__: op.schedule for op in ops if isinstance(op, _RatioOp)}
    if len({(s.start, s.end, s.total_epoch if s.start != s.end else 0) for s in made.values()}) > 1:
        told = ", ".join(f"{name}: {s.start:g} to {s.end:g} in {s.total_epoch} epochs" for name, s in made.items())
        raise ConfigError(f"MakeShrinkMap and MakeBorderMap must have the same shrink_ratio ({told})")


def offset_distance(points: np.ndarray, ratio: float) -> float:
    """D = A (1 - r^2) / L in pixels, the distance by which a polygon `[K,2]` is shrunk (DB, equation 10)."""
    length = geometry.perimeter(points)
    return geometry.area(points) * (1 - ratio * ratio) / length if length > 0 else 0.0


def shrink_target(
    size: tuple[int, int], polygons: Sequence[np.ndarray], ignore: np.ndarray, ratio: float, min_text_size: float = 8
) -> tuple[np.ndarray, np.ndarray]:
    """The map of text kernels and the mask of pixels that count.

    Args:
        size: (H, W) of the maps, pixels.
        polygons: P polygons, finite `[K,2]`, pixels.
        ignore: bool `[P]`, True = don't care.
        ratio: shrink ratio r, 0 < r < 1.
        min_text_size: text whose upright box has a shorter side than this is don't care.

    Returns:
        (kernels, mask), both uint8 `[H,W]` of 0 and 1. The mask is 0 on don't-care text, on text that is too small,
        and on text that cannot be shrunk; it is 1 elsewhere.
    """
    height, width = size
    kernels, mask = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    for whole, skip in zip(polygons, ignore, strict=True):
        for points in geometry.clip(whole, width, height):
            small = float(np.ptp(points, axis=0).min()) < min_text_size
            shrunk = [] if skip or small else _shrink(points, ratio)
            for kernel in shrunk:
                geometry.fill(kernels, kernel, 1)
            if not shrunk:
                geometry.fill(mask, points, 0)
    return kernels, mask


def _shrink(points: np.ndarray, ratio: float) -> list[np.ndarray]:
    """The kernel of a text. Where it would vanish or fall apart, it is shrunk less: by r, 2r, 3r, ... (PaddleOCR)."""
    if geometry.area(points) < 1 or not geometry.is_simple(points):
        return []
    shrunk: list[np.ndarray] = []
    for weaker in np.arange(ratio, 1, ratio):
        shrunk = geometry.offset(points, -offset_distance(points, float(weaker)))
        if len(shrunk) == 1:
            break
    return shrunk


def threshold_target(
    size: tuple[int, int],
    polygons: Sequence[np.ndarray],
    ignore: np.ndarray,
    ratio: float,
    thresh_min: float = 0.3,
    thresh_max: float = 0.7,
) -> tuple[np.ndarray, np.ndarray]:
    """The threshold map and the mask of pixels where it is taught.

    Args: as `shrink_target`; 0 <= thresh_min < thresh_max <= 1.

    Returns:
        (values, mask), both uint8 `[H,W]`. values / 255 is the threshold: thresh_max on an outline, falling linearly
        with the distance to the nearest outline down to thresh_min at D and beyond. The mask is 1 on the text grown
        by D, 0 elsewhere and for don't-care text, which leaves no trace in either.
    """
    height, width = size
    away, mask = np.ones(size, np.float32), np.zeros(size, np.uint8)
    outlines: list[np.ndarray] = []
    distances: list[float] = []
    for whole, skip in zip(polygons, ignore, strict=True):
        for points in [] if skip else geometry.clip(whole, width, height):
            if geometry.area(points) < 1 or not geometry.is_simple(points):
                continue
            distance = offset_distance(points, ratio)
            for grown in geometry.offset(points, distance):
                geometry.fill(mask, grown, 1)
            outlines.append(points)
            distances.append(distance)
    _draw_outlines(away, outlines, distances)
    return cv2.convertScaleAbs(away, alpha=(thresh_min - thresh_max) * 255, beta=thresh_max * 255), mask


def _draw_outlines(away: np.ndarray, outlines: Sequence[np.ndarray], distances: Sequence[float]) -> None:
    """Lower `away` (float32 `[H,W]`, up to 1) to d / D, with d the pixels to a polygon's outline, D its distance.

    Only the box of each side, grown by D, is touched: for upright text that is the band and no more. Of a small polygon
    all sides are drawn at once in the box of the whole: there the calls cost more than the pixels.
    """
    if not outlines:
        return
    sides = _Sides(outlines, distances)
    limits = np.array([away.shape[1], away.shape[0]])
    low = np.maximum(np.floor(sides.low), 0).astype(int)
    high = np.minimum(np.ceil(sides.high) + 1, limits).astype(int)
    whole_low, whole_high = np.minimum.reduceat(low, sides.firsts), np.maximum.reduceat(high, sides.firsts)
    pixels = (whole_high - whole_low).clip(0).prod(axis=1) * sides.counts
    for polygon, (first, count) in enumerate(zip(sides.firsts.tolist(), sides.counts.tolist(), strict=True)):
        if pixels[polygon] < _SMALL_OUTLINE:
            sides.draw(away, slice(first, first + count), whole_low[polygon], whole_high[polygon])
        else:
            for index in range(first, first + count):
                sides.draw(away, slice(index, index + 1), low[index], high[index])


class _Sides:
    """The sides of many polygons, one after the other, in numbers that are found for all at once.

    In the frame of a side a pixel has a place along it and one across; both are sums of a term in x and one in y.
    Lengths are in units of the polygon's distance.
    """

    def __init__(self, outlines: Sequence[np.ndarray], distances: Sequence[float]) -> None:
        starts = np.concatenate(outlines)
        counts = np.array([len(points) for points in outlines])
        firsts = np.cumsum(counts) - counts
        following = np.arange(1, len(starts) + 1)
        following[firsts + counts - 1] = firsts
        ends = starts[following]
        moves = (ends - starts).astype(np.float64)
        lengths = np.hypot(moves[:, 0], moves[:, 1])
        reach = np.repeat(np.asarray(distances, np.float64), counts)
        if not lengths.all():  # a point that is given twice
            kept = lengths > 0
            counts = np.add.reduceat(kept.astype(int), firsts)
            firsts = np.cumsum(counts) - counts
            starts, ends, moves, lengths, reach = (x[kept] for x in (starts, ends, moves, lengths, reach))
        self.firsts, self.counts = firsts, counts
        self.low = np.minimum(starts, ends) - reach[:, None]
        self.high = np.maximum(starts, ends) + reach[:, None]
        self._starts = starts.astype(np.float64)
        self._directions = moves / lengths[:, None] / reach[:, None]
        self._half = (lengths / reach / 2)[:, None]

    def draw(self, away: np.ndarray, part: slice, low: np.ndarray, high: np.ndarray) -> None:
        """Lower the pixels from `low` to `high` (x, y) to the distance from the nearest of some sides."""
        (x0, y0), (x1, y1) = low.tolist(), high.tolist()
        if x0 >= x1 or y0 >= y1:
            return
        starts, directions, half = self._starts[part], self._directions[part], self._half[part]
        dx, dy = directions[:, :1], directions[:, 1:]
        xs, ys = np.arange(x0, x1) - starts[:, :1], np.arange(y0, y1) - starts[:, 1:]
        across = (xs * dy).astype(np.float32)[:, None] - (ys * dx).astype(np.float32)[:, :, None]
        beyond = (xs * dx - half).astype(np.float32)[:, None] + (ys * dy).astype(np.float32)[:, :, None]
        # From the middle of the side: what lies past either end counts towards the distance, what lies between not.
        np.abs(beyond, out=beyond)
        beyond -= half.astype(np.float32)[:, :, None]
        flat = (-1, x1 - x0)  # OpenCV would take a third axis for channels
        nearest = cv2.magnitude(across.reshape(flat), cv2.max(beyond.reshape(flat), 0)).reshape(across.shape)
        window = away[y0:y1, x0:x1]
        np.minimum(window, nearest[0] if len(nearest) == 1 else nearest.min(axis=0), out=window)
