"""What tells whether a file is still the one that it was."""

from __future__ import annotations

import hashlib
from pathlib import Path

_BLOCK = 1 << 20


def sha256_of(*paths: Path) -> str:
    """SHA-256, in hexadecimal, of a file's bytes; of several files that of all of them one after the other.

    Raises:
        OSError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()
