"""What the tools refuse before they work, and what they say beside their results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import paddle
import pytest
import tiny

from ocr_cml.export import export_detector
from ocr_cml.models import build_detector
from ocr_cml.normalization import Normalization
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.trainer import Trainer
from ppocr_data.transforms import DetResizeForTest

Tool = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("name", ["eval", "export_model"])
@pytest.mark.parametrize(("made", "named"), [(("best", "latest"), "best"), (("latest",), "latest")])
def test_what_a_run_began_with_is_not_taken_for_what_it_made(
    name: str, made: tuple[str, ...], named: str, tool: Tool, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """A fine-tuned run's record states the weights that it started from."""
    where = f"Global.save_inference_dir={tmp_path / 'out'}"
    began = {"terms": [tiny.LABELS], "students": 1, "Global__pretrained_model": str(tiny_teacher)}
    data = tiny.settings(tiny_set, tmp_path, **began)
    for folder in made:
        (tmp_path / folder).mkdir()
    path = tiny.write(data, tmp_path / "config.yml")
    code, out, err = tool(name, "-c", path, "-o", where)
    assert (code, out) == (2, "")
    assert f"{tiny_teacher} is what this run began with; for what it made set it with -o " in err
    assert err.rstrip().endswith(f"Global.pretrained_model={tmp_path / named}")


