"""DB's targets: hand-computed squares, a plain reference, and polygons of every kind."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
import shapely
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ppocr_data import geometry
from ppocr_data.errors import ConfigError
from ppocr_data.targets import (
    MakeBorderMap,
    MakeShrinkMap,
    RatioSchedule,
    check_shrink_ratios,
    offset_distance,
    shrink_target,
    threshold_target,
)

CARE = np.array([False])


def rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)


def rotated(width: float, height: float, degrees: float, centre: tuple[float, float]) -> np.ndarray:
    angle = math.radians(degrees)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return (rectangle(-width / 2, -height / 2, width / 2, height / 2) @ turn + centre).astype(np.float32)


BENT = np.array([[20, 60], [40, 20], [80, 20], [100, 60], [80, 60], [70, 40], [50, 40], [40, 60]], np.float32)
SHAPES = [rectangle(30, 30, 90, 60), rotated(80, 24, 31, (60, 55)), rotated(50, 40, -70, (70, 60)), BENT]


def test_offset_distance_of_a_square() -> None:
    # Side 50: A = 2500, L = 200; r = 0.6: D = 12.5 * (1 - 0.36) = 8.
    assert offset_distance(rectangle(10, 10, 60, 60), 0.6) == pytest.approx(8)


def test_shrunk_square_by_hand() -> None:
    kernels, mask = shrink_target((80, 80), [rectangle(10, 10, 60, 60)], CARE, 0.6)
    expected = np.zeros((80, 80), np.uint8)
    expected[18:53, 18:53] = 1  # 10 + 8 to 60 - 8, both included
    assert np.array_equal(kernels, expected)
    assert mask.dtype == kernels.dtype == np.uint8
    assert mask.all()


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("points", SHAPES)
def test_kernel_agrees_with_shapely(points: np.ndarray, direction: int) -> None:
    """Every pixel well inside the shrunk polygon is 1, every one well outside is 0, whichever way it is listed."""
    kernels, mask = shrink_target((120, 130), [points[::direction]], CARE, 0.5)
    shape = shapely.Polygon(points)
    inner = shape.buffer(-shape.area * (1 - 0.25) / shape.length)
    ys, xs = np.mgrid[:120, :130]
    pixels = shapely.points(xs, ys)
    inside = shapely.contains(inner, pixels)
    assert kernels[inside].all()
    assert not kernels[shapely.distance(inner, pixels) > 1].any()
    assert inside.sum() > 50
    assert mask.all()


def test_small_and_ignored_text_is_masked() -> None:
    polygons = [rectangle(5, 5, 45, 12), rectangle(5, 20, 45, 28), rectangle(5, 40, 45, 60)]
    kernels, mask = shrink_target((70, 50), polygons, np.array([False, False, True]), 0.4, min_text_size=8)
    expected = np.ones((70, 50), np.uint8)
    expected[5:13, 5:46] = 0  # height 7 < 8
    expected[40:61, 5:46] = 0  # ignored
    assert np.array_equal(mask, expected)
    assert kernels[20:29, 5:46].any()  # height 8 is text
    assert not kernels[mask == 0].any()


def test_a_flag_stays_with_its_text_where_the_image_cuts_others_away() -> None:
    """The first lies outside, the second is cut into two parts: the flags are those of texts, not of what is seen."""
    comb = np.array([[10, -20], [60, -20], [60, 30], [45, 30], [45, -5], [25, -5], [25, 30], [10, 30]], np.float32)
    texts = [rectangle(200, 200, 260, 220), comb, rectangle(10, 50, 60, 70)]
    kernels, mask = shrink_target((80, 80), texts, np.array([True, False, True]), 0.4)
    assert mask[15, 17] == mask[15, 52] == 1 and kernels[15, 17] == kernels[15, 52] == 1
    assert mask[60, 35] == kernels[60, 35] == 0
    kernels, mask = shrink_target((80, 80), texts, np.array([False, True, False]), 0.4)
    assert mask[15, 17] == mask[15, 52] == 0
    assert mask[60, 35] == kernels[60, 35] == 1


@pytest.mark.parametrize(("height", "taught"), [(7.5, False), (8.0, True)])
def test_the_usual_least_height_is_eight_pixels(height: float, taught: bool) -> None:
    text = rectangle(10, 10, 60, 10 + height)
    record = {"image": np.zeros((80, 80, 3), np.uint8), "polygons": [text], "ignore": CARE, "epoch": 0}
    made = MakeShrinkMap()(record, np.random.default_rng(0))
    assert made["shrink_map"].any() == made["shrink_mask"].all() == taught
    assert shrink_target((80, 80), [text], CARE, 0.4)[0].any() == taught


def test_text_that_cannot_be_shrunk_is_masked() -> None:
    line = np.array([[5, 5], [40, 40], [40, 40], [5, 5]], np.float32)
    tie = np.array([[5, 45], [60, 75], [60, 45], [5, 75]], np.float32)
    kernels, mask = shrink_target((80, 80), [line, tie], np.zeros(2, bool), 0.4)
    assert not kernels.any()
    assert mask[60, 10] == 0


def test_an_outline_that_crosses_itself_is_not_taught() -> None:
    """Its larger part would be a text that nobody has marked: 40 x 65 pixels here, the smaller one is 25 x 3."""
    crossed = np.array([[5, 5], [75, 5], [75, 70], [30, 2]], np.float32)
    assert geometry.offset(crossed, -3)  # which would be its kernel
    kernels, mask = shrink_target((80, 80), [crossed], CARE, 0.4)
    assert not kernels.any()
    assert mask[30, 70] == 0
    assert not threshold_target((80, 80), [crossed], CARE, 0.4)[1].any()


def test_a_text_that_falls_apart_is_shrunk_less() -> None:
    """A dumbbell: shrunk by 0.4 its bar vanishes and two kernels are left; by 0.8 it stays in one piece."""
    bell = [[0, 0], [40, 0], [40, 14], [80, 14], [80, 0], [120, 0], [120, 40], [80, 40], [80, 26], [40, 26], [40, 40]]
    points = np.array([*bell, [0, 40]], np.float32) + 5
    kernels, _ = shrink_target((60, 140), [points], CARE, 0.4)
    distance = {r: offset_distance(points, r) for r in (0.4, 0.8)}
    assert distance[0.4] > 6 > distance[0.8]  # the bar is 12 high
    assert kernels[25, 65] == 1


def test_cut_text_counts_by_what_is_seen() -> None:
    seen, _ = shrink_target((80, 80), [rectangle(10, 10, 60, 80)], CARE, 0.5)
    cut, _ = shrink_target((80, 80), [rectangle(10, 10, 60, 500)], CARE, 0.5)
    assert np.array_equal(seen, cut)
    for maker in (shrink_target, threshold_target):
        outside, mask = maker((80, 80), [rectangle(90, 10, 160, 80)], CARE, 0.5)
        empty, empty_mask = maker((80, 80), [], np.zeros(0, bool), 0.5)
        assert np.array_equal(outside, empty)
        assert np.array_equal(mask, empty_mask)


def test_threshold_of_a_square_by_hand() -> None:
    # D = 8. On the outline 0.7; 4 pixels off it 0.5; at 8 pixels and beyond 0.3.
    values, mask = threshold_target((80, 80), [rectangle(15, 15, 65, 65)], CARE, 0.6)
    row = values[40] / 255
    assert row[15] == pytest.approx(0.7, abs=0.002)
    assert row[[11, 19, 61, 69]] == pytest.approx([0.5] * 4, abs=0.002)
    assert row[[0, 7, 23, 40, 57, 73, 79]] == pytest.approx([0.3] * 7, abs=0.002)
    assert values.dtype == mask.dtype == np.uint8
    expected = np.zeros(80, np.uint8)
    expected[7:74] = 1
    assert np.array_equal(mask[40], expected)
    # Rounded corners: (7, 7) is 8 sqrt 2 from the corner of the text, (10, 10) is 5 sqrt 2 = 7.07.
    assert mask[7, 7] == 0
    assert mask[10, 10] == 1


def assert_threshold_pixel_by_pixel(size: tuple[int, int], polygons: list[np.ndarray], ratio: float) -> None:
    """`threshold_target` between 0.2 and 0.8 against shapely's distance of every pixel from every outline."""
    values, mask = threshold_target(size, polygons, np.zeros(len(polygons), bool), ratio, 0.2, 0.8)
    near, sure, possible = np.zeros(size), np.zeros(size, bool), np.zeros(size, bool)
    for points in polygons:
        shape = shapely.Polygon(points)
        distance = shape.area * (1 - ratio**2) / shape.length
        left, top, right, bottom = shape.buffer(distance + 2).bounds  # beyond it a text has no say
        here = np.s_[max(0, int(top)) : max(0, int(bottom)), max(0, int(left)) : max(0, int(right))]
        ys, xs = (grid[here] for grid in np.mgrid[: size[0], : size[1]])
        pixels = shapely.points(xs, ys)
        near[here] = np.maximum(near[here], 1 - shapely.distance(shape.exterior, pixels) / distance)
        sure[here] |= shapely.distance(shape, pixels) < distance - 1
        possible[here] |= shapely.distance(shape, pixels) < distance + 1
    assert np.abs(values / 255 - (0.2 + 0.6 * near)).max() <= 0.5 / 255 + 1e-5
    assert mask[sure].all()
    assert not mask[~possible].any()


