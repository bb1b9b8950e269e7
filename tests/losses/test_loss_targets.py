"""A batch's labels as float maps, and the masks that follow from them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import paddle

from ocr_cml.losses.targets import Targets, decode_targets


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
