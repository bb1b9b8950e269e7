"""Optimizers, and schedules as pure functions of the step: nothing to save, nothing to restore wrongly."""

from __future__ import annotations

import math
from collections.abc import Iterable

import paddle
from paddle import nn

from ocr_cml.models.blocks import running_statistics
from ocr_cml.schema import LearningRate, OptimizerSection, WeightSchedule


def warmup(lr: LearningRate, steps_per_epoch: float) -> int:
    """Steps in which the rate is to rise to its height, in whichever way they are stated."""
    return lr.warmup_steps if lr.warmup_steps is not None else round(lr.warmup_epoch * steps_per_epoch)


def learning_rate(lr: LearningRate, step: int, total_steps: int, steps_per_epoch: float) -> float:
    """The learning rate of optimizer step `step` (0-based) of `total_steps`.

    Linear warm-up from `learning_rate / warm` to `learning_rate` over the warm-up steps, then constant, linear, or half
    a cosine down to `end_lr`, which the last step approaches without reaching. From step `total_steps` on it stays
    there: a schedule may be shorter than the training (Optimizer.lr.decay_steps).
    """
    warm = min(warmup(lr, steps_per_epoch), total_steps)
    if step < warm:
        return lr.learning_rate * (step + 1) / warm
    done = 1.0 if step >= total_steps else (step - warm) / (total_steps - warm)
    if lr.name == "Const":
        return lr.learning_rate
    shape = 1 - done if lr.name == "Linear" else (1 + math.cos(math.pi * done)) / 2
    return lr.end_lr + (lr.learning_rate - lr.end_lr) * shape


def idle_settings(section: OptimizerSection) -> dict[str, str]:
    """Settings that differ from their default and have no effect, by dotted key, each with what makes it idle.

    They are no mistake: `-o Optimizer.name=Momentum` leaves those of Adam in the file.
    """
    others = ("beta1", "beta2") if section.name == "Momentum" else ("momentum",)
    found: dict[str, str] = {f"Optimizer.{key}": section.name for key in others if _is_set(section, key)}
    if section.lr.name == "Const" and _is_set(section.lr, "end_lr"):
        found["Optimizer.lr.end_lr"] = section.lr.name
    return found


def _is_set(section: OptimizerSection | LearningRate, key: str) -> bool:
    return bool(getattr(section, key) != type(section).model_fields[key].default)


def term_weight(weight: float | WeightSchedule, progress: float) -> float:
    """A term's weight at `progress` in [0, 1] of the training."""
    if not isinstance(weight, WeightSchedule):
        return float(weight)
    begin, end = weight.over
    if progress <= begin:
        share = 0.0 if progress < begin or begin < end else 1.0
    else:
        share = 1.0 if progress >= end else (progress - begin) / (end - begin)
    return weight.start + (weight.end - weight.start) * share


_FUSIBLE = ("Adam", "Momentum")
"""What Paddle moves in one call for all tensors; its AdamW takes no `use_multi_tensor` and goes tensor by tensor."""


def fuses(section: OptimizerSection, device: str) -> bool:
    """Whether a step moves all tensors in one call: on a GPU, whose host else makes hundreds of calls a student.

    On a CPU that saves nothing, and Adam's last bit would be another.
    """
    return device.startswith("gpu") and section.name in _FUSIBLE


def build_optimizer(
    section: OptimizerSection, parameters: Iterable[paddle.Tensor], *, fused: bool = False
) -> paddle.optimizer.Optimizer:
    """One student's optimizer. Its rate is set before each step from `learning_rate`.

    Args:
        section: how a gradient becomes a step.
        parameters: what it moves.
        fused: all tensors in one call, for Adam and Momentum. Such an optimizer pairs tensors with gradients by their
            places in the list of those that had one at its first step: `Learners.move` sees to it that they still do.
    """
    factor = section.regularizer.factor if section.regularizer else 0.0
    parameters = list(parameters)
    common = {
        "learning_rate": 0.0,
        "parameters": parameters,
        "grad_clip": nn.ClipGradByGlobalNorm(section.clip_norm) if section.clip_norm else None,
    }
    if section.name == "AdamW":
        # Paddle's AdamW looks at no parameter's own regularizer.
        decayed = {p.name for p in parameters if p.regularizer is None or p.regularizer._coeff != 0}
        return paddle.optimizer.AdamW(
            beta1=section.beta1,
            beta2=section.beta2,
            weight_decay=factor,
            apply_decay_param_fun=decayed.__contains__,
            **common,
        )
    decay = paddle.regularizer.L2Decay(factor) if factor else None
    common |= {"weight_decay": decay, "use_multi_tensor": fused}
    if section.name == "Momentum":
        return paddle.optimizer.Momentum(momentum=section.momentum, **common)
    return paddle.optimizer.Adam(beta1=section.beta1, beta2=section.beta2, **common)


class ExponentialMean:
    """An exponential moving mean of a network's parameters; what takes no gradient is copied as it is.

    The decay is warmed up as min(decay, (1 + n) / (10 + n)) after n updates, so that a short training is not dominated
    by its random start.
    """

    def __init__(self, network: nn.Layer, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}
        # What takes no gradient is a mean already, or never moves.
        self._copied = {name for name, value in network.state_dict().items() if value.stop_gradient}

    @paddle.no_grad()
    def update(self, network: nn.Layer) -> None:
        """Move the mean towards the network's present weights."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, value in network.state_dict().items():
            kept = self.values[name]
            mean = value if name in self._copied else kept * decay + value * (1 - decay)
            paddle.assign(mean, kept)

    @paddle.no_grad()
    def copy_statistics(self, network: nn.Layer) -> None:
        """Take over running statistics that changed outside a step: averaged over ranks, say."""
        for name, value in running_statistics(network).items():
            paddle.assign(value, self.values[name])
