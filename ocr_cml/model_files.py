"""The files of an inference model, and whether they are whole: Paddle crashes on some that are not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from ppocr_data.errors import ModelError

_LENGTH_DELIMITED, _VARINT = 2, 0


@dataclass(frozen=True)
class ModelFiles:
    """Where a model lies: an ONNX file, or Paddle's program and weights (both or neither), or all three."""

    onnx: Path | None = None
    program: Path | None = None
    params: Path | None = None


def find_files(path: Path) -> ModelFiles:
    """Look into a folder, or take an `.onnx` file. Where both programs are there, `.json` wins over `.pdmodel`.

    Raises:
        ModelError: a file is missing or its content is not what its name says; the message names it.
    """
    if path.is_file() and path.suffix == ".onnx":
        return ModelFiles(onnx=path)
    if not path.is_dir():
        what = "is no inference model" if path.exists() else "does not exist"
        raise ModelError(f"{path}: {what}; give a folder with inference.json and inference.pdiparams, or an .onnx file")
    onnx = path / "inference.onnx"
    programs = [path / name for name in ("inference.json", "inference.pdmodel") if (path / name).is_file()]
    params = path / "inference.pdiparams"
    if programs and params.is_file():
        _check_program(programs[0])
        return ModelFiles(onnx if onnx.is_file() else None, programs[0], params)
    if onnx.is_file():
        return ModelFiles(onnx=onnx)
    missing = ([] if programs else ["inference.json (or .pdmodel)"]) + ([] if params.is_file() else [params.name])
    raise ModelError(f"{path}: has no model: {' and '.join(missing)} missing, and no inference.onnx either")


def _check_program(program: Path) -> None:
    """Paddle ends the process, without an exception, over a `.pdmodel` that it cannot parse."""
    try:
        data = program.read_bytes()
        whole = _is_json(data) if program.suffix == ".json" else _is_protobuf(data)
    except OSError as error:
        raise ModelError(f"{program}: cannot be read ({error.strerror})") from error
    if not whole:
        raise ModelError(f"{program}: is damaged or truncated; copy or export it again")


def _is_json(data: bytes) -> bool:
    try:
        return bool(json.loads(data))
    except (ValueError, RecursionError):
        return False


def _is_protobuf(data: bytes) -> bool:
    """Whether the top level is a sequence of fields that ends where the data ends."""
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            value, at = _varint(data, at)
            if tag & 7 == _LENGTH_DELIMITED:
                at += value
            elif tag & 7 != _VARINT:
                return False
    except IndexError:
        return False
    return at == len(data) > 0


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, seven bits a byte from the lowest, and where the next thing starts."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
