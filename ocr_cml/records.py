"""A run's `metrics.jsonl`: one JSON object a log point, an evaluation and an event, each step once."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ppocr_data.atomic import write_text

ENSEMBLE = "ensemble"
"""The name under which the mean map of the students is scored and exported."""
AGREEMENT = "agreement/"
"""Begins the keys of two students' agreement."""
IN_EVALUATION = "in_evaluation"
"""Marks a divergence that an evaluation met."""
_EVENTS = ("eval", "teacher", "divergence", "program")
"""A record has one of these, or else is a log point."""


@dataclass(frozen=True)
class Best:
    """The best evaluation of a student so far: whose, how good, and when."""

    student: str
    hmean: float
    step: int


def best_of(evaluations: Iterable[tuple[int, Mapping[str, Mapping[str, float]]]]) -> Best | None:
    """The best student over all students and evaluations: of equals the earliest, at one step the one named first.

    Args:
        evaluations: for each the step, and `hmean` by network; the ensemble is no student.

    Returns:
        None where no student was scored.
    """
    found = (
        Best(name, score["hmean"], step)
        for step, scores in evaluations
        for name, score in scores.items()
        if name != ENSEMBLE and "hmean" in score
    )
    return max(found, key=lambda best: (best.hmean, -best.step), default=None)


class LoggedPace(NamedTuple):
    """How fast the steps before a log point were.

    Attributes:
        step: where the log point stands.
        seconds_a_step: of those that were timed.
        steps: since the log point before, timed or not; behind a start within a training those that were timed.
    """

    step: int
    seconds_a_step: float
    steps: int


def paces(records: Iterable[Mapping[str, Any]]) -> list[LoggedPace]:
    """The pace at each log point, evaluations left out as the trainer's clock leaves them out.

    `seconds` are those of `steps`: after a resume not of all since the last log point; old runs do not say.
    """
    found: list[LoggedPace] = []
    before = 0
    for record in (record for record in records if is_log_point(record)):
        step, values = int(record["step"]), numbers(record)
        timed = int(values.get("steps", step - before))
        if "seconds" in values and timed > 0:
            found.append(LoggedPace(step, values["seconds"] / timed, step - before if before else timed))
        before = step
    return found


def is_log_point(record: Mapping[str, Any]) -> bool:
    """Whether a record tells losses, and no evaluation or event."""
    return not any(key in record for key in _EVENTS)


def numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of a record by name."""
    return {
        key: float(value)
        for key, value in record.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    }


def read_records(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a run, and how many lines are none: a kill may have cut the last one, even within a letter.

    Raises:
        OSError: the file cannot be read.
    """
    return records_in(path.read_text(encoding="utf-8", errors="replace"))


def records_in(text: str) -> tuple[list[dict[str, Any]], int]:
    """As `read_records`, of text that has been read."""
    lines = [line for line in text.splitlines() if line.strip()]
    records = [record for line in lines if (record := _record(line)) is not None]
    return records, len(lines) - len(records)


class Records:
    """The open file. Every method but `close` raises OSError where it cannot be written.

    Args:
        path: the file.
        keep: whether the records of an earlier start go on; a run that starts from nothing begins anew.
    """

    def __init__(self, path: Path, *, keep: bool) -> None:
        self.path = path
        self._file = path.open("a" if keep else "w", encoding="utf-8")

    def append(self, entry: Mapping[str, Any]) -> None:
        """Write one record, at full precision."""
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def last(self, key: str) -> Any:
        """The value of the last record that has this key; None where there is none."""
        records, _ = read_records(self.path)
        return next((record[key] for record in reversed(records) if key in record), None)

    def forget_after(self, step: int, *, evaluated_anew: bool = False) -> int:
        """Drop records of steps that a resumed run is about to repeat, so that each step stands there once.

        Args:
            step: where it goes on.
            evaluated_anew: this step's evaluation comes once more.

        Returns:
            The last step that was dropped; `step` where there is none.
        """
        self._file.close()
        # A kill may have cut a line within a letter: it is no JSON then, and counts as never written.
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [(line, int(record["step"]), record) for line in lines if (record := _record(line)) is not None]
        kept = [
            line
            for line, at, record in found
            if at <= step and not (evaluated_anew and at == step and _evaluated(record))
        ]
        write_text(self.path, "".join(f"{line}\n" for line in kept))
        self._file = self.path.open("a", encoding="utf-8")
        return max([step, *(at for _, at, _ in found)])

    def close(self) -> None:
        """Close the file. Each record is written when it is given; what a full disk did not take was told then."""
        with contextlib.suppress(OSError):
            self._file.close()


def _evaluated(record: Mapping[str, Any]) -> bool:
    """Whether an evaluation has written it."""
    return "eval" in record or IN_EVALUATION in record.get("divergence", ())


def _record(line: str) -> dict[str, Any] | None:
    """The record of a line, which has a step; None of one that a kill cut short."""
    try:
        record: dict[str, Any] = json.loads(line)
        int(record["step"])
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return record
