"""The configuration's schema: PaddleOCR's sections and names, strictly typed, one sentence a field.

A section whose shape depends on a `name` (a backbone, a loss term, a transform) takes its fields from the class of that
name, so that there is one place where an argument is declared: the code that uses it. See `ocr_cml.wellformed`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator, model_validator

from ocr_cml.postprocess import DBPostProcess

Positive = Annotated[int, Field(ge=1)]
NotNegative = Annotated[int, Field(ge=0)]
LABELLED = ("Train", "dataset", "transforms")
UNLABELLED = ("Train", "unlabeled", "transforms")
EVALUATED = ("Eval", "dataset", "transforms")
"""Where the three lists of transforms stand."""
OneKey = dict[str, dict[str, Any] | None]
"""A one-key mapping, PaddleOCR's form of a named step: `- MakeShrinkMap: {shrink_ratio: 0.4}`."""


class Section(BaseModel):
    """A part of the configuration: unknown keys are refused, types are not coerced, nothing changes later."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=(), allow_inf_nan=False)


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
        "bfloat16", description="float16 overflows on DB heads; see docs."
    )
    save_memory: bool = Field(
        False,
        description="Students learn one after the other within a step, from the same weights: the same numbers with "
        "the activations of one at a time, for one more forward pass of every student but the first.",
    )
    recompute: Literal["auto"] | bool = Field(
        "auto",
        description="Compute the inside of the students' backbone blocks anew in the backward pass instead of holding "
        "it: the same numbers, much less memory, about a sixth more time; auto: on a CPU with several students, and "
        "with save_memory, but not with to_static.",
    )
    students_at_once: Literal["auto"] | Positive = Field(
        "auto",
        description="Students computed at the same time, each in a thread with its share of the cores; auto: all on "
        "a CPU with several, but one with to_static or save_memory.",
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


class WeightSchedule(Section):
    """A weight that moves linearly from `start` to `end` between two shares of the training, constant outside."""

    start: Annotated[float, Field(ge=0)] = Field(0.0, description="Weight before the ramp.")
    end: Annotated[float, Field(ge=0)] = Field(1.0, description="Weight after the ramp.")
    over: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] = Field(
        (0.0, 0.3), description="The ramp's begin and end as shares of the training."
    )

    @model_validator(mode="after")
    def _ordered(self) -> WeightSchedule:
        if self.over[0] > self.over[1]:
            raise ValueError("over: the ramp must begin before it ends")
        return self


def _kind_of_weight(value: Any) -> str:
    return "schedule" if isinstance(value, (dict, WeightSchedule)) else "number"


Weight = Annotated[
    Annotated[float, Field(ge=0), Tag("number")] | Annotated[WeightSchedule, Tag("schedule")],
    Discriminator(_kind_of_weight),
]
"""A constant weight, or its schedule over the training."""

UNION_TAGS = ("number", "schedule")
"""Tags that pydantic puts into the locations of errors in a `Weight`; messages leave them out."""


class LossSection(Section):
    """The sum of terms. Each list entry is one key, the term's name, over its arguments."""

    name: Literal["CombinedLoss"] = Field("CombinedLoss", description="PaddleOCR's name for a sum of terms.")
    update: Literal["synchronous", "alternating"] = Field(
        "synchronous", description="alternating: Algorithm 1 of Deep Mutual Learning, one student after the other."
    )
    loss_config_list: Annotated[list[OneKey], Field(min_length=1)] = Field(description="The terms.")


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


class MetricSection(Section):
    """ICDAR 2015's detection protocol."""

    name: Literal["DetMetric"] = Field("DetMetric", description="Precision, recall, hmean at IoU 0.5.")
    main_indicator: Literal["hmean"] = Field("hmean", description="What the best checkpoint maximises.")


