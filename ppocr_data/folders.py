"""The files of a folder of images or labels, as every reader of one sees them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def visible_files(folder: Path) -> Iterator[Path]:
    """The files of a folder and its subfolders, through links too, without hidden ones and archives' leftovers.

    A folder that is met again through another link is left, so a link to a folder above it does no harm.
    """
    met = set()
    for place, inside, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in met:
            inside.clear()
            continue
        met.add(real)
        # In order, so that which of two links to one folder is followed is not left to chance.
        inside[:] = sorted(name for name in inside if not _is_leftover(name))
        for name in sorted(names):
            path = Path(place, name)
            if not _is_leftover(name) and path.is_file():
                yield path


def _is_leftover(name: str) -> bool:
    return name.startswith(".") or name == "__MACOSX"
