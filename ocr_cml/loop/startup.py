"""What a run says before its first step: who learns, what was loaded, whether teacher and labels agree, how long."""

from __future__ import annotations

import os
import platform

import paddle

from ocr_cml import assemble, environment, words
from ocr_cml.binding import TEACHERS
from ocr_cml.environment import cpu_cores
from ocr_cml.evaluate import table
from ocr_cml.log import LOG
from ocr_cml.loop import preview, program
from ocr_cml.loop.agreement import RATIOS, Crop, sweep, verdict
from ocr_cml.loop.doubts import doubts
from ocr_cml.loop.training import Training
from ocr_cml.losses import TeacherLoss
from ocr_cml.losses.maps import TEXT_LEVEL
from ocr_cml.models.weights import LoadReport, under
from ocr_cml.run_files import PREVIEW
from ocr_cml.runtime import LayerDetector
from ppocr_data.spread import evenly

_CROPS = 12


def look(training: Training) -> None:
    """Print the start-up table, draw the preview, score the teachers and compare them with the labels."""
    if training.rank == 0:
        LOG.info("%s", overview(training))
        for doubt in doubts(training):
            LOG.warning("%s", doubt)
        for problem in training.dataset.problems:
            LOG.warning("left out or mended: %s", problem)
        preview.draw(training.dataset, training.run.path / PREVIEW)
        LOG.info("preview: %s shows training samples as the networks see them", training.run.path / PREVIEW)
    unfinished = training.progress.step < training.timetable.last_step
    made_by = program.state_on(training.device, training.gradients.precision)
    if unfinished and training.rank == 0 and training.run.last("program") != made_by:
        training.run.record({"step": training.progress.step, "program": dict(made_by)})
    if unfinished and training.config.Global.teacher_check and training.cohort.teachers:
        _check_teachers(training)


def overview(training: Training) -> str:
    """The start-up table: machine, networks with what was loaded, data, lengths, terms."""
    config, times = training.config, training.timetable
    last = times.last_step
    workers = config.Train.loader.num_workers
    threads = os.environ.get("MKL_NUM_THREADS", "default")
    amp, at_once = config.Global.amp_dtype if training.gradients.amp else "off", training.cohort.side_by_side.at_once
    held = "backbones computed again in the backward pass, " if training.recomputes else ""
    rows = {
        "versions": ", ".join(_versions()),
        "device": f"{_device(training.device)}, {cpu_cores()} cores, {threads} threads, {at_once} student(s) at once, "
        f"{held}AMP {amp}, {training.world_size} process(es), {workers} worker(s)",
        "memory": memory(training.device),
        "networks": "\n".join(_networks(training)),
        "data": "\n".join(_data(training)),
        "steps": f"{last} in all, {times.steps_per_epoch:.1f} an epoch, batches of {_batch(training)}, "
        f"{times.evaluations_after(training.progress.step)} evaluation(s) to come",
        f"terms, {config.Loss.update}": "\n".join(term.binding.label for term in training.cohort.terms),
    }
    if training.progress.step:
        rows["steps"] += f", {training.progress.step} done"
    if last < times.schedule_steps:
        rows["steps"] += (
            f"\nthe schedules span {times.schedule_steps} steps and the run stops at {last}, before the learning "
            f"rate has come down;\nset Optimizer.lr.decay_steps={last} if that is not meant"
        )
    unfinished = training.progress.step < last
    rows["estimate"] = "time and memory follow after the first steps" if unfinished else "no step is left to do"
    width = max(len(name) for name in rows) + 2
    return "\n".join(f"{name:<{width}}" + text.replace("\n", "\n" + " " * width) for name, text in rows.items())


def memory(device: str) -> str:
    """The most memory that this process has taken (loader workers not counted), and of the GPU's, of all there is."""
    taken = environment.peak_memory()
    there = environment.machine_memory()
    parts = [words.memory(taken) + (f" of {words.memory(there)}" if there else "")] if taken else []
    if device.startswith("gpu"):
        whole = paddle.device.cuda.get_device_properties().total_memory
        parts.append(f"{words.memory(paddle.device.cuda.max_memory_reserved())} of {words.memory(whole)} on the GPU")
    return f"{', '.join(parts) or 'unknown'} taken"


def _versions() -> list[str]:
    return [*(f"{name} {version}" for name, version in program.state().items()), f"Python {platform.python_version()}"]


def _device(device: str) -> str:
    return f"{device} ({paddle.device.cuda.get_device_name()})" if device.startswith("gpu") else device


