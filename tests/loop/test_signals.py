"""Signals that ask a run to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_cml.loop.signals import noted


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """What a test leaves is put back."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_is_noted_and_the_handlers_are_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with noted() as asked:
        signal.raise_signal(number)
        assert asked == [number]
    assert signal.getsignal(number) == before


def test_one_that_is_ignored_stays_so() -> None:
    """As under `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with noted() as asked:
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
        signal.raise_signal(signal.SIGHUP)
        assert not asked
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_a_closed_terminal_may_be_told_twice() -> None:
    with noted() as asked:
        signal.raise_signal(signal.SIGHUP)
        signal.raise_signal(signal.SIGHUP)
        assert asked == [signal.SIGHUP]


def test_a_launcher_repeats_itself(repository: Path) -> None:
    """Of a process that Paddle's launcher started, what comes again within seconds is not a second request."""
    script = (
        "import signal, time\nfrom ocr_cml.loop import signals\nsignals._REPEATS = 0.5\n"
        "with signals.noted() as asked:\n    for _ in range(3):\n        signal.raise_signal(signal.SIGTERM)\n"
        "    print('goes on', asked == [signal.SIGTERM], flush=True)\n"
        "    time.sleep(0.6)\n    signal.raise_signal(signal.SIGTERM)\n    print('and on')\n"
    )
    environment = os.environ | {"PADDLE_TRAINER_ID": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "goes on True\n")


def test_a_second_one_ends_the_process_at_once(repository: Path) -> None:
    script = (
        "import signal\nfrom ocr_cml.loop.signals import noted\n"
        "with noted():\n    signal.raise_signal(signal.SIGINT)\n    print('goes on', flush=True)\n"
        "    signal.raise_signal(signal.SIGTERM)\n    print('and on')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "goes on\n")
