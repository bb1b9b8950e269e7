"""Paddle inference model -> ONNX, with paddle2onnx, in a process of its own.

Over a damaged file or an operator that it does not know the converter ends the process it runs in, without an
exception; and it talks a lot. Neither must happen to a training.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ppocr_data.atomic import FULL

OPSET = 14
_NUMBER = re.compile(r"OSError: \[Errno (\d+)\]")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# The converter's default optimizer, polygraphy, installs packages with pip while it runs: it is named `None` here.
_PROGRAM = """
import sys
import paddle2onnx
model, params, target, opset = sys.argv[1:]
paddle2onnx.export(model, params, target, opset_version=int(opset), enable_onnx_checker=True, optimize_tool="None")
"""


class ConversionError(Exception):
    """The model cannot be converted; the message is what the converter said last."""


class NoRoomError(ConversionError, OSError):
    """There was no room for the result, which is no fault of the model's."""


def to_onnx(model: Path, params: Path) -> bytes:
    """Convert a Paddle program (`.json`, or the older `.pdmodel`) with its weights.

    Raises:
        ConversionError: an operator has no counterpart in ONNX, or the files are damaged.
        NoRoomError: the disk takes no more.
    """
    environment = os.environ | {"POLYGRAPHY_AUTOINSTALL_DEPS": "0", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "inference.onnx"
        arguments = [str(model.resolve()), str(params.resolve()), str(target), str(OPSET)]
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            check=False,
            start_new_session=True,  # a Ctrl-C asks us to stop, who finish what we are at; it would end this process
        )
        if done.returncode == 0 and target.is_file():
            return target.read_bytes()
        reason = _reason((done.stdout + done.stderr).decode(errors="replace"), done.returncode)
        if (number := _NUMBER.search(reason)) and int(number[1]) in FULL:
            raise NoRoomError(int(number[1]), os.strerror(int(number[1])), str(target))
        raise ConversionError(reason)


def _reason(said: str, code: int) -> str:
    """The line of the converter's output that tells most."""
    lines = [line.strip() for line in _COLOURS.sub("", said).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower() or "not support" in line.lower()]
    return (telling or lines or [f"paddle2onnx ended with code {code}"])[-1][:300]
