"""Optimizer: steps and their size."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ocr_cml.schema.base import NotNegative, Positive, Section


class LearningRate(Section):
    """The learning rate as a function of the step."""

    name: Literal["Cosine", "Const", "Linear"] = Field("Cosine", description="Shape after warm-up.")
    learning_rate: Annotated[float, Field(gt=0)] = Field(0.001, description="The highest rate.")
    warmup_epoch: Annotated[float, Field(ge=0)] = Field(
        0, description="Epochs in which the rate rises linearly to its height."
    )
    warmup_steps: NotNegative | None = Field(None, description="The same in steps; only one of the two may be given.")
    decay_steps: Positive | None = Field(
        None, description="Steps that every schedule spans, instead of epoch_num epochs."
    )
    end_lr: Annotated[float, Field(ge=0)] = Field(0.0, description="The rate at the end (Cosine, Linear).")


class Regularizer(Section):
    """Weight decay."""

    name: Literal["L2"] = Field("L2", description="Only L2.")
    factor: Annotated[float, Field(ge=0)] = Field(
        0.0, description="Adam, Momentum: added to the gradient; AdamW: decoupled."
    )


class OptimizerSection(Section):
    """How a gradient becomes a step."""

    name: Literal["Adam", "AdamW", "Momentum"] = Field("Adam", description="The optimizer.")
    beta1: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="Adam: decay of the first moment.")
    beta2: Annotated[float, Field(ge=0, lt=1)] = Field(0.999, description="Adam: decay of the second moment.")
    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(0.9, description="Momentum: its coefficient.")
    lr: LearningRate = Field(LearningRate(), description="The learning rate.")
    regularizer: Regularizer | None = Field(None, description="Weight decay.")
    clip_norm: Annotated[float, Field(gt=0)] | None = Field(
        None, description="Clip each student's gradient to this norm."
    )
    accumulate: Positive = Field(1, description="Batches whose gradients are averaged into one step.")
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        None, description="Keep an exponential mean of the students' weights, and evaluate and save that."
    )
