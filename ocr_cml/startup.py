"""What a run says before its first step: who learns, what was loaded, whether teacher and labels agree, how long."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import TYPE_CHECKING

import paddle

from ocr_cml import preview
from ocr_cml.agreement import RATIOS, Crop, sweep, verdict
from ocr_cml.binding import TEACHERS
from ocr_cml.environment import cpu_cores
from ocr_cml.evaluate import table
from ocr_cml.losses import TeacherLoss
from ocr_cml.losses.base import TEXT_LEVEL
from ocr_cml.run import LOG
from ppocr_data.targets import MakeShrinkMap

if TYPE_CHECKING:
    from ocr_cml.models.weights import LoadReport
    from ocr_cml.trainer import Trainer

_CROPS = 12


def look(trainer: Trainer) -> None:
    """Print the start-up table, draw the preview, score the teachers and compare them with the labels."""
    if trainer.rank == 0:
        LOG.info("%s", _machine(trainer))
        LOG.info("%s", _networks(trainer))
        LOG.info("%s", _lengths(trainer))
        for problem in trainer.dataset.problems:
            LOG.warning("left out or mended: %s", problem)
        preview.draw(trainer.dataset, trainer.run.path / "preview.jpg")
    unfinished = trainer.progress.step < trainer.last_step
    if unfinished and trainer.config.Global.teacher_check and trainer.cohort.teachers:
        _check_teachers(trainer)


def _machine(trainer: Trainer) -> str:
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "onnxruntime"))
    threads = os.environ.get("MKL_NUM_THREADS", "default")
    return (
        f"paddle {paddle.__version__}, {versions}, Python {platform.python_version()}; {trainer.device}, "
        f"{cpu_cores()} cores, {threads} threads, {trainer.world_size} process(es), "
        f"{trainer.config.Train.loader.num_workers} worker(s), AMP {'on' if trainer.amp else 'off'}"
    )


def _networks(trainer: Trainer) -> str:
    lines = []
    for name, student in trainer.cohort.students.items():
        count = sum(int(p.size) for p in student.parameters() if not p.stop_gradient)
        loaded = trainer.load_reports.get(name)
        origin = f"{loaded.share:.1%} loaded from {loaded.source}" if loaded else "from scratch"
        lines.append(f"  {name}: student, {count / 1e6:.2f} M parameters, {origin}{_left_aside(loaded)}")
    for name, (teacher, _) in trainer.cohort.teachers.items():
        rest = _left_aside(trainer.load_reports.get(name))
        lines.append(f"  {name}: teacher, frozen, {teacher.engine}, {teacher.source}{rest}")
    return "networks\n" + "\n".join(lines)


def _left_aside(loaded: LoadReport | None) -> str:
    """The other networks of a distillation checkpoint, which this one did not take."""
    others = [f"{name} ({count} arrays)" for name, count in loaded.left_aside.items()] if loaded else []
    return f"; the file also holds {', '.join(others)}" if others else ""


def _lengths(trainer: Trainer) -> str:
    config, last = trainer.config, trainer.last_step
    counts = {"labelled": trainer.labelled, "unlabelled": trainer.unlabelled}
    listed = " and ".join(f"{len(data)} {kind}" for kind, data in counts.items() if data is not None)
    text = (
        f"data: {listed} training images, {len(trainer.evaluator.dataset)} evaluation images; "
        f"{trainer.steps_per_epoch:.1f} steps an epoch, {last} steps in all"
    )
    if last < trainer.schedule_steps:
        text += (
            f"\n  the schedules span {trainer.schedule_steps} steps and the run stops at {last}, before the learning "
            f"rate has come down; set Optimizer.lr.decay_steps={last} if that is not meant"
        )
    terms = ", ".join(term.binding.label for term in trainer.cohort.terms)
    return f"{text}\nterms ({config.Loss.update}): {terms}"


def _check_teachers(trainer: Trainer) -> None:
    """Score each teacher as a student would be, then sweep shrink ratios (rank 0)."""
    scores = trainer.evaluator.score({name: t.probability for name, (t, _) in trainer.cohort.teachers.items()})
    trainer.teacher_hmean = max(score["hmean"] for score in scores.values())
    if trainer.rank != 0:
        return
    trainer.run.record({"step": trainer.progress.step, "teacher": scores})
    LOG.info("teachers on the evaluation set, with this run's post-process\n%s", table(scores))
    records = [trainer.dataset[0, index] for index in range(min(_CROPS, len(trainer.dataset)))]
    crops = [Crop(r["image"], r["polygons"], r["ignore"]) for r in records if r["has_label"]]
    configured = next(op.schedule.at(0) for op in trainer.dataset.ops if isinstance(op, MakeShrinkMap))
    ratios = sorted({*RATIOS, configured})
    if crops:
        for name, (teacher, _) in trainer.cohort.teachers.items():
            thresh, dilation = _target_of(trainer, name)
            fits = sweep(teacher, crops, thresh=thresh, dilation=dilation, ratios=ratios)
            line, contradicts = verdict(name, fits, configured, dilation)
            (LOG.warning if contradicts else LOG.info)("%s", line)


def _target_of(trainer: Trainer, teacher: str) -> tuple[float, int]:
    """Threshold and dilation by which the teacher's map becomes a target: those of the first term that makes one."""
    for bound in trainer.cohort.terms:
        term = bound.term
        if bound.binding.guide in (teacher, TEACHERS) and isinstance(term, TeacherLoss) and term.kind == "dilated":
            return term.thresh, term.dilation
    return TEXT_LEVEL, 0
