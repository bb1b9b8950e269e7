"""Mistakes in a configuration are refused at once, each with its dotted key, its place, and the nearest known word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ocr_cml import config
from ocr_cml.schema import Config
from ocr_cml.schema.data import EvalLoader
from ocr_cml.schema.loss import WeightSchedule
from ocr_cml.schema.networks import Network
from ocr_cml.schema.optimizer import OptimizerSection, Regularizer
from ppocr_data.errors import ConfigError

GIVEN = Path(__file__).resolve().parent.parent / "configs" / "det_cml.yml"
CROP = "{EastRandomCropData: {size: [64, 64]}}"
BORDER, SHRINK = "{MakeBorderMap: {shrink_ratio: 0.5}}", "{MakeShrinkMap: {shrink_ratio: 0.5}}"
LR = "Optimizer.lr.learning_rate"
STUDENT = "Architecture.Models.Student"


def load(*overrides: str) -> Config:
    return config.load(GIVEN, overrides)


def mistakes(*overrides: str) -> list[str]:
    """The lines of the error that these overrides give, without the heading."""
    with pytest.raises(ConfigError) as refused:
        load(*overrides)
    heading, *lines = str(refused.value).splitlines()
    count = heading.partition(" has ")[2]
    assert count == ("1 mistake:" if len(lines) == 1 else f"{len(lines)} mistakes:")
    return [line.strip() for line in lines]


def edited(tmp_path: Path, *changes: tuple[str, str]) -> Path:
    """The quick start's file with pieces of its text replaced, each of which must be there once."""
    text = GIVEN.read_text(encoding="utf-8")
    for before, after in changes:
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    path = tmp_path / "edited.yml"
    path.write_text(text, encoding="utf-8")
    return path


def line_of(path: Path, piece: str) -> int:
    return next(n for n, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1) if piece in line)


def test_what_cannot_work_is_told_beside_a_misspelt_key() -> None:
    """All at once: who mends one and starts again would otherwise meet the next."""
    key, name, weight, both = mistakes(
        "Global.max_stps=3",
        "Loss.loss_config_list.DMLLoss.model_name_list=[Studnt,Student2]",
        f"{STUDENT}.weight=2.0",
        "Optimizer.lr.warmup_epoch=1",
    )
    assert key.startswith("Global.max_stps: unknown key 'max_stps'; did you mean 'max_steps'?")
    assert "no student is called 'Studnt'" in name
    assert weight.startswith(f"{STUDENT}.weight: is for teachers")
    assert both.startswith("Optimizer.lr.warmup_epoch: is 1 while warmup_steps is 20")


def test_a_misspelt_key_counts_as_what_was_meant() -> None:
    """Else a second mistake would be told that is none: mutual learning of nobody, and a teacher without weights."""
    teacher = config.read(GIVEN).data["Architecture"]["Models"]["Teacher"]["inference_model"]
    (line,) = mistakes(
        "Architecture.Models.Teacher.inference_model=null", f"Architecture.Models.Teacher.inference_modell={teacher}"
    )
    assert "unknown key 'inference_modell'; did you mean 'inference_model'?" in line


def test_a_misspelt_key_in_one_of_several_kinds_of_sections() -> None:
    steps = "[{type: Affine, args: {rotat: [-5, 5]}}]"
    key, weight = mistakes(f"Train.dataset.transforms.IaaAugment.augmenter_args={steps}", f"{STUDENT}.weight=2.0")
    assert "unknown key 'rotat'; did you mean 'rotate'?" in key
    assert weight.startswith(f"{STUDENT}.weight: is for teachers")


def test_a_value_under_a_misspelt_key_is_looked_at_too() -> None:
    first, second = mistakes("Global.max_stps=many")
    assert first.startswith("Global.max_stps: unknown key 'max_stps'")
    assert second.startswith("Global.max_steps: input should be a valid integer") and '"many"' in second


def test_beside_a_value_of_the_wrong_kind_nothing_is_guessed() -> None:
    lines = mistakes("Global.max_steps=many", "Global.max_stps=3", f"{STUDENT}.weight=2.0")
    assert [line.partition(":")[0] for line in lines] == ["Global.max_steps", "Global.max_stps"]


