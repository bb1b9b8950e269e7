"""What a training shows while it runs: one live display on a terminal, plain lines elsewhere.

    step 130/200 |████████      | 65%, 1.71 s a step, 2 min 10 s left
    loss 11.69   db 3.12 4.37   mutual 0.141 0.077   teacher 1.23 2.75   agreement 0.912
    hmean at step 100: Student 0.6123, Student2 0.5988, ensemble 0.6320; best Student 0.6123

The time left counts the evaluations that are still to come, once one has been made and its length is known.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping

from tqdm import tqdm

from ocr_cml.log import LOG
from ocr_cml.records import Best
from ocr_cml.words import duration, pace

_RECENT = 50
"""Steps whose mean time is the pace."""

_ESTIMATE_AFTER = 3
"""Steps of this process after which the time of the whole run is estimated; the first is slower and does not count."""


class Pace:
    """How fast it goes and how long it will take.

    Args:
        last_step: where the run ends.
        evaluations_after: how many evaluations are still to come after a step.
        clock: seconds, for tests; by default `time.perf_counter`.
    """

    def __init__(
        self, last_step: int, evaluations_after: Callable[[int], int], clock: Callable[[], float] | None = None
    ) -> None:
        self._last_step, self.evaluations_after = last_step, evaluations_after
        self._clock = clock or time.perf_counter
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._since = self._clock()
        self._unlogged = 0.0
        self._logged_at = 0
        self.steps = 0
        self.evaluation_seconds: float | None = None

    def stepped(self) -> None:
        """A step is done. The first one of a process warms up and is not counted."""
        now = self._clock()
        if self.steps:
            self._recent.append(now - self._since)
        self._unlogged += now - self._since
        self.steps += 1
        self._since = now

    def logged(self) -> tuple[float, int]:
        """A log point; returns the seconds and the number of this process's steps since the one before."""
        seconds, steps = self._unlogged, self.steps - self._logged_at
        self._unlogged, self._logged_at = 0.0, self.steps
        return seconds, steps

    def evaluated(self) -> float:
        """An evaluation is done; returns its seconds."""
        self.evaluation_seconds = self._clock() - self._since
        self._since = self._clock()
        return self.evaluation_seconds

    def paused(self) -> None:
        """What went on until now was neither step nor evaluation."""
        self._since = self._clock()

    @property
    def seconds_a_step(self) -> float | None:
        """Mean of the recent steps, None before the second."""
        return sum(self._recent) / len(self._recent) if self._recent else None

    def left(self, step: int) -> float | None:
        """Seconds to the end of the run after `step`, as far as known."""
        if self.seconds_a_step is None:
            return None
        evaluations = self.evaluations_after(step) * (self.evaluation_seconds or 0.0)
        return (self._last_step - step) * self.seconds_a_step + evaluations


class Display:
    """Follows a training; a context manager around its loop.

    Args:
        last_step: where the run ends.
        evaluations_after: how many evaluations are still to come after a step.
        shown: False for all but one of several processes.
        memory: says how much memory the run takes, for the estimate after the first steps.
    """

    def __init__(
        self,
        last_step: int,
        evaluations_after: Callable[[int], int],
        *,
        shown: bool = True,
        memory: Callable[[], str] = str,
    ) -> None:
        self.step, self.last_step, self.shown = 0, last_step, shown
        self.live = shown and _columns() > 0
        self.pace = Pace(last_step, evaluations_after)
        self._memory = memory
        self._lines: list[tqdm] = []

    def begin(self, step: int) -> Display:
        """Where the run goes on from."""
        self.step = step
        return self

    def __enter__(self) -> Display:
        self.pace.paused()
        if self.live:
            bar = "step {n_fmt}/{total_fmt} |{bar}| {percentage:.0f}%{postfix}"
            first = tqdm(total=self.last_step, initial=self.step, bar_format=bar, dynamic_ncols=True, position=0)
            self._lines = [first, *(tqdm(bar_format="{desc}", position=place, leave=True) for place in (1, 2))]
        return self

    def __exit__(self, *_: object) -> None:
        for line in self._lines:
            line.close()
        self._lines = []

    def stepped(self, step: int) -> None:
        """A step is done."""
        self.step = step
        self.pace.stepped()
        if self._lines:
            self._lines[0].set_postfix_str(self._speed(), refresh=False)
            self._lines[0].update(1)
        if self.shown and self.pace.steps == _ESTIMATE_AFTER and step < self.last_step:
            LOG.info("estimate: %s; %s", self._speed(), self._memory())

    def logged(self, loss: float, parts: Mapping[str, float], agreement: Mapping[str, float], rate: float) -> None:
        """A log point: the weighted total, each term's value by label, the students' agreement, the learning rate."""
        if not self.shown:
            return
        agreed = f"agreement {sum(agreement.values()) / len(agreement):.3f}" if agreement else ""
        self._say(1, f"loss {loss:.2f}", *_by_kind(parts), agreed)
        listed = "  ".join(f"{label} {value:.4f}" for label, value in parts.items())
        text = f"step {self.step}/{self.last_step}  loss {loss:.4f}  {listed}  lr {rate:.2e}"
        LOG.info("%s", "  ".join(part for part in (text, agreed, self._speed()) if part), extra={"live": self.live})

    def evaluated(self, scores: Mapping[str, Mapping[str, float]], best: Best) -> None:
        """An evaluation: hmean by network, and the best student so far."""
        found = ", ".join(f"{name} {score['hmean']:.4f}" for name, score in scores.items())
        self._say(2, f"hmean at step {self.step}: {found}; best {best.student} {best.hmean:.4f}")

    def _speed(self) -> str:
        seconds, left = self.pace.seconds_a_step, self.pace.left(self.step)
        if seconds is None or left is None:
            return ""
        unknown = self.pace.evaluation_seconds is None and self.pace.evaluations_after(self.step) > 0
        return f"{pace(seconds)}, {duration(left)} left{' and evaluations' if unknown else ''}"

    def _say(self, line: int, *parts: str) -> None:
        if self._lines:
            text = "   ".join(part for part in parts if part)
            width = _columns() - 1
            self._lines[line].set_description_str(text if len(text) <= width else text[: width - 1] + "…")


def _columns() -> int:
    """How wide the terminal is that standard error goes to; 0 where it is none, or one that does not know."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0
    except (OSError, ValueError):
        return 0


def _by_kind(parts: Mapping[str, float]) -> list[str]:
    """`db 3.12 4.37` for `db/Student`, `db/Student2`: the students in their order."""
    kinds: dict[str, list[str]] = {}
    for label, value in parts.items():
        kinds.setdefault(label.partition("/")[0], []).append(f"{value:.3g}")
    return [f"{kind} {' '.join(values)}" for kind, values in kinds.items()]
