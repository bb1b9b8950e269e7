"""Runs end as if nothing had happened: after kills, power cuts, full disks, and folders removed under them."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tiny
from safetensors.numpy import load_file

from ocr_cml import checkpoint
from ocr_cml.log import LOG
from ocr_cml.loop import signals
from ocr_cml.loop.run import RunFolder
from ocr_cml.trainer import Trainer
from ppocr_data.errors import UserError
from tests.reliability import kills

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("OCR_CML_KILLS", "4"))


def fit_saving(data: dict[str, Any], **choices: Any) -> Trainer:
    """A run of six steps that saves after every second one."""
    return tiny.fit(data, **{"max_steps": 6, "save_batch_step": 2, **choices})


@pytest.fixture
def said() -> Iterator[list[str]]:
    """What the log says."""
    messages: list[str] = []

    class Kept(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage())

    handler = Kept()
    LOG.addHandler(handler)
    LOG.setLevel("INFO")
    yield messages
    LOG.removeHandler(handler)


@pytest.fixture(scope="module")
def whole(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run of six steps."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    fit_saving(tiny.settings(tiny_set, folder))
    return folder


# --- kills -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_equals_one_that_is_not(tmp_path: Path) -> None:
    tally = kills.main(KILLS, seed=3, folder=tmp_path)
    print(tally)
    assert tally.kills == KILLS
    assert tally.finished_runs >= 1


def test_a_second_signal_ends_the_process_at_once() -> None:
    child = os.fork()
    if child == 0:
        try:
            with signals.noted() as asked:
                signal.raise_signal(signal.SIGTERM)
                if asked == [signal.SIGTERM]:
                    signal.raise_signal(signal.SIGTERM)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


# --- power cuts ------------------------------------------------------------------------------------------------------

FILES = [
    *("Student.safetensors", "Student.optimizer.safetensors", "Student2.safetensors"),
    *("Student2.optimizer.safetensors", "state.json", "config.yml"),
]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if "Student2" in name else name for name in FILES]
)
def test_a_file_cut_in_half_costs_the_steps_since_the_save_before(
    name: str, tiny_set: Path, tmp_path: Path, whole: Path, said: list[str]
) -> None:
    def cut_off(step: int) -> None:
        if step == 5:
            raise KeyboardInterrupt

    data = tiny.settings(tiny_set, tmp_path / "run")
    with pytest.raises(KeyboardInterrupt):
        fit_saving(data, before=cut_off)
    assert {file.name for file in (tmp_path / "run/latest").iterdir()} == set(FILES)
    cut = tmp_path / "run/latest" / name
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    said.clear()
    fit_saving(data)
    assert any("passed over a damaged checkpoint" in line and name in line for line in said)
    assert any(line.startswith("resumed from") and line.endswith("at step 2") for line in said)
    assert "steps 3 to 4 had not been saved; they are made again" in said
    kills.assert_equal(tmp_path / "run", whole)


# --- full disks, folders that go -------------------------------------------------------------------------------------


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=100m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("this process may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_stops_the_run_and_with_room_it_goes_on(disk: Path, tiny_set: Path, whole: Path) -> None:
    data = tiny.settings(tiny_set, disk / "run")

    def fill(step: int) -> None:
        if step == 4:
            with (disk / "filler").open("wb") as file, pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(1 << 20))

    with pytest.raises(UserError, match=r"latest: the checkpoint could not be written: .*earlier ones are whole"):
        fit_saving(data, before=fill)
    assert checkpoint.find(disk / "run")[0].progress.step == 2
    (disk / "filler").unlink()
    fit_saving(data)
    kills.assert_equal(disk / "run", whole)


def test_a_read_only_run_folder_is_refused_in_one_line(disk: Path, tiny_set: Path) -> None:
    data = tiny.settings(tiny_set, disk / "run")
    fit_saving(data, max_steps=2)
    given = tiny.load(data, disk.with_name("given"))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    with pytest.raises(UserError, match=r"Global\.save_model_dir: .*run cannot be written: Read-only file system"):
        RunFolder(given)


@pytest.mark.parametrize("gone", ["latest", "best"])
def test_a_checkpoint_folder_that_is_removed_under_the_run_is_made_again(
    gone: str, tiny_set: Path, tmp_path: Path, whole: Path
) -> None:
    def remove(step: int) -> None:
        if step == 6:
            for folder in (tmp_path / "run").glob(f"{gone}*"):
                shutil.rmtree(folder)

    data = tiny.settings(tiny_set, tmp_path / "run", Global__eval_batch_step=[0, 100])
    fit_saving(data, before=remove)
    assert load_file(tmp_path / f"run/{gone}/Student.safetensors").keys()
    kills.assert_equal(tmp_path / "run", whole)


def test_a_run_whose_checkpoints_were_removed_begins_anew(tiny_set: Path, tmp_path: Path, whole: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    fit_saving(data, max_steps=4)
    for folder in [*(tmp_path / "run").glob("latest*"), *(tmp_path / "run").glob("best*")]:
        shutil.rmtree(folder)
    fit_saving(data)
    kills.assert_equal(tmp_path / "run", whole)