def test_a_misspelt_network_is_named() -> None:
    (line,) = mistakes("Architecture.Models.Studnet2.pretrained=x.npz")
    assert line == (
        "Architecture.Models.Studnet2: needs Backbone, Neck, Head; or did you mean 'Student2'? "
        "(-o Architecture.Models.Studnet2.pretrained)"
    )
    (line,) = mistakes("Architecture.Models.Teachr.inference_model=folder")
    assert "did you mean 'Teacher'?" in line


def test_the_name_of_an_export_is_one_that_the_runtime_knows() -> None:
    (line,) = mistakes("Global.model_name=PP-OCRv4_mobile_dett")
    assert re.search(r"Global\.model_name: .*no detector of PaddleOCR's.*did you mean 'PP-OCRv4_mobile_det'", line)
    assert load("Global.model_name=PP-OCRv6_tiny_det").Global.model_name == "PP-OCRv6_tiny_det"


@pytest.mark.parametrize("change", ["fresh=[head]", "pretrained_share=0.1", "allow_missing=[neck]"])
def test_what_only_a_student_heeds_is_refused_of_a_teacher(change: str) -> None:
    key = f"Architecture.Models.Teacher.{change.partition('=')[0]}"
    (line,) = mistakes(f"Architecture.Models.Teacher.{change}")
    assert re.search(rf"{re.escape(key)}: is for students; this network is frozen", line)


# --- images without labels -------------------------------------------------------------------------------------------

UNLABELLED = Path(__file__).resolve().parent.parent / "configs" / "det_cml_unlabeled.yml"


