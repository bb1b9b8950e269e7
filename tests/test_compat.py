"""PaddleOCR's detection configurations run as they are: each is compared with the native one that means the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ocr_cml import config
from ocr_cml.binding import bind
from ocr_cml.compat import translate
from ocr_cml.schema import Config
from ocr_cml.yaml_source import Source
from ppocr_data.errors import ConfigError

Write = Callable[[str], Path]

DATA = """
Train:
  dataset:
    name: SimpleDataSet
    data_dir: d
    label_file_list: [d/a.txt]
    transforms:
    - DecodeImage: {img_mode: BGR, channel_first: False}
    - DetLabelEncode:
    - CopyPaste: null
    - IaaAugment: {augmenter_args: [{type: Fliplr, args: {p: 0.5}}, {type: Resize, args: {size: [0.5, 3]}}]}
    - EastRandomCropData: {size: [64, 64], max_tries: 50, keep_ratio: true}
    - MakeBorderMap: {shrink_ratio: 0.4, thresh_min: 0.3, thresh_max: 0.7}
    - MakeShrinkMap: {shrink_ratio: 0.4, min_text_size: 8}
    - NormalizeImage: {scale: 1./255., mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], order: hwc}
    - ToCHWImage:
    - KeepKeys: {keep_keys: [image, threshold_map, threshold_mask, shrink_map, shrink_mask]}
  loader: {shuffle: True, batch_size_per_card: 8, num_workers: 4%s}
Eval:
  dataset:
    name: SimpleDataSet
    data_dir: d
    label_file_list: [d/b.txt]
    transforms: [{DecodeImage: {img_mode: BGR}}, {DetLabelEncode: null}, {DetResizeForTest: null}]
  loader: {shuffle: False, batch_size_per_card: 1, num_workers: 2%s}
"""
PADDLEOCR_DATA = DATA % (", drop_last: False, use_shared_memory: True", ", drop_last: False")
NATIVE_DATA = DATA % ("", "")

STUDENT = """
      model_type: det
      algorithm: DB
      Transform:
      Backbone: {name: MobileNetV3, scale: 0.5, model_name: large, disable_se: True}
      Neck: {name: RSEFPN, out_channels: 96, shortcut: True}
      Head: {name: DBHead, k: 50}
"""
TEACHER = """
      freeze_params: true
      return_all_feats: false
      pretrained: w/teacher
      model_type: det
      algorithm: DB
      Backbone: {name: ResNet_vd, in_channels: 3, layers: 18}
      Neck: {name: DBFPN, out_channels: 256}
      Head: {name: DBHead, kernel_list: [7, 2, 2], k: 50}
"""

CML = f"""
Global:
  debug: false
  use_gpu: true
  epoch_num: &epochs 500
  log_smooth_window: 20
  print_batch_step: 10
  save_model_dir: ./output/x/
  save_epoch_step: 100
  eval_batch_step: [0, 400]
  cal_metric_during_train: false
  pretrained_model: null
  checkpoints:
  save_inference_dir:
  use_visualdl: False
  infer_img: a.jpg
  save_res_path: b.txt
  d2s_train_image_shape: [3, -1, -1]
  distributed: true
  amp_dtype: bfloat16
Architecture:
  name: DistillationModel
  algorithm: Distillation
  model_type: det
  Models:
    Student: {STUDENT}
    Student2: {STUDENT}
    Teacher: {TEACHER}
Loss:
  name: CombinedLoss
  loss_config_list:
  - DistillationDilaDBLoss:
      weight: 1.0
      model_name_pairs: [[Student, Teacher], [Student2, Teacher]]
      key: maps
      balance_loss: true
      main_loss_type: DiceLoss
      alpha: 4
      beta: 9
      ohem_ratio: 2
  - DistillationDMLLoss:
      model_name_pairs:
      - [Student, Student2]
      maps_name: thrink_maps
      weight: 0.5
      model_name_pairs: [Student, Student2]
      key: maps
  - DistillationDBLoss:
      weight: 1.0
      model_name_list: [Student, Student2]
      name: DBLoss
      balance_loss: true
      main_loss_type: DiceLoss
      alpha: 6
      beta: 11
      ohem_ratio: 3
Optimizer:
  name: Adam
  beta1: 0.9
  beta2: 0.999
  lr: {{name: Cosine, learning_rate: 0.001, warmup_epoch: 2}}
  regularizer: {{name: L2, factor: 5.0e-05}}
PostProcess:
  name: DistillationDBPostProcess
  model_name: [Student]
  key: head_out
  thresh: 0.3
  box_thresh: 0.6
  max_candidates: 1000
  unclip_ratio: 1.5
Metric: {{name: DistillationMetric, base_metric_name: DetMetric, main_indicator: hmean, key: Student}}
{PADDLEOCR_DATA}
profiler_options: null
"""

NATIVE_CML = f"""
Global:
  epoch_num: 500
  use_gpu: auto
  save_model_dir: ./output/x/
  eval_batch_step: [0, 400]
  use_amp: false
  amp_dtype: bfloat16
  save_batch_step: 200
Architecture:
  Models:
    Student: {STUDENT}
    Student2: {STUDENT}
    Teacher: {TEACHER}
