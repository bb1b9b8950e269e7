"""What tells one run's configuration from another's, and what a resume may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from ocr_cml import config
from ocr_cml.changed_keys import different_keys

GIVEN = Path(__file__).resolve().parent.parent / "configs" / "det_cml.yml"


def record(folder: Path, *overrides: str) -> Path:
    """What a run of the quick start has on record."""
    config.save(config.load(GIVEN, list(overrides)), folder / "config.yml")
    return folder / "config.yml"


def test_the_same_is_no_difference(tmp_path: Path) -> None:
    assert different_keys(record(tmp_path), config.load(GIVEN)) == []


def test_how_long_where_and_how_loudly_may_differ(tmp_path: Path) -> None:
    changes = [
        "Global.epoch_num=9",
        "Global.max_steps=7",
        "Global.print_batch_step=3",
        "Global.save_batch_step=3",
        "Global.eval_batch_step=[1, 3]",
        "Global.save_model_dir=elsewhere",
        "Global.save_inference_dir=elsewhere",
        "Global.teacher_check=false",
        "Global.use_gpu=false",
        "Train.loader.num_workers=0",
        "Optimizer.lr.decay_steps=7",
    ]
    assert different_keys(record(tmp_path), config.load(GIVEN, changes)) == []


def test_a_key_that_may_differ_is_compared_where_it_is_asked_for(tmp_path: Path) -> None:
    changed = config.load(GIVEN, ["Global.checkpoints=elsewhere"])
    assert different_keys(record(tmp_path), changed, also=("Global.checkpoints",)) == ["Global.checkpoints"]


def test_every_key_that_differs_is_named_in_order(tmp_path: Path) -> None:
    changes = ["Optimizer.name=Momentum", "Global.seed=3"]
    differing = different_keys(record(tmp_path), config.load(GIVEN, changes))
    assert differing == sorted(differing)
    assert {"Global.seed", "Optimizer.name"} <= set(differing)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("Optimizer.name=Momentum", "Optimizer.name"),
        ("Train.loader.batch_size_per_card=3", "Train.loader.batch_size_per_card"),
        ("Loss.loss_config_list.DMLLoss.weight=2.0", "Loss.loss_config_list.1.DMLLoss.weight"),
        ("Global.embedded_set=null", "Global.embedded_set"),
    ],
)
def test_what_is_learned_how_may_not_differ(tmp_path: Path, change: str, key: str) -> None:
    recorded = record(tmp_path)
    differing = different_keys(recorded, config.load(GIVEN, [change]))
    assert any(found == key or found.startswith(f"{key}.") for found in differing)
    assert all(found == key or found.startswith(f"{key}.") for found in differing)