@pytest.mark.parametrize(
    ("transforms", "key", "text"),
    [
        (["{DecodeImage: null}", "{IaaAugmnt: null}"], ".1", "did you mean 'IaaAugment'"),
        (["{DecodeImage: null}", "{EastRandomCropData: {sizes: [256, 256]}}"], ".1.EastRandomCropData.sizes", "size"),
        (["{DecodeImage: null}", CROP], "", "MakeShrinkMap must stand in the list once"),
        (["{DecodeImage: null}", CROP, BORDER, SHRINK], "", r"crops are \[64, 64\], those of Train\.dataset"),
        (
            ["{DecodeImage: null}", "{NormalizeImage: {mean: [0, 0, 0]}}", CROP, BORDER, SHRINK],
            *("", "NormalizeImage differs from that of Train.dataset"),
        ),
    ],
)
def test_transforms_of_images_without_labels_are_checked_like_the_others(
    transforms: list[str], key: str, text: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        config.load(UNLABELLED, [f"Train.unlabeled.transforms=[{', '.join(transforms)}]"])
    assert re.search(rf"Train\.unlabeled\.transforms{re.escape(key)}\b.*{text}", str(refused.value))


# --- what is read ----------------------------------------------------------------------------------------------------


def test_numbers_without_a_point_are_numbers() -> None:
    found = load(f"{LR}=1e-3", "Optimizer.regularizer={factor: 5e-5}", "Loss.loss_config_list.DBLoss.weight=2")
    assert found.Optimizer.lr.learning_rate == 0.001
    assert found.Optimizer.regularizer is not None
    assert found.Optimizer.regularizer.factor == 5e-5


@pytest.mark.parametrize("entry", ["MakeShrinkMap", "9.MakeShrinkMap"])
def test_transforms_are_overridden_by_name_and_by_index(entry: str) -> None:
    path = f"Train.dataset.transforms.{entry}.min_text_size"
    index = next(i for i, op in enumerate(load().Train.dataset.transforms) if "MakeShrinkMap" in op)
    found = load(f"{path.replace('9.', f'{index}.')}=5")
    assert found.Train.dataset.transforms[index]["MakeShrinkMap"] == {"shrink_ratio": 0.5, "min_text_size": 5}


def test_one_label_file_and_one_ratio_are_lists_of_one() -> None:
    found = load(
        "Train.dataset.label_file_list=a.txt", "Train.dataset.ratio_list=0.5", "Eval.dataset.label_file_list=b.txt"
    )
    assert found.Train.dataset.label_file_list == ["a.txt"]
    assert found.Train.dataset.ratio_list == [0.5]
    assert found.Eval.dataset.label_file_list == ["b.txt"]


def test_a_term_without_arguments_takes_its_defaults_as_a_transform_does() -> None:
    found = load("Loss.loss_config_list=[{DBLoss: }, {DMLLoss: {}}, {TeacherLoss: null}]")
    assert [next(iter(entry)) for entry in found.Loss.loss_config_list] == ["DBLoss", "DMLLoss", "TeacherLoss"]


def test_students_and_teachers_are_told_apart() -> None:
    found = load()
    assert list(found.students) == ["Student", "Student2"]
    assert list(found.teachers) == ["Teacher"]
    assert found.students["Student"] == found.students["Student2"]


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().Global.seed = 3  # type: ignore[misc]


def test_a_written_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a b ü.yml"
    config.save(load("Global.save_model_dir=läufe/文字"), path)
    assert config.load(path) == load("Global.save_model_dir=läufe/文字")
    assert "läufe/文字" in path.read_text(encoding="utf-8")


def test_merge_keys_windows_line_ends_and_a_byte_order_mark(tmp_path: Path) -> None:
    own = "Student2:\n      <<: *student\n      allow_missing: [head]\n"
    path = edited(tmp_path, ("Student2: *student", own))
    found = config.load(path)
    assert found.students["Student2"].allow_missing == ["head"]
    assert found.students["Student2"].Backbone == found.students["Student"].Backbone
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert config.load(path) == found


def test_an_alias_of_a_student_that_merges_another(tmp_path: Path) -> None:
    own = "Student2: &second\n      <<: *student\n      allow_missing: [head]\n    Student3: *second\n"
    found = config.load(edited(tmp_path, ("Student2: *student", own)))
    assert found.students["Student3"] == found.students["Student2"]


# --- mistakes in a file ----------------------------------------------------------------------------------------------


def test_every_mistake_is_told_at_once_with_key_place_and_guess(tmp_path: Path) -> None:
    path = edited(
        tmp_path,
        ("  seed: 2026                        #", "  sede: 2026                        #"),
        ("epoch_num: 3 ", "epoch_num: six "),
        ("clip_norm: null", "clipnorm: 1.0"),
        ("scale: 0.5  ", "sclae: 0.5  "),
        ("divergence: kl ", "divergense: kl "),
        ("min_text_size: 8}", "min_textsize: 8}"),
        ("main_indicator: hmean", "main_indicator: hmean\n  main_indicator: hmean"),
        ("box_type: quad", "box_typ: quad"),
        ("limit_type: min}", "limit_type: mni}"),
    )
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    text = str(refused.value)
    for key, guess, piece in (
        ("Global.sede", "seed", "sede:"),
        ("Global.epoch_num", "six", "epoch_num:"),
        ("Optimizer.clipnorm", "clip_norm", "clipnorm"),
        (f"{STUDENT}.Backbone.sclae", "scale", "sclae"),
        ("Architecture.Models.Student2.Backbone.sclae", "scale", "sclae"),
        ("Loss.loss_config_list.1.DMLLoss.divergense", "divergence", "divergense"),
        ("MakeShrinkMap.min_textsize", "min_text_size", "min_textsize"),
        ("Metric.main_indicator", "written twice", "main_indicator"),
        ("PostProcess.box_typ", "box_type", "box_typ"),
        ("DetResizeForTest.limit_type", "mni", "limit_type: mni"),
    ):
        (line,) = [line for line in text.splitlines() if line.strip().removesuffix(":").partition(":")[0].endswith(key)]
        assert guess in line
        assert f"{path}:{line_of(path, piece)}" in line
    assert text.splitlines()[0].endswith(" has 10 mistakes:")


def test_a_student_named_twice_is_refused(tmp_path: Path) -> None:
    path = edited(tmp_path, ("Student2: *student", "Student: *student"))
    with pytest.raises(ConfigError, match=r"Architecture\.Models\.Student: written twice.*keep one"):
        config.load(path)


@pytest.mark.parametrize("text", ["", "# nothing\n"])
def test_an_empty_file_lacks_every_section_and_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty.yml"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        config.load(path)
    for section in ("Architecture", "Loss", "Train", "Eval"):
        assert f"{section}: is missing" in str(refused.value)
    assert "empty.yml" in str(refused.value)


def test_a_list_at_the_top_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "list.yml").write_text("- Global\n")
    with pytest.raises(ConfigError, match=r"list\.yml: expected sections.*found a list"):
        config.load(tmp_path / "list.yml")
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "absent.yml")


