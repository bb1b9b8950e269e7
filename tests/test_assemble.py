"""From a configuration to objects."""

from __future__ import annotations

import hashlib
import logging
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import tiny
from safetensors.numpy import load_file, save_file

from ocr_cml import assemble
from ocr_cml.assemble.students import twins
from ocr_cml.cohort import Cohort
from ocr_cml.log import LOG
from ocr_cml.models import Detector, build_detector
from ocr_cml.models.weight_files import find_weights
from ocr_cml.runtime import LayerDetector, Normalization
from ocr_cml.schema import Config
from ppocr_data.errors import ConfigError, DataError, WeightsError

OFD = {"OFDLoss": {"layers": [["neck", "neck"]]}}


def loaded(data: Path, folder: Path, **choices: Any) -> Config:
    return tiny.load(tiny.settings(data, folder / "run", **choices), folder)


def students(config: Config) -> dict[str, dict[str, np.ndarray]]:
    made, _ = assemble.starting_students(config)
    return {name: tiny.state_of(student) for name, student in made.items()}


def test_a_student_starts_alike_alone_and_in_any_cohort(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    alone = students(loaded(tiny_set, tmp_path, terms=[tiny.LABELS], students=1))
    three = students(loaded(tiny_set, tmp_path, students=3))
    taught = students(loaded(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], students=2, teacher=tiny_teacher))
    tiny.assert_same(alone["Student"], three["Student"])
    tiny.assert_same(taught["Student2"], three["Student2"])
    weight = "backbone.conv.conv.weight"
    starts = [state[weight] for state in three.values()]
    assert all(not np.array_equal(starts[a], starts[b]) for a, b in ((0, 1), (0, 2), (1, 2)))


def test_another_seed_is_another_start(tiny_set: Path, tmp_path: Path) -> None:
    first = students(loaded(tiny_set, tmp_path, Global__seed=1))
    second = students(loaded(tiny_set, tmp_path, Global__seed=2))
    # Nor may seed 2's first student be seed 1's second.
    weight = "backbone.conv.conv.weight"
    for ours in first.values():
        for theirs in second.values():
            assert not np.array_equal(ours[weight], theirs[weight])


