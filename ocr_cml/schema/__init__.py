"""The configuration's schema: PaddleOCR's sections and names, strictly typed, one sentence a field.

A section whose shape depends on a `name` (a backbone, a loss term, a transform) takes its fields from the class of that
name, so that there is one place where an argument is declared: the code that uses it. See `ocr_cml.wellformed`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ocr_cml.postprocess import DBPostProcess
from ocr_cml.schema.base import NotNegative, OneKey, Positive, Section
from ocr_cml.schema.data import (
    EVALUATED,
    LABELLED,
    UNLABELLED,
    EvalDataset,
    EvalLoader,
    EvalSection,
    Loader,
    TrainDataset,
    TrainSection,
    Unlabeled,
)
from ocr_cml.schema.loss import UNION_TAGS, LossSection, Weight, WeightSchedule
from ocr_cml.schema.networks import ArchitectureSection, Network
from ocr_cml.schema.optimizer import LearningRate, OptimizerSection, Regularizer
from ocr_cml.schema.run import EmbeddedSet, GlobalSection

__all__ = [
    "EVALUATED",
    "LABELLED",
    "UNION_TAGS",
    "UNLABELLED",
    "ArchitectureSection",
    "Config",
    "EmbeddedSet",
    "EvalDataset",
    "EvalLoader",
    "EvalSection",
    "GlobalSection",
    "LearningRate",
    "Loader",
    "LossSection",
    "MetricSection",
    "Network",
    "NotNegative",
    "OneKey",
    "OptimizerSection",
    "Positive",
    "Regularizer",
    "Section",
    "TrainDataset",
    "TrainSection",
    "Unlabeled",
    "Weight",
    "WeightSchedule",
]


class MetricSection(Section):
    """ICDAR 2015's detection protocol."""

    name: Literal["DetMetric"] = Field("DetMetric", description="Precision, recall, hmean at IoU 0.5.")
    main_indicator: Literal["hmean"] = Field("hmean", description="What the best checkpoint maximises.")


class Config(Section):
    """A whole run, as PaddleOCR's users lay it out."""

    Global: GlobalSection = Field(GlobalSection(), description="The run.")
    Architecture: ArchitectureSection = Field(description="The networks.")
    Loss: LossSection = Field(description="The terms.")
    Optimizer: OptimizerSection = Field(OptimizerSection(), description="Steps.")
    PostProcess: DBPostProcess = Field(DBPostProcess(), description="From maps to polygons.")
    Metric: MetricSection = Field(MetricSection(), description="The score.")
    Train: TrainSection = Field(description="Training data.")
    Eval: EvalSection = Field(description="Evaluation data.")

    @property
    def students(self) -> dict[str, Network]:
        """The networks that learn, by name, in the order of the file."""
        return {name: net for name, net in self.Architecture.Models.items() if not net.freeze_params}

    @property
    def teachers(self) -> dict[str, Network]:
        """The frozen networks, by name."""
        return {name: net for name, net in self.Architecture.Models.items() if net.freeze_params}
