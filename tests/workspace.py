"""A folder in which the commands of the pages run: all that the pages name lies there, in miniature."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml
from pages import REPOSITORY

from ocr_cml.paddle_to_onnx import to_onnx
from ppocr_data import synth

Tool = Callable[..., tuple[int, str, str]]
SIDE, CROP, STEPS = 128, 64, 2
METHODS = ("alone", "st", "at", "dml2", "cml")
RUN = ("config.yml", "train.log", "metrics.jsonl", "preview.jpg", "report.html", "best/state.json", "latest/state.json")
OURS = r"python tools/|python -m (ocr_cml|tests|paddle\.distributed\.launch)\b|ocr-cml |make (reference$|--dry-run )"
"""What may be run: nothing that installs, changes the checkout, or begins this suite again."""
INFERENCE = ("inference.json", "inference.pdiparams", "inference.yml", "inference.onnx")


def make(folder: Path) -> Path:
    """Configurations under their own names, a set of photos with labels, a picture, an exported teacher."""
    (folder / "configs").mkdir(parents=True)
    (folder / "docs").mkdir()
    for name in ("tools", "Makefile"):
        (folder / name).symlink_to(REPOSITORY / name)
    for path in REPOSITORY.glob("configs/det_*.yml"):
        tiny.write(smaller(path), folder / "configs" / path.name)
    tiny.write(smaller_comparison(), folder / "configs" / "compare.yml")
    shutil.copytree(REPOSITORY / "configs" / "teacher", folder / "configs" / "teacher")
    converted = to_onnx(*(folder / "configs" / "teacher" / name for name in INFERENCE[:2]))
    (folder / "configs" / "teacher" / "inference.onnx").write_bytes(converted)  # once, not at every start
    shutil.copytree(folder / "configs" / "teacher", folder / "TEACHER_FOLDER")
    synth.generate(folder / "photos", train=8, val=3, size=(SIDE, SIDE), seed=3)
    shutil.copy(folder / "photos/val/000000.jpg", folder / "photo.jpg")
    mine = smaller(REPOSITORY / "configs" / "det_cml.yml")
    for part, labels in (("Train", "photos/train.txt"), ("Eval", "photos/val.txt")):
        mine[part]["dataset"] |= {"data_dir": "photos", "label_file_list": [labels]}
    tiny.write(mine, folder / "mine.yml")
    lines = (folder / "photos/train.txt").read_text(encoding="utf-8").splitlines()
    shutil.copytree(folder / "photos/train", folder / "my_photos")
    (folder / "my_photos/Label.txt").write_text("\n".join(line.replace("train/", "my_photos/") for line in lines))
    return folder


def smaller(path: Path) -> dict[str, Any]:
    """A shipped configuration with tiny networks and crops, a dozen small images and two steps; all else is its own."""
    made = yaml.safe_load(path.read_text(encoding="utf-8"))
    made["Global"] |= {"epoch_num": 1, "max_steps": STEPS}
    if "embedded_set" in made["Global"]:
        made["Global"]["embedded_set"] |= {"train": 12, "val": 4, "size": [SIDE, SIDE]}
    for network in made["Architecture"]["Models"].values():
        if "Backbone" in network:
            network |= tiny.STUDENT
    for part, name, change in (
        ("Train", "EastRandomCropData", {"size": [CROP, CROP]}),
        ("Eval", "DetResizeForTest", {"limit_side_len": SIDE}),
    ):
        for entry in made[part]["dataset"]["transforms"]:
            if name in entry:
                entry[name] |= change
    made["Train"]["loader"]["num_workers"] = 0
    return made


def smaller_comparison() -> dict[str, Any]:
    """The shipped comparison with one seed, and one method of each kind."""
    made = yaml.safe_load((REPOSITORY / "configs" / "compare.yml").read_text(encoding="utf-8"))
    made["seeds"] = [1]
    made["methods"] = [method for method in made["methods"] if method["name"] in METHODS]
    made["teachers"]["network"] |= tiny.STUDENT
    return made


# --- running ----------------------------------------------------------------------------------------------------------


def prepare(monkeypatch: pytest.MonkeyPatch, tool: Tool) -> None:
    """Let the tools run here, and a comparison's trainings too (as processes: tests/compare/test_runner.py)."""
    from ocr_cml import environment
    from ocr_cml.compare import runner
    from ocr_cml.why import runner as why

    for module in (environment, runner, why):
        monkeypatch.setattr(module, "tune_process", list)  # paddle is imported already

    def run_jobs(jobs: Any, at_once: int, variables: Any, begins: Any, ends: Any) -> int:
        for index, job in enumerate(jobs):
            begins(index)
            code, _, err = tool("train", "-c", job.command[-1])
            assert code == 0, err
            job.outcome.write_text(json.dumps({"exit_code": code, "wall_seconds": 1.0, "peak_bytes": 10**8}))
            ends(index, code)
        return 0

    monkeypatch.setattr(runner, "run_jobs", run_jobs)


