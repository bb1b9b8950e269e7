"""Signals that ask a run to stop: noted at once, obeyed after the step, when the state is saved."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType

from ocr_cml.log import LOG


class Interrupted(Exception):
    """A signal asked the run to stop; its state has been saved. `code` is the process's exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM so that the loop can save first; a second one ends the process at once."""
    asked: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked.append(number)
        LOG.warning("%s: saving after this step, then stopping; once more to stop at once", signal.Signals(number).name)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