@pytest.mark.parametrize("value", ["5", "x", "{DBLoss: {}}", "null"])
@pytest.mark.parametrize(
    "key",
    ["Loss.loss_config_list", "Train.dataset.transforms", "Architecture.Models", "Train.dataset", "Global", "Loss"],
)
def test_a_section_of_another_shape_is_refused(key: str, value: str) -> None:
    lines = mistakes(f"{key}={value}")
    assert any(line.startswith(key) for line in lines)


# --- single mistakes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("Global.sed=1", ["Global.sed: unknown key 'sed'", "did you mean 'seed'?", "(-o Global.sed)"]),
        ("Gobal.seed=1", ["Gobal: unknown key 'Gobal'", "did you mean 'Global'?", "-o Gobal.seed"]),
        ("Global.use_gpu=gpu", ["Global.use_gpu: input should be 'auto' or a valid boolean; found \"gpu\" ("]),
        ("Global.zzz=1", ["unknown key 'zzz'", "known: ", "seed"]),
        ("Global.embedded_set.trian=1", ["Global.embedded_set.trian", "did you mean 'train'?"]),
        ("Optimizer.lr.warmup_step=1", ["did you mean 'warmup_steps'?"]),
        (f"{STUDENT}.freeze_param=1", [f"{STUDENT}.freeze_param", "did you mean 'freeze_params'?"]),
        ("Train.loader.num_worker=1", ["did you mean 'num_workers'?"]),
        ("PostProcess.unclip=1", ["PostProcess.unclip", "did you mean 'unclip_ratio'?"]),
        (f"{STUDENT}.Backbone.name=MobilNetV3", ["unknown backbone 'MobilNetV3'", "did you mean 'MobileNetV3'?"]),
        (f"{STUDENT}.Neck.name=DBFPNN", ["unknown neck 'DBFPNN'", "did you mean 'DBFPN'?"]),
        (f"{STUDENT}.Head.kernel_lits=[3, 2, 2]", ["did you mean 'kernel_list'?"]),
        (f"{STUDENT}.Backbone={{scale: 0.5}}", ["Backbone.name: name is missing"]),
        (f"{STUDENT}.Backbone.scale=half", ["Backbone.scale", "valid number", '"half"']),
        ("Loss.loss_config_list=[{DMLoss: {}}]", ["unknown loss term 'DMLoss'", "did you mean 'DMLLoss'?"]),
        ("Loss.loss_config_list.DMLLoss.use_maks=true", ["did you mean 'use_mask'?"]),
        ("Loss.loss_config_list.DMLLoss.wieght=2", ["did you mean 'weight'?"]),
        ("Loss.loss_config_list.DMLLoss.divergence=lk", ["DMLLoss.divergence", "'kl'", '"lk"']),
        ("Loss.loss_config_list.DMLLoss={weight: heavy}", ["DMLLoss.weight", '"heavy"']),
        ("Loss.loss_config_list=[]", ["Loss.loss_config_list", "at least 1"]),
        ("Train.dataset.transforms.MakeShrinkMap.shrink_ratio=wide", ["MakeShrinkMap.shrink_ratio", '"wide"']),
        ("Train.dataset.transforms.EastRandomCropData.size=[64]", ["EastRandomCropData.size"]),
        ("Train.dataset.transforms.EastRandomCropData.max_tries='9'", ["EastRandomCropData.max_tries", '"9"']),
        ("Train.dataset.transforms.MakeShrinkMap.ratio=1", ["MakeShrinkMap.ratio: unknown key 'ratio'"]),
        ("Train.dataset.transforms.MakeShrikMap.x=1", ["list without 'MakeShrikMap'", "MakeShrinkMap"]),
        (
            "Train.dataset.ratio_list=[0.5, 0.5]",
            ["ratio_list has 2 entries for 1 label files", ", -o Train.dataset.ratio_list)"],
        ),
        ("Eval.loader.shuffle=true", ["Eval.loader.shuffle"]),
        ("Global.use_gpu=yes please", ["Global.use_gpu"]),
        ("Global.epoch_num=1.5", ["Global.epoch_num", "1.5"]),
        ("Global.epoch_num=0", ["Global.epoch_num", "greater than or equal to 1"]),
        ("Global.seed='7'", ["Global.seed", '"7"']),
        ("Global.seed=true", ["Global.seed", "true"]),
        ("Global.eval_batch_step=100", ["Global.eval_batch_step"]),
        ("Global.eval_batch_step=[3]", ["Global.eval_batch_step: is too short; value 2 is missing"]),
        ("Global.amp_dtype=int8", ["Global.amp_dtype", "'bfloat16'"]),
        (f"{LR}=1e-3x", [LR, '"1e-3x"']),
        (f"{LR}=0", [LR, "greater than 0"]),
        (f"{LR}=.inf", [LR]),
        ("Optimizer.clip_norm=.inf", ["Optimizer.clip_norm"]),
        ("Loss.loss_config_list.DMLLoss.weight=.nan", ["DMLLoss.weight"]),
        ("Loss.loss_config_list.DMLLoss.weight=-1", ["DMLLoss.weight"]),
        ("Global.max_steps=[1, 2", ["-o Global.max_steps", "not a YAML value"]),
        ("Global.max_steps", ["expected Section.key=value"]),
        ("Global.seed.x=1", ["Global.seed is a single value"]),
    ],
)
def test_one_mistake_is_one_line_with_its_words(override: str, words: list[str]) -> None:
    (line,) = mistakes(override)
    for word in words:
        assert word in line


