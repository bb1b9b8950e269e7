"""Train and Eval: images, labels, transforms and batches."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ocr_cml.schema.base import NotNegative, OneKey, OneOrMore, Positive, Section

LABELLED = ("Train", "dataset", "transforms")
UNLABELLED = ("Train", "unlabeled", "transforms")
EVALUATED = ("Eval", "dataset", "transforms")
"""Where the three lists of transforms stand."""


class TrainDataset(Section):
    """Labelled training images in PaddleOCR's label format."""

    name: Literal["SimpleDataSet"] = Field("SimpleDataSet", description="PaddleOCR's name for label files.")
    data_dir: str = Field(".", description="Folder that the label files' image paths are relative to.")
    label_file_list: Annotated[list[str], OneOrMore] = Field(
        description="Label files; [] where all images are unlabelled."
    )
    ratio_list: Annotated[list[Annotated[float, Field(gt=0, le=1)]] | None, OneOrMore] = Field(
        None, description="Share of each label file used an epoch, drawn anew each epoch."
    )
    on_bad_sample: Literal["error", "skip"] = Field("error", description="skip: bad samples are counted and listed.")
    allow_outside: bool = Field(False, description="Allow image paths that leave data_dir.")
    transforms: list[OneKey] = Field(description="Steps from file to targets, in order.")

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
    label_file_list: Annotated[list[str], Field(min_length=1), OneOrMore] = Field(description="Label files.")
    allow_outside: bool = Field(False, description="Allow image paths that leave data_dir.")
    transforms: list[OneKey] = Field(
        [{"DecodeImage": None}, {"DetResizeForTest": None}], description="DecodeImage, and the one resize rule."
    )


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
    transforms: list[OneKey] | None = Field(None, description="By default those of the labelled images.")


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