def test_a_part_may_start_from_the_seed_although_the_file_holds_it(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    models = tiny.settings(tiny_set, tmp_path)["Architecture"]["Models"]
    models["Student2"] |= {"fresh": ["head.binarize"]}
    made = students(loaded(tiny_set, tmp_path, Architecture__Models=models, Global__pretrained_model=str(tiny_teacher)))
    from_seed = students(loaded(tiny_set, tmp_path))
    given = load_file(tiny_teacher)
    for name, value in made["Student2"].items():
        expected = from_seed["Student2"] if name.startswith("head.binarize") else given
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
    tiny.assert_same(made["Student"], given)


def test_students_that_start_alike_cannot_teach_each_other(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """They see the same images, so they would stay alike, and the mutual term zero, for ever."""
    config = loaded(tiny_set, tmp_path, students=3, Global__pretrained_model=str(tiny_teacher))
    with pytest.raises(
        WeightsError, match=r"Student and Student2 start from the same weights.*Student2\.fresh=\[head\]"
    ):
        assemble.refuse_twins(cohort(config))
    with pytest.raises(WeightsError, match=r"another `pretrained` instead of Global\.pretrained_model, which is every"):
        assemble.refuse_twins(cohort(config), config.Global.pretrained_model)
    models = tiny.settings(tiny_set, tmp_path)["Architecture"]["Models"]
    models["Student2"] |= {"fresh": ["head.thresh"]}
    sections = {"Architecture__Models": models, "Global__pretrained_model": str(tiny_teacher)}
    (warning,) = assemble.refuse_twins(cohort(loaded(tiny_set, tmp_path, **sections)))
    assert warning.startswith("Student and Student2 answer alike at the start (only head.thresh differs)")
    # Without a mutual term between them nothing is switched off, but two tries are one; students from the seed differ.
    alike = loaded(tiny_set, tmp_path, terms=[tiny.LABELS], Global__pretrained_model=str(tiny_teacher))
    (warning,) = assemble.refuse_twins(cohort(alike))
    assert warning == "Student and Student2 start from the same weights, so they are one student twice"
    assert assemble.refuse_twins(cohort(loaded(tiny_set, tmp_path, students=3))) == []


def test_students_of_one_backbone_and_necks_of_their_own_are_no_twins() -> None:
    def student(channels: int) -> Detector:
        paddle.seed(1)
        neck = {"name": "DBFPN", "out_channels": channels}
        return build_detector({**tiny.STUDENT, "Neck": neck})

    one, other = student(16), student(32)
    other.backbone.set_state_dict(one.backbone.state_dict())
    assert twins({"Student": one, "Student2": other}) == []
    assert twins({"Student": one, "Student2": student(16)}) == [("Student", "Student2", [])]


def cohort(config: Config) -> Cohort:
    made, _ = assemble.starting_students(config)
    teachers, _ = assemble.build_teachers(config, 1, "cpu")
    return assemble.build_cohort(config, made, teachers)


def test_connectors_follow_from_the_seed(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    config = loaded(tiny_set, tmp_path, terms=[tiny.LABELS, OFD], teacher=tiny_teacher)
    made = []
    for disturbance in (1, 2):
        paddle.seed(disturbance)
        made.append(cohort(config))
    labels = ["ofd/Student<-Teacher", "ofd/Student2<-Teacher"]
    states = [
        [tiny.state_of(each.connectors(name)[label]) for name, label in zip(each.students, labels, strict=True)]
        for each in made
    ]
    for first, second in zip(*states, strict=True):
        tiny.assert_same(first, second)
    key = next(key for key in states[0][0] if key.endswith("weight") and states[0][0][key].ndim == 4)
    assert not np.array_equal(states[0][0][key], states[0][1][key])


def test_a_teacher_that_features_are_taken_from_is_a_network(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    config = loaded(tiny_set, tmp_path, terms=[tiny.LABELS, OFD], students=1, teacher=tiny_teacher)
    teacher, weight = cohort(config).teachers["Teacher"]
    assert isinstance(teacher, LayerDetector)
    assert weight == 1.0
    tiny.assert_same(tiny.state_of(teacher.layer), load_file(tiny_teacher))
    assert not teacher.layer.training


def test_a_teacher_answers_alike_in_every_engine(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    images = tiny.batch(2).image
    maps = []
    for engine in ("layer", "auto"):
        settings = tiny.settings(
            tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.TEACHER], students=1, teacher=tiny_teacher
        )
        settings["Architecture"]["Models"]["Teacher"]["engine"] = engine
        teachers, reports = assemble.build_teachers(tiny.load(settings, tmp_path), 1, "cpu")
        assert reports["Teacher"].share == 1.0
        maps.append(teachers["Teacher"][0].probability(images))
    assert np.ptp(maps[0]) > 0.3
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-3)


def test_a_teacher_of_a_run_is_shown_pixels_as_it_was_trained(tiny_set: Path, tmp_path: Path) -> None:
    made = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1)
    made["Train"]["dataset"]["transforms"].append({"NormalizeImage": {"mean": [0, 0, 0], "std": [1, 1, 1]}})
    tiny.fit(made, max_steps=1)
    file = tmp_path / "run/latest/Student.safetensors"
    config = loaded(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], teacher=file)
    teachers, _ = assemble.build_teachers(config, 1, "cpu")
    assert teachers["Teacher"][0].normalization == Normalization((0, 0, 0), (1, 1, 1))
    elsewhere = shutil.copy(file, tmp_path / "alone.safetensors")
    teachers, _ = assemble.build_teachers(
        loaded(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], teacher=Path(elsewhere)), 1, "cpu"
    )
    assert teachers["Teacher"][0].normalization == Normalization()


