"""Global: the run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ocr_cml.schema.base import NotNegative, Positive, Section


class EmbeddedSet(Section):
    """The synthetic data set that is made on first use, so that a fresh clone can train without any download."""

    dir: str = Field("ppocr_data/embedded", description="Folder it is made in; git ignores it.")
    train: Positive = Field(400, description="Training images.")
    val: Positive = Field(60, description="Held-out images.")
    size: tuple[Positive, Positive] = Field((384, 384), description="Width and height of an image, pixels.")
    seed: NotNegative = Field(2026, description="The same seed makes the same bytes.")
    fonts: str | None = Field(None, description="A folder of .ttf or .otf files; by default those of matplotlib.")


class GlobalSection(Section):
    """The run: where, how long, how often it evaluates, prints and saves."""

    use_gpu: Literal["auto"] | bool = Field("auto", description="auto: a GPU where this build and machine have one.")
    seed: NotNegative = Field(2026, description="Seeds initial weights, data order and augmentation.")
    epoch_num: Positive = Field(100, description="Passes over the training data; schedules span them.")
    max_steps: Positive | None = Field(
        None, description="Stop after this many optimizer steps, if that comes first; schedules are not shortened."
    )
    save_model_dir: str = Field("output/det", description="The run folder.")
    print_batch_step: Positive = Field(10, description="Steps between two log points.")
    save_batch_step: Positive | None = Field(
        None, description="Steps between two writes of latest/; null: at evaluations."
    )
    eval_batch_step: tuple[NotNegative, Positive] = Field(
        (0, 100), description="[start, every]: evaluate every so many steps after the start, and at the end."
    )
    pretrained_model: str | None = Field(None, description="Weights of the students: a file, or a run's best/ folder.")
    checkpoints: str | None = Field(None, description="Resume from this run folder or checkpoint.")
    save_inference_dir: str | None = Field(None, description="Where tools/export_model.py writes.")
    model_name: str = Field(
        "PP-OCRv4_mobile_det",
        description="The name under which PaddleOCR's runtime runs the export: that of one of its own detectors.",
    )
    use_amp: Literal["auto"] | bool = Field("auto", description="Mixed precision; auto: on a GPU, off on a CPU.")
    amp_dtype: Literal["bfloat16", "float16"] = Field(
        "bfloat16", description="float16 overflows on DB heads; see docs/gpus.md."
    )
    save_memory: bool = Field(
        False,
        description="Students learn one after the other within a step, from the same weights: the same numbers with "
        "the activations of one at a time, for one more forward pass of every student but the first.",
    )
    recompute: Literal["auto"] | bool = Field(
        "auto",
        description="Compute the inside of the students' backbone blocks anew in the backward pass instead of holding "
        "it: the same numbers, much less memory, about a sixth more time; auto: on a CPU with several students that "
        "learn at once (not update: alternating), and with save_memory, but not with to_static.",
    )
    students_at_once: Literal["auto"] | Positive = Field(
        "auto",
        description="Students computed at the same time, each in a thread with its share of the cores; auto: all on "
        "a CPU with several threads, but one with to_static, save_memory or update: alternating.",
    )
    to_static: bool = Field(
        False,
        description="Compile the students' training forward into one program each (paddle.jit.to_static), at the first "
        "step; evaluation, export and checkpoints are unchanged.",
    )
    on_divergence: Literal["stop", "drop", "restart"] = Field(
        "stop",
        description="A student whose numbers are no longer finite: stop the run, go on without it, or let it begin "
        "anew from its initial weights (at most three times).",
    )
    loggers: list[Literal["visualdl", "tensorboard", "wandb"]] = Field(
        [], description="Viewers that are shown the metrics as well, each through its own library."
    )
    teacher_check: bool = Field(
        True, description="Score the teacher and compare its map with the labels before training."
    )
    embedded_set: EmbeddedSet | None = Field(
        None, description="Make the synthetic data set if the data lie in its folder."
    )
