"""What a training took, whatever becomes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from compared import REPOSITORY

MEASURED = (sys.executable, "-I", str(REPOSITORY / "ocr_cml" / "compare" / "measured.py"))


def measured(outcome: Path, body: str) -> int:
    """The exit code of a Python process that was run by measured.py."""
    command = [*MEASURED, str(outcome), sys.executable, "-c", body]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def test_memory_is_that_of_the_training_and_not_of_who_started_it(tmp_path: Path) -> None:
    mb = 1024 * 1024
    ballast = np.ones(400 * mb, np.uint8)
    assert measured(tmp_path / "small.json", "pass") == 0
    assert measured(tmp_path / "large.json", f"b'1' * {200 * mb}") == 0
    small, large = (json.loads((tmp_path / name).read_text())["peak_bytes"] for name in ("small.json", "large.json"))
    assert small < 100 * mb < 200 * mb <= large < ballast.nbytes


def test_attempts_add_up(tmp_path: Path) -> None:
    outcome = tmp_path / "outcome.json"
    outcome.write_text(json.dumps({"exit_code": 0, "wall_seconds": 100.0, "peak_bytes": 2**50}), encoding="utf-8")
    assert measured(outcome, "raise SystemExit(3)") == 3
    found = json.loads(outcome.read_text(encoding="utf-8"))
    assert (found["exit_code"], found["peak_bytes"]) == (3, 2**50)
    assert 100 < found["wall_seconds"] < 160


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux")
def test_the_cores_of_every_attempt_are_noted(tmp_path: Path) -> None:
    outcome = tmp_path / "outcome.json"
    cores = os.sched_getaffinity(0)
    for attempt in ({min(cores)}, cores):
        command = f"import os; os.sched_setaffinity(0, {attempt}); os.execv({sys.executable!r}, {[*MEASURED]!r} + "
        command += f"[{str(outcome)!r}, {sys.executable!r}, '-c', 'pass'])"
        assert subprocess.run([sys.executable, "-c", command], check=False).returncode == 0
    assert json.loads(outcome.read_text(encoding="utf-8"))["cores"] == sorted({1, len(cores)})


def test_a_signal_that_ends_a_training_is_its_exit_code(tmp_path: Path) -> None:
    outcome = tmp_path / "outcome.json"
    assert measured(outcome, "import os; os.kill(os.getpid(), 9)") == 128 + 9
    assert json.loads(outcome.read_text(encoding="utf-8"))["exit_code"] == -9


def test_a_note_that_cannot_be_written_changes_no_exit_code(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    for code in (0, 3):
        gone = f"import shutil; shutil.rmtree({str(tmp_path / 'run')!r}, True); raise SystemExit({code})"
        assert measured(tmp_path / "run" / "outcome.json", gone) == code


def test_a_cut_of_power_takes_no_more_than_the_last_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = tmp_path / "outcome.json"
    outcome.write_text(json.dumps({"exit_code": 1, "wall_seconds": 100.0, "peak_bytes": 7}), encoding="utf-8")
    monkeypatch.setenv("OCR_CML_NOTED_EVERY", "0.2")
    endless = "import os, time\nwhile os.getppid() != 1: time.sleep(0.02)"
    process = subprocess.Popen([*MEASURED, str(outcome), sys.executable, "-c", endless])
    while json.loads(outcome.read_text(encoding="utf-8"))["exit_code"] == 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    found = json.loads(outcome.read_text(encoding="utf-8"))
    assert (found["exit_code"], found["peak_bytes"]) == (None, 7)
    assert found["wall_seconds"] >= 100.2
    assert measured(outcome, "pass") == 0
    assert json.loads(outcome.read_text(encoding="utf-8"))["wall_seconds"] > found["wall_seconds"]


def test_a_signal_is_passed_on_and_the_end_awaited(tmp_path: Path) -> None:
    outcome, ready = tmp_path / "outcome.json", tmp_path / "ready"
    body = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    command = [*MEASURED, str(outcome), sys.executable, "-c", body]
    process = subprocess.Popen(command)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert json.loads(outcome.read_text(encoding="utf-8"))["exit_code"] == 143
