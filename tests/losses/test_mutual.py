"""The mutual term: each divergence against its definition, and the choice of pixels."""

from __future__ import annotations

import numpy as np
import paddle
import pytest

from ocr_cml.losses.divergences import bernoulli_js, bernoulli_kl, bernoulli_symmetric_kl, ppocr_divergence
from ocr_cml.losses.maps import text_region
from ocr_cml.losses.mutual import DMLLoss


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def kl(q, p):
    return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))


def js(q, p):
    return 0.5 * (kl(q, (p + q) / 2) + kl(p, (p + q) / 2))


def ppocr(q, p, eps=1e-5):
    return 0.5 * (q * np.log((q + eps) / (p + eps) + eps) + p * np.log((p + eps) / (q + eps) + eps))


REFERENCES = {
    "kl": (bernoulli_kl, kl),
    "js": (bernoulli_js, js),
    "symmetric_kl": (bernoulli_symmetric_kl, lambda q, p: 0.5 * (kl(q, p) + kl(p, q))),
    "ppocr": (ppocr_divergence, ppocr),
}


def test_kl_by_hand():
    # q = 1/2, p = 1/4: (ln 2 + ln 2/3) / 2
    value = bernoulli_kl(paddle.to_tensor([0.0]), paddle.to_tensor([-float(np.log(3))]))
    assert float(value) == pytest.approx(0.5 * np.log(4 / 3), rel=1e-6)


