"""Kill a real training again and again, and compare what comes out with an uninterrupted one.

    python -m tests.reliability.kills --count 50 --seed 1

Every start is `tools/train.py` in a process of its own, ended by SIGKILL: a share of times (`--in-saves`, a half) in
the middle of a save, else while it starts or at a random moment of the training. After each kill the newest checkpoint
must be whole, and at most the steps since the last save may be missing; when a run comes to its end, its weights, its
best checkpoint and every recorded number must be those of a run that nobody killed. Then the next run begins.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import tiny  # noqa: E402

from ocr_cml import checkpoint  # noqa: E402
from ppocr_data import synth  # noqa: E402

STEPS = 30
SAVE_EVERY = 2


@dataclass
class Tally:
    """What happened."""

    kills: int = 0
    while_saving: int = 0
    before_any_step: int = 0
    damaged: int = 0
    finished_runs: int = 0
    starts: int = 0
    most_steps_lost: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills survived in {self.starts} starts and {self.finished_runs} finished runs of {STEPS} "
            f"steps; {self.while_saving} kills while a checkpoint was being written, {self.before_any_step} before a "
            f"first step; {self.damaged} unfinished folders were passed over; at most {self.most_steps_lost} steps "
            "were made again; every finished run equals the uninterrupted one bit for bit"
        )


def configuration(data: Path, run: Path) -> Path:
    """A short run of two students that saves after every second step and evaluates three times."""
    settings = tiny.settings(
        data,
        run,
        Global__max_steps=STEPS,
        Global__epoch_num=STEPS,
        Global__save_batch_step=SAVE_EVERY,
        Global__eval_batch_step=[0, 10],
        Optimizer__lr__decay_steps=STEPS,
        Train__loader={"batch_size_per_card": 2, "num_workers": 1},
    )
    return tiny.write(settings, run.with_name(f"{run.name}.yml"))


def records(run: Path) -> list[dict[str, Any]]:
    """Every recorded number but times."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    found = []
    for line in lines:
        try:
            found.append({key: value for key, value in json.loads(line).items() if not key.endswith("seconds")})
        except ValueError:  # cut short by the kill
            continue
    return found


def last_step(run: Path) -> int:
    return max([0, *(record["step"] for record in records(run))])


def assert_equal(run: Path, whole: Path) -> None:
    """Weights, optimizers, best and records are those of the uninterrupted run."""
    assert records(run) == records(whole), "the recorded numbers differ"
    for name in ("latest", "best"):
        ours, theirs = (sorted(file.name for file in (folder / name).glob("*.safetensors")) for folder in (run, whole))
        assert ours == theirs
        for file in ours:
            first, second = load_file(run / name / file), load_file(whole / name / file)
            assert first.keys() == second.keys()
            assert all(np.array_equal(first[key], second[key]) for key in first), f"{name}/{file} differs"
        assert checkpoint.open_checkpoint(run / name).progress == checkpoint.open_checkpoint(whole / name).progress


def start(path: Path, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        command = [sys.executable, "tools/train.py", "-c", str(path)]
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


def saved_step(run: Path) -> int:
    """The step of the newest whole checkpoint; 0 where there is none yet."""
    latest = run / checkpoint.LATEST
    if not any(
        folder.is_dir() for folder in (latest, latest.with_name("latest.previous"), latest.with_name("latest.tmp"))
    ):
        return 0
    checkpoint.finish_interrupted_save(latest)
    if not latest.is_dir() and not latest.with_name("latest.previous").is_dir():
        return 0
    found, _ = checkpoint.find(run)
    return found.progress.step


def kill_one(path: Path, run: Path, chance: random.Random, tally: Tally, in_saves: float) -> bool:
    """Start once and kill; True where the run came to its end first."""
    before = saved_step(run)
    process = start(path, run.with_name(f"{run.name}.log"))
    tally.starts += 1
    moment = chance.random()
    if moment < in_saves:  # in the midst of one of the next saves
        wait_for(process, run / "latest.tmp", chance.randrange(4))
        time.sleep(chance.uniform(0, 0.02))
    elif moment < in_saves + (1 - in_saves) / 4:  # while it starts
        time.sleep(chance.uniform(0, 8))
    else:  # some steps later
        wanted = before + chance.randint(1, STEPS // 2)
        while process.poll() is None and last_step(run) < wanted:
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
    temporary = run / "latest.tmp"
    if process.poll() is not None:
        assert process.returncode == 0, run.with_name(f"{run.name}.log").read_text()[-3000:]
        return True
    process.kill()
    process.wait()
    reached, unfinished = last_step(run), temporary.is_dir()
    after = saved_step(run)
    assert after >= before, f"the checkpoint went back from step {before} to {after}"
    tally.kills += 1
    tally.while_saving += unfinished
    tally.damaged += temporary.is_dir()  # not taken up by `saved_step`: it was not whole
    tally.before_any_step += reached <= before
    tally.most_steps_lost = max(tally.most_steps_lost, reached - after)
    assert reached - after <= SAVE_EVERY, f"step {reached} was reached and only step {after} is saved"
    return False


def wait_for(process: subprocess.Popen[bytes], temporary: Path, skip: int) -> None:
    """Until a checkpoint is being written; `skip` are let pass."""
    seen = False
    while process.poll() is None:
        now = temporary.is_dir()
        if now and not seen:
            if skip == 0:
                return
            skip -= 1
        seen = now
        time.sleep(0.0005)


def main(count: int, seed: int, folder: Path, in_saves: float = 0.5) -> Tally:
    """Kill `count` times; raises AssertionError at the first run that does not survive."""
    data, chance, tally = folder / "set", random.Random(seed), Tally()
    synth.generate(data, train=6, val=2, size=(96, 96), seed=3)
    whole = folder / "whole"
    process = start(configuration(data, whole), folder / "whole.log")
    assert process.wait() == 0, (folder / "whole.log").read_text()[-3000:]
    while tally.kills < count:
        run = folder / f"run{tally.finished_runs}"
        path = configuration(data, run)
        while tally.kills < count and not kill_one(path, run, chance, tally, in_saves):
            print(f"\r{tally.kills} of {count} kills", end="", file=sys.stderr, flush=True)
        process = start(path, run.with_name(f"{run.name}.log"))
        tally.starts += 1
        assert process.wait() == 0, run.with_name(f"{run.name}.log").read_text()[-3000:]
        assert_equal(run, whole)
        tally.finished_runs += 1
        shutil.rmtree(run)
    print(file=sys.stderr)
    return tally


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--in-saves", type=float, default=0.5, help="share of the kills that wait for a save")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        print(main(arguments.count, arguments.seed, Path(made), arguments.in_saves))
