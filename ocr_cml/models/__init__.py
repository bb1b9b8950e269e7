"""Detection networks with PaddleOCR's parameter names and shapes, and the loading of their weights."""

from __future__ import annotations

from ocr_cml.models.backbones import BACKBONES
from ocr_cml.models.detector import Detector, DetOutput, accepted_arguments, build_detector
from ocr_cml.models.heads import HEADS
from ocr_cml.models.necks import NECKS

__all__ = ["BACKBONES", "HEADS", "NECKS", "DetOutput", "Detector", "accepted_arguments", "build_detector"]
