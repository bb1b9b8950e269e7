"""How much memory a training process takes. One process says little: where the holes of its heap lie is chance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from ocr_cml.benchmark import recipe
from ocr_cml.benchmark.measure import OURS, Row
from ocr_cml.benchmark.side import Side

if TYPE_CHECKING:
    from ocr_cml.benchmark.suite import Suite

_STEPS = 8
"""Steps of each of our processes. A heap that grows from step to step must have the time to show it."""
_STEPS_OF_OTHERS = 2
"""PaddleOCR's take five times as long; fewer steps are to their advantage."""


def memory(suite: Suite) -> list[Row]:
    """Peak memory of the process that takes steps of PP-OCRv2's CML: of a new one in every round."""
    crop = 64 if suite.settings.quick else recipe.CROP
    peaks: dict[str, list[float]] = {}
    given = suite.step(crop)
    for number in range(suite.settings.rounds):
        with ExitStack() as stack:
            sides: Sequence[Side] = [Side(OURS, "ours"), *suite.settings.peer(source=True)]
            for side in sides:
                stack.enter_context(side)
            for side in sides:
                answer = side.prepare("step", **given)
                for _ in range((_STEPS if side.name == OURS else _STEPS_OF_OTHERS) - 1):
                    answer = side.round()
                peaks.setdefault(side.name, []).append(1e-6 * answer["peak"])
        suite.say(f"memory: process {number + 1} of {suite.settings.rounds}")
    row = Row(f"peak memory, CML, batch 4, {crop}x{crop}", "MB", peaks)
    row.note = "; ".join(f"{side} {min(of):.0f} to {max(of):.0f}" for side, of in peaks.items())
    return [row]
