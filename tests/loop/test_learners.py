"""A fused optimizer, which a GPU uses, forced on on the CPU: against the plain one, resumed, with late gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import tiny
from safetensors.numpy import load_file

from ocr_cml import optim
from ocr_cml.models import build_detector
from ocr_cml.schema import OptimizerSection

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {"name": "Adam"},
    "clipped, decayed Adam": {"name": "Adam", "clip_norm": 0.5, "regularizer": {"name": "L2", "factor": 1e-2}},
    "Momentum": {"name": "Momentum", "clip_norm": 0.5, "regularizer": {"name": "L2", "factor": 1e-2}},
}
RATES = {**tiny.STUDENT, "Backbone": {"name": "PPLCNetV3", "scale": 0.35, "lr_mult_list": [0.0, 0.1, 0.5, 1, 1, 1]}}
"""A network with rates of its own for some parameters, and without weight decay for its normalisations."""


@pytest.fixture
def fused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    plain = optim.fuses
    monkeypatch.setattr(optim, "fuses", lambda section, _: plain(section, "gpu:0"))


def moved(section: OptimizerSection, *, fused: bool) -> dict[str, np.ndarray]:
    """A network's weights after four steps with gradients drawn from a seed, one of its parameters without any."""
    paddle.seed(3)
    network = build_detector(RATES)
    parameters = [p for p in network.parameters() if not p.stop_gradient]
    optimizer = optim.build_optimizer(section, parameters, fused=fused)
    rng = np.random.default_rng(4)
    for step in range(4):
        for parameter in parameters[:-1]:
            parameter.grad = paddle.to_tensor(rng.normal(size=parameter.shape).astype(np.float32))
        optimizer.set_lr(0.003 * (step + 1))
        optimizer.step()
        optimizer.clear_grad()
    return tiny.state_of(network)


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_one_call_for_all_tensors_moves_them_as_one_call_each(kind: str) -> None:
    """With rates of single parameters, weight decay that spares some, and the norm of all clipped."""
    section = OptimizerSection(**OPTIMIZERS[kind])
    expected, found = moved(section, fused=False), moved(section, fused=True)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-6, err_msg=name)


def test_a_gpu_fuses_what_paddle_can_fuse() -> None:
    chosen = {(name, device) for name in ("Adam", "AdamW", "Momentum") for device in ("cpu", "gpu:1")}
    fused = {(name, device) for name, device in chosen if optim.fuses(OptimizerSection(name=name), device)}
    assert fused == {("Adam", "gpu:1"), ("Momentum", "gpu:1")}


def test_a_resumed_run_ends_with_the_same_bits(fused: None, tiny_set: Path, tmp_path: Path) -> None:
    for run, parts in (("whole", (3,)), ("half", (2, 3))):
        for steps in parts:
            settings = tiny.settings(tiny_set, tmp_path / run, Optimizer__clip_norm=1.0)
            trainer = tiny.fit(settings, max_steps=steps)
            assert all(optimizer._use_multi_tensor for optimizer in trainer.learners.optimizers.values())
    files = sorted(file.name for file in (tmp_path / "whole/latest").glob("*.safetensors"))
    assert files == [f"{name}{kind}.safetensors" for name in ("Student", "Student2") for kind in (".optimizer", "")]
    for name in files:
        tiny.assert_same(load_file(tmp_path / "half/latest" / name), load_file(tmp_path / "whole/latest" / name))


@pytest.mark.parametrize("kind", ["Adam", "Momentum"])
def test_a_gradient_that_comes_late_is_paired_with_its_own_tensor(
    kind: str, fused: None, tiny_set: Path, tmp_path: Path
) -> None:
    """Paddle pairs by place: a late gradient of the first tensor would shift all others by one."""
    optimizer = {"name": kind, "lr": {"name": "Const", "learning_rate": 0.01}}
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1, Optimizer=optimizer)
    with tiny.Run(data) as trainer:
        learned = trainer.cohort.parameters("Student")
        copies = [paddle.create_parameter(p.shape, "float32") for p in learned]
        for copy, parameter in zip(copies, learned, strict=True):
            copy.set_value(parameter)
        plain = optim.build_optimizer(trainer.config.Optimizer, copies)
        rng = np.random.default_rng(1)
        for first in (7, 7, 0, 0):
            for copy, parameter in zip(copies[first:], learned[first:], strict=True):
                copy.grad = paddle.to_tensor(rng.normal(size=copy.shape).astype(np.float32))
                parameter.grad = copy.grad.clone()
            plain.set_lr(0.01)
            plain.step()
            plain.clear_grad()
            trainer.learners.move("Student", 0.01)
    for number, (copy, parameter) in enumerate(zip(copies, learned, strict=True)):
        np.testing.assert_allclose(parameter.numpy(), copy.numpy(), rtol=0, atol=1e-6, err_msg=str(number))


def test_a_student_answers_with_its_mean_and_goes_on_with_its_weights(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", Optimizer__ema_decay=0.9)
    with tiny.Run(data, max_steps=3) as trainer:
        trainer.fit()
        student, mean = trainer.cohort.students["Student"], trainer.learners.means["Student"]
        trained = tiny.state_of(student)
        with trainer.learners.answering("Student") as answering:
            tiny.assert_same(tiny.state_of(answering), {key: value.numpy() for key, value in mean.values.items()})
        tiny.assert_same(tiny.state_of(student), trained)
        assert any(not np.array_equal(value.numpy(), trained[key]) for key, value in mean.values.items())


def test_a_step_that_is_thrown_away_moves_no_mean(tiny_set: Path, tmp_path: Path) -> None:
    """As float16 does with one that overflowed."""
    settings = tiny.settings(tiny_set, tmp_path / "run", Optimizer__ema_decay=0.9)
    with tiny.Run(settings, max_steps=2) as trainer:
        trainer.fit()
        mean = trainer.learners.means["Student"]
        before = {name: value.numpy() for name, value in mean.values.items()}
        trainer.learners.move("Student", 0.1, skip=True)
        assert mean.updates == 2
        tiny.assert_same({name: value.numpy() for name, value in mean.values.items()}, before)
