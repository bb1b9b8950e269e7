"""Run a command, pass signals on to it, and note what it took. A program of its own, of the standard library alone.

    python -I measured.py OUTCOME.json command arguments...

The kernel counts as a child's peak memory at least what its parent held when it started it. A parent that has imported
paddle would hide a small training's peak behind its own, so this one stands between them and holds next to nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

FORWARDED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes
_NOTED_EVERY = float(os.environ.get("OCR_CML_NOTED_EVERY", "60"))
"""Seconds; tests have less time."""


def run(outcome: Path, command: Sequence[str]) -> int:
    """Run a command to its end and write its outcome; the numbers of earlier attempts at the same run are added up.

    `outcome` receives `exit_code` (negative: the signal that ended it; null while it runs), `wall_seconds` (of all
    attempts), `cores` (each number of cores that an attempt was bound to) and `peak_bytes`: the largest resident memory
    of one process over all attempts, the command's own or that of one it waited for, such as a loader's worker. The
    seconds are noted every minute, so that a cut of power takes no more than the last one; what was held when the power
    went is not known.

    Returns:
        The exit code, 128 + the signal's number where one ended it.
    """
    started = time.monotonic()
    before = _earlier(outcome)
    child: subprocess.Popen[bytes] | None = None
    early: list[int] = []

    def forward(number: int, _: FrameType | None = None) -> None:
        if child is None:
            early.append(number)
        else:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, number)

    def note(exit_code: int | None, peak: int = 0) -> None:
        spent = before.get("wall_seconds", 0.0) + time.monotonic() - started
        most = max(before.get("peak_bytes", 0), peak)
        cores = sorted({*before.get("cores", ()), _cores()})
        _write(outcome, {"exit_code": exit_code, "wall_seconds": spent, "peak_bytes": most, "cores": cores})

    def note_on_the_way(*_: object) -> None:
        with contextlib.suppress(OSError):  # a full disk ends no training that goes on
            note(None)

    for number in FORWARDED:
        if signal.getsignal(number) != signal.SIG_IGN:  # as `nohup` has it; see `ocr_cml.hearing`, out of reach here
            signal.signal(number, forward)
    child = subprocess.Popen(list(command))
    for came in early:
        forward(came)
    signal.signal(signal.SIGALRM, note_on_the_way)
    signal.setitimer(signal.ITIMER_REAL, _NOTED_EVERY, _NOTED_EVERY)
    _, status, usage = os.wait4(child.pid, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    try:
        note(child.returncode, usage.ru_maxrss * _UNIT)
    except OSError as error:  # the training has ended as it has; started again it has nothing to do, and is noted then
        sys.stderr.write(f"{outcome}: cannot be written: {error.strerror}\n")
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _cores() -> int:
    """Those that this process is bound to, and with it the training that it starts."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _write(outcome: Path, values: Mapping[str, Any]) -> None:
    """Whole or not at all."""
    temporary = outcome.with_name(f"{outcome.name}.tmp")
    temporary.write_text(json.dumps(values), encoding="utf-8")
    os.replace(temporary, outcome)


def _earlier(outcome: Path) -> dict[str, Any]:
    return json.loads(outcome.read_text(encoding="utf-8")) if outcome.is_file() else {}


if __name__ == "__main__":
    raise SystemExit(run(Path(sys.argv[1]), sys.argv[2:]))
