"""Several processes decide alike about a student that failed on one of them, and end with the same weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
DRIVER = '''
"""tools/train.py, in which one student's answer overflows once, for the images of one rank."""
import sys
sys.path.insert(0, sys.argv[1])
from ocr_cml import commands
from ocr_cml.environment import tune_process

notes = tune_process()
commands.tune_process = lambda: notes
import numpy as np
from ocr_cml import trainer
from ocr_cml.models.detector import Detector

out, config = sys.argv[2:4]
fit, forward = trainer.Trainer.fit, Detector.forward
state = {}


def overflowing(self, images):
    answer = forward(self, images)
    run = state.get("trainer")
    first = run and not run.progress.restarts
    if first and run.rank == 1 and run.progress.step == 2 and self is state["victim"] and self.training:
        object.__setattr__(answer, "shrink_logit", answer.shrink_logit * float("inf"))
    return answer


def fit_and_tell(self):
    state.update(trainer=self, victim=self.cohort.students["Student2"])
    best = fit(self)
    states = {f"{n}/{k}": v.numpy() for n, s in self.cohort.students.items() for k, v in s.state_dict().items()}
    np.savez(f"{out}/rank{self.rank}.npz", **states)
    return best


Detector.forward, trainer.Trainer.fit = overflowing, fit_and_tell
raise SystemExit(commands.train(config, []))
'''


@pytest.mark.parametrize("mode", ["drop", "restart"])
def test_a_failure_on_one_rank_is_dealt_with_on_all(mode: str, tiny_set: Path, tmp_path: Path) -> None:
    loader = {"batch_size_per_card": 1, "num_workers": 0}
    settings = tiny.settings(tiny_set, tmp_path / "run", Train__loader=loader)
    settings["Global"] |= {"max_steps": 5, "on_divergence": mode}
    config = tiny.write(settings, tmp_path / "run.yml")
    (tmp_path / "driver.py").write_text(DRIVER)
    launch = [
        "-m",
        "paddle.distributed.launch",
        "--nproc_per_node=2",
        "--backend",
        "gloo",
        "--log_dir",
        tmp_path / "log",
    ]
    command = [sys.executable, *map(str, [*launch, tmp_path / "driver.py", REPOSITORY, tmp_path, config])]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    logs = "\n".join(path.read_text(errors="replace") for path in (tmp_path / "log").glob("workerlog*"))
    assert done.returncode == 0, logs[-3000:]
    assert "Traceback" not in logs

    ranks = [dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in range(2)]
    tiny.assert_same(*ranks)
    assert all(np.isfinite(value).all() for value in ranks[0].values())
    names = {key.split("/")[0] for key in ranks[0]}
    assert names == ({"Student"} if mode == "drop" else {"Student", "Student2"})
    progress = json.loads((tmp_path / "run/latest/state.json").read_text())["progress"]
    assert progress["step"] == 5
    assert progress["dropped" if mode == "drop" else "restarts"] == {"Student2": 2 if mode == "drop" else [2]}