@pytest.mark.parametrize("name", ["eval", "export_model"])
def test_what_a_run_began_with_may_be_had_by_name(
    name: str, tool: Tool, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    began = {"terms": [tiny.LABELS], "students": 1, "Global__pretrained_model": str(tiny_teacher)}
    path = tiny.write(tiny.settings(tiny_set, tmp_path, **began), tmp_path / "config.yml")
    (tmp_path / "latest").mkdir()
    where = f"Global.save_inference_dir={tmp_path / 'out'}"
    code, _, err = tool(name, "-c", path, "-o", where, f"Global.pretrained_model={tiny_teacher}")
    assert code == 0, err


@pytest.mark.parametrize("name", ["eval", "export_model"])
def test_what_a_training_goes_on_from_is_not_what_is_scored(
    name: str, tool: Tool, tiny_set: Path, tmp_path: Path
) -> None:
    """PaddleOCR's habit; ignored, it would give the figures of other weights."""
    path = tiny.write(tiny.settings(tiny_set, tmp_path, terms=[tiny.LABELS], students=1), tmp_path / "config.yml")
    given = ["-o", f"Global.save_inference_dir={tmp_path / 'out'}", "Global.checkpoints=output/absent/latest"]
    code, out, err = tool(name, "-c", path, *given, "Global.pretrained_model=other")
    assert (code, out) == (2, "")
    assert err.rstrip().endswith("write -o Global.pretrained_model=output/absent/latest in its place")
    code, _, err = tool(name, "-c", path, *given[:2], "Global.checkpoints=", "Global.pretrained_model=other")
    assert code == 2 and "Global.checkpoints: is what a training goes on from" in err


def test_an_inference_model_is_scored_by_itself(tool: Tool, tiny_set: Path, tmp_path: Path) -> None:
    """The first question of who has a detector: how good it is on his labels. No run, no weights, no teacher."""
    path = tiny.write(tiny.settings(tiny_set, tmp_path / "run", students=1, terms=[tiny.LABELS]), tmp_path / "c.yml")
    paddle.seed(3)
    export_detector(
        build_detector(tiny.STUDENT),
        tmp_path / "model",
        normalization=Normalization(),
        postprocess=DBPostProcess(),
        resize=DetResizeForTest(limit_side_len=96, limit_type="min"),
        check_images=[],
    )
    model = ["--model_dir", tmp_path / "model"]
    code, out, err = tool("eval", "-c", path, *model, "--json", tmp_path / "s.json", "--tune")
    assert code == 0, err
    assert out.splitlines()[1].startswith("model ")
    assert out.splitlines()[2].startswith("model: hmean ")
    assert set(json.loads((tmp_path / "s.json").read_text())["scores"]) == {"model"}
    other = f"{tmp_path / 'model/inference.yml'} has another post-process or resize rule than this configuration"
    assert other not in err
    code, _, err = tool("eval", "-c", path, *model, "-o", "PostProcess.thresh=0.2")
    assert (code, other in err) == (0, True)
    code, out, err = tool("eval", "-c", path, "--model_dir", tmp_path / "absent")
    assert (code, out, "absent: no such folder or .onnx file" in err) == (2, "", True)


def test_an_override_may_have_spaces_about_its_equals_sign(tool: Tool, tiny_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    tiny.fit(tiny.settings(tiny_set, run, terms=[tiny.LABELS], students=1), max_steps=1)
    assert tool("eval", "-c", run / "config.yml", "-o", f"Global.pretrained_model = {run / 'latest'}")[0] == 0


def test_weights_of_another_runs_only_student_are_nobody_elses(tool: Tool, tiny_set: Path, tmp_path: Path) -> None:
    trained = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1)
    tiny.fit(trained, max_steps=1)
    two = tiny.write(tiny.settings(tiny_set, tmp_path / "other"), tmp_path / "two.yml")
    code, out, err = tool("eval", "-c", two, "-o", f"Global.pretrained_model={tmp_path / 'run/latest'}")
    assert (code, out) == (2, "")
    assert f"{tmp_path / 'run/latest'}: holds Student and no Student2, and this configuration has Student, St" in err


def test_one_network_is_not_scored_under_several_names(
    tool: Tool, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    two = tiny.write(tiny.settings(tiny_set, tmp_path / "run"), tmp_path / "two.yml")
    code, out, err = tool("eval", "-c", two, "-o", f"Global.pretrained_model={tiny_teacher}")
    assert (code, out) == (2, "")
    assert f"{tiny_teacher}: is one network, and not Student by name, and this configuration has Student, St" in err
    assert err.rstrip().endswith("give a configuration with one student")


def test_of_a_cohort_another_student_than_the_best_is_told_and_not_exported_as_the_best(
    tool: Tool, tiny_set: Path, tmp_path: Path
) -> None:
    tiny.fit(tiny.settings(tiny_set, tmp_path / "run"), max_steps=1)
    state = tmp_path / "run/best/state.json"
    state.write_text(
        json.dumps(
            {
                **(kept := json.loads(state.read_text())),
                "progress": {**kept["progress"], "best": {**kept["progress"]["best"], "student": "Student2"}},
            }
        )
    )
    one = tiny.write(tiny.settings(tiny_set, tmp_path / "x", terms=[tiny.LABELS], students=1), tmp_path / "one.yml")
    given = ["-c", one, "-o", f"Global.pretrained_model={tmp_path / 'run/best'}"]
    told = f"{tmp_path / 'run/best'}: its best student is Student2, and this configuration has Student alone; give the "
    code, out, err = tool("eval", *given)
    assert (code, "Student " in out) == (0, True) and err.startswith(f"warning: {told}")
    code, _, err = tool("export_model", *given, f"Global.save_inference_dir={tmp_path / 'out'}")
    assert code == 2 and err.startswith(f"error: {told}") and err.rstrip().endswith("or choose --student Student")
    assert err.count(told) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_export_without_evaluation_images_says_what_it_was_checked_on(
    tool: Tool, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1)
    path = tiny.write(data, tmp_path / "config.yml")
    given = ["-o", f"Global.pretrained_model={tiny_teacher}", f"Global.save_inference_dir={tmp_path / 'out'}"]
    code, out, err = tool("export_model", "-c", path, *given)
    assert (code, "exported student=Student" in out, err) == (0, True, "")
    code, out, err = tool("export_model", "-c", path, *given, "Eval.dataset.label_file_list=[absent.txt]")
    assert (code, "exported student=Student" in out) == (0, True)
    assert err.startswith("warning: checked on a picture of our own, not on your evaluation images: absent.txt")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["infer_det", "--model_dir", "m", "--image", "i", "--output", "o", "--batch_size", "0"], "--batch_size: must"),
        (["benchmark", "targets", "--rounds", "0"], "--rounds: must be at least 1, is 0"),
        (["benchmark", "targets", "--data_dir", "photos"], "--data_dir: says where the pictures of a label file are"),
        (["benchmark", "targets", "--peer_source", "nowhere"], "--peer_source: nowhere holds no ppocr/"),
        (["eval", "-c", "configs/det_cml.yml", "--json", "/proc/none/x.json"], "--json /proc/none/x.json: cannot be"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(command: list[str], message: str, tool: Tool) -> None:
    code, out, err = tool(*command)
    assert (code, out) == (2, "")
    assert message in err


def test_a_teacher_that_is_not_there_is_named_before_anything_is_made(
    tool: Tool, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The quick start from another folder: its paths begin there."""
    monkeypatch.chdir(tmp_path)
    code, out, err = tool("train", "-c", repository / "configs" / "det_cml.yml")
    assert (code, out) == (2, "")
    message = (
        f"Architecture.Models.Teacher.inference_model: configs/teacher: no such folder or .onnx file (from {tmp_path}"
    )
    assert message in err
    assert not (tmp_path / "ppocr_data").exists()


def test_what_ended_a_training_unforeseen_is_in_its_log(
    tool: Tool, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The terminal of a night's training is often gone when somebody asks why it ended."""

    def fail(_: Trainer) -> None:
        raise RuntimeError("a defect of ours")

    monkeypatch.setattr(Trainer, "fit", fail)
    path = tiny.write(tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1), tmp_path / "one.yml")
    with pytest.raises(RuntimeError):
        tool("train", "-c", path)
    told = (tmp_path / "run/train.log").read_text(encoding="utf-8")
    assert "ERROR stopped by what was not foreseen\nTraceback (most recent call last):\n" in told
    assert told.endswith("RuntimeError: a defect of ours\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_training_that_is_done_is_no_failure_for_want_of_room_to_say_so(
    repository: Path, tiny_set: Path, tmp_path: Path
) -> None:
    settings = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS], students=1, Global__max_steps=1)
    path = tiny.write(settings, tmp_path / "one.yml")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "tools/train.py", "-c", str(path)],
            cwd=repository, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "standard output takes no more (No space left on device): best student=Student" in done.stderr
