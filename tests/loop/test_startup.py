"""What a run says before its first step, and what it asks of its teachers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

from ocr_cml.loop import startup
from ocr_cml.loop.agreement import RATIOS
from ocr_cml.loop.doubts import doubts
from ocr_cml.losses.maps import TEXT_LEVEL
from ocr_cml.models.weight_files import read_weights, save_weights

# --- the table -------------------------------------------------------------------------------------------------------


def test_a_training_says_machine_networks_data_and_estimate(tiny_set: Path, tmp_path: Path, log: list[str]) -> None:
    idle = {"terms": [{"DBLoss": {"ohem_ratio": 4.0}}, tiny.MUTUAL], "Optimizer__momentum": 0.5}
    slow = {"Optimizer__lr": {"learning_rate": 0.003, "warmup_steps": 4}}
    tiny.fit(tiny.settings(tiny_set, tmp_path / "run", **idle, **slow), max_steps=4)
    table = next(text for text in log if text.startswith("versions"))
    columns = {line[: line.index("  ")] for line in table.splitlines() if line[0] != " "}
    assert {"versions", "device", "memory", "networks", "data", "steps", "terms, synchronous", "estimate"} == columns
    assert "Student   student  0.09 M" in table and "parameters  from scratch" in table
    assert f"6 labelled training images of {tiny_set / 'train.txt'}" in table
    assert f"2 evaluation images of {tiny_set / 'val.txt'}" in table
    assert "4 in all, 3.0 an epoch, batches of 2, 1 evaluation(s) to come" in table
    assert "mutual/Student<-Student2" in table
    assert any(text.startswith("estimate: ") and " taken" in text for text in log)
    assert [text for text in log if "has no effect" in text] == [
        "Loss.loss_config_list.0.DBLoss.ohem_ratio has no effect with main_loss_type: DiceLoss",
        "Optimizer.momentum has no effect with Adam",
    ]
    rising = "the learning rate's warm-up takes 4 steps and the run has 4, so the rate only rises; "
    assert f"{rising}set Optimizer.lr.warmup_steps=0, say" in log


def test_a_warm_up_of_the_whole_schedule_is_told_where_the_run_goes_on(
    tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    data["Optimizer"]["lr"] = {"learning_rate": 0.003, "warmup_steps": 3, "decay_steps": 2, "end_lr": 0.001}
    with tiny.Run(data, max_steps=4) as trainer:
        (said,) = [text for text in doubts(trainer) if "warm-up" in text]
    assert said == (
        "the learning rate's warm-up takes 3 steps and its schedule spans 2, so it rises until that ends; "
        "set Optimizer.lr.decay_steps=4, or a shorter warm-up"
    )


def test_what_was_not_loaded_is_named_and_counts(tiny_set: Path, tmp_path: Path) -> None:
    """A backbone's file: `100 % loaded` of what was due would hide that neck and head begin anew."""
    whole = read_weights(tiny.teacher_weights(tmp_path / "whole.safetensors"))
    inside = {key: value for key, value in whole.items() if key.startswith("backbone.")}
    save_weights(inside, tmp_path / "backbone.safetensors")
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1)
    data["Architecture"]["Models"]["Student"] |= {
        "pretrained": str(tmp_path / "backbone.safetensors"),
        "allow_missing": ["neck", "head"],
    }
    share = sum(value.size for value in inside.values()) / sum(value.size for value in whole.values())
    with tiny.Run(data) as trainer:
        said = startup.overview(trainer)
    assert f"{share:.1%} loaded from {tmp_path / 'backbone.safetensors'}; from the seed: neck, head" in said


def test_what_a_file_holds_in_vain_is_named(tiny_set: Path, tmp_path: Path) -> None:
    weights = read_weights(tiny.teacher_weights(tmp_path / "whole.safetensors"))
    save_weights({**weights, "backbone.stage9.weight": np.ones(3, np.float32)}, tmp_path / "more.safetensors")
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1)
    start = {"pretrained": str(tmp_path / "more.safetensors"), "pretrained_share": 0.9}
    data["Architecture"]["Models"]["Student"] |= start
    with tiny.Run(data) as trainer:
        said = startup.overview(trainer)
    assert "100.0% loaded from" in said and "; of the file 1 has no place here: backbone.stage9.weight" in said


