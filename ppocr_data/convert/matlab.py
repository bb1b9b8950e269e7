"""Cell arrays of MATLAB files, through scipy, which only this needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ppocr_data.errors import DataError


def cells(path: Path, names: tuple[str, ...], columns: int) -> list[list[list[Any]]]:
    """The rows of a cell array: each cell as a flat list of its strings or numbers.

    Args:
        path: a MATLAB 5 file (`.mat`).
        names: the variable is the first of these that is there.
        columns: how many cells a row must have.

    Raises:
        DataError: scipy is not installed; the file cannot be read, or does not hold such an array.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise DataError(f"{path}: reading MATLAB files needs scipy; python -m pip install scipy") from error
    try:
        # Object arrays here are MATLAB's cells: scipy never unpickles.
        held = loadmat(str(path))
    except Exception as error:  # whatever a damaged file leads scipy to
        raise DataError(f"{path}: not a MATLAB file that scipy reads ({error})") from error
    array = next((held[name] for name in names if name in held), None)
    if array is None:
        found = ", ".join(name for name in held if not name.startswith("__"))
        raise DataError(f"{path}: no variable {' or '.join(names)}; found: {found or 'none'}")
    if array.size and (array.ndim != 2 or array.shape[1] != columns or array.dtype != object):
        raise DataError(f"{path}: expected a cell array of {columns} columns, found {array.dtype} {array.shape}")
    return [[cell.ravel().tolist() for cell in row] for row in array] if array.size else []
