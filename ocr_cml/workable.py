"""What is well-formed and cannot work: known from the text alone, refused before the first second of work."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Sequence
from typing import TypeVar

from ocr_cml.binding import ENSEMBLE, TEACHERS, binding_problems
from ocr_cml.model_store import DETECTORS
from ocr_cml.models.detector import PARTS, build_detector
from ocr_cml.schema import EVALUATED, LABELLED, UNLABELLED, Config, Network
from ocr_cml.yaml_source import Path_
from ppocr_data.crop import Crop
from ppocr_data.errors import ConfigError, ModelError
from ppocr_data.op import Op
from ppocr_data.spelling import hint
from ppocr_data.transforms import NormalizeImage, build_op, check_eval_ops, check_train_ops

_CHANNELS = 3
"""Of the images that all networks of a cohort are shown."""
_OF_TEACHERS = ("engine", "weight")
_OF_STUDENTS = ("fresh", "pretrained_share", "allow_missing")
_Op = TypeVar("_Op", bound=Op)


def problems_of(config: Config) -> list[tuple[Path_, str]]:
    """Every reason why this configuration cannot work, each with the key that it concerns."""
    return [
        *binding_problems(config),
        *_network_problems(config),
        *_transform_problems(config),
        *_export_problems(config),
        *_warmup_problems(config),
        *_memory_problems(config),
    ]


def _network_problems(config: Config) -> list[tuple[Path_, str]]:
    problems: list[tuple[Path_, str]] = []
    for name, network in config.Architecture.Models.items():
        path = ("Architecture", "Models", name)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            problems.append((path, "names become file names; use letters, digits, - and _"))
        if name in (ENSEMBLE, TEACHERS):
            problems.append((path, f"{name!r} means something else here; choose another name"))
        parts = [part for part in PARTS if getattr(network, part) is not None]
        if network.freeze_params and not (network.pretrained or network.inference_model):
            text = "is frozen but has no weights, so it would teach noise; set pretrained or inference_model"
            problems.append((path, text))
        if not network.freeze_params:
            problems += [
                ((*path, key), "is for teachers; this network learns") for key in _stated(network, _OF_TEACHERS)
            ]
        else:
            problems += [
                ((*path, key), "is for students; this network is frozen") for key in _stated(network, _OF_STUDENTS)
            ]
        if network.inference_model and not network.freeze_params:
            problems.append(((*path, "inference_model"), "only a frozen network can be one; set freeze_params: true"))
        if network.inference_model and network.engine == "layer":
            problems.append(
                ((*path, "engine"), "an inference model cannot run as a layer; choose auto, paddle or onnx")
            )
        if network.freeze_params and not network.inference_model and network.engine == "paddle":
            text = "runs exported models; a network of parts runs as a layer or in ONNX: choose auto, layer or onnx"
            problems.append(((*path, "engine"), text))
        if network.inference_model and (parts or network.pretrained):
            text = f"is used as it is; remove {', '.join(parts or ['pretrained'])}"
            problems.append(((*path, "inference_model"), text))
        channels = (network.Backbone or {}).get("in_channels", _CHANNELS)
        if channels != _CHANNELS:
            text = f"is {channels}, and every network of a cohort is shown the same BGR images; set {_CHANNELS}"
            problems.append(((*path, "Backbone", "in_channels"), text))
        if not network.inference_model and len(parts) < len(PARTS):
            lacking = [part for part in PARTS if part not in parts]
            problems.append((path, f"needs {', '.join(lacking)}"))
        elif not network.inference_model and (text := _unbuildable(json.dumps(network.spec, default=list))):
            key, colon, reason = text.partition(": ")
            inside = tuple(key.split(".")) if colon and key.split(".")[0] in PARTS else ()
            problems.append(((*path, *inside), reason if inside else text))
    return problems


@functools.lru_cache(maxsize=64)
def _unbuildable(spec: str) -> str:
    """Why a network cannot be built: what its parts alone know of their arguments. Empty where it can."""
    try:
        build_detector(json.loads(spec))
    except ModelError as error:
        return str(error)
    return ""


def _stated(network: Network, keys: Sequence[str]) -> list[str]:
    """Those keys that have another value than their default."""
    return [
        key for key in keys if getattr(network, key) != Network.model_fields[key].get_default(call_default_factory=True)
    ]


def _transform_problems(config: Config) -> list[tuple[Path_, str]]:
    """Targets are built at the crop, once, and both with one shrink ratio; evaluation resizes by one rule."""
    train = config.Train
    labelled = [build_op(entry) for entry in train.dataset.transforms]
    lists = [(LABELLED, labelled, check_train_ops)]
    if train.unlabeled is not None and train.unlabeled.transforms:  # else those of the labelled images
        lists.append((UNLABELLED, [build_op(entry) for entry in train.unlabeled.transforms], check_train_ops))
    lists.append((EVALUATED, [build_op(entry) for entry in config.Eval.dataset.transforms], check_eval_ops))

    problems: list[tuple[Path_, str]] = []
    for where, ops, check in lists:
        try:
            check(ops)
        except ConfigError as error:
            problems.append((where, str(error)))
        normalize = _first(NormalizeImage, ops)
        if normalize is not None and normalize != (_first(NormalizeImage, labelled) or NormalizeImage()):
            text = "NormalizeImage differs from that of Train.dataset; pixels are normalised by one rule, that one"
            problems.append((where, text))
        size, other = _crop_size(ops), _crop_size(labelled)
        if where == UNLABELLED and train.dataset.label_file_list and size and other and size != other:
            text = (
                f"crops are {list(size)}, those of Train.dataset {list(other)}; a batch holds both: give them one size"
            )
            problems.append((where, text))
    return problems


def _export_problems(config: Config) -> list[tuple[Path_, str]]:
    """A student that was trained for hours should run where it is meant to."""
    name = config.Global.model_name
    if name in DETECTORS:
        return []
    text = (
        f"{name!r} is no detector of PaddleOCR's, and its runtime runs an export under no other name; "
        f"{hint(name, DETECTORS, 'choose one of')}"
    )
    return [(("Global", "model_name"), text)]


def _warmup_problems(config: Config) -> list[tuple[Path_, str]]:
    """One of two lengths would win without a word."""
    rate = config.Optimizer.lr
    if rate.warmup_steps is None or rate.warmup_epoch == 0:
        return []
    text = (
        f"is {rate.warmup_epoch:g} while warmup_steps is {rate.warmup_steps}; set warmup_steps: null to count in epochs"
    )
    return [(("Optimizer", "lr", "warmup_epoch"), text)]


def _memory_problems(config: Config) -> list[tuple[Path_, str]]:
    """A compiled program decides by itself what it holds for the backward pass."""
    if not (config.Global.recompute is True and config.Global.to_static):
        return []
    return [(("Global", "recompute"), "is true, and has no effect on the programs of Global.to_static; set it to auto")]


def _first(kind: type[_Op], ops: Sequence[Op]) -> _Op | None:
    return next((op for op in ops if isinstance(op, kind)), None)


def _crop_size(ops: Sequence[Op]) -> tuple[int, int] | None:
    """Width and height of a training list's crops; None where it has no crop, which is refused by itself."""
    crop = _first(Crop, ops)
    return None if crop is None else crop.size
