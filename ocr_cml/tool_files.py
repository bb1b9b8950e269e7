"""Where the tools' files lie: in tools/ of a checkout; installed, in the package ocr_cml_tools beside this one."""

from __future__ import annotations

from pathlib import Path

from ppocr_data.errors import UserError

_BESIDE = Path(__file__).resolve().parent.parent


def tool_file(name: str) -> Path:
    """The program `name`.py, to be run by another process. Raises UserError where it lies in neither place."""
    for folder in ("tools", "ocr_cml_tools"):
        if (file := _BESIDE / folder / f"{name}.py").is_file():
            return file
    raise UserError(f"{name}.py: neither in {_BESIDE / 'tools'} nor in {_BESIDE / 'ocr_cml_tools'}; install it again")