def test_a_teachers_record_is_its_path_and_hash(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.safetensors"
    copy.write_bytes(tiny_teacher.read_bytes())
    config = loaded(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], students=1, teacher=copy)
    expected = {"path": str(copy), "sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}
    assert assemble.teacher_record(config) == {"Teacher": expected}
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert assemble.teacher_record(config)["Teacher"]["sha256"] != expected["sha256"]


def test_of_an_inference_model_what_answers_is_recorded(repository: Path, tiny_set: Path, tmp_path: Path) -> None:
    """A page beside it that is written anew makes no other teacher; its program, weights and inference.yml do."""
    model = tmp_path / "model"
    shutil.copytree(repository / "configs" / "teacher", model)
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.TEACHER], students=1)
    data["Architecture"]["Models"]["Teacher"] = {"freeze_params": True, "inference_model": str(model)}
    config = tiny.load(data, tmp_path)

    def recorded() -> str:
        return assemble.teacher_record(config)["Teacher"]["sha256"]

    before = recorded()
    with (model / "README.md").open("a") as page:
        page.write("another line\n")
    (model / ".DS_Store").write_bytes(b"a file manager's")
    assert recorded() == before
    for name in ("inference.json", "inference.pdiparams", "inference.yml"):
        content = (model / name).read_bytes()
        (model / name).write_bytes(content + b"\n")
        assert recorded() != before
        (model / name).write_bytes(content)
    assert recorded() == before


def test_a_runs_folder_gives_each_student_its_own_weights(tiny_set: Path, tmp_path: Path) -> None:
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), max_steps=1) as trainer:
        trainer.fit()
        trained = {name: tiny.state_of(student) for name, student in trainer.cohort.students.items()}
    config = loaded(tiny_set, tmp_path, Global__pretrained_model=str(tmp_path / "run/best"))
    made, reports = assemble.starting_students(config)
    for name, student in made.items():
        tiny.assert_same(tiny.state_of(student), trained[name])
        assert reports[name].share == 1.0


def test_of_a_run_with_an_exponential_mean_the_mean_is_what_was_trained(tiny_set: Path, tmp_path: Path) -> None:
    """Every hmean of the run is the mean's; its latest/ holds the students beside it, which nothing ever scored."""
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run", Optimizer__ema_decay=0.9), max_steps=3) as trainer:
        trainer.fit()
        means = {name: {k: v.numpy() for k, v in m.values.items()} for name, m in trainer.learners.means.items()}
    for folder in ("best", "latest"):
        config = loaded(tiny_set, tmp_path, Global__pretrained_model=str(tmp_path / "run" / folder))
        for name, student in assemble.trained_students(config).items():
            tiny.assert_same(tiny.state_of(student), means[name])
    for other in (tmp_path / "run/latest").glob("Student2.*"):
        other.unlink()
    # A teacher asks by its own name, and takes the one student that there is.
    assert find_weights(tmp_path / "run/latest", "Teacher").name == "Student.mean.safetensors"


def test_what_was_trained_is_loaded_whole_whatever_a_start_may_lack(tiny_set: Path, tmp_path: Path) -> None:
    """What a training's start left to the seed is trained afterwards: an evaluation must not leave it to it again."""
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), max_steps=1) as trainer:
        trainer.fit()
        trained = {name: tiny.state_of(student) for name, student in trainer.cohort.students.items()}
    best = tmp_path / "run/best"
    models = tiny.settings(tiny_set, tmp_path)["Architecture"]["Models"]
    models["Student2"] |= {"fresh": ["head"], "allow_missing": ["neck", "head"], "pretrained_share": 0.1}
    config = loaded(tiny_set, tmp_path, Architecture__Models=models, Global__pretrained_model=str(best))
    made = assemble.trained_students(config)
    for name, student in made.items():
        tiny.assert_same(tiny.state_of(student), trained[name])

    whole = load_file(best / "Student2.safetensors")
    save_file({key: value for key, value in whole.items() if not key.startswith("neck")}, best / "Student2.safetensors")
    assemble.starting_students(config)  # a start may lack it
    with pytest.raises(WeightsError, match=r"(?s)missing.*neck"):
        assemble.trained_students(config)


