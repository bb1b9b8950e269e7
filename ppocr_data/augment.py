"""Augmentation of image and polygons together: geometry (IaaAugment), pasted text (CopyPaste), colour (ColorJitter)."""

from __future__ import annotations

import math
from typing import ClassVar

import cv2
import numpy as np
from pydantic import Field

from ppocr_data import geometry
from ppocr_data.op import Op, Record
from ppocr_data.warps import USUAL, Step, Warp, pending_warp, settle

_MOST_PASTED = 30
_PLACES_TRIED = 50
_SMALLEST_PASTED = 4


class IaaAugment(Op):
    """Flips, rotations and scales, as imgaug names them, composed into one warp, so pixels are interpolated once.

    Polygons are cut to the image, move with its pixels, and are cut to the new canvas: beyond the image there is
    nothing but filling. Those outside are dropped. In a record with `defer_warp` the pixels wait for the crop, which
    then makes its few pixels straight from the original ones; where an op between the two needs them, for that op.
    """

    takes_pending_warp: ClassVar[bool] = True

    augmenter_args: tuple[Step, ...] | None = Field(
        default=None,
        description="List of {type, args}: Fliplr, Flipud, Affine, Resize; default: mirror, turn by 10, scale 0.5-3.",
    )

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Warp image and polygons."""
        pending = pending_warp(record)
        record = geometry.clip_record(record, record["polygons"], *pending.size)
        own, size = np.eye(3), pending.size
        for step in USUAL if self.augmenter_args is None else self.augmenter_args:
            matrix, size = step.matrix(*size, rng)
            own = matrix @ own
        moved = [geometry.transform(points, own) for points in record["polygons"]]
        record = {**geometry.clip_record(record, moved, *size), "warp": Warp(own @ pending.matrix, size)}
        return record if record.get("defer_warp") else settle(record)


class CopyPaste(Op):
    """Paste readable texts of another sample, each turned by a random angle, where no text is yet.

    The other sample comes from `record["ext"]`; without it, or where it has no readable text, nothing happens.
    """

    objects_paste_ratio: float = Field(
        default=0.2, ge=0, le=1, description="Share of the other sample's texts to paste: at least 1, at most 30."
    )
    limit_paste: bool = Field(default=True, description="Paste only where no text is yet; else anywhere.")

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Add the pasted texts to image, polygons, ignore and texts."""
        record = settle(record)
        other = record["ext"](rng) if record.get("ext") else None
        if other is None:
            return record
        other = geometry.clip_record(other, other["polygons"], *other["image"].shape[1::-1])
        if other["ignore"].all():
            return record
        chosen = rng.permutation(np.flatnonzero(~other["ignore"]))
        count = max(1, min(int(self.objects_paste_ratio * len(other["polygons"])), _MOST_PASTED))
        image, polygons, texts = record["image"].copy(), list(record["polygons"]), list(record["texts"])
        for index in chosen[:count]:
            placed = self._paste(image, polygons, other["image"], other["polygons"][index], rng)
            if placed is not None:
                polygons.append(placed)
                texts.append(other["texts"][index])
        added = np.zeros(len(polygons) - len(record["polygons"]), bool)
        ignore = np.concatenate([record["ignore"], added])
        return {**record, "image": image, "polygons": polygons, "texts": texts, "ignore": ignore}

    def _paste(
        self,
        image: np.ndarray,
        taken: list[np.ndarray],
        source: np.ndarray,
        points: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray | None:
        """Paste one text into `image`, in place; its new polygon, or None where there is no room."""
        cut = _straighten(points, math.radians(rng.uniform(0, 360)))
        if cut is None:
            return None
        matrix, (width, height) = cut
        room = image.shape[1] - width, image.shape[0] - height
        if min(room) < 0:
            return None
        places = np.stack([rng.integers(0, limit + 1, _PLACES_TRIED) for limit in room], axis=1)
        if self.limit_paste and taken:
            boxes = geometry.bounds(taken)
            apart = (boxes[:, :2] > places[:, None] + (width, height)) | (boxes[:, 2:] < places[:, None])
            places = places[np.all(apart.any(axis=2), axis=1)]
        if len(places) == 0:
            return None
        (left, top), moved = places[0], geometry.transform(points, matrix)
        mask = np.zeros((height, width), np.uint8)
        geometry.fill(mask, moved, 255)
        patch = _warped(source, points, matrix, (width, height))
        cv2.copyTo(patch, mask, image[top : top + height, left : left + width])
        return moved + np.array([left, top], np.float32)


def _warped(source: np.ndarray, points: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The patch of `size` (width, height) that the part of `source` around a polygon becomes."""
    x0, y0, x1, y1 = geometry.bounds([points])[0]
    left, top = max(0, math.floor(x0) - 1), max(0, math.floor(y0) - 1)  # a pixel more: it is mixed in at the outline
    part = source[top : math.ceil(y1) + 2, left : math.ceil(x1) + 2]
    from_part = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], float)
    # OpenCV's origin is the middle of the first pixel, half a pixel off the corner.
    return cv2.warpPerspective(part, geometry.about(matrix @ from_part, -0.5, -0.5), size, flags=cv2.INTER_LINEAR)


def _straighten(points: np.ndarray, turn: float) -> tuple[np.ndarray, tuple[int, int]] | None:
    """The homography `[3,3]` that lays a text straight and turns it, and the (width, height) of the patch it fills.

    None where the text is too small to be worth it. A text of more than four points, or of four of which one is a dent,
    goes by its smallest rectangle.
    """
    straight_sided = len(points) == 4 and cv2.isContourConvex(points.astype(np.float32))
    corners = points if straight_sided else cv2.boxPoints(cv2.minAreaRect(points))
    if cv2.contourArea(corners.astype(np.float32), oriented=True) < 0:
        corners = corners[[0, 3, 2, 1]]  # labelled the other way round: laid on a clockwise target it would be mirrored
    sides = np.linalg.norm(np.roll(corners, -1, axis=0) - corners, axis=1)
    width, height = max(sides[0], sides[2]), max(sides[1], sides[3])
    if min(sides) < 1 or min(width, height) < _SMALLEST_PASTED:
        return None
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    straight = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    rotation = np.eye(3)
    rotation[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    extent = np.concatenate([geometry.transform(p, rotation @ straight) for p in (corners, points)])
    # A bent quadrilateral can send points far away or to infinity.
    if not (np.abs(extent) < 1e5).all():
        return None
    shift = np.eye(3)
    shift[:2, 2] = -extent.min(axis=0)
    patch_w, patch_h = np.ceil(np.ptp(extent, axis=0)).astype(int) + 1
    return shift @ rotation @ straight, (int(patch_w), int(patch_h))


class ColorJitter(Op):
    """Change brightness, contrast, saturation and hue at random, in this order. A value of 0 leaves its part alone."""

    takes_pending_warp: ClassVar[bool] = True

    brightness: float = Field(default=0.0, ge=0, description="Pixels are multiplied by 1 - b to 1 + b.")
    contrast: float = Field(default=0.0, ge=0, description="Pixels move from the mean grey by 1 - c to 1 + c.")
    saturation: float = Field(default=0.0, ge=0, description="Pixels move from their own grey by 1 - s to 1 + s.")
    hue: float = Field(default=0.0, ge=0, le=0.5, description="The hue turns by -h to h of the whole circle.")

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Change the image's colours."""
        image = record["image"]
        bright, contrast, saturate = (
            float(rng.uniform(max(0.0, 1 - amount), 1 + amount))
            for amount in (self.brightness, self.contrast, self.saturation)
        )
        turn = round(float(rng.uniform(-self.hue, self.hue)) * 180)
        if bright != 1 or contrast != 1:
            mean = bright * float(cv2.mean(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY))[0])
            levels = (np.arange(256) * bright - mean) * contrast + mean
            image = cv2.LUT(image, np.rint(levels.clip(0, 255)).astype(np.uint8))
        if saturate != 1:
            grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
            image = cv2.addWeighted(image, saturate, grey, 1 - saturate, 0)
        if turn:
            # Eight-bit hues count half degrees: 0..179.
            colours = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
            colours[..., 0] = (colours[..., 0].astype(np.int16) + turn) % 180
            image = cv2.cvtColor(colours, cv2.COLOR_HSV2BGR)
        return {**record, "image": image}
