"""Which method helps this student on these data: trainings of every method and seed, tables, a chart."""

from ocr_cml.compare.outcome import OUTCOME, is_finished, read_outcome
from ocr_cml.compare.runner import compare, run_all

__all__ = ["OUTCOME", "compare", "is_finished", "read_outcome", "run_all"]
