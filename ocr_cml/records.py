"""A run's `metrics.jsonl`: one JSON object a log point, an evaluation and an event, each step once."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppocr_data.atomic import write_text

METRICS = "metrics.jsonl"
ENSEMBLE = "ensemble"
"""The name under which the mean map of the students is scored and exported."""
AGREEMENT = "agreement/"
"""Begins the keys of two students' agreement."""
IN_EVALUATION = "in_evaluation"
"""Marks a divergence that an evaluation met."""


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