Loss:
  loss_config_list:
  - TeacherLoss:
      weight: 1.0
      kind: dilated
      dilation: 2
      model_name_pairs: [[Student, Teacher], [Student2, Teacher]]
      balance_loss: true
      main_loss_type: DiceLoss
      alpha: 4
      ohem_ratio: 2
  - DMLLoss: {{weight: 0.5, model_name_pairs: [[Student, Student2]], maps: [shrink], divergence: ppocr}}
  - DBLoss:
      weight: 1.0
      model_name_list: [Student, Student2]
      balance_loss: true
      main_loss_type: DiceLoss
      alpha: 6
      beta: 11
      ohem_ratio: 3
Optimizer:
  lr: {{learning_rate: 0.001, warmup_epoch: 2}}
  regularizer: {{name: L2, factor: 5.0e-05}}
{NATIVE_DATA}
"""

SINGLE = f"""
Global:
  use_gpu: true
  use_xpu: false
  epoch_num: 1200
  eval_batch_step: 2000
  pretrained_model:
  use_visualdl: False
Architecture:
  model_type: det
  algorithm: DB
  Transform:
  Backbone: {{name: MobileNetV3, scale: 0.5, model_name: large, disable_se: True}}
  Neck: {{name: DBFPN, out_channels: 96}}
  Head: {{name: DBHead, k: 50}}
Loss: {{name: DBLoss, balance_loss: true, main_loss_type: DiceLoss, alpha: 5, beta: 10, ohem_ratio: 3}}
Optimizer:
  name: Adam
  lr:
    learning_rate: 0.002
  regularizer: {{name: L2, factor: 0}}
PostProcess: {{name: DBPostProcess, thresh: 0.3}}
Metric: {{name: DetMetric, main_indicator: hmean}}
{PADDLEOCR_DATA}
"""

NATIVE_SINGLE = f"""
Global: {{use_gpu: auto, use_amp: false, epoch_num: 1200, eval_batch_step: [0, 2000], save_batch_step: 200}}
Architecture:
  Models:
    Student:
      Backbone: {{name: MobileNetV3, scale: 0.5, model_name: large, disable_se: True}}
      Neck: {{name: DBFPN, out_channels: 96}}
      Head: {{name: DBHead, k: 50}}
Loss:
  loss_config_list:
  - DBLoss: {{balance_loss: true, main_loss_type: DiceLoss, alpha: 5, beta: 10, ohem_ratio: 3}}
Optimizer:
  lr: {{name: Const, learning_rate: 0.002}}
  regularizer: {{name: L2, factor: 0}}
PostProcess: {{thresh: 0.3, box_thresh: 0.7, unclip_ratio: 2.0}}
{NATIVE_DATA}
"""


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text as given.yml."""

    def to_file(text: str) -> Path:
        path = tmp_path / "given.yml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def read(path: Path, *overrides: str) -> tuple[Config, list[str]]:
    """The configuration, and what was said about it."""
    source = config.read(path, overrides)
    return config.from_source(source), source.notes


def refusal(path: Path, *overrides: str) -> str:
    """The message with which a configuration is refused."""
    with pytest.raises(ConfigError) as caught:
        config.load(path, overrides)
    return str(caught.value)


def term(settings: Config, name: str) -> dict[str, Any]:
    """The arguments of the one loss term of a name."""
    (found,) = [entry[name] for entry in settings.Loss.loss_config_list if name in entry]
    return found


def changed(text: str, old: str, new: str) -> str:
    """A text with one place changed."""
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in the text"
    return text.replace(old, new)


# --- whole configurations --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theirs", "ours"), [(CML, NATIVE_CML), (SINGLE, NATIVE_SINGLE)], ids=["several networks", "one network"]
)
def test_it_means_the_same_as_the_native_configuration(write: Write, theirs: str, ours: str) -> None:
    translated, notes = read(write(theirs))
    native, no_notes = read(write(ours))
    assert translated == native
    assert notes
    assert no_notes == []


@pytest.mark.parametrize("theirs", [CML, SINGLE], ids=["several networks", "one network"])
def test_what_it_is_translated_to_is_native(write: Write, theirs: str) -> None:
    translated, _ = read(write(theirs))
    assert read(write(config.dump(translated))) == (translated, [])


def test_native_configurations_are_left_as_they_are(repository: Path) -> None:
    files = sorted((repository / "configs").rglob("*.yml"))
    files = [path for path in files if path.name != "inference.yml"]
    assert len(files) > 5
    for path in files:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
        source = Source(copy.deepcopy(data))
        assert translate(source) == []
        assert source == Source(data), path


def test_every_network_is_bound_as_paddleocr_binds_it(write: Write) -> None:
    labels = [binding.label for binding in bind(read(write(CML))[0])]
    assert labels == [
        "teacher/Student<-Teacher",
        "teacher/Student2<-Teacher",
        "mutual/Student<-Student2",
        "mutual/Student2<-Student",
        "db/Student",
        "db/Student2",
    ]


def test_a_network_called_teacher_that_is_not_frozen_is_a_student(write: Write) -> None:
    text = changed(CML, "freeze_params: true", "freeze_params: false")
    text = text.replace("[[Student, Teacher], [Student2, Teacher]]", "[[Student, Student2]]")
    settings = config.read(write(text)).data["Architecture"]["Models"]
    assert [name for name, network in settings.items() if not network.get("freeze_params")] == [
        *("Student", "Student2", "Teacher")
    ]


