"""Polygons: area, clipping, offsetting, filling. A polygon is float32 `[K,2]`: (x, y) in pixels, K >= 3."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pyclipper
import shapely

from ppocr_data.op import Record

_SUBPIXEL_BITS = 4
_SUBPIXEL = 1 << _SUBPIXEL_BITS
_ARC_TOLERANCE = 0.25
_SPECK = 1.0


def area(points: np.ndarray) -> float:
    """The area that a polygon encloses, in square pixels, >= 0."""
    return float(cv2.contourArea(points))


def perimeter(points: np.ndarray) -> float:
    """The length of a polygon's closed outline, in pixels."""
    return float(cv2.arcLength(points, True))


def is_simple(points: np.ndarray) -> bool:
    """Whether the outline of a polygon with an area does not cross or touch itself."""
    # Much the most frequent case, answered fast: four corners that all turn the same way.
    if len(points) == 4 and cv2.isContourConvex(points):
        return True
    return bool(shapely.Polygon(points).is_valid)


def convex_hull(points: np.ndarray) -> np.ndarray:
    """The convex hull, float32 `[K,2]`; fewer than three points where the input lies on a line."""
    # OpenCV answers None where the points are all one and differ in the sign of a zero alone.
    hull = cv2.convexHull(points.astype(np.float32) + np.float32(0))
    return np.zeros((0, 2), np.float32) if hull is None else hull.reshape(-1, 2)


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Move points `[K,2]` by a homogeneous matrix `[3,3]`; float32 `[K,2]`."""
    moved = np.column_stack([points, np.ones(len(points))]) @ matrix.T
    return (moved[:, :2] / moved[:, 2:]).astype(np.float32)


def about(matrix: np.ndarray, x: float, y: float) -> np.ndarray:
    """The matrix `[3,3]` with (x, y) as its fixed point."""
    there, back = np.eye(3), np.eye(3)
    there[:2, 2], back[:2, 2] = (x, y), (-x, -y)
    return there @ matrix @ back


def point_inside(points: np.ndarray) -> tuple[float, float]:
    """A point of the polygon `[K,2]`: the mean of its corners, or for a curved one that goes around it another."""
    x, y = (float(value) for value in points.mean(axis=0))
    if cv2.pointPolygonTest(points.astype(np.float32), (x, y), False) >= 0:
        return x, y
    inside = shapely.Polygon(points).representative_point()
    return inside.x, inside.y


def bounds(polygons: Sequence[np.ndarray]) -> np.ndarray:
    """The axis-aligned boxes of P polygons: float64 `[P,4]`, columns x0, y0, x1, y1."""
    if not len(polygons):
        return np.zeros((0, 4))
    points = np.concatenate(polygons).astype(np.float64)
    counts = np.array([len(polygon) for polygon in polygons])
    firsts = np.cumsum(counts) - counts
    return np.hstack([np.minimum.reduceat(points, firsts), np.maximum.reduceat(points, firsts)])


def clip(points: np.ndarray, width: float, height: float) -> list[np.ndarray]:
    """The parts of a polygon inside the rectangle 0..width, 0..height.

    A polygon that lies inside is returned as it is. A cut one is returned as its pieces (a bent one may fall into
    several) with at least one square pixel each; one outside gives an empty list. A polygon whose outline crosses
    itself is replaced by its convex hull before it is cut.
    """
    points = np.ascontiguousarray(points, np.float32)
    low, high = points.min(axis=0), points.max(axis=0)
    if low[0] >= 0 and low[1] >= 0 and high[0] <= width and high[1] <= height:
        return [points]
    if not (low[0] < width and low[1] < height and high[0] > 0 and high[1] > 0):
        return []
    shape = shapely.Polygon(points.astype(np.float64))
    if not shape.is_valid:
        shape = shape.convex_hull
    pieces = shapely.get_parts(shapely.intersection(shape, shapely.box(0, 0, width, height)))
    # The exterior comes as a closed ring: its last point repeats the first.
    whole = [piece for piece in pieces if piece.geom_type == "Polygon" and piece.area >= _SPECK]
    return [np.array(piece.exterior.coords[:-1], np.float32) for piece in whole]


def clip_all(polygons: Sequence[np.ndarray], width: float, height: float) -> tuple[list[np.ndarray], list[int]]:
    """The parts of P polygons inside the rectangle, as of `clip`, and for each part the polygon it belongs to."""
    x0, y0, x1, y1 = bounds(polygons).T
    inside = (x0 >= 0) & (y0 >= 0) & (x1 <= width) & (y1 <= height)
    pieces = [
        [np.ascontiguousarray(points, np.float32)] if whole else clip(points, width, height)
        for points, whole in zip(polygons, inside.tolist(), strict=True)
    ]
    owners = [polygon for polygon, parts in enumerate(pieces) for _ in parts]
    return [part for parts in pieces for part in parts], owners


def clip_record(record: Record, polygons: Sequence[np.ndarray], width: int, height: int) -> Record:
    """Give the record `polygons` in place of its own, cut to the rectangle; flags and texts follow their polygons.

    `polygons` holds one for each polygon of the record, in the same order. Those outside vanish.
    """
    parts, owners = clip_all(polygons, width, height)
    return {
        **record,
        "polygons": parts,
        "ignore": np.asarray(record["ignore"], bool)[owners],
        "texts": [record["texts"][i] for i in owners],
    }


def offset(points: np.ndarray, distance: float) -> list[np.ndarray]:
    """Grow (distance > 0) or shrink (< 0) a polygon by `distance` pixels with rounded corners (Vatti clipping).

    Returns the resulting outlines, float32 `[K,2]` each: none where nothing is left, several where a shrunk polygon
    falls apart. Coordinates are kept to 1/16 pixel.
    """
    clipper = pyclipper.PyclipperOffset(2.0, _ARC_TOLERANCE * _SUBPIXEL)
    path = np.rint(points * _SUBPIXEL).astype(np.int64)
    clipper.AddPath(path.tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    return [np.array(found, np.float32) / _SUBPIXEL for found in clipper.Execute(distance * _SUBPIXEL)]


def fill(canvas: np.ndarray, points: np.ndarray, value: int) -> None:
    """Set the pixels of a polygon in `canvas` (uint8 `[H,W]`) to `value`, outline included; parts outside are cut."""
    fixed = np.rint(points * _SUBPIXEL).astype(np.int32)
    cv2.fillPoly(canvas, [fixed], value, shift=_SUBPIXEL_BITS)
