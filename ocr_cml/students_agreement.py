"""How far students agree: the share of text pixels that two of them have in common, over an evaluation."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from ocr_cml.distributed import sum_over_ranks
from ocr_cml.evaluate import Page


class StudentsAgreement:
    """Dice of each pair of students' binarised maps, a watcher of `Evaluator.score`.

    Mutual learning draws students together; students that agree on everything have nothing left to teach each other,
    and their ensemble is no better than they are.

    Args:
        students: names of the maps to compare; fewer than two make no pair.
        thresh: a pixel whose probability exceeds it is text.
    """

    def __init__(self, students: Sequence[str], thresh: float) -> None:
        self._thresh = thresh
        self._counts = {pair: np.zeros(2, np.int64) for pair in itertools.combinations(students, 2)}

    def __call__(self, _: Sequence[Page], maps: Mapping[str, np.ndarray]) -> None:
        """Count one batch."""
        text = {name: maps[name] > self._thresh for pair in self._counts for name in pair}
        for (first, second), counts in self._counts.items():
            counts += (
                2 * np.count_nonzero(text[first] & text[second]),
                np.count_nonzero(text[first]) + np.count_nonzero(text[second]),
            )

    def result(self, world_size: int = 1) -> dict[str, float]:
        """`first/second` -> 2 |A and B| / (|A| + |B|) in [0, 1]; 1 where neither has a text pixel. For all ranks."""
        values = [int(value) for counts in self._counts.values() for value in counts]
        if world_size > 1 and values:
            values = sum_over_ranks(values)
        shared, sizes = values[::2], values[1::2]
        return {
            f"{first}/{second}": common / size if size else 1.0
            for (first, second), common, size in zip(self._counts, shared, sizes, strict=True)
        }
