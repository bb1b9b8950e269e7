"""Images that look nearly the same: frames of a video, a page scanned twice, a picture saved at another size.

A fingerprint is a difference hash (dHash): of an image scaled to 17x16 grey pixels, whether each pixel is brighter than
its right neighbour. Scaling and recompression change few of its 256 bits; other pictures differ in about half of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

_SIDE = 16
_CLOSE = 20  # of 256 bits
_FLAT = 4  # grey levels: neighbours that differ by less are noise


def fingerprint(path: Path) -> np.ndarray | None:
    """Bits of an image file, uint64 `[4]`; None for a file that cannot be read as an image."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    # Read at a quarter where the format allows: only the coarse shape is looked at.
    grey = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_4) if data.size else None
    if grey is None:
        return None
    small = cv2.resize(grey, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA).astype(np.int16)
    return np.packbits(small[:, 1:] - small[:, :-1] > _FLAT).view(np.uint64)


def near_duplicates(paths: Sequence[Path], progress: Callable[[int, int], None] | None = None) -> list[tuple[int, int]]:
    """Pairs of indices of images that look nearly the same. Unreadable files are like nothing."""
    prints = []
    for done, path in enumerate(paths, start=1):
        prints.append(fingerprint(path))
        if progress is not None:
            progress(done, len(paths))
    known = [i for i, bits in enumerate(prints) if bits is not None]
    table = np.array([prints[i] for i in known], np.uint64).reshape(-1, 4)
    pairs: list[tuple[int, int]] = []
    for row in range(len(known) - 1):
        distance = np.bitwise_count(table[row + 1 :] ^ table[row]).sum(axis=1)
        pairs.extend((known[row], known[row + 1 + int(other)]) for other in np.flatnonzero(distance <= _CLOSE))
    return pairs
