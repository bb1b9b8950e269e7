"""Trainings as processes: several at once, each on its own share of the cores, signals passed on to all of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import FrameType

from ocr_cml.compare.measured import FORWARDED
from ocr_cml.hearing import hearing

_MEASURED = Path(__file__).with_name("measured.py")
_POLL_SECONDS = 0.2


class Job:
    """One command to be run and measured.

    Attributes:
        command: as it is started: the given one, measured by `ocr_cml.compare.measured`.
        outcome: the file that receives what it took, see `ocr_cml.compare.measured.run`.
    """

    def __init__(self, command: Sequence[str], outcome: Path) -> None:
        self.command = [sys.executable, "-I", str(_MEASURED), str(outcome), *command]
        self.outcome = outcome


def run_jobs(
    jobs: Iterable[Job],
    at_once: int,
    environment: Mapping[str, str],
    begins: Callable[[int], None],
    ends: Callable[[int, int], int],
) -> int:
    """Run commands in their order, `at_once` of them side by side, until all have ended or a signal came.

    Small networks leave cores idle within a step, so that two trainings of one core each get further in an hour than
    one after the other on both (measured: docs/performance.md).

    Args:
        jobs: the commands; each is asked for when its turn has come.
        at_once: how many run together, >= 1. Each of several is bound to its share of this process's cores.
        environment: their variables.
        begins: told a job's index before its start.
        ends: told its index and exit code when it has ended; returns 0 if the others may go on, else the signal for
            which they must not.

    Returns:
        0 where all were run, else the signal that came, to us or as `ends` says. What ran then has been asked to save
        its state and has ended; so it has where `begins` or `ends` raise.
    """
    shares = core_shares(_cores(), at_once)
    free, waiting = list(range(at_once)), iter(enumerate(jobs))
    running: dict[subprocess.Popen[bytes], tuple[int, int]] = {}
    stopping = 0
    with _signals_passed_on(running) as came, _none_left_behind(running):
        while True:
            while free and not came and not stopping and (following := next(waiting, None)):
                index, job = following
                begins(index)
                slot = free.pop(0)
                child = _start(job, environment, shares[slot])
                running[child] = index, slot
                if came:  # while it was being started: it was not among those that were told
                    child.send_signal(came[-1])
            if not running:
                return came[0] if came else stopping
            for child in [child for child in running if child.poll() is not None]:
                index, slot = running.pop(child)
                free.append(slot)
                if (told := ends(index, child.returncode)) and not stopping:
                    stopping = told
                    for other in running:
                        other.send_signal(signal.SIGTERM)
            time.sleep(_POLL_SECONDS)


@contextmanager
def _none_left_behind(running: Mapping[subprocess.Popen[bytes], object]) -> Iterator[None]:
    """Where something goes wrong here, those that run are asked to save their state and waited for.

    They are in sessions of their own: nobody else would tell them.
    """
    try:
        yield
    except BaseException:
        for child in running:
            child.send_signal(signal.SIGTERM)
        for child in running:
            child.wait()
        raise


def core_shares(cores: Sequence[int], count: int) -> list[set[int] | None]:
    """The cores of each of `count` processes: neighbours together, none idle; None: no share, all of them.

    With more processes than cores, several share one.
    """
    if count == 1 or not cores:
        return [None] * count
    if count >= len(cores):
        return [{cores[i % len(cores)]} for i in range(count)]
    bounds = [i * len(cores) // count for i in range(count + 1)]
    return [set(cores[low:high]) for low, high in pairwise(bounds)]


def _cores() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _start(job: Job, environment: Mapping[str, str], cores: set[int] | None) -> subprocess.Popen[bytes]:
    # A child begins on the cores of the thread that makes it; this thread alone changes, and changes back.
    own = _cores()
    if cores is not None:
        os.sched_setaffinity(0, cores)
    try:
        # In a session of its own: a Ctrl-C in the terminal reaches it once, through us, and not its loader's workers.
        return subprocess.Popen(job.command, env=dict(environment), stdout=subprocess.DEVNULL, start_new_session=True)
    finally:
        if cores is not None:
            os.sched_setaffinity(0, own)


@contextmanager
def _signals_passed_on(running: Mapping[subprocess.Popen[bytes], object]) -> Iterator[list[int]]:
    """Meanwhile signals to this process go to those that run; yields the list of those that came."""
    came: list[int] = []

    def forward(number: int, _: FrameType | None) -> None:
        came.append(number)
        for child in list(running):
            child.send_signal(number)

    with hearing(FORWARDED, forward):
        yield came
