"""What a training made, read while it goes on."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import tiny
from safetensors.numpy import load_file

from ocr_cml import assemble
from ocr_cml.trained import load_trained
from ppocr_data.errors import WeightsError


@pytest.fixture
def saves(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, list[str]]:
    """A configuration whose weights are replaced, where the list says so, between two students that are read."""
    for name, seed in (("run", 5), ("newer", 6)):
        tiny.fit(tiny.settings(tiny_set, tmp_path / name, Global__seed=seed), max_steps=1)
    latest = tmp_path / "run" / "latest"
    settings = tiny.settings(tiny_set, tmp_path / "run", Global__pretrained_model=str(latest))
    read = assemble.students._load_result
    coming: list[str] = []

    def meanwhile(student: Any, name: str, *rest: Any) -> Any:
        found = read(student, name, *rest)
        if name == "Student" and coming:
            other = coming.pop(0)
            shutil.rmtree(latest)
            if other:
                shutil.copytree(tmp_path / other / "latest", latest)
        return found

    monkeypatch.setattr(assemble.students, "_load_result", meanwhile)
    return tiny.load(settings, tmp_path), coming


@pytest.mark.parametrize("replaced", [["newer"], []])
def test_students_are_all_of_one_checkpoint(replaced: list[str], saves: tuple[Any, list[str]], tmp_path: Path) -> None:
    config, coming = saves
    coming[:] = replaced
    trained = load_trained(config)
    kept = tmp_path / ("newer" if replaced else "run") / "latest"
    for name, student in trained.students.items():
        tiny.assert_same(tiny.state_of(student), dict(load_file(kept / f"{name}.safetensors")))
    assert trained.checkpoint is not None and not coming


def test_one_that_is_replaced_all_the_time_is_refused(saves: tuple[Any, list[str]], tmp_path: Path) -> None:
    config, coming = saves
    shutil.copytree(tmp_path / "run", tmp_path / "older")
    coming[:] = ["newer", "older"] * 5
    with pytest.raises(WeightsError, match="was replaced by its training each time it was read"):
        load_trained(config)


def test_one_that_is_taken_away_is_no_longer_there(saves: tuple[Any, list[str]]) -> None:
    config, coming = saves
    coming[:] = [""]
    with pytest.raises(WeightsError, match="latest: no such weight file"):
        load_trained(config)
