"""Data that go wrong in the middle of a run: workers that die or hang, images that vanish, disks that return errors."""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from processes import alive
from safetensors.numpy import load_file

from ocr_cml import assemble
from ppocr_data.dataset import DetDataset
from ppocr_data.errors import DataError
from ppocr_data.loader import Batch, train_loader
from ppocr_data.workers import WorkerPool
from tests.reliability import kills

pytestmark = pytest.mark.slow

STARTS = int(os.environ.get("OCR_CML_STARTS", "5"))


@pytest.fixture
def dataset(tiny_set: Path, tmp_path: Path) -> DetDataset:
    made = assemble.labelled_dataset(tiny.load(tiny.settings(tiny_set, tmp_path / "run"), tmp_path))
    assert made is not None
    return made


def same(first: Batch, second: Batch) -> None:
    assert first.sources == second.sources
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


# --- a worker that dies or hangs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_lost_worker_is_replaced_and_the_batches_are_the_same(
    number: signal.Signals, workers: int, dataset: DetDataset, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ppocr_data")
    with (
        train_loader(dataset, 2, seed=1) as plain,
        train_loader(dataset, 2, seed=1, num_workers=workers, worker_timeout=1.0) as loader,
    ):
        for step in range(12):
            if step % 4 == 1:
                assert loader._pool is not None
                os.kill(loader._pool.pids[step % workers], number)
            same(next(loader), next(plain))
    told = "has not answered for 1 s" if number == signal.SIGSTOP else f"was killed by signal {int(number)}"
    assert told in caplog.text
    assert "it was making " in caplog.text
    assert "train.txt:" in caplog.text


@dataclasses.dataclass
class Large:
    value: np.ndarray


def stops_once(task: tuple[int, str]) -> Large:
    """An answer of 40 MB; the first time, the process stops while it is sending it."""
    number, marker = task
    if number == 3 and not Path(marker).exists():
        Path(marker).touch()
        threading.Timer(0.02, lambda: os.kill(os.getpid(), signal.SIGSTOP)).start()
    return Large(np.full(40_000_000 if number == 3 else 10, number, np.uint8))


def test_a_worker_that_stops_within_its_answer_is_bounded_in_time(tmp_path: Path) -> None:
    pool = WorkerPool(stops_once, ((i, str(tmp_path / "mark")) for i in range(1000)), 1, patience=3.0)
    began = time.monotonic()
    assert [int(pool.get().value[-1]) for _ in range(5)] == [0, 1, 2, 3, 4]
    assert time.monotonic() - began < 60
    assert (tmp_path / "mark").exists()
    pool.close()


def test_a_task_that_always_kills_its_worker_is_named_and_ends(tiny_set: Path) -> None:
    def work(task: int) -> Large:
        if task == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return Large(np.zeros(3, np.uint8))

    pool = WorkerPool(work, iter(range(100)), 2, restarts=2, describe=lambda task: f"photo {task}")
    pool.get()
    pool.get()
    with pytest.raises(DataError, match=r"data worker 0 .*killed by signal 9.*3 times in a row; it was making photo 2"):
        pool.get()
    pool.close()


def test_closing_does_not_wait_for_a_stopped_worker(dataset: DetDataset) -> None:
    loader = train_loader(dataset, 2, num_workers=2)
    next(loader)
    assert loader._pool is not None
    pids = loader._pool.pids
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    loader.close()
    assert time.monotonic() - began < 10
    assert not any(alive(pid) for pid in pids)


