"""Whether the lists of transforms make what a step and an evaluation need."""

from __future__ import annotations

from collections.abc import Sequence

from ocr_cml.schema import EVALUATED, LABELLED, UNLABELLED, Config
from ocr_cml.yaml_source import KeyPath
from ppocr_data.crop import Crop
from ppocr_data.errors import ConfigError
from ppocr_data.op import Op, first_of
from ppocr_data.transforms import NormalizeImage, build_ops, check_eval_ops, check_train_ops


def transform_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """Targets are built at the crop, once, and both with one shrink ratio; evaluation resizes by one rule."""
    train = config.Train
    labelled = build_ops(train.dataset.transforms)
    lists = [(LABELLED, labelled, check_train_ops)]
    if train.unlabeled is not None and train.unlabeled.transforms:  # else those of the labelled images
        lists.append((UNLABELLED, build_ops(train.unlabeled.transforms), check_train_ops))
    lists.append((EVALUATED, build_ops(config.Eval.dataset.transforms), check_eval_ops))

    problems: list[tuple[KeyPath, str]] = []
    for where, ops, check in lists:
        try:
            check(ops)
        except ConfigError as error:
            problems.append((where, str(error)))
        normalize = first_of(ops, NormalizeImage)
        if normalize is not None and normalize != (first_of(labelled, NormalizeImage) or NormalizeImage()):
            text = "NormalizeImage differs from that of Train.dataset; pixels are normalised by one rule, that one"
            problems.append((where, text))
        size, other = _crop_size(ops), _crop_size(labelled)
        if where == UNLABELLED and train.dataset.label_file_list and size and other and size != other:
            text = (
                f"crops are {list(size)}, those of Train.dataset {list(other)}; a batch holds both: give them one size"
            )
            problems.append((where, text))
    return problems


def _crop_size(ops: Sequence[Op]) -> tuple[int, int] | None:
    """Width and height of a training list's crops; None where it has no crop, which is refused by itself."""
    crop = first_of(ops, Crop)
    return None if crop is None else crop.size
