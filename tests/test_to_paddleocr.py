"""Checkpoints both ways: what `--to-paddleocr` writes starts another run, and a distillation checkpoint starts each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import paddle
import pytest
import tiny

from ocr_cml import assemble, config
from ocr_cml.models.pdparams import write_pdparams
from ocr_cml.models.weight_files import read_weights

Tool = Callable[..., tuple[int, str, str]]
NAMES = ("Student", "Student2")


@pytest.fixture
def run(tiny_set: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A configuration of two students, and a folder with the weights of each."""
    data = tiny.settings(tiny_set, tmp_path / "run")
    path = tiny.write(data, tmp_path / "config.yml")
    (tmp_path / "best").mkdir()
    for name, student in assemble.starting_students(config.load(path))[0].items():
        tiny_state = {key: value.numpy() for key, value in student.state_dict().items()}
        np.savez(tmp_path / "best" / f"{name}.npz", **tiny_state)
    return path, tmp_path / "best"


def weights_of(folder: Path, name: str) -> dict[str, np.ndarray]:
    return read_weights(folder, name)


def test_one_student(run: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    path, best = run
    target = tmp_path / "out" / "student"
    arguments = ("-c", path, "-o", f"Global.pretrained_model={best}", "--to-paddleocr", target, "--student", "Student2")
    code, said, _ = tool("export_model", *arguments)
    assert code == 0
    file = target.with_name("student.pdparams")
    assert said.splitlines()[-1] == f"wrote student=Student2 file={file} arrays={len(weights_of(best, 'Student2'))}"
    assert f"-o Global.pretrained_model={target}" in said
    loaded = paddle.load(str(file))
    tiny.assert_same({key: value.numpy() for key, value in loaded.items()}, weights_of(best, "Student2"))
    students, reports = assemble.starting_students(
        config.load(path, [f"Architecture.Models.Student.pretrained={target}", "Global.pretrained_model=null"])
    )
    tiny.assert_same(tiny.state_of(students["Student"]), weights_of(best, "Student2"))
    assert reports["Student"].share == 1.0


@pytest.mark.parametrize("target", [".", "folder"])
def test_a_folder_is_no_file_to_write(run: tuple[Path, Path], target: str, tool: Tool, tmp_path: Path) -> None:
    path, best = run
    (tmp_path / "folder").mkdir()
    where = Path() if target == "." else tmp_path / target
    weights = f"Global.pretrained_model={best}"
    arguments = ("-c", path, "-o", weights, "--student", "Student2", "--to-paddleocr", where)
    code, _, said = tool("export_model", *arguments)
    assert (code, "is a folder; name a file" in said) == (2, True)
    assert not (tmp_path / "folder.pdparams").exists()


def test_weights_that_came_from_elsewhere_are_not_replaced_and_our_own_are(
    run: tuple[Path, Path], tool: Tool, tmp_path: Path
) -> None:
    path, best = run
    file = tmp_path / "best_accuracy.pdparams"
    given = ("-c", path, "-o", f"Global.pretrained_model={best}", "--to-paddleocr", file, "--student")
    student = assemble.starting_students(config.load(path))[0]["Student"]
    for theirs in (lambda: paddle.save(student.state_dict(), str(file)), lambda: file.write_bytes(b"no weights")):
        theirs()
        before = file.read_bytes()
        code, _, said = tool("export_model", *given, "Student")
        assert (code, "holds what this tool did not write; choose another file" in said) == (2, True)
        assert file.read_bytes() == before
    file.unlink()
    assert [tool("export_model", *given, name)[0] for name in ("Student", "all")] == [0, 0]
    assert {key.split(".")[0] for key in read_weights(file)} == set(NAMES)


def test_all_students_under_their_names(run: tuple[Path, Path], tool: Tool, tmp_path: Path) -> None:
    path, best = run
    target = tmp_path / "all.pdparams"
    arguments = ("-c", path, "-o", f"Global.pretrained_model={best}", "--to-paddleocr", target, "--student", "all")
    assert tool("export_model", *arguments)[0] == 0
    assert {key.split(".")[0] for key in read_weights(target)} == set(NAMES)
    students, reports = assemble.starting_students(config.load(path, [f"Global.pretrained_model={target}"]))
    for name, other in zip(NAMES, reversed(NAMES), strict=True):
        tiny.assert_same(tiny.state_of(students[name]), weights_of(best, name))
        assert reports[name].left_aside == {other: len(weights_of(best, other))}


@pytest.mark.parametrize(
    ("options", "choices"),
    [
        (
            ["--student", "all"],
            "is for a checkpoint alone (--to-paddleocr without Global.save_inference_dir); choose one of best, e",
        ),
        (
            ["--student", "ensemble", "--to-paddleocr", "w"],
            "is for an inference model alone (Global.save_inference_dir without --to-paddleocr); choose one of best, S",
        ),
    ],
)
def test_a_choice_that_the_product_cannot_hold_is_refused(
    run: tuple[Path, Path], tool: Tool, tmp_path: Path, options: list[str], choices: str
) -> None:
    path, best = run
    overrides = [f"Global.pretrained_model={best}", f"Global.save_inference_dir={tmp_path / 'out'}"]
    code, _, said = tool("export_model", "-c", path, "-o", *overrides, *options)
    assert code == 2
    assert choices in said
    assert not (tmp_path / "out").exists()


def test_a_distillation_checkpoint_starts_students_and_teacher(
    run: tuple[Path, Path], tiny_set: Path, tiny_teacher: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, best = run
    parts = {name: weights_of(best, name) for name in NAMES} | {"Teacher": read_weights(tiny_teacher)}
    whole = {f"{owner}.{key}": value for owner, weights in parts.items() for key, value in weights.items()}
    write_pdparams(whole, tmp_path / "best_accuracy.pdparams")
    data = tiny.settings(tiny_set, tmp_path / "distilled", terms=[tiny.LABELS, tiny.TEACHER], teacher=tiny_teacher)
    data["Architecture"]["Models"]["Teacher"] |= {"pretrained": str(tmp_path / "best_accuracy"), "engine": "layer"}
    data["Global"] |= {"pretrained_model": str(tmp_path / "best_accuracy"), "max_steps": 1, "teacher_check": False}
    with tiny.Run(data) as trainer, caplog.at_level("INFO", logger="ocr_cml"):
        for name in NAMES:
            tiny.assert_same(tiny.state_of(trainer.cohort.students[name]), parts[name])
        teacher = trainer.cohort.teachers["Teacher"][0]
        tiny.assert_same(tiny.state_of(teacher.layer), parts["Teacher"])
        aside = {name: trainer.load_reports[name].left_aside for name in parts}
    counts = {name: len(weights) for name, weights in parts.items()}
    assert aside == {name: {other: counts[other] for other in parts if other != name} for name in parts}
