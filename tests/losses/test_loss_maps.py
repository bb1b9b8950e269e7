"""Means over some of the pixels, dilation, the region of text, sizes."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ocr_cml.losses.maps import balanced_mean, dilated, mean, resized, text_region, weighted_mean


def test_means_by_hand():
    x = paddle.to_tensor([1.0, 2.0, 3.0, 6.0])
    region = paddle.to_tensor([1.0, 0.0, 0.0, 0.0])
    assert float(weighted_mean(x, None)) == 3
    assert float(weighted_mean(x, paddle.to_tensor([0.0, 1.0, 1.0, 0.0]))) == 2.5
    assert float(weighted_mean(x, paddle.zeros([4]))) == 0
    assert float(balanced_mean(x, region, None)) == pytest.approx(0.5 * 1 + 0.5 * 11 / 3)
    assert float(balanced_mean(x, region, paddle.to_tensor([1.0, 1.0, 1.0, 0.0]))) == pytest.approx(0.5 * 1 + 0.5 * 2.5)
    assert float(balanced_mean(x, paddle.zeros([4]), None)) == 1.5


def test_the_mean_of_a_large_map_is_right():
    """Added up one by one in float32, as Paddle's mean does on a CPU, it is .0049 or .0398."""
    for value in (0.005, 0.04):
        x = paddle.full([8, 1, 960, 960], value)
        x.stop_gradient = False
        found = mean(x)
        assert float(found) == pytest.approx(value, rel=1e-5)
        found.backward()
        assert x.grad.numpy().ravel()[[0, -1]] == pytest.approx([1 / x.size] * 2, rel=1e-6)


def test_dilation_is_symmetric():
    dot = np.zeros((1, 1, 7, 9), np.float32)
    dot[0, 0, 3, 4] = 1
    grown = dilated(paddle.to_tensor(dot), 2).numpy()[0, 0]
    expected = np.zeros((7, 9))
    expected[1:6, 2:7] = 1
    np.testing.assert_array_equal(grown, expected)
    assert dilated(paddle.to_tensor(dot), 0).numpy().sum() == 1


def test_text_region_joins_guide_and_labels(make_inputs):
    inputs = make_inputs(2, 12, 20)
    inputs.shrink_map[:] = 0
    inputs.shrink_mask[:] = 1
    inputs.shrink_map[:, 0, 2, 2] = 1
    inputs.has_label[1] = 0
    guide = np.full((2, 1, 12, 20), -5, np.float32)
    guide[:, 0, 8, 15] = np.log(0.31 / 0.69)
    guide[:, 0, 8, 8] = np.log(0.29 / 0.71)
    region = text_region(paddle.to_tensor(guide), inputs.targets()).numpy()
    expected = np.zeros((2, 1, 12, 20))
    expected[:, 0, 6:11, 13:18] = 1
    expected[0, 0, 0:5, 0:5] = 1
    np.testing.assert_array_equal(region, expected)


def test_resizing_keeps_a_constant_and_leaves_equal_sizes_alone():
    x = paddle.full([1, 1, 3, 5], 2.0)
    assert resized(x, x) is x
    assert (resized(x, paddle.zeros([1, 1, 6, 10])).numpy() == 2).all()
