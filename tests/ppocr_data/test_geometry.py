"""Many polygons at once, against one by one."""

from __future__ import annotations

import numpy as np
import pyclipper
import pytest

from ppocr_data import geometry


def polygons_around_a_page(count: int = 200) -> list[np.ndarray]:
    """Polygons of 3 to 7 points inside 100x80, across its edges, and outside."""
    rng = np.random.default_rng(3)
    spread = rng.uniform(5, 60, count)
    return [
        (rng.uniform(-40, 140, 2) + wide * rng.normal(0, 1, (rng.integers(3, 8), 2))).astype(np.float32)
        for wide in spread
    ]


def test_bounds_of_many_polygons() -> None:
    polygons = polygons_around_a_page()
    expected = [[*points.min(axis=0), *points.max(axis=0)] for points in polygons]
    assert np.array_equal(geometry.bounds(polygons), np.array(expected, np.float64))
    assert geometry.bounds([]).shape == (0, 4)


def test_cutting_many_polygons_is_cutting_each() -> None:
    polygons = polygons_around_a_page()
    parts, owners = geometry.clip_all(polygons, 100, 80)
    one_by_one = [geometry.clip(points, 100, 80) for points in polygons]
    assert owners == [index for index, pieces in enumerate(one_by_one) for _ in pieces]
    assert {0, 1} < {len(pieces) for pieces in one_by_one}  # some vanish, some fall apart
    for part, expected in zip(parts, [piece for pieces in one_by_one for piece in pieces], strict=True):
        assert part.dtype == np.float32
        assert np.array_equal(part, expected)
    assert geometry.clip_all([], 100, 80) == ([], [])


def test_a_sliver_left_by_a_cut_is_no_polygon_and_a_crossing_one_is_its_hull() -> None:
    sliver = np.array([[-10, 0], [0.05, 0], [0.05, 10], [-10, 10]], np.float32)  # 0.05 * 10 = 0.5 square pixels inside
    assert geometry.clip(sliver, 100, 100) == []
    wider = np.array([[-10, 0], [0.2, 0], [0.2, 10], [-10, 10]], np.float32)  # 2 square pixels
    assert [geometry.area(part) for part in geometry.clip(wider, 100, 100)] == pytest.approx([2.0], abs=1e-4)
    bowtie = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], np.float32)  # its hull is the square, cut to 8 columns
    assert [geometry.area(part) for part in geometry.clip(bowtie, 8, 100)] == pytest.approx([80.0], abs=1e-3)


def test_rounded_corners_have_as_many_points_as_pyclippers_in_whole_pixels() -> None:
    square = np.array([[0, 0], [100, 0], [100, 100], [0, 100]], np.float32)
    plain = pyclipper.PyclipperOffset()
    plain.AddPath(square.astype(int).tolist(), pyclipper.JT_ROUND, pyclipper.ET_CLOSEDPOLYGON)
    (usual,), (ours,) = plain.Execute(20), geometry.offset(square, 20)
    assert abs(len(ours) - len(usual)) <= 4