# --- overrides, written against PaddleOCR's keys --------------------------------------------------------------------


def test_overrides_of_several_networks(write: Write) -> None:
    settings, _ = read(
        write(CML),
        "Architecture.Models.Teacher.pretrained=other.npz",
        "Architecture.Models.Student.Backbone.scale=0.35",
        "Train.dataset.data_dir=elsewhere",
        "Global.epoch_num=1",
        "Loss.loss_config_list.DistillationDMLLoss.divergence=kl",
        "Loss.loss_config_list.DistillationDilaDBLoss.alpha=3",
        "PostProcess.unclip_ratio=1.7",
    )
    models = settings.Architecture.Models
    assert models["Teacher"].pretrained == "other.npz"
    assert models["Student"].Backbone is not None and models["Student"].Backbone["scale"] == 0.35
    assert settings.Train.dataset.data_dir == "elsewhere"
    assert settings.Global.epoch_num == 1
    assert term(settings, "DMLLoss")["divergence"] == "kl"
    assert term(settings, "TeacherLoss")["alpha"] == 3
    assert settings.PostProcess.unclip_ratio == 1.7


def test_overrides_of_one_network_by_either_name(write: Write) -> None:
    settings, _ = read(
        write(SINGLE),
        "Architecture.Backbone.scale=0.35",
        "Architecture.Models.Student.allow_missing=[neck]",
        "Loss.alpha=2",
        "Loss.update=alternating",
    )
    student = settings.Architecture.Models["Student"]
    assert student.Backbone is not None and student.Backbone["scale"] == 0.35
    assert student.allow_missing == ["neck"]
    assert term(settings, "DBLoss")["alpha"] == 2
    assert settings.Loss.update == "alternating"


def test_an_override_of_a_parts_key_leaves_the_others(write: Write) -> None:
    """Of the one network's file, by the name that it has here."""
    (path, key) = write(SINGLE), "Architecture.Models.Student.Backbone"
    plain, scaled = (read(path, *given)[0].students["Student"].spec for given in ((), (f"{key}.scale=1.0",)))
    assert scaled == {**plain, "Backbone": {**plain["Backbone"], "scale": 1.0}}
    assert len(plain["Backbone"]) > 2


def test_an_inference_model_given_on_the_command_line_takes_the_place_of_the_teacher_in_the_file(write: Write) -> None:
    settings, notes = read(write(CML), "Architecture.Models.Teacher.inference_model=PP-OCRv5_server_det")
    teacher = settings.teachers["Teacher"]
    assert teacher.inference_model == "PP-OCRv5_server_det"
    assert teacher.spec == {} and teacher.pretrained is None
    assert any("takes the place of Backbone, Neck, Head, pretrained" in note for note in notes)


def test_a_teacher_in_the_file_with_both_is_still_a_mistake(write: Write) -> None:
    text = changed(CML, "      pretrained: w/teacher\n", "      pretrained: w/teacher\n      inference_model: m\n")
    assert "is used as it is; remove Backbone, Neck, Head" in refusal(write(text))


# --- lines -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "old", "new", "key"),
    [
        (SINGLE, "  Neck: {name: DBFPN,", "  Neck:\n    name: DBFPN\n    chanels: 3\n#", "Student.Neck.chanels"),
        (SINGLE, "Loss: {name: DBLoss,", "Loss:\n  name: DBLoss\n  alfa: 3\n#", "Loss.loss_config_list.0.DBLoss.alfa"),
        (CML, "      maps_name: thrink_maps", "      sofmax: 1", "Loss.loss_config_list.1.DMLLoss.sofmax"),
        (CML, "  log_smooth_window: 20", "  future_thing: 1", "Global.future_thing"),
        (SINGLE, "Optimizer:\n", "Optimizer:\n  clip_norm_global: big\n", "Optimizer.clip_norm"),
        (SINGLE, "Optimizer:\n", "Optimizer:\n  weight_decoy: 1\n", "Optimizer.weight_decoy"),
    ],
)
def test_a_mistake_in_a_key_that_moved_is_told_with_its_own_line(
    write: Write, text: str, old: str, new: str, key: str
) -> None:
    path = write(changed(text, old, new))
    word = key.rsplit(".", 1)[-1]
    number = next(i for i, line in enumerate(path.read_text().splitlines(), 1) if f"{word}" in line)
    lines = [line for line in refusal(path).splitlines() if key in line]
    assert len(lines) == 1
    assert f"({path}:{number})" in lines[0]


# --- what is not a DB text detector ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("  model_type: det\n  algorithm: DB\n", "  model_type: rec\n  algorithm: SVTR_LCNet\n", "'rec'"),
        ("  model_type: det\n  algorithm: DB\n", "  model_type: det\n  algorithm: EAST\n", "'EAST'"),
        ("  algorithm: DB\n", "  algorithm: PSE\n", "'PSE'"),
        ("  algorithm: DB\n", "  algorithm: SAST\n", "'SAST'"),
        ("  algorithm: DB\n", "  algorithm: FCE\n", "'FCE'"),
        ("  algorithm: DB\n", "  algorithm: DB++\n", "'DB++'"),
        ("  algorithm: DB\n", "  algorithm: Distillation\n", "'Distillation'"),
    ],
)
def test_another_kind_of_model_is_one_sentence(write: Write, old: str, new: str, found: str) -> None:
    message = refusal(write(changed(SINGLE, old, new)))
    assert message.startswith("Architecture.") and "\n" not in message
    assert found in message and "model_type det, algorithm DB" in message


