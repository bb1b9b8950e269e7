"""What is trained and what counts as finished, what is refused before it, and one real comparison."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from compared import ALONE, DML, ONE, REPOSITORY, described, finish, finish_both, plan_of

from ocr_cml import assemble
from ocr_cml.compare import OUTCOME, is_finished, run_all
from ocr_cml.compare.outcome import PlannedRun
from ocr_cml.compare.plan import make_plan, missing_weights
from ocr_cml.compare.same_data import refuse_other_data
from ocr_cml.compare.same_start import refuse_same_students
from ocr_cml.loop.run import is_trained_in
from ppocr_data.errors import ConfigError, UserError, WeightsError
from ppocr_data.locks import lock


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
    length = ("Global.max_steps=4", "Optimizer.lr.decay_steps=7")
    for change in (*length, "Global.eval_batch_step=[0,5]", "Optimizer.lr.learning_rate=0.1"):
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


@pytest.mark.parametrize("line", ['{"step": 1, "los', "5"])
def test_damaged_records_are_told_before_the_next_training(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    monkeypatch.setattr("ocr_cml.compare.runner.run_jobs", lambda jobs, *rest: begun.extend(jobs))
    plan = plan_of(tmp_path)
    finish(plan.run("alone", 1), [0.5, 0.6])
    with (plan.run("alone", 1).folder / "metrics.jsonl").open("a") as records:
        records.write(f"{line}\n")
    with pytest.raises(UserError, match=r"seed1/metrics\.jsonl: cannot be read \(ValueError: damaged lines: 1\)"):
        run_all(plan, {}, "the command")
    assert begun == []


def test_a_teacher_of_finished_runs_need_not_be_there_any_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teachers = {"inference": {"inference_model": str(tmp_path / "gone")}}
    asks = {"name": "asks", "teacher": "inference", "terms": [tiny.LABELS, tiny.TEACHER]}
    plan = plan_of(tmp_path, [ALONE, asks], seeds=[1], teachers=teachers)
    with_labels(tmp_path)
    finish(plan.run("asks", 1), [0.1])
    begun: list[Any] = []
    monkeypatch.setattr("ocr_cml.compare.runner.run_jobs", lambda jobs, *rest: begun.extend(jobs))
    assert run_all(plan, {}, "the command") == ""
    assert len(begun) == 1
    (plan.run("asks", 1).folder / OUTCOME).unlink()
    with pytest.raises(WeightsError, match="gone: no such folder"):
        run_all(plan, {}, "the command")


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
    assert missing_weights(plan_of(tmp_path, [ALONE, ONE], teachers=teachers).runs) == []
    (line,) = missing_weights(plan_of(tmp_path, [ALONE, ONE, asks], teachers=teachers).runs)
    assert "typo: no such folder" in line
    assert "(needed by asks)" in line


# --- one real comparison ---------------------------------------------------------------------------------------------


def compare(path: Path, *more: str, wait: bool = True) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "tools" / "compare.py"), "-c", str(path), *more]
    process = subprocess.Popen(command, cwd=REPOSITORY, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if wait:
        process.wait(timeout=300)
    return process


def test_white_ground_for_no_pictures_is_refused(tmp_path: Path) -> None:
    done = compare(described(tmp_path), "--report-only", "--without-images")
    out, err = done.communicate()
    assert (done.returncode, out) == (2, "")
    assert "--without-images draws nothing by itself: say of which method, --differences METHOD" in err


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
    again = compare(
        path, "--report-only", "--differences", "dml2", "--without-images", "-o", "only=[alone, dml2, lost]"
    )
    said, complaint = again.communicate()
    assert again.returncode == 0, complaint
    assert "2 of 3 runs" in said
    page = (tmp_path / "out" / "differences_without_images" / "dml2.md").read_text(encoding="utf-8")
    assert "-o 'only=[alone, dml2, lost]'\n" in (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert "Grey areas: texts" in page
    assert page.startswith("# dml2 beside alone\n") and f"pictures in {tmp_path}" in said
    assert {name: (runs / name / "seed4" / "metrics.jsonl").read_bytes() for name in lines} == before
    assert yaml.safe_load((tmp_path / "out" / "configs" / "alone.seed4.yml").read_text())["Global"]["seed"] == 4