@pytest.mark.parametrize("ratio", [0.3, 0.6])
def test_threshold_agrees_with_a_pixel_by_pixel_reference(ratio: float) -> None:
    assert_threshold_pixel_by_pixel((110, 130), [*SHAPES[:2], SHAPES[3] + np.float32([0, 30])], ratio)


def test_threshold_of_a_crowded_page() -> None:
    """A text over the whole page beside many small ones, turned by anything, some at the very edge: sides of every
    size, of which those alike are drawn at once."""
    rng = np.random.default_rng(11)
    large = [rotated(210, 130, 8, (150, 110)), BENT * np.float32(2) + np.float32([20, 40])]
    small = [
        rotated(float(rng.uniform(6, 40)), float(rng.uniform(5, 14)), float(rng.uniform(0, 180)), (x, y))
        for x in range(24, 290, 28)
        for y in range(24, 210, 24)
    ]
    edge = [rectangle(0, 0, 300, 9), rectangle(291, 20, 300, 220), rectangle(3, 214, 90, 220)]
    assert_threshold_pixel_by_pixel((220, 300), [*large, *small, *edge], 0.4)


def test_a_point_that_is_given_twice_changes_no_threshold() -> None:
    once = rotated(80, 24, 31, (60, 55))
    twice = [np.repeat(once, repeats, axis=0) for repeats in ([2, 1, 1, 1], [1, 1, 1, 2])]
    expected, _ = threshold_target((110, 130), [once], CARE, 0.4)
    for points in twice:
        assert np.array_equal(threshold_target((110, 130), [points], CARE, 0.4)[0], expected)