@pytest.mark.parametrize(
    ("weight", "key", "word"),
    [
        ("{strat: 0.5}", "weight.strat", "did you mean 'start'?"),
        ("{start: 0, end: x}", "weight.end", '"x"'),
        ("{over: [0.5, 0.2]}", "weight", "must begin before it ends"),
        ("{over: [0.5]}", "weight.over", ""),
    ],
)
def test_a_mistake_in_a_weight_schedule_names_the_key_that_was_written(weight: str, key: str, word: str) -> None:
    lines = mistakes(f"Loss.loss_config_list.DMLLoss={{weight: {weight}}}")
    assert len(lines) == 1
    place, _, text = lines[0].partition(": ")
    assert place.startswith(f"Loss.loss_config_list.1.DMLLoss.{key}")
    assert "function-after" not in lines[0]
    assert word in text


def test_unknown_keys_in_overrides_are_refused_with_those_of_the_file(tmp_path: Path) -> None:
    path = edited(tmp_path, ("epoch_num: 3 ", "epoch_nmu: 6 "))
    with pytest.raises(ConfigError) as refused:
        config.load(path, ["Global.sed=1", "Global.=1", "Train.dataset.transforms.No.x=1"])
    for word in ("epoch_nmu", "Global.sed", "-o Global.=1", "without 'No'", "4 mistakes"):
        assert word in str(refused.value)


# --- well-formed and cannot work -------------------------------------------------------------------------------------


def ops(*entries: str) -> str:
    return f"Train.dataset.transforms=[{', '.join(entries)}]"


