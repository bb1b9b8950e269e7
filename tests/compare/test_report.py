"""The tables and charts as files and pages."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny
from compared import ALONE, DML, ONE, finish, finish_both, plan_of
from matplotlib.figure import Figure

from ocr_cml.compare import OUTCOME, chart
from ocr_cml.compare.csv_files import COLUMNS, STEP_COLUMNS
from ocr_cml.compare.report import table, write_report
from ocr_cml.compare.results import (
    deployed_parameters,
    make_rows,
    read_result,
    read_results,
)


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
    result = read_result(plan.run("alone", 1), "last")
    assert result.course(2) == ((10, pytest.approx(0.15)), (20, pytest.approx(0.45)))
    assert result.course(1) == ((10, 0.10), (20, 0.50))
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


def test_a_chart_shows_the_lines_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One student is held against the first of those alone, in the picture as well."""
    drawn: list[Figure] = []
    monkeypatch.setattr(chart, "save_figure", lambda figure, files: drawn.append(figure))
    teachers = {"network": {"pretrained": "weights.pdparams", **tiny.STUDENT}}
    plan = plan_of(tmp_path, [ALONE, DML, ONE], seeds=[1], teachers=teachers)
    finish(plan.run("alone", 1), [0.1, 0.5], [0.5, 0.9])
    finish(plan.run("dml2", 1), [0.2, 0.4], [0.6, 0.8])
    finish(plan.run("one", 1), [0.3], [0.6])
    write_report(plan, "command")
    at_the_end, on_the_way = drawn
    lines = {line.get_label(): list(line.get_ydata()) for line in on_the_way.axes[0].get_lines()}
    expected = {"alone (first 1 of 2)": [0.1, 0.5], "alone": [0.3, 0.7], "dml2": [0.3, 0.7], "one": [0.3, 0.6]}
    assert lines == {name: pytest.approx(values) for name, values in expected.items()}
    rows = [label.get_text().partition(",")[0] for label in at_the_end.axes[0].get_yticklabels()]
    assert rows == list(lines)


def test_charts_of_other_runs_do_not_stay(tmp_path: Path) -> None:
    finished = plan_of(tmp_path, seeds=[1])
    finish(finished.run("alone", 1), [0.1, 0.5], [0.5, 0.9])
    write_report(finished, "command")
    assert len([*finished.output.glob("compare*.png"), *finished.output.glob("compare*.svg")]) == 4
    write_report(plan_of(tmp_path, seeds=[7]), "command")
    assert [*finished.output.glob("compare*.png"), *finished.output.glob("compare*.svg")] == []
    assert ".png" not in (finished.output / "compare.md").read_text(encoding="utf-8")


def test_on_how_many_cores_trainings_ran_is_told_by_what_they_noted(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)

    def said_by(*cores: Sequence[int] | None) -> list[str]:
        for run, each in zip(plan.runs, cores, strict=True):
            finish(run, [0.5, 0.6], cores=each)
        write_report(plan, "command")
        written = (plan.output / "compare.md").read_text(encoding="utf-8").splitlines()
        return [line for line in written if line.startswith(("- Cores", "- **Not on"))]

    assert said_by(None, None, None, None) == []
    assert said_by([1], [1], [1], [1]) == ["- Cores of each training: 1."]
    names = [f"{run.method} (seed {run.seed})" for run in plan.runs]
    assert said_by([1], [2], [1, 2], None) == [
        "- **Not on as many cores each**, so that seconds a step are no comparison: "
        f"on 1: {names[0]}; on 2: {names[1]}; on 1 and 2: {names[2]}; on an unknown number: {names[3]}."
    ]


def test_a_gain_over_fewer_seeds_than_the_method_has_says_so(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, seeds=[1, 2, 3])
    finish_both(plan)
    finish(plan.run("dml2", 3), [0.1, 0.1])
    alone, dml = table(make_rows(plan, read_results(plan)))[2:]
    assert "| 3 | 0.4667 ± 0.3177 |" in dml
    assert "| +0.1000 ± 0.0100, better, of 2 of 3 seeds | +0.0400 ± 0.0200, better, of 2 of 3 seeds |" in dml
    assert "of" not in alone
    finish(plan.run("alone", 3), [0.1, 0.1])
    assert "of 2" not in table(make_rows(plan, read_results(plan)))[3]


def test_students_that_began_anew_are_told(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    finish_both(plan)

    def said() -> list[str]:
        write_report(plan, "it")
        lines = (plan.output / "compare.md").read_text(encoding="utf-8").splitlines()
        return [line for line in lines if "Began anew" in line]

    assert said() == []
    with (plan.run("dml2", 2).folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        for step, name in ((5, "Student2"), (9, "Student")):
            file.write(
                json.dumps({"step": step, "divergence": {"students": [name], "restart": "its loss is nan"}}) + "\n"
            )
    assert said() == [
        "- **Began anew**, with fewer steps than the others: dml2 (seed 2), Student2 at step 5; dml2 (seed 2), "
        "Student at step 9."
    ]


def test_more_methods_than_colours_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []
    monkeypatch.setattr(chart, "save_figure", lambda figure, files: drawn.append(figure))
    chart.draw_course({f"method{i}": [[(1, 0.1), (2, 0.2)]] for i in range(17)}, [])
    lines = drawn[0].axes[0].get_lines()
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == len(lines) == 17
    assert drawn[0].axes[0].get_ylabel() == "hmean of the mean student"
