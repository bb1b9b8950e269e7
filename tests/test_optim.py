"""Schedules as functions of the step, against values by hand, and the optimizers' first steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import paddle
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paddle import nn
from pydantic import ValidationError

from ocr_cml.optim import ExponentialMean, build_optimizer, idle_settings, learning_rate, term_weight
from ocr_cml.schema import LearningRate, OptimizerSection, WeightSchedule


def rates(steps: int, total: int, per_epoch: float = 10, **fields: Any) -> list[float]:
    """The rates of the first steps."""
    return [learning_rate(LearningRate(**fields), step, total, per_epoch) for step in range(steps)]


# --- the learning rate -----------------------------------------------------------------------------------------------


def test_cosine_by_hand() -> None:
    found = rates(8, 8, name="Cosine", learning_rate=0.8)
    assert found[0] == pytest.approx(0.8)
    assert found[2] == pytest.approx(0.8 * (1 + math.sqrt(0.5)) / 2)
    assert found[4] == pytest.approx(0.4)
    assert found[6] == pytest.approx(0.8 * (1 - math.sqrt(0.5)) / 2)
    assert 0 < found[7] < found[6]


def test_cosine_ends_at_end_lr() -> None:
    found = rates(9, 8, name="Cosine", learning_rate=0.9, end_lr=0.1)
    assert found[4] == pytest.approx(0.5)
    assert found[8] == pytest.approx(0.1)


def test_linear_by_hand() -> None:
    assert rates(5, 4, name="Linear", learning_rate=0.4) == pytest.approx([0.4, 0.3, 0.2, 0.1, 0.0])
    assert rates(4, 4, name="Linear", learning_rate=0.5, end_lr=0.1) == pytest.approx([0.5, 0.4, 0.3, 0.2])


def test_const_by_hand() -> None:
    assert rates(4, 4, name="Const", learning_rate=0.4, warmup_steps=2) == pytest.approx([0.2, 0.4, 0.4, 0.4])


@pytest.mark.parametrize(
    ("given", "idle"),
    [
        ({"name": "Adam", "momentum": 0.8}, {"Optimizer.momentum": "Adam"}),
        ({"name": "Momentum", "momentum": 0.8, "beta1": 0.5}, {"Optimizer.beta1": "Momentum"}),
        ({"name": "Momentum", "beta1": 0.9, "beta2": 0.99}, {"Optimizer.beta2": "Momentum"}),
        ({"lr": {"name": "Const", "end_lr": 1e-4}}, {"Optimizer.lr.end_lr": "Const"}),
        ({"name": "AdamW", "beta1": 0.5, "lr": {"name": "Linear", "end_lr": 1e-4}}, {}),
    ],
)
def test_settings_of_another_kind_of_optimizer_are_idle(given: dict[str, Any], idle: dict[str, str]) -> None:
    assert idle_settings(OptimizerSection.model_validate(given)) == idle


def test_warm_up_rises_linearly_and_the_shape_begins_after_it() -> None:
    found = rates(8, 8, name="Linear", learning_rate=0.4, warmup_steps=4)
    assert found == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.4, 0.3, 0.2, 0.1])


def test_warm_up_in_epochs_counts_their_steps() -> None:
    in_epochs = rates(30, 30, per_epoch=5, learning_rate=0.4, warmup_epoch=2)
    in_steps = rates(30, 30, per_epoch=5, learning_rate=0.4, warmup_steps=10)
    assert in_epochs == in_steps
    assert rates(4, 30, per_epoch=2.5, learning_rate=0.3, warmup_epoch=1)[:2] == pytest.approx([0.15, 0.3])


def test_warm_up_steps_win_and_zero_is_none() -> None:
    assert rates(1, 10, learning_rate=0.4, warmup_epoch=2, warmup_steps=0) == pytest.approx([0.4])


def test_a_warm_up_longer_than_the_training_is_cut_to_it() -> None:
    assert rates(4, 4, name="Const", learning_rate=0.4, warmup_steps=100) == pytest.approx([0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize("name", ["Cosine", "Linear"])
@pytest.mark.parametrize("step", [10, 11, 15, 20, 1000])
@pytest.mark.parametrize("warm", [0, 9, 10, 100])
def test_after_the_schedule_the_rate_stays_at_its_end(name: str, step: int, warm: int) -> None:
    """Optimizer.lr.decay_steps may be shorter than the training, and no longer than the warm-up."""
    lr = LearningRate(name=name, learning_rate=0.4, end_lr=0.1, warmup_steps=warm)
    assert learning_rate(lr, step, 10, 5) == pytest.approx(0.1)


@given(
    name=st.sampled_from(["Cosine", "Linear", "Const"]),
    top=st.floats(1e-6, 1),
    share=st.floats(0, 1),
    warm=st.one_of(st.none(), st.integers(0, 300)),
    warm_epochs=st.floats(0, 20),
    total=st.integers(1, 300),
    step=st.integers(0, 600),
    per_epoch=st.floats(0.1, 50),
)
@example(name="Linear", top=1.0, share=0.0, warm=0, warm_epochs=0, total=1, step=2, per_epoch=1)
def test_the_rate_is_positive_bounded_and_falls_after_warm_up(
    name: str, top: float, share: float, warm: int | None, warm_epochs: float, total: int, step: int, per_epoch: float
) -> None:
    lr = LearningRate(name=name, learning_rate=top, end_lr=top * share, warmup_steps=warm, warmup_epoch=warm_epochs)
    rate, following = (learning_rate(lr, s, total, per_epoch) for s in (step, step + 1))
    slack = 1e-9 * top
    assert -slack <= rate <= top + slack
    warm_steps = min(total, warm if warm is not None else round(warm_epochs * per_epoch))
    if step >= warm_steps:
        assert following <= rate + slack
        assert rate >= top * share - slack
    else:
        assert rate > 0
        assert following >= rate - slack or step + 1 == warm_steps


# --- the terms' weights ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("progress", [0.0, 0.3, 1.0])
def test_a_number_is_constant(progress: float) -> None:
    assert term_weight(2, progress) == 2.0


@pytest.mark.parametrize(
    ("progress", "weight"),
    [(0.0, 1.0), (0.2, 1.0), (0.3, 1.5), (0.4, 2.0), (0.5, 2.5), (0.6, 3.0), (0.9, 3.0), (1.0, 3.0)],
)
def test_a_ramp_by_hand(progress: float, weight: float) -> None:
    assert term_weight(WeightSchedule(start=1.0, end=3.0, over=(0.2, 0.6)), progress) == pytest.approx(weight)


def test_a_ramp_may_fall() -> None:
    assert term_weight(WeightSchedule(start=1.0, end=0.0, over=(0.0, 1.0)), 0.25) == pytest.approx(0.75)


@pytest.mark.parametrize(
    ("at", "progress", "weight"),
    [
        (0.3, 0.0, 1.0),
        (0.3, 0.29, 1.0),
        (0.3, 0.3, 5.0),
        (0.3, 0.31, 5.0),
        (0.0, 0.0, 5.0),
        (0.0, 1.0, 5.0),
        (1.0, 0.99, 1.0),
        (1.0, 1.0, 5.0),
    ],
)
def test_a_ramp_of_no_length_is_a_step(at: float, progress: float, weight: float) -> None:
    assert term_weight(WeightSchedule(start=1.0, end=5.0, over=(at, at)), progress) == weight


def test_a_ramp_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match="must begin before it ends"):
        WeightSchedule(over=(0.5, 0.2))


unit = st.floats(0, 1)


@given(start=st.floats(0, 9), end=st.floats(0, 9), first=unit, second=unit, progress=unit, later=unit)
def test_a_ramp_stays_between_its_ends_and_is_monotone(
    start: float, end: float, first: float, second: float, progress: float, later: float
) -> None:
    schedule = WeightSchedule(start=start, end=end, over=(min(first, second), max(first, second)))
    one, two = (term_weight(schedule, p) for p in sorted((progress, later)))
    slack = 1e-9
    assert min(start, end) - slack <= one <= max(start, end) + slack
    assert (two - one) * (end - start) >= -slack


# --- optimizers ------------------------------------------------------------------------------------------------------


def after_steps(section: OptimizerSection, gradient: list[float], rate: float, steps: int = 1) -> list[float]:
    """A parameter [1, 1] after steps with a constant gradient."""
    parameter = paddle.create_parameter([2], "float32", default_initializer=nn.initializer.Constant(1.0))
    optimizer = build_optimizer(section, [parameter])
    for _ in range(steps):
        (parameter * paddle.to_tensor(gradient)).sum().backward()
        optimizer.set_lr(rate)
        optimizer.step()
        optimizer.clear_grad()
    return parameter.numpy().tolist()


def section(name: str, **fields: Any) -> OptimizerSection:
    return OptimizerSection.model_validate({"name": name, **fields})


def test_momentum_by_hand() -> None:
    assert after_steps(section("Momentum", momentum=0.5), [2.0, -4.0], 0.1) == pytest.approx([0.8, 1.4])
    # velocity: 2, then 0.5 * 2 + 2 = 3
    assert after_steps(section("Momentum", momentum=0.5), [2.0, -4.0], 0.1, 2) == pytest.approx([0.5, 2.0])


def test_momentum_adds_the_decay_to_the_gradient() -> None:
    decayed = section("Momentum", regularizer={"name": "L2", "factor": 0.5})
    assert after_steps(decayed, [2.0, 0.0], 0.1) == pytest.approx([0.75, 0.95])


def test_adam_s_first_step_has_the_size_of_the_rate_and_uses_the_decay_in_the_gradient() -> None:
    assert after_steps(section("Adam"), [2.0, -0.5], 0.1) == pytest.approx([0.9, 1.1], abs=1e-6)
    decayed = section("Adam", regularizer={"name": "L2", "factor": 0.5})
    assert after_steps(decayed, [0.0, -0.5], 0.1) == pytest.approx([0.9, 1.0], abs=1e-6)


def test_adamw_decouples_the_decay() -> None:
    decayed = section("AdamW", regularizer={"name": "L2", "factor": 0.5})
    assert after_steps(decayed, [2.0, 0.0], 0.1) == pytest.approx([1 - 0.05 - 0.1, 0.95], abs=1e-6)
    assert after_steps(section("AdamW"), [0.0, 0.0], 0.1) == [1.0, 1.0]


@pytest.mark.parametrize("name", ["Adam", "AdamW", "Momentum"])
def test_what_is_kept_from_decay_is_kept_from_it_by_every_optimizer(name: str) -> None:
    """Scales of a normalisation, whose own regularizer says no decay; Paddle's AdamW does not look at it."""
    free = paddle.ParamAttr(regularizer=paddle.regularizer.L2Decay(0.0))
    scale = nn.BatchNorm2D(2, weight_attr=free).weight
    usual = paddle.create_parameter([2], "float32", default_initializer=nn.initializer.Constant(1.0))
    optimizer = build_optimizer(section(name, regularizer={"name": "L2", "factor": 0.5}), [scale, usual])
    ((scale + usual) * 0.0).sum().backward()
    optimizer.set_lr(0.1)
    optimizer.step()
    assert scale.numpy().tolist() == [1.0, 1.0]
    assert (usual.numpy() < 1).all()


