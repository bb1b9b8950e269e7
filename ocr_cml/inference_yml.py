"""`inference.yml`: what an exported detector says about the pixels it wants and how its map becomes boxes.

The file is PaddleOCR's: `paddleocr.TextDetection` reads it, and so do we. It reads less of it than one would think, see
`runtime_arguments`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ocr_cml.model_files import check_readable
from ocr_cml.normalization import Normalization
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.yaml_source import read_yaml
from ppocr_data.errors import ConfigError, ModelError
from ppocr_data.transforms import DetResizeForTest, NormalizeImage

FILE_NAME = "inference.yml"
MODEL_NAME = "PP-OCRv4_mobile_det"
"""The name that PaddleOCR's runtime runs a model of ours under, where nothing else is said."""

_RUNTIME_LIMIT = 960
_SEAL, _SEAL_LIMIT = "seal", 736
_RUNTIME_MAX_SIDE = 4000


def beside(model: Path) -> Path:
    """Where the `inference.yml` of a model lies, if it has one: in its folder, or beside its `.onnx` file."""
    return (model if model.is_dir() else model.parent) / FILE_NAME


@dataclass(frozen=True)
class InferenceConfig:
    """What `inference.yml` states. The defaults stand in where a model comes without one."""

    model_name: str = MODEL_NAME
    normalization: Normalization = field(default_factory=Normalization)
    resize: DetResizeForTest = field(default_factory=DetResizeForTest)
    postprocess: DBPostProcess = field(default_factory=DBPostProcess)


def canonical(resize: DetResizeForTest) -> DetResizeForTest:
    """The same rule without what has no effect on it, as the file states it."""
    if resize.image_shape is not None:
        return DetResizeForTest(image_shape=resize.image_shape, keep_ratio=resize.keep_ratio)
    return resize.model_copy(update={"keep_ratio": False})


def runtime_arguments(resize: DetResizeForTest, model_name: str = "") -> dict[str, Any]:
    """What `paddleocr.TextDetection` must be called with, beside `model_name` and `model_dir`, to resize as we do.

    The runtime ignores `limit_side_len` and `limit_type` in the file and uses 960/max; it reads only `resize_long: N`,
    as N/max. So "max" needs no arguments, "min" and "resize_long" do, and a fixed size is read from the file. For seals
    the runtime's own rule is another one, and "max" must be said too.

    Raises:
        ModelError: the runtime cannot resize like this.
    """
    if resize.image_shape is not None:
        return {}
    if resize.max_side_limit != _RUNTIME_MAX_SIDE:
        raise ModelError(
            f"DetResizeForTest.max_side_limit: {resize.max_side_limit} cannot be deployed, the runtime always uses "
            f"{_RUNTIME_MAX_SIDE}; remove the key"
        )
    if resize.limit_type == "max" and _SEAL not in model_name:
        return {}
    return {"limit_side_len": resize.limit_side_len, "limit_type": resize.limit_type}


def runtime_call(config: InferenceConfig, folder: str = "DIR") -> str:
    """The Python expression that runs an exported folder with PaddleOCR and gives our boxes."""
    arguments = {"model_name": config.model_name, "model_dir": folder, "device": "cpu"}
    arguments |= runtime_arguments(config.resize, config.model_name)
    return f"paddleocr.TextDetection({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"


_OURS = "# Written by tools/export_model.py."
_LAST_KEY = "box_type"
"""The last one of a file of ours: one without it has been cut short, and would be read as other settings."""


def is_ours(path: Path) -> bool:
    """Whether a file was written by `write`."""
    with contextlib.suppress(OSError):
        return path.read_bytes().startswith(_OURS.encode())
    return False


def write(config: InferenceConfig, path: Path) -> None:
    """Write the file. Raises ModelError where the runtime could not follow it, OSError where it cannot be written."""
    header = (
        f"{_OURS} PaddleOCR runs this folder, with our boxes, as\n"
        f"#   {runtime_call(config)}.predict(image)\n"
        "# limit_side_len and limit_type below are read by tools/infer_det.py; PaddleOCR wants them as arguments.\n"
    )
    normalization = config.normalization
    normalize = {
        "scale": normalization.scale,
        "mean": list(normalization.mean),
        "std": list(normalization.std),
        "order": "hwc",
    }
    document = {
        "Global": {"model_name": config.model_name},
        "PreProcess": {
            "transform_ops": [
                {"DecodeImage": {"channel_first": False, "img_mode": normalization.channel_order}},
                {"DetLabelEncode": None},
                {"DetResizeForTest": _resize_arguments(config.resize)},
                {"NormalizeImage": normalize},
                {"ToCHWImage": None},
                {"KeepKeys": {"keep_keys": ["image", "shape", "polys", "ignore_tags"]}},
            ]
        },
        "PostProcess": config.postprocess.model_dump(),
    }
    path.write_text(header + yaml.safe_dump(document, sort_keys=False), encoding="utf-8")


