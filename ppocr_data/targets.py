"""The training targets of DB, built at the crop (Liao et al., AAAI 2020, section 3.4; Vatti offsets as in PSENet).

A text of area A and outline length L is shrunk by D = A (1 - r^2) / L, with r the shrink ratio: that is the text's
kernel. The threshold map rises from `thresh_min` at distance D from the outline, on both sides, to `thresh_max` on it.
Polygons are cut to the image first, so a text that the image cuts counts by what is seen of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ppocr_data import geometry
from ppocr_data.errors import ConfigError
from ppocr_data.op import Op, Record

_PADDLEOCR_RISE = 0.2
_DRAWN_AT_ONCE = 40_000
"""Pixels that are drawn in one go: enough that calls cost little, few enough for a core's own cache."""


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
        default=8,
        ge=0,
        description="Text whose upright box is narrower or lower than this (pixels) is don't care in the shrink map.",
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
    kernels, mask = np.zeros(size, np.uint8), np.ones(size, np.uint8)
    parts, owners = geometry.clip_all(polygons, size[1], size[0])
    boxes = geometry.bounds(parts)
    small = (boxes[:, 2:] - boxes[:, :2]).min(axis=1) < min_text_size
    for points, dont_care in zip(parts, small | _flags(ignore, polygons)[owners], strict=True):
        shrunk = [] if dont_care else _shrink(points, ratio)
        for kernel in shrunk:
            geometry.fill(kernels, kernel, 1)
        if not shrunk:
            geometry.fill(mask, points, 0)
    return kernels, mask


def _flags(ignore: np.ndarray, polygons: Sequence[np.ndarray]) -> np.ndarray:
    """`ignore` as bool `[P]`, one for each polygon."""
    flags = np.asarray(ignore, bool).reshape(-1)
    if len(flags) != len(polygons):
        raise ValueError(f"{len(polygons)} polygons, but {len(flags)} flags of what is don't care")
    return flags


def _shrink(points: np.ndarray, ratio: float) -> list[np.ndarray]:
    """The kernel of a text. Where it would vanish or fall apart, it is shrunk less.

    By r, 2r, 3r, ... as PaddleOCR does (from .5 on that is r alone), and then by a half and a quarter of what is left.
    """
    if geometry.area(points) < 1 or not geometry.is_simple(points):
        return []
    shrunk: list[np.ndarray] = []
    multiples = np.arange(ratio, 1, ratio)
    left = 1 - multiples[-1]
    for weaker in (*multiples, 1 - left / 2, 1 - left / 4):
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
        by D, 0 elsewhere and for don't-care text, which leaves no trace in either. (Text below `min_text_size` does, as
        in PaddleOCR: it is don't care in the shrink map alone.)
    """
    away, mask = np.ones(size, np.float32), np.zeros(size, np.uint8)
    counted = [points for points, skip in zip(polygons, _flags(ignore, polygons), strict=True) if not skip]
    parts, _ = geometry.clip_all(counted, size[1], size[0])
    outlines = [points for points in parts if geometry.area(points) >= 1 and geometry.is_simple(points)]
    distances = [offset_distance(points, ratio) for points in outlines]
    for points, distance in zip(outlines, distances, strict=True):
        for grown in geometry.offset(points, distance):
            geometry.fill(mask, grown, 1)
    _draw_outlines(away, outlines, distances)
    return cv2.convertScaleAbs(away, alpha=(thresh_min - thresh_max) * 255, beta=thresh_max * 255), mask


def _draw_outlines(away: np.ndarray, outlines: Sequence[np.ndarray], distances: Sequence[float]) -> None:
    """Lower `away` (float32 `[H,W]`, up to 1) to d / D, with d the pixels to a polygon's outline, D its distance.

    Only the box of each side, grown by D, is touched: for upright text that is the band and no more.
    """
    if outlines:
        sides = _Sides(outlines, distances, away.shape)
        for chosen in sides.alike():
            sides.draw(away, chosen)


class _Sides:
    """The sides of many polygons, each with its window (x0, y0 to x1, y1) in maps of H x W pixels.

    In the frame of a side a pixel has a place across it and one beyond its first half; both are sums of a term in x
    and one in y. Lengths are in units of the polygon's distance, pixels are counted from the window's corner.
    """

    def __init__(self, outlines: Sequence[np.ndarray], distances: Sequence[float], size: tuple[int, ...]) -> None:
        counts = [len(points) for points in outlines]
        starts = np.concatenate(outlines).astype(np.float64)
        following = np.arange(1, len(starts) + 1)
        following[np.cumsum(counts) - 1] -= counts  # a polygon's last side ends at its first point
        ends = starts[following]
        reach = np.repeat(np.asarray(distances, np.float64), counts)
        lengths = np.hypot(*(ends - starts).T)
        low = np.maximum(np.floor(np.minimum(starts, ends) - reach[:, None]), 0).astype(int)
        high = np.minimum(np.ceil(np.maximum(starts, ends) + reach[:, None]) + 1, size[::-1]).astype(int)
        # Nothing to draw is a point that is given twice, and a side outside the maps.
        seen = (lengths > 0) & (low < high).all(axis=1)
        starts, ends, reach, lengths, low, high = (x[seen] for x in (starts, ends, reach, lengths, low, high))

        dx, dy = (ends - starts).T / lengths / reach
        x, y = (low - starts).T
        half = lengths / reach / 2
        self._low, self._high = low, high
        self._along_x, self._along_y, self._first, self._half = (
            np.stack(terms).astype(np.float32)[..., None]
            for terms in ((dy, dx), (-dx, dy), (x * dy - y * dx, x * dx + y * dy - half), (half,))
        )

    def alike(self) -> Iterator[list[int]]:
        """All sides, in groups whose windows are of like size and are drawn at once: calls cost more than pixels."""
        widths, heights = (self._high - self._low).T
        order = np.lexsort((heights, np.ceil(2 * np.log2(widths))))
        group: list[int] = []
        wide = tall = 0
        for side, width, height in zip(order.tolist(), widths[order].tolist(), heights[order].tolist(), strict=True):
            wide, tall = max(wide, width), max(tall, height)
            if group and wide * tall * (len(group) + 1) > _DRAWN_AT_ONCE:
                yield group
                group, wide, tall = [], width, height
            group.append(side)
        if group:
            yield group

    def draw(self, away: np.ndarray, group: list[int]) -> None:
        """Lower the pixels in the windows of some sides to the distance from them."""
        low, high = self._low[group], self._high[group]
        wide, tall = (high - low).max(axis=0).tolist()
        steps = np.arange(max(wide, tall), dtype=np.float32)
        in_x = self._along_x[:, group] * steps[:wide] + self._first[:, group]
        in_y = self._along_y[:, group] * steps[:tall]
        across, beyond = in_x[:, :, None, :] + in_y[:, :, :, None]
        # From the middle of the side: what lies past either end counts towards the distance, what lies between not.
        np.abs(beyond, out=beyond)
        beyond -= self._half[0, group, None]
        flat = (-1, wide)  # OpenCV would take a third axis for channels
        nearest = cv2.magnitude(across.reshape(flat), cv2.max(beyond.reshape(flat), 0)).reshape(across.shape)
        for (x0, y0), (x1, y1), side in zip(low.tolist(), high.tolist(), nearest, strict=True):
            window = away[y0:y1, x0:x1]
            cv2.min(window, side[: y1 - y0, : x1 - x0], window)
