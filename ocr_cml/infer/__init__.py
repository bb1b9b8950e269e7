"""Find text in pictures with an exported detector; reads nothing but the exported folder."""

from __future__ import annotations

from ocr_cml.infer.detector import Detections, TextDetector, load_detector, without_settings
from ocr_cml.infer.files import Summary, detect_files
from ocr_cml.pictures import draw, find_images, further_pages, left_out, read_image

__all__ = [
    "Detections",
    "Summary",
    "TextDetector",
    "detect_files",
    "draw",
    "find_images",
    "further_pages",
    "left_out",
    "load_detector",
    "read_image",
    "without_settings",
]