def test_each_polygon_needs_its_flag() -> None:
    for target in (shrink_target, threshold_target):
        with pytest.raises(ValueError, match="2 polygons, but 1 flags"):
            target((40, 40), [rectangle(5, 5, 30, 30)] * 2, CARE, 0.4)


def test_ignored_text_leaves_no_threshold() -> None:
    values, mask = threshold_target((40, 40), [rectangle(5, 5, 30, 30)], np.array([True]), 0.4)
    assert not mask.any()
    assert (values == round(0.3 * 255)).all()


coordinate = st.one_of(st.floats(-30, 90, width=32), st.sampled_from([0.0, 64.0, 1e6, -1e6]))


@settings(max_examples=150, deadline=None)
@example([(0.0, -1e6), (62.90625, 0.0), (64.0, 64.0)], 0.9453125)  # a needle of a pixel
@given(st.lists(st.tuples(coordinate, coordinate), min_size=3, max_size=8), st.floats(0.05, 0.95))
def test_any_polygon_gives_sound_maps(corners: list[tuple[float, float]], ratio: float) -> None:
    points = np.array(corners, np.float32)
    kernels, mask = shrink_target((64, 64), [points], CARE, ratio, min_text_size=0)
    values, border = threshold_target((64, 64), [points], CARE, ratio)
    assert set(np.unique(np.stack([kernels, mask, border]))) <= {0, 1}
    assert values.min() >= round(0.3 * 255)
    assert values.max() <= math.ceil(0.7 * 255)
    # A kernel lies in its polygon: shrinking never grows. The outline itself is filled, by OpenCV a pixel off to either
    # side, at sharp corners to both: 1.52 was the most of 19,000 random ones. What the outline encloses is in the text.
    hull = shapely.MultiPoint(points).convex_hull
    ys, xs = np.nonzero(kernels)
    assert (shapely.distance(hull, shapely.points(xs, ys)) <= 1.6).all()
    ys, xs = np.nonzero(cv2.erode(kernels, np.ones((3, 3), np.uint8)))
    assert (shapely.distance(hull, shapely.points(xs, ys)) <= 0.75).all()


