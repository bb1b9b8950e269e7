"""Ours: the losses and the whole training step, by the trainer itself."""

from __future__ import annotations

import itertools
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from ocr_cml.environment import tune_process

Round = Callable[[], dict[str, Any]]


def losses(path: str) -> Round:
    """All terms of CML, forward and backward, on given logits: `seconds`, and the total's `value`."""
    tune_process()
    import paddle

    from ocr_cml.losses.db import DBLoss
    from ocr_cml.losses.mutual import DMLLoss
    from ocr_cml.losses.targets import Targets
    from ocr_cml.losses.teacher import TeacherLoss
    from ocr_cml.models.detector import DetOutput

    given = {name: paddle.to_tensor(value) for name, value in np.load(path).items()}
    learned = [given[name] for name in ("shrink", "threshold", "shrink2", "threshold2")]
    for logit in learned:
        logit.stop_gradient = False
    supervised, mutual, teaching = DBLoss(), DMLLoss(), TeacherLoss(dilation=2)
    names = ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask")
    labelled = paddle.ones([given["teacher"].shape[0], 1, 1, 1])

    def once() -> dict[str, Any]:
        start = time.perf_counter()
        targets = Targets(**{name: given[name] for name in names}, has_label=labelled)
        guide = DetOutput.from_probability(given["teacher"])
        both = [DetOutput(*learned[:2]), DetOutput(*learned[2:])]
        values = [supervised(mine, None, targets) for mine in both]
        values += [mutual(both[0], both[1], targets), mutual(both[1], both[0], targets)]
        values += [teaching(mine, guide, targets) for mine in both]
        total = paddle.add_n(values)
        total.backward()
        seconds = time.perf_counter() - start
        for logit in learned:
            logit.clear_gradient()
        return {"seconds": seconds, "value": float(total)}

    return once


def step(
    label_file: str,
    data_dir: str,
    transforms: list[dict[str, Any]],
    batch: int,
    student: dict[str, Any],
    teacher: dict[str, Any],
    teacher_weights: str,
    students: int = 2,
    workers: int = 1,
    options: dict[str, Any] | None = None,
) -> Round:
    """One step of collaborative mutual learning as `tools/train.py` takes it; `options` are keys of Global.

    `seconds`, their parts by name, and the process's `peak` resident memory in bytes so far, loader workers not
    included.
    """
    tune_process()
    from ocr_cml.loop.run import RunFolder
    from ocr_cml.trainer import Trainer

    folder = tempfile.TemporaryDirectory()
    settings = configuration(
        *(Path(folder.name), label_file, data_dir, transforms, batch, student, teacher, teacher_weights),
        *(students, workers, options),
    )
    run = RunFolder(settings)
    trainer = Trainer(settings, run, 0, 1, "cpu")
    trainer.cohort.train()
    keep = ExitStack()
    _ALIVE.append((folder, keep))
    batches = keep.enter_context(trainer.batches())
    watch = Stopwatch()
    _watch(trainer, watch)

    def once() -> dict[str, Any]:
        watch.seconds.clear()
        start = time.perf_counter()
        result = trainer.step(watch.timed_iterator(batches))
        float(result.total)
        seconds = time.perf_counter() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        parts = {name: watch.seconds.get(name, 0.0) for name in PARTS}
        return {"seconds": seconds, "peak": peak, **parts}

    return once


_ALIVE: list[object] = []
"""What a case needs until its process ends: the run's folder, and the loader's workers."""

PARTS = ("waiting", "teacher", "forward", "losses", "backward", "optimizer")


class Stopwatch:
    """Sums the seconds spent inside some calls, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, with its time added to `name`."""

        def call(*arguments: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return work(*arguments, **named)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

        return call

    def timed_iterator(self, batches: Iterator[Any]) -> Iterator[Any]:
        """The same batches; waiting for them counts as `waiting`."""
        draw = self.timed("waiting", lambda: next(batches))
        while True:
            yield draw()


def _watch(trainer: Any, watch: Stopwatch) -> None:
    """Time the parts from outside of the students' threads: what a step waits for, however many compute at once."""
    cohort = trainer.cohort
    cohort.ask_teachers = watch.timed("teacher", cohort.ask_teachers)
    cohort.ask_students = watch.timed("forward", cohort.ask_students)
    phases = itertools.cycle(("forward", "losses", "backward"))  # of every turn, or of every student that learns alone
    each = cohort.side_by_side.each
    cohort.side_by_side.each = lambda work, names: watch.timed(next(phases), each)(work, names)
    for optimizer in trainer.learners.optimizers.values():
        optimizer.step = watch.timed("optimizer", optimizer.step)


def configuration(folder: Path, *arguments: Any) -> Any:
    """`document`, validated."""
    import yaml

    from ocr_cml import config

    path = folder / "given.yml"
    path.write_text(yaml.safe_dump(document(folder, *arguments), sort_keys=False), encoding="utf-8")
    return config.load(str(path))


def document(
    folder: Path,
    label_file: str,
    data_dir: str,
    transforms: list[dict[str, Any]],
    batch: int,
    student: dict[str, Any],
    teacher: dict[str, Any],
    teacher_weights: str,
    students: int = 2,
    workers: int = 1,
    options: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The configuration of the step, as its YAML would be read, for a run in `folder`."""
    names = ["Student", *(f"Student{number}" for number in range(2, students + 1))]
    terms: list[dict[str, Any]] = [{"DBLoss": {}}, {"TeacherLoss": {"dilation": 2}}]
    evaluating = [transforms[0], {"DetResizeForTest": {"limit_side_len": 736, "limit_type": "min"}}]
    data = {"data_dir": data_dir, "label_file_list": [label_file], "allow_outside": True}
    return {
        "Global": {
            "use_gpu": False,
            "seed": 1,
            "epoch_num": 10_000,
            "save_model_dir": str(folder / "run"),
            "teacher_check": False,
            **(options or {}),
        },
        "Architecture": {
            "Models": {
                "Teacher": {"freeze_params": True, "pretrained": teacher_weights, **teacher},
                **dict.fromkeys(names, student),
            }
        },
        "Loss": {"loss_config_list": terms + [{"DMLLoss": {}}] * (students > 1)},
        "Optimizer": {"name": "Adam", "lr": {"name": "Const", "learning_rate": 0.001}},
        "Train": {
            "dataset": {**data, "transforms": transforms},
            "loader": {"batch_size_per_card": batch, "num_workers": workers},
        },
        "Eval": {"dataset": {**data, "transforms": evaluating}},
    }
