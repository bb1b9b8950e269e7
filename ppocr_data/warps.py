"""Affine warps of an image, and IaaAugment's steps, under imgaug's names, that give their matrices."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import cv2
import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ppocr_data.geometry import about, transform
from ppocr_data.op import Record

_LARGEST_CANVAS = 50e6
_LONGEST_SIDE = 32000


@dataclass(frozen=True, slots=True, eq=False)
class Warp:
    """A move of points by `matrix` `[3,3]` (origin: the image's corner) onto a canvas of `size` (width, height)."""

    matrix: np.ndarray
    size: tuple[int, int]

    def apply(self, image: np.ndarray) -> np.ndarray:
        """Warp uint8 `[H,W,3]` bilinearly to `size`; what comes in from outside is black."""
        if self.size == image.shape[1::-1] and np.array_equal(self.matrix, np.eye(3)):
            return image
        image, matrix = _within_reach(image, self.matrix, self.size)
        # OpenCV's origin is the middle of the first pixel, half a pixel off the corner.
        return cv2.warpAffine(image, about(matrix, -0.5, -0.5)[:2], self.size, flags=cv2.INTER_LINEAR)


def _within_reach(image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Image and matrix that OpenCV can warp: of a side beyond its reach the part that is seen, made smaller if need be.

    Args:
        image: uint8 `[H,W,3]`.
        matrix: moves its points `[3,3]`.
        size: (width, height) of what it is warped to.
    """
    if max(image.shape[:2]) <= _LONGEST_SIDE:
        return image, matrix
    width, height = size
    canvas = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = transform(canvas, np.linalg.inv(matrix))
    ends = np.array(image.shape[1::-1])
    low = np.clip(np.floor(seen.min(axis=0)) - 2, 0, ends - 1).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + 2, low + 1, ends).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    smaller = np.ceil((high - low) / _LONGEST_SIDE)
    if smaller.max() > 1:
        part = cv2.resize(part, np.ceil((high - low) / smaller).astype(int).tolist(), interpolation=cv2.INTER_AREA)
    factors = (high - low) / part.shape[1::-1]
    back = np.array([[factors[0], 0, low[0]], [0, factors[1], low[1]], [0, 0, 1]])
    return part, matrix @ back


def pending_warp(record: Record) -> Warp:
    """The warp that the record's image still waits for: an identity where there is none."""
    return record.get("warp") or Warp(np.eye(3), record["image"].shape[1::-1])


def settle(record: Record) -> Record:
    """Carry out the pending warp of a record."""
    if record.get("warp") is None:
        return record
    return {**record, "image": record["warp"].apply(record["image"]), "warp": None}


def _ordered(span: float | tuple[float, float]) -> float | tuple[float, float]:
    if isinstance(span, tuple) and span[0] > span[1]:
        raise ValueError(f"a range is [low, high], is {list(span)}")
    return span


def _is_factor(span: float | tuple[float, float]) -> float | tuple[float, float]:
    low, high = span if isinstance(span, tuple) else (span, span)
    if low <= 0 or high > 10:
        raise ValueError(f"must be a factor above 0 and up to 10 (or a range of them), is {span}")
    return span


Span = Annotated[float | tuple[float, float], AfterValidator(_ordered)]
Factor = Annotated[Span, AfterValidator(_is_factor)]


def _draw(span: float | tuple[float, float], rng: np.random.Generator) -> float:
    return float(rng.uniform(*span)) if isinstance(span, tuple) else float(span)


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FlipArguments(_Arguments):
    """Arguments of Fliplr and Flipud."""

    p: float = Field(default=1.0, ge=0, le=1, description="Probability of the flip.")


class AffineArguments(_Arguments):
    """Arguments of Affine. The canvas keeps its size unless told to fit; what leaves is lost, what comes in black."""

    p: float = Field(default=1.0, ge=0, le=1, description="Probability that anything is done.")
    fit_output: bool = Field(default=False, description="Grow or shrink the canvas so that it holds the whole image.")

    rotate: Span = Field(default=0.0, description="Angle about the centre in degrees, clockwise, or [low, high].")
    scale: Factor = Field(default=1.0, description="Factor about the centre, or [low, high].")
    shear: Span = Field(default=0.0, description="Angle by which upright lines lean, in degrees, or [low, high].")
    translate_percent: Span = Field(default=0.0, description="Shift of x and y as a share of the side, or [low, high].")


class ResizeArguments(_Arguments):
    """Arguments of Resize."""

    size: Factor = Field(default=1.0, description="Factor for both sides, or [low, high].")


class _Step(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Fliplr(_Step):
    """Mirror left and right."""

    type: Literal["Fliplr"]
    args: FlipArguments = FlipArguments()

    def matrix(self, width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        """The matrix `[3,3]` that moves points of a canvas, and the (width, height) of the new canvas."""
        hit = rng.random() < self.args.p
        return np.array([[-1, 0, width], [0, 1, 0], [0, 0, 1]], float) if hit else np.eye(3), (width, height)


class Flipud(_Step):
    """Mirror top and bottom."""

    type: Literal["Flipud"]
    args: FlipArguments = FlipArguments()

    def matrix(self, width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        """As `Fliplr.matrix`."""
        hit = rng.random() < self.args.p
        return np.array([[1, 0, 0], [0, -1, height], [0, 0, 1]], float) if hit else np.eye(3), (width, height)


class Affine(_Step):
    """Rotate, scale, shear about the centre, then shift."""

    type: Literal["Affine"]
    args: AffineArguments = AffineArguments()

    def matrix(self, width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        """As `Fliplr.matrix`."""
        if self.args.p < 1 and rng.random() >= self.args.p:
            return np.eye(3), (width, height)
        turn, lean = (math.radians(_draw(span, rng)) for span in (self.args.rotate, self.args.shear))
        factor = _draw(self.args.scale, rng)
        linear = np.eye(3)
        linear[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
        linear[:2, :2] = factor * linear[:2, :2] @ [[1, math.tan(lean)], [0, 1]]
        whole = about(linear, width / 2, height / 2)
        whole[:2, 2] += [_draw(self.args.translate_percent, rng) * side for side in (width, height)]
        if not self.args.fit_output:
            return whole, (width, height)
        corners = transform(np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32), whole)
        whole[:2, 2] -= corners.min(axis=0)
        new_w, new_h = (max(1, math.ceil(side - 1e-3)) for side in np.ptp(corners, axis=0))
        return whole, (new_w, new_h)


class Resize(_Step):
    """Scale the canvas. The factor is lowered where the result would have more than 50 megapixels."""

    type: Literal["Resize"]
    args: ResizeArguments = ResizeArguments()

    def matrix(self, width: int, height: int, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int]]:
        """As `Fliplr.matrix`."""
        largest = min(math.sqrt(_LARGEST_CANVAS / (width * height)), _LONGEST_SIDE / max(width, height))
        factor = min(_draw(self.args.size, rng), largest)
        new_w, new_h = max(1, int(width * factor)), max(1, int(height * factor))
        return np.diag([new_w / width, new_h / height, 1.0]), (new_w, new_h)


Step = Annotated[Fliplr | Flipud | Affine | Resize, Field(discriminator="type")]
USUAL: tuple[Step, ...] = (
    Fliplr(type="Fliplr", args=FlipArguments(p=0.5)),
    Affine(type="Affine", args=AffineArguments(rotate=(-10, 10))),
    Resize(type="Resize", args=ResizeArguments(size=(0.5, 3))),
)
