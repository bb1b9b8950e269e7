"""The random crops: windows that divide no text, scaled to one size, and windows of one size that are not scaled."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field, field_validator

from ppocr_data import geometry
from ppocr_data.op import STRIDE, Op, Record
from ppocr_data.warps import Warp, pending_warp


class Crop(Op):
    """What all crops have: an image of exactly `size` comes out. A training list holds one of them."""

    takes_pending_warp: ClassVar[bool] = True

    size: tuple[int, int] = Field(default=(640, 640), description="Width and height of the result, multiples of 32.")

    @field_validator("size")
    @classmethod
    def _check_size(cls, size: tuple[int, int]) -> tuple[int, int]:
        if any(side < STRIDE or side % STRIDE for side in size):
            raise ValueError(f"size must be [width, height] in multiples of {STRIDE}, is {list(size)}")
        return size


class EastRandomCropData(Crop):
    """Cut a random window that divides no readable text, and bring it to one fixed size.

    The window's edges are drawn from the columns and rows that no readable text covers (the image's own edges are
    always among them), so a text lies inside or outside as a whole. A window must hold a readable text; where
    `max_tries` draws give none, the whole image is taken. Without readable text any window will do. Don't-care text
    may be cut. (Crop of EAST, Zhou et al., CVPR 2017, as in PaddleOCR.)
    """

    max_tries: int = Field(default=10, ge=1, description="How many windows are drawn before the whole image is taken.")
    min_crop_side_ratio: float = Field(
        default=0.1, ge=0, le=1, description="Smallest side of a window, as a share of the image's side."
    )
    keep_ratio: bool = Field(
        default=True, description="Keep the aspect and fill up with black at the right and bottom; else stretch."
    )

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with an image of exactly `size` and the polygons that lie in the window, cut to it."""
        out_w, out_h = self.size
        left, top, right, bottom = self._window(record, rng)
        crop_w, crop_h = right - left, bottom - top
        new_w, new_h = out_w, out_h
        if self.keep_ratio:
            scale = min(out_w / crop_w, out_h / crop_h)
            new_w, new_h = max(1, int(crop_w * scale)), max(1, int(crop_h * scale))
        return _cut(record, (left, top, right, bottom), (new_w, new_h), self.size)

    def _window(self, record: Record, rng: np.random.Generator) -> tuple[int, int, int, int]:
        width, height = pending_warp(record).size
        readable = [points for points, skip in zip(record["polygons"], record["ignore"], strict=True) if not skip]
        boxes = geometry.bounds(readable)
        x0, x1 = _draw_spans(boxes[:, 0], boxes[:, 2], width, self.max_tries, rng)
        y0, y1 = _draw_spans(boxes[:, 1], boxes[:, 3], height, self.max_tries, rng)
        good = (x1 - x0 >= max(1, self.min_crop_side_ratio * width)) & (
            y1 - y0 >= max(1, self.min_crop_side_ratio * height)
        )
        if readable:
            across = (boxes[:, 0] < x1[:, None]) & (boxes[:, 2] > x0[:, None])
            down = (boxes[:, 1] < y1[:, None]) & (boxes[:, 3] > y0[:, None])
            good &= (across & down).any(axis=1)
        if not good.any():
            return 0, 0, width, height
        first = int(good.argmax())
        return int(x0[first]), int(y0[first]), int(x1[first]), int(y1[first])


class RandomWindow(Crop):
    """Cut a random window of one size at the scale that the image has, with a part of a readable text in it.

    For images larger than the window, such as documents, of which EastRandomCropData makes a wide strip or a narrow
    column, at any scale, filled up with black: here every pixel teaches, and the scales are those that Resize before
    it draws. Text at the edge is cut as the picture is. An image smaller than the window is filled up with black at
    the right and bottom. Without readable text any window will do.
    """

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record with an image of exactly `size` and the polygons that lie in the window, cut to it."""
        whole = np.array(pending_warp(record).size)
        size = np.array(self.size)
        last = (whole - size).clip(0)
        readable = [points for points, skip in zip(record["polygons"], record["ignore"], strict=True) if not skip]
        low, high = np.zeros(2), last.astype(float)
        if readable:
            x, y = geometry.point_inside(readable[int(rng.integers(len(readable)))])
            low, high = np.clip(np.array([[x, y] - size, [x, y]]), 0, last)
        left, top = (round(place) for place in rng.uniform(low, high))
        width, height = np.minimum(size, whole).tolist()
        return _cut(record, (left, top, left + width, top + height), (width, height), self.size)


def _cut(record: Record, window: tuple[int, int, int, int], inner: tuple[int, int], size: tuple[int, int]) -> Record:
    """Bring a window (left, top, right, bottom) of the record to `inner` (width, height), on a black canvas of `size`.

    A warp that is pending is carried out with it, for the window's pixels alone.
    """
    (left, top, right, bottom), (width, height) = window, inner
    factor_x, factor_y = width / (right - left), height / (bottom - top)
    move = np.array([[factor_x, 0, -left * factor_x], [0, factor_y, -top * factor_y], [0, 0, 1]])
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    if record.get("warp") is None:
        canvas[:height, :width] = cv2.resize(record["image"][top:bottom, left:right], inner)
    else:
        canvas[:height, :width] = Warp(move @ record["warp"].matrix, inner).apply(record["image"])
    moved = [geometry.transform(points, move) for points in record["polygons"]]
    return {**geometry.clip_record(record, moved, width, height), "image": canvas, "warp": None}


def _draw_spans(
    low: np.ndarray, high: np.ndarray, length: int, count: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` spans (start <= end) of an axis whose ends lie between pixels that no interval low..high covers.

    Free places come in runs. Two runs are drawn first, then a place in each, so that a narrow gap between lines is
    as likely as a wide margin.
    """
    free = np.ones(length + 1, bool)
    for start, end in zip(np.floor(low.clip(0, length)), np.ceil(high.clip(0, length)), strict=True):
        free[int(start) + 1 : int(end)] = False
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    starts, stops = edges[::2], edges[1::2]
    runs = rng.integers(len(starts), size=(2, count))
    places = rng.integers(starts[runs], stops[runs])
    return places.min(axis=0), places.max(axis=0)
