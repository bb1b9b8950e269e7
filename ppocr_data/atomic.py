"""Files that are whole at every moment: what stood at a place, or what replaces it, never a part."""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Of a disk, or a share of it, that takes no more."""
_LONG = 200  # bytes, of the 255 that a name may have


@contextlib.contextmanager
def replacing(path: Path, *, sync: bool = False) -> Iterator[Path]:
    """A path beside `path` to write to. At the end of the block it takes the place of `path`.

    Where the block or the replacing fails nothing is left of it, and `path` is as it was. The name is this process's
    own, so that several may write one file at once, and ends as `path` does, for writers that go by the ending.

    Args:
        path: what is to be replaced, or made.
        sync: wait until the content is on the disk, for what must survive a power cut.

    Raises:
        OSError: it cannot be written; the caller knows what that means to people. That of a full disk has the
            file's name, which the system leaves out.
    """
    temporary = path.with_name(f".{_stem(path)}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        if sync:
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL and not error.filename:
            error.filename = str(path)
        raise
    finally:
        with contextlib.suppress(OSError):  # gone where it was moved; a folder on its path may be a file
            temporary.unlink()


def _stem(path: Path) -> str:
    """A name as long as names can be leaves no room for what is added to it."""
    return path.stem if len(os.fsencode(path.name)) < _LONG else hashlib.sha256(os.fsencode(path.stem)).hexdigest()


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process has left of `replacing(path)`; what a living one writes stays."""
    for file in path.parent.glob(f".{glob.escape(_stem(path))}.*.tmp{glob.escape(path.suffix)}"):
        pid = file.name.removesuffix(f".tmp{path.suffix}").rpartition(".")[2]
        if pid.isdigit() and not _lives(int(pid)):
            with contextlib.suppress(OSError):
                file.unlink()


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # somebody else's
    return True


def write_to(path: Path, text: str) -> None:
    """Write UTF-8 text to what a user named: whole or not at all, to what a link names, into a pipe or device as it is.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists() and not path.is_file():  # nothing takes the place of /dev/stdout or a pipe
        path.write_text(text, encoding="utf-8")
    else:
        write_text(path.resolve(), text)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all. Raises OSError where it cannot be written."""
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8")
