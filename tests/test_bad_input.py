"""A person's mistake is one message, exit code 2, and no harm to what was there."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from ocr_cml import config
from ocr_cml.checkpoint import open_checkpoint
from ocr_cml.models import build_detector
from ocr_cml.models.weight_files import save_weights

Tool = Callable[..., tuple[int, str, str]]


class Site:
    """A data set, a finished run of two steps on it, and the configuration of both."""

    def __init__(self, folder: Path, source: Path) -> None:
        self.data, self.run, self.yaml = folder / "set", folder / "run", folder / "config.yml"
        self.saved_at: int | None = None
        shutil.copytree(source, self.data)
        self.settings = tiny.settings(self.data, self.run, terms=[tiny.LABELS], students=1)
        with tiny.Run(self.settings, max_steps=1) as trainer:
            trainer.fit()
        tiny.write(self.settings, self.yaml)

    def checkpoints(self) -> dict[str, bytes]:
        files = [file for name in ("latest", "best") for file in (self.run / name).iterdir()]
        return {str(file.relative_to(self.run)): file.read_bytes() for file in files}

    def set_line(self, number: int, payload: str, part: str = "train") -> str:
        """Replace the labels on a line of a label file; the place as a message names it."""
        path = self.data / f"{part}.txt"
        lines = path.read_text(encoding="utf-8").splitlines()
        lines[number - 1] = lines[number - 1].split("\t")[0] + "\t" + payload
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return f"{part}.txt:{number}"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path) -> Site:
    return Site(tmp_path_factory.mktemp("site"), tiny_set)


@pytest.fixture
def site(made: Site, tmp_path: Path) -> Iterator[Site]:
    """The site, put back afterwards. Its checkpoints are untouched, or have gone on to the step that a test names."""
    for folder in (made.data, made.run):
        shutil.copytree(folder, tmp_path / "kept" / folder.name)
    before, made.saved_at = made.checkpoints(), None
    yield made
    if made.saved_at is None:
        assert made.checkpoints() == before
    else:
        assert open_checkpoint(made.run / "latest").progress.step == made.saved_at
        assert open_checkpoint(made.run / "latest.previous").progress.step == 1
    for folder in (made.data, made.run):
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "kept" / folder.name, folder)


def refused(result: tuple[int, str, str], *needles: str) -> str:
    """The one message, which says all of `needles`."""
    code, out, err = result
    assert code == 2, err
    assert "Traceback" not in err
    assert out == ""
    assert len(re.findall("^error: ", err, re.MULTILINE)) == 1
    message = err[err.index("error: ") :]
    for needle in needles:
        assert needle in message, message
    return message


def entry(points: str, text: str = "word") -> str:
    return f'[{{"transcription": "{text}", "points": {points}}}]'


# --- data ------------------------------------------------------------------------------------------------------------

BAD_LABELS = {
    "no JSON": ("[{broken", "not JSON"),
    "NaN": (entry("[[10, 10], [NaN, 10], [60, 30], [10, 30]]"), "NaN"),
    "crossing": (entry("[[10, 10], [60, 30], [60, 10], [10, 30]]"), "crosses"),
    "no area": (entry("[[10, 10], [20, 10], [30, 10], [40, 10]]"), "no area"),
    "two points": (entry("[[10, 10], [20, 10]]"), "2 points"),
    "no list": ('{"points": []}', "list"),
}


@pytest.mark.parametrize("part", ["train", "val"])
@pytest.mark.parametrize("case", BAD_LABELS)
def test_a_bad_label_is_named_with_file_and_line(case: str, part: str, site: Site, tool: Tool) -> None:
    payload, what = BAD_LABELS[case]
    place = site.set_line(2, payload, part)
    refused(tool("train", "-c", site.yaml, "-o", "Global.max_steps=5"), str(site.data), place, what)


def test_all_bad_lines_are_in_one_message(site: Site, tool: Tool) -> None:
    places = [site.set_line(1, "{"), site.set_line(4, "]"), site.set_line(2, "nothing", "val")]
    (site.data / "train/000004.jpg").unlink()
    message = refused(tool("train", "-c", site.yaml), places[0], places[1], "train.txt:5", "000004.jpg")
    assert "3 bad entries" in message
    # Whoever finds the folder later, or a comparison that points to it, reads there why the run ended.
    assert message.strip() in (site.run / "train.log").read_text(encoding="utf-8")


@pytest.mark.parametrize("part", ["train", "val"])
def test_a_truncated_jpeg_is_named(part: str, site: Site, tool: Tool) -> None:
    image = site.data / part / "000001.jpg"
    image.write_bytes(image.read_bytes()[:1500])
    refused(tool("train", "-c", site.yaml, "-o", "Global.max_steps=4"), "000001.jpg", f"{part}.txt:2")
    # An evaluation comes after steps, which are not lost; a training image is met before the first.
    site.saved_at = 4 if part == "val" else None


def test_a_workers_error_is_the_same_message(site: Site, tool: Tool) -> None:
    (site.data / "train/000003.jpg").write_bytes(b"no image")
    options = ["Global.max_steps=4", "Train.loader.num_workers=1"]
    refused(tool("train", "-c", site.yaml, "-o", *options), "000003.jpg", "train.txt:4")


@pytest.mark.parametrize("part", ["train", "val"])
def test_an_empty_data_set_is_refused(part: str, site: Site, tool: Tool) -> None:
    (site.data / f"{part}.txt").write_text("\n\n")
    refused(tool("train", "-c", site.yaml), f"{part}.txt: no usable line; the form is image<TAB>")


@pytest.mark.parametrize(("part", "name"), [("Train", "train"), ("Eval", "val")])
def test_an_empty_label_file_among_others_is_refused(
    part: str, name: str, site: Site, tool: Tool, tmp_path: Path
) -> None:
    (site.data / "empty.txt").write_text("\n")
    lists = f"{part}.dataset.label_file_list=[{site.data / name}.txt,{site.data / 'empty.txt'}]"
    options = [lists, f"Global.save_model_dir={tmp_path / 'another'}"]
    refused(tool("train", "-c", site.yaml, "-o", *options), "empty.txt: no line; leave it out")


def test_a_missing_label_file_is_named(site: Site, tool: Tool) -> None:
    (site.data / "train.txt").unlink()
    refused(tool("train", "-c", site.yaml), "train.txt", "label_file_list")


def test_skipping_counts_and_lists_and_goes_on(site: Site, tool: Tool, tmp_path: Path) -> None:
    place = site.set_line(5, entry("[[10, 10], [60, 30], [60, 10], [10, 30]]"))
    image = site.data / "train/000001.jpg"
    image.write_bytes(image.read_bytes()[:1500])
    settings = tiny.settings(site.data, tmp_path / "run", terms=[tiny.LABELS], students=1)
    settings["Train"]["dataset"]["on_bad_sample"] = "skip"
    settings["Global"]["max_steps"] = 6  # two epochs: the bad image comes up twice
    code, out, err = tool("train", "-c", tiny.write(settings, tmp_path / "skip.yml"))
    assert code == 0, err
    assert out.startswith("best student=Student ")
    log = (tmp_path / "run/train.log").read_text()
    assert place in log
    assert log.count("skipped: ") == 1
    assert "000001.jpg" in log
    assert "1 bad samples were skipped" in log


def test_evaluation_never_skips(site: Site, tool: Tool, tmp_path: Path) -> None:
    place = site.set_line(1, "{", "val")
    settings = tiny.settings(site.data, tmp_path / "run", terms=[tiny.LABELS], students=1)
    settings["Train"]["dataset"]["on_bad_sample"] = "skip"
    path = tiny.write(settings, tmp_path / "skip.yml")
    refused(tool("train", "-c", path), place)
    refused(tool("eval", "-c", path, "-o", f"Global.pretrained_model={site.run / 'best'}"), place)


# --- weights ---------------------------------------------------------------------------------------------------------


def weights_of(spec: dict[str, Any], path: Path) -> Path:
    save_weights(tiny.state_of(build_detector(spec)), path)
    return path


def with_teacher(site: Site, folder: Path, **teacher: Any) -> Path:
    settings = tiny.settings(site.data, folder / "run", terms=[tiny.LABELS, tiny.TEACHER], students=1)
    settings["Architecture"]["Models"]["Teacher"] = {"freeze_params": True, **teacher}
    return tiny.write(settings, folder / "config.yml")


def test_a_teacher_folder_without_weights(site: Site, tool: Tool, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(tool("train", "-c", with_teacher(site, tmp_path, inference_model=str(empty))), str(empty))
    refused(tool("train", "-c", with_teacher(site, tmp_path, pretrained=str(empty), **tiny.STUDENT)), str(empty))
    gone = tmp_path / "gone.safetensors"
    refused(tool("train", "-c", with_teacher(site, tmp_path, pretrained=str(gone), **tiny.STUDENT)), str(gone))
    # What is frozen and has no weights at all is refused from the text alone.
    refused(tool("train", "-c", with_teacher(site, tmp_path, **tiny.STUDENT)), "Models.Teacher", "no weights", "yml:")


def test_a_teacher_with_weights_of_another_architecture(site: Site, tool: Tool, tmp_path: Path) -> None:
    other = weights_of(tiny.OTHER_STUDENT, tmp_path / "other.safetensors")
    path = with_teacher(site, tmp_path, pretrained=str(other), **tiny.STUDENT)
    refused(tool("train", "-c", path), str(other), "neck.")


def test_a_student_with_weights_of_another_architecture(site: Site, tool: Tool, tmp_path: Path) -> None:
    other = weights_of(tiny.OTHER_STUDENT, tmp_path / "other.safetensors")
    settings = tiny.settings(site.data, tmp_path / "run", terms=[tiny.LABELS], students=1)
    settings["Architecture"]["Models"]["Student"]["pretrained"] = str(other)
    refused(tool("train", "-c", tiny.write(settings, tmp_path / "config.yml")), str(other), "neck.")
    assert not (tmp_path / "run/latest").exists()


def test_weights_that_are_not_finite(site: Site, tool: Tool, tmp_path: Path) -> None:
    network = build_detector(tiny.STUDENT)
    tiny.say(network, float("nan"))
    save_weights(tiny.state_of(network), tmp_path / "nan.safetensors")
    path = with_teacher(site, tmp_path, pretrained=str(tmp_path / "nan.safetensors"), **tiny.STUDENT)
    refused(tool("train", "-c", path), "nan.safetensors", "head.binarize.conv3.")


def test_a_damaged_checkpoint_is_named_and_left(site: Site, tool: Tool, tmp_path: Path) -> None:
    settings = tiny.settings(site.data, tmp_path / "run", terms=[tiny.LABELS], students=1)
    shutil.copytree(site.run / "latest", tmp_path / "run/latest")
    broken = tmp_path / "run/latest/Student.safetensors"
    broken.write_bytes(broken.read_bytes()[:-4] + b"\0\0\0\1")
    content = broken.read_bytes()
    settings["Global"]["checkpoints"] = str(tmp_path / "run")
    path = tiny.write(settings, tmp_path / "config.yml")
    refused(tool("train", "-c", path), "Student.safetensors", "damaged")
    assert broken.read_bytes() == content


# --- configuration ---------------------------------------------------------------------------------------------------


def test_a_student_named_twice(site: Site, tool: Tool, tmp_path: Path) -> None:
    lines = site.yaml.read_text().splitlines()
    start = lines.index("    Student:")
    end = next(i for i in range(start + 1, len(lines)) if not lines[i].startswith("      "))
    path = tmp_path / "twice.yml"
    path.write_text("\n".join([*lines[:end], *lines[start:end], *lines[end:]]) + "\n")
    refused(tool("train", "-c", path), "Student", f"twice.yml:{end + 1}")


@pytest.mark.parametrize("name", ["a/b", "..", "Student.optimizer", "ensemble", "Teachers"])
def test_a_students_name_that_cannot_be_a_file_or_means_something(
    name: str, site: Site, tool: Tool, tmp_path: Path
) -> None:
    """Names become file names in a checkpoint, and `ensemble` and `Teachers` are rows and guides of their own."""
    settings = tiny.settings(site.data, tmp_path / "run", terms=[tiny.LABELS], students=1)
    settings["Architecture"]["Models"] = {name: settings["Architecture"]["Models"]["Student"]}
    refused(tool("train", "-c", tiny.write(settings, tmp_path / "config.yml")), name, "Architecture.Models")


@pytest.mark.parametrize(
    ("pair", "says"),
    [
        (["nek", "neck"], "Student has no feature 'nek'; did you mean 'neck'?"),
        (["neck", "backbone.4"], "Teacher has no feature 'backbone.4'; did you mean 'backbone.3'?"),
    ],
)
def test_a_feature_that_a_network_does_not_have(
    pair: list[str], says: str, site: Site, tool: Tool, tmp_path: Path
) -> None:
    weights = weights_of(tiny.STUDENT, tmp_path / "teacher.safetensors")
    terms = [tiny.LABELS, {"ATLoss": {"layers": [["backbone.2", "backbone.2"], pair]}}]
    settings = tiny.settings(site.data, tmp_path / "run", terms=terms, students=1, teacher=weights)
    path = tiny.write(settings, tmp_path / "config.yml")
    refused(tool("train", "-c", path), f"Loss.loss_config_list.1.ATLoss.layers.1: {says}", f"{path}:")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_holds_another_run(site: Site, tool: Tool) -> None:
    message = refused(tool("train", "-c", site.yaml, "-o", "Global.seed=6"), str(site.run), "Global.seed")
    assert "Global.checkpoints" in message  # how to go on if it is meant


def test_a_log_that_cannot_be_opened(site: Site, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "run/train.log").mkdir(parents=True)
    (tmp_path / "run/.lock").touch()  # a run's folder
    options = [f"Global.save_model_dir={tmp_path / 'run'}"]
    refused(
        tool("train", "-c", site.yaml, "-o", *options), "Global.save_model_dir", "train.log cannot be written: Is a d"
    )


def test_a_run_folder_that_is_a_file(site: Site, tool: Tool, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("mine")
    options = [f"Global.save_model_dir={tmp_path / 'taken'}"]
    refused(tool("train", "-c", site.yaml, "-o", *options), "Global.save_model_dir", "taken")
    options = [f"Global.save_model_dir={tmp_path / 'taken' / 'run'}"]
    refused(tool("train", "-c", site.yaml, "-o", *options), "Global.save_model_dir")
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.parametrize(
    ("option", "needle"),
    [
        ("Global.max_step=3", "max_steps"),
        ("Global.max_steps=many", "Global.max_steps"),
        ("Global.max_steps", "Global.max_steps"),
        ("Optimizer.lr.learning_rate=-1", "Optimizer.lr.learning_rate"),
        ("Loss.loss_config_list.0.DBLoss.alfa=1", "alpha"),
        ("Architecture.Models.Student.Backbone.name=MobileNetV4", "MobileNetV3"),
        ("Train.dataset.transforms.MakeShrinkMap.shrink_ratio=0.6", "MakeBorderMap"),
    ],
)
def test_an_override_that_cannot_be(option: str, needle: str, site: Site, tool: Tool) -> None:
    refused(tool("train", "-c", site.yaml, "-o", option), needle)


def test_a_configuration_that_is_not_there_or_no_yaml(site: Site, tool: Tool, tmp_path: Path) -> None:
    refused(tool("train", "-c", tmp_path / "none.yml"), "none.yml")
    (tmp_path / "bad.yml").write_text("Global:\n  seed: [1\n")
    refused(tool("train", "-c", tmp_path / "bad.yml"), "bad.yml")


def test_the_shown_configuration_is_runnable_and_trains_nothing(site: Site, tool: Tool, tmp_path: Path) -> None:
    options = ["Global.max_steps=2", f"Global.save_model_dir={tmp_path / 'new'}"]
    code, out, _ = tool("train", "-c", site.yaml, "-o", *options, "--show-config")
    assert code == 0
    assert not (tmp_path / "new").exists()
    (tmp_path / "shown.yml").write_text(out)
    assert config.load(tmp_path / "shown.yml") == config.load(site.yaml, options)
    assert yaml.safe_load(out)["Global"]["max_steps"] == 2


# --- the other tools -------------------------------------------------------------------------------------------------


def test_evaluation_without_weights_or_with_a_place_that_is_none(site: Site, tool: Tool, tmp_path: Path) -> None:
    refused(tool("eval", "-c", site.yaml), "Global.pretrained_model")
    refused(tool("eval", "-c", site.yaml, "-o", f"Global.pretrained_model={tmp_path}"), str(tmp_path))


def test_export_without_a_target_or_of_an_unknown_student(site: Site, tool: Tool, tmp_path: Path) -> None:
    best = f"Global.pretrained_model={site.run / 'best'}"
    refused(tool("export_model", "-c", site.yaml, "-o", best), "Global.save_inference_dir")
    target = f"Global.save_inference_dir={tmp_path / 'model'}"
    refused(tool("export_model", "-c", site.yaml, "-o", best, target, "--student", "Studnet"), "Studnet", "Student")
    assert not (tmp_path / "model").exists()


def test_the_last_line_and_a_second_start(site: Site, tool: Tool, tmp_path: Path) -> None:
    """The contract's last line; a finished run's command gives it again, and trains nothing."""
    settings = tiny.settings(site.data, tmp_path / "run")
    path = tiny.write(settings, tmp_path / "config.yml")
    code, out, _ = tool("train", "-c", path, "-o", "Global.max_steps=1")
    pattern = r"best student=(Student|Student2) hmean=[01]\.\d{4} step=1 dir=(.*)"
    found = re.fullmatch(pattern, out.splitlines()[-1])
    assert code == 0
    assert found is not None, out
    assert Path(found[2]) == tmp_path / "run/best"
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    again = tool("train", "-c", path, "-o", "Global.max_steps=1")
    assert again[:2] == (0, out)
    assert [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()] == lines
    assert {path.name for path in (tmp_path / "run").iterdir()} >= {
        *("config.yml", "train.log", "metrics.jsonl", "latest", "best", "report.html", "preview.jpg")
    }
