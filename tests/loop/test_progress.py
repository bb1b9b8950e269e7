"""The live display on a real terminal, plain lines elsewhere, and the arithmetic of the time left."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from ocr_cml.loop.progress import Display, Pace
from ocr_cml.records import Best
from ocr_cml.words import duration, memory, pace

FOLLOW = """
import logging, sys
from pathlib import Path
from ocr_cml.loop import startup
from ocr_cml.loop.progress import Display
from ocr_cml.records import Best
from ocr_cml.log import LOG, start_logging
start_logging(Path(sys.argv[1]))
with Display(20, lambda step: 1 if step < 20 else 0, memory=lambda: "1.2 GB of 8.0 GB taken").begin(10) as display:
    for step in range(11, 21):
        display.stepped(step)
        if step % 5 == 0:
            display.logged(12.5, {"db/Student": 3.25, "db/Student2": 4.5, "mutual/Student<-Student2": 0.125},
                           {"agreement/Student,Student2": 0.875}, 1e-3)
            LOG.warning("something odd at %d", step)
    display.evaluated({"Student": {"hmean": 0.5}, "Student2": {"hmean": 0.25}}, Best("Student", 0.5, 4))
"""


def in_terminal(repository: Path, log: Path, columns: int = 120) -> str:
    """What a process writes to a terminal of its own."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", FOLLOW, str(log)], cwd=repository, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 1 << 16)
        except OSError:  # Linux says so when the other end is closed
            break
        if not chunk:
            break
        said += chunk
    assert process.wait() == 0, said.decode()
    os.close(ours)
    return said.decode()


def test_a_terminal_shows_one_display_and_the_log_file_holds_the_lines(repository: Path, tmp_path: Path) -> None:
    said = in_terminal(repository, tmp_path / "train.log")
    assert "step 20/20 |" in said and "100%" in said
    assert "steps a second, 0 s left" in said
    assert "loss 12.50   db 3.25 4.5   mutual 0.125   agreement 0.875" in said
    assert "hmean at step 20: Student 0.5000, Student2 0.2500; best Student 0.5000" in said
    assert "something odd at 15" in said
    assert "db/Student2 4.5000" not in said  # the plain line is for the file
    log = (tmp_path / "train.log").read_text()
    assert "INFO step 15/20  loss 12.5000  db/Student 3.2500  db/Student2 4.5000" in log
    assert "agreement 0.875" in log and "lr 1.00e-03" in log


def test_a_narrow_terminal_gets_shorter_lines(repository: Path, tmp_path: Path) -> None:
    said = in_terminal(repository, tmp_path / "train.log", columns=40)
    assert "loss 12.50   db 3.25 4.5   mutual 0.12…" in said
    assert "agreement" not in said


def test_without_a_terminal_there_are_plain_lines(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", FOLLOW, str(tmp_path / "train.log")]
    said = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True).stderr
    lines = said.splitlines()
    assert lines[0].startswith("estimate: ") and lines[0].endswith("left and evaluations; 1.2 GB of 8.0 GB taken")
    assert lines[1].startswith("step 15/20  loss 12.5000  db/Student 3.2500  db/Student2 4.5000  mutual/")
    assert "agreement 0.875" in lines[1] and "steps a second" in lines[1] and "left" in lines[1]
    assert lines[2] == "something odd at 15"
    assert "\r" not in said and "\x1b" not in said


def test_other_processes_say_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with Display(3, lambda _: 0, shown=False).begin(0) as display:
        for step in (1, 2, 3):
            display.stepped(step)
        display.logged(1.0, {"db/Student": 1.0}, {}, 0.1)
        display.evaluated({"Student": {"hmean": 0.5}}, Best("Student", 0.5, 3))
    assert capfd.readouterr() == ("", "")


class Clock:
    """Seconds that pass when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_time_left_is_steps_and_evaluations() -> None:
    """2 s a step, the first of 30 s not counted; 6 steps and 2 evaluations of 5 s are left: 22 s."""
    clock = Clock()
    measured = Pace(10, lambda step: 2 if step < 10 else 0, clock)
    clock.now += 30
    measured.stepped()
    assert measured.seconds_a_step is None and measured.left(1) is None
    for _ in range(3):
        clock.now += 2
        measured.stepped()
    assert (measured.seconds_a_step, measured.left(4)) == (2.0, 12.0)
    clock.now += 5
    assert measured.evaluated() == 5.0
    assert measured.left(4) == 22.0
    clock.now += 50  # a checkpoint, say
    measured.paused()
    clock.now += 2
    measured.stepped()
    assert measured.seconds_a_step == 2.0
    assert measured.left(10) == 0.0


def test_quantities_in_words() -> None:
    assert [duration(value) for value in (0, 59.6, 500, 11100)] == ["0 s", "1 min 00 s", "8 min 20 s", "3 h 05 min"]
    assert [pace(value) for value in (1.714, 0.25)] == ["1.71 s a step", "4.0 steps a second"]
    assert [memory(value) for value in (350e6, 1.44e9)] == ["350 MB", "1.4 GB"]
