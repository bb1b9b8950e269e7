"""Distillation on the map: logits and soft targets."""

from __future__ import annotations

import numpy as np
import pytest

from ocr_cml.losses.kd.logits import LogitsLoss
from ocr_cml.losses.kd.st import STLoss
from ocr_cml.losses.mutual import DMLLoss


def one_pixel(make_inputs, z, u):
    """Learner and guide with these logits everywhere."""
    inputs = make_inputs(1, 2, 3)
    inputs.z[:], inputs.u[:] = z, u
    return inputs.learner(), inputs.guide(), inputs.targets()


def test_logits_by_hand(make_inputs):
    assert float(LogitsLoss()(*one_pixel(make_inputs, 1.5, -0.5))) == pytest.approx(4.0)


def test_soft_targets_by_hand(make_inputs):
    # T = 2: sigmoid(0 / 2) = 1/2, sigmoid(-2 ln 3 / 2) = 1/4; 4 KL(1/2 || 1/4) = 4 ln(4/3) / 2
    value = STLoss(temperature=2)(*one_pixel(make_inputs, -2 * np.log(3), 0.0))
    assert float(value) == pytest.approx(2 * np.log(4 / 3), rel=1e-6)


def test_logits_is_the_mean_square(inputs):
    square = (inputs.z - inputs.u) ** 2
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(LogitsLoss()(*pair)) == pytest.approx(square.mean(), rel=1e-5)
    masked = square[inputs.shrink_mask > 0].mean()
    assert float(LogitsLoss(use_mask=True)(*pair)) == pytest.approx(masked, rel=1e-5)


def test_soft_targets_are_a_two_class_softmax(inputs):
    """Hinton's formula over the classes text (z) and background (0)."""
    temperature = 3.0

    def softmax(x):
        both = np.exp(np.stack([x, np.zeros_like(x)]) / temperature)
        return both / both.sum(axis=0)

    q, p = softmax(inputs.u), softmax(inputs.z)
    expected = temperature**2 * (q * np.log(q / p)).sum(axis=0)
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(STLoss(temperature=temperature)(*pair)) == pytest.approx(expected.mean(), rel=1e-5)
    masked = STLoss(temperature=temperature, use_mask=True)(*pair)
    assert float(masked) == pytest.approx(expected[inputs.shrink_mask > 0].mean(), rel=1e-5)


def test_at_temperature_one_it_is_the_mutual_terms_kl(inputs):
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(STLoss(temperature=1)(*pair)) == pytest.approx(float(DMLLoss()(*pair)), rel=1e-6)


def test_at_high_temperature_it_tends_to_the_logits_loss(inputs):
    """T^2 KL -> (z - u)^2 / 8 for a Bernoulli."""
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(STLoss(temperature=50)(*pair)) == pytest.approx(float(LogitsLoss()(*pair)) / 8, rel=5e-3)


def test_the_mask_of_an_unlabelled_image_means_nothing(inputs):
    inputs.has_label[1] = 0
    inputs.shrink_mask[1] = 0
    care = np.stack([inputs.shrink_mask[0], np.ones_like(inputs.shrink_mask[1])]) > 0
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    square = (inputs.z - inputs.u) ** 2
    assert float(LogitsLoss(use_mask=True)(*pair)) == pytest.approx(square[care].mean(), rel=1e-5)
    q, p = (1 / (1 + np.exp(-x / 2)) for x in (inputs.u, inputs.z))
    kl = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
    assert float(STLoss(temperature=2, use_mask=True)(*pair)) == pytest.approx(4 * kl[care].mean(), rel=1e-5)


def test_the_usual_temperature_is_four(inputs):
    pair = inputs.learner(), inputs.guide(), inputs.targets()
    assert float(STLoss()(*pair)) == float(STLoss(temperature=4)(*pair))