@pytest.mark.parametrize("field", ["fresh", "allow_missing"])
def test_a_part_that_no_network_has_is_refused_with_a_guess(field: str, tiny_set: Path, tmp_path: Path) -> None:
    teacher = tiny.teacher_weights(tmp_path / "weights.safetensors")
    models = tiny.settings(tiny_set, tmp_path)["Architecture"]["Models"]
    models["Student2"] |= {field: ["haed"]}
    config = loaded(tiny_set, tmp_path, Architecture__Models=models, Global__pretrained_model=str(teacher))
    message = rf"Architecture\.Models\.Student2\.{field}: 'haed' is no part of this network; did you mean 'head'\?"
    with pytest.raises(ConfigError, match=message):
        assemble.starting_students(config)


def test_pixels_are_normalised_as_the_training_transforms_state(tiny_set: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tiny_set, tmp_path / "run")
    assert assemble.normalization(tiny.load(settings, tmp_path)) == Normalization()
    stated = {"scale": "1./255.", "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.3, 0.4], "order": "hwc"}
    settings["Train"]["dataset"]["transforms"].append({"NormalizeImage": stated})
    found = assemble.normalization(tiny.load(settings, tmp_path))
    assert (found.mean, found.std) == ((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert found.scale == pytest.approx(1 / 255)


def test_the_resize_rule_is_the_evaluations(tiny_set: Path, tmp_path: Path) -> None:
    rule = assemble.resize_rule(loaded(tiny_set, tmp_path))
    assert (rule.limit_side_len, rule.limit_type) == (96, "min")


@pytest.mark.skipif(paddle.is_compiled_with_cuda(), reason="this build of paddle knows GPUs")
def test_a_gpu_that_is_not_there_is_refused(tiny_set: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Global\.use_gpu"):
        assemble.use_device(loaded(tiny_set, tmp_path, Global__use_gpu=True))
    assert assemble.use_device(loaded(tiny_set, tmp_path, Global__use_gpu="auto")) == "cpu"


def test_the_embedded_set_is_made_where_it_is_read_and_only_there(
    tiny_set: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    made = {"dir": str(tmp_path / "made"), "train": 2, "val": 1, "size": [128, 96], "seed": 1}
    assemble.prepare_embedded_set(loaded(tiny_set, tmp_path, Global__embedded_set=made))
    assert not (tmp_path / "made").exists()
    assert "making" not in caplog.text
    config = loaded(tmp_path / "made", tmp_path, Global__embedded_set=made)
    assemble.prepare_embedded_set(config)
    assert caplog.messages == [f"{tmp_path / 'made'}: making the synthetic set of 3 images"]
    evaluation = assemble.eval_dataset(config)
    assert evaluation[0]["image_hw"] == (96, 128)  # `size` is width, height
    labelled = assemble.labelled_dataset(config)
    assert labelled is not None
    assert (len(labelled), len(evaluation)) == (2, 1)


def test_the_embedded_set_is_not_made_for_what_is_not_read_or_refused_anyway(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    made = {"dir": str(tmp_path / "made"), "train": 2, "val": 1, "size": [128, 96], "seed": 1}
    inside = tmp_path / "made"
    for given, training in (
        ({"Train__dataset__data_dir": str(inside), "Train__dataset__label_file_list": []}, True),
        ({"Train__dataset__data_dir": str(inside)}, False),  # an evaluation reads no training image
        ({"Eval__dataset__data_dir": str(inside), "Train__dataset__label_file_list": ["mistyped.txt"]}, True),
    ):
        unlabelled = {"images": [str(tiny_set / "val")], "batch_size_per_card": 1}
        terms = [tiny.TEACHER, *([] if given.get("Train__dataset__label_file_list") == [] else [tiny.LABELS])]
        more = {"Global__embedded_set": made, "Train__unlabeled": unlabelled}
        config = loaded(tiny_set, tmp_path, terms=terms, teacher=tiny_teacher, **more, **given)
        assemble.prepare_embedded_set(config, training=training)
        assert not inside.exists()


@pytest.mark.parametrize("network", ["Student", "Teacher"])
def test_weights_that_are_missing_are_named_with_their_key(network: str, tiny_set: Path, tmp_path: Path) -> None:
    weights = tiny.teacher_weights(tmp_path / "weights.safetensors")
    models = tiny.settings(tiny_set, tmp_path, teacher=weights)["Architecture"]["Models"]
    models[network]["pretrained"] = str(tmp_path / "absent")
    config = loaded(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], Architecture__Models=models)
    key = f"Architecture.Models.{network}.pretrained: {tmp_path / 'absent'}: no such weight file"
    with pytest.raises(WeightsError, match=re.escape(key)):
        assemble.build_teachers(config, 1, "cpu") if network == "Teacher" else assemble.starting_students(config)


def test_images_without_labels_from_a_folder_a_file_and_a_list(tiny_set: Path, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text(f"{tiny_set / 'train/000000.jpg'}\n\n{tiny_set / 'train/000001.jpg'}\n")
    images = [str(tiny_set / "val"), str(tiny_set / "train/000005.jpg"), str(tmp_path / "list.txt")]
    config = loaded(tiny_set, tmp_path, Train__unlabeled={"images": images, "batch_size_per_card": 1})
    dataset = assemble.unlabelled_dataset(config)
    assert dataset is not None
    names = [sample.image.relative_to(tiny_set).as_posix() for sample in dataset.samples]
    assert names == ["val/000000.jpg", "val/000001.jpg", *(f"train/00000{i}.jpg" for i in (5, 0, 1))]
    assert not any(sample.labelled for sample in dataset.samples)
    gone = {"images": [str(tmp_path / "gone.txt")], "batch_size_per_card": 1}
    with pytest.raises(DataError, match=r"gone\.txt"):
        assemble.unlabelled_dataset(loaded(tiny_set, tmp_path, Train__unlabeled=gone))


def test_images_with_and_without_labels_are_drawn_apart(tiny_set: Path, tmp_path: Path) -> None:
    unlabelled = {"images": [str(tiny_set / "train")], "batch_size_per_card": 2}
    config = loaded(tiny_set, tmp_path, Train__unlabeled=unlabelled, Optimizer__accumulate=3)
    with_labels, without = assemble.labelled_dataset(config), assemble.unlabelled_dataset(config)
    assert with_labels is not None and without is not None
    assert with_labels.seed != without.seed
    labelled = config.Train.loader.batch_size_per_card
    assert assemble.samples_a_step(config, 2) == (6 * labelled, 12)


def test_the_same_lines_cut_otherwise_into_files_are_other_labels(tmp_path: Path) -> None:
    files = []
    for name, lines in (("a", "x\ny\n"), ("b", "z\n"), ("c", "x\n"), ("d", "y\nz\n")):
        (tmp_path / name).write_text(lines)
        files.append(str(tmp_path / name))
    assert assemble.labels_digest(files[:2]) != assemble.labels_digest(files[2:])


def test_a_label_file_is_no_list_of_images(tiny_set: Path, tmp_path: Path) -> None:
    section = {"images": [str(tiny_set / "train.txt")], "batch_size_per_card": 1}
    with pytest.raises(
        DataError, match=r"train\.txt:1: has more than a path, as a label file's lines have; a list names"
    ):
        assemble.unlabelled_dataset(loaded(tiny_set, tmp_path, Train__unlabeled=section))
    (tmp_path / "list.txt").write_text("a" * 300 + ".jpg\n")
    with pytest.raises(DataError, match=r"aaa\.jpg: no such image"):
        assemble.unlabelled_dataset(
            loaded(tiny_set, tmp_path, Train__unlabeled={"images": [str(tmp_path / "list.txt")]})
        )


def test_a_list_of_images_has_one_a_line_whatever_their_names_hold(tiny_set: Path, tmp_path: Path) -> None:
    name = "scan\u2028 1.jpg"
    shutil.copy(next((tiny_set / "val").iterdir()), tmp_path / name)
    (tmp_path / "list.txt").write_text(f"{name}\r\n", encoding="utf-8", newline="")
    section = {"images": [str(tmp_path / "list.txt")], "batch_size_per_card": 1}
    assert assemble.unlabelled_images(loaded(tiny_set, tmp_path, Train__unlabeled=section)) == [tmp_path / name]


@pytest.mark.parametrize("pictures", [True, False])
def test_no_image_without_labels_is_told_by_its_key(tiny_set: Path, tmp_path: Path, pictures: bool) -> None:
    (tmp_path / "list.txt").write_text("\n")
    images = [str(tmp_path / "list.txt")]
    if pictures:
        shutil.copytree(tiny_set / "val", tmp_path / "output/run/validation")
        (tmp_path / "output/run/metrics.jsonl").touch()
        images.append(str(tmp_path / "output"))
    with pytest.raises(DataError) as caught:
        assemble.unlabelled_dataset(loaded(tiny_set, tmp_path, Train__unlabeled={"images": images}))
    but = " but 2 in run folders, which are left out" if pictures else ""
    assert str(caught.value) == f"Train.unlabeled.images: there is no image in {', '.join(images)}{but}"


def test_files_of_other_kinds_among_images_without_labels_are_said(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(LOG, "info", lambda text, *values: said.append(text % values))
    photos = tmp_path / "photos"
    shutil.copytree(tiny_set / "train", photos / "more")
    for name in ("more/a.gif", "b.HEIC", "run/metrics.jsonl", "run/validation/c.gif", ".hidden"):
        (photos / name).parent.mkdir(parents=True, exist_ok=True)
        (photos / name).touch()
    assemble.unlabelled_dataset(loaded(tiny_set, tmp_path, Train__unlabeled={"images": [str(photos)]}))
    assert said == [f"left out: 2 files of other kinds (.gif, .heic) below {photos}"]


def test_pictures_of_a_run_in_a_folder_of_images_are_not_learnt_from(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(LOG, "info", lambda text, *values: said.append(text % values))
    photos = tmp_path / "photos"
    shutil.copytree(tiny_set / "train", photos / "more")
    config = loaded(tiny_set, tmp_path, Train__unlabeled={"images": [str(photos)], "batch_size_per_card": 1})
    digest = assemble.names_digest(assemble.unlabelled_images(config))
    shutil.copytree(tiny_set / "val", photos / "run/validation")
    (photos / "run/metrics.jsonl").touch()
    assert said == []
    dataset = assemble.unlabelled_dataset(config)
    assert said == [f"left out: 2 images in run folders below {photos}"]
    assert dataset is not None
    assert {sample.image.parent for sample in dataset.samples} == {photos / "more"}
    assert assemble.names_digest(assemble.unlabelled_images(config)) == digest
    shutil.copy(tiny_set / "val/000000.jpg", photos / "new.jpg")
    assert assemble.names_digest(assemble.unlabelled_images(config)) != digest
    assert assemble.names_digest(assemble.unlabelled_images(loaded(tiny_set, tmp_path))) == ""


def test_check_images_are_a_few_of_the_evaluations(tiny_set: Path, tmp_path: Path) -> None:
    images = assemble.check_images(loaded(tiny_set, tmp_path), count=1)
    assert [image.shape for image in images] == [(96, 96, 3)]
    with pytest.raises(DataError, match=r"val\.txt"):
        assemble.check_images(loaded(tmp_path / "gone", tmp_path))