DECODE = "{DecodeImage: }"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "Architecture.Models.Teacher.inference_model=null",
            ["Architecture.Models.Teacher", "no weights", "teach noise"],
        ),
        ("Architecture.Models.Teacher.pretrained=a.npz", ["Teacher.inference_model", "remove pretrained"]),
        ("Architecture.Models.Teacher.Backbone={name: ResNet_vd}", ["used as it is", "remove Backbone"]),
        (f"{STUDENT}.inference_model=a", [f"{STUDENT}.inference_model", "freeze_params: true"]),
        (f"{STUDENT}.Neck=null", [STUDENT, "needs Neck"]),
        (
            "Loss.loss_config_list=[{DBLoss: {}}, {DMLLoss: {}}]",
            ["Architecture.Models.Teacher", "no loss term asks it"],
        ),
        (
            "Loss.loss_config_list=[{DBLoss: {model_name_list: [Student]}}, {TeacherLoss: {model_name_list: [Student]}}"
            "]",
            ["Architecture.Models.Student2", "taught by no loss term"],
        ),
        ("Loss.loss_config_list.DMLLoss={model_name_list: [Student]}", ["needs two students", "found Student"]),
        (
            "Loss.loss_config_list.DMLLoss={model_name_list: [Student, Studnet2]}",
            ["no student is called 'Studnet2'", "did you mean 'Student2'?"],
        ),
        (
            ops(DECODE, CROP, "{MakeBorderMap: {shrink_ratio: 0.4}}", SHRINK),
            ["Train.dataset.transforms", "same shrink_ratio"],
        ),
        (ops(DECODE, BORDER, SHRINK, CROP), ["must follow EastRandomCropData"]),
        (ops(DECODE, BORDER, CROP, SHRINK), ["MakeBorderMap must follow EastRandomCropData"]),
        (
            ops(DECODE, CROP, CROP, BORDER, SHRINK),
            ["one of EastRandomCropData and RandomWindow must stand in the list once"],
        ),
        (ops(DECODE, BORDER, SHRINK), ["one of EastRandomCropData and RandomWindow must stand in the list once"]),
        (ops(DECODE, CROP, BORDER), ["MakeShrinkMap must stand in the list once"]),
        (ops(CROP, BORDER, SHRINK), ["the first transform must be DecodeImage"]),
        (ops(DECODE, CROP, "{CopyPaste: }", BORDER, SHRINK), ["CopyPaste must precede EastRandomCropData"]),
        ("Eval.dataset.transforms=[{DecodeImage: }]", ["Eval.dataset.transforms", "DetResizeForTest"]),
        (f"Eval.dataset.transforms=[{DECODE}, {{DetResizeForTest: }}, {CROP}]", ["EastRandomCropData is for training"]),
    ],
)
def test_what_cannot_work_is_refused(override: str, words: list[str]) -> None:
    fitting = [line for line in mistakes(override) if all(word in line for word in words)]
    assert len(fitting) == 1
    assert fitting[0].endswith(")")  # the place


def test_all_mistakes_of_a_list_of_transforms_come_at_once() -> None:
    wrong = [
        "{DecodImage: }",
        "{MakeShrinkMap: {shrink_rato: 0.4, min_text_size: small}}",
        "{MakeBorderMap: {shrink_ratio: 2}}",
        "{EastRandomCropData: {size: [640, 650]}}",
        "{IaaAugment: {augmenter_args: [{type: Fliplr, args: {p: 5}}, {type: Swirl}]}}",
        "{NormalizeImage: {scale: 1/0}}",
        "{ToCHWImage: , KeepKeys: }",
    ]
    expected = [
        (".0", "did you mean 'DecodeImage'?"),
        (".1.MakeShrinkMap.shrink_rato:", "did you mean 'shrink_ratio'?"),
        (".1.MakeShrinkMap.min_text_size:", "valid number"),
        (".2.MakeBorderMap:", "between 0 and 1"),
        (".3.EastRandomCropData.size:", "multiples of 32"),
        (".4.IaaAugment.augmenter_args.0.args.p:", "less than or equal to 1"),
        (".4.IaaAugment.augmenter_args.1", "Swirl"),
        (".5.NormalizeImage.scale:", "valid number"),
        (".6", "one"),
    ]
    lines = mistakes(ops(*wrong))
    assert len(lines) == len(expected)
    for key, reason in expected:
        assert any(line.startswith(f"Train.dataset.transforms{key}") and reason in line for line in lines), key


