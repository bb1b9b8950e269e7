"""Which of many are looked at where all would take too long."""

from __future__ import annotations

import numpy as np


def evenly(count: int, most: int) -> list[int]:
    """All indices of `count` things, or `most` of them at even distances, the first and the last among them."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()
