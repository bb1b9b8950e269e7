"""DB's post-process: the same boxes as PaddleOCR's runtime, on maps of every kind."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from ocr_cml.postprocess import DBPostProcess
from ppocr_data.errors import ModelError

processors = pytest.importorskip("paddlex.inference.models.text_detection.processors")


def runtime_boxes(prob: np.ndarray, image_hw: tuple[int, int], settings: DBPostProcess) -> tuple[list, list]:
    """What paddlex's own class answers."""
    reference = processors.DBPostProcess(**settings.model_dump(exclude={"name"}))
    shape = np.array([*image_hw, prob.shape[0] / image_hw[0], prob.shape[1] / image_hw[1]])
    boxes, scores = reference([prob[None, None]], [shape])
    return list(boxes[0]), list(scores[0])


def blobs(rng: np.random.Generator, height: int, width: int, count: int) -> np.ndarray:
    """Rotated soft rectangles, a ring and a wave over faint noise."""
    prob = rng.uniform(0, 0.2, (height, width)).astype(np.float32)
    for _ in range(count):
        centre = rng.uniform(-5, [width + 5, height + 5])
        size = rng.uniform([2, 1], [width / 4, height / 9])
        corners = cv2.boxPoints((tuple(centre), tuple(size), rng.uniform(0, 180))).astype(np.int32)
        cv2.fillPoly(prob, [corners], float(rng.uniform(0.35, 1)))
    if count % 2:
        return cv2.GaussianBlur(prob, (3, 3), 0)
    cv2.circle(prob, (width // 2, height // 2), min(height, width) // 4, 0.9, 3)
    wave = np.stack([np.arange(width), height / 2 + height / 4 * np.sin(np.arange(width) / 9)], axis=1)
    cv2.polylines(prob, [wave.astype(np.int32)], False, 0.8, 4)
    return cv2.GaussianBlur(prob, (5, 5), 0)


def assert_same(prob: np.ndarray, image_hw: tuple[int, int], settings: DBPostProcess) -> int:
    polygons, scores = settings(prob, image_hw)
    expected, expected_scores = runtime_boxes(prob, image_hw, settings)
    assert scores == expected_scores
    assert len(polygons) == len(expected)
    for polygon, box in zip(polygons, expected, strict=True):
        np.testing.assert_array_equal(polygon, box)
    return len(polygons)


@pytest.mark.parametrize("box_type", ["quad", "poly"])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"thresh": 0.2, "box_thresh": 0.3, "unclip_ratio": 2.2},
        {"use_dilation": True, "unclip_ratio": 1.1},
        {"score_mode": "slow"},
        {"max_candidates": 4},
    ],
    ids=lambda settings: "-".join(settings) or "default",
)
def test_boxes_are_those_of_the_runtime(settings: dict, box_type: str) -> None:
    rng = np.random.default_rng(7)
    found = 0
    for _ in range(16):
        height, width = rng.integers(20, 320, 2)
        image_hw = tuple(int(side) for side in rng.integers(20, 2000, 2))
        prob = blobs(rng, int(height), int(width), int(rng.integers(0, 25)))
        found += assert_same(prob, image_hw, DBPostProcess(box_type=box_type, **settings))
    assert found > 12


@pytest.mark.parametrize("box_type", ["quad", "poly"])
def test_noise_with_a_thousand_specks_is_the_same(box_type: str) -> None:
    prob = np.random.default_rng(3).uniform(0, 1, (160, 160)).astype(np.float32)
    prob = cv2.GaussianBlur(prob, (3, 3), 0)
    settings = DBPostProcess(thresh=0.55, box_thresh=0.5, box_type=box_type)
    assert assert_same(prob, (160, 160), settings) > 20


@pytest.mark.parametrize("box_type", ["quad", "poly"])
@pytest.mark.parametrize("shape", [(32, 32), (5, 7), (1, 1), (3, 200)])
def test_full_and_tiny_maps_are_the_same(shape: tuple[int, int], box_type: str) -> None:
    settings = DBPostProcess(box_type=box_type)
    found = assert_same(np.ones(shape, np.float32), (100, 50), settings)
    assert found == (1 if min(shape) > 4 else 0)


def test_a_map_without_text_gives_nothing() -> None:
    assert DBPostProcess()(np.zeros((64, 64), np.float32), (64, 64)) == ([], [])
    assert DBPostProcess(thresh=0.5)(np.full((64, 64), 0.5, np.float32), (64, 64)) == ([], [])


def test_a_rectangle_grows_by_area_times_ratio_over_perimeter() -> None:
    prob = np.zeros((100, 200), np.float32)
    prob[40:61, 50:151] = 0.9
    (polygon,), (score,) = DBPostProcess()(prob, (200, 400))
    # The outline is 100 x 20, so it grows by 100 * 20 * 1.5 / 240 = 12.5, which clipping rounds to whole pixels.
    assert polygon.dtype == np.int32
    expected = 2 * np.array([[50 - 12.5, 40 - 12.5], [150 + 12.5, 40 - 12.5], [162.5, 72.5], [37.5, 72.5]])
    assert np.abs(polygon - expected).max() <= 2
    assert score == pytest.approx(0.9)


def test_polygons_stay_inside_the_image() -> None:
    polygons, _ = DBPostProcess()(np.ones((64, 64), np.float32), (30, 40))
    assert polygons[0].min() == 0 and tuple(polygons[0].max(axis=0)) == (40, 30)


def test_what_is_no_map_is_refused() -> None:
    prob = np.full((32, 32), 0.9, np.float32)
    prob[3, 4] = np.nan
    with pytest.raises(ModelError, match="NaN"):
        DBPostProcess()(prob, (32, 32))
    with pytest.raises(ModelError, match=r"shape \[height, width\]"):
        DBPostProcess()(np.zeros((1, 32, 32), np.float32), (32, 32))


@pytest.mark.parametrize("field", ["thresh", "box_thresh", "unclip_ratio"])
def test_a_zero_is_refused_because_the_runtime_takes_it_for_unset(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        DBPostProcess(**{field: 0})


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_ratio_is_a_number(value: float) -> None:
    with pytest.raises(ValidationError, match="unclip_ratio"):
        DBPostProcess(unclip_ratio=value)


def test_what_lies_exactly_on_a_threshold() -> None:
    """A pixel of thresh is no text, and a region of box_thresh is kept; with the rim its mean would be less."""
    prob = np.zeros((64, 64), np.float32)
    prob[16:44, 6:58] = 0.5
    prob[20:40, 10:54] = 0.75
    polygons, scores = DBPostProcess(thresh=0.5, box_thresh=0.75)(prob, (64, 64))
    assert (len(polygons), scores) == (1, [0.75])
