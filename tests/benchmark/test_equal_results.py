"""Every fast path gives what the benchmark's plain implementation gives: random inputs, extreme sizes, nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from ocr_cml.benchmark import inputs, plain
from ocr_cml.metrics import DetMetric
from ocr_cml.postprocess import DBPostProcess
from ppocr_data.targets import shrink_target, threshold_target


def random_map(rng: np.random.Generator, size: tuple[int, int], count: int) -> np.ndarray:
    """Blurred bars of any size, angle and certainty on noise; they touch, overlap and leave the map."""
    canvas = np.zeros(size, np.float32)
    for _ in range(count):
        centre = tuple(float(rng.uniform(-5, side + 5)) for side in size[::-1])
        box = cv2.boxPoints((centre, tuple(rng.uniform(1, 60, 2)), float(rng.uniform(0, 180))))
        cv2.fillPoly(canvas, [np.rint(box).astype(np.int32)], float(rng.uniform(0.35, 1)))
    noisy = cv2.GaussianBlur(canvas, (3, 3), 0.6) + rng.normal(0, 0.05, size).astype(np.float32)
    return noisy.clip(0, 1)


def assert_same_boxes(prob: np.ndarray) -> int:
    polygons, scores = DBPostProcess()(prob, prob.shape)
    expected, expected_scores = plain.boxes_of(prob)
    assert [p.tolist() for p in polygons] == [p.tolist() for p in expected]
    assert scores == expected_scores
    return len(polygons)


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (320, 480), (32, 2048)])
def test_boxes_and_scores_of_random_maps(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size)
    found = sum(
        assert_same_boxes(random_map(rng, size, int(rng.integers(1, 2 + size[0] * size[1] // 3000)))) for _ in range(8)
    )
    assert found > 3


@pytest.mark.parametrize("value", [0.0, 0.3, 0.95, 1.0])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (32, 32)])
def test_boxes_of_flat_maps(size: tuple[int, int], value: float) -> None:
    assert_same_boxes(np.full(size, value, np.float32))


def test_boxes_of_a_map_of_specks() -> None:
    """More regions than are looked at, most of them smaller than any box."""
    assert_same_boxes((np.random.default_rng(3).random((256, 256)) > 0.7).astype(np.float32))


@pytest.mark.parametrize("boxes", [1, 7, 150])
def test_boxes_and_counts_of_the_benchmark_s_own_pages(boxes: int, tmp_path: Path) -> None:
    inputs.score_pages(tmp_path / "pages", 2, boxes)
    pages = inputs.read_pages(str(tmp_path / "pages.json"))
    metric, expected = DetMetric(), np.zeros(3, int)
    for prob, (truth, ignore) in zip(np.load(tmp_path / "pages.npy"), pages, strict=True):
        found, _ = DBPostProcess()(prob, prob.shape)
        assert_same_boxes(prob)
        metric.add(found, truth, ignore)
        expected += plain.count(found, truth, ignore)
    assert tuple(metric.counts) == tuple(expected)
    assert metric.counts.tp > 0.7 * metric.counts.num_gt


@pytest.mark.parametrize(("detections", "truths"), [(0, 0), (0, 5), (5, 0), (1, 1), (40, 30)])
def test_counts_of_random_polygons(detections: int, truths: int) -> None:
    rng = np.random.default_rng([detections, truths])

    def some(count: int) -> list[np.ndarray]:
        return [
            cv2.boxPoints((tuple(rng.uniform(0, 200, 2)), tuple(rng.uniform(5, 90, 2)), float(rng.uniform(0, 180))))
            for _ in range(count)
        ]

    for _ in range(5):
        truth, ignore = some(truths), rng.random(truths) < 0.4
        found = [*some(detections), *(points + rng.normal(0, 2, (1, 2)).astype(np.float32) for points in truth)]
        metric = DetMetric()
        metric.add(found, truth, ignore)
        assert tuple(metric.counts) == plain.count(found, truth, ignore)


def assert_same_targets(size: tuple[int, int], polygons: Sequence[np.ndarray], ignore: np.ndarray) -> None:
    expected = plain.make_targets(size, polygons, ignore)
    kernels, care = shrink_target(size, polygons, ignore, 0.4)
    values, border = threshold_target(size, polygons, ignore, 0.4)
    np.testing.assert_array_equal(kernels, expected["shrink_map"])
    np.testing.assert_array_equal(care, expected["shrink_mask"])
    np.testing.assert_array_equal(border, expected["threshold_mask"])
    np.testing.assert_allclose(values / 255, expected["threshold_map"], rtol=0, atol=0.5 / 255 + 1e-5)


@pytest.mark.parametrize(("size", "count"), [((640, 640), 50), ((640, 640), 3), ((96, 640), 20), ((64, 64), 1)])
def test_targets_of_random_words(size: tuple[int, int], count: int) -> None:
    rng = np.random.default_rng([*size, count])
    for _ in range(3):
        polygons = inputs.quads(rng, count, size, (9, 40))
        assert_same_targets(size, polygons, rng.random(count) < 0.2)


def test_targets_of_words_that_overlap() -> None:
    rng = np.random.default_rng(12)
    boxes = [
        cv2.boxPoints((tuple(rng.uniform(90, 160, 2)), tuple(rng.uniform(9, 120, 2)), float(rng.uniform(0, 180))))
        for _ in range(25)
    ]
    assert_same_targets((250, 250), boxes, np.zeros(25, bool))


def test_targets_of_one_word_that_fills_the_image_and_of_nothing() -> None:
    whole = np.array([[0, 0], [64, 0], [64, 48], [0, 48]], np.float32)
    assert_same_targets((48, 64), [whole], np.zeros(1, bool))
    assert_same_targets((48, 64), [whole], np.ones(1, bool))
    assert_same_targets((32, 32), [], np.zeros(0, bool))
