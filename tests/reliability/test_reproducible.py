"""The same seed on the same machine gives the same bits, whoever makes the batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiny

from tests.reliability import kills

pytestmark = pytest.mark.slow


def test_no_worker_one_or_three_give_the_same_losses_and_weights(tiny_set: Path, tmp_path: Path) -> None:
    for workers in (0, 1, 3):
        loader = {"batch_size_per_card": 2, "num_workers": workers}
        with tiny.Run(tiny.settings(tiny_set, tmp_path / f"w{workers}", Train__loader=loader), max_steps=8) as trainer:
            trainer.fit()
    assert len([r for r in kills.records(tmp_path / "w0") if "loss" in r]) == 8
    for workers in (1, 3):
        kills.assert_equal(tmp_path / f"w{workers}", tmp_path / "w0")


def test_another_seed_gives_other_losses(tiny_set: Path, tmp_path: Path) -> None:
    """So the test above can fail."""
    for seed in (1, 2):
        with tiny.Run(tiny.settings(tiny_set, tmp_path / f"s{seed}", Global__seed=seed), max_steps=2) as trainer:
            trainer.fit()
    assert kills.records(tmp_path / "s1") != kills.records(tmp_path / "s2")