def test_the_list_of_transforms_without_a_mistake_loads() -> None:
    assert len(load(ops(DECODE, CROP, BORDER, SHRINK)).Train.dataset.transforms) == 4


@pytest.mark.parametrize(
    ("override", "word"),
    [
        ("Loss.loss_config_list.DMLLoss.temperature=-1", "DMLLoss.temperature"),
        ("Loss.loss_config_list.DMLLoss.maps=[]", "DMLLoss.maps"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(override: str, word: str) -> None:
    lines = mistakes(override)
    assert word in lines[0]
    assert f"(-o {override.partition('=')[0]})" in lines[0]


@pytest.mark.parametrize("name", ["Teachers", "ensemble", "a/b", "../up", "", "Student.optimizer"])
def test_a_network_s_name_must_be_free_and_fit_for_a_file(name: str) -> None:
    data = yaml.safe_load(GIVEN.read_text(encoding="utf-8"))
    models = data["Architecture"]["Models"]
    models[name] = models.pop("Student2")
    text = yaml.safe_dump(models, default_flow_style=True, width=10**6)
    assert any("Architecture.Models" in line for line in mistakes(f"Architecture.Models={text}"))


def test_training_and_evaluation_must_normalise_alike() -> None:
    """One rule is used for both, and written into the export: another one in Eval would be ignored."""
    lines = mistakes(
        "Eval.dataset.transforms=[{DecodeImage: }, {DetResizeForTest: }, {NormalizeImage: {mean: [0.5, 0.5, 0.5]}}]"
    )
    assert "NormalizeImage" in lines[0]


@pytest.mark.parametrize("channels", [-1, 0, 1])
def test_other_channels_are_one_mistake(channels: int) -> None:
    (line,) = mistakes(f"{STUDENT}.Backbone.in_channels={channels}")
    assert f"{STUDENT}.Backbone.in_channels: is {channels}, and every network of a cohort is shown the same" in line


def test_other_channels_hide_no_missing_part() -> None:
    lines = mistakes(f"{STUDENT}.Backbone.in_channels=1", f"{STUDENT}.Neck=null")
    assert [line.partition(": ")[2].partition(",")[0].partition(" (")[0] for line in lines] == ["is 1", "needs Neck"]


def test_an_engine_that_would_be_ignored_is_refused() -> None:
    (line,) = mistakes("Architecture.Models.Teacher.engine=layer")
    assert "Architecture.Models.Teacher.engine" in line


def test_a_network_with_parts_runs_in_no_engine_for_exported_models(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path, terms=[tiny.LABELS, tiny.TEACHER], students=1, teacher=tmp_path)
    data["Architecture"]["Models"]["Teacher"]["engine"] = "paddle"
    with pytest.raises(ConfigError, match=r"Teacher\.engine: runs exported models; .* choose auto, layer or onnx"):
        tiny.load(data, tmp_path)
    data["Loss"]["loss_config_list"] = [tiny.LABELS, {"ATLoss": {"layers": [["neck", "neck"]]}}]
    data["Architecture"]["Models"]["Teacher"]["engine"] = "onnx"
    with pytest.raises(ConfigError, match=r"Teacher\.engine: onnx shows only a map, and ATLoss compares features"):
        tiny.load(data, tmp_path)


def test_options_of_the_other_kind_of_a_teacher_term_are_refused() -> None:
    (line,) = mistakes("Loss.loss_config_list.TeacherLoss.temperature=4.0")
    assert "TeacherLoss.temperature, balance: are for kind: soft" in line
    load("Loss.loss_config_list.TeacherLoss.temperature=4.0", "Loss.loss_config_list.TeacherLoss.kind=soft")


def test_a_teacher_s_keys_do_nothing_for_a_student_and_are_refused() -> None:
    assert any(f"{STUDENT}.weight" in line for line in mistakes(f"{STUDENT}.weight=2.0"))
    assert any(f"{STUDENT}.engine" in line for line in mistakes(f"{STUDENT}.engine=onnx"))


# --- any override ----------------------------------------------------------------------------------------------------

paths = st.sampled_from(
    [
        "Global",
        "Global.seed",
        "Global.embedded_set",
        "Architecture.Models",
        "Architecture.Models.Student.Backbone",
        "Loss.loss_config_list",
        "Loss.loss_config_list.0",
        "Loss.loss_config_list.DMLLoss.weight",
        "Optimizer.lr",
        "Train.dataset.transforms",
        "Train.dataset.transforms.MakeShrinkMap",
        "Eval.dataset.transforms.1",
        "PostProcess",
        "nowhere.else",
    ]
)
scalars = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.floats(), st.text(max_size=5))
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(scalars, inner, max_size=3)),
    max_leaves=6,
)


