"""What becomes of a run whose launcher is told to stop: Paddle has two, and neither does as a shell would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tiny

from ocr_cml.loop.run import is_trained_in

REPOSITORY = Path(__file__).resolve().parents[2]
STEPS = 200
DRIVER = """
import sys, time
sys.path.insert(0, sys.argv[1])
from ocr_cml import commands

notes = commands.tune_process()
commands.tune_process = lambda: notes
from ocr_cml import trainer
from ocr_cml.cli import exit_cleanly

step = trainer.Trainer.step


def slow(self, batches):
    time.sleep(1.5)  # longer than the launchers' patience between two signals
    return step(self, batches)


trainer.Trainer.step = slow
raise SystemExit(exit_cleanly(lambda argv: commands.train(sys.argv[2], []))([]))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "number"),
    [
        ([], signal.SIGTERM),  # says it three times
        (["--nproc_per_node=2", "--backend", "gloo"], signal.SIGTERM),  # dies of it and tells nobody
        (["--nproc_per_node=2", "--backend", "gloo"], signal.SIGINT),  # tells it as SIGTERM, twice
    ],
    ids=["one", "gloo", "gloo, Ctrl-C"],
)
def test_the_state_is_saved(options: list[str], number: signal.Signals, tiny_set: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    settings = tiny.settings(tiny_set, run, Train__loader={"batch_size_per_card": 1, "num_workers": 0})
    settings["Global"] |= {"max_steps": STEPS, "epoch_num": STEPS}
    config = tiny.write(settings, tmp_path / "run.yml")
    (tmp_path / "driver.py").write_text(DRIVER)
    launch = ["-m", "paddle.distributed.launch", *options, "--log_dir", tmp_path / "log", tmp_path / "driver.py"]
    with (tmp_path / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, *map(str, [*launch, REPOSITORY, config])], cwd=tmp_path, stdout=said, stderr=said
        )
        try:
            deadline = time.monotonic() + 120
            while not (run / "metrics.jsonl").exists() or not tiny.records(run, "loss"):
                assert process.poll() is None and time.monotonic() < deadline, (tmp_path / "said.txt").read_text()
                time.sleep(0.1)
            process.send_signal(number)
            while is_trained_in(run):
                assert time.monotonic() < deadline
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()
    step = json.loads((run / "latest" / "state.json").read_text())["progress"]["step"]
    assert 1 <= step <= tiny.records(run, "loss")[-1]["step"] < 20
