"""What a training is made of, and its state: networks, data, timetable, and how far it has come.

`Trainer` adds the loop. What comes before it, after it and in an emergency works on this: `startup`, `resume`,
`finish`, `recovery`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ocr_cml import assemble, checkpoint
from ocr_cml import config as configuration
from ocr_cml.batches import TrainBatches, open_batches
from ocr_cml.checkpoint import LATEST, Progress
from ocr_cml.cohort import Cohort
from ocr_cml.environment import process_threads
from ocr_cml.evaluate import Evaluator, MapFunction
from ocr_cml.fastest import answering
from ocr_cml.log import LOG
from ocr_cml.loop import divergence
from ocr_cml.loop.gradients import Gradients
from ocr_cml.loop.learners import Learners
from ocr_cml.loop.run import RunFolder
from ocr_cml.loop.timetable import Timetable
from ocr_cml.models.blocks import recompute_blocks
from ocr_cml.schema import Config
from ppocr_data.dataset import DetDataset
from ppocr_data.errors import UserError


class Training:
    """A cohort, its data and its state, made from a configuration.

    Args:
        config: the validated configuration.
        run: the run's folder, already locked.
        rank, world_size: this process among those launched together.
        device: `cpu` or `gpu:N`.

    Attributes:
        cohort: students, teachers and the terms between them.
        load_reports: what was loaded into each network that has a weight file.
        gradients, learners: what fills the students' gradients, and what moves the students.
        labelled, unlabelled: the training images of either kind; None where there are none.
        timetable: when it logs, evaluates, saves and ends.
        evaluator: scores maps on the evaluation set.
        progress: where it stands; what a checkpoint keeps.
        teacher_hmean: the best teacher's, None where it was not scored.
        skipped: each bad sample that was met, with the step.
        saved_step: the step of `latest/`.
        last_checked_step: the last step of which it is known that all numbers were finite.
    """

    def __init__(self, config: Config, run: RunFolder, rank: int, world_size: int, device: str) -> None:
        self.config, self.run = config, run
        self.rank, self.world_size, self.device = rank, world_size, device
        restartable = config.Global.on_divergence == "restart"
        starts = run.resume_from is None or restartable  # else the checkpoint's weights are all that counts
        students, student_reports = (
            assemble.starting_students(config) if starts else (assemble.seeded_students(config), {})
        )
        self.recomputes = assemble.recomputes(config, device)
        for student in students.values() if self.recomputes else ():
            recompute_blocks(student.backbone)
        self.threads = process_threads(world_size)
        teachers, teacher_reports = assemble.build_teachers(config, self.threads, device)
        assemble.prepare_embedded_set(config)  # after all that may be refused
        at_once = assemble.side_by_side(config, device, world_size)
        self.cohort: Cohort = assemble.build_cohort(config, students, teachers, at_once)
        for warning in assemble.refuse_twins(self.cohort, config.Global.pretrained_model):
            LOG.warning("%s", warning)
        self.load_reports = {**student_reports, **teacher_reports}
        amp, tidies = assemble.uses_amp(config, device), device == "cpu" and self.recomputes
        self.loss_scale = divergence.LossScale(amp and config.Global.amp_dtype == "float16")
        self.gradients = Gradients(self.cohort, config, self.loss_scale, world_size, amp=amp, tidies=tidies)
        self.learners = Learners(self.cohort, config.Optimizer, self.loss_scale, restartable, world_size, device)
        self.labelled, self.unlabelled = assemble.labelled_dataset(config), assemble.unlabelled_dataset(config)
        taken = assemble.samples_a_step(config, world_size)
        self.timetable = Timetable.of(config, len(self.labelled or ()), len(self.unlabelled or ()), taken)
        self.evaluator = Evaluator(
            assemble.eval_dataset(config),
            config.PostProcess,
            config.Eval.loader.batch_size_per_card,
            rank,
            world_size,
        )
        self.progress = Progress(
            teachers=assemble.teacher_record(config),
            started_from=assemble.start_record(config) if starts else {},
            trained_on=assemble.labels_digest(config.Train.dataset.label_file_list),
            scored_on=assemble.labels_digest(config.Eval.dataset.label_file_list),
            unlabelled=assemble.names_digest(s.image for s in self.unlabelled.samples) if self.unlabelled else "",
            samples_a_step=taken,
        )
        self.teacher_hmean: float | None = None
        self.skipped: dict[str, int] = {}
        self.saved_step = 0
        self.last_checked_step = 0

    @property
    def dataset(self) -> DetDataset:
        """What an epoch is counted by: the labelled images, or the others where there are none."""
        chosen = self.labelled if self.labelled is not None else self.unlabelled
        assert chosen is not None, "the configuration was checked to have images"
        return chosen

    @property
    def batch_size(self) -> int:
        """Samples of `dataset` in a batch of this process."""
        labelled, unlabelled = assemble.batch_of(self.config)
        return labelled or unlabelled

    def batches(self) -> contextlib.AbstractContextManager[TrainBatches]:
        """The training's batches from where the run stands, with the workers that make them."""
        mixed = self.unlabelled if self.labelled is not None else None
        start, rank, ranks = self.progress.step * self.config.Optimizer.accumulate, self.rank, self.world_size
        return open_batches(self.config, self.dataset, mixed, self.batch_size, start, rank, ranks)

    @contextlib.contextmanager
    def answering_student(self, name: str) -> Iterator[MapFunction]:
        """What a student would answer if it were exported now, in the fastest engine that pays."""
        with self.learners.answering(name) as student:
            images = len(self.evaluator.dataset)
            yield answering(student, self.cohort.normalization, self.threads, name, images).probability

    def save(self, name: str) -> None:
        """Write `latest/` (everything a resume needs) or `best/` (the students alone)."""
        if bad := divergence.broken_weights(self.cohort):
            step, known = self.progress.step, self.last_checked_step
            since = f"since some step after {known}" if known < step else "since its own move"
            raise UserError(
                f"step {step}: {bad.text}, {since}; nothing was saved, the last checkpoint is whole. Lower "
                "Optimizer.lr.learning_rate or set Optimizer.clip_norm"
            )
        self.learners.average_statistics()
        self.saved_step = self.progress.step if name == LATEST else self.saved_step
        if self.rank != 0:
            return
        files = self.learners.state() if name == LATEST else self.learners.answers()
        self.learners.note_in(self.progress)
        kept = configuration.dump(self.run.as_recorded(self.config))
        checkpoint.save(self.run.path / name, files, self.progress, kept)