def test_a_distilled_recogniser_is_one_sentence(write: Write) -> None:
    text = CML.replace("algorithm: DB\n", "algorithm: SVTR\n")
    message = refusal(write(text))
    assert message.startswith("Architecture.Models.Student.algorithm: 'SVTR'") and "\n" not in message


def test_keys_of_a_future_version_are_all_named_with_their_lines(write: Write) -> None:
    path = write(
        SINGLE.replace("Global:\n", "Global:\n  use_moe: true\n").replace("Optimizer:\n", "Optimizer:\n  zero: 3\n")
    )
    lines = path.read_text().splitlines()
    message = refusal(path)
    assert "the configuration has 2 mistakes" in message
    for key, written in (("Global.use_moe", "  use_moe: true"), ("Optimizer.zero", "  zero: 3")):
        (said,) = [line for line in message.splitlines() if key in line]
        assert "unknown key" in said and f"({path}:{lines.index(written) + 1})" in said


def test_a_loss_that_is_not_known_is_named(write: Write) -> None:
    message = refusal(write(changed(SINGLE, "Loss: {name: DBLoss,", "Loss: {name: EASTLoss,")))
    assert "unknown loss term 'EASTLoss'" in message
    text = changed(CML, "  - DistillationDBLoss:\n", "  - DistillationCTCLoss:\n")
    assert "unknown loss term 'DistillationCTCLoss'" in refusal(write(text))


# --- the mutual term ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "maps", "said"),
    [
        ("thrink_maps", ["shrink"], "spelling of shrink"),
        ("shrink_maps", ["shrink"], "computes 0 for this spelling"),
        ("binary_maps", ["binary"], "read as maps: [binary]"),
        ("threshold_maps", ["threshold"], "read as maps: [threshold]"),
        ("[thrink_maps, binary_maps]", ["shrink", "binary"], "finds no map in a list and computes 0"),
        ("null", ["shrink", "threshold", "binary"], "without maps_name all three"),
    ],
)
def test_the_names_of_the_maps(write: Write, written: str, maps: list[str], said: str) -> None:
    settings, notes = read(write(changed(CML, "maps_name: thrink_maps", f"maps_name: {written}")))
    assert term(settings, "DMLLoss")["maps"] == maps
    assert sum(said in note for note in notes) == 1


def test_maps_by_their_own_name_win(write: Write) -> None:
    settings, notes = read(write(CML), "Loss.loss_config_list.DistillationDMLLoss.maps=[shrink, binary]")
    assert term(settings, "DMLLoss")["maps"] == ["shrink", "binary"]
    assert sum("because maps is given" in note for note in notes) == 1


@pytest.mark.parametrize("written", ["shrink", "[thrink_maps, foo]", "3", "[null]"])
def test_a_map_that_does_not_exist_is_refused(write: Write, written: str) -> None:
    message = refusal(write(changed(CML, "maps_name: thrink_maps", f"maps_name: {written}")))
    assert "DMLLoss.maps_name: no map is called" in message


@pytest.mark.parametrize(
    ("line", "refused", "said"),
    [
        ("act: softmax", True, "width of the image"),
        ("act: relu", True, "'relu' is unknown"),
        ("use_log: true", True, "text recognisers"),
        ("multi_head: true", True, "text recognisers"),
        ("act: sigmoid", False, "a second sigmoid"),
    ],
)
def test_what_a_mutual_term_of_detectors_cannot_have(write: Write, line: str, refused: bool, said: str) -> None:
    path = write(changed(CML, "      maps_name: thrink_maps", f"      {line}\n      maps_name: thrink_maps"))
    if refused:
        assert said in refusal(path)
    else:
        settings, notes = read(path)
        assert "act" not in term(settings, "DMLLoss")
        assert sum(said in note for note in notes) == 1


@pytest.mark.parametrize("line", ["act: None", "act:", "use_log: false", "multi_head: false", "dis_head: ctc"])
def test_arguments_without_effect_change_nothing(write: Write, line: str) -> None:
    plain = read(write(CML))
    path = write(changed(CML, "      maps_name: thrink_maps", f"      {line}\n      maps_name: thrink_maps"))
    assert read(path)[0] == plain[0]
    assert len(read(path)[1]) == len(plain[1])


def test_a_mutual_term_on_features_is_refused(write: Write) -> None:
    text = CML.replace("model_name_pairs: [Student, Student2]\n      key: maps", "key: backbone_out")
    assert "'backbone_out' compares features" in refusal(write(text))


