"""How hard each loss term pulls at a student, and whether it pulls where the labels do.

The value of a term says little about its effect: the plain mean of a divergence over pixels is small because text is a
few per cent of them, and a divergence near zero has a small gradient as well. What moves a network is the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ocr_cml import assemble
from ocr_cml.cohort import BoundTerm, Cohort
from ocr_cml.losses import TERMS
from ocr_cml.models import Detector
from ocr_cml.schema import Config
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


def pulls(cohort: Cohort, supervised: Sequence[str], batches: Sequence[Batch]) -> list[Pull]:
    """Measure every other term of each student that has a supervised one. Weights stay; running statistics move.

    Args:
        cohort: the students, as trained, in any mode.
        supervised: labels of the supervised terms.
        batches: labelled crops.
    """
    cohort.train()
    found = []
    for name, student in cohort.students.items():
        own = [term for term in cohort.terms if term.binding.learner == name]
        labels = [term for term in own if term.binding.label in supervised]
        if not labels:
            continue
        references = [_gradient(cohort, labels, name, batch) for batch in batches]
        for term in own:
            if term not in labels:
                measured = [_gradient(cohort, [term], name, batch) for batch in batches]
                found.append(_compared(term.binding.label, measured, references))
        student.clear_gradients()
    return found


def _gradient(cohort: Cohort, terms: Sequence[BoundTerm], learner: str, batch: Batch) -> np.ndarray:
    """The gradient of these terms, with their final weights, on the learner's own parameters, as one vector."""
    alone = Cohort(cohort.students, cohort.teachers, terms, cohort.normalization)
    answers = alone.ask_teachers(batch)
    alone(batch, 1.0, answers, [learner]).total.backward()
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
    """`pulls` of a run's own terms on its trained students. Connectors are fresh: they are not part of a student.

    Raises:
        UserError: a teacher cannot be loaded.
    """
    teachers, _ = assemble.build_teachers(config, threads, assemble.use_device(config))
    cohort = assemble.build_cohort(config, students, teachers)
    names = {position: next(iter(entry)) for position, entry in enumerate(config.Loss.loss_config_list)}
    supervised = [t.binding.label for t in cohort.terms if TERMS[names[t.binding.term]].role == "supervised"]
    return pulls(cohort, supervised, batches)