def test_betas_reach_the_optimizer() -> None:
    """Gradients 1 and then 3, rate .1: m 1.75 / .75, v 6.9375 / .9375, so .9 and .9 - .1 (7/3) / sqrt(7.4)."""
    for name in ("Adam", "AdamW"):
        weight = paddle.create_parameter([1], "float32", default_initializer=nn.initializer.Constant(1.0))
        optimizer = build_optimizer(section(name, beta1=0.5, beta2=0.25), [weight])
        optimizer.set_lr(0.1)
        found = []
        for gradient in (1.0, 3.0):
            (weight * gradient).sum().backward()
            optimizer.step()
            optimizer.clear_grad()
            found.append(float(weight))
        assert found == pytest.approx([0.9, 0.9 - 0.1 * (7 / 3) / math.sqrt(7.4)], abs=1e-6)


def test_the_gradient_is_clipped_to_its_global_norm() -> None:
    clipped = section("Momentum", momentum=0.0, clip_norm=1.0)
    assert after_steps(clipped, [3.0, 4.0], 0.1) == pytest.approx([1 - 0.06, 1 - 0.08])
    assert after_steps(clipped, [0.3, 0.4], 0.1) == pytest.approx([1 - 0.03, 1 - 0.04])


def test_the_norm_is_that_of_all_tensors_together() -> None:
    """3 in one and 4 in the other are 5: clipped one by one, both would be 1, and the direction another."""
    parameters = [
        paddle.create_parameter([1], "float32", default_initializer=nn.initializer.Constant(1.0)) for _ in range(2)
    ]
    optimizer = build_optimizer(section("Momentum", momentum=0.0, clip_norm=1.0), parameters)
    (3 * parameters[0] + 4 * parameters[1]).sum().backward()
    optimizer.set_lr(0.1)
    optimizer.step()
    assert [float(parameter) for parameter in parameters] == pytest.approx([1 - 0.06, 1 - 0.08])


