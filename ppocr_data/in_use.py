"""Folders that running processes read from, known to whoever would put another content in their place.

A training keeps labels in memory and reads images by name for hours: other images under the same names would be taught
with the old labels, without an error.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ppocr_data.errors import DataError
from ppocr_data.locks import lock

_HELD: dict[Path, IO[str]] = {}


def hold(folder: Path) -> None:
    """Say until this process and its children have ended that they read from `folder`; wait for whoever replaces it.

    Where the note cannot be left, beside the folder, nobody can replace that either.
    """
    if folder in _HELD:
        return
    with contextlib.suppress(OSError):
        handle = _note(folder).open("a+")
        lock(handle, shared=True, wait=True)
        _HELD[folder] = handle


def release(folder: Path) -> None:
    """Take back what `hold` said."""
    if handle := _HELD.pop(folder, None):
        handle.close()


@contextlib.contextmanager
def without_readers(folder: Path) -> Iterator[None]:
    """Keep readers away for as long as a folder's content is replaced.

    Raises:
        DataError: another process reads from it.
    """
    with _note(folder).open("a+") as handle:
        if lock(handle) is False:
            raise DataError(
                f"{folder}: another process reads this set, a training perhaps, and it would be replaced by another; "
                "wait for its end, or name another folder (Global.embedded_set.dir, and data_dir with it)"
            )
        yield


def _note(folder: Path) -> Path:
    return folder.parent / f".{folder.name}.readers"