def test_pairs_that_are_written_twice_must_agree(write: Write) -> None:
    _, notes = read(write(CML))
    assert sum("written twice with one meaning" in note for note in notes) == 1
    text = changed(CML, "model_name_pairs: [Student, Student2]", "model_name_pairs: [Student2, Student]")
    assert "model_name_pairs: written twice" in refusal(write(text))
    settings, _ = read(write(text), "Loss.loss_config_list.DistillationDMLLoss.model_name_pairs=[Student, Student2]")
    assert term(settings, "DMLLoss")["model_name_pairs"] == [["Student", "Student2"]]


@pytest.mark.parametrize("pairs", ["true", "3", "Student"])
def test_pairs_that_are_none_are_a_mistake_like_any_other(write: Write, pairs: str) -> None:
    with pytest.raises(ConfigError, match="model_name_pairs"):
        read(write(CML), f"Loss.loss_config_list.DistillationDMLLoss.model_name_pairs={pairs}")


def test_another_key_that_is_written_twice_is_still_a_mistake(write: Write) -> None:
    text = changed(CML, "  print_batch_step: 10", "  print_batch_step: 10\n  print_batch_step: 10")
    assert "Global.print_batch_step: written twice" in refusal(write(text))


# --- weights ---------------------------------------------------------------------------------------------------------


def test_an_address_stays_for_the_start_of_the_training(write: Write) -> None:
    address = "https://example.com/pretrained/MobileNetV3_large_x0_5_pretrained.pdparams"
    path = write(changed(SINGLE, "pretrained_model:", f"pretrained_model: {address}"))
    settings, notes = read(path)
    assert settings.Global.pretrained_model == address
    assert settings.students["Student"].allow_missing == ["neck", "head"]
    assert sum("Global.pretrained_model: is downloaded when it is needed, once" in note for note in notes) == 1
    assert read(path, "Global.pretrained_model=null")[0].Global.pretrained_model is None


def test_an_address_of_a_teacher_is_told_too(write: Write) -> None:
    path = write(changed(CML, "pretrained: w/teacher", "pretrained: http://example.com/a/teacher.pdparams"))
    settings, notes = read(path)
    assert settings.teachers["Teacher"].pretrained == "http://example.com/a/teacher.pdparams"
    assert sum("Models.Teacher.pretrained: is downloaded" in note for note in notes) == 1


def test_a_teacher_without_weights_takes_its_own_from_the_checkpoint_of_all(write: Write) -> None:
    path = write(changed(CML, "      pretrained: w/teacher\n", ""))
    assert "Teacher: is frozen but has no weights" in refusal(path)
    settings, notes = read(path, "Global.pretrained_model=ch_PP-OCRv2_det_distill_train/best_accuracy")
    assert settings.teachers["Teacher"].pretrained == "ch_PP-OCRv2_det_distill_train/best_accuracy"
    assert sum("it takes those of its name from Global.pretrained_model" in note for note in notes) == 1
    backbone = "Global.pretrained_model=MobileNetV3_large_x0_5_pretrained"
    assert "Teacher: is frozen but has no weights" in refusal(path, backbone)


@pytest.mark.parametrize(
    ("file", "allowed"),
    [
        ("./pretrain_models/MobileNetV3_large_x0_5_pretrained", ["neck", "head"]),
        ("w\\MobileNetV3_large_x0_5_ssld_pretrained.pdparams", ["neck", "head"]),
        ("output/det/best", ["head.thresh"]),
        ("MobileNetV3_large_x0_5_pretrained/best_accuracy.pdparams", ["head.thresh"]),
        ("det_mv3_db_v2.0_train", ["head.thresh"]),
    ],
)
def test_only_a_backbones_file_leaves_neck_and_head(write: Write, file: str, allowed: list[str]) -> None:
    settings, _ = read(write(changed(SINGLE, "pretrained_model:", f"pretrained_model: {file}")))
    assert settings.Architecture.Models["Student"].allow_missing == allowed


def test_a_backbones_file_for_every_student_is_told_once(write: Write) -> None:
    file = "w/MobileNetV3_large_x0_5_pretrained.pdparams"
    settings, notes = read(write(CML), f"Global.pretrained_model={file}")
    assert [net.allow_missing for net in settings.students.values()] == [["neck", "head"]] * 2
    assert settings.teachers["Teacher"].allow_missing == ["head.thresh"]
    assert sum("a backbone's file by its name" in note for note in notes) == 1


@pytest.mark.parametrize("text", [SINGLE, CML])
def test_a_file_of_another_backbone_is_refused_once(write: Write, text: str) -> None:
    message = refusal(write(text), "Global.pretrained_model=w/ResNet18_vd_pretrained")
    assert message.count("is a file of ResNet_vd, and the Backbone of Student is MobileNetV3") == 1
    assert "1 mistake" in message


def test_switches_in_a_backbone_that_do_nothing_are_left_out(write: Write) -> None:
    text = changed(CML, "layers: 18}", "layers: 18, disable_se: True, pretrained: true}")
    settings, notes = read(write(text))
    assert settings == read(write(CML))[0]
    assert sum("Teacher.Backbone.pretrained: is left out" in note for note in notes) == 1
    assert sum("Teacher.Backbone.disable_se: is left out" in note for note in notes) == 1


def test_the_crop_of_v6_is_told_and_keeps_its_line(write: Write) -> None:
    text = changed(SINGLE, "- EastRandomCropData: {size", "- RandomCrop: {size")
    settings, notes = read(write(text))
    assert settings == read(write(SINGLE))[0]
    assert sum("RandomCrop: is read as EastRandomCropData" in note for note in notes) == 1


