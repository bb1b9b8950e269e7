"""Looking for processes by their number."""

from __future__ import annotations

import os


def alive(pid: int) -> bool:
    """Whether there is such a process, one that has ended and that nobody waited for counted too."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
