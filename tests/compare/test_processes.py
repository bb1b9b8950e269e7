"""Several at once, each on its own cores, and what becomes of signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from compared import REPOSITORY

from ocr_cml.compare.processes import Job, core_shares, run_jobs
from ppocr_data.errors import UserError


@pytest.mark.parametrize(
    ("cores", "count", "expected"),
    [
        ([0, 1], 1, [None]),
        ([0, 1], 2, [{0}, {1}]),
        ([2, 5, 6, 7], 2, [{2, 5}, {6, 7}]),
        ([0, 1, 2, 3, 4], 2, [{0, 1}, {2, 3, 4}]),
        ([4, 9], 3, [{4}, {9}, {4}]),
        ([], 2, [None, None]),
    ],
)
def test_cores_are_shared_out(cores: list[int], count: int, expected: list[set[int] | None]) -> None:
    assert core_shares(cores, count) == expected


def recorder(folder: Path, seconds: float = 0.0, code: int = 0) -> Callable[[int], Job]:
    """Jobs that note when they began, on which cores, and when they ended."""
    program = (
        "import json, os, sys, time; name = sys.argv[1]; began = time.time(); time.sleep(float(sys.argv[2]));"
        "cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else [];"
        "open(name, 'w').write(json.dumps([began, time.time(), cores])); sys.exit(int(sys.argv[3]))"
    )

    def job(number: int) -> Job:
        arguments = [sys.executable, "-c", program, str(folder / f"{number}.json"), str(seconds), str(code)]
        return Job(arguments, folder / f"{number}.outcome")

    return job


def test_two_run_side_by_side_on_cores_of_their_own(tmp_path: Path) -> None:
    before = sorted(os.sched_getaffinity(0))
    began: list[int] = []
    ended: list[tuple[int, int]] = []
    make = recorder(tmp_path, seconds=1.0)
    assert run_jobs(map(make, range(4)), 2, os.environ, began.append, lambda *end: ended.append(end) or 0) == 0
    spans = [json.loads((tmp_path / f"{i}.json").read_text()) for i in range(4)]
    assert began == [0, 1, 2, 3]
    assert sorted(ended) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert spans[1][0] < spans[0][1]  # the second began before the first had ended
    assert spans[2][0] > min(spans[0][1], spans[1][1])  # the third did not
    assert sorted(os.sched_getaffinity(0)) == before
    if len(before) > 1:
        assert not set(spans[0][2]) & set(spans[1][2])


def test_one_that_was_told_to_stop_stops_the_others_and_begins_no_more(tmp_path: Path) -> None:
    make = recorder(tmp_path, seconds=0.2)
    long = recorder(tmp_path, seconds=60.0)
    jobs = (make(0), long(1), make(2))
    began: list[int] = []
    started = time.monotonic()
    assert run_jobs(jobs, 2, os.environ, began.append, lambda index, code: signal.SIGTERM) == signal.SIGTERM
    assert time.monotonic() - started < 30
    assert began == [0, 1]


def test_what_fails_here_leaves_no_training_behind(tmp_path: Path) -> None:
    """A full disk while the tables are written, say."""

    def ends(index: int, code: int) -> bool:
        raise UserError("no space left")

    jobs = (recorder(tmp_path, seconds=0.2)(0), recorder(tmp_path, seconds=60.0)(1))
    started = time.monotonic()
    with pytest.raises(UserError, match="no space left"):
        run_jobs(jobs, 2, os.environ, lambda index: None, ends)
    assert time.monotonic() - started < 30
    assert json.loads((tmp_path / "1.outcome").read_text())["exit_code"] != 0  # it has ended, and was told to


def test_a_signal_that_is_ignored_stays_so_and_ends_nothing(tmp_path: Path) -> None:
    """As under `nohup`: neither here, nor in between, nor in the training."""
    ready, done = tmp_path / "ready", tmp_path / "done"
    body = (
        "import pathlib, time\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        f"while not pathlib.Path({str(tmp_path / 'told')!r}).exists(): time.sleep(0.02)\n"
        f"pathlib.Path({str(done)!r}).touch()\n"
    )
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from ocr_cml.compare.processes import Job, run_jobs\n"
        f"job = Job([sys.executable, '-c', {body!r}], Path({str(tmp_path / 'outcome.json')!r}))\n"
        "sys.exit(run_jobs([job], 1, os.environ, lambda index: None, lambda index, code: code))\n"
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what children inherit
    try:
        process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    finally:
        signal.signal(signal.SIGHUP, before)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    (tmp_path / "told").touch()
    assert process.wait(timeout=60) == 0
    assert done.exists()
