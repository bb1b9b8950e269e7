"""Collaborative mutual learning of text detectors.

from ocr_cml import load_detector
found = load_detector("output/det_cml/inference")("photo.jpg")
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ocr_cml.infer import load_detector

__all__ = ["load_detector"]


def __getattr__(name: str) -> Any:
    """Import on first use: the tools set up threads and memory before anything imports paddle."""
    if name == "load_detector":
        from ocr_cml.infer import load_detector

        return load_detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
