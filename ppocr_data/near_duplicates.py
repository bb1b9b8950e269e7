"""Images that look nearly the same: frames of a video, a page scanned twice, a picture saved at another size.

A fingerprint is a difference hash (dHash): of an image scaled to 17x16 grey pixels, whether each pixel is darker than
its right neighbour. Two images are alike where few of the bits that are set in either differ. Counting only those
keeps pages apart that have nothing in common but their white.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from ppocr_data.decode import MOST_MEGAPIXELS, inspect

_SIDE = 16
_CLOSE = 0.2  # bits that differ, as a share of those set in one and in the other; other scenes have 0.26 and more
_FEWEST = 8  # bits set, without which there is nothing to compare
_LARGE = 1024  # pixels of the shorter side; smaller ones, read at a quarter, would lose what they share with a copy
_FLAT = 4  # grey levels: neighbours that differ by less are noise


def near_duplicates(
    paths: Sequence[Path], progress: Callable[[int, int], None] | None = None
) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of image files that look nearly the same. Unreadable files are like nothing."""
    prints = []
    for done, path in enumerate(paths, start=1):
        prints.append(fingerprint(path))
        if progress is not None:
            progress(done, len(paths))
    yield from close_pairs(prints)


def close_pairs(prints: Sequence[np.ndarray | None]) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of fingerprints that are alike; None is like nothing.

    One after the other: a video's thousand frames have half a million of them.
    """
    known = [i for i, bits in enumerate(prints) if bits is not None and np.bitwise_count(bits).sum() >= _FEWEST]
    table = np.array([prints[i] for i in known], np.uint64).reshape(-1, 4)
    counts = np.bitwise_count(table).sum(axis=1).astype(int)
    for row in range(len(known) - 1):
        distance = np.bitwise_count(table[row + 1 :] ^ table[row]).sum(axis=1)
        close = np.flatnonzero(distance <= _CLOSE * (counts[row + 1 :] + counts[row]))
        yield from ((known[row], known[row + 1 + int(other)]) for other in close)


def fingerprint(path: Path) -> np.ndarray | None:
    """The fingerprint of an image file; None for one that no training reads: damaged, too large, another format."""
    try:
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError:
        return None
    if not data.size:
        return None
    try:
        size, _ = inspect(data.tobytes())
        if size is None or size[0] * size[1] > MOST_MEGAPIXELS * 1e6:
            return None
        # Only the coarse shape is looked at: large pictures are read at a quarter where the format allows.
        large = min(size) >= _LARGE
        grey = cv2.imdecode(data, cv2.IMREAD_REDUCED_GRAYSCALE_4 if large else cv2.IMREAD_GRAYSCALE)
    except (ValueError, cv2.error):  # more pixels than anything reads, or damage that OpenCV stumbles over
        return None
    return None if grey is None else image_fingerprint(grey)


def image_fingerprint(image: np.ndarray) -> np.ndarray:
    """The fingerprint, uint64 `[4]`, of an image, uint8 `[H,W]` grey or `[H,W,3]` BGR."""
    small = cv2.resize(image, (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY) if small.ndim == 3 else small
    levels = grey.astype(np.int16)
    return np.packbits(levels[:, 1:] - levels[:, :-1] > _FLAT).view(np.uint64)