def _networks(training: Training) -> list[str]:
    """A line each, in columns: name, role, size, where its weights come from."""
    rows = []
    for name, student in training.cohort.students.items():
        loaded = training.load_reports.get(name)
        origin = _origin(student, loaded) if loaded else "from scratch"
        if training.progress.step:  # whatever it began with
            origin = f"from the checkpoint of step {training.progress.step}"
        rows.append((name, "student", _parameters(student), origin))
    for name, (teacher, _) in training.cohort.teachers.items():
        size = _parameters(teacher.layer) if isinstance(teacher, LayerDetector) else "as exported"
        rest = _left_aside(training.load_reports.get(name))
        rows.append((name, "teacher, frozen", size, f"{teacher.source}, runs in {teacher.engine}{rest}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return ["  ".join((*(cell.ljust(w) for cell, w in zip(row, widths, strict=False)), row[3])) for row in rows]


def _origin(student: paddle.nn.Layer, loaded: LoadReport) -> str:
    """How much of a student was loaded, whatever was allowed to be missing, and which of its parts were not."""
    sizes = {key: int(value.size) for key, value in student.state_dict().items()}
    kept = {*loaded.missing, *loaded.misshapen}
    share = 1 - sum(sizes[key] for key in kept) / sum(sizes.values())
    parts = dict.fromkeys(key.partition(".")[0] for key in sizes)
    seeded = [part for part in parts if kept.issuperset(key for key in sizes if under(key, [part]))]
    seeded += dict.fromkeys(".".join(key.split(".")[:2]) for key in sorted(kept) if not under(key, seeded))
    rest = f"; from the seed: {', '.join(seeded)}" if seeded else ""
    if loaded.unexpected:
        count, first = len(loaded.unexpected), loaded.unexpected[0]
        rest += f"; of the file {count} {'have' if count > 1 else 'has'} no place here: {first}{', ...' * (count > 1)}"
    return f"{share:.1%} loaded from {loaded.source}{rest}{_left_aside(loaded)}"


def _parameters(layer: paddle.nn.Layer) -> str:
    """Weights, without running statistics."""
    return f"{sum(int(p.size) for p in layer.parameters() if not p.stop_gradient) / 1e6:.2f} M parameters"


def _left_aside(loaded: LoadReport | None) -> str:
    """The other networks of a distillation checkpoint, which this one did not take."""
    others = [f"{name} ({count} arrays)" for name, count in loaded.left_aside.items()] if loaded else []
    return f"; the file also holds {', '.join(others)}" if others else ""


def _data(training: Training) -> list[str]:
    train, evaluated = training.config.Train, training.config.Eval.dataset
    lines = []
    if training.labelled is not None:
        lines.append(f"{len(training.labelled)} labelled training images of {', '.join(train.dataset.label_file_list)}")
    if training.unlabelled is not None and train.unlabeled is not None:
        lines.append(f"{len(training.unlabelled)} unlabelled training images of {', '.join(train.unlabeled.images)}")
    return [*lines, f"{len(training.evaluator.dataset)} evaluation images of {', '.join(evaluated.label_file_list)}"]


def _batch(training: Training) -> str:
    """Images of a batch of this process; where labels are given to some alone, of either kind."""
    labelled, unlabelled = assemble.batch_of(training.config)
    kinds = [str(labelled)] * bool(labelled) + [f"{unlabelled} without labels"] * bool(unlabelled)
    return " and ".join(kinds)


def _check_teachers(training: Training) -> None:
    """Score each teacher as a student would be, then sweep shrink ratios (rank 0)."""
    scores = training.evaluator.score({name: t.probability for name, (t, _) in training.cohort.teachers.items()})
    training.teacher_hmean = max(score["hmean"] for score in scores.values())
    if training.rank != 0:
        return
    if training.run.last("teacher") != scores:
        training.run.record({"step": training.progress.step, "teacher": scores})
    LOG.info("teachers on the evaluation set, with this run's post-process\n%s", table(scores))
    if (labelled := training.labelled) is None:
        return
    records = [labelled[0, index] for index in evenly(len(labelled), _CROPS)]
    crops = [Crop(record["image"], record["polygons"], record["ignore"]) for record in records]
    shrink = assemble.shrink_rule(training.config)
    times = training.timetable
    first, last = training.progress.step, times.last_step - 1  # steps to come, counted from 0
    now, end = (shrink.schedule.at(int(step / times.steps_per_epoch)) for step in (first, last))
    ratios = sorted({*RATIOS, now, end})
    for name, (teacher, _) in training.cohort.teachers.items():
        thresh, dilation = _target_of(training, name)
        fits = sweep(
            *(teacher, crops), thresh=thresh, dilation=dilation, ratios=ratios, min_text_size=shrink.min_text_size
        )
        line, contradicts = verdict(name, fits, now, dilation, until=end)
        (LOG.warning if contradicts else LOG.info)("%s", line)


def _target_of(training: Training, teacher: str) -> tuple[float, int]:
    """Threshold and dilation by which the teacher's map becomes a target: those of the first term that makes one."""
    for bound in training.cohort.terms:
        term = bound.term
        if bound.binding.guide in (teacher, TEACHERS) and isinstance(term, TeacherLoss) and term.kind == "dilated":
            return term.thresh, term.dilation
    return TEXT_LEVEL, 0
