"""Fitting the post-process: each cell of the table is what a plain evaluation gives."""

from __future__ import annotations

import itertools

import cv2
import numpy as np
import pytest

from ocr_cml.metrics import Counts, DetMetric
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.tune import Grid, Trial, TuneResult, _distance, tune
from ppocr_data.errors import DataError

GRID = Grid(thresh=(0.2, 0.4), box_thresh=(0.3, 0.5, 0.7), unclip_ratio=(1.0, 1.5, 2.0))


def labelled_maps(count: int) -> tuple[list[np.ndarray], list[tuple[int, int]], list[tuple[list, np.ndarray]]]:
    """Maps of shrunken words with varying certainty, some false ones, and the words, at twice the map's size."""
    rng = np.random.default_rng(11)
    maps, sizes, truths = [], [], []
    for _ in range(count):
        prob = rng.uniform(0, 0.1, (120, 160)).astype(np.float32)
        words = []
        for row in range(4):
            x, y, width = int(rng.integers(5, 40)), 5 + 28 * row, int(rng.integers(40, 100))
            cv2.rectangle(prob, (x + 5, y + 5), (x + width - 5, y + 13), float(rng.uniform(0.25, 0.95)), -1)
            if rng.random() < 0.8:
                words.append(2 * np.array([[x, y], [x + width, y], [x + width, y + 18], [x, y + 18]], np.float32))
        maps.append(prob)
        sizes.append((240, 320))
        truths.append((words, rng.random(len(words)) < 0.2))
    return maps, sizes, truths


@pytest.mark.parametrize("base", [DBPostProcess(), DBPostProcess(box_type="poly", score_mode="slow")])
def test_every_trial_equals_a_plain_evaluation(base: DBPostProcess) -> None:
    maps, sizes, truths = labelled_maps(4)
    result = tune(iter(maps), sizes, truths, GRID, base)
    assert len(result.table) == 3 * 4 * 3  # the base's own thresh and box_thresh are tried as well
    for trial in result.table:
        values = {"thresh": trial.thresh, "box_thresh": trial.box_thresh, "unclip_ratio": trial.unclip_ratio}
        post, metric = DBPostProcess(**{**base.model_dump(), **values}), DetMetric()
        for prob, size, (polygons, ignore) in zip(maps, sizes, truths, strict=True):
            metric.add(post(prob, size)[0], polygons, ignore)
        assert metric.counts == trial.counts
    assert result.trial.hmean == max(trial.hmean for trial in result.table) > 0
    assert result.best.unclip_ratio == result.trial.unclip_ratio
    assert (result.best.box_type, result.best.score_mode) == (base.box_type, base.score_mode)


def test_of_equals_the_nearest_to_the_base_wins() -> None:
    empty = [np.zeros((32, 32), np.float32)]
    base = DBPostProcess(unclip_ratio=1.9, box_thresh=0.55)
    result = tune(empty, [(32, 32)], [([], np.zeros(0, bool))], GRID, base)
    assert result.best == base


def test_what_is_fitted_is_never_worse_than_what_there_was() -> None:
    """Maps shrunken so far that no unclip ratio of the grid brings them back, and a base that does."""
    prob = np.full((160, 200), 0.01, np.float32)
    cv2.rectangle(prob, (60, 74), (139, 85), 0.99, -1)
    grown = DBPostProcess(unclip_ratio=7.0)
    word = grown(prob, (160, 200))[0][0].astype(np.float32)
    result = tune([prob], [(160, 200)], [([word], np.zeros(1, bool))], None, grown)
    assert (result.trial.hmean, result.best.unclip_ratio) == (1.0, 7.0)
    assert tune([prob], [(160, 200)], [([word], np.zeros(1, bool))], None, DBPostProcess()).trial.hmean == 0.0


def test_a_value_at_the_edge_of_the_grid_is_told() -> None:
    """Words whose certain part is as wide as they are: the less they grow the better."""
    prob = np.full((120, 160), 0.01, np.float32)
    cv2.rectangle(prob, (20, 20), (139, 49), 0.99, -1)
    word = np.array([[20, 20], [140, 20], [140, 50], [20, 50]], np.float32)
    grid = Grid(thresh=(0.2, 0.3, 0.4), box_thresh=(0.5, 0.6, 0.7), unclip_ratio=(0.1, 1.0, 2.0))
    result = tune([prob], [(120, 160)], [([word], np.zeros(1, bool))], grid, DBPostProcess(thresh=0.3, box_thresh=0.6))
    assert result.trial.hmean == 1.0
    assert result.at_the_edge() == ["unclip_ratio 0.1 is the lowest that was tried; what lies beyond may fit better"]


def test_nothing_to_fit_on_is_an_error() -> None:
    with pytest.raises(DataError, match="no image"):
        tune([], [], [])


def test_near_is_relative_to_what_there_was() -> None:
    base = DBPostProcess(thresh=0.3, box_thresh=0.6, unclip_ratio=1.5)
    assert _distance(Trial(0.3, 0.6, 1.2, Counts()), base) == pytest.approx(0.2)
    assert _distance(Trial(0.2, 0.9, 1.5, Counts()), base) == pytest.approx(1 / 3 + 1 / 2)


def test_the_highest_of_many_values_is_told_and_none_of_two() -> None:
    values = itertools.product((0.2, 0.3), (0.5, 0.6, 0.7), (1.0, 1.5, 2.0))
    table = [Trial(*each, Counts()) for each in values]
    result = TuneResult(DBPostProcess(unclip_ratio=2.0), Trial(0.3, 0.6, 2.0, Counts()), table)
    assert result.at_the_edge() == ["unclip_ratio 2 is the highest that was tried; what lies beyond may fit better"]


@pytest.mark.parametrize("tried", [(0.75,), (0.5, 0.75)])
def test_a_region_of_exactly_box_thresh_counts_as_in_an_evaluation(tried: tuple[float, ...]) -> None:
    prob = np.zeros((64, 128), np.float32)
    prob[20:40, 20:100] = 0.75
    base = DBPostProcess(box_thresh=0.75)
    word = base(prob, (64, 128))[0][0].astype(np.float32)
    grid = Grid(thresh=(0.3,), box_thresh=tried, unclip_ratio=(1.5,))
    table = tune([prob], [(64, 128)], [([word], np.zeros(1, bool))], grid, base).table
    assert {trial.box_thresh: trial.hmean for trial in table} == dict.fromkeys(tried, 1.0)
