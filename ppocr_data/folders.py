"""The files of a folder of images or labels, as every reader of one sees them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ppocr_data.errors import DataError


def visible_files(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders, through links too, without hidden ones and archives' leftovers.

    A folder that is met again through another link is left, so a link to a folder above it does no harm.

    Raises:
        DataError: one of the folders cannot be read; its images would be missing without a word.
    """
    met = set()
    for place, inside, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        real = os.path.realpath(place)
        if real in met:
            inside.clear()
            continue
        met.add(real)
        # In order, so that which of two links to one folder is followed is not left to chance.
        inside[:] = sorted(name for name in inside if not _is_leftover(name))
        for name in sorted(names):
            path = Path(place, name)
            if not _is_leftover(name) and _is_file(path):
                yield path


def natural(name: str) -> list[tuple[int, str]]:
    """A sorting key by which img_9 comes before img_10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # of a folder that may be listed and not entered
        _unreadable(error)


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, hidden ones left out. Raises DataError where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        _unreadable(error)


def _unreadable(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "lost+found")
