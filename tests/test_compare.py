"""Comparisons: what is trained, what counts as finished, what the tables say of made-up runs, and one real one."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import yaml
from matplotlib.figure import Figure

from ocr_cml import assemble, config
from ocr_cml.compare import OUTCOME, chart, is_finished, run_all
from ocr_cml.compare.csv_files import COLUMNS, STEP_COLUMNS
from ocr_cml.compare.plan import Plan, PlannedRun, make_plan, missing_weights
from ocr_cml.compare.processes import Job, core_shares, run_jobs
from ocr_cml.compare.report import write_report
from ocr_cml.compare.results import (
    Gain,
    Spread,
    by_chance,
    deployed_parameters,
    gains,
    make_rows,
    read_result,
    read_results,
    seconds_a_step,
)
from ocr_cml.compare.runner import compare as compare_runs
from ocr_cml.compare.same_data import refuse_other_data
from ocr_cml.compare.same_start import refuse_same_students
from ocr_cml.loop.run import is_trained_in
from ocr_cml.models import build_detector
from ppocr_data.errors import ConfigError, UserError, WeightsError
from ppocr_data.locks import lock

REPOSITORY = Path(__file__).resolve().parent.parent
SHIPPED = REPOSITORY / "configs" / "compare.yml"
MEASURED = (sys.executable, "-I", str(REPOSITORY / "ocr_cml" / "compare" / "measured.py"))
ALONE: dict[str, Any] = {"name": "alone", "students": "max", "terms": [tiny.LABELS]}
DML: dict[str, Any] = {"name": "dml2", "students": 2, "terms": [tiny.LABELS, tiny.MUTUAL]}
ONE: dict[str, Any] = {"name": "one", "teacher": "network", "terms": [tiny.LABELS, {"STLoss": {"temperature": 2.0}}]}


def described(folder: Path, methods: Sequence[dict[str, Any]] = (ALONE, DML), **keys: Any) -> Path:
    """A compare.yml over a tiny base (which need not have data: nothing is read before a training)."""
    base = tiny.write(tiny.settings(folder / "data", folder / "elsewhere"), folder / "base.yml")
    given = {"base": str(base), "output": str(folder / "out"), "seeds": [1, 2], "methods": list(methods)} | keys
    return tiny.write(given, folder / "compare.yml")


def plan_of(folder: Path, methods: Sequence[dict[str, Any]] = (ALONE, DML), **keys: Any) -> Plan:
    return make_plan(described(folder, methods, **keys))


def finish(run: PlannedRun, *evaluations: Sequence[float], ensemble: float = 0.9, code: int = 0) -> None:
    """The folder of a run that evaluated each student every ten steps: a second for every two steps."""
    run.folder.mkdir(parents=True, exist_ok=True)
    config.save(run.config, run.folder / "config.yml")
    names = list(run.config.students)
    records: list[dict[str, Any]] = []
    for number, scores in enumerate(evaluations, start=1):
        records.append({"step": 10 * number, "loss": 1.0, "lr": 0.1, "seconds": 5.0})
        each = {name: {"hmean": score} for name, score in zip(names, scores, strict=True)}
        if len(names) > 1:
            each["ensemble"] = {"hmean": ensemble}
        records.append({"step": 10 * number, "eval": each})
    text = "".join(json.dumps(record) + "\n" for record in records)
    (run.folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    outcome = {"exit_code": code, "wall_seconds": 61.25, "peak_bytes": 300 * 1024 * 1024}
    (run.folder / OUTCOME).write_text(json.dumps(outcome), encoding="utf-8")


def finish_both(plan: Plan) -> None:
    """Two seeds of two students alone and of a cohort of two."""
    finish(plan.run("alone", 1), [0.50, 0.60])
    finish(plan.run("alone", 2), [0.70, 0.40])
    finish(plan.run("dml2", 1), [0.66, 0.62], ensemble=0.70)
    finish(plan.run("dml2", 2), [0.60, 0.72], ensemble=0.80)


def flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(data, dict) and data:
        return {k: v for key, value in data.items() for k, v in flat(value, f"{prefix}.{key}").items()}
    return {prefix: data}


# --- what is trained -------------------------------------------------------------------------------------------------


def shipped(monkeypatch: pytest.MonkeyPatch, *overrides: str) -> Plan:
    monkeypatch.chdir(REPOSITORY)
    return make_plan(SHIPPED, overrides)


def test_the_shipped_comparison_has_every_method(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shipped(monkeypatch)
    counts = {method.name: method.count for method in plan.methods}
    one = dict.fromkeys(("logits", "st", "at", "nst", "rkd", "ofd", "afd"), 1)
    two = dict.fromkeys(("dml2", "dml2_text", "taught", "cml", "cml_fading", "cml_text", "cml_ppocrv2"), 2)
    assert counts == {"alone": 4, **one, "dml3": 3, "dml4": 4, **two}
    assert len(plan.runs) == len(counts) * len(plan.settings.seeds)
    assert [run.seed for run in plan.runs] == sorted(run.seed for run in plan.runs)


def test_every_shipped_method_differs_from_the_base_where_it_says_and_loads(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = shipped(monkeypatch)
    base = config.load(plan.settings.base)
    assert plan.settings.overrides == []
    for run in plan.runs:
        config.save(run.config, tmp_path / "run.yml")
        assert config.load(tmp_path / "run.yml") == run.config
        before, now = flat(base.model_dump(mode="json")), flat(run.config.model_dump(mode="json"))
        differing = {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
        free = (".Architecture.Models.", ".Loss.loss_config_list", ".Global.seed", ".Global.save_model_dir")
        assert [key for key in differing if not key.startswith(free)] == []
        assert run.config.Global.seed == run.seed
        assert Path(run.config.Global.save_model_dir) == run.folder
        for student in run.config.students.values():
            assert student == base.students["Student"]


@pytest.mark.parametrize("name", ["compare_sroie2019.yml", "compare_icdar2015.yml", "compare_few_labels.yml"])
def test_comparisons_on_real_photos_load_with_equal_terms_under_equal_names(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    plan = make_plan(REPOSITORY / "configs" / name)
    terms = {method.name: method.terms for method in shipped(monkeypatch).methods}
    assert len(plan.settings.seeds) >= 2
    assert plan.reference(2).name == "alone"
    for method in plan.methods:
        named = "alone" if method.learns_alone else method.name.removesuffix("_unlabelled")
        assert method.terms == (terms["cml"][1:] if named == "label_free" else terms[named])
    for run in plan.runs:
        assert run.config.Global.max_steps == run.config.Optimizer.lr.decay_steps


def test_receipts_have_three_seeds_and_cohorts_of_three_their_own_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    receipts = make_plan(REPOSITORY / "configs" / "compare_sroie2019.yml")
    assert len(receipts.settings.seeds) >= 3
    assert receipts.reference(3).name == "alone3"


def test_with_few_labels_every_step_has_as_many_crops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)
    for run in make_plan(REPOSITORY / "configs" / "compare_few_labels.yml").runs:
        train = run.config.Train
        labelled = train.loader.batch_size_per_card if train.dataset.label_file_list else 0
        assert labelled + (train.unlabeled.batch_size_per_card if train.unlabeled else 0) == 4


def test_the_shipped_baselines_are_those_of_their_own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = shipped(monkeypatch)
    files = {path.stem: path for path in (REPOSITORY / "configs" / "kd").glob("*.yml")}
    assert files.keys() >= {"logits", "st", "at", "nst", "rkd", "ofd", "afd"}
    for name in files.keys() & {method.name for method in plan.methods}:
        own, other = config.load(files[name]), plan.run(name, 1).config
        assert other.Loss.loss_config_list == own.Loss.loss_config_list
        assert {net.spec == own.teachers["Teacher"].spec for net in other.teachers.values()} == {True}


def test_methods_of_a_seed_start_from_the_same_weights(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    alone, peers = (assemble.build_students(plan.run(name, 2).config)[0] for name in ("alone", "dml2"))
    assert list(alone) == list(peers) == ["Student", "Student2"]
    for name in alone:
        tiny.assert_same(tiny.state_of(alone[name]), tiny.state_of(peers[name]))
    first, second = tiny.state_of(alone["Student"]), tiny.state_of(alone["Student2"])
    assert not np.array_equal(first["backbone.conv.conv.weight"], second["backbone.conv.conv.weight"])


def test_students_beyond_the_base_are_its_students_in_turn(tmp_path: Path) -> None:
    base = tiny.settings(tmp_path / "data", tmp_path / "run")
    base["Architecture"]["Models"]["Student2"] = tiny.OTHER_STUDENT
    tiny.write(base, tmp_path / "hetero.yml")
    three = {**DML, "students": 3}
    plan = plan_of(tmp_path, [ALONE, three], base=str(tmp_path / "hetero.yml"))
    necks = [student.spec["Neck"]["name"] for student in plan.run("dml2", 1).config.students.values()]
    assert necks == ["RSEFPN", "DBFPN", "RSEFPN"]


def test_largest_is_that_of_the_methods_that_run(tmp_path: Path) -> None:
    four = {**DML, "name": "dml4", "students": 4}
    assert plan_of(tmp_path, [ALONE, DML, four]).methods[0].count == 4
    assert plan_of(tmp_path, [ALONE, DML, four], only=["alone", "dml2"]).methods[0].count == 2


def test_the_reference_is_the_smallest_that_has_enough_students(tmp_path: Path) -> None:
    alone = {**ALONE, "name": "single", "students": 1}
    other = {**ALONE, "name": "slower", "students": 2, "overrides": ["Optimizer.lr.learning_rate=0.001"]}
    plan = plan_of(tmp_path, [ALONE, alone, other, DML])
    assert (plan.reference(1).name, plan.reference(2).name) == ("single", "alone")
    assert plan.run("slower", 1).config.Optimizer.lr.learning_rate == 0.001
    assert plan.run("dml2", 1).config.Optimizer.lr.learning_rate == 0.003


def test_another_loss_on_the_labels_is_a_method_and_not_what_alone_means(tmp_path: Path) -> None:
    bce = {"name": "bce", "terms": [{"DBLoss": {"main_loss_type": "BCELoss"}}]}
    slower = {**ALONE, "name": "slower", "students": 1, "overrides": ["Optimizer.lr.learning_rate=0.001"]}
    plan = plan_of(tmp_path, [ALONE, bce, slower, DML], seeds=[1])
    scored = {"alone": [0.80, 0.81], "bce": [0.60], "slower": [0.80], "dml2": [0.82, 0.83]}
    for name, scores in scored.items():
        finish(plan.run(name, 1), scores)
    results = read_results(plan)
    found = {method.name: gains(plan, method, 1, results) for method in plan.methods}
    assert found.pop("alone") is None
    assert {name: pytest.approx(both) for name, both in found.items()} == {
        "bce": (-0.2, -0.2),
        "slower": (0.0, 0.0),
        "dml2": (0.02, 0.02),
    }
    with pytest.raises(ConfigError, match=r"`only` leaves out alone, which trains them; set only=\[alone,bce,slower\]"):
        plan_of(tmp_path, [ALONE, bce, slower], only=["bce", "slower"])


def test_the_command_line_reaches_the_comparison_and_the_base(tmp_path: Path) -> None:
    plan = make_plan(described(tmp_path, overrides=["Global.max_steps=9"]), ["seeds=[7]", "Global.max_steps=2"])
    assert [run.seed for run in plan.runs] == [7, 7]
    assert {run.config.Global.max_steps for run in plan.runs} == {2}


def test_the_teacher_is_the_one_that_a_method_asks_for(tmp_path: Path) -> None:
    base = tiny.settings(tmp_path / "data", tmp_path / "run", terms=[tiny.LABELS, tiny.TEACHER])
    base["Architecture"]["Models"]["Guide"] = {"freeze_params": True, "inference_model": "models/guide"}
    tiny.write(base, tmp_path / "taught.yml")
    shown = {"name": "shown", "teacher": "inference", "terms": [tiny.LABELS, tiny.TEACHER]}
    teachers = {"network": {"pretrained": "best", **tiny.OTHER_STUDENT}}
    plan = plan_of(tmp_path, [ALONE, shown, ONE], base=str(tmp_path / "taught.yml"), teachers=teachers)
    found = {name: plan.run(name, 1).config.teachers for name in ("alone", "shown", "one")}
    assert found["alone"] == {}
    assert [net.inference_model for net in found["shown"].values()] == ["models/guide"]
    assert [(net.pretrained, net.spec) for net in found["one"].values()] == [("best", tiny.OTHER_STUDENT)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"sedes": [1]}, r"sedes: unknown key 'sedes'; did you mean 'seeds'\?"),
        ({"seeds": []}, r"seeds: "),
        ({"seeds": [1, 1]}, r"seeds: a seed stands twice"),
        ({"only": ["dml"]}, r"only\.0: no method is called 'dml'; did you mean 'dml2'\?"),
        ({"score": "mean"}, r"score: "),
        ({"methods": [ALONE, DML, DML]}, r"methods\.2\.name: 'dml2' is the name of another method"),
        ({"methods": [{**ALONE, "name": "a/b"}]}, r"methods\.0\.name: "),
        ({"methods": [ALONE, {**DML, "students": 0}]}, r"methods\.1\.students: "),
        ({"methods": [{**ALONE, "students": 1}, DML]}, r"methods\.1\.students: 2 students are compared .* there are 1"),
        ({"methods": [DML]}, r"methods\.0\.students: .* there are 0; add a method of labels alone"),
        ({"only": ["dml2"]}, r"methods\.1\.students: .*; `only` leaves out alone, .* set only=\[alone,dml2\]"),
        ({"methods": [ALONE, {**DML, "students": 1}]}, r"methods\.1\.terms\.1\.DMLLoss: .*two students"),
        ({"methods": [ALONE, {**DML, "terms": [{"DMLoss": {}}]}]}, r"methods\.1\.terms\.0: .* did you mean 'DMLLoss'"),
        ({"methods": [ALONE, {**DML, "overrides": ["Loss.updat=1"]}]}, r"methods\.1 \(dml2\): Loss\.updat: unknown"),
        ({"methods": [ALONE, ONE]}, r"methods\.1\.teacher: network, .* teachers\.network"),
        (
            {
                "methods": [ALONE, ONE],
                "teachers": {"network": {"pretrained": "x", **tiny.STUDENT, "Neck": {"name": "R"}}},
            },
            r"teachers\.network\.Neck\.name: unknown neck 'R'.*\(.*compare\.yml:\d+\)",
        ),
        ({"overrides": ["Global.max_step=1"]}, r"base: .*base\.yml.*\n.*did you mean 'max_steps'"),
        ({"overrides": ["Global.checkpoints=there"]}, r"overrides\.0: Global\.checkpoints: no method may start"),
        ({"overrides": ["Global.seed=3"]}, r"overrides\.0: Global\.seed: set seeds"),
        ({"overrides": ["Loss.loss_config_list.0.DBLoss.alpha=3"]}, r"overrides\.0: .* set methods\.N\.terms"),
        (
            {"methods": [ALONE, {**DML, "overrides": ["Global.checkpoints=there"]}]},
            r"methods\.1\.overrides\.0: Global\.c",
        ),
    ],
)
def test_mistakes_are_named_by_their_key(tmp_path: Path, keys: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, **keys)
    assert re.search(expected, str(caught.value)), str(caught.value)


def test_a_misspelt_key_hides_no_other_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"seds: unknown key 'seds'; did you mean 'seeds'\?") as caught:
        plan_of(tmp_path, seds=[1], only=["alone", "dlm2"])
    assert re.search(r"only\.1: .*'dlm2'", str(caught.value)), str(caught.value)


@pytest.mark.parametrize("key", ["Global.seed", "Global.save_model_dir", "Loss.loss_config_list", "Global.checkpoints"])
def test_what_a_comparison_sets_itself_is_refused_on_the_command_line(tmp_path: Path, key: str) -> None:
    with pytest.raises(ConfigError, match=rf"-o: {re.escape(key)}: "):
        make_plan(described(tmp_path), [f"{key}=7"])


def test_a_training_is_no_comparison_and_the_other_way_round() -> None:
    training, comparison = REPOSITORY / "configs" / "det_cml.yml", REPOSITORY / "configs" / "compare.yml"
    with pytest.raises(ConfigError, match=r"det_cml\.yml: is the configuration of one training, for tools/train\.py"):
        make_plan(training)
    with pytest.raises(ConfigError, match=r"compare\.yml: is a comparison.*of one is its base, configs/det_cml\.yml"):
        config.load(comparison)


def test_a_base_that_goes_on_from_a_checkpoint_is_refused(tmp_path: Path) -> None:
    path = described(tmp_path)
    base = tiny.settings(tmp_path / "data", tmp_path / "elsewhere", Global__checkpoints="there")
    tiny.write(base, tmp_path / "base.yml")
    with pytest.raises(ConfigError, match=r"base: Global\.checkpoints is set"):
        make_plan(path)


@pytest.mark.parametrize("taken", ["out", "out/compare.log", "out/configs"])
def test_an_output_that_cannot_be_written_is_named(tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ocr_cml.compare.runner.tune_process", list)  # paddle was imported already
    path, place = described(tmp_path), tmp_path / taken
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.name == "compare.log":
        place.mkdir()
    else:
        place.write_text("a file where a folder is to be", encoding="utf-8")
    with pytest.raises(UserError, match=rf"output: {place} cannot be written \(.*\); choose another folder"):
        compare_runs(str(path), [])


# --- what has finished -----------------------------------------------------------------------------------------------


def test_a_run_is_finished_when_its_process_ended_well(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    assert not is_finished(run)
    finish(run, [0.1, 0.2], code=130)
    assert not is_finished(run)
    finish(run, [0.1, 0.2])
    assert is_finished(run)


def test_loudness_and_place_may_change_and_length_and_learning_may_not(tmp_path: Path) -> None:
    finish(plan_of(tmp_path).run("dml2", 1), [0.1, 0.2])
    path = described(tmp_path)
    harmless = ["Global.print_batch_step=7", "Train.loader.num_workers=1", "Global.teacher_check=true"]
    assert is_finished(make_plan(path, harmless).run("dml2", 1))
    for change in ("Global.max_steps=4", "Global.eval_batch_step=[0,5]", "Optimizer.lr.learning_rate=0.1"):
        with pytest.raises(ConfigError, match=change.split("=")[0].replace(".", r"\.")):
            is_finished(make_plan(path, [change]).run("dml2", 1))


def test_what_failed_before_it_saved_anything_may_begin_with_other_values(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    finish(run, code=2)
    mended = make_plan(described(tmp_path), ["Train.dataset.data_dir=there"]).run("dml2", 1)
    assert not is_finished(mended)
    (run.folder / "latest").mkdir()
    with pytest.raises(ConfigError, match=r"other values of Train\.dataset\.data_dir"):
        is_finished(mended)


def test_what_has_finished_is_not_trained_again(tmp_path: Path) -> None:
    """There are no data: a training that was started would fail."""
    plan = plan_of(tmp_path)
    finish_both(plan)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*")}
    assert run_all(plan, {}, "the command") == ""
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "runs").rglob("*")} == before


def begin(run: PlannedRun, data: Path) -> None:
    """The checkpoint of a run that began with the files as they are."""
    finish(run, [0.1] * len(run.config.students), code=130)
    progress: dict[str, Any] = {"step": 1, "trained_on": assemble.labels_digest([str(data / "train.txt")])}
    progress["scored_on"] = assemble.labels_digest([str(data / "val.txt")])
    progress["teachers"] = assemble.teacher_record(run.config)
    progress["started_from"] = assemble.start_record(run.config)
    (run.folder / "latest").mkdir()
    (run.folder / "latest" / "state.json").write_text(json.dumps({"progress": progress}), encoding="utf-8")


def with_labels(folder: Path) -> Path:
    """The data of `plan_of`, as far as anybody looks at them before a training."""
    data = folder / "data"
    data.mkdir()
    for name in ("train.txt", "val.txt"):
        (data / name).write_text("a.jpg\t[]\n")
    return data


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ("train.txt", r"one/seed1: the lines of Train\.dataset\.label_file_list .* were not today's"),
        ("val.txt", r"one/seed1: the lines of Eval\.dataset\.label_file_list .* were not today's"),
        ("teacher.safetensors", r"one/seed1: the files of Architecture\.Models\.Teacher \(.*\) were not today's"),
        (
            "start.safetensors",
            r"one/seed1: the initial weights of Architecture\.Models\.Student \(.*\) were not today's",
        ),
    ],
)
def test_what_changed_on_disk_since_a_run_began_is_refused(changed: str, expected: str, tmp_path: Path) -> None:
    data = with_labels(tmp_path)
    teachers = {"network": {"pretrained": str(tiny.teacher_weights(data / "teacher.safetensors")), **tiny.STUDENT}}
    start = f"Architecture.Models.Student.pretrained={tiny.teacher_weights(data / 'start.safetensors')}"
    plan = plan_of(tmp_path, [ALONE, ONE], seeds=[1], teachers=teachers, overrides=[start])
    begin(plan.run("one", 1), data)
    refuse_other_data(plan, today=True)
    weights = changed.endswith(".safetensors")
    tiny.teacher_weights(data / changed, seed=78) if weights else (data / changed).write_text("b.jpg\t[]")
    with pytest.raises(ConfigError, match=expected):
        run_all(plan, {}, "the command")
    refuse_other_data(plan, today=False)  # its tables are still those of one data set
    begin(plan.run("alone", 1), data)
    if "teacher" not in changed:
        with pytest.raises(ConfigError, match=r"one/seed1: .* were not those of .*alone/seed1"):
            refuse_other_data(plan, today=False)
    (data / changed).unlink()  # what is not there says nothing
    if "teacher" in changed:
        refuse_other_data(plan, today=True)


def test_a_label_that_is_corrected_between_two_runs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = with_labels(tmp_path)
    plan = plan_of(tmp_path, seeds=[1])

    def run_jobs(jobs: Any, count: int, environment: Any, begins: Any, ends: Any) -> int:
        begins(0)
        begin(plan.run("alone", 1), data)
        (data / "train.txt").write_text("a.jpg\t[]\nb.jpg\t[]\n")
        begins(1)
        return 0

    monkeypatch.setattr("ocr_cml.compare.runner.run_jobs", run_jobs)
    with pytest.raises(ConfigError, match=r"alone/seed1: the lines of Train\.dataset\.label_file_list .* not today's"):
        run_all(plan, {}, "the command")


def test_no_table_is_made_of_runs_on_other_data(tmp_path: Path) -> None:
    data = with_labels(tmp_path)
    path = described(tmp_path, seeds=[1])
    plan = make_plan(path)
    begin(plan.run("alone", 1), data)
    (data / "train.txt").write_text("b.jpg\t[]\n")
    begin(plan.run("dml2", 1), data)
    done = compare(path, "--report-only")
    _, err = done.communicate()
    assert done.returncode == 2
    assert re.search(r"dml2/seed1: the lines of .* were not those of .*alone/seed1", err), err


def test_what_a_killed_comparison_left_training_is_named(tmp_path: Path) -> None:
    """It would be told as a failure of a run that then ends well, and another be trained beside it."""
    plan = plan_of(tmp_path, seeds=[1])
    folder = plan.run("dml2", 1).folder
    folder.mkdir(parents=True)
    with (folder / ".lock").open("w+") as held:
        lock(held)
        with pytest.raises(UserError, match=f"output: another process is training in {folder}; what a comparison"):
            run_all(plan, {}, "the command")
    assert not plan.run("alone", 1).folder.exists()
    assert not is_trained_in(folder)


def test_missing_teacher_weights_are_said_before_the_first_training(tmp_path: Path) -> None:
    teachers = {"network": {"pretrained": str(tmp_path / "best"), **tiny.STUDENT}}
    plan = plan_of(tmp_path, [ALONE, ONE], teachers=teachers)
    with pytest.raises(WeightsError, match=r"needed by one\)(.|\n)*only="):
        run_all(plan, {}, "the command")
    assert not (tmp_path / "out" / "runs").exists()


def test_students_from_one_file_are_said_before_the_first_training(tmp_path: Path) -> None:
    weights = tiny.teacher_weights(tmp_path / "official.safetensors")
    plan = plan_of(tmp_path, overrides=[f"Global.pretrained_model={weights}"])
    with pytest.raises(WeightsError, match=r"one student twice; .*Student2\.fresh=\[head\] \(of alone, dml2\)"):
        run_all(plan, {}, "the command")
    assert not (tmp_path / "out" / "runs").exists()
    plan = plan_of(
        tmp_path,
        overrides=[f"Global.pretrained_model={weights}", "Architecture.Models.Student2.fresh=[head]"],
    )
    refuse_same_students(plan.runs)


def test_two_of_three_students_from_one_file_are_said_as_well(tmp_path: Path) -> None:
    """The third of them is the first of the base once more."""
    start = f"Architecture.Models.Student.pretrained={tiny.teacher_weights(tmp_path / 'official.safetensors')}"
    plan = plan_of(tmp_path, [{**ALONE, "students": 3}], overrides=[start])
    with pytest.raises(WeightsError, match="Student and Student3 start from the same weights"):
        refuse_same_students(plan.runs)


def test_teachers_by_address_and_by_name_are_looked_for_where_trainings_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCR_CML_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "example.com" / "teacher.safetensors"
    kept.parent.mkdir(parents=True)
    tiny.teacher_weights(kept)
    teachers = {
        "network": {"pretrained": "https://example.com/teacher.safetensors", **tiny.STUDENT},
        "inference": {"inference_model": str(tmp_path / "typo")},
    }
    asks = {"name": "asks", "teacher": "inference", "terms": [tiny.LABELS, tiny.TEACHER]}
    assert missing_weights(plan_of(tmp_path, [ALONE, ONE], teachers=teachers)) == []
    (line,) = missing_weights(plan_of(tmp_path, [ALONE, ONE, asks], teachers=teachers))
    assert "typo: no such folder" in line
    assert "(needed by asks)" in line


def test_what_drops_students_is_refused(tmp_path: Path) -> None:
    drop = ["Global.on_divergence=drop"]
    with pytest.raises(ConfigError, match=r"(?s)methods\.0.*on_divergence is drop.*methods\.1.*on_divergence is drop"):
        plan_of(tmp_path, overrides=drop)
    with pytest.raises(ConfigError, match=r"1 mistake:\n.*methods\.1.*on_divergence is drop"):
        plan_of(tmp_path, [ALONE, {**DML, "overrides": drop}])


def measured(outcome: Path, body: str) -> int:
    """The exit code of a Python process that was run by measured.py."""
    command = [*MEASURED, str(outcome), sys.executable, "-c", body]
    return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode


def test_memory_is_that_of_the_training_and_not_of_who_started_it(tmp_path: Path) -> None:
    mb = 1024 * 1024
    ballast = np.ones(400 * mb, np.uint8)
    assert measured(tmp_path / "small.json", "pass") == 0
    assert measured(tmp_path / "large.json", f"b'1' * {200 * mb}") == 0
    small, large = (json.loads((tmp_path / name).read_text())["peak_bytes"] for name in ("small.json", "large.json"))
    assert small < 100 * mb < 200 * mb <= large < ballast.nbytes


def test_attempts_add_up(tmp_path: Path) -> None:
    outcome = tmp_path / "outcome.json"
    outcome.write_text(json.dumps({"exit_code": 0, "wall_seconds": 100.0, "peak_bytes": 2**50}), encoding="utf-8")
    assert measured(outcome, "raise SystemExit(3)") == 3
    found = json.loads(outcome.read_text(encoding="utf-8"))
    assert (found["exit_code"], found["peak_bytes"]) == (3, 2**50)
    assert 100 < found["wall_seconds"] < 160


def test_a_signal_that_ends_a_training_is_its_exit_code(tmp_path: Path) -> None:
    outcome = tmp_path / "outcome.json"
    assert measured(outcome, "import os; os.kill(os.getpid(), 9)") == 128 + 9
    assert json.loads(outcome.read_text(encoding="utf-8"))["exit_code"] == -9


def test_a_cut_of_power_takes_no_more_than_the_last_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = tmp_path / "outcome.json"
    outcome.write_text(json.dumps({"exit_code": 1, "wall_seconds": 100.0, "peak_bytes": 7}), encoding="utf-8")
    monkeypatch.setenv("OCR_CML_NOTED_EVERY", "0.2")
    endless = "import os, time\nwhile os.getppid() != 1: time.sleep(0.02)"
    process = subprocess.Popen([*MEASURED, str(outcome), sys.executable, "-c", endless])
    while json.loads(outcome.read_text(encoding="utf-8"))["exit_code"] == 1:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    found = json.loads(outcome.read_text(encoding="utf-8"))
    assert (found["exit_code"], found["peak_bytes"]) == (None, 7)
    assert found["wall_seconds"] >= 100.2
    assert measured(outcome, "pass") == 0
    assert json.loads(outcome.read_text(encoding="utf-8"))["wall_seconds"] > found["wall_seconds"]


def test_a_signal_is_passed_on_and_the_end_awaited(tmp_path: Path) -> None:
    outcome, ready = tmp_path / "outcome.json", tmp_path / "ready"
    body = (
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "time.sleep(60)\n"
    )
    command = [*MEASURED, str(outcome), sys.executable, "-c", body]
    process = subprocess.Popen(command)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert json.loads(outcome.read_text(encoding="utf-8"))["exit_code"] == 143


def test_a_signal_that_is_ignored_stays_so_and_ends_nothing(tmp_path: Path) -> None:
    """As under `nohup`: neither here, nor in between, nor in the training."""
    ready, done = tmp_path / "ready", tmp_path / "done"
    body = (
        "import pathlib, time\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        f"while not pathlib.Path({str(tmp_path / 'told')!r}).exists(): time.sleep(0.02)\n"
        f"pathlib.Path({str(done)!r}).touch()\n"
    )
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from ocr_cml.compare.processes import Job, run_jobs\n"
        f"job = Job([sys.executable, '-c', {body!r}], Path({str(tmp_path / 'outcome.json')!r}))\n"
        "sys.exit(run_jobs([job], 1, os.environ, lambda index: None, lambda index, code: code))\n"
    )
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # what children inherit
    try:
        process = subprocess.Popen([sys.executable, "-c", script], cwd=REPOSITORY)
    finally:
        signal.signal(signal.SIGHUP, before)
    while not ready.exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGHUP)
    (tmp_path / "told").touch()
    assert process.wait(timeout=60) == 0
    assert done.exists()


# --- what the tables say ---------------------------------------------------------------------------------------------


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


def test_seconds_a_step_leave_out_evaluations_and_what_a_stop_cut_off() -> None:
    """The evaluation at 15 cuts nothing off the ten steps to 20; of those to 40 a resumed process made two."""
    records: list[dict[str, Any]] = [
        {"step": 0, "teacher": {}},
        {"step": 10, "seconds": 40.0},
        {"step": 15, "eval": {}},
        {"step": 20, "seconds": 10.0},
        {"step": 30, "seconds": 30.0},
        {"step": 30, "eval": {}},
    ]
    assert seconds_a_step(records) == 3.0  # the median of 4, 1 and 3
    assert seconds_a_step([*records, {"step": 40, "seconds": 20.0, "steps": 2}]) == 3.5  # of 4, 1, 3 and 10


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


def test_the_evaluation_that_counts(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    finish(run, [0.1, 0.8], [0.5, 0.8], [0.4, 0.7], ensemble=0.6)
    last, best = read_result(run, "last"), read_result(run, "best")
    assert (last.students, best.students) == ((0.4, 0.7), (0.5, 0.8))
    assert last.best == best.best == ("Student2", 10, 0.8)
    assert (last.steps, last.seconds, last.ensemble) == (30, 0.5, 0.6)
    assert last.at_best == (0.1, 0.8)  # of the weights that were kept
    finish(run, [0.8, 0.8])
    assert read_result(run, "last").best == ("Student", 10, 0.8)  # as in training: of equals the first


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


def test_csv_has_a_line_a_run_and_markdown_what_people_ask(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, overrides=["Global.max_steps=9"])
    finish_both(plan)
    (plan.run("dml2", 2).folder / OUTCOME).unlink()
    shown = write_report(plan, "python tools/compare.py -c it.yml")

    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line["method"], line["seed"]) for line in lines] == [("alone", "1"), ("dml2", "1"), ("alone", "2")]
    dml = lines[1]
    assert [float(value) for value in dml["each_student"].split()] == [0.66, 0.62]
    assert float(dml["gain_mean_student"]) == pytest.approx(0.64 - 0.55)
    assert float(dml["gain_best_student"]) == pytest.approx(0.66 - 0.60)
    assert (dml["ensemble"], dml["seconds_a_step"], dml["peak_memory_mb"]) == ("0.7", "0.5", "300.0")
    assert (dml["checkpoint_student"], dml["checkpoint_step"], dml["wall_seconds"]) == ("Student", "10", "61.2")
    assert dml["parameters"] == str(deployed_parameters(json.dumps(tiny.STUDENT)))
    assert lines[0]["gain_mean_student"] == ""

    text = (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert (
        "| dml2 | 2 | 1 | 0.6400 | 0.6600 | 0.7000 | +0.0900, within noise | +0.0600, within noise | 0.5 | 300 |"
        in text
    )
    assert "| alone | 2 | 2 | 0.5500 ± 0.0000 | 0.6500 ± 0.0707 | 0.9000 ± 0.0000 | – | – | 0.5 | 300 |" in text
    assert "**Not finished:** dml2 (seed 2)." in text
    assert "Global.max_steps=9" in text
    assert "python tools/compare.py -c it.yml" in text
    assert f"python tools/train.py -c {plan.run('dml2', 2).config_file.as_posix()}" in text
    assert "3 of 4 runs" in shown
    assert "of comparisons: a single" not in text  # two seeds are planned, and one pair has finished
    assert "within noise" in shown


def test_commands_of_a_folder_with_a_space_can_be_pasted(tmp_path: Path) -> None:
    folder = tmp_path / "my photos"
    folder.mkdir()
    plan = plan_of(folder, seeds=[1], overrides=["Train.dataset.data_dir=my photos"])
    finish(plan.run("alone", 1), [0.5, 0.6])
    write_report(plan, "it")
    text = (folder / "out" / "compare.md").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if "alone.seed1.yml" in line]
    assert shlex.split(line) == ["python", "tools/train.py", "-c", plan.run("alone", 1).config_file.as_posix()]
    assert "with `'Train.dataset.data_dir=my photos'`" in text


def test_the_chart_is_drawn_and_the_same_again(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish_both(plan)
    write_report(plan, "it")
    names = ("compare.png", "compare.svg")
    first = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    write_report(plan, "it")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == first
    assert first["compare.png"].startswith(b"\x89PNG")
    assert first["compare.svg"].count(b"<svg ") == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir() if path.is_file()) == [
        *("compare.csv", "compare.md", "compare.png", "compare.svg", "compare_steps.csv")
    ]


def test_the_course_is_drawn_of_runs_that_were_evaluated_twice(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish(plan.run("alone", 1), [0.10, 0.20], [0.50, 0.40])
    finish(plan.run("alone", 2), [0.30, 0.20], [0.60, 0.70])
    finish(plan.run("dml2", 1), [0.25, 0.15])
    assert read_result(plan.run("alone", 1), "last").course == ((10, pytest.approx(0.15)), (20, pytest.approx(0.45)))
    write_report(plan, "it")
    drawn = tmp_path / "out" / "compare_steps.svg"
    first = drawn.read_bytes()
    assert first.count(b"<svg ") == 1 and (tmp_path / "out" / "compare_steps.png").is_file()
    assert (
        "![hmean of the mean student over the steps](compare_steps.png)"
        in (tmp_path / "out" / "compare.md").read_text()
    )
    write_report(plan, "it")
    assert drawn.read_bytes() == first


def test_every_evaluation_is_kept_in_numbers(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish(plan.run("alone", 1), [0.10, 0.20], [0.50, 0.40])
    write_report(plan, "it")
    with (tmp_path / "out" / "compare_steps.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == STEP_COLUMNS
    assert [(line["step"], line["network"], line["hmean"]) for line in lines] == [
        *(("10", "Student", "0.1"), ("10", "Student2", "0.2"), ("10", "ensemble", "0.9")),
        *(("20", "Student", "0.5"), ("20", "Student2", "0.4"), ("20", "ensemble", "0.9")),
    ]
    assert {(line["method"], line["seed"], line["recall"]) for line in lines} == {("alone", "1", "")}


def test_each_teacher_is_named_by_where_it_lies(tmp_path: Path) -> None:
    """The base's inference model and compare.yml's network are both called Teacher."""
    network = {"pretrained": "weights.pdparams", **tiny.STUDENT}
    plan = plan_of(
        tmp_path,
        [ALONE, {**ONE, "teacher": "inference"}, {**ONE, "name": "other"}],
        teachers={"inference": {"inference_model": "exported"}, "network": network},
    )
    for run in plan.runs:
        finish(run, [0.5])
        hmean = {"one": 0.9, "other": 0.6}.get(run.method)
        if hmean is not None:
            with (run.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": 10, "teacher": {"Teacher": {"hmean": hmean}}}) + "\n")
    write_report(plan, "it")
    text = (plan.output / "compare.md").read_text(encoding="utf-8")
    assert "on the same images: Teacher (exported) 0.9000, Teacher (weights.pdparams) 0.6000." in text


def test_runs_of_several_states_of_the_program_are_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish_both(plan)

    def said_by(*states: str | None) -> list[str]:
        for run, state in zip(plan.runs, states, strict=True):
            path = run.folder / "metrics.jsonl"
            lines = [line for line in path.read_text(encoding="utf-8").splitlines() if '"program"' not in line]
            first = [json.dumps({"step": 0, "program": {"ocr_cml": state, "paddle": "3.2.2"}})] if state else []
            path.write_text("".join(f"{line}\n" for line in [*first, *lines]), encoding="utf-8")
        write_report(plan, "command")
        written = (plan.output / "compare.md").read_text(encoding="utf-8").splitlines()
        return [line for line in written if "state of the program" in line]

    assert said_by("aa", "aa", "aa", "aa") == said_by(None, None, None, None) == []
    names = [f"{run.method} (seed {run.seed})" for run in plan.runs]
    (line,) = said_by("aa", "aa", "bb", None)
    assert f"by ocr_cml aa, paddle 3.2.2: {names[0]}, {names[1]}; by ocr_cml bb, paddle 3.2.2: {names[2]}; " in line
    assert line.endswith(f"by one that did not say: {names[3]}.")


def test_more_methods_than_colours_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(chart, "save_figure", lambda figure, files: drawn.append(figure))
    chart.draw_course({f"method{i}": [[(1, 0.1), (2, 0.2)]] for i in range(17)}, [])
    lines = drawn[0].axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 17
    assert drawn[0].axes[0].get_ylabel() == "hmean of the mean student"


def test_damaged_records_are_named(tmp_path: Path) -> None:
    run = plan_of(tmp_path).run("dml2", 1)
    finish(run, [0.1, 0.2])
    (run.folder / "metrics.jsonl").write_text('{"step": 1, "lo', encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.jsonl: .* train it again"):
        read_result(run, "last")
    (run.folder / OUTCOME).write_text("{}", encoding="utf-8")
    with pytest.raises(UserError, match=r"outcome\.json: .* remove it"):
        is_finished(run)


# --- several at once -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cores", "count", "expected"),
    [
        ([0, 1], 1, [None]),
        ([0, 1], 2, [{0}, {1}]),
        ([2, 5, 6, 7], 2, [{2, 5}, {6, 7}]),
        ([0, 1, 2, 3, 4], 2, [{0, 1}, {2, 3, 4}]),
        ([4, 9], 3, [{4}, {9}, {4}]),
        ([], 2, [None, None]),
    ],
)
def test_cores_are_shared_out(cores: list[int], count: int, expected: list[set[int] | None]) -> None:
    assert core_shares(cores, count) == expected


def recorder(folder: Path, seconds: float = 0.0, code: int = 0) -> Callable[[int], Job]:
    """Jobs that note when they began, on which cores, and when they ended."""
    program = (
        "import json, os, sys, time; name = sys.argv[1]; began = time.time(); time.sleep(float(sys.argv[2]));"
        "cores = sorted(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else [];"
        "open(name, 'w').write(json.dumps([began, time.time(), cores])); sys.exit(int(sys.argv[3]))"
    )

    def job(number: int) -> Job:
        arguments = [sys.executable, "-c", program, str(folder / f"{number}.json"), str(seconds), str(code)]
        return Job(arguments, folder / f"{number}.outcome")

    return job


def test_two_run_side_by_side_on_cores_of_their_own(tmp_path: Path) -> None:
    before = sorted(os.sched_getaffinity(0))
    began: list[int] = []
    ended: list[tuple[int, int]] = []
    make = recorder(tmp_path, seconds=1.0)
    assert run_jobs(map(make, range(4)), 2, os.environ, began.append, lambda *end: ended.append(end) or 0) == 0
    spans = [json.loads((tmp_path / f"{i}.json").read_text()) for i in range(4)]
    assert began == [0, 1, 2, 3]
    assert sorted(ended) == [(0, 0), (1, 0), (2, 0), (3, 0)]
    assert spans[1][0] < spans[0][1]  # the second began before the first had ended
    assert spans[2][0] > min(spans[0][1], spans[1][1])  # the third did not
    assert sorted(os.sched_getaffinity(0)) == before
    if len(before) > 1:
        assert not set(spans[0][2]) & set(spans[1][2])


def test_one_that_was_told_to_stop_stops_the_others_and_begins_no_more(tmp_path: Path) -> None:
    make = recorder(tmp_path, seconds=0.2)
    long = recorder(tmp_path, seconds=60.0)
    jobs = (make(0), long(1), make(2))
    began: list[int] = []
    started = time.monotonic()
    assert run_jobs(jobs, 2, os.environ, began.append, lambda index, code: signal.SIGTERM) == signal.SIGTERM
    assert time.monotonic() - started < 30
    assert began == [0, 1]


def test_what_fails_here_leaves_no_training_behind(tmp_path: Path) -> None:
    """A full disk while the tables are written, say."""

    def ends(index: int, code: int) -> bool:
        raise UserError("no space left")

    jobs = (recorder(tmp_path, seconds=0.2)(0), recorder(tmp_path, seconds=60.0)(1))
    started = time.monotonic()
    with pytest.raises(UserError, match="no space left"):
        run_jobs(jobs, 2, os.environ, lambda index: None, ends)
    assert time.monotonic() - started < 30
    assert json.loads((tmp_path / "1.outcome").read_text())["exit_code"] != 0  # it has ended, and was told to


# --- one real comparison ---------------------------------------------------------------------------------------------


def compare(path: Path, *more: str, wait: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "tools" / "compare.py"), "-c", str(path), *more]
    process = subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if wait:
        process.wait(timeout=300)
    return process


def test_tables_of_no_comparison_are_refused(tmp_path: Path) -> None:
    done = compare(described(tmp_path), "--report-only", "-o", f"output={tmp_path / 'mistyped'}")
    out, err = done.communicate()
    assert (done.returncode, out) == (2, "")
    assert f"output: {tmp_path / 'mistyped'} holds no comparison; --report-only makes the tables of one that" in err
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.slow
def test_two_methods_interrupted_and_taken_up_again(tiny_set: Path, tmp_path: Path) -> None:
    """A signal, a second start to the end beside a method that fails, and a third that trains nothing."""
    lost = {**ALONE, "name": "lost", "students": 1, "overrides": [f"Train.dataset.data_dir={tmp_path / 'nowhere'}"]}
    path = described(tmp_path, [ALONE, DML, lost], seeds=[4])
    base = tiny.settings(tiny_set, tmp_path / "elsewhere", Global__save_batch_step=1, Global__epoch_num=1)
    tiny.write(base | {"Global": base["Global"] | {"max_steps": 2}}, tmp_path / "base.yml")
    runs = tmp_path / "out" / "runs"

    stopped = compare(path, wait=False)
    while not (runs / "alone" / "seed4" / ".lock").exists():
        assert stopped.poll() is None, stopped.communicate()
        time.sleep(0.02)
    stopped.send_signal(signal.SIGTERM)  # as a scheduler does
    assert stopped.wait(timeout=300) == 143
    assert not (runs / "dml2").exists()

    done = compare(path, "-o", "jobs=2")
    out, err = done.communicate()
    assert done.returncode == 2, err
    assert "lost, seed 4: exit code 2" in err.splitlines()[-1]
    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8", newline="") as file:
        lines = {line["method"]: line for line in csv.DictReader(file)}
    assert {name: (line["students"], line["steps"]) for name, line in lines.items()} == {
        "alone": ("2", "2"),
        "dml2": ("2", "2"),
    }
    assert all(float(line["peak_memory_mb"]) > 100 and float(line["seconds_a_step"]) > 0 for line in lines.values())
    assert "| dml2 | 2 | 1 |" in out

    before = {name: (runs / name / "seed4" / "metrics.jsonl").read_bytes() for name in lines}
    again = compare(path, "--report-only", "--differences", "dml2", "-o", "only=[alone, dml2, lost]")
    said, complaint = again.communicate()
    assert again.returncode == 0, complaint
    assert "2 of 3 runs" in said
    page = (tmp_path / "out" / "differences" / "dml2.md").read_text(encoding="utf-8")
    assert "-o 'only=[alone, dml2, lost]'\n" in (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert page.startswith("# dml2 beside alone\n") and f"pictures in {tmp_path}" in said
    assert {name: (runs / name / "seed4" / "metrics.jsonl").read_bytes() for name in lines} == before
    assert yaml.safe_load((tmp_path / "out" / "configs" / "alone.seed4.yml").read_text())["Global"]["seed"] == 4