def run(command: str, tool: Tool) -> tuple[int, str]:
    """Run a command line in the current folder, as a shell would. Returns its exit code and all that it said.

    A process is started only where the command does; Python's own run in this one, where paddle is imported already.
    """
    assert re.match(OURS, command), f"{command}: is not run by a test; say in the table what is done instead"
    words = expanded(command)
    if words[0] == "ocr-cml":
        return said(tool("__main__", *words[1:]))
    if words[0] == "python" and words[1].startswith("tools/"):
        return said(tool(Path(words[1]).stem, *words[2:]))
    if words[:2] == ["python", "-m"] and words[2] != "paddle.distributed.launch":
        return run_module(*words[2:])
    program = sys.executable if words[0] == "python" else words[0]
    variables = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([program, *words[1:]], env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def said(done: tuple[int, str, str]) -> tuple[int, str]:
    return done[0], done[1] + done[2]


def expanded(command: str) -> list[str]:
    """The words of a command; braces and stars by the shell that people have."""
    if not re.search(r"[{*]", command):
        return shlex.split(command)
    script = f"printf '%s\\n' {command}"
    return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout.splitlines()


def run_module(name: str, *arguments: str) -> tuple[int, str]:
    before, sys.argv = sys.argv, [name, *arguments]
    try:
        runpy.run_module(name, run_name="__main__")
    except SystemExit as left:
        return (left.code if isinstance(left.code, int) else int(left.code is not None)), str(left.code)
    finally:
        sys.argv = before
    return 0, ""


# --- what a command leaves behind -------------------------------------------------------------------------------------


def promised(command: str) -> list[str]:
    """The files that the pages promise of a command."""
    words = expanded(command)
    name = Path(next((word for word in words if word.startswith("tools/")), "")).stem
    if name == "train" and "--show-config" not in words:
        folder = value(words, "Global.save_model_dir=") or configured(words)["Global"]["save_model_dir"]
        return [f"{folder}/{file}" for file in RUN]
    if name == "export_model":
        folder = value(words, "Global.save_inference_dir=")
        return [f"{folder}/{file}" for file in INFERENCE] if folder else [after(words, "--to-paddleocr")]
    if name == "infer_det":
        shown = Path(after(words, "--image"))
        pictures = [shown] if shown.is_file() else shown.iterdir()
        return [f"{after(words, '--output')}/{file}" for file in ("results.txt", *(path.name for path in pictures))]
    if name == "compare":
        folder = value(words, "output=") or "output/compare"
        return [f"{folder}/compare.{ending}" for ending in ("md", "csv", "png", "svg", "log")]
    if name == "report":
        return [after(words, "--output") or f"{words[2]}/report.html"]
    if name == "why":
        files = ("why.md", "why.json", "noise.png", "doubt.png", "agreement.png")
        return [f"{after(words, '--output')}/{file}" for file in files]
    if name == "benchmark" and "--json" in words:
        return [after(words, "--json")]
    return [words[-1]] if "ocr_cml.reference" in words else []


def configured(words: list[str]) -> dict[str, Any]:
    return yaml.safe_load(Path(after(words, "-c")).read_text(encoding="utf-8"))


def value(words: list[str], key: str) -> str:
    return next((word.removeprefix(key) for word in words if word.startswith(key)), "")


def after(words: list[str], option: str) -> str:
    return words[words.index(option) + 1] if option in words else ""
