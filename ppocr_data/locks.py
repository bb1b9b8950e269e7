"""Locks between processes, which the system drops with the process that holds one, however it dies."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows: the standard library has no lock there that dies with its process
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
"""What a file system answers that has no locks, as some network mounts."""


def lock(file: IO[Any], *, shared: bool = False, wait: bool = False) -> bool | None:
    """Lock an open file until it is closed, by this process or with its end.

    Args:
        file: open for reading and writing: over NFS a shared lock needs the one, a sole one the other.
        shared: let others hold it shared too.
        wait: until nobody else holds it.

    Returns:
        True where it is held now, False where somebody else holds it, None where there are no locks: nobody is seen
        there, and whoever calls goes on, careful of what another may be doing.

    Raises:
        OSError: any other failure.
    """
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def is_held(path: Path) -> bool | None:
    """Whether somebody holds a sole lock on a file now; None where nobody can know: no such file, or no locks."""
    try:
        with path.open("r+") as file:
            mine = lock(file, shared=True)
    except OSError:
        return None
    return None if mine is None else not mine
