"""The teacher term: PP-OCRv2's dilated target and the soft one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import paddle
import pytest

from ocr_cml.losses.teacher import TeacherLoss, dilated_target
from ocr_cml.models.detector import DetOutput


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def grown(region, radius):
    """A plain dilation of `[N,1,H,W]` booleans."""
    out = np.zeros_like(region)
    for n, _, y, x in np.argwhere(region):
        out[n, 0, max(y - radius, 0) : y + radius + 1, max(x - radius, 0) : x + radius + 1] = True
    return out


def dice(p, s, m):
    return 1 - 2 * (p * s * m).sum() / ((p * m).sum() + (s * m).sum())


def test_dilated_by_hand(make_inputs):
    """One of eight pixels is text by the teacher; P is 1/2 and B = sigmoid(50 (1/2 - 1/2)) = 1/2 everywhere."""
    inputs = make_inputs(1, 2, 4)
    inputs.z[:], inputs.t[:], inputs.u[:], inputs.shrink_mask[:] = 0, 0, -9, 1
    inputs.u[0, 0, 0, 0] = 9
    dice = 1 - 2 * 0.5 / (4 + 1)
    value = TeacherLoss(dilation=0)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(5 * dice + dice, rel=1e-5)
    dice = 1 - 2 * 2.0 / (4 + 4)  # grown by two pixels: its corner of 2 x 2
    value = TeacherLoss(dilation=2)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(5 * dice + dice, rel=1e-5)


def test_soft_by_hand(make_inputs):
    # q = 1/2, p = 1/4
    inputs = make_inputs(1, 2, 4)
    inputs.z[:], inputs.u[:] = -np.log(3), 0
    value = TeacherLoss(kind="soft", alpha=3)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(3 * 0.5 * np.log(4 / 3), rel=1e-6)


def test_a_learner_that_says_what_the_teacher_says_has_no_loss(inputs):
    inputs.z = np.where(inputs.u > 0, 40.0, -40.0)
    inputs.u, inputs.t = inputs.z, np.zeros_like(inputs.t)
    value = TeacherLoss(dilation=0)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(0, abs=1e-5)


def dilated_reference(inputs, mask, thresh, radius):
    d = grown(sigmoid(inputs.u) > thresh, radius).astype(float)
    p = sigmoid(inputs.z)
    binary = sigmoid(50 * (p - sigmoid(inputs.t)))
    return 5 * dice(p, d, mask) + dice(binary, d, mask)


@pytest.mark.parametrize(("thresh", "dilation"), [(0.3, 2), (0.85, 2), (0.85, 4), (0.6, 0)])
def test_dilated_against_a_plain_reference(thresh, dilation, inputs):
    value = TeacherLoss(thresh=thresh, dilation=dilation)(inputs.learner(), inputs.guide(), inputs.targets())
    expected = dilated_reference(inputs, inputs.shrink_mask, thresh, dilation // 2)
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_a_dot_grows_evenly():
    logit = np.full((1, 1, 5, 7), -3, np.float32)
    logit[0, 0, 2, 3] = -0.8  # probability .31
    target = dilated_target(paddle.to_tensor(logit), 0.3, 2).numpy()[0, 0]
    expected = np.zeros((5, 7))
    expected[1:4, 2:5] = 1
    np.testing.assert_array_equal(target, expected)
    assert dilated_target(paddle.to_tensor(logit), 0.32, 2).numpy().sum() == 0


def test_dont_care_text_of_labelled_images_only_is_left_out(inputs):
    inputs.has_label[1] = 0
    mask = np.stack([inputs.shrink_mask[0], np.ones_like(inputs.shrink_mask[1])])
    value = TeacherLoss(thresh=0.85, dilation=2)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(dilated_reference(inputs, mask, 0.85, 1), rel=1e-5)
    unmasked = TeacherLoss(thresh=0.85, dilation=2, use_mask=False)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(unmasked) == pytest.approx(dilated_reference(inputs, np.ones_like(mask), 0.85, 1), rel=1e-5)


def test_a_teacher_that_sees_nothing_pushes_background_down(inputs):
    inputs.u[:] = -8
    learner = inputs.learner()
    TeacherLoss()(learner, inputs.guide(), inputs.targets()).backward()
    gradient = learner.shrink_logit.grad.numpy()[inputs.shrink_mask > 0]
    assert (gradient > 0).all()


@pytest.mark.parametrize("kind", ["dilated", "soft"])
def test_confidence_leaves_out_the_pixels_on_which_the_teacher_doubts(kind, inputs):
    q = sigmoid(inputs.u)
    sure = inputs.shrink_mask * (np.maximum(q, 1 - q) >= 0.8)
    assert 0 < sure.sum() < inputs.shrink_mask.sum()
    term = TeacherLoss(kind=kind, confidence=0.8, dilation=0)
    learner = inputs.learner()
    value = term(learner, inputs.guide(), inputs.targets())
    value.backward()
    p = sigmoid(inputs.z)
    kl = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    expected = dilated_reference(inputs, sure, 0.3, 0) if kind == "dilated" else 5 * kl[sure > 0].mean()
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert (learner.shrink_logit.grad.numpy()[sure == 0] == 0).all()


def test_a_certain_teacher_counts_at_the_highest_confidence(inputs):
    certain = DetOutput.from_probability(paddle.to_tensor((inputs.u > 0).astype(np.float32)))
    term = TeacherLoss(kind="soft", confidence=0.999999, use_mask=False)
    everywhere = TeacherLoss(kind="soft", use_mask=False)
    given = inputs.learner(), certain, inputs.targets()
    assert float(everywhere(*given)) > 0
    assert float(term(*given)) == pytest.approx(float(everywhere(*given)), rel=1e-6)


def test_confidence_is_the_teachers_own_and_not_that_of_the_softened_map(make_inputs):
    """A pixel of q = .9 is surer than .8; softened by 2 it is .75."""
    inputs = make_inputs(1, 1, 2)
    inputs.u[:] = [[[[np.log(9), 0.0]]]]
    value = TeacherLoss(kind="soft", alpha=1, temperature=2.0, confidence=0.8, use_mask=False)(
        inputs.learner(), inputs.guide(), inputs.targets()
    )
    q, p = sigmoid(inputs.u[0, 0, 0, 0] / 2), sigmoid(inputs.z[0, 0, 0, 0] / 2)
    expected = 4 * (q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p)))
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_alpha_and_bce_reach_the_shrink_map(inputs):
    def value(**arguments):
        return float(
            TeacherLoss(thresh=0.85, dilation=2, **arguments)(inputs.learner(), inputs.guide(), inputs.targets())
        )

    d = grown(sigmoid(inputs.u) > 0.85, 1).astype(float)
    bce = ((np.logaddexp(0, inputs.z) - inputs.z * d) * inputs.shrink_mask).sum() / inputs.shrink_mask.sum()
    plain = value(main_loss_type="BCELoss", balance_loss=False, alpha=2)
    assert plain - value(alpha=0) == pytest.approx(2 * bce, rel=1e-5)


def test_balance_loss_reaches_the_mining(make_inputs):
    """One of six pixels is text: of the five others three are kept, the wrong one among them."""
    inputs = make_inputs(1, 1, 6)
    inputs.u[:], inputs.z[:], inputs.t[:], inputs.shrink_mask[:] = [2, -2, -2, -2, -2, -2], [0, 0, 0, 0, 0, 2], 0, 1

    def value(**arguments):
        return float(
            TeacherLoss(main_loss_type="BCELoss", **arguments)(inputs.learner(), inputs.guide(), inputs.targets())
        )

    wrong = np.log1p(np.exp(2))
    for balance, mean in ((False, (5 * np.log(2) + wrong) / 6), (True, (3 * np.log(2) + wrong) / 4)):
        bce = value(alpha=1, balance_loss=balance) - value(alpha=0, balance_loss=balance)
        assert bce == pytest.approx(mean, rel=1e-5)


def test_eps_reaches_both_maps(make_inputs):
    """Of four pixels two are text by the teacher; P = B = 1/2."""
    inputs = make_inputs(1, 1, 4)
    inputs.u[:], inputs.z[:], inputs.t[:], inputs.shrink_mask[:] = [2, 2, -2, -2], 0, 0, 1
    dice = 1 - 2 * 1 / (2 + 2 + 0.25)
    for alpha in (0, 1):
        value = TeacherLoss(alpha=alpha, eps=0.25)(inputs.learner(), inputs.guide(), inputs.targets())
        assert float(value) == pytest.approx((1 + alpha) * dice, rel=1e-5)


def test_soft_is_alpha_times_the_softened_divergence(inputs):
    q, p = sigmoid(inputs.u / 2), sigmoid(inputs.z / 2)
    values = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    soft = TeacherLoss(kind="soft", temperature=2.0, alpha=3, use_mask=False)
    value = soft(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(3 * 4 * values.mean(), rel=1e-5)


def test_soft_needs_no_threshold_map_and_is_zero_where_equal(inputs):
    learner = replace(inputs.learner(), threshold_logit=None)
    assert float(TeacherLoss(kind="soft")(learner, inputs.learner(), inputs.targets())) == pytest.approx(0, abs=1e-6)


def test_soft_text_balance_lifts_the_share_of_text(make_inputs):
    inputs = make_inputs(1, 16, 16)
    inputs.shrink_map[:] = 0
    inputs.u[:], inputs.z[:] = -6.0, -6.0
    inputs.u[0, 0, 8, 8] = 6.0  # one text pixel that the learner misses
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    miss = 6 * 2 * sigmoid(6.0) + np.logaddexp(0, -6) - np.logaddexp(0, 6)
    plain = TeacherLoss(kind="soft", alpha=1, use_mask=False)(*pair)
    text = TeacherLoss(kind="soft", alpha=1, use_mask=False, balance="text")(*pair)
    assert float(plain) == pytest.approx(miss / 256, rel=1e-4)
    assert float(text) == pytest.approx(0.5 * miss / 25, rel=1e-4)


@pytest.mark.parametrize("ratio", [1, 2])
def test_ohem_ratio_reaches_the_mining_of_the_teachers_map(ratio, inputs):
    def value(**arguments):
        term = TeacherLoss(thresh=0.85, dilation=0, **arguments)
        return float(term(inputs.learner(), inputs.guide(), inputs.targets()))

    text, counts = sigmoid(inputs.u) > 0.85, inputs.shrink_mask > 0
    loss = np.logaddexp(0, inputs.z) - inputs.z * text
    number = ratio * (text & counts).sum()
    hardest = np.sort(loss[~text & counts])[::-1][:number]
    assert len(hardest) == number
    expected = (loss[text & counts].sum() + hardest.sum()) / (number / ratio + number)
    mined = value(main_loss_type="BCELoss", ohem_ratio=ratio, alpha=2)
    assert mined - value(alpha=0) == pytest.approx(2 * expected, rel=1e-5)


def test_soft_text_balance_leaves_out_dont_care_text(differing_in_dont_care_text):
    inputs = differing_in_dont_care_text
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(TeacherLoss(kind="soft", balance="text")(*pair)) == pytest.approx(0, abs=1e-6)
    assert float(TeacherLoss(kind="soft", balance="text", use_mask=False)(*pair)) > 0.5
