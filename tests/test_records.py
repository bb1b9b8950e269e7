"""metrics.jsonl: full precision, each step once, whatever a kill cut short."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ocr_cml.records import IN_EVALUATION, Best, Records, best_of, paces


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "metrics.jsonl"


def written(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_full_precision_and_at_once(path: Path) -> None:
    with closing(Records(path, keep=False)) as records:
        records.append({"step": 1, "loss": 0.1 + 0.2, "mutual/Student<-Student2": 1e-17})
        assert written(path) == [{"step": 1, "loss": 0.30000000000000004, "mutual/Student<-Student2": 1e-17}]


@pytest.mark.parametrize("keep", [True, False])
def test_a_resumed_run_goes_on_and_a_fresh_one_begins_anew(path: Path, keep: bool) -> None:
    for step in (1, 2):
        with closing(Records(path, keep=keep)) as records:
            records.append({"step": step})
    assert written(path) == ([{"step": 1}, {"step": 2}] if keep else [{"step": 2}])


def test_the_last_of_a_kind(path: Path) -> None:
    with closing(Records(path, keep=True)) as records:
        assert records.last("program") is None
        for entry in ({"step": 0, "program": 1}, {"step": 0, "program": 2}, {"step": 1, "loss": 0.5}):
            records.append(entry)
        with path.open("a", encoding="utf-8") as file:
            file.write('7\n{"step": 2, "progr')
        assert records.last("program") == 2


def test_steps_that_are_repeated_are_forgotten(path: Path) -> None:
    with closing(Records(path, keep=True)) as records:
        for step in (1, 2, 3, 4):
            records.append({"step": step, "loss": step / 3})
        records.append({"step": 2, "eval": {"Student": {"hmean": 0.5}}})
        assert records.forget_after(2) == 4
        assert records.forget_after(2) == 2
        records.append({"step": 3, "loss": 9.0})
    assert [record["step"] for record in written(path)] == [1, 2, 2, 3]
    assert written(path)[-1]["loss"] == 9.0
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_an_evaluation_that_is_made_anew_is_forgotten_and_its_step_is_not(path: Path) -> None:
    with closing(Records(path, keep=True)) as records:
        for step in (1, 2):
            records.append({"step": step, "loss": step / 3})
            records.append({"step": step, "eval": {"Student": {"hmean": 0.5}}})
        records.append({"step": 2, "divergence": {"students": ["Student"], IN_EVALUATION: True}})
        records.append({"step": 2, "divergence": {"students": ["Student2"]}})  # before that step moved anybody
        assert records.forget_after(2, evaluated_anew=True) == 2
    kept = [(record["step"], *(key for key in record if key != "step")) for record in written(path)]
    assert kept == [(1, "loss"), (1, "eval"), (2, "loss"), (2, "divergence")]


@pytest.mark.parametrize("cut", [b'{"step": 2, "lo', b"", b"{}", b"[2]", b'{"step": null}', b'{"step": 2, "x": "\xc3'])
def test_a_line_that_a_kill_cut_short_is_dropped(path: Path, cut: bytes) -> None:
    path.write_bytes(b'{"step": 1}\n' + cut)
    with closing(Records(path, keep=True)) as records:
        assert records.forget_after(5) == 5
        records.append({"step": 6})
    assert written(path) == [{"step": 1}, {"step": 6}]


def test_a_folder_in_its_place_is_an_error_of_the_system(path: Path) -> None:
    path.mkdir()
    with pytest.raises(IsADirectoryError):
        Records(path, keep=True)


def test_paces_leave_out_evaluations_and_what_a_stop_cut_off() -> None:
    """The evaluation at 15 cuts nothing off the ten steps to 20; of those to 40 a resumed process made two."""
    records: list[dict[str, Any]] = [
        {"step": 0, "teacher": {}},
        {"step": 10, "seconds": 40.0},
        {"step": 15, "eval": {}},
        {"step": 20, "seconds": 10.0},
        {"step": 25, "loss": 1.0},  # of a version that did not time its steps
        {"step": 30, "seconds": 30.0, "steps": 10},
        {"step": 30, "eval": {}},
        {"step": 35, "divergence": {"restart": 1}},
        {"step": 40, "seconds": 20.0, "steps": 2},
        {"step": 50, "seconds": float("nan"), "steps": 10},
    ]
    assert paces(records) == [(10, 4.0, 10), (20, 1.0, 10), (30, 3.0, 5), (40, 10.0, 10)]


def test_paces_of_a_run_that_began_within_another_count_its_own_steps() -> None:
    assert paces([{"step": 110, "seconds": 5.0, "steps": 10}]) == [(110, 0.5, 10)]


def test_of_equals_the_earliest_is_best_and_the_ensemble_is_no_student() -> None:
    def scores(*hmeans: float, ensemble: float = 0.99) -> dict[str, dict[str, float]]:
        return {f"S{i}": {"hmean": h} for i, h in enumerate(hmeans)} | {"ensemble": {"hmean": ensemble}}

    assert best_of([(5, scores(0.1, 0.4)), (10, scores(0.4, 0.3)), (15, scores(0.2, 0.4))]) == Best("S1", 0.4, 5)
    assert best_of([(15, scores(0.2, 0.4)), (10, scores(0.4, 0.4))]) == Best("S0", 0.4, 10)
    assert best_of([(5, {"ensemble": {"hmean": 0.9}, "S0": {}})]) is None
    assert best_of([]) is None
