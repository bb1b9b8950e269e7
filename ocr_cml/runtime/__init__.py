"""Run a frozen detector: a Paddle layer in eval, Paddle Inference, or ONNX Runtime, behind one small interface.

Three users: the teacher in training, evaluation, and `tools/infer_det.py`. On a CPU, ONNX Runtime is several times as
fast as the dygraph layer, so `auto` converts a Paddle model in memory where no ONNX file lies beside it.
"""

from __future__ import annotations

from ocr_cml.normalization import Normalization
from ocr_cml.runtime.detector import FrozenDetector
from ocr_cml.runtime.layer import LayerDetector
from ocr_cml.runtime.onnx_engine import OnnxDetector
from ocr_cml.runtime.opening import check_parity, open_detector, probe_images
from ocr_cml.runtime.paddle_engine import PaddleDetector

__all__ = [
    "FrozenDetector",
    "LayerDetector",
    "Normalization",
    "OnnxDetector",
    "PaddleDetector",
    "check_parity",
    "open_detector",
    "probe_images",
]
