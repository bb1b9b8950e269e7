"""Signals that ask a run to stop: noted at once, obeyed after the step, when the state is saved."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from types import FrameType

from ocr_cml.hearing import hearing
from ocr_cml.log import LOG

_HANGUP = getattr(signal, "SIGHUP", None)
_ASKING = tuple(number for number in (signal.SIGINT, signal.SIGTERM, _HANGUP) if number is not None)
"""Ctrl-C, a cluster's or a system's end, a terminal that was closed."""


_REPEATS = 5.0
"""Seconds in which a launcher says the same signal again, to whoever has not ended yet; people take longer."""


class Interrupted(Exception):
    """A signal asked the run to stop; its state has been saved. `code` is the process's exit code."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


@contextlib.contextmanager
def noted() -> Iterator[list[int]]:
    """Collect signals that ask to stop, so that the loop can save first; a second one ends the process at once.

    One that is ignored stays so: `nohup` has its jobs ignore a closed terminal, a script Ctrl-C in the background. Of a
    process that `paddle.distributed.launch` started the second one counts five seconds later: the launcher says the
    first one up to three times.
    """
    asked: list[int] = []
    launched = "PADDLE_TRAINER_ID" in os.environ
    deaf_until = 0.0

    def note(number: int, _: FrameType | None) -> None:
        nonlocal deaf_until
        if asked and (number == _HANGUP or time.monotonic() < deaf_until):
            return  # of a closed terminal the shell tells its jobs, and the system once more
        if asked:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        asked.append(number)
        deaf_until = time.monotonic() + (_REPEATS if launched else 0.0)
        again = f"once more{f' after {_REPEATS:.0f} seconds' if launched else ''} to stop at once"
        LOG.warning("%s: saving after this step, then stopping; %s", signal.Signals(number).name, again)

    with hearing(_ASKING, note):
        yield asked
