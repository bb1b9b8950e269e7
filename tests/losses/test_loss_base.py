"""Decoding of targets and means over some of the pixels."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle
import pytest

from ocr_cml.losses.base import Targets, balanced_mean, decode_targets, dilated, resized, text_region, weighted_mean


def test_decode_targets_gives_float_maps_with_a_channel():
    batch = SimpleNamespace(
        shrink_map=np.array([[[0, 1, 1]]], np.uint8),
        shrink_mask=np.array([[[1, 0, 1]]], np.uint8),
        threshold_map=np.array([[[0, 51, 255]]], np.uint8),
        threshold_mask=np.array([[[1, 1, 0]]], np.uint8),
        has_label=np.array([True]),
    )
    targets = decode_targets(batch)
    assert all(getattr(targets, name).dtype == paddle.float32 for name in vars(targets))
    assert targets.shrink_map.shape == [1, 1, 1, 3] and targets.has_label.shape == [1, 1, 1, 1]
    assert targets.shrink_map.flatten().tolist() == [0, 1, 1]
    np.testing.assert_allclose(targets.threshold_map.numpy().ravel(), [0, 0.2, 1], rtol=1e-6)
    assert targets.label_text.flatten().tolist() == [0, 0, 1]


def test_masks_of_labelled_and_unlabelled_images():
    one = paddle.ones([2, 1, 1, 2])
    mask = paddle.to_tensor(np.array([[[[1, 0]]], [[[1, 0]]]], np.float32))
    labelled = paddle.to_tensor(np.array([1, 0], np.float32)).reshape([2, 1, 1, 1])
    targets = Targets(one, mask, one, one, labelled)
    assert targets.label_mask.flatten().tolist() == [1, 0, 0, 0]
    assert targets.care_mask.flatten().tolist() == [1, 0, 1, 1]


def test_means_by_hand():
    x = paddle.to_tensor([1.0, 2.0, 3.0, 6.0])
    region = paddle.to_tensor([1.0, 0.0, 0.0, 0.0])
    assert float(weighted_mean(x, None)) == 3
    assert float(weighted_mean(x, paddle.to_tensor([0.0, 1.0, 1.0, 0.0]))) == 2.5
    assert float(weighted_mean(x, paddle.zeros([4]))) == 0
    assert float(balanced_mean(x, region, None)) == pytest.approx(0.5 * 1 + 0.5 * 11 / 3)
    assert float(balanced_mean(x, region, paddle.to_tensor([1.0, 1.0, 1.0, 0.0]))) == pytest.approx(0.5 * 1 + 0.5 * 2.5)
    assert float(balanced_mean(x, paddle.zeros([4]), None)) == 1.5


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
