"""What a run does after its last step: look once more at what its best students do, and write the report."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from ocr_cml import assemble, checkpoint, report
from ocr_cml.evaluate import MapFunction
from ocr_cml.fastest import answering
from ocr_cml.log import LOG
from ocr_cml.loop import validation
from ocr_cml.loop.training import Training
from ocr_cml.run_files import VALIDATION
from ppocr_data.errors import UserError


def conclude(training: Training) -> None:
    """Record the validation pictures of the best weights and write `report.html` (rank 0).

    Neither is worth losing a finished training for: what fails is a warning.
    """
    if training.rank != 0:
        return
    if training.skipped:
        LOG.warning("%d bad samples were skipped; each is listed above", len(training.skipped))
    with _no_harm():
        _examine(training)
    write_report(training)


def write_report(training: Training) -> None:
    """Write `report.html` as far as the run has come (rank 0): after every evaluation, and at the end."""
    if training.rank == 0:
        with _no_harm():
            report.write_report(training.run.path)


@contextlib.contextmanager
def _no_harm() -> Iterator[None]:
    try:
        yield
    except (UserError, OSError) as error:
        LOG.warning("the report is not complete: %s; tools/report.py makes it again", error)
    except Exception:  # noqa: BLE001  (a defect of ours, told as one; but no training dies of its report)
        LOG.exception("the report is not complete, by a defect of this program; the training goes on")


def _examine(training: Training) -> None:
    best = training.progress.best
    if best is None or validation.is_recorded(best, training.run.path):
        return
    began, kept = time.perf_counter(), training.run.path / checkpoint.BEST
    # Who stops here loses pictures alone, which the same command makes again.
    LOG.info("the training is complete, its best weights are %s; pictures for the report follow", kept)
    students = _best_students(training, kept)
    teachers = {name: teacher.probability for name, (teacher, _) in training.cohort.teachers.items()}
    asked = training.evaluator
    examination = validation.Examination(asked.dataset, asked.postprocess, students, teachers, asked.batch_size)
    validation.record(examination, best, training.run.path)
    LOG.info(
        "looked at %d evaluation images with the best weights in %.1f s: %s",
        len(examination.indices),
        time.perf_counter() - began,
        training.run.path / VALIDATION,
    )


def _best_students(training: Training, folder: Path) -> dict[str, MapFunction]:
    """Every student as `best/` holds it. Raises WeightsError where that is damaged."""
    students = assemble.students_of(training.config, checkpoint.open_checkpoint(folder))
    normalization, images = training.cohort.normalization, len(training.evaluator.dataset)
    return {
        name: answering(layer, normalization, training.threads, name, images).probability
        for name, layer in students.items()
    }