class TrainDataset(Section):
    """Labelled training images in PaddleOCR's label format."""

    name: Literal["SimpleDataSet"] = Field("SimpleDataSet", description="PaddleOCR's name for label files.")
    data_dir: str = Field(".", description="Folder that the label files' image paths are relative to.")
    label_file_list: list[str] = Field(description="Label files; [] where all images are unlabelled.")
    ratio_list: list[Annotated[float, Field(gt=0, le=1)]] | None = Field(
        None, description="Share of each label file used an epoch, drawn anew each epoch."
    )
    on_bad_sample: Literal["error", "skip"] = Field("error", description="skip: bad samples are counted and listed.")
    allow_outside: bool = Field(False, description="Allow image paths that leave data_dir.")
    transforms: list[dict[str, dict[str, Any] | None]] = Field(description="Steps from file to targets, in order.")

    @field_validator("label_file_list", "ratio_list", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, (str, float, int)) else value

    @model_validator(mode="after")
    def _a_ratio_each(self) -> TrainDataset:
        if self.label_file_list and self.ratio_list is not None and len(self.ratio_list) != len(self.label_file_list):
            raise ValueError(
                f"ratio_list has {len(self.ratio_list)} entries for {len(self.label_file_list)} label files; "
                "give one each"
            )
        return self


class EvalDataset(Section):
    """Labelled images to score on. A bad sample is always an error here."""

    name: Literal["SimpleDataSet"] = Field("SimpleDataSet", description="PaddleOCR's name for label files.")
    data_dir: str = Field(description="Folder that the label files' image paths are relative to.")
    label_file_list: Annotated[list[str], Field(min_length=1)] = Field(description="Label files.")
    allow_outside: bool = Field(False, description="Allow image paths that leave data_dir.")
    transforms: list[dict[str, dict[str, Any] | None]] = Field(
        [{"DecodeImage": None}, {"DetResizeForTest": None}], description="DecodeImage, and the one resize rule."
    )

    _one_is_a_list = field_validator("label_file_list", mode="before")(TrainDataset._one_is_a_list.__func__)  # type: ignore[attr-defined]


class Loader(Section):
    """Batches."""

    batch_size_per_card: NotNegative = Field(8, description="Images a batch and process.")
    num_workers: NotNegative = Field(1, description="Loader processes; 0: in the training process.")
    shuffle: bool = Field(True, description="Permute the samples each epoch.")
    worker_timeout: Annotated[float, Field(gt=0)] = Field(
        300.0, description="Seconds without a batch after which a loader process is taken to hang."
    )
    worker_restarts: NotNegative = Field(
        3, description="How often in a row a loader process that died or hangs is replaced before the run stops."
    )


class Unlabeled(Section):
    """Images without labels: mutual and teacher terms learn from them, supervised terms do not see them."""

    images: Annotated[list[str], Field(min_length=1)] = Field(
        description="Folders (with their subfolders), image files, or .txt lists of image files, one a line."
    )
    batch_size_per_card: Positive = Field(4, description="Unlabelled images in each batch, beside the labelled ones.")
    on_bad_sample: Literal["error", "skip"] = Field("error", description="skip: bad samples are counted and listed.")
    transforms: list[dict[str, dict[str, Any] | None]] | None = Field(
        None, description="By default those of the labelled images."
    )


class TrainSection(Section):
    """Training data: labelled images, images without labels, or both in every batch."""

    dataset: TrainDataset = Field(description="The labelled images.")
    unlabeled: Unlabeled | None = Field(None, description="Images without labels.")
    loader: Loader = Field(Loader(), description="Batches.")

    @model_validator(mode="after")
    def _some_images(self) -> TrainSection:
        if not self.dataset.label_file_list and self.unlabeled is None:
            raise ValueError("there is nothing to train on; give dataset.label_file_list, or unlabeled.images")
        if self.dataset.label_file_list and not self.loader.batch_size_per_card:
            raise ValueError(
                "loader.batch_size_per_card: 0 leaves the labelled part of every batch empty; use 1 or more, or train "
                "without labels by dataset.label_file_list: [] and no supervised term"
            )
        return self


class EvalLoader(Section):
    """Batches of evaluation."""

    batch_size_per_card: Positive = Field(
        1, description="Images of equal size are evaluated together, at most so many."
    )
    num_workers: NotNegative = Field(0, description="Accepted from PaddleOCR's files.")
    shuffle: Literal[False] = Field(False, description="Order does not matter to a metric.")


class EvalSection(Section):
    """Evaluation data."""

    dataset: EvalDataset = Field(description="The labelled images.")
    loader: EvalLoader = Field(EvalLoader(), description="Batches.")


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
