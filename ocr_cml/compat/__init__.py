"""PaddleOCR's detection configurations, read as this package's own."""

from ocr_cml.compat.translation import translate

__all__ = ["translate"]