def test_the_map_of_pfheadlocal_is_told(write: Write) -> None:
    text = changed(SINGLE, "Head: {name: DBHead, k: 50}", "Head: {name: PFHeadLocal, k: 50, mode: large}")
    assert sum("PFHeadLocal's map is the mean" in note for note in read(write(text))[1]) == 1


# --- the rest --------------------------------------------------------------------------------------------------------


def test_keys_without_meaning_are_one_note(write: Write) -> None:
    _, notes = read(write(CML))
    (note,) = [note for note in notes if note.startswith("Global: ")]
    for key in (
        *("debug", "log_smooth_window", "save_epoch_step", "cal_metric_during_train", "use_visualdl", "infer_img"),
        *("save_res_path", "d2s_train_image_shape", "distributed", "profiler_options"),
    ):
        assert key in note


def test_a_checkpoint_is_written_long_before_the_first_evaluation(write: Write) -> None:
    """Whose files evaluate first after thousands of steps: a kill in the first hours would lose all of them."""
    settings, notes = read(write(CML))
    assert settings.Global.save_batch_step == 200
    assert sum(note.startswith("Global.save_batch_step: latest/ is written every 200 steps") for note in notes) == 1
    assert read(write(CML), "Global.save_batch_step=7")[0].Global.save_batch_step == 7


def test_another_device_is_refused_only_where_it_is_wanted(write: Write) -> None:
    assert "Global.use_xpu: unknown key" in refusal(write(SINGLE), "Global.use_xpu=true")


@pytest.mark.parametrize(("override", "value"), [((), "auto"), (("Global.use_gpu=true",), True)])
def test_a_gpu_is_demanded_only_on_the_command_line(write: Write, override: tuple[str, ...], value: object) -> None:
    assert read(write(SINGLE), *override)[0].Global.use_gpu == value


def test_mixed_precision_is_bfloat16_unless_float16_is_written(write: Write) -> None:
    settings, notes = read(write(SINGLE), "Global.use_amp=true")
    assert (settings.Global.use_amp, settings.Global.amp_dtype) == (True, "bfloat16")
    assert sum("float16, overflows" in note for note in notes) == 1
    settings, notes = read(write(SINGLE), "Global.use_amp=true", "Global.amp_dtype=float16")
    assert settings.Global.amp_dtype == "float16"
    assert not any("overflows" in note for note in notes)


def test_the_moving_mean_of_the_weights_moves_to_the_optimizer(write: Write) -> None:
    ema = "  use_ema: true\n  ema_decay: 0.9997\n  ema_decay_type: threshold\n"
    settings, notes = read(write(changed(SINGLE, "  epoch_num: 1200\n", f"  epoch_num: 1200\n{ema}")))
    assert settings.Optimizer.ema_decay == 0.9997
    assert any("Optimizer.ema_decay: 0.9997" in note for note in notes)
    off = ema.replace("true", "false")
    assert (
        read(write(changed(SINGLE, "  epoch_num: 1200\n", f"  epoch_num: 1200\n{off}")))[0].Optimizer.ema_decay is None
    )
    for given, decay in (("0.99", 0.99), ("null", None)):  # under its own name it is what somebody wants here
        path = write(changed(SINGLE, "  epoch_num: 1200\n", f"  epoch_num: 1200\n{ema}"))
        assert read(path, f"Optimizer.ema_decay={given}")[0].Optimizer.ema_decay == decay
    other = ema.replace("threshold", "exponential")
    message = refusal(write(changed(SINGLE, "  epoch_num: 1200\n", f"  epoch_num: 1200\n{other}")))
    assert "Global.ema_decay_type: 'exponential' is not supported" in message


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("clip_norm_global: 10.0", "clip_norm", 10.0),
        ("clip_norm: 5.0", "clip_norm", 5.0),
    ],
)
def test_gradient_clipping_is_told(write: Write, line: str, key: str, value: float) -> None:
    settings, notes = read(write(changed(SINGLE, "Optimizer:\n", f"Optimizer:\n  {line}\n")))
    assert getattr(settings.Optimizer, key) == value
    assert sum(note.startswith(f"Optimizer.{line.split(':')[0]}: ") for note in notes) == 1


def test_weight_decay_by_its_other_names(write: Write) -> None:
    text = changed(SINGLE, "regularizer: {name: L2, factor: 0}", "regularizer: {name: L2Decay, factor: 1e-6}")
    settings, _ = read(write(text))
    assert settings.Optimizer.regularizer is not None and settings.Optimizer.regularizer.factor == 1e-6
    text = changed(SINGLE, "regularizer: {name: L2, factor: 0}", "weight_decay: 0.05")
    settings, _ = read(write(text))
    assert settings.Optimizer.regularizer is not None and settings.Optimizer.regularizer.factor == 0.05


