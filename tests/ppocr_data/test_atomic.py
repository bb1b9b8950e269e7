"""A file is the old one or the new one, and nothing is left beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from disks import files_of_at_most

from ppocr_data.atomic import remove_leftovers, replacing, write_text


@pytest.mark.parametrize("sync", [False, True])
def test_the_new_content_comes_at_the_end_of_the_block(tmp_path: Path, sync: bool) -> None:
    path = tmp_path / "chart.svg"
    path.write_text("old")
    with replacing(path, sync=sync) as fresh:
        assert fresh.parent == tmp_path and fresh.suffix == ".svg"  # writers of pictures go by the ending
        fresh.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("stem", ["x" * 251, "\N{HIRAGANA LETTER A}" * 83])
def test_a_name_as_long_as_names_can_be(tmp_path: Path, stem: str) -> None:
    path = tmp_path / f"{stem}.png"
    with replacing(path) as fresh:
        assert fresh.suffix == ".png"
        fresh.write_text("new")
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    with files_of_at_most(8), pytest.raises(OSError, match=r"config\.yml") as failed:
        write_text(tmp_path / "config.yml", "longer than that")
    assert failed.value.filename == str(tmp_path / "config.yml") and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_fails_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "config.yml"
    path.write_text("old")
    with pytest.raises(type(error)), replacing(path) as fresh:
        fresh.write_text("half of it")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_taken_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "taken"
    (path / "by a folder").mkdir(parents=True)
    with pytest.raises(OSError), replacing(path) as fresh:
        fresh.write_text("new")
    assert list(tmp_path.iterdir()) == [path] and (path / "by a folder").is_dir()


def test_a_block_that_writes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    kept = [f".report.{os.getpid()}.tmp.html", f".other.{dead.pid}.tmp.html", ".report.mine.tmp.html", "report.html"]
    for name in (f".report.{dead.pid}.tmp.html", *kept):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path / "report.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
