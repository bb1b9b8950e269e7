"""Why a method helps: flat minima, doubt on text pixels, agreement of students, of finished runs."""

from ocr_cml.why.runner import SIGMAS, explain

__all__ = ["SIGMAS", "explain"]
