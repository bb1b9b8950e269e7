"""Every shipped YAML loads, says what every key means, and its resolved form loads to the same Config."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ocr_cml import config
from ocr_cml.binding import bind
from ocr_cml.losses.db import MAIN_LOSSES
from ocr_cml.models import NECKS

REPOSITORY = Path(__file__).resolve().parent.parent
COMPARISONS = sorted((REPOSITORY / "configs").glob("compare*.yml"))  # lists of runs, with a schema of their own
SHIPPED = sorted(
    {*(REPOSITORY / "configs").glob("*.yml"), *(REPOSITORY / "configs" / "kd").glob("*.yml")} - {*COMPARISONS}
)
EXPLAINED = ("Global", "Optimizer", "PostProcess")
PLAIN = ("name", "beta1", "beta2", "momentum")


def named(path: Path) -> str:
    return str(path.relative_to(REPOSITORY / "configs"))


def test_the_promised_ones_are_there() -> None:
    names = {named(path) for path in SHIPPED}
    promised = {"det_cml.yml", "det_teacher.yml", "det_student.yml", "det_dml.yml", "det_cml_icdar2015.yml"}
    promised |= {"det_cml_unlabeled.yml", "det_cml_hetero.yml", "det_label_free.yml"}
    assert promised <= names
    kd = {name.removeprefix("kd/").removesuffix(".yml").lower() for name in names if name.startswith("kd/")}
    assert {"logits", "st", "at", "nst", "rkd", "ofd", "afd"} <= kd


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_a_shipped_file_loads_and_its_dump_loads_to_the_same(path: Path, tmp_path: Path) -> None:
    first = config.load(path)
    saved = tmp_path / "config.yml"
    config.save(first, saved)
    assert config.load(saved) == first
    assert saved.read_text(encoding="utf-8") == config.dump(config.load(saved)) == config.dump(first)
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.yml"]


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_every_student_is_taught_and_every_teacher_asked(path: Path) -> None:
    settings = config.load(path)
    bindings = bind(settings)
    assert {binding.learner for binding in bindings} == set(settings.students)
    assert settings.teachers.keys() <= {b.guide for b in bindings} or "Teachers" in {b.guide for b in bindings}


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_folders_are_relative_to_the_checkout(path: Path) -> None:
    settings = config.load(path)
    folders = [settings.Global.save_model_dir, settings.Train.dataset.data_dir, settings.Eval.dataset.data_dir]
    folders += [net.inference_model or net.pretrained or "" for net in settings.teachers.values()]
    folders += settings.Train.dataset.label_file_list + settings.Eval.dataset.label_file_list
    assert not [folder for folder in folders if Path(folder).is_absolute()]


def test_run_folders_are_all_different() -> None:
    folders = [config.load(path).Global.save_model_dir for path in SHIPPED]
    assert len(set(folders)) == len(folders)


CHOICES = {"main_loss_type": (*MAIN_LOSSES, "DiceFocalLoss"), "name": NECKS}


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.parent.name == "configs"], ids=named)
def test_choices_that_stand_in_a_comment_are_all_there_are(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    told = [line.split("#") for line in lines if "# DBFPN" in line or "main_loss_type:" in line]
    listed = {pair.split(":")[0].strip(): comment.strip().split(", ") for pair, comment in told}
    assert "name" in listed
    assert listed == {key: list(CHOICES[key]) for key in listed}


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.parent.name == "configs"], ids=named)
def test_every_key_of_a_section_has_a_comment(path: Path) -> None:
    """Keys directly in a section that hold one value: `  key: value   # what it means`, or a comment line above."""
    lines = path.read_text(encoding="utf-8").splitlines()
    section, bare = "", []
    for number, line in enumerate(lines):
        if line and not line.startswith((" ", "#")):
            section = line.split(":")[0]
        own_key = line.startswith("  ") and not line.startswith("   ") and not line.strip().startswith(("-", "#"))
        if section in EXPLAINED and own_key and not line.rstrip().endswith(":"):
            key = line.split(":")[0].strip()
            above = lines[number - 1].strip().startswith("#")
            if "#" not in line and not above and key not in PLAIN:
                bare.append(f"{section}.{key}")
    assert not bare


@pytest.mark.parametrize("path", SHIPPED, ids=named)
def test_plain_yaml_reads_the_dump_alike(path: Path) -> None:
    """The run folder's config.yml is read by other people's tools too: PyYAML must see the same numbers."""
    settings = config.load(path)
    assert yaml.safe_load(config.dump(settings)) == settings.model_dump(mode="json")
