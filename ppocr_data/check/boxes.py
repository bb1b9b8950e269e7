"""What looks wrong about the outlines of one image."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import shapely

from ppocr_data import geometry
from ppocr_data.check.findings import Finding
from ppocr_data.labels import Sample

_BEYOND = 2.0  # pixels: labelling tools round and overshoot by that much
_SAME = 0.9  # intersection over union from which two outlines are one
_WHOLE = 0.9  # of the image's area
_SIDES = ("left", "top", "right", "bottom")


def box_findings(
    sample: Sample, numbers: Sequence[int | None], width: int, height: int, tiny: float
) -> Iterator[Finding]:
    """The suspicious outlines of a sample whose image has that size, in pixels.

    Args:
        sample: outlines that enclose an area, as the label reader gives them.
        numbers: the number of each text in its label line; None for one that is not to be looked at.
        width, height: of the image.
        tiny: readable text thinner than this many pixels is suspicious.
    """
    for i, (number, points) in enumerate(zip(numbers, sample.polygons, strict=True)):
        if number is None:
            continue
        found = [("outside", _outside(points, width, height))]
        if not sample.ignore[i]:
            found += [
                ("order", _order(points)),
                ("tiny", _tiny(points, tiny)),
                ("huge", _huge(points, width, height)),
            ]
        for kind, reason in found:
            if reason:
                yield Finding(kind, sample.source, reason, sample.image, number, sample.texts[i], points)
    looked_at = [i for i, number in enumerate(numbers) if number is not None]
    for later, earlier in _duplicates([sample.polygons[i] for i in looked_at]):
        i, j = looked_at[later], looked_at[earlier]
        reason = f"nearly the same outline as text {numbers[j]} of this image"
        if sample.ignore[i] != sample.ignore[j]:
            reason += ", and only one of them is don't care"
        yield Finding("duplicate", sample.source, reason, sample.image, numbers[i], sample.texts[i], sample.polygons[i])


def _outside(points: np.ndarray, width: int, height: int) -> str | None:
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if left >= width or top >= height or right <= 0 or bottom <= 0:
        reason = f"lies wholly outside of the image of {width}x{height}"
    else:
        beyond = (-left, -top, right - width, bottom - height)
        worst = int(np.argmax(beyond))
        if beyond[worst] <= _BEYOND:
            return None
        reason = f"{beyond[worst]:.0f} pixels beyond the {_SIDES[worst]} edge of the image of {width}x{height}"
    fits_turned = min(left, top) >= -_BEYOND and right <= height + _BEYOND and bottom <= width + _BEYOND
    return reason + (" (it would fit if the image were turned by 90 degrees)" if fits_turned else "")


def _order(points: np.ndarray) -> str | None:
    """Points run clockwise, and a quadrilateral begins at its text's top left.

    Text of more than a few letters is longer than high, so that the first side of a quadrilateral, which runs along
    the text, is a long one. Where it is a short one and does not point to the right, the order has been turned; where
    it is a long one, the text itself is turned, which is right.
    """
    if cv2.contourArea(points, oriented=True) < 0:
        return "the points go counter-clockwise"
    if len(points) != 4:
        return None
    first, second = points[1] - points[0], points[2] - points[1]
    angle = math.degrees(math.atan2(first[1], first[0]))
    if abs(angle) <= 45:
        return None
    if abs(angle) >= 135:
        return "the first side points to the left: upside-down text, or points that do not begin at the top left"
    if np.hypot(*first) < np.hypot(*second):
        way = "down" if angle > 0 else "up"
        return f"the first side is a short one that points {way}: the points do not begin at the top left"
    return None


def _tiny(points: np.ndarray, tiny: float) -> str | None:
    (_, sides, _) = cv2.minAreaRect(points)
    return f"{min(sides):.1f} pixels thin" if min(sides) < tiny else None


def _huge(points: np.ndarray, width: int, height: int) -> str | None:
    share = geometry.area(points) / (width * height)
    return f"covers {share:.0%} of the image" if share > _WHOLE else None


def _duplicates(polygons: Sequence[np.ndarray]) -> Iterator[tuple[int, int]]:
    """Indices (later, earlier) of outlines that are nearly the same, each later one once."""
    shapes = [shapely.Polygon(points) for points in polygons]
    tree = shapely.STRtree(shapes)
    for later, shape in enumerate(shapes):
        for earlier in sorted(int(i) for i in tree.query(shape)):
            if earlier >= later:
                break
            common = shape.intersection(shapes[earlier]).area
            if common >= _SAME * (shape.area + shapes[earlier].area - common):
                yield later, earlier
                break