def test_a_loader_may_be_closed_while_a_worker_is_being_replaced(
    dataset: DetDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    starting = threading.Event()
    loader = train_loader(dataset, 2, num_workers=2)
    next(loader)
    assert loader._pool is not None
    fork = type(loader._pool._workers[0].process).start

    def slowly(process: Any) -> None:
        starting.set()
        time.sleep(1.0)
        fork(process)

    monkeypatch.setattr(type(loader._pool._workers[0].process), "start", slowly)
    os.kill(loader._pool.pids[0], signal.SIGKILL)
    os.kill(loader._pool.pids[1], signal.SIGKILL)
    assert starting.wait(30)
    loader.close()
    assert not any(alive(pid) for pid in loader._pool.pids)
    assert not loader._pool._pump.is_alive()


# --- images that vanish, disks that fail -----------------------------------------------------------------------------


def at_step(number: int, then: Callable[[], object]) -> Callable[[int], object]:
    """For `tiny.fit`: something happens before this step."""
    return lambda step: then() if step == number else None


@pytest.mark.parametrize(("failure", "workers"), [("vanishes", 1), ("disk error", 0)])
def test_what_was_trained_is_saved_when_an_image_is_lost_and_goes_on_when_it_is_back(
    failure: str, workers: int, tiny_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_set, tmp_path / "set")
    image = tmp_path / "set/train/000002.jpg"
    loader = {"batch_size_per_card": 2, "num_workers": workers}
    data = tiny.settings(tmp_path / "set", tmp_path / "run", Train__loader=loader)

    def lose() -> None:
        image.rename(tmp_path / "kept.jpg")
        if failure == "disk error":  # reading a process's memory from its first byte is an input/output error
            image.symlink_to("/proc/self/mem")

    reason = "Input/output error" if failure == "disk error" else "No such file"
    with pytest.raises(DataError, match=rf"train\.txt:3: cannot read image .*000002\.jpg \({reason}") as caught:
        tiny.fit(data, at_step(3, lose), max_steps=8)
    assert "000002.jpg" in str(caught.value)
    image.unlink(missing_ok=True)
    (tmp_path / "kept.jpg").rename(image)
    resumed = tiny.fit(data, max_steps=8)
    log = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    assert sum('"loss"' in line for line in log) == 8
    whole = tiny.fit(tiny.settings(tmp_path / "set", tmp_path / "whole", Train__loader=loader), max_steps=8)
    tiny.assert_same(tiny.states(resumed), tiny.states(whole))
    for file in (tmp_path / "whole/latest").glob("*.safetensors"):
        tiny.assert_same(load_file(tmp_path / "run/latest" / file.name), load_file(file))


def test_the_run_that_lost_an_image_had_been_saved_at_its_last_step(tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "set")
    data = tiny.settings(tmp_path / "set", tmp_path / "run")
    with pytest.raises(DataError, match="cannot read image"):
        tiny.fit(data, at_step(3, lambda: [path.unlink() for path in (tmp_path / "set/train").iterdir()]), max_steps=12)
    state = (tmp_path / "run/latest/state.json").read_text()
    assert '"step": 2,' in state


def test_an_evaluation_that_cannot_be_made_comes_first_when_the_run_goes_on(tiny_set: Path, tmp_path: Path) -> None:
    every_second = {"Global__eval_batch_step": [0, 2]}
    shutil.copytree(tiny_set, tmp_path / "set")
    image = tmp_path / "set/val/000001.jpg"
    data = tiny.settings(tmp_path / "set", tmp_path / "run", **every_second)
    for at, steps in ((4, 6), (6, 6)):  # in the middle, and at the very end
        with pytest.raises(DataError, match=r"val\.txt:2: cannot read image"):
            tiny.fit(data, at_step(at, lambda: image.rename(tmp_path / "kept.jpg")), max_steps=steps)
        assert f'"step": {at},' in (tmp_path / "run/latest/state.json").read_text()
        (tmp_path / "kept.jpg").rename(image)
    tiny.fit(data, max_steps=6)
    tiny.fit(tiny.settings(tmp_path / "set", tmp_path / "whole", **every_second), max_steps=6)
    kills.assert_equal(tmp_path / "run", tmp_path / "whole")


def test_skipping_goes_on_without_the_vanished_image(tiny_set: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_set, tmp_path / "set")
    data = tiny.settings(tmp_path / "set", tmp_path / "run")
    data["Train"]["dataset"]["on_bad_sample"] = "skip"
    trainer = tiny.fit(data, at_step(2, (tmp_path / "set/train/000002.jpg").unlink), max_steps=9)
    assert trainer.progress.step == 9
    (problem,) = trainer.skipped
    assert "000002.jpg" in problem


# --- nothing is left behind ------------------------------------------------------------------------------------------

LOADER = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from tests.reliability import test_workers
from ppocr_data.workers import WorkerPool
pool = WorkerPool(test_workers.stops_once, ((i, "") for i in range(4, 10**9)), 2)
pool.get()
print(*pool.pids, flush=True)
while True:
    pool.get()
"""


def shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes under /proc")
def test_starts_and_kills_leave_no_process_and_no_shared_memory(repository: Path) -> None:
    before = shared_memory()
    pids: list[int] = []
    for _ in range(STARTS):
        command = [sys.executable, "-c", LOADER, str(repository)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(repository), str(repository / "tests")])}
        parent = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert parent.stdout is not None
        mine = [int(word) for word in parent.stdout.readline().split()]
        assert len(mine) == 2
        pids += mine
        parent.kill()
        parent.communicate()
    deadline = time.monotonic() + 20
    while not all(ended(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.1)
    print(f"{STARTS} starts and kills; workers left: {sum(not ended(pid) for pid in pids)}")
    assert all(ended(pid) for pid in pids)
    assert shared_memory() <= before
