"""What every engine is to its callers: images in, probability maps out."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod

import numpy as np

from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.normalization import Normalization
from ppocr_data.errors import ModelError
from ppocr_data.op import STRIDE

SUPPORTED = "supported is a DB text detector: one input [N,3,H,W] float32, first output its probability map [N,1,H,W]"
"""The end of a message about a model that is none."""
_SIZE = re.compile(r"index: \d+ Got: \d+ Expected: \d+")


class FrozenDetector(ABC):
    """Images in, probability maps out; nothing to train.

    Attributes:
        engine: `layer`, `paddle` or `onnx`.
        source: where it came from, for people.
        config: normalisation, resize rule and post-process that belong to it.
    """

    engine: str

    def __init__(self, source: str, config: InferenceConfig) -> None:
        self.source = source
        self.config = config

    @property
    def normalization(self) -> Normalization:
        """How pixels become its input."""
        return self.config.normalization

    def probability(self, images: np.ndarray) -> np.ndarray:
        """uint8 BGR `[N,H,W,3]`, H and W multiples of 32 -> float32 `[N,H,W]` in [0, 1].

        Raises:
            ModelError: the images are of another type or size.
        """
        check_images(images)
        return self._run(images)[:, 0]

    @abstractmethod
    def _run(self, images: np.ndarray) -> np.ndarray:
        """Checked images -> float32 `[N,1,H,W]`."""


def check_images(images: np.ndarray) -> None:
    """Raises ModelError where images are not uint8 `[N,H,W,3]`, H and W multiples of 32."""
    shape = list(images.shape)
    if images.dtype != np.uint8 or images.ndim != 4 or shape[3] != 3 or shape[1] % STRIDE or shape[2] % STRIDE:
        raise ModelError(f"images must be uint8 [N,H,W,3], H and W multiples of {STRIDE}; got {images.dtype} {shape}")


def last_line(error: Exception) -> str:
    """The last line that says something of an engine's long message; of sizes that do not fit all of them."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    sizes = [line for line in lines if _SIZE.fullmatch(line)]  # behind them ONNX Runtime says merely that they do not
    last = ", ".join(sizes) if sizes else lines[-1] if lines else type(error).__name__
    return last[:200]
