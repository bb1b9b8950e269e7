"""JSON files whose every value is looked at before it is used."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

from ppocr_data.convert.files import read_text, tidy
from ppocr_data.errors import DataError

_T = TypeVar("_T")
_NAMES = {dict: "an object", list: "a list", str: "a string", int: "a whole number", float: "a number"}


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises DataError with the line where it is no JSON."""
    text = read_text(path)
    try:
        return want(json.loads(text), dict, str(path))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno}: not JSON ({error.msg})") from error
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of thousands of digits
        raise DataError(f"{path}: not JSON that can be read ({error})") from error


def want(value: Any, kind: type[_T], where: str) -> _T:
    """The value, if it is of that kind."""
    if not isinstance(value, kind) or isinstance(value, bool):
        raise DataError(f"{where}: must be {_NAMES[kind]}, is {str(value)[:40]!r}")
    return value


def get(holder: dict[str, Any], key: str, kind: type[_T], where: str) -> _T:
    """The value under a key that must be there."""
    if key not in holder:
        raise DataError(f"{where}: no {key!r}")
    return want(holder[key], kind, f"{where}.{key}")


def coordinate(value: Any, where: str) -> float:
    """A finite number."""
    # Compared before anything else is done: JSON's integers have no end.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
        raise DataError(f"{where}: {str(value)[:40]!r} is not a coordinate")
    return tidy(value)


def point(value: Any, where: str) -> list[float]:
    """[x, y]."""
    if not isinstance(value, list) or len(value) != 2:
        raise DataError(f"{where}: {str(value)[:40]!r} is not a point [x, y]")
    return [coordinate(part, where) for part in value]
