"""What is left in the run folder at the end, and at an interrupt; a report that fails costs no training."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import tiny

from ocr_cml import environment
from ocr_cml.loop import finish
from ocr_cml.loop.signals import Interrupted


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    logger = logging.getLogger("ocr_cml")
    before, logger.propagate = logger.propagate, True
    caplog.set_level(logging.INFO, logger="ocr_cml")
    yield caplog
    logger.propagate = before


def test_a_finished_run_has_pictures_of_its_best_weights_and_makes_them_once(
    tiny_set: Path, tmp_path: Path, said: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):  # the second start finds the run finished
        with tiny.Run(tiny.settings(tiny_set, tmp_path / "run")) as trainer:
            best = trainer.fit()
    found = json.loads((tmp_path / "run/validation/validation.json").read_text())
    assert (found["student"], found["step"]) == (best.student, best.step)
    assert list(found["curves"]) == ["Student", "Student2", "ensemble"]
    assert len(found["best"]) == len(found["worst"]) == 1
    # At the threshold of the evaluation the curve says what the evaluation said.
    records = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    scores = next(record["eval"] for record in records if "eval" in record and record["step"] == best.step)
    for name, score in scores.items():
        point = next(p for p in found["curves"][name] if p["box_thresh"] == found["box_thresh"])
        assert {key: point[key] for key in score} == pytest.approx(score)
    looked = [record for record in said.records if "with the best weights" in record.getMessage()]
    assert len(looked) == 1
    assert "validation.tmp" not in [path.name for path in (tmp_path / "run").iterdir()]


def test_an_interrupted_run_has_the_report_of_its_last_evaluation(tiny_set: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tiny_set, tmp_path / "run", Global__eval_batch_step=[0, 1], Global__max_steps=50)
    with tiny.Run(settings) as trainer:
        evaluate = trainer._evaluate

        def evaluate_and_signal() -> None:
            evaluate()
            signal.raise_signal(signal.SIGTERM)

        trainer._evaluate = evaluate_and_signal  # type: ignore[method-assign]
        with pytest.raises(Interrupted):
            trainer.fit()
    assert "hmean at step 1" in (tmp_path / "run/report.html").read_text()


def test_damaged_weights_cost_the_pictures_not_the_training(
    tiny_set: Path, tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run")) as trainer:
        conclude = finish.conclude

        def damage_and_conclude(run: object) -> None:
            (tmp_path / "run/best/Student.safetensors").write_bytes(b"")
            conclude(run)  # type: ignore[arg-type]

        monkeypatch.setattr(finish, "conclude", damage_and_conclude)
        assert trainer.fit() is not None
    assert any("the report is not complete" in record.getMessage() for record in said.records)
    assert not (tmp_path / "run/validation").exists()
    assert (tmp_path / "run/report.html").is_file()


def test_a_defect_of_the_report_costs_no_training(
    tiny_set: Path, tmp_path: Path, said: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finish.report, "write_report", lambda _: 1 / 0)
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run")) as trainer:
        assert trainer.fit() is not None
    told = [record for record in said.records if "by a defect of this program" in record.getMessage()]
    assert told
    assert told[0].exc_info


def test_memory_is_known_here() -> None:
    taken, there = environment.peak_memory(), environment.machine_memory()
    assert taken is not None and there is not None
    assert 10e6 < taken < there
