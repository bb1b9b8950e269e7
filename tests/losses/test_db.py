"""The supervised loss against PaddleOCR's numbers, hand-computed values and a plain reference of the mining."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ocr_cml.losses.db import VIRTUAL_TEXT, DBLoss, dice_loss, mined_bce


def tensor(values, shape=None):
    x = paddle.to_tensor(np.asarray(values, np.float32))
    return x if shape is None else x.reshape(shape)


def test_equals_paddleocr_where_there_is_text(inputs):
    # the values that PaddleOCR's DBLoss gives for these maps
    assert float(DBLoss()(inputs.learner(), None, inputs.targets())) == pytest.approx(4.552154, rel=1e-5)
    other = DBLoss(alpha=2, beta=3)
    assert float(other(inputs.learner(), None, inputs.targets())) == pytest.approx(1.952543, rel=1e-5)
    shrink = DBLoss(beta=0)(inputs.learner(), None, inputs.targets())
    binary = DBLoss(alpha=0, beta=0)(inputs.learner(), None, inputs.targets())
    assert float(binary) == pytest.approx(0.483164, rel=1e-5)
    assert float(shrink - binary) == pytest.approx(2.486811, rel=1e-5)


@pytest.mark.parametrize(("ratio", "expected"), [(0.5, 1.463350), (1, 1.243583), (3, 1.021480)])
def test_mined_bce_equals_paddleocr(ratio, expected, inputs):
    loss = mined_bce(tensor(inputs.z), tensor(inputs.shrink_map), tensor(inputs.shrink_mask), ratio)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_dice_by_hand():
    p, s, m = tensor([0.8, 0.6, 0.5, 0.9]), tensor([1, 0, 1, 1]), tensor([1, 1, 1, 0])
    assert float(dice_loss(p, s, m)) == pytest.approx(1 - 2 * 1.3 / (1.9 + 2), rel=1e-5)
    assert float(dice_loss(s, s, m)) == pytest.approx(0, abs=1e-6)


def test_a_batch_without_text_still_pushes_background_down():
    shape = [1, 1, 10, 10]
    values = {}
    for level in (0.0, 0.1, 0.5, 1.0):
        p = paddle.full(shape, level)
        p.stop_gradient = False
        loss = dice_loss(p, paddle.zeros(shape), paddle.ones(shape))
        loss.backward()
        values[level] = float(loss)
        assert (p.grad.numpy() > 1e-4).all() and p.grad.numpy().max() <= 1 / (2 * VIRTUAL_TEXT * 100) + 1e-6
    # by hand: |P| / (|P| + 2 v) with v = 5 of 100 pixels
    assert values == pytest.approx({0.0: 0.0, 0.1: 0.5, 0.5: 50 / 60, 1.0: 100 / 110}, abs=1e-6)


def test_without_text_the_pull_is_that_of_a_batch_with_the_virtual_text():
    size = 1000
    text = np.zeros(size, np.float32)
    text[: int(size * VIRTUAL_TEXT)] = 1
    background = np.where(text > 0, 1, 0.2).astype(np.float32)
    gradients = []
    for p, s in ((background, text), (np.full(size, 0.2, np.float32), np.zeros(size, np.float32))):
        p = tensor(p)
        p.stop_gradient = False
        dice_loss(p, tensor(s), paddle.ones([size])).backward()
        gradients.append(float(p.grad[-1]))
    assert gradients[1] == pytest.approx(gradients[0], rel=0.1)


def test_one_text_pixel_keeps_paddleocrs_value():
    p, s = tensor([0.5, 0.25, 0.25]), tensor([1, 0, 0])
    assert float(dice_loss(p, s, paddle.ones([3]))) == pytest.approx(1 - 1.0 / 2.0, rel=1e-5)


def reference_mined(z, s, m, ratio):
    loss = np.logaddexp(0, z) - z * s
    positive, negative = loss[(s * m) > 0], np.sort(loss[((1 - s) * m) > 0])[::-1]
    kept = int(min(len(negative), ratio * len(positive)))
    return (positive.sum() + negative[:kept].sum()) / (len(positive) + kept)


@pytest.mark.parametrize("ratio", [1, 2, 2.6, 3, 100])
@pytest.mark.parametrize("level", [0.2, 0.8, 0.97])
def test_mining_equals_a_plain_top_k(level, ratio, inputs):
    s = (np.sin(np.arange(120) * 0.37) > level).astype(np.float32)
    z, m = inputs.z.ravel(), inputs.shrink_mask.ravel()
    expected = reference_mined(z, s, m, ratio)
    assert float(mined_bce(tensor(z), tensor(s), tensor(m), ratio)) == pytest.approx(expected, rel=1e-5)


def test_ties_at_the_threshold_share_what_is_left():
    z = tensor([0.0, 1.0, 1.0, 1.0, 1.0, -1.0])  # one text pixel, four tied backgrounds of which three may stay
    z.stop_gradient = False
    s = tensor([1, 0, 0, 0, 0, 0])
    loss = mined_bce(z, s, paddle.ones([6]), 3)
    loss.backward()
    assert float(loss) == pytest.approx((np.log(2) + 3 * np.log1p(np.e)) / 4, rel=1e-5)
    assert z.grad.numpy()[1:5] == pytest.approx([0.75 / (1 + np.exp(-1)) / 4] * 4, rel=1e-5)
    assert z.grad.numpy()[5] == 0


def test_mining_without_text_keeps_the_hardest_background():
    z = tensor(np.arange(100) / 10.0 - 5)
    z.stop_gradient = False
    loss = mined_bce(z, paddle.zeros([100]), paddle.ones([100]), 3)
    loss.backward()
    kept = np.logaddexp(0, z.numpy()[-15:])  # 3 for each of 5 virtual text pixels
    assert float(loss) == pytest.approx(kept.sum() / 20, rel=1e-5)
    assert (z.grad.numpy()[-15:] > 0).all() and (z.grad.numpy()[:-15] == 0).all()


def test_bce_without_mining_is_the_masked_mean(inputs):
    z, s, m = inputs.z, inputs.shrink_map, inputs.shrink_mask
    expected = 5 * ((np.logaddexp(0, z) - z * s) * m).sum() / m.sum()
    bce = DBLoss(main_loss_type="BCELoss", balance_loss=False, beta=0)(inputs.learner(), None, inputs.targets())
    binary = DBLoss(alpha=0, beta=0)(inputs.learner(), None, inputs.targets())
    assert float(bce - binary) == pytest.approx(expected, rel=1e-5)


def test_threshold_map_is_compared_on_the_band_only(inputs):
    sigmoid = 1 / (1 + np.exp(-inputs.t))
    band = inputs.threshold_mask
    expected = 10 * (np.abs(sigmoid - inputs.threshold_map) * band).sum() / band.sum()
    whole = DBLoss()(inputs.learner(), None, inputs.targets())
    without = DBLoss(beta=0)(inputs.learner(), None, inputs.targets())
    assert float(whole - without) == pytest.approx(expected, rel=1e-5)


def test_the_labels_themselves_have_no_loss(inputs):
    inputs.z = np.where(inputs.shrink_map > 0, 40.0, -40.0)
    level = inputs.threshold_map.astype(np.float64)
    inputs.t = np.log(level / (1 - level))
    for main in ("DiceLoss", "BCELoss"):
        value = DBLoss(main_loss_type=main)(inputs.learner(), None, inputs.targets())
        assert float(value) == pytest.approx(0, abs=1e-4)


def test_the_whole_by_hand(make_inputs):
    """P = T = B = 1/2 everywhere; one of eight pixels is text, two form the band, where T should be .7."""
    inputs = make_inputs(1, 2, 4)
    inputs.z[:], inputs.t[:], inputs.shrink_mask[:] = 0, 0, 1
    inputs.shrink_map[:], inputs.threshold_mask[:], inputs.threshold_map[:] = 0, 0, 0.7
    inputs.shrink_map[0, 0, 0, 0] = 1
    inputs.threshold_mask[0, 0, 1, :2] = 1
    dice = 1 - 2 * 0.5 / (4 + 1)
    value = DBLoss()(inputs.learner(), None, inputs.targets())
    assert float(value) == pytest.approx(5 * dice + 10 * 0.2 + dice, rel=1e-5)


HALVES = {
    "dice": 1 - 2 * 1 / (2 + 2 + 0.25),
    "mined": 4 * np.log(2) / (4 + 0.25),
    "focal": (2 * 0.25 + 2 * 0.75) * 0.25 * np.log(2) / (4 + 0.25),
}
"""Of four pixels, two of them text, with P = B = 1/2 and eps = 1/4."""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"alpha": 0, "beta": 0}, HALVES["dice"]),
        ({"alpha": 1, "beta": 0}, 2 * HALVES["dice"]),
        ({"alpha": 1, "beta": 0, "main_loss_type": "BCELoss"}, HALVES["mined"] + HALVES["dice"]),
        ({"alpha": 0, "beta": 1}, 0.5 * 2 / (2 + 0.25) + HALVES["dice"]),
        ({"alpha": 1, "beta": 0, "main_loss_type": "DiceFocalLoss", "dice_weight": 0}, 2 * HALVES["focal"]),
        ({"alpha": 1, "beta": 0, "main_loss_type": "DiceFocalLoss", "focal_weight": 0}, 2 * HALVES["dice"]),
    ],
)
def test_eps_reaches_every_part(arguments, expected, make_inputs):
    inputs = make_inputs(1, 1, 4)
    inputs.z[:], inputs.t[:], inputs.shrink_mask[:], inputs.threshold_map[:] = 0, 0, 1, 0
    inputs.shrink_map[:] = inputs.threshold_mask[:] = [1, 1, 0, 0]
    value = DBLoss(eps=0.25, **arguments)(inputs.learner(), None, inputs.targets())
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_dont_care_text_has_no_gradient(inputs):
    learner = inputs.learner()
    DBLoss(beta=0)(learner, None, inputs.targets()).backward()
    assert (learner.shrink_logit.grad.numpy()[inputs.shrink_mask == 0] == 0).all()


@pytest.mark.parametrize("ratio", [1, 2, 3])
def test_ohem_ratio_reaches_the_mining(ratio, inputs):
    inputs.shrink_map = inputs.shrink_map * (inputs.u > 0.5)  # few enough for twice as many to be less than all
    mined = DBLoss(main_loss_type="BCELoss", beta=0, ohem_ratio=ratio)(inputs.learner(), None, inputs.targets())
    binary = DBLoss(alpha=0, beta=0)(inputs.learner(), None, inputs.targets())
    expected = 5 * reference_mined(inputs.z, inputs.shrink_map, inputs.shrink_mask, ratio)
    assert float(mined - binary) == pytest.approx(expected, rel=1e-5)
