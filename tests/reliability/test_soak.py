"""A training holds no more memory, files and threads at its end than after its warm-up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability import soak

STEPS = int(os.environ.get("OCR_CML_SOAK", "120"))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_a_training_grows_in_nothing(tmp_path: Path) -> None:
    growth = soak.main(STEPS, tmp_path)
    print(growth)
    assert growth.readings >= 5
    assert not growth.problems


def test_growth_would_be_seen() -> None:
    readings = [soak.Reading(step, 500 + step, 100, 20, 5 + step // 60) for step in range(100)]
    assert [problem.split()[0] for problem in soak.Growth.of(readings, 100).problems] == ["resident_mb", "threads"]
    flat = [soak.Reading(step, 500 + step % 7, 100, 20, 5) for step in range(100)]
    assert not soak.Growth.of(flat, 100).problems
