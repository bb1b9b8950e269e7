"""Whole processes: the four commands in turn, signals, two ranks; and each shipped configuration in small."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import yaml
from safetensors.numpy import load_file

pytestmark = pytest.mark.slow

PATIENCE = 300
REPOSITORY = Path(__file__).resolve().parent.parent


def command(*arguments: object) -> list[str]:
    return [sys.executable, *map(str, arguments)]


def run(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A Python process in the repository; its exit code must be `code`."""
    done = subprocess.run(
        command(*arguments), cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == code, done.stderr[-3000:]
    return done


def steps(folder: Path) -> list[dict[str, Any]]:
    """The log points of a run, without their times."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    found = [json.loads(line) for line in lines if '"loss"' in line]
    return [{key: value for key, value in record.items() if key != "seconds"} for record in found]


# --- from labels to boxes --------------------------------------------------------------------------------------------


def boxes(results: Path) -> dict[str, list[dict[str, Any]]]:
    """results.txt, parsed."""
    lines = [line.split("\t") for line in results.read_text(encoding="utf-8").splitlines()]
    return {Path(path).name: json.loads(payload) for path, payload in lines}


def test_train_evaluate_export_infer(tiny_set: Path, tmp_path: Path) -> None:
    """An exported teacher; a cohort that learns from it; its scores; its best student in both engines."""
    lenient = {"thresh": 0.5, "box_thresh": 0.3}  # so that networks of a few steps find something
    settings = tiny.settings(tiny_set, tmp_path / "first", terms=[tiny.LABELS], students=1, PostProcess=lenient)
    first = tiny.write(settings, tmp_path / "first.yml")
    run("tools/train.py", "-c", first)
    weights = f"Global.pretrained_model={tmp_path / 'first/best'}"
    teacher = f"Global.save_inference_dir={tmp_path / 'teacher'}"
    run("tools/export_model.py", "-c", first, "-o", weights, teacher)
    names = {path.name for path in (tmp_path / "teacher").iterdir()}
    assert names == {"inference.json", "inference.pdiparams", "inference.yml", "inference.onnx"}

    settings = tiny.settings(
        tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.MUTUAL, tiny.TEACHER], PostProcess=lenient
    )
    inference = {"freeze_params": True, "inference_model": str(tmp_path / "teacher")}
    settings["Architecture"]["Models"]["Teacher"] = inference
    settings["Global"]["teacher_check"] = True
    done = run("tools/train.py", "-c", tiny.write(settings, tmp_path / "run.yml"))
    pattern = r"best student=(Student2?) hmean=([01]\.\d{4}) step=3 dir=(.*)"
    found = re.fullmatch(pattern, done.stdout.splitlines()[-1])
    assert found is not None, done.stdout
    assert "Teacher against the labels" in done.stderr
    assert all("teacher/Student2<-Teacher" in record for record in steps(tmp_path / "run"))

    best = f"Global.pretrained_model={tmp_path / 'run/best'}"
    config = tmp_path / "run/config.yml"
    done = run("tools/eval.py", "-c", config, "-o", best, "--json", tmp_path / "scores.json", "--tune")
    scored = json.loads((tmp_path / "scores.json").read_text())
    assert set(scored["scores"]) == set(scored["tuned"]) == {"Student", "Student2", "ensemble", "Teacher"}
    assert scored["scores"][found[1]]["hmean"] == pytest.approx(float(found[2]), abs=1e-3)
    for name, fitted in scored["tuned"].items():  # what is set is among what is tried
        assert fitted["hmean"] >= scored["scores"][name]["hmean"]

    for name in ("eval", "export_model"):  # what the run began with is not what it made
        done = run(f"tools/{name}.py", "-c", config, "-o", f"Global.save_inference_dir={tmp_path / 'none'}", code=2)
        assert f"with -o {best}" in done.stderr
    before = (tmp_path / "teacher/inference.pdiparams").read_bytes()
    done = run("tools/export_model.py", "-c", config, "-o", best, teacher, code=2)
    assert "is Teacher's own folder; choose another" in done.stderr
    assert (tmp_path / "teacher/inference.pdiparams").read_bytes() == before

    for student in ("best", "ensemble"):
        target = tmp_path / student
        run(
            "tools/export_model.py",
            "-c",
            config,
            "-o",
            best,
            f"Global.save_inference_dir={target}",
            "--student",
            student,
        )
        answers = {}
        for engine in ("paddle", "onnx"):
            output = tmp_path / f"{student}-{engine}"
            images = ["--image", tiny_set / "train", "--output", output]
            run("tools/infer_det.py", "--model_dir", target, *images, "--engine", engine)
            answers[engine] = boxes(output / "results.txt")
            assert len(list(output.glob("*.jpg"))) == 6
        assert list(answers["paddle"]) == [f"{index:06}.jpg" for index in range(6)]
        assert sum(len(found) for found in answers["paddle"].values()) > 0
        assert answers["paddle"].keys() == answers["onnx"].keys()
        for name, expected in answers["paddle"].items():
            got = answers["onnx"][name]
            assert [entry["points"] for entry in got] == [entry["points"] for entry in expected]
            assert [e["score"] for e in got] == pytest.approx([e["score"] for e in expected], abs=1e-3)


def test_a_mistake_ends_a_process_with_2_and_one_message(tiny_set: Path, tmp_path: Path) -> None:
    settings = tiny.settings(tiny_set, tmp_path / "run")
    done = run("tools/train.py", "-c", tiny.write(settings, tmp_path / "a.yml"), "-o", "Global.max_step=3", code=2)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "did you mean 'max_steps'" in done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_to_a_process_saves_and_the_run_goes_on(
    number: signal.Signals, code: int, tiny_set: Path, tmp_path: Path
) -> None:
    choices = {"Global__epoch_num": 1000, "Train__loader": {"batch_size_per_card": 2, "num_workers": 1}}
    choices["Optimizer__lr__decay_steps"] = 100
    endless = tiny.settings(tiny_set, tmp_path / "run", Global__max_steps=2000, **choices)
    path = tiny.write(endless, tmp_path / "run.yml")
    process = subprocess.Popen(
        command("tools/train.py", "-c", path), cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while len(steps(tmp_path / "run")) < 2 and process.poll() is None:
            assert time.monotonic() < deadline, "no step was made"
            time.sleep(0.05)
        process.send_signal(number)
        out, err = process.communicate(timeout=PATIENCE)
    finally:
        process.kill()
    assert process.returncode == code, err
    assert out == ""
    assert "Traceback" not in err
    step = json.loads((tmp_path / "run/latest/state.json").read_text())["progress"]["step"]
    assert step >= 2

    last = f"Global.max_steps={step + 2}"
    run("tools/train.py", "-c", path, "-o", last)
    settings = tiny.settings(tiny_set, tmp_path / "whole", **choices)
    run("tools/train.py", "-c", tiny.write(settings, tmp_path / "whole.yml"), "-o", last)
    assert steps(tmp_path / "run") == steps(tmp_path / "whole")
    for file in (tmp_path / "whole/latest").glob("*.safetensors"):
        tiny.assert_same(load_file(tmp_path / "run/latest" / file.name), load_file(file))


# --- two processes ---------------------------------------------------------------------------------------------------

DRIVER = '''
"""tools/train.py, and what a test wants to know of each rank beside it."""
import json, sys
sys.path.insert(0, sys.argv[1])
from ocr_cml import commands
from ocr_cml.environment import tune_process

notes = tune_process()
commands.tune_process = lambda: notes
import numpy as np
from ocr_cml import batches, trainer

out, config = sys.argv[2:4]
fit, open_loader, seen = trainer.Trainer.fit, batches.train_loader, []


class Recorded:
    def __init__(self, *arguments, **options):
        self.inner = open_loader(*arguments, **options)

    def __iter__(self):
        for batch in self.inner:
            seen.append(batch.sources)
            yield batch

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.inner.close()


def fit_and_tell(self):
    best = fit(self)
    states = {f"{n}/{k}": v.numpy() for n, s in self.cohort.students.items() for k, v in s.state_dict().items()}
    np.savez(f"{out}/rank{self.rank}.npz", **states)
    with open(f"{out}/rank{self.rank}.json", "w") as file:
        json.dump(seen, file)
    return best


batches.train_loader, trainer.Trainer.fit = Recorded, fit_and_tell
raise SystemExit(commands.train(config, []))
'''


APART = '''
"""tools/train.py of one of several machines: each has a disk of its own."""
import os, sys
sys.path.insert(0, sys.argv[1])
os.chdir(os.path.join(sys.argv[2], f"machine{os.environ['PADDLE_TRAINER_ID']}"))
from ocr_cml.cli import exit_cleanly
from ocr_cml.commands import train

raise SystemExit(exit_cleanly(lambda argv: train(sys.argv[3], []))([]))
'''


def test_machines_that_do_not_share_a_disk_are_told_so(tiny_set: Path, tmp_path: Path) -> None:
    """One sees a checkpoint and the other none: neither waits for what the other never sends."""
    settings = tiny.settings(tiny_set, tmp_path / "machine0" / "run", Global__max_steps=1)
    with tiny.Run(settings) as trainer:
        trainer.fit()
    (tmp_path / "machine1").mkdir()
    settings["Global"] |= {"save_model_dir": "run", "max_steps": 3}
    config = tiny.write(settings, tmp_path / "run.yml")
    (tmp_path / "driver.py").write_text(APART)
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node=2", "--backend", "gloo"]
    command = [
        sys.executable,
        *launch,
        "--log_dir",
        tmp_path / "log",
        tmp_path / "driver.py",
        REPOSITORY,
        tmp_path,
        config,
    ]
    done = subprocess.run(
        list(map(str, command)), cwd=REPOSITORY, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode != 0
    logs = "\n".join(path.read_text(errors="replace") for path in (tmp_path / "log").glob("workerlog*")) + done.stderr
    assert "Traceback" not in logs, logs[-3000:]
    assert re.search(r"error: process \d stands at step \d, others at \d: .*a disk that the machines share", logs), (
        logs[-3000:]
    )


def test_two_processes_over_gloo(tiny_set: Path, tiny_teacher: Path, tmp_path: Path) -> None:
    """Equal weights on both ranks, each sample once an epoch, and the metrics of one process."""
    terms = [tiny.LABELS, tiny.MUTUAL, {"ATLoss": {"layers": [["neck", "neck"]]}}]
    post = {"thresh": 0.5, "box_thresh": 0.3}
    loader = {"batch_size_per_card": 1, "num_workers": 0}
    settings = tiny.settings(
        tiny_set, tmp_path / "run", terms=terms, teacher=tiny_teacher, Train__loader=loader, PostProcess=post
    )
    settings["Global"] |= {"max_steps": 6, "eval_batch_step": [0, 3], "teacher_check": True}
    config = tiny.write(settings, tmp_path / "run.yml")
    (tmp_path / "driver.py").write_text(DRIVER)
    launch = ["-m", "paddle.distributed.launch", "--nproc_per_node=2", "--backend", "gloo"]
    done = run(*launch, "--log_dir", tmp_path / "log", tmp_path / "driver.py", REPOSITORY, tmp_path, config)
    logs = "\n".join(path.read_text(errors="replace") for path in (tmp_path / "log").glob("workerlog*"))
    assert "Traceback" not in logs + done.stderr, logs[-3000:]
    assert len(re.findall(r"^best student=", logs + done.stdout, re.MULTILINE)) >= 1

    ranks = [dict(np.load(tmp_path / f"rank{rank}.npz")) for rank in range(2)]
    tiny.assert_same(*ranks)
    saved = load_file(tmp_path / "run/latest/Student.safetensors")
    tiny.assert_same({k.removeprefix("Student/"): v for k, v in ranks[0].items() if k.startswith("Student/")}, saved)

    seen = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert [len(batches) for batches in seen] == [6, 6]
    for epoch in range(2):
        shares = [[s for batch in each[3 * epoch : 3 * epoch + 3] for s in batch] for each in seen]
        assert not set(shares[0]) & set(shares[1])
        assert len(set(shares[0]) | set(shares[1])) == 6

    assert [record["step"] for record in steps(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]
    latest = f"Global.pretrained_model={tmp_path / 'run/latest'}"
    run("tools/eval.py", "-c", tmp_path / "run/config.yml", "-o", latest, "--json", tmp_path / "scores.json")
    alone = json.loads((tmp_path / "scores.json").read_text())["scores"]
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    together = [line["eval"] for line in lines if "eval" in line]
    assert len(together) == 2
    for name, score in together[-1].items():
        assert {k: score[k] for k in ("tp", "num_gt", "num_det")} == {
            k: alone[name][k] for k in ("tp", "num_gt", "num_det")
        }
    assert sum(score["num_det"] for score in together[-1].values()) > 0


# --- the shipped configurations --------------------------------------------------------------------------------------

SHIPPED = [*REPOSITORY.glob("configs/[!c]*.yml"), *REPOSITORY.glob("configs/kd/*.yml")]  # compare.yml lists runs
CONFIGS = sorted(path.relative_to(REPOSITORY / "configs").as_posix() for path in SHIPPED)
FROZEN: dict[str, list[float]] = {
    "det_cml.yml": [21.70202, 22.28932, 22.39725],
    "det_cml_hetero.yml": [21.75019, 22.21918, 22.39452],
    "det_cml_icdar2015.yml": [21.77524, 22.24224, 22.39041],
    "det_cml_sroie2019.yml": [22.21858, 22.92414, 20.4105],
    "det_cml_unlabeled.yml": [21.49323, 21.14301, 22.3149],
    "det_dml.yml": [12.9344, 13.66986, 12.86422],
    "det_label_free.yml": [4.16472, 3.35563, 4.49886],
    "det_student.yml": [6.48514, 6.8651, 6.4705],
    "det_teacher.yml": [6.48514, 6.86556, 6.47576],
    "det_teacher_icdar2015.yml": [6.56642, 6.94058, 6.55573],
    "kd/afd.yml": [7.28423, 7.69185, 7.26171],
    "kd/at.yml": [7.21188, 7.61423, 7.1767],
    "kd/logits.yml": [19.12817, 20.60287, 21.14054],
    "kd/nst.yml": [20.54283, 21.21765, 19.15537],
    "kd/ofd.yml": [7.25571, 7.60941, 7.22987],
    "kd/rkd.yml": [18.39754, 22.25093, 17.68087],
    "kd/st.yml": [12.91002, 13.55605, 13.76811],
}


def shrunk(path: Path, data: Path, run_folder: Path, teacher: Path) -> list[str]:
    """Overrides that leave of a configuration its terms, optimizer and augmentation, and make all else tiny."""
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    labels = {part: str(data / f"{part}.txt") for part in ("train", "val")}
    options: dict[str, Any] = {
        "Global.use_gpu": False,
        "Global.max_steps": 3,
        "Global.print_batch_step": 1,
        "Global.save_model_dir": str(run_folder),
        "Global.teacher_check": False,
        "Global.embedded_set": None,
        "Global.pretrained_model": None,
        "Train.dataset.data_dir": str(data),
        "Train.dataset.label_file_list": [labels["train"]] if given["Train"]["dataset"].get("label_file_list") else [],
        "Train.dataset.ratio_list": None,
        "Train.dataset.transforms.EastRandomCropData.size": [64, 64],
        "Train.loader": {"batch_size_per_card": 2, "num_workers": 0},
        "Eval.dataset.data_dir": str(data),
        "Eval.dataset.label_file_list": [labels["val"]],
        "Eval.dataset.transforms.DetResizeForTest": {"limit_side_len": 96, "limit_type": "min"},
    }
    if given["Train"].get("unlabeled"):
        options["Train.unlabeled.images"] = [str(data / "train")]
        options["Train.unlabeled.batch_size_per_card"] = 2
    models = given["Architecture"]["Models"]
    for name, network in models.items():
        if network.get("freeze_params"):
            small = {"freeze_params": True, "pretrained": str(teacher), **tiny.STUDENT}
        else:
            small = tiny.STUDENT if network["Neck"] == models["Student"]["Neck"] else tiny.OTHER_STUDENT
        options[f"Architecture.Models.{name}"] = small
    return [f"{key}={json.dumps(value)}" for key, value in options.items()]


@pytest.mark.parametrize("name", CONFIGS)
def test_three_steps_of_a_shipped_configuration_in_small(
    name: str, tiny_set: Path, tiny_teacher: Path, tmp_path: Path, tool: Callable[..., tuple[int, str, str]]
) -> None:
    """Its losses are those of the day they were frozen. A deliberate change of a recipe or a loss freezes them anew."""
    path = REPOSITORY / "configs" / name
    code, out, err = tool("train", "-c", path, "-o", *shrunk(path, tiny_set, tmp_path / "run", tiny_teacher))
    assert code == 0, err
    assert out.splitlines()[-1].startswith("best student=Student")
    losses = [record["loss"] for record in steps(tmp_path / "run")]
    assert losses == pytest.approx(FROZEN.get(name, []), rel=1e-3), f'"{name}": {[round(loss, 5) for loss in losses]},'
