"""What the tables say of made-up runs: spreads, gains, costs."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import tiny
from compared import ALONE, DML, ONE, finish, finish_both, plan_of

from ocr_cml.compare import OUTCOME, is_finished
from ocr_cml.compare.results import (
    Gain,
    Spread,
    by_chance,
    deployed_parameters,
    make_rows,
    read_result,
    read_results,
)
from ocr_cml.models import build_detector
from ocr_cml.records import Best
from ppocr_data.errors import ConfigError, UserError


def test_spread_and_gain_by_hand() -> None:
    spread = Spread.of([0.70, 0.72, 0.77])
    assert spread.mean == pytest.approx(0.73)
    assert spread.deviation == pytest.approx(math.sqrt((0.03**2 + 0.01**2 + 0.04**2) / 2))
    gain = Gain.of([0.01, 0.02, 0.06])
    assert gain.mean == pytest.approx(0.03)
    assert gain.error == pytest.approx(math.sqrt((0.02**2 + 0.01**2 + 0.03**2) / 2 / 3))
    assert str(gain) == "+0.0300 ± 0.0153, within noise"
    assert Spread.of([0.5]) == Spread(0.5, None)
    assert (str(Spread.of([0.5])), str(Gain.of([-0.5]))) == ("0.5000", "-0.5000, within noise")


@pytest.mark.parametrize(
    ("mean", "error", "verdict"),
    [
        (0.02, 0.01, "better"),
        (0.0199, 0.01, "within noise"),
        (-0.02, 0.01, "worse"),
        (-0.0199, 0.01, "within noise"),
        (0.3, None, "within noise"),
        (0.01, 0.0, "better"),
        (0.0, 0.0, "within noise"),
    ],
)
def test_less_than_two_standard_errors_is_noise(mean: float, error: float | None, verdict: str) -> None:
    assert Gain(mean, error).verdict == verdict


def test_how_often_noise_passes_for_a_gain() -> None:
    """Student's t in closed form: 1 degree is Cauchy's arctangent, 2 degrees t / sqrt(2 + t^2)."""
    assert by_chance(2) == pytest.approx(1 - 2 / math.pi * math.atan(2), abs=1e-5)
    assert by_chance(3) == pytest.approx(1 - 2 / math.sqrt(6), abs=1e-5)
    assert by_chance(2000) == pytest.approx(math.erfc(2 / math.sqrt(2)), abs=2e-4)


def test_deployed_parameters_leave_out_the_threshold_map() -> None:
    network = build_detector(tiny.STUDENT)
    counted = {name: int(np.prod(p.shape)) for name, p in network.named_parameters()}
    statistics = sum(count for name, count in counted.items() if name.endswith(("._mean", "._variance")))
    counted = {name: count for name, count in counted.items() if not name.endswith(("._mean", "._variance"))}
    training_only = sum(count for name, count in counted.items() if name.startswith("head.thresh."))
    assert min(training_only, statistics) > 0
    deployed = deployed_parameters(json.dumps(tiny.STUDENT))
    assert deployed == sum(counted.values()) - training_only
    # And what the exported graph holds: running statistics are its constants too.
    neck = {"Neck": {"name": "RepLKFPN", "out_channels": 24}}
    more = {"Head": {**tiny.STUDENT["Head"], "aux_in_channels": 24}}
    assert deployed_parameters(json.dumps(tiny.STUDENT | neck | more)) == deployed_parameters(
        json.dumps(tiny.STUDENT | neck)
    )


def test_a_pause_in_a_training_is_not_what_its_steps_cost(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    finish(run, [0.1, 0.8], [0.5, 0.8], [0.4, 0.7])
    metrics = run.folder / "metrics.jsonl"
    records = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    next(record for record in records if record["step"] == 30 and "seconds" in record)["seconds"] = 50.0
    metrics.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    assert read_result(run, "last").seconds == 0.5


def test_the_evaluation_that_counts(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    finish(run, [0.1, 0.8], [0.5, 0.8], [0.4, 0.7], ensemble=0.6)
    last, best = read_result(run, "last"), read_result(run, "best")
    assert (last.students, best.students) == ((0.4, 0.7), (0.5, 0.8))
    assert last.best == best.best == Best("Student2", 0.8, 10)
    assert (last.steps, last.seconds, last.ensemble) == (30, 0.5, 0.6)
    assert last.at_best == (0.1, 0.8)  # of the weights that were kept
    finish(run, [0.8, 0.8])
    assert read_result(run, "last").best == Best("Student", 0.8, 10)  # as in training: of equals the first


def test_the_most_memory_and_the_largest_student_of_all_seeds_are_what_a_method_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(tmp_path)
    finish_both(plan)
    file = plan.run("dml2", 2).folder / OUTCOME
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peak_bytes": 500}), encoding="utf-8")
    sizes = iter([1, 2, 4, 3])
    monkeypatch.setattr("ocr_cml.compare.results.deployed_parameters", lambda spec: next(sizes))
    found = read_results(plan)
    rows = {row.label: row for row in make_rows(plan, found)}
    assert rows["dml2"].peak_bytes == 300 * 1024 * 1024
    assert rows["dml2"].parameters == max(found["dml2", seed].parameters for seed in (1, 2))
    assert len({found["dml2", seed].parameters for seed in (1, 2)}) == 2


def test_gains_are_over_as_many_students_alone_and_paired_by_seed(tmp_path: Path) -> None:
    single = {"name": "bce", "terms": [{"DBLoss": {"main_loss_type": "BCELoss"}}]}
    plan = plan_of(tmp_path, [ALONE, single, DML])
    finish_both(plan)
    finish(plan.run("bce", 1), [0.9])
    rows = {(row.label, row.students): row for row in make_rows(plan, read_results(plan))}
    assert set(rows) == {("alone (first 1 of 2)", 1), ("bce", 1), ("alone", 2), ("dml2", 2)}
    bce = rows["bce", 1].gain_best
    assert bce is not None and (bce.mean, bce.seeds) == (pytest.approx(0.9 - 0.5), 1)
    dml = rows["dml2", 2]
    assert dml.mean.mean == pytest.approx((0.64 + 0.66) / 2)
    assert dml.best.mean == pytest.approx((0.66 + 0.72) / 2)
    assert dml.ensemble is not None
    assert dml.ensemble.mean == pytest.approx(0.75)
    assert dml.gain_mean is not None
    assert dml.gain_mean.mean == pytest.approx((0.64 - 0.55 + 0.66 - 0.55) / 2)
    assert dml.gain_best is not None
    assert dml.gain_best.mean == pytest.approx((0.66 - 0.60 + 0.72 - 0.70) / 2)  # not over the first alone: .16 and .02
    assert dml.gain_best.error == pytest.approx(0.02)  # half the distance of .06 and .02
    assert dml.gain_best.verdict == "better"
    assert rows["alone", 2].gain_mean is None


def test_one_student_is_held_against_the_first_alone(tmp_path: Path) -> None:
    teachers = {"network": {"pretrained": "best", **tiny.STUDENT}}
    plan = plan_of(tmp_path, [ALONE, DML, ONE], teachers=teachers)
    finish_both(plan)
    finish(plan.run("one", 1), [0.58])
    finish(plan.run("one", 2), [0.69])
    rows = {row.label: row for row in make_rows(plan, read_results(plan))}
    assert list(rows) == ["alone (first 1 of 2)", "alone", "dml2", "one"]
    first = rows["alone (first 1 of 2)"]
    assert first.mean.mean == pytest.approx((0.50 + 0.70) / 2)
    assert (first.seconds, first.shared_time, first.peak_bytes, first.ensemble) == (0.25, True, None, None)
    gain = rows["one"].gain_mean
    assert gain is not None
    assert gain.mean == pytest.approx((0.58 - 0.50 + 0.69 - 0.70) / 2)
    assert gain.error == pytest.approx(0.045)
    assert gain.verdict == "within noise"


def test_fewer_methods_keep_the_students_that_were_trained_alone(tmp_path: Path) -> None:
    """Seed 1 of all methods is there, with four students alone; of seed 2 two methods want two."""
    four = {**DML, "name": "dml4", "students": 4}
    finish(plan_of(tmp_path, [ALONE, DML, four]).run("alone", 1), [0.50, 0.60, 0.90, 0.90])
    plan = plan_of(tmp_path, [ALONE, DML, four], only=["alone", "dml2"])
    assert [len(plan.run("alone", seed).config.students) for seed in (1, 2)] == [4, 2]
    assert is_finished(plan.run("alone", 1))
    finish(plan.run("alone", 2), [0.70, 0.40])
    finish(plan.run("dml2", 1), [0.66, 0.62])
    finish(plan.run("dml2", 2), [0.60, 0.72])
    alone, dml = make_rows(plan, read_results(plan))
    assert (alone.label, alone.students, alone.ensemble) == ("alone (first 2 of 4)", 2, None)
    assert alone.mean.mean == pytest.approx((0.50 + 0.60 + 0.70 + 0.40) / 4)
    assert alone.seconds == pytest.approx((0.5 * 2 / 4 + 0.5) / 2)
    assert dml.gain_best is not None
    assert dml.gain_best.mean == pytest.approx((0.66 - 0.60 + 0.72 - 0.70) / 2)


def test_methods_that_need_more_students_alone_say_so(tmp_path: Path) -> None:
    four = {**DML, "name": "dml4", "students": 4}
    finish(plan_of(tmp_path, [ALONE, DML, four], only=["alone", "dml2"]).run("alone", 1), [0.5, 0.6])
    plan = plan_of(tmp_path, [ALONE, DML, four])
    with pytest.raises(ConfigError, match=r"seed1: alone was trained with 2 students, and this comparison asks for 4;"):
        is_finished(plan.run("alone", 1))


def test_seeds_without_both_sides_are_not_compared(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish(plan.run("alone", 1), [0.5, 0.6])
    finish(plan.run("dml2", 1), [0.7, 0.7])
    finish(plan.run("dml2", 2), [0.1, 0.1])
    row = make_rows(plan, read_results(plan))[-1]
    assert (row.label, row.seeds) == ("dml2", 2)
    assert row.gain_mean is not None
    assert row.gain_mean.mean == pytest.approx(0.15)
    assert row.gain_mean.verdict == "within noise"


def test_damaged_records_are_named(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    finish(run, [0.1, 0.2])
    (run.folder / "metrics.jsonl").write_text('{"step": 1, "lo', encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl: .* train it again"):
        read_result(run, "last")
    (run.folder / OUTCOME).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"outcome\.json: .* remove it"):
        is_finished(run)
