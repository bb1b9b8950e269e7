"""ICDAR 2015's protocol: against a plain implementation of the official script, and by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import shapely
from shapely.geometry import Polygon

from ocr_cml.metrics import Counts, DetMetric, overlap


def square(x: float, y: float, width: float = 10, height: float = 10) -> np.ndarray:
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)


def plain_protocol(preds: list, truths: list, ignore: list) -> tuple[int, int, int]:
    """The official script, pair by pair: (matched, ground truths that count, detections that count)."""
    gts = [Polygon(points) for points in truths]
    dets = [Polygon(points) for points in preds]
    ignored_dets = set()
    for number, det in enumerate(dets):
        for gt, dont_care in zip(gts, ignore, strict=True):
            if dont_care and det.intersection(gt).area / det.area > 0.5:
                ignored_dets.add(number)
                break
    taken, matched = set(), 0
    for gt, dont_care in zip(gts, ignore, strict=True):
        for number, det in enumerate(dets):
            if dont_care or number in taken or number in ignored_dets:
                continue
            if det.intersection(gt).area / det.union(gt).area > 0.5:
                taken.add(number)
                matched += 1
                break
    return matched, len(gts) - sum(ignore), len(dets) - len(ignored_dets)


def random_quads(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    boxes = [(tuple(rng.uniform(0, 90, 2)), tuple(rng.uniform(5, 50, 2)), rng.uniform(0, 180)) for _ in range(count)]
    return [cv2.boxPoints(box) for box in boxes]


def test_equals_the_official_script_on_random_quads() -> None:
    rng = np.random.default_rng(5)
    total = np.zeros(3, int)
    for _ in range(60):
        truths = random_quads(rng, int(rng.integers(0, 12)))
        ignore = list(rng.random(len(truths)) < 0.4)
        near = [truth + rng.normal(0, 2, (1, 2)) for truth in truths for _ in range(2)]
        preds = near + random_quads(rng, int(rng.integers(0, 6)))
        preds = [preds[i] for i in rng.permutation(len(preds))]
        expected = plain_protocol(preds, truths, ignore)
        assert tuple(overlap(preds, truths, ignore).counts()) == expected
        total += expected
    assert 0 < total[0] < total[1] and total[0] < total[2]


def test_keeping_some_detections_equals_having_made_only_those() -> None:
    rng = np.random.default_rng(8)
    for _ in range(20):
        truths = random_quads(rng, 8)
        ignore = list(rng.random(8) < 0.3)
        preds = [truth + rng.normal(0, 2, (1, 2)) for truth in truths for _ in range(2)]
        keep = rng.random(16) < 0.6
        kept = [pred for pred, kept in zip(preds, keep, strict=True) if kept]
        assert overlap(preds, truths, ignore).counts(keep) == overlap(kept, truths, ignore).counts()


def test_a_perfect_answer_and_an_empty_one() -> None:
    truths = [square(0, 0), square(30, 0)]
    metric = DetMetric()
    metric.add(truths, truths, [False, False])
    assert metric.result() == {"precision": 1, "recall": 1, "hmean": 1, "tp": 2, "num_gt": 2, "num_det": 2}
    metric.add([], truths, [False, False])
    result = metric.result()
    assert (result["precision"], result["recall"], result["hmean"]) == (1, 0.5, pytest.approx(2 / 3))


@pytest.mark.parametrize("truths", [[], [square(0, 0)]])
def test_nothing_found_or_nothing_to_find_is_zero_not_an_error(truths: list) -> None:
    metric = DetMetric()
    metric.add([], truths, [True] * len(truths))
    assert metric.result() == {"precision": 0, "recall": 0, "hmean": 0, "tp": 0, "num_gt": 0, "num_det": 0}
    metric.add([square(50, 50)], truths, [True] * len(truths))
    assert metric.counts == Counts(0, 0, 1)


def test_an_iou_of_exactly_one_half_is_not_enough() -> None:
    truth = square(0, 0, 20, 10)
    assert overlap([square(0, 0, 10, 10)], [truth], [False]).counts().tp == 0
    assert overlap([square(0, 0, 10.1, 10)], [truth], [False]).counts().tp == 1


def test_matching_is_one_to_one_in_order() -> None:
    # Two detections of one word: one is right, the other wrong. Two words under one detection: one is missed.
    assert overlap([square(0, 0), square(1, 0)], [square(0, 0)], [False]).counts() == Counts(1, 1, 2)
    assert overlap([square(1, 0)], [square(0, 0), square(2, 0)], [False, False]).counts() == Counts(1, 2, 1)
    # The first ground truth takes the first detection that fits, though the second one fits it better.
    late = overlap([square(2, 0), square(0, 0)], [square(0, 0), square(4, 0)], [False, False])
    assert late.counts() == Counts(1, 2, 2)


def test_a_detection_mostly_inside_dont_care_is_not_counted() -> None:
    region = square(0, 0, 100, 100)
    assert overlap([square(10, 10)], [region], [True]).counts() == Counts(0, 0, 0)
    # Exactly half inside still counts, a little more does not.
    assert overlap([square(95, 10)], [region], [True]).counts() == Counts(0, 0, 1)
    assert overlap([square(94, 10)], [region], [True]).counts() == Counts(0, 0, 0)
    # Shares of two regions are not added up: 0.4 + 0.4 counts.
    halves = [square(0, 0, 4, 10), square(6, 0, 4, 10)]
    assert overlap([square(0, 0)], halves, [True, True]).counts() == Counts(0, 0, 1)


def test_dont_care_wins_over_a_match() -> None:
    truths = [square(0, 0), square(0, 0)]
    assert overlap([square(0, 0)], truths, [False, True]).counts() == Counts(0, 1, 0)


def test_a_polygon_that_is_none_is_a_wrong_detection() -> None:
    bowtie = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], np.float32)
    flat = np.array([[0, 0], [0, 0], [0, 10], [0, 10]], np.float32)
    nan = np.full((4, 2), np.nan, np.float32)
    line = np.array([[0, 0], [5, 5]], np.float32)
    preds = [bowtie, flat, nan, line, square(0, 0)]
    assert overlap(preds, [square(0, 0)], [False]).counts() == Counts(1, 1, 5)
    assert overlap(preds[1:4], [square(0, 0)], [True]).counts() == Counts(0, 0, 3)


def test_an_outline_beyond_all_images_is_a_wrong_detection() -> None:
    """Crossing itself, and too far away to be mended."""
    far = np.array([[0, -1.3e154], [2, 1e30], [1e200, 0], [-3e249, 5e58], [1, 1]])
    assert overlap([far, square(0, 0)], [square(0, 0)], [False]).counts() == Counts(1, 1, 2)


def test_an_outline_that_touches_itself_is_what_it_encloses() -> None:
    """Rounded to whole pixels, the tip of a dent may come to lie on the side across, and a thread stick out."""
    dented = np.array([[0, 0], [5, 10], [10, 0], [10, 10], [0, 10]], np.float32)  # two triangles: 50 of 100
    threaded = np.array([[0, 0], [10, 0], [10, 10], [30, 10], [10, 10], [0, 10]], np.float32)
    found = overlap([dented, threaded], [square(0, 0)], [False])
    np.testing.assert_allclose(found.iou, [[0.5, 1.0]])
    assert found.counts() == Counts(1, 1, 2)
    assert overlap([dented], [square(0, 0)], [True]).counts() == Counts(0, 0, 0)  # it lies on what is not cared for


def test_an_outline_on_which_geos_fails_is_a_wrong_detection() -> None:
    twice = [[0, 1e-30], [1, 63], [2, 0], [0, 1], [63, 0], [0, 2], [1, 0], [3, 1e-30], [0, 0], [63, 1]]
    with pytest.raises(shapely.errors.GEOSException):
        shapely.make_valid(Polygon(np.float32(twice)))
    result = overlap([np.float32(twice), square(0, 0)], [square(0, 0)], [False])
    assert tuple(result.counts()) == (1, 1, 2)


def test_a_ground_truth_that_is_none_is_left_out() -> None:
    bowtie = np.array([[0, 0], [10, 10], [10, 0], [0, 10]], np.float32)
    assert overlap([square(0, 0)], [bowtie, square(0, 0)], [False, False]).counts() == Counts(1, 1, 1)


def test_counts_of_ranks_add_up() -> None:
    both = DetMetric()
    parts = [DetMetric(), DetMetric()]
    for part, truths in zip(parts, [[square(0, 0)], [square(50, 0), square(80, 0)]], strict=True):
        part.add([square(50, 0)], truths, [False] * len(truths))
        both.add([square(50, 0)], truths, [False] * len(truths))
    assert parts[0].counts + parts[1].counts == both.counts == Counts(1, 3, 2)
    assert Counts(*parts[1].counts) == parts[1].counts


def test_a_missing_flag_is_an_error() -> None:
    with pytest.raises(ValueError, match="2 ground truths, but 1 ignore"):
        overlap([], [square(0, 0), square(20, 0)], [False])


def test_polygons_of_any_number_of_points_mix() -> None:
    hexagon = np.array([[2, 0], [8, 0], [10, 5], [8, 10], [2, 10], [0, 5]], np.float32)
    assert overlap([hexagon, square(30, 0)], [square(0, 0), hexagon + 30], [False, False]).counts() == Counts(1, 2, 2)


def test_a_triangle_is_a_region_like_any_other() -> None:
    """The label reader makes don't-care text of an outline of three points."""
    triangle = np.array([[0, 0], [20, 0], [0, 20]], np.float32)
    assert overlap([triangle], [triangle], [False]).counts() == Counts(1, 1, 1)
    assert overlap([square(1, 1, 6, 6)], [triangle], [True]).counts() == Counts(0, 0, 0)


def test_nothing_right_is_an_hmean_of_zero() -> None:
    result = Counts(0, 2, 3).result()
    assert (result["precision"], result["recall"], result["hmean"]) == (0, 0, 0)


def test_an_outline_that_touches_itself_is_mended_on_large_photos_too() -> None:
    truth = np.array([[3000, 3000], [3010, 3000], [3010, 3010], [3000, 3010]], np.float32)
    spike = np.array(
        [[3000, 3000], [3010, 3000], [3010, 3010], [3005, 3010], [3005, 3012], [3005, 3010], [3000, 3010]], np.float32
    )
    assert overlap([spike], [truth], [False]).counts() == Counts(1, 1, 1)