def test_a_rate_of_zero_moves_nothing() -> None:
    decayed = section("AdamW", regularizer={"name": "L2", "factor": 0.5})
    assert after_steps(decayed, [2.0, -1.0], 0.0, 3) == [1.0, 1.0]


# --- the exponential mean --------------------------------------------------------------------------------------------


def set_all(layer: nn.Layer, value: float) -> None:
    for tensor in layer.state_dict().values():
        paddle.assign(paddle.full_like(tensor, value), tensor)


def test_the_mean_by_hand_and_statistics_are_copied() -> None:
    layer = nn.BatchNorm2D(1)
    set_all(layer, 0.0)
    mean = ExponentialMean(layer, decay=0.15)
    set_all(layer, 1.0)
    mean.update(layer)  # decay min(0.15, 1/10) = 0.1
    assert float(mean.values["weight"]) == pytest.approx(0.9)
    set_all(layer, 2.0)
    mean.update(layer)  # decay min(0.15, 2/11) = 0.15
    assert float(mean.values["weight"]) == pytest.approx(0.9 * 0.15 + 2 * 0.85)
    assert float(mean.values["_mean"]) == 2.0
    assert float(mean.values["_variance"]) == 2.0
    assert mean.updates == 2


def test_the_mean_leaves_the_network_alone_and_has_no_gradient() -> None:
    layer = nn.Linear(1, 1)
    mean = ExponentialMean(layer, decay=0.9)
    before = layer.weight.numpy().copy()
    set_all(layer, 3.0)
    np.testing.assert_array_equal(mean.values["weight"].numpy(), before)
    mean.update(layer)
    assert float(layer.weight) == 3.0
    assert not layer.weight.stop_gradient
    assert all(value.stop_gradient for value in mean.values.values())


def test_warm_up_in_epochs_is_rounded_to_the_nearest_step() -> None:
    assert rates(4, 30, per_epoch=2.7, name="Const", learning_rate=0.3, warmup_epoch=1) == pytest.approx(
        [0.1, 0.2, 0.3, 0.3]
    )
    assert rates(3, 30, per_epoch=2.3, name="Const", learning_rate=0.3, warmup_epoch=1) == pytest.approx(
        [0.15, 0.3, 0.3]
    )
