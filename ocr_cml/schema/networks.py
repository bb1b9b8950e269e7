"""Architecture: students and teachers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from ocr_cml.schema.base import Section


class Network(Section):
    """One member of the cohort: a student that learns, or (freeze_params) a teacher that never changes."""

    freeze_params: bool = Field(False, description="true makes this network a teacher.")
    pretrained: str | None = Field(None, description="A weight file (.safetensors, .npz, .pdparams) or a run's best/.")
    inference_model: str | None = Field(None, description="Teachers: an inference folder or .onnx, used as it is.")
    engine: Literal["auto", "layer", "paddle", "onnx"] = Field(
        "auto", description="Teachers: what runs it; auto: the fastest here that keeps parity."
    )
    pretrained_share: Annotated[float, Field(gt=0, le=1)] = Field(
        1.0, description="Students: least share of the weights, outside allow_missing, that `pretrained` must cover."
    )
    allow_missing: list[str] = Field(["head.thresh"], description="Parameter prefixes that `pretrained` may lack.")
    fresh: list[str] = Field(
        [], description="Parameter prefixes that start from the seed although `pretrained` holds them."
    )
    weight: Annotated[float, Field(gt=0)] = Field(
        1.0, description="Teachers: share in the mean of several teachers' maps."
    )
    return_all_feats: bool = Field(False, description="Accepted from PaddleOCR's files; features are always at hand.")
    model_type: Literal["det"] = Field("det", description="Only detection.")
    algorithm: Literal["DB"] = Field("DB", description="Only Differentiable Binarization.")
    Transform: None = Field(None, description="Accepted from PaddleOCR's files; detectors have none.")
    Backbone: dict[str, Any] | None = Field(None, description="`name` and the arguments of that backbone.")
    Neck: dict[str, Any] | None = Field(None, description="`name` and the arguments of that neck.")
    Head: dict[str, Any] | None = Field(None, description="`name` and the arguments of that head.")

    @property
    def spec(self) -> dict[str, dict[str, Any]]:
        """What `ocr_cml.models.build_detector` takes."""
        return {part: getattr(self, part) for part in ("Backbone", "Neck", "Head") if getattr(self, part) is not None}


class ArchitectureSection(Section):
    """The cohort: every network by its name."""

    name: Literal["DistillationModel"] = Field(
        "DistillationModel", description="PaddleOCR's name for several networks."
    )
    algorithm: Literal["Distillation"] = Field("Distillation", description="PaddleOCR's name for training several.")
    model_type: Literal["det"] = Field("det", description="Only detection.")
    Models: Annotated[dict[str, Network], Field(min_length=1)] = Field(description="Network name -> network.")