def test_adamw_decays_as_there_where_nothing_is_said(write: Write) -> None:
    bare = changed(SINGLE, "  regularizer: {name: L2, factor: 0}\n", "")
    settings, notes = read(write(bare), "Optimizer.name=AdamW")
    assert settings.Optimizer.regularizer is not None and settings.Optimizer.regularizer.factor == 0.01
    assert "Optimizer: AdamW decays weights by 0.01 where no regularizer is given, as in PaddleOCR" in " ".join(notes)
    settings, _ = read(write(bare))
    assert settings.Optimizer.regularizer is None
    settings, _ = read(write(SINGLE), "Optimizer.name=AdamW")
    assert settings.Optimizer.regularizer is not None and settings.Optimizer.regularizer.factor == 0


@pytest.mark.parametrize("name", ["Piecewise", "OneCycle", "LinearWarmupCosine"])
def test_a_schedule_that_does_not_exist_here_is_refused(write: Write, name: str) -> None:
    message = refusal(write(SINGLE), f"Optimizer.lr.name={name}")
    assert "Optimizer.lr.name" in message and "'Cosine', 'Const' or 'Linear'" in message


def test_a_share_of_the_label_files_may_be_one_number(write: Write) -> None:
    files = ("Train.dataset.label_file_list=[a.txt, b.txt]", "Train.dataset.ratio_list=0.5")
    assert read(write(SINGLE), *files)[0].Train.dataset.ratio_list == [0.5, 0.5]
    assert read(write(SINGLE), "Eval.dataset.ratio_list=[1.0]")[0] == read(write(SINGLE))[0]
    assert "Eval.dataset.ratio_list: unknown key" in refusal(write(SINGLE), "Eval.dataset.ratio_list=[0.5]")


def test_resize_long_is_told(write: Write) -> None:
    text = changed(SINGLE, "{DetResizeForTest: null}", "{DetResizeForTest: {resize_long: 960}}")
    settings, notes = read(write(text))
    assert settings.Eval.dataset.transforms[2] == {
        "DetResizeForTest": {"limit_side_len": 960, "limit_type": "resize_long"}
    }
    assert sum("multiples of 128" in note for note in notes) == 1


@pytest.mark.parametrize("winner", [{"limit_side_len": 736, "limit_type": "min"}, {"image_shape": [736, 1280]}])
def test_resize_long_beside_another_rule_is_left_aside_as_paddleocr_does(write: Write, winner: dict[str, Any]) -> None:
    both = yaml.safe_dump({"DetResizeForTest": {**winner, "resize_long": 960}}, default_flow_style=True).strip()
    settings, notes = read(write(changed(SINGLE, "{DetResizeForTest: null}", both)))
    assert settings.Eval.dataset.transforms[2] == {"DetResizeForTest": winner}
    assert sum("is left aside as PaddleOCR does" in note for note in notes) == 1


def test_the_shrink_schedule_is_told(write: Write) -> None:
    text = SINGLE.replace("shrink_ratio: 0.4,", "shrink_ratio: 0.4, total_epoch: 500,")
    _, notes = read(write(text))
    assert sum("takes its seed (1024) for the epoch" in note for note in notes) == 1


def test_a_shrink_schedule_longer_than_the_run_is_told(write: Write) -> None:
    """Of 500 epochs with a rise of .2 the last of 20 has seen 19: .0076."""
    text = SINGLE.replace("shrink_ratio: 0.4,", "shrink_ratio: 0.4, total_epoch: 500,")
    _, notes = read(write(text), "Global.epoch_num=20")
    (told,) = [note for note in notes if "takes its seed (1024)" in note]
    assert "The run has only 20 epochs and sees 0.0076 of it; write total_epoch: 20" in told
    assert not any("The run has only" in note for note in read(write(text), "Global.epoch_num=500")[1])


@pytest.mark.parametrize(("rate", "told"), [("Cosine", 1), ("Linear", 1), ("Const", 0)])
def test_where_the_learning_rate_ends_is_told(write: Write, rate: str, told: int) -> None:
    _, notes = read(write(SINGLE), f"Optimizer.lr.name={rate}", "Optimizer.lr.warmup_epoch=2")
    assert sum("comes down over the steps behind the warm-up" in note for note in notes) == told
    _, notes = read(write(SINGLE), f"Optimizer.lr.name={rate}", "Optimizer.lr.warmup_epoch=0")
    assert not any("behind the warm-up" in note for note in notes)


def test_a_key_that_remained_in_a_native_configuration_brings_no_defaults_with_it(write: Write) -> None:
    """Of PaddleOCR are a constant rate, no mixed precision, and a box_thresh of .7 with an unclip ratio of 2."""
    data = yaml.safe_load(NATIVE_SINGLE)
    data["Optimizer"]["lr"].pop("name", None)
    data["Global"].pop("use_amp", None)
    data["PostProcess"] = {"name": "DBPostProcess"}
    plain, _ = read(write(yaml.safe_dump(data)))
    settings, notes = read(write(yaml.safe_dump(data)), "Global.debug=false")
    assert settings == plain
    assert (settings.Optimizer.lr.name, settings.Global.use_amp, settings.PostProcess.box_thresh) == (
        "Cosine",
        "auto",
        0.6,
    )
    assert len(notes) == 1 and "debug have no meaning here" in notes[0]