def test_evaluation_images_that_are_trained_on_are_counted(
    tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    unlabelled = {"images": [str(tiny_set)], "batch_size_per_card": 1}
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run", Train__unlabeled=unlabelled), max_steps=1) as trainer:
        assert "time and memory follow after the first steps" in startup.overview(trainer)
        trainer.fit()
        assert "no step is left to do" in startup.overview(trainer)
    told = [text for text in caplog.messages if "among the training images" in text]
    assert len(told) == 1 and told[0].startswith("2 of the 2 evaluation images are ")


@pytest.mark.parametrize(
    ("labelled", "batches"), [(True, "batches of 2 and 3 without labels"), (False, "batches of 3 without labels")]
)
def test_the_size_of_a_batch_counts_images_without_labels(
    labelled: bool, batches: str, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    terms = [*([tiny.LABELS] if labelled else []), tiny.MUTUAL, tiny.TEACHER]
    data = tiny.settings(tiny_set, tmp_path / "run", terms=terms, teacher=tiny_teacher)
    data["Train"]["unlabeled"] = {"images": [str(tiny_set / "train")], "batch_size_per_card": 3}
    if not labelled:
        data["Train"]["dataset"]["label_file_list"] = []
    with tiny.Run(data, max_steps=1) as trainer:
        assert f"{batches}, 1 evaluation(s) to come" in startup.overview(trainer)


# --- the teachers ----------------------------------------------------------------------------------------------------


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What each sweep over shrink ratios was asked for."""
    asked: list[dict[str, Any]] = []
    plain = startup.sweep

    def noted(*given: Any, **named: Any) -> Any:
        asked.append(named)
        return plain(*given, **named)

    monkeypatch.setattr(startup, "sweep", noted)
    return asked


def taught(tiny_set: Path, tiny_teacher: Path, run: Path, *terms: dict[str, Any]) -> dict[str, Any]:
    data = tiny.settings(tiny_set, run, terms=[tiny.LABELS, *(terms or (tiny.TEACHER,))], teacher=tiny_teacher)
    data["Global"]["teacher_check"] = True
    return data


def with_a_second_teacher(data: dict[str, Any], weights: Path) -> dict[str, Any]:
    models = data["Architecture"]["Models"]
    models["Teacher2"] = {**models["Teacher"], "pretrained": str(weights)}
    return data


def test_a_teacher_is_compared_with_labels_as_the_training_makes_them(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path, swept: list[dict[str, Any]]
) -> None:
    """Text smaller than the usual limit counts where MakeShrinkMap says so, and its ratio is tried."""
    data = taught(tiny_set, tiny_teacher, tmp_path / "run")
    data["Train"]["dataset"]["transforms"][-1]["MakeShrinkMap"]["shrink_ratio"] = 0.37
    data["Train"]["dataset"]["transforms"][-2]["MakeBorderMap"]["shrink_ratio"] = 0.37
    tiny.fit(data, max_steps=1)
    (asked,) = swept
    assert asked["min_text_size"] == 4
    assert asked["ratios"] == sorted([*RATIOS, 0.37])


def test_of_a_rising_ratio_what_is_still_to_come_is_compared(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path, swept: list[dict[str, Any]]
) -> None:
    """From .33 by .02 an epoch of three steps: nine steps end at .37, and after three of them it begins at .35."""
    data = taught(tiny_set, tiny_teacher, tmp_path / "run")
    for op in data["Train"]["dataset"]["transforms"][-2:]:
        (arguments,) = op.values()
        arguments["shrink_ratio"] = {"start": 0.33, "end": 0.41, "total_epoch": 4}
    tiny.fit(data, max_steps=9)
    data["Global"] |= {"save_model_dir": str(tmp_path / "again"), "max_steps": 3}
    tiny.fit(data)
    data["Global"]["checkpoints"] = str(tmp_path / "again")
    tiny.fit(data, max_steps=9)
    untried = [[round(ratio, 6) for ratio in asked["ratios"] if ratio not in RATIOS] for asked in swept]
    assert untried == [[0.33, 0.37], [0.33], [0.37]]


AVERAGED = {"TeacherLoss": {"thresh": 0.4, "dilation": 4}}
FIRST = {"TeacherLoss": {"thresh": 0.2, "dilation": 0, "model_name_pairs": [["Student", "Teacher"]]}}


@pytest.mark.parametrize(
    ("terms", "targets"),
    [
        ([AVERAGED], [(0.4, 4), (0.4, 4)]),
        ([FIRST, AVERAGED], [(0.2, 0), (0.4, 4)]),
        ([{"TeacherLoss": {"kind": "soft"}}, FIRST], [(0.2, 0), (TEXT_LEVEL, 0)]),
    ],
)
def test_a_map_is_cut_as_the_first_term_that_cuts_this_teachers_does(
    terms: list[dict[str, Any]],
    targets: list[tuple[float, int]],
    tiny_set: Path,
    tiny_teacher: Path,
    tmp_path: Path,
    swept: list[dict[str, Any]],
) -> None:
    data = with_a_second_teacher(taught(tiny_set, tiny_teacher, tmp_path / "run", *terms), tiny_teacher)
    tiny.fit(data, max_steps=1)
    assert [(asked["thresh"], asked["dilation"]) for asked in swept] == targets


@pytest.mark.parametrize("logits", [(-9, 9), (9, -9)])
def test_of_several_teachers_the_best_is_what_students_are_held_against(
    logits: tuple[float, float], tiny_set: Path, tmp_path: Path
) -> None:
    weights = [tiny.answering(logit, tmp_path / f"{number}.safetensors") for number, logit in enumerate(logits)]
    data = with_a_second_teacher(taught(tiny_set, weights[0], tmp_path / "run"), weights[1])
    data["Eval"]["dataset"] |= tiny.whole_images(tmp_path, tiny_set)
    trainer = tiny.fit(data, max_steps=1)
    assert trainer.teacher_hmean == pytest.approx(2 / 3)
    (scored,) = tiny.records(tmp_path / "run", "teacher")
    expected = [round(2 / 3, 4) if logit > 0 else 0.0 for logit in logits]
    assert [round(score["hmean"], 4) for score in scored["teacher"].values()] == expected


def test_a_teachers_scores_are_recorded_once_however_often_a_run_goes_on(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    data = taught(tiny_set, tiny_teacher, tmp_path / "run")
    for steps in (1, 2):
        tiny.fit(data, max_steps=steps)
    assert [record["step"] for record in tiny.records(tmp_path / "run", "teacher")] == [0]
