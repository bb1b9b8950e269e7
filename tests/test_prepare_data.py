"""The command line of tools/prepare_data.py: what it writes, prints and returns."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from ppocr_data.labels import read_label_file


def prepare(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(repository / "tools" / "prepare_data.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folders(tmp_path: Path) -> list[str | Path]:
    (tmp_path / "img").mkdir()
    (tmp_path / "gt").mkdir()
    for number in (1, 2, 3):
        (tmp_path / "img" / f"img_{number}.jpg").write_bytes(b"")
        (tmp_path / "gt" / f"gt_img_{number}.txt").write_text("1,2,11,2,11,8,1,8,TEXT\n")
    return ["--images", tmp_path / "img", "--labels", tmp_path / "gt", "--output", tmp_path / "out"]


def test_the_printed_overrides_name_what_was_written(repository: Path, tmp_path: Path, folders: list[str]) -> None:
    done = prepare(repository, "icdar2015", *folders, "--val-first-id", "3")
    assert (done.returncode, done.stderr) == (0, "")
    given = dict(part.split("=", 1) for part in shlex.split(done.stdout.splitlines()[-1])[1:])
    data_dir = Path(given["Train.dataset.data_dir"])
    assert given["Train.dataset.label_file_list"] == f'["{tmp_path / "out" / "train.txt"}"]'
    assert [s.image.name for s in read_label_file(tmp_path / "out" / "train.txt", data_dir)] == [
        "img_1.jpg",
        "img_2.jpg",
    ]
    assert [s.image.name for s in read_label_file(tmp_path / "out" / "val.txt", data_dir)] == ["img_3.jpg"]


def test_a_list_chooses_the_validation_part(repository: Path, tmp_path: Path, folders: list[str]) -> None:
    (tmp_path / "val_names").write_text("img_1\n")
    assert prepare(repository, "icdar2015", *folders, "--val", tmp_path / "val_names").returncode == 0
    assert [s.image.name for s in read_label_file(tmp_path / "out" / "val.txt", tmp_path / "img")] == ["img_1.jpg"]


def test_a_mistake_is_one_message_and_exit_code_2(repository: Path, tmp_path: Path, folders: list[str]) -> None:
    (tmp_path / "gt" / "gt_img_2.txt").write_text("nonsense\n")
    done = prepare(repository, "icdar2015", *folders)
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "gt_img_2.txt:1" in done.stderr


def test_the_synthetic_set(repository: Path, tmp_path: Path) -> None:
    done = prepare(
        repository, "synth", "--output", tmp_path / "set", "--train", "2", "--val", "1", "--size", "128", "160"
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(read_label_file(tmp_path / "set" / "train.txt", tmp_path / "set")) == 2
    assert f"Train.dataset.data_dir={tmp_path / 'set'}" in shlex.split(done.stdout.splitlines()[-1])


def test_real_receipts_print_their_companies(repository: Path, shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "sroie2019" / "train"
    done = prepare(repository, "sroie", "--images", folder / "img", "--labels", folder / "box", "--output", tmp_path)
    assert done.returncode == 0
    assert "companies with 120 receipts to train" in done.stdout and "companies with 30 receipts to val" in done.stdout


@pytest.mark.parametrize("command", [[], ["sroie"], ["icdar2015"], ["synth"]])
def test_help_shows_an_example(repository: Path, command: list[str]) -> None:
    done = prepare(repository, *command, "--help")
    assert done.returncode == 0 and "python tools/prepare_data.py sroie --images" in done.stdout