def test_that_peers_are_averaged_is_told_where_there_are_several(write: Write) -> None:
    data = yaml.safe_load(changed(CML, "      model_name_pairs: [Student, Student2]\n", ""))
    mutual = data["Loss"]["loss_config_list"][1]["DistillationDMLLoss"]
    mutual["model_name_pairs"] = [["Student", "Student2"], ["Student", "Student3"], ["Student2", "Student3"]]
    data["Architecture"]["Models"]["Student3"] = copy.deepcopy(data["Architecture"]["Models"]["Student2"])
    settings, notes = read(write(yaml.safe_dump(data)))
    assert sum("learns from the mean of its 2 peers; PaddleOCR adds them up" in note for note in notes) == 1
    assert {b.share for b in bind(settings) if b.label.startswith("mutual/")} == {0.5}
    assert not any("learns from the mean" in note for note in read(write(CML))[1])


def test_the_command_line_shows_what_was_read_otherwise(
    write: Write, tool: Callable[..., tuple[int, str, str]]
) -> None:
    path = write(SINGLE)
    settings, notes = read(path)
    code, out, _ = tool("train", "-c", path, "--show-config")
    assert code == 0
    assert out.splitlines()[: len(notes)] == [f"# {note}" for note in notes]
    assert read(write(out)) == (settings, [])


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every key and list position of nested data."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, key)
        yield from _places(value, (*path, key))


@pytest.mark.parametrize("text", [CML, SINGLE], ids=["several networks", "one network"])
@pytest.mark.parametrize("junk", [None, 3, "x", [], {}, [[1]], {"name": ["x"]}], ids=repr)
def test_anything_in_the_place_of_a_key_is_translated_or_refused_in_words(text: str, junk: object) -> None:
    whole = yaml.safe_load(text)
    for path in _places(whole):
        data = copy.deepcopy(whole)
        node = data
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = copy.deepcopy(junk)
        try:
            notes = translate(Source(data))
        except ConfigError as error:
            notes = [str(error)]
        assert all(isinstance(note, str) for note in notes)


def test_a_viewer_that_is_asked_for_is_called_by_its_name_here(write: Write) -> None:
    _, notes = read(write(SINGLE), "Global.use_visualdl=true", "Global.use_wandb=false")
    (told,) = [note for note in notes if "use_visualdl" in note]
    assert "it is called -o Global.loggers=[visualdl] here" in told
    assert any("use_wandb" in note and "no meaning" in note for note in notes)


@pytest.mark.parametrize(("given", "read_as"), [("true", "poly"), ("false", "quad")])
def test_polygons_as_older_versions_ask_for_them(write: Write, given: str, read_as: str) -> None:
    begins = "PostProcess: {name: DBPostProcess, "
    path = write(changed(SINGLE, begins, f"{begins}use_polygon: {given}, "))
    assert read(path)[0].PostProcess.box_type == read_as


def test_a_decay_beside_another_is_told_and_leads_to_no_other_key(write: Write) -> None:
    path = write(changed(SINGLE, "Optimizer:\n", "Optimizer:\n  weight_decay: 0.01\n"))
    with pytest.raises(ConfigError) as error:
        read(path)
    assert "Optimizer.weight_decay: stands beside regularizer, and both say the same thing; keep reg" in str(
        error.value
    )
    assert "ema_decay" not in str(error.value)


def translated(data: dict) -> Source:
    source = Source(data=data)
    source.notes = translate(source)
    return source


def cohort(**more: object) -> dict:
    net = {"Backbone": {"name": "MobileNetV3"}}
    data = {
        "Global": {},
        "Architecture": {"name": "DistillationModel", "Models": {"Student": dict(net), "Student2": dict(net)}},
        "Loss": {"name": "CombinedLoss", "loss_config_list": [{"DistillationDBLoss": {"name": "DBLoss"}}]},
        "Optimizer": {"name": "Adam", "lr": {"name": "Cosine"}},
    }
    return data | more


def test_the_moving_mean_has_paddleocrs_decay_where_none_is_given() -> None:
    found = translated(cohort(Global={"use_ema": True}))
    assert found.data["Optimizer"]["ema_decay"] == 0.9998


def test_a_teacher_term_on_features_is_refused() -> None:
    term = {"DistillationDilaDBLoss": {"model_name_pairs": [["Student", "Student2"]], "key": "backbone_out"}}
    found = translated(cohort(Loss={"name": "CombinedLoss", "loss_config_list": [term]}))
    assert sum("backbone_out is no output of a detector" in problem for problem in found.problems) == 1


def test_of_one_weight_file_for_two_students_is_told() -> None:
    found = translated(cohort(Global={"pretrained_model": "w/all"}))
    assert sum("goes into every student" in note for note in found.notes) == 1
    one = cohort(Global={"pretrained_model": "w/all"})
    del one["Architecture"]["Models"]["Student2"]
    assert not any("goes into every student" in note for note in translated(one).notes)


def test_the_shared_file_counts_before_a_students_own() -> None:
    data = cohort(Global={"pretrained_model": "w/MobileNetV3_large_x0_5_pretrained"})
    data["Architecture"]["Models"]["Student"]["pretrained"] = "w/ResNet18_vd_pretrained"  # has no effect beside it
    found = translated(data)
    assert found.problems == []
    assert found.data["Architecture"]["Models"]["Student"]["allow_missing"] == ["neck", "head"]
