"""The files of an inference model, and whether they are whole: Paddle crashes on some that are not."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ppocr_data.errors import ModelError

_LENGTH_DELIMITED, _VARINT = 2, 0
_FOREIGN = frozenset(
    {
        *("save", "save_combine", "save_vars", "load", "load_combine", "load_vars", "py_func", "py_layer"),
        *("run_program", "send", "recv", "send_v2", "recv_v2", "listen_and_serv", "fetch_barrier", "send_barrier"),
        *("enqueue", "dequeue"),
    }
)
"""Paddle's operators that touch files, hosts or Python. The engine runs a program as it stands; no detector has one."""

_WORD = re.compile(rb"[A-Za-z0-9_.@/]+")


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
    """Paddle ends the process, without an exception, over a `.pdmodel` that it cannot parse, and runs what it can."""
    try:
        data = program.read_bytes()
    except OSError as error:
        raise ModelError(f"{program}: cannot be read ({error.strerror})") from error
    found = _foreign_in_json(data) if program.suffix == ".json" else _foreign_in_protobuf(data)
    if found is None:
        raise ModelError(f"{program}: is damaged or truncated; copy or export it again")
    if found:
        raise ModelError(
            f"{program}: holds the operator {sorted(found)[0]}, which touches files, hosts or Python; no detector "
            "needs it, and nothing of the file was run"
        )


def _foreign_in_json(data: bytes) -> set[str] | None:
    """The operators of a program that are in `_FOREIGN`; None where it is no JSON."""
    try:
        program = json.loads(data)
    except (ValueError, RecursionError):
        return None
    found: set[str] = set()
    nodes = [program]
    while nodes:  # an operator is written as {"#": "1.conv2d", ...}, whatever it is nested in
        node = nodes.pop()
        if isinstance(node, dict):
            found.add(str(node.get("#")).rpartition(".")[2])
            nodes += node.values()
        elif isinstance(node, list):
            nodes += node
    return found & _FOREIGN if program else None


def _foreign_in_protobuf(data: bytes) -> set[str] | None:
    """The same for a `.pdmodel`; None where the top level is no sequence of fields that ends where the data ends."""
    at = 0
    try:
        while at < len(data):
            tag, at = _varint(data, at)
            value, at = _varint(data, at)
            if tag & 7 == _LENGTH_DELIMITED:
                at += value
            elif tag & 7 != _VARINT:
                return None
    except IndexError:
        return None
    # Names stand in it as they are; one that is no operator's has other letters around it.
    return {name.decode() for name in _WORD.findall(data)} & _FOREIGN if at == len(data) > 0 else None


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, seven bits a byte from the lowest, and where the next thing starts."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