def flow(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10**6, allow_unicode=True).removesuffix("\n...\n")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(assignments=st.lists(st.tuples(paths, values), min_size=1, max_size=3))
def test_any_override_gives_a_config_or_its_mistakes(assignments: list[tuple[str, Any]]) -> None:
    try:
        found = load(*(f"{path}={flow(value)}" for path, value in assignments))
    except ConfigError as error:
        assert "mistake" in str(error)
    else:
        assert isinstance(found, Config)


def test_two_lengths_of_one_warm_up_are_refused() -> None:
    """The steps would win without a word, and warmup_epoch is the key that PaddleOCR's users know."""
    given = Path(__file__).resolve().parent.parent / "configs" / "det_cml.yml"
    with pytest.raises(ConfigError, match=r"Optimizer\.lr\.warmup_epoch: is 2 while warmup_steps is 20"):
        config.load(given, ["Optimizer.lr.warmup_epoch=2"])
    chosen = config.load(given, ["Optimizer.lr.warmup_epoch=2", "Optimizer.lr.warmup_steps=null"])
    assert chosen.Optimizer.lr.warmup_epoch == 2


def test_a_compiled_program_is_not_computed_again() -> None:
    given = ["Global.to_static=true", "Global.recompute=true"]
    (line,) = mistakes(*given)
    assert line == (
        "Global.recompute: is true, and has no effect on the programs of Global.to_static; set it to auto "
        "(-o Global.recompute)"
    )
    assert load(given[0]).Global.recompute == "auto"
    assert load(given[1]).Global.recompute is True


def test_what_only_a_network_knows_of_its_arguments_is_told_with_all_the_rest() -> None:
    assert mistakes(f"{STUDENT}.Backbone.scale=0.6", f"{STUDENT}2.Neck.out_channels=97", f"{STUDENT}.weight=2") == [
        f"{STUDENT}.weight: is for teachers; this network learns (-o {STUDENT}.weight)",
        f"{STUDENT}.Backbone.scale: 0.6 is not supported; choose one of 0.35, 0.5, 0.75, 1.0, 1.25 "
        f"(-o {STUDENT}.Backbone.scale)",
        f"{STUDENT}2.Neck.out_channels: 97 must be a multiple of 4 and at least 8, e.g. 96 "
        f"(-o {STUDENT}2.Neck.out_channels)",
    ]


def test_bounds_and_a_default_of_the_schema() -> None:
    assert OptimizerSection(beta1=0.0, beta2=0.0, momentum=0.0).beta1 == 0
    for wrong in (
        {"ema_decay": 0.0},
        {"ema_decay": 1.0},  # would keep the random start for ever
        {"beta1": 1.0},  # no gradient would ever reach the moment
        {"beta2": 1.0},
        {"momentum": 1.0},
        {"beta1": -0.1},
        {"clip_norm": 0.0},  # no step would move anything
    ):
        with pytest.raises(ValidationError):
            OptimizerSection.model_validate(wrong)
    with pytest.raises(ValidationError):
        Regularizer(factor=-0.1)
    for name in ("start", "end"):
        assert getattr(WeightSchedule.model_validate({name: 0.0}), name) == 0
        with pytest.raises(ValidationError):
            WeightSchedule.model_validate({name: -0.1})
    for weight in (0.0, -1.0):  # of two teachers one would be taken away from the mean
        with pytest.raises(ValidationError):
            Network(weight=weight)
    assert EvalLoader().batch_size_per_card == 1