def _resize_arguments(resize: DetResizeForTest) -> dict[str, Any]:
    if resize.image_shape is not None:
        return {"image_shape": list(resize.image_shape), "keep_ratio": resize.keep_ratio}
    limit = {"limit_side_len": resize.limit_side_len, "limit_type": resize.limit_type}
    return limit | ({"resize_long": resize.limit_side_len} if resize.limit_type == "max" else {})


def read(path: Path) -> InferenceConfig:
    """Read the file, ours or PaddleOCR's.

    Raises:
        ModelError: it is not YAML, is empty or cut short, says one thing twice, or states what is no text detector;
            the message names file and key.
    """
    check_readable(path)
    try:
        source = read_yaml(path)
    except ConfigError as error:
        raise ModelError(f"{error}; this is not a text detector's file") from error
    if source.problems:
        raise ModelError(f"{path}: {source.problems[0]}")
    document = source.data
    _refuse_a_part(document, path)
    try:
        ops = _operations(_section(document, "PreProcess").get("transform_ops") or [])
        return InferenceConfig(
            model_name=_model_name(_section(document, "Global")),
            normalization=_normalization(ops),
            resize=_resize(ops, _model_name(_section(document, "Global"))),
            postprocess=_postprocess(_section(document, "PostProcess")),
        )
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join([error.title, *map(str, first["loc"])])
        raise ModelError(f"{path}: {key}: {first['msg']}; this is not a text detector's file") from error
    except (TypeError, ValueError) as error:
        raise ModelError(f"{path}: {error}; this is not a text detector's file") from error


def _refuse_a_part(document: Mapping[str, Any], path: Path) -> None:
    """Raise ModelError for what a full disk or a broken copy has left: it would be read as other settings."""
    if not document:
        raise ModelError(f"{path}: states nothing; copy it again, or remove it for the settings of a model without one")
    post = document.get("PostProcess")
    if is_ours(path) and not (isinstance(post, Mapping) and post.get(_LAST_KEY)):
        raise ModelError(f"{path}: has been cut short, it ends before PostProcess.{_LAST_KEY}; copy or export it again")


def _section(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if not isinstance(document.get(name) or {}, Mapping):
        raise ValueError(f"{name}: must be a mapping")
    return document.get(name) or {}


def _operations(entries: Any) -> dict[str, Mapping[str, Any]]:
    """The arguments of each op by its name, of PaddleOCR's list of names and one-key mappings."""
    ops: dict[str, Mapping[str, Any]] = {}
    for entry in entries:
        for name, arguments in ({entry: None} if isinstance(entry, str) else dict(entry)).items():
            if not isinstance(arguments or {}, Mapping):
                raise ValueError(f"{name}: its arguments must be a mapping, are {str(arguments)[:60]!r}")
            ops[name] = arguments or {}
    return ops


def _model_name(section: Mapping[str, Any]) -> str:
    name = section.get("model_name", InferenceConfig.model_name)
    if not isinstance(name, str):
        raise ValueError("Global.model_name: must be a text")
    return name


def _normalization(ops: Mapping[str, Any]) -> Normalization:
    order = ops.get("DecodeImage", {}).get("img_mode", "RGB" if ops and "DecodeImage" not in ops else "BGR")
    if order not in ("BGR", "RGB"):
        raise ValueError(f"DecodeImage.img_mode: {order!r} is neither BGR nor RGB")
    stated = NormalizeImage.model_validate({k: v for k, v in ops.get("NormalizeImage", {}).items() if k != "order"})
    return Normalization(stated.mean, stated.std, stated.scale, order)


def _resize(ops: Mapping[str, Any], model_name: str) -> DetResizeForTest:
    stated = dict(ops.get("DetResizeForTest", {}))
    longest = stated.pop("resize_long", None)
    if "limit_side_len" not in stated and "image_shape" not in stated:
        # As the runtime reads PaddleOCR's own files: text by the longer side, seals by the shorter one.
        usual, side = (_SEAL_LIMIT, "min") if _SEAL in model_name else (_RUNTIME_LIMIT, "max")
        stated |= {"limit_side_len": longest or usual, "limit_type": side}
    return DetResizeForTest.model_validate(stated)


def _postprocess(section: Mapping[str, Any]) -> DBPostProcess:
    # A 0 counts as unset for the runtime, and an absent unclip_ratio means 2.0 to it.
    stated = {key: value for key, value in section.items() if value or isinstance(value, bool)}
    usual = 2.0
    if stated.get("name") == "DistillationDBPostProcess":
        # Of a cohort's file, where model_name and key say whose map is taken; its class has a default of its own.
        stated = {key: value for key, value in stated.items() if key not in ("name", "model_name", "key")}
        usual = 1.5
    return DBPostProcess.model_validate({"unclip_ratio": usual} | stated if section else stated)
