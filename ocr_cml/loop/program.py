"""Which state of this program computes, so that runs of different ones are not compared without a word."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import paddle

from ocr_cml import environment

_PACKAGES = ("ocr_cml", "ppocr_data")


@functools.cache
def state() -> Mapping[str, str]:
    """By name the libraries' versions; of this program the first twelve digits of the SHA-256 of its sources."""
    return {
        "ocr_cml": _digest(Path(__file__).resolve().parent.parent.parent),
        "paddle": paddle.__version__,
        "numpy": np.__version__,
        "onnxruntime": environment.version_of("onnxruntime", "onnxruntime-gpu"),
    }


def state_on(device: str, precision: str) -> Mapping[str, str]:
    """The state, with what computes: a GPU or another precision gives other numbers.

    Args:
        device: `cpu` or `gpu:N`; which of a machine's GPUs is no difference.
        precision: of the students' forward, for example `float32`.
    """
    where = "CPU" if device == "cpu" else paddle.device.cuda.get_device_name()
    return {**state(), "device": where, "precision": precision}


def _digest(root: Path) -> str:
    """Of the names and contents of all sources below the packages in `root`."""
    digest = hashlib.sha256()
    for file in sorted(path for package in _PACKAGES for path in (root / package).rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]
