"""What a run begins with although it is hardly meant is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tiny
from PIL import Image

from ocr_cml.loop.doubts import doubts


def moved(tiny_set: Path, folder: Path, part: str, by: float) -> Path:
    """The set with every text of a part moved to the right."""
    shutil.copytree(tiny_set, folder)
    lines = [line.split("\t") for line in (folder / f"{part}.txt").read_text(encoding="utf-8").splitlines()]
    for line in lines:
        texts = json.loads(line[1])
        for text in texts:
            text["points"] = [[x + by, y] for x, y in text["points"]]
        line[1] = json.dumps(texts)
    (folder / f"{part}.txt").write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")
    return folder


def doubts_of(data: Path, run: Path) -> list[str]:
    with tiny.Run(tiny.settings(data, run)) as trainer:
        return [text for text in doubts(trainer) if "lies in its image" in text or "readable" in text]


@pytest.mark.parametrize(("part", "what"), [("train", "6 training images"), ("val", "1 evaluation image")])
def test_texts_beside_their_images_are_told(part: str, what: str, tiny_set: Path, tmp_path: Path) -> None:
    (text,) = doubts_of(moved(tiny_set, tmp_path / "set", part, 5000.0), tmp_path / "run")
    assert text.startswith(f"no text of {what} that were looked at lies in its image: points of a larger")
    assert doubts_of(tiny_set, tmp_path / "other") == []


def test_one_text_in_its_image_is_enough_wherever_it_stands(tiny_set: Path, tmp_path: Path) -> None:
    """Of many images a spread is looked at: a set may begin with those of a larger size."""
    data = moved(tiny_set, tmp_path / "set", "train", 5000.0)
    beside = (data / "train.txt").read_text(encoding="utf-8").splitlines()
    sound = (tiny_set / "train.txt").read_text(encoding="utf-8").splitlines()
    for number, lines in enumerate(([*beside[:3], sound[3], *beside[4:]], (beside * 3)[:14] + sound)):
        (data / "train.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        assert doubts_of(data, tmp_path / f"run{number}") == []


def test_labels_without_a_readable_text_are_told(tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "set")
    names = [line.split("\t")[0] for line in (tiny_set / "train.txt").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "set/train.txt").write_text("".join(f"{name}\t[]\n" for name in names), encoding="utf-8")
    (text,) = doubts_of(tmp_path / "set", tmp_path / "run")
    assert text.startswith("no training image has a readable text (none at all, or all of it don't care)")


def test_a_text_low_in_a_narrow_image_lies_in_it(tiny_set: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(tiny_set, folder)
    cv2.imwrite(str(folder / "train/narrow.png"), np.full((400, 100, 3), 255, np.uint8))
    text = {"transcription": "low", "points": [[10, 300], [60, 300], [60, 320], [10, 320]]}
    (folder / "train.txt").write_text(f"train/narrow.png\t{json.dumps([text])}\n" * 4, encoding="utf-8")
    assert doubts_of(folder, tmp_path / "run") == []


def test_images_are_looked_at_as_the_training_reads_them(tiny_set: Path, tmp_path: Path) -> None:
    """A photo stored lying whose labels are those of the lying picture, as some tools write them."""
    folder = tmp_path / "set"
    text = [{"transcription": "far right", "points": [[800, 40], [900, 40], [900, 60], [800, 60]]}]
    shutil.copytree(tiny_set, folder)
    photo = Image.new("RGB", (1000, 100), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    photo.save(folder / "train/lying.jpg", exif=exif)
    (folder / "train.txt").write_text(f"train/lying.jpg\t{json.dumps(text)}\n" * 4, encoding="utf-8")
    assert len(doubts_of(folder, tmp_path / "upright")) == 1
    data = tiny.settings(folder, tmp_path / "run")
    for part in ("Train", "Eval"):
        data[part]["dataset"]["transforms"][0] = {"DecodeImage": {"ignore_orientation": True}}
    assert told(data, "lies in its image") == []


def told(data: dict[str, Any], *words: str) -> list[str]:
    with tiny.Run(data) as trainer:
        return [text for text in doubts(trainer) if any(word in text for word in words)]


def test_weights_of_ones_own_beside_those_for_all_are_told(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    data = tiny.settings(
        tiny_set, tmp_path, students=1, terms=[tiny.LABELS], Global__pretrained_model=str(tiny_teacher)
    )
    assert told(data, "pretrained has no effect") == []
    data["Architecture"]["Models"]["Student"]["pretrained"] = str(tmp_path / "others.safetensors")
    (text,) = told(data, "pretrained has no effect")
    assert text.startswith("Architecture.Models.Student.pretrained has no effect beside Global.pretrained_model, from")


def test_steps_at_a_rate_of_zero_are_told(tiny_set: Path, tmp_path: Path) -> None:
    """What the start-up table advises, `decay_steps`, stays in the file when the run is made longer."""
    data = tiny.settings(tiny_set, tmp_path, Global__max_steps=8, Optimizer__lr__decay_steps=3)
    (text,) = told(data, "rate of 0")
    assert text.startswith(
        "the learning rate's schedule spans 3 steps and the run has 8: its last 5 have a learning rate"
    )
    assert text.endswith("set Optimizer.lr.decay_steps=8, or an Optimizer.lr.end_lr above 0")
    data["Optimizer"]["lr"]["end_lr"] = 1e-5
    assert told(data, "rate of 0") == []
    assert told(tiny.settings(tiny_set, tmp_path, Global__max_steps=8), "rate of 0") == []


@pytest.mark.parametrize(("last", "count"), [(3, 1), (12, 0)])
def test_a_ramp_that_begins_behind_the_run_s_end_is_told(last: int, count: int, tiny_set: Path, tmp_path: Path) -> None:
    rising = {"DMLLoss": {"weight": {"start": 0.0, "end": 1.0, "over": [0.5, 1.0]}}}
    data = tiny.settings(tiny_set, tmp_path, terms=[tiny.LABELS, rising], Global__max_steps=last)
    texts = told(data, ".weight is 0")
    assert len(texts) == count
    for text in texts:
        assert text.startswith("Loss.loss_config_list.1.DMLLoss.weight is 0 in all 3 steps of this run")


def test_a_ramp_that_begins_with_the_run_s_last_step_is_told(tiny_set: Path, tmp_path: Path) -> None:
    """Of a schedule of 4 the third step stands at one half, where the weight is still 0."""
    rising = {"DMLLoss": {"weight": {"start": 0.0, "end": 1.0, "over": [0.5, 1.0]}}}
    for last, count in ((3, 1), (4, 0)):
        lengths = {"Global__max_steps": last, "Optimizer__lr__decay_steps": 4}
        data = tiny.settings(tiny_set, tmp_path / str(last), terms=[tiny.LABELS, rising], **lengths)
        assert len(told(data, ".weight is 0")) == count


def test_a_single_teacher_s_weight_is_told(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], teacher=tiny_teacher)
    assert told(data, "weight has no effect") == []
    data["Architecture"]["Models"]["Teacher"]["weight"] = 0.25
    (text,) = told(data, "weight has no effect")
    assert text.startswith("Architecture.Models.Teacher.weight has no effect where no term asks for the mean")


def test_auxiliary_branches_that_nothing_teaches_are_told(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path, students=1, terms=[tiny.LABELS])
    data["Architecture"]["Models"]["Student"] |= {
        "Neck": {"name": "RepLKFPN", "out_channels": 24},
        "Head": {**tiny.STUDENT["Head"], "aux_in_channels": 24},
    }
    (text,) = told(data, "aux_in_channels")
    assert text.startswith("Architecture.Models.Student.Head.aux_in_channels: its branches are computed in every step")
    data["Loss"]["loss_config_list"] = [{"DBLoss": {"aux_weight_p2": 0.4}}]
    assert told(data, "aux_in_channels") == []


def test_a_start_from_a_run_whose_best_student_has_another_name_is_told(tiny_set: Path, tmp_path: Path) -> None:
    best = tiny.fit(tiny.settings(tiny_set, tmp_path / "run"), max_steps=1).progress.best
    assert best is not None
    state = tmp_path / "run/best/state.json"
    for student, expected in (("Student", []), ("Student2", ["Student"]), ("Gone", [])):
        said = json.loads(state.read_text())
        said["progress"]["best"] = {"student": student, "hmean": 0.25, "step": 1}
        state.write_text(json.dumps(said))
        one = tiny.settings(tiny_set, tmp_path / student, terms=[tiny.LABELS], students=1)
        one["Architecture"]["Models"]["Student"]["pretrained"] = str(tmp_path / "run/best")
        found = told(one, "whose best student is Student2 (hmean 0.2500)")
        assert [text.partition(" starts")[0] for text in found] == expected
    both = tiny.settings(tiny_set, tmp_path / "both", Global__pretrained_model=str(tmp_path / "run/best"))
    assert told(both, "whose best student") == []
