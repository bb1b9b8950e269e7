"""How hard each loss term pulls at a student, and whether it pulls where the labels do.

The value of a term says little about its effect: the plain mean of a divergence over pixels is small because text is a
few per cent of them, and a divergence near zero has a small gradient as well. What moves a network is the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ocr_cml import assemble
from ocr_cml.checkpoint import Checkpoint, Progress, open_checkpoint, restore_layers
from ocr_cml.cohort import BoundTerm, Cohort
from ocr_cml.loop.timetable import Timetable
from ocr_cml.models import Detector, build_detector
from ocr_cml.schema import Config, WeightSchedule
from ocr_cml.why.runs import FinishedRun
from ppocr_data.loader import Batch


@dataclass(frozen=True)
class Pull:
    """One term's gradient on one student's weights beside that of its labels, the mean over batches.

    Attributes:
        label: the term, as in the log: `mutual/Student<-Student2`.
        strength: its gradient's length, weight included, over that of the supervised terms.
        direction: the cosine between the two, in [-1, 1]: above 0 it pulls where the labels do.
    """

    label: str
    strength: float
    direction: float


def pulls(cohort: Cohort, supervised: Sequence[str], batches: Sequence[Batch], progress: float) -> list[Pull]:
    """Measure every other term of each student that has a supervised one. Weights stay; running statistics move.

    Args:
        cohort: the students, as trained, in any mode.
        supervised: labels of the supervised terms.
        batches: labelled crops.
        progress: how much of the terms' weight schedules is over, in [0, 1].
    """
    cohort.train()
    found = []
    for name, student in cohort.students.items():
        own = [term for term in cohort.terms if term.binding.learner == name]
        labels = [term for term in own if term.binding.label in supervised]
        if not labels:
            continue
        references = [_gradient(cohort, labels, name, batch, progress) for batch in batches]
        for term in own:
            if term not in labels:
                measured = [_gradient(cohort, [term], name, batch, progress) for batch in batches]
                found.append(_compared(term.binding.label, measured, references))
        student.clear_gradients()
    return found


def _gradient(cohort: Cohort, terms: Sequence[BoundTerm], learner: str, batch: Batch, progress: float) -> np.ndarray:
    """The gradient of these terms, with their weights at `progress`, on the learner's own parameters, as one vector."""
    alone = Cohort(cohort.students, cohort.teachers, terms, cohort.normalization)
    answers = alone.ask_teachers(batch)
    alone(batch, progress, answers, [learner]).total.backward()
    parts = []
    for parameter in cohort.students[learner].parameters():
        if not parameter.stop_gradient:
            grad = parameter.grad
            parts.append(np.zeros(int(parameter.size)) if grad is None else grad.numpy().ravel().astype(np.float64))
    for student in cohort.students.values():
        student.clear_gradients()
    return np.concatenate(parts)


def _compared(label: str, measured: Sequence[np.ndarray], references: Sequence[np.ndarray]) -> Pull:
    strengths, directions = [], []
    for own, labels in zip(measured, references, strict=True):
        length, unit = float(np.linalg.norm(own)), float(np.linalg.norm(labels))
        strengths.append(length / unit if unit else 0.0)
        directions.append(float(own @ labels) / (length * unit) if length and unit else 0.0)
    return Pull(label, float(np.mean(strengths)), float(np.mean(directions)))


def pulls_of(config: Config, students: dict[str, Detector], batches: Sequence[Batch], threads: int) -> list[Pull]:
    """`pulls` of any terms on trained students, whether or not these learned from them.

    Weight schedules are at their end, and connectors are fresh: what a run trained is in `pulls_at`.

    Raises:
        UserError: a teacher cannot be loaded.
    """
    cohort = _cohort(config, students, threads)
    return pulls(cohort, _supervised(cohort), batches, 1.0)


def pulls_at(
    run: FinishedRun, weights: str, students: dict[str, Detector], batches: Sequence[Batch], threads: int
) -> tuple[list[Pull], list[str]]:
    """`pulls` of a run's own terms where a checkpoint stands: with the weights and the connectors of that step.

    Args:
        run: the run.
        weights: `latest` or `best`.
        students: those of that checkpoint.
        batches: labelled crops.
        threads: for teachers that answer in ONNX Runtime.

    Returns:
        The pulls, and the labels of terms that were left out: `best/` keeps no connectors, and fresh ones would pull
        elsewhere than the trained ones did.

    Raises:
        UserError: a teacher, the training images or the connectors cannot be loaded.
    """
    found = open_checkpoint(run.folder / weights)
    cohort = _cohort(run.config, students, threads)
    left_out = _restore_connectors(cohort, found)
    cohort.terms = [term for term in cohort.terms if term.binding.label not in left_out]
    progress = _schedules_at(run.config, cohort.terms, found.progress)
    return pulls(cohort, _supervised(cohort), batches, progress), left_out


def _cohort(config: Config, students: dict[str, Detector], threads: int) -> Cohort:
    """All of a configuration's terms, but for those of and with students that are not there: they had been dropped."""
    teachers, _ = assemble.build_teachers(config, threads, assemble.use_device(config))
    dropped = {name: build_detector(n.spec) for name, n in config.students.items() if name not in students}
    cohort = assemble.build_cohort(config, {**students, **dropped}, teachers)
    if dropped:
        cohort.drop(*dropped)  # at once: without one of them alone nobody might reach another
    return cohort


def _supervised(cohort: Cohort) -> list[str]:
    """The names of the terms that are between a student and the labels."""
    return [term.binding.label for term in cohort.terms if term.binding.guide is None]


def _restore_connectors(cohort: Cohort, found: Checkpoint) -> list[str]:
    """Give the terms the connectors that a checkpoint holds; returns the labels of those that it holds none for."""
    missing = []
    for name in cohort.students:
        connectors, stem = cohort.connectors(name), f"{name}.connectors"
        if stem in found.stems:
            restore_layers(connectors, found.arrays(stem), f"{found.folder}: {stem}")
        else:
            missing += list(connectors)
    return missing


def _schedules_at(config: Config, terms: Sequence[BoundTerm], progress: Progress) -> float:
    """How much of the weights' schedules was over at a checkpoint, in [0, 1]; without schedules nothing is read."""
    if not any(isinstance(term.weight, WeightSchedule) for term in terms):
        return 1.0
    labelled, unlabelled = assemble.labelled_dataset(config), assemble.unlabelled_dataset(config)
    taken = progress.samples_a_step or assemble.samples_a_step(config, 1)
    return Timetable.of(config, len(labelled or ()), len(unlabelled or ()), taken).fraction(progress.step)
