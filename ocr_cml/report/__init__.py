"""`report.html`: what a run did, in one file that opens offline; and `compare.html` for several runs."""

from ocr_cml.report.pages import write_report
from ocr_cml.report.run import Run, read_run

__all__ = ["Run", "read_run", "write_report"]
