"""The files of an inference model, and whether they are whole: Paddle crashes on some that are not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from ocr_cml.run_files import BEST, CONFIG, LATEST, is_checkpoint
from ppocr_data.errors import ModelError

_FOREIGN_NAMES = frozenset({"run_program", "read"})
_FOREIGN_WORDS = frozenset(
    {"save", "load", "file", "reader", "send", "recv", "listen", "barrier", "enqueue", "dequeue", "py"}
)
"""Words in the names of Paddle's operators that touch files, hosts or Python, such as `save_combine`, `read_file`,
`partial_send`, `py_func`. The engine runs a program as it stands; no detector has one."""

_BLOCKS, _OPS, _TYPE = (1, 4, 3)
"""Where framework.proto keeps operators: a program's blocks, a block's operators, an operator's type."""


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
        if path.suffix in (".pdmodel", ".json", ".pdiparams") and path.exists():
            raise ModelError(f"{path}: is a part of an inference model; give its folder, {path.parent}")
        raise ModelError(f"{path}: {what}; give a folder with inference.json and inference.pdiparams, or an .onnx file")
    onnx = path / "inference.onnx"
    programs = [path / name for name in ("inference.json", "inference.pdmodel") if (path / name).is_file()]
    params = path / "inference.pdiparams"
    if programs and params.is_file():
        _check_program(programs[0])
        check_readable(params)
        return ModelFiles(onnx if onnx.is_file() else None, programs[0], params)
    if onnx.is_file():
        return ModelFiles(onnx=onnx)
    if made := next((each for each in (path, path / BEST, path / LATEST) if is_checkpoint(each)), None):
        raise ModelError(
            f"{path}: is a {'checkpoint of a training' if made == path else 'training'}; export its student first: "
            f"tools/export_model.py -c {quote(str(made.parent / CONFIG))} -o "
            f"{quote(f'Global.pretrained_model={made}')} Global.save_inference_dir=DIR"
        )
    missing = ([] if programs else ["inference.json (or .pdmodel)"]) + ([] if params.is_file() else [params.name])
    raise ModelError(f"{path}: has no model: {' and '.join(missing)} missing, and no inference.onnx either")


def check_readable(file: Path) -> None:
    """Raise ModelError for a file that nobody lets us read, before its reader takes it for a damaged one."""
    try:
        file.open("rb").close()
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror})") from error


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


def _is_foreign(operator: str) -> bool:
    """Whether an operator does more than compute; `send_v2_` is `send_v2` in place."""
    words = operator.split("_")
    return operator.strip("_") in _FOREIGN_NAMES or not _FOREIGN_WORDS.isdisjoint(words)


def _foreign_in_json(data: bytes) -> set[str] | None:
    """The operators of a program that are foreign; None where it is no JSON."""
    operators: set[str] = set()

    def noted(pairs: list[tuple[str, object]]) -> bool:
        # An operator is written as {"#": "1.conv2d", ...}, whatever it is nested in; a key may be there twice.
        operators.update(str(value).rpartition(".")[2] for key, value in pairs if key == "#")
        return bool(pairs)

    try:
        program = json.loads(data, object_pairs_hook=noted)
    except (ValueError, RecursionError):
        return None
    return {operator for operator in operators if _is_foreign(operator)} if program else None


def _foreign_in_protobuf(data: bytes) -> set[str] | None:
    """The same for a `.pdmodel`; None where it is no program: some message in it is no sequence of whole fields."""
    try:
        blocks = _messages(data, _BLOCKS)
        operators = [operator for block in blocks for operator in _messages(block, _OPS)]
        names = {name.decode("utf-8", "replace") for operator in operators for name in _messages(operator, _TYPE)}
    except (IndexError, ValueError):
        return None
    return {name for name in names if _is_foreign(name)} if blocks else None


def _messages(data: bytes, wanted: int) -> list[bytes]:
    """The contents of one field of a protobuf message, wherever it stands in it.

    Raises:
        IndexError, ValueError: the message is cut off, or holds what no message of Paddle's holds.
    """
    found, at = [], 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag >= 1 << 32:  # Paddle would read its lower 32 bits, as another field's
            raise ValueError("a tag has more than 32 bits")
        kind = tag & 7
        if kind == 0:  # a number
            _, at = _varint(data, at)
        elif kind in (1, 5):  # of eight or four bytes
            at += 8 if kind == 1 else 4
        elif kind == 2:  # a text, or another message
            length, start = _varint(data, at)
            at = start + length
            if tag >> 3 == wanted:
                found.append(data[start:at])
        else:
            raise ValueError(f"no field of kind {kind} is known")
    if at > len(data):
        raise IndexError("the last field is cut off")
    return found


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """The number that starts at `at`, seven bits a byte from the lowest, and where the next thing starts.

    Raises:
        IndexError, ValueError: it does not end, or has more than 64 bits.
    """
    value = shift = 0
    while shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than 64 bits")
