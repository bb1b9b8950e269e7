"""Dice with focal loss, and auxiliary maps: PP-OCRv6's loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import paddle
import pytest

from ocr_cml.losses import Targets
from ocr_cml.losses.db import DBLoss, dice_loss
from ocr_cml.losses.focal import focal_loss
from ocr_cml.models import DetOutput
from ppocr_data.errors import ConfigError, ModelError


def maps(*values: float) -> paddle.Tensor:
    return paddle.to_tensor(np.array(values, "f4").reshape(1, 1, 1, -1))


def test_value_computed_by_hand() -> None:
    """p = 0.5 on text, 0.5 on background, and a pixel that does not count: alpha_t 0.5^2 ln 2, averaged over two."""
    found = focal_loss(maps(0, 0, 9), maps(1, 0, 0), maps(1, 1, 0), alpha=0.25, gamma=2.0)
    assert found.item() == pytest.approx((0.25 + 0.75) * 0.25 * math.log(2) / 2, rel=1e-5)


def test_without_focus_it_is_cross_entropy() -> None:
    logit, text, mask = maps(-2.0, 0.3, 4.0), maps(1, 0, 1), maps(1, 1, 1)
    entropy = paddle.nn.functional.binary_cross_entropy_with_logits(logit, text)
    assert focal_loss(logit, text, mask, alpha=0.5, gamma=0.0).item() == pytest.approx(0.5 * entropy.item(), rel=1e-5)


def targets() -> Targets:
    one = maps(1, 1, 1, 1)
    return Targets(maps(1, 0, 1, 0), one, maps(0.7, 0.3, 0.5, 0.3), maps(1, 1, 0, 0), paddle.ones([1, 1, 1, 1]))


def output(shift: float) -> DetOutput:
    return DetOutput(maps(1.0, -2.0, 0.5, 0.1) + shift, maps(0.2, -0.3, 0.1, 0.4))


def test_dice_focal_is_the_weighted_sum_on_both_maps() -> None:
    loss = DBLoss(main_loss_type="DiceFocalLoss", alpha=5, beta=0, dice_weight=2, focal_weight=3, focal_gamma=2.5)
    out, labels = output(0), targets()
    steep = 50 * (out.shrink_prob - out.threshold_prob)
    expected = 0.0
    for factor, logit, probability in ((5, out.shrink_logit, out.shrink_prob), (1, steep, out.binary_prob)):
        focal = focal_loss(logit, labels.shrink_map, labels.label_mask, alpha=0.25, gamma=2.5).item()
        expected += factor * (2 * dice_loss(probability, labels.shrink_map, labels.label_mask).item() + 3 * focal)
    assert loss(out, None, labels).item() == pytest.approx(expected, rel=1e-5)


def test_auxiliary_maps_add_the_same_loss_with_their_weights() -> None:
    plain, labels = DBLoss(), targets()
    out = replace(output(0), auxiliary={"p2": output(1), "p3": output(2), "p4": output(3)})
    values = [plain(output(shift), None, labels).item() for shift in range(4)]
    weighted = DBLoss(aux_weight_p2=0.4, aux_weight_p3=0.3, aux_weight_p4=0.2)(out, None, labels).item()
    assert weighted == pytest.approx(values[0] + 0.4 * values[1] + 0.3 * values[2] + 0.2 * values[3], rel=1e-5)
    assert plain(out, None, labels).item() == pytest.approx(values[0], rel=1e-6)


def test_a_weight_for_maps_that_no_head_gives_is_refused() -> None:
    with pytest.raises(ModelError, match=r"DBLoss\.aux_weight_p3: the network gives no auxiliary maps"):
        DBLoss(aux_weight_p3=0.3)(output(0), None, targets())
    with pytest.raises(ConfigError, match=r"DBLoss\.focal_alpha"):
        DBLoss(focal_alpha=2.0)
