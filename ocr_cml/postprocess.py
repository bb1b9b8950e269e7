"""From probability maps to text polygons: the post-process of DB (Liao et al., AAAI 2020, section 3.4).

The boxes are those of PaddleOCR's runtime (`DBPostProcess` of paddlex), vertex for vertex, so that an evaluation here
says what `paddleocr.TextDetection` will find.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import cv2
import numpy as np
import pyclipper
from pydantic import BaseModel, ConfigDict, Field

from ppocr_data.errors import ModelError

_MIN_SIDE = 3
_DILATION = np.ones((2, 2), np.uint8)


class Candidate(NamedTuple):
    """A connected region of a binarised map, before it is accepted and grown.

    Attributes:
        points: `[K,2]` outline in pixels of the map: the four corners of its minimal rectangle, or its polygon.
        score: mean probability inside, in [0, 1].
    """

    points: np.ndarray
    score: float


class Outline:
    """The outline of a region, `[K,2]` in pixels of the map, ready to be grown by several ratios."""

    def __init__(self, points: np.ndarray) -> None:
        self._reach = cv2.contourArea(points), cv2.arcLength(points, True)
        self._offset = pyclipper.PyclipperOffset()
        self._offset.AddPath(points.tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)

    def grown(self, ratio: float) -> list[list[list[int]]]:
        """It moved outwards by area * ratio / perimeter, rounded at its corners (Vatti clipping): its paths."""
        area, length = self._reach
        return self._offset.Execute(area * ratio / length)


class DBPostProcess(BaseModel):
    """Binarise a map, outline its regions, drop doubtful ones, grow the rest back to full text size.

    The thresholds must be above 0: the runtime takes a 0 in `inference.yml` for "not set".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: Literal["DBPostProcess"] = Field("DBPostProcess", description="The only post-process; PaddleOCR's name.")
    thresh: float = Field(0.3, gt=0, lt=1, description="A pixel whose probability exceeds this is text.")
    box_thresh: float = Field(0.6, gt=0, le=1, description="A region whose mean probability is below this is dropped.")
    unclip_ratio: float = Field(1.5, gt=0, description="Regions grow by area * unclip_ratio / perimeter.")
    max_candidates: int = Field(1000, ge=1, description="At most this many regions of a map are looked at.")
    use_dilation: bool = Field(False, description="Thicken the binarised map by one pixel first.")
    score_mode: Literal["fast", "slow"] = Field(
        "fast", description="Mean probability inside the rectangle (fast) or the exact outline (slow)."
    )
    box_type: Literal["quad", "poly"] = Field("quad", description="Rotated rectangles, or polygons of any shape.")

    def __call__(self, prob: np.ndarray, image_hw: tuple[int, int]) -> tuple[list[np.ndarray], list[float]]:
        """Find the text of one image.

        Args:
            prob: float32 `[h,w]` probabilities in [0, 1], of any size.
            image_hw: height and width of the original image; polygons are in its pixels.

        Returns:
            int32 polygons `[K,2]` (x, y), clipped to the image; quads start at the upper left and go clockwise. And
            the score of each, in [0, 1].

        Raises:
            ModelError: the map is not `[h,w]`, or holds NaN.
        """
        accepted = [candidate for candidate in self.candidates(prob) if candidate.score >= self.box_thresh]
        grown = self.grow_all([Outline(candidate.points) for candidate in accepted], prob.shape, image_hw)
        kept = [(polygon, c.score) for polygon, c in zip(grown, accepted, strict=True) if polygon is not None]
        return [polygon for polygon, _ in kept], [score for _, score in kept]

    def candidates(self, prob: np.ndarray) -> list[Candidate]:
        """The scored regions of a map before `box_thresh`: everything that does not depend on the other two numbers."""
        if prob.ndim != 2 or not prob.size:
            raise ModelError(f"a probability map must have the shape [height, width], this one has {list(prob.shape)}")
        highest = prob.max()
        if np.isnan(highest):
            raise ModelError("the probability map holds NaN: the network's weights or its input are damaged")
        if not highest > self.thresh:
            return []
        bitmap = (prob > self.thresh).view(np.uint8)
        if self.use_dilation:
            bitmap = cv2.dilate(bitmap, _DILATION)
        contours, _ = cv2.findContours(bitmap, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
        outline = self._quad_candidate if self.box_type == "quad" else _poly_candidate
        found = (outline(prob, contour) for contour in contours[: self.max_candidates])
        return [candidate for candidate in found if candidate is not None]

    def grow_all(
        self, outlines: Sequence[Outline], map_hw: Sequence[int], image_hw: tuple[int, int], ratio: float | None = None
    ) -> list[np.ndarray | None]:
        """Grow outlines by `ratio` (default `unclip_ratio`) and bring them to the image's pixels.

        Returns int32 `[K,2]` for each, or None where the region stays too small or falls apart.
        """
        grown = [self._grow(outline, self.unclip_ratio if ratio is None else ratio) for outline in outlines]
        kept = [polygon for polygon in grown if polygon is not None]
        if not kept:
            return [None] * len(grown)
        height, width = image_hw
        scale = np.array([width / map_hw[1], height / map_hw[0]])
        points = np.clip(np.rint(np.concatenate(kept) * scale), 0, (width, height)).astype(np.int32)
        scaled = iter(np.split(points, np.cumsum([len(polygon) for polygon in kept[:-1]])))
        return [None if polygon is None else next(scaled) for polygon in grown]

    def _grow(self, outline: Outline, ratio: float) -> np.ndarray | None:
        """The grown polygon in pixels of the map, or None."""
        paths = outline.grown(ratio)
        if not paths or (self.box_type == "poly" and len(paths) > 1):
            return None
        # Growing keeps a rectangle whole; should it not, paths of equal length are one cloud of points for the runtime,
        # and of unequal length only the first counts.
        even = len({len(path) for path in paths}) == 1
        grown = np.concatenate([np.asarray(path, np.int32) for path in (paths if even else paths[:1])])
        corners, side = _mini_box(grown)
        if side < _MIN_SIDE + 2:
            return None
        return corners if self.box_type == "quad" else grown

    def _quad_candidate(self, prob: np.ndarray, contour: np.ndarray) -> Candidate | None:
        # The minimal rectangle is not larger than the upright one, and its shorter side not longer than the root.
        _, _, width, height = cv2.boundingRect(contour)
        if (width - 1) * (height - 1) < _MIN_SIDE**2 - 0.1:
            return None
        corners, side = _mini_box(contour)
        if side < _MIN_SIDE:
            return None
        inside = corners if self.score_mode == "fast" else contour.reshape(-1, 2)
        return Candidate(corners, _mean_inside(prob, inside))


def _poly_candidate(prob: np.ndarray, contour: np.ndarray) -> Candidate | None:
    points = cv2.approxPolyDP(contour, 0.002 * cv2.arcLength(contour, True), True).reshape(-1, 2)
    return Candidate(points, _mean_inside(prob, points)) if len(points) >= 4 else None


def _mini_box(points: np.ndarray) -> tuple[np.ndarray, float]:
    """The minimal rotated rectangle around points: float32 `[4,2]` from the upper left, clockwise; its shorter side."""
    rectangle = cv2.minAreaRect(points)
    by_x = sorted(cv2.boxPoints(rectangle).tolist(), key=lambda point: point[0])
    top_left, bottom_left = by_x[:2] if by_x[1][1] > by_x[0][1] else (by_x[1], by_x[0])
    top_right, bottom_right = by_x[2:] if by_x[3][1] > by_x[2][1] else (by_x[3], by_x[2])
    return np.array([top_left, top_right, bottom_right, bottom_left], np.float32), min(rectangle[1])


def _mean_inside(prob: np.ndarray, points: np.ndarray) -> float:
    """Mean of a map inside a polygon `[K,2]` whose vertices may lie outside of the map."""
    height, width = prob.shape
    (x0, y0), (x1, y1) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    x0, y0 = _within(math.floor(x0), width), _within(math.floor(y0), height)
    x1, y1 = _within(math.ceil(x1), width), _within(math.ceil(y1), height)
    mask = np.zeros((y1 - y0 + 1, x1 - x0 + 1), np.uint8)
    # Truncated, not rounded, and in the outline's own precision: the runtime does, and the score must be its score.
    cv2.fillPoly(mask, [(points - np.array((x0, y0), points.dtype)).astype(np.int32)], 1)
    return cv2.mean(prob[y0 : y1 + 1, x0 : x1 + 1], mask)[0]


def _within(place: int, length: int) -> int:
    return max(0, min(place, length - 1))