def test_js_of_opposite_certainties_is_log_two():
    value = bernoulli_js(paddle.to_tensor([1e4]), paddle.to_tensor([-1e4]))
    assert float(value) == pytest.approx(np.log(2), rel=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_against_the_definition(name, inputs):
    ours, reference = REFERENCES[name]
    values = ours(paddle.to_tensor(inputs.u.astype(np.float32)), paddle.to_tensor(inputs.z.astype(np.float32)))
    expected = reference(sigmoid(inputs.u), sigmoid(inputs.z))
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-4, atol=1e-6)
    term = DMLLoss(divergence=name)(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(term) == pytest.approx(expected.mean(), rel=1e-5)


def test_ppocr_equals_paddleocr(inputs):
    # the value that PaddleOCR's DMLLoss gives for these maps, averaged over the two images
    term = DMLLoss(divergence="ppocr")
    assert float(term(inputs.learner(), inputs.guide(), inputs.targets())) == pytest.approx(0.285811, rel=1e-5)


def test_ppocr_in_both_directions_gives_paddleocrs_gradient(inputs):
    a, b = inputs.learner(), inputs.guide()
    term = DMLLoss(divergence="ppocr")
    (term(a, b, inputs.targets()) + term(b, a, inputs.targets())).backward()
    z, u = (paddle.to_tensor(x.astype(np.float32), stop_gradient=False) for x in (inputs.z, inputs.u))
    ppocr_divergence(u, z).mean().backward()
    np.testing.assert_allclose(a.shrink_logit.grad.numpy(), z.grad.numpy(), rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(b.shrink_logit.grad.numpy(), u.grad.numpy(), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_gradient_of_kl_is_the_difference_of_probabilities(temperature, inputs):
    learner = inputs.learner()
    DMLLoss(temperature=temperature)(learner, inputs.guide(), inputs.targets()).backward()
    difference = sigmoid(inputs.z / temperature) - sigmoid(inputs.u / temperature)
    expected = temperature * difference / inputs.z.size
    np.testing.assert_allclose(learner.shrink_logit.grad.numpy(), expected, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["kl", "js", "symmetric_kl"])
def test_gradient_agrees_with_finite_differences(name, inputs):
    _, reference = REFERENCES[name]
    learner = inputs.learner()
    DMLLoss(divergence=name)(learner, inputs.guide(), inputs.targets()).backward()
    q, h = sigmoid(inputs.u), 1e-5
    slope = (reference(q, sigmoid(inputs.z + h)) - reference(q, sigmoid(inputs.z - h))) / (2 * h) / inputs.z.size
    np.testing.assert_allclose(learner.shrink_logit.grad.numpy(), slope, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("name", ["js", "symmetric_kl", "ppocr"])
def test_symmetry(name, inputs):
    term = DMLLoss(divergence=name)
    there = term(inputs.learner(), inputs.guide(), inputs.targets())
    back = term(inputs.guide(), inputs.learner(), inputs.targets())
    assert float(there) == pytest.approx(float(back), rel=1e-5)


@pytest.mark.parametrize("name", ["kl", "js", "symmetric_kl"])
def test_no_pixel_is_negative(name):
    grid = np.linspace(-12, 12, 97, dtype=np.float32)
    u, z = (paddle.to_tensor(x.ravel()) for x in np.meshgrid(grid, grid))
    assert REFERENCES[name][0](u, z).numpy().min() >= -2e-6


def test_mask_and_confidence_choose_the_pixels(inputs):
    inputs.has_label[1] = 0
    values = kl(sigmoid(inputs.u), sigmoid(inputs.z))
    care = np.stack([inputs.shrink_mask[0], np.ones_like(inputs.shrink_mask[1])])
    certain = np.maximum(sigmoid(inputs.u), 1 - sigmoid(inputs.u)) >= 0.75
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(DMLLoss(use_mask=True)(*pair)) == pytest.approx(values[care > 0].mean(), rel=1e-5)
    assert float(DMLLoss(confidence=0.75)(*pair)) == pytest.approx(values[certain].mean(), rel=1e-5)
    both = (care > 0) & certain
    assert float(DMLLoss(use_mask=True, confidence=0.75)(*pair)) == pytest.approx(values[both].mean(), rel=1e-5)


def test_nobody_certain_gives_zero(inputs):
    assert float(DMLLoss(confidence=0.999)(inputs.learner(), inputs.guide(), inputs.targets())) == 0


def test_text_balance_weighs_text_and_the_rest_alike(make_inputs):
    inputs = make_inputs(1, 12, 20)
    inputs.shrink_map[:] = 0
    inputs.u[:] = -4.0
    inputs.u[0, 0, 4:6, 4:10] = 3.0
    values = kl(sigmoid(inputs.u), sigmoid(inputs.z))
    region = text_region(paddle.to_tensor(inputs.u.astype(np.float32)), inputs.targets()).numpy() > 0
    assert region.sum() == 6 * 10
    expected = 0.5 * values[region].mean() + 0.5 * values[~region].mean()
    value = DMLLoss(balance="text")(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_maps_add_their_means(inputs):
    def value(*maps):
        return float(DMLLoss(maps=maps)(inputs.learner(), inputs.guide(), inputs.targets()))

    threshold = kl(sigmoid(-inputs.t), sigmoid(inputs.t)).mean()
    assert value("threshold") == pytest.approx(threshold, rel=1e-5)
    ours = 50 * (sigmoid(inputs.z) - sigmoid(inputs.t))
    theirs = 50 * (sigmoid(inputs.u) - sigmoid(-inputs.t))
    binary = (sigmoid(theirs) * (theirs - ours) + np.logaddexp(0, ours) - np.logaddexp(0, theirs)).mean()
    assert value("binary") == pytest.approx(binary, rel=1e-4)
    assert value("shrink", "threshold", "binary") == pytest.approx(value("shrink") + threshold + binary, rel=1e-4)


def test_text_balance_leaves_out_dont_care_text(differing_in_dont_care_text):
    inputs = differing_in_dont_care_text
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(DMLLoss(balance="text", use_mask=True)(*pair)) == pytest.approx(0, abs=1e-6)
    assert float(DMLLoss(balance="text")(*pair)) > 0.1


@pytest.mark.parametrize("name", ["threshold", "binary"])
def test_mask_and_confidence_choose_the_pixels_of_every_map(name, inputs):
    term = DMLLoss(maps=[name], use_mask=True, confidence=0.6)
    chosen = inputs.shrink_mask * (np.abs(inputs.u) >= np.log(0.6 / 0.4))
    assert 0 < chosen.sum() < chosen.size
    plain = DMLLoss(maps=[name])(inputs.learner(), inputs.guide(), inputs.targets())
    value = term(inputs.learner(), inputs.guide(), inputs.targets())
    if name == "threshold":
        each = kl(sigmoid(inputs.guide().threshold_logit.numpy()), sigmoid(inputs.learner().threshold_logit.numpy()))
        assert float(value) == pytest.approx((each * chosen).sum() / chosen.sum(), rel=1e-4)
    assert float(value) != pytest.approx(float(plain), rel=1e-3)


def test_text_is_where_the_guide_sees_it_whatever_the_temperature(make_inputs):
    """The guide's -0.9 is no text, as its probability is below .3; softened, -0.45 would be."""
    inputs = make_inputs(1, 32, 64)
    inputs.shrink_map[:], inputs.shrink_mask[:], inputs.u[:] = 0, 1, -9
    inputs.u[0, 0, 0, 0], inputs.u[0, 0, 31, 63] = 9, -0.9
    region = text_region(paddle.to_tensor(inputs.u.astype(np.float32)), inputs.targets()).numpy()
    assert (region[0, 0, 0, 0], region[0, 0, 31, 63]) == (1, 0)
    each = kl(sigmoid(inputs.u / 2), sigmoid(inputs.z / 2))
    expected = 4 * ((each * region).sum() / region.sum() + (each * (1 - region)).sum() / (1 - region).sum()) / 2
    value = DMLLoss(temperature=2.0, balance="text")(inputs.learner(), inputs.guide(), inputs.targets())
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_a_confidence_of_one_half_leaves_out_nothing(inputs):
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(DMLLoss(confidence=0.5)(*pair)) == pytest.approx(float(DMLLoss()(*pair)), rel=1e-6)


@pytest.mark.parametrize("name", REFERENCES)
def test_no_map_of_the_guide_gets_a_gradient(name, inputs):
    guide = inputs.guide()
    term = DMLLoss(divergence=name, maps=["shrink", "threshold", "binary"])
    term(inputs.learner(), guide, inputs.targets()).backward()
    assert guide.shrink_logit.grad is None and guide.threshold_logit.grad is None
