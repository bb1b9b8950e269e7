"""A long tiny training, watched from outside: memory, open files and threads must be flat after a warm-up.

    python -m tests.reliability.soak --steps 2000

The training is `tools/train.py` in a process of its own, with two students, mutual learning, a frozen teacher, a loader
process, an evaluation after every 50 steps and a save after every 10. The figures are printed; the exit code is 1 where
one of them grows. Reads /proc, so it runs on Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests"))

import tiny  # noqa: E402

from ppocr_data import synth  # noqa: E402

WARM_UP = 0.25
"""Share of the steps in which caches fill."""

MOST_GROWTH = 0.03
"""Of the resident memory, from the first to the last fifth after the warm-up."""


@dataclass
class Reading:
    """What a process held at a step."""

    step: int
    resident_mb: float
    loader_mb: float
    files: int
    threads: int


def _status(pid: int, key: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    return 0


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()] + [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        if task.name != str(pid)
        for child in (task / "children").read_text().split()
    ]


def read(pid: int, step: int) -> Reading:
    """Look at a process and its children."""
    return Reading(
        step=step,
        resident_mb=_status(pid, "VmRSS") / 1024,
        loader_mb=sum(_status(child, "VmRSS") for child in _children(pid)) / 1024,
        files=len(list(Path(f"/proc/{pid}/fd").iterdir())),
        threads=_status(pid, "Threads"),
    )


def watch(process: subprocess.Popen[bytes], run: Path) -> list[Reading]:
    """Readings, one at each step that is seen, until the process ends."""
    readings: list[Reading] = []
    metrics = run / "metrics.jsonl"
    while process.poll() is None:
        time.sleep(0.2)
        try:
            lines = metrics.read_text(encoding="utf-8").splitlines()
            step = json.loads(lines[-1])["step"] if lines else 0
            if step and (not readings or step > readings[-1].step):
                readings.append(read(process.pid, step))
                print(f"\rstep {step}", end="", file=sys.stderr, flush=True)
        except (OSError, ValueError):  # it has just ended, or the line is being written
            continue
    print(file=sys.stderr)
    return readings


def configuration(folder: Path, steps: int) -> Path:
    """The training."""
    synth.generate(folder / "set", train=6, val=2, size=(96, 96), seed=3)
    teacher = tiny.teacher_weights(folder / "teacher.safetensors")
    settings = tiny.settings(
        folder / "set",
        folder / "run",
        terms=[tiny.LABELS, tiny.MUTUAL, tiny.TEACHER],
        teacher=teacher,
        Global__max_steps=steps,
        Global__epoch_num=steps,
        Global__print_batch_step=5,
        Global__save_batch_step=10,
        Global__eval_batch_step=[0, 50],
        Optimizer__ema_decay=0.99,
        Train__loader={"batch_size_per_card": 2, "num_workers": 1},
    )
    return tiny.write(settings, folder / "soak.yml")


@dataclass
class Growth:
    """Medians of the first and the last fifth of the readings after the warm-up."""

    first: Reading
    last: Reading
    readings: int

    @classmethod
    def of(cls, readings: list[Reading], steps: int) -> Growth:
        """Summarise."""
        late = [reading for reading in readings if reading.step > WARM_UP * steps]
        share = max(1, len(late) // 5)
        return cls(_median(late[:share]), _median(late[-share:]), len(late))

    def __str__(self) -> str:
        lines = [f"{'':12}{'step ' + str(self.first.step):>14}{'step ' + str(self.last.step):>14}{'growth':>12}"]
        for field in fields(Reading)[1:]:
            one, other = getattr(self.first, field.name), getattr(self.last, field.name)
            lines.append(f"{field.name:12}{one:14.1f}{other:14.1f}{other - one:+12.1f}")
        return "\n".join(lines)

    @property
    def problems(self) -> list[str]:
        """What grew."""
        found = [
            f"{name} grew from {getattr(self.first, name):.1f} to {getattr(self.last, name):.1f}"
            for name in ("resident_mb", "loader_mb")
            if getattr(self.last, name) > getattr(self.first, name) * (1 + MOST_GROWTH)
        ]
        return found + [
            f"{name} grew from {getattr(self.first, name)} to {getattr(self.last, name)}"
            for name in ("files", "threads")
            if getattr(self.last, name) > getattr(self.first, name)
        ]


def _median(readings: list[Reading]) -> Reading:
    return Reading(
        **{
            f.name: type(getattr(readings[0], f.name))(statistics.median(getattr(r, f.name) for r in readings))
            for f in fields(Reading)
        }
    )


def main(steps: int, folder: Path) -> Growth:
    """Train and watch."""
    path = configuration(folder, steps)
    with (folder / "output.log").open("wb") as log:
        command = [sys.executable, "tools/train.py", "-c", str(path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ))
        readings = watch(process, folder / "run")
    assert process.returncode == 0, (folder / "output.log").read_text()[-3000:]
    return Growth.of(readings, steps)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        growth = main(arguments.steps, Path(made))
    print(f"{arguments.steps} steps, {growth.readings} readings after the first {WARM_UP:.0%}, medians of fifths")
    print(growth)
    sys.exit("\n".join(growth.problems) or None)
