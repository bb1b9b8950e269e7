"""How much is tried, how long an input may take, and what was tried in all.

`OCR_CML_FUZZ=20 python -m pytest tests/reliability/test_fuzz_data.py tests/reliability/test_fuzz_files.py` tries fifty
times as many inputs as the usual 0.4; the number stands at the end of the output. Where the variable is set, the
inputs are new ones every time (`tests/conftest.py`).
"""

from __future__ import annotations

import collections
import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, settings

BUDGET = float(os.environ.get("OCR_CML_FUZZ", "0.4"))
SECONDS = 20
TRIED: collections.Counter[str] = collections.Counter()


def tries(usual: int) -> Callable[[Any], Any]:
    """A multiple of so many inputs."""
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large]
    return settings(max_examples=max(1, round(usual * BUDGET)), deadline=None, suppress_health_check=checks)


@contextlib.contextmanager
def one_input(kind: str) -> Iterator[None]:
    """Count an input; one that takes 20 seconds of the processor is a hang, and fails."""

    def too_long(_: int, __: FrameType | None) -> None:
        raise TimeoutError(f"{kind}: no answer after {SECONDS} s")

    TRIED[kind] += 1
    before = signal.signal(signal.SIGPROF, too_long)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