def test_schedules_move_with_the_epoch_and_stay() -> None:
    schedule = RatioSchedule(start=0.4, end=0.6, total_epoch=500)
    assert [schedule.at(e) for e in (0, 250, 500, 1024)] == pytest.approx([0.4, 0.5, 0.6, 0.6])
    assert MakeShrinkMap(shrink_ratio=0.4, total_epoch=500).schedule.at(250) == pytest.approx(0.5)
    assert MakeShrinkMap(shrink_ratio=0.4).schedule.at(1024) == 0.4


def test_ops_use_the_records_epoch() -> None:
    record = {
        "image": np.zeros((80, 90, 3), np.uint8),
        "polygons": [rectangle(10, 10, 60, 60)],
        "ignore": CARE,
        "epoch": 50,
    }
    rng = np.random.default_rng(0)
    spec = {"start": 0.4, "end": 0.6, "total_epoch": 100}
    made = MakeBorderMap(shrink_ratio=spec)(MakeShrinkMap(shrink_ratio=spec, min_text_size=2)(record, rng), rng)
    kernels, mask = shrink_target((80, 90), record["polygons"], CARE, 0.5, 2)
    values, border = threshold_target((80, 90), record["polygons"], CARE, 0.5)
    for key, expected in [
        ("shrink_map", kernels),
        ("shrink_mask", mask),
        ("threshold_map", values),
        ("threshold_mask", border),
    ]:
        assert np.array_equal(made[key], expected)
    assert not np.array_equal(kernels, shrink_target((80, 90), record["polygons"], CARE, 0.4, 2)[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"shrink_ratio": 1.0},
        {"shrink_ratio": 0},
        {"shrink_ratio": 0.9, "total_epoch": 10},
        {"shrink_ratio": {"start": 0.4, "end": 0.6, "total_epoch": 10}, "total_epoch": 10},
        {"shrink_ratio": {"start": 0.4, "end": 1.2, "total_epoch": 10}},
        {"shrink_ratio": float("nan")},
        {"thresh_min": 0.7, "thresh_max": 0.3},
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        MakeBorderMap.model_validate(arguments)


def test_both_maps_must_have_one_ratio() -> None:
    check_shrink_ratios([MakeBorderMap(shrink_ratio=0.5), MakeShrinkMap(shrink_ratio=0.5)])
    check_shrink_ratios(
        [MakeBorderMap(total_epoch=9), MakeShrinkMap(shrink_ratio={"start": 0.4, "end": 0.4 + 0.2, "total_epoch": 9})]
    )
    for other in (MakeShrinkMap(shrink_ratio=0.4), MakeShrinkMap(shrink_ratio=0.5, total_epoch=9)):
        with pytest.raises(ConfigError, match="same shrink_ratio"):
            check_shrink_ratios([MakeBorderMap(shrink_ratio=0.5), other])
    with pytest.raises(ConfigError, match="in 9 epochs"):
        check_shrink_ratios([MakeBorderMap(total_epoch=9), MakeShrinkMap(total_epoch=10)])


def test_a_ratio_that_stays_is_the_same_over_any_number_of_epochs() -> None:
    stays = RatioSchedule(start=0.4, end=0.4, total_epoch=7)
    check_shrink_ratios([MakeShrinkMap(shrink_ratio=stays), MakeBorderMap(shrink_ratio=0.4)])


def test_at_the_quick_starts_ratio_a_text_that_falls_apart_is_shrunk_less_too() -> None:
    """Two words on a neck of six pixels: multiples of .5 end at .5, which leaves two kernels; .875 leaves one."""
    upper = [[10, 10], [50, 10], [52, 18], [70, 18], [72, 10], [110, 10]]
    lower = [[110, 34], [72, 34], [70, 24], [52, 24], [50, 34], [10, 34]]
    points = np.array([*upper, *lower], np.float32)
    assert len(geometry.offset(points, -offset_distance(points, 0.5))) == 2
    kernels, _ = shrink_target((60, 130), [points], CARE, 0.5)
    assert cv2.connectedComponents(kernels)[0] - 1 == 1
