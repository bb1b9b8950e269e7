"""The loop. Read it from `Trainer.fit` downwards; it never asks which method runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ocr_cml import assemble, checkpoint, divergence, finish, loggers, signals, startup
from ocr_cml import config as configuration
from ocr_cml.agreement import student_agreements
from ocr_cml.batches import TrainBatches, open_batches
from ocr_cml.checkpoint import BEST, LATEST, Best, Progress
from ocr_cml.cohort import Cohort, StepResult, joined
from ocr_cml.distributed import broadcast_weights, largest_of_ranks
from ocr_cml.environment import process_threads
from ocr_cml.evaluate import Evaluator, MapFunction, table
from ocr_cml.fastest import fastest
from ocr_cml.gradients import Gradients
from ocr_cml.learners import Learners
from ocr_cml.models.blocks import recompute_blocks
from ocr_cml.models.detector import DetOutput
from ocr_cml.progress import Display
from ocr_cml.recovery import recover
from ocr_cml.resume import resume
from ocr_cml.run import LOG, RunFolder
from ocr_cml.runtime import LayerDetector
from ocr_cml.schema import Config
from ocr_cml.timetable import Timetable
from ppocr_data.dataset import DetDataset
from ppocr_data.errors import UserError
from ppocr_data.loader import Batch

_WORTH_CONVERTING = 30
"""Evaluation images from which on a CPU it pays to convert a student for the evaluation."""


class Trainer:
    """Trains a cohort and keeps the best student.

    Args:
        config: the validated configuration.
        run: the run's folder, already locked.
        rank, world_size: this process among those launched together.
        device: `cpu` or `gpu:N`.
    """

    def __init__(self, config: Config, run: RunFolder, rank: int, world_size: int, device: str) -> None:
        self.config, self.run = config, run
        self.rank, self.world_size, self.device = rank, world_size, device
        students, student_reports = assemble.build_students(config)
        self.recomputes = assemble.recomputes(config, device)
        for student in students.values() if self.recomputes else ():
            recompute_blocks(student.backbone)
        self.threads = process_threads(world_size)
        teachers, teacher_reports = assemble.build_teachers(config, self.threads, device)
        assemble.prepare_embedded_set(config)  # after all that may be refused
        at_once = assemble.side_by_side(config, device, world_size)
        self.cohort: Cohort = assemble.build_cohort(config, students, teachers, at_once)
        for warning in assemble.refuse_twins(self.cohort):
            LOG.warning("%s", warning)
        self.load_reports = {**student_reports, **teacher_reports}
        self.loss_scale = divergence.LossScale(
            assemble.uses_amp(config, device) and config.Global.amp_dtype == "float16"
        )
        restartable = config.Global.on_divergence == "restart"
        self.gradients = Gradients(self.cohort, config, self.loss_scale, world_size, device)
        self.learners = Learners(self.cohort, config.Optimizer, self.loss_scale, restartable, world_size, device)
        self.labelled, self.unlabelled = assemble.labelled_dataset(config), assemble.unlabelled_dataset(config)
        taken = assemble.samples_a_step(config, world_size)
        self.timetable = Timetable(config, len(self.dataset), taken[0] or taken[1])
        self.evaluator = Evaluator(
            assemble.eval_dataset(config),
            config.PostProcess,
            config.Eval.loader.batch_size_per_card,
            rank,
            world_size,
        )
        self.progress = Progress(
            teachers=assemble.teacher_record(config),
            trained_on=assemble.labels_digest(config.Train.dataset.label_file_list),
            scored_on=assemble.labels_digest(config.Eval.dataset.label_file_list),
            samples_a_step=taken,
        )
        self.teacher_hmean: float | None = None
        self.skipped: dict[str, int] = {}
        self._saved_step = 0
        self.last_checked_step = 0
        self.display = Display(
            self.timetable.last_step,
            self.timetable.evaluations_after,
            shown=self.rank == 0,
            memory=lambda: startup.memory(self.device),
        )

    # --- data ---

    @property
    def dataset(self) -> DetDataset:
        """What an epoch is counted by: the labelled images, or the others where there are none."""
        chosen = self.labelled if self.labelled is not None else self.unlabelled
        assert chosen is not None, "the configuration was checked to have images"
        return chosen

    @property
    def batch_size(self) -> int:
        """Samples of `dataset` in a batch of this process."""
        train = self.config.Train
        if self.labelled is None and train.unlabeled is not None:
            return train.unlabeled.batch_size_per_card
        return train.loader.batch_size_per_card

    # --- the run ---

    def fit(self) -> Best | None:
        """Train from where the run stands to its end; returns the best student.

        Raises:
            Interrupted: after a signal, with the state saved.
            UserError: non-finite numbers, bad data, a full disk.
        """
        resume(self)
        self._saved_step = self.progress.step
        self.last_checked_step = self.progress.step
        broadcast_weights(self.cohort.students.values(), self.world_size)
        if self.rank == 0:
            chosen, config = self.config.Global.loggers, configuration.dump(self.config)
            self.run.loggers = loggers.open_loggers(chosen, self.run.path, config, self.progress.step)
        if self.progress.step >= self.timetable.last_step and self.progress.best is None:
            self.progress.evaluation_due = True  # stopped before its first evaluation, and to be no longer than that
        startup.look(self)
        if self.progress.step < self.timetable.last_step or self.progress.evaluation_due:
            with signals.noted() as asked:
                self._loop(asked)
        finish.conclude(self)
        return self.progress.best

    def _loop(self, asked: list[int]) -> None:
        with self.batches() as batches, self.display.begin(self.progress.step):
            self.cohort.train()
            if self.progress.evaluation_due:
                self._evaluate_or_save()
                self._save(LATEST)
            self.display.pace.paused()
            while self.progress.step < self.timetable.last_step:
                result = self.step(batches)
                step = self.progress.step
                if step < self.timetable.last_step:
                    batches.prepare()
                self.display.stepped(step)
                if self.timetable.logs_at(step):
                    self._log(result, *self.display.pace.logged())
                evaluate = self.timetable.evaluates_at(step)
                if evaluate:
                    self._evaluate_or_save()
                # All ranks stop after the same step: one that went on alone would wait for the others for ever.
                together = self.world_size > 1 and not self._checks_finite_at(step)
                stop = 0 if together else largest_of_ranks(asked[0] if asked else 0, self.world_size)
                if evaluate or self.timetable.saves_at(step) or stop:
                    self._save(LATEST)
                if stop:
                    # The launcher ends all when one ends: wait for rank 0's save.
                    largest_of_ranks(stop, self.world_size)
                    raise signals.Interrupted(stop)
                self.display.pace.paused()  # what was written and evaluated is not the next step's time

    def _checks_finite_at(self, step: int) -> bool:
        """Whether a step reads from the device if its numbers are finite, before anything moves.

        On a CPU that costs nothing. A GPU works behind the host, which would have to wait for it: there only those
        steps look after which something is shown or written, unless what is wrong must be known at once, because a
        student is to be dropped or restarted for it, or float16's scale to be lowered.
        """
        at_once = self.device == "cpu" or self.config.Global.on_divergence != "stop" or self.loss_scale.used
        return at_once or self.timetable.pauses_at(step)

    def step(self, batches: Iterator[Batch]) -> StepResult:
        """One optimizer step of every student: forward, backward, average over the ranks, step, schedule."""
        rate = self.timetable.rate(self.progress.step)
        drawn = self._draw(batches)
        answers = [self.cohort.ask_teachers(batch) for batch in drawn]  # once a step, however many turns it has
        self._note_skipped(drawn)
        results: list[StepResult] = []
        for learners in list(self.cohort.turns):
            results += self._turn(learners, drawn, answers, rate)
        self.progress.step += 1
        if self._checks_finite_at(self.progress.step):
            self.last_checked_step = self.progress.step
        return joined(results, batches=self.config.Optimizer.accumulate)

    def _draw(self, batches: Iterator[Batch]) -> list[Batch]:
        """The batches of a step. Where there is none, the steps until here are saved before the run ends."""
        try:
            return [next(batches) for _ in range(self.config.Optimizer.accumulate)]
        except UserError:
            self._save_before_leaving()
            raise

    def _evaluate_or_save(self) -> None:
        """Evaluate. Where an image cannot be read, the steps until here are saved, and the evaluation comes later."""
        self.progress.evaluation_due = False
        try:
            self._evaluate()
        except UserError:
            self.progress.evaluation_due = True
            self._save_before_leaving()
            raise

    def _save_before_leaving(self) -> None:
        # Rank 0 alone could not average running statistics: the others may be about to take their step.
        if self.world_size == 1 and self.progress.step > self._saved_step:
            with contextlib.suppress(UserError):  # the message about the data is the one that helps
                self._save(LATEST)
                LOG.warning("the state at step %d is saved; mend the data and start again", self.progress.step)

    def _turn(
        self, learners: tuple[str, ...], drawn: list[Batch], answers: list[dict[str, DetOutput]], rate: float
    ) -> list[StepResult]:
        """Move some students together; where one's numbers are not finite nobody moves before it is dealt with."""
        fraction = self.timetable.fraction(self.progress.step)
        while learners := tuple(name for name in learners if name in self.cohort.students):
            results = [
                self.gradients.add(batch, guides, learners, fraction)
                for batch, guides in zip(drawn, answers, strict=True)
            ]
            self.learners.average_gradients(learners)
            checks = self._checks_finite_at(self.progress.step + 1)
            assert checks or not self.loss_scale.used, "gradients would move the students before they are unscaled"
            broken = self.gradients.unscale_and_find_broken(results, learners, answers) if checks else set()
            overflow = self.loss_scale.may_back_off and "" not in broken
            self.loss_scale.update(overflowed=bool(broken) and overflow)
            if not broken or overflow:  # too large a loss scale is no divergence: the step is lost, the scale halved
                for name in learners:
                    self.learners.move(name, rate, skip=name in broken)
                return results
            with self.gradients.autocast():
                finding = divergence.examine(self.cohort, drawn, answers, results, learners)
            self.learners.forget_gradients(learners)
            recover(self, finding, drawn)
        return []

    def _note_skipped(self, drawn: list[Batch]) -> None:
        """List each bad sample once, when it is first met; `fit` gives their number at the end."""
        for problem in (problem for batch in drawn for problem in batch.problems):
            if problem not in self.skipped:
                self.skipped[problem] = self.progress.step + 1
                LOG.warning("skipped: %s", problem)

    # --- looking ---

    def _log(self, result: StepResult, seconds: float, steps: int) -> None:
        parts = {label: float(value) for label, value in result.parts.items()}
        step, loss = self.progress.step, float(result.total)
        rate = self.timetable.rate(step - 1)
        alike = student_agreements({name: said.shrink_logit for name, said in result.answers.items()})
        took = {"seconds": seconds, "steps": steps}  # after a resume fewer steps than from log point to log point
        self.run.record({"step": step, "loss": loss, "lr": rate, **took, **parts, **alike})
        self.display.logged(loss, parts, alike, rate)

    def _evaluate(self) -> None:
        """Score every student and the ensemble; keep the best student's checkpoint."""
        self.learners.average_statistics()
        students = list(self.cohort.students)
        with contextlib.ExitStack() as stack:
            networks = {name: stack.enter_context(self.answering(name)) for name in students}
            scores = self.evaluator.score(networks, ensemble_of=students)
        self.cohort.train()
        step = self.progress.step
        self.run.record({"step": step, "eval": scores, "eval_seconds": self.display.pace.evaluated()})
        if self.rank == 0:
            LOG.info("evaluation at step %d\n%s", step, table(scores))
        name = max(self.cohort.students, key=lambda student: scores[student]["hmean"])
        hmean = scores[name]["hmean"]
        if self.progress.best is None or hmean > self.progress.best.hmean:
            self.progress.best = Best(name, hmean, step)
            self._save(BEST)
        self.display.evaluated(scores, (self.progress.best.student, self.progress.best.hmean))
        finish.write_report(self)
        if self.teacher_hmean is not None and hmean > self.teacher_hmean and not self.progress.overtaken:
            self.progress.overtaken = True
            LOG.info("%s has overtaken its teacher: hmean %.4f against %.4f", name, hmean, self.teacher_hmean)

    @property
    def worth_converting(self) -> bool:
        """Whether a student is evaluated so often that converting it to the fastest engine pays."""
        return len(self.evaluator.dataset) >= _WORTH_CONVERTING

    @contextlib.contextmanager
    def answering(self, name: str) -> Iterator[MapFunction]:
        """What a student would answer if it were exported now, in the fastest engine that pays."""
        with self.learners.answering(name) as student:
            if self.worth_converting:
                yield fastest(student, self.cohort.normalization, self.threads, name).probability
            else:
                yield LayerDetector(student, self.cohort.normalization, name).probability

    # --- state ---

    def _save(self, name: str) -> None:
        """Write `latest/` (everything a resume needs) or `best/` (the students alone)."""
        if self.last_checked_step < self.progress.step and (bad := divergence.broken_weights(self.cohort)):
            raise UserError(
                f"step {self.progress.step}: {'; '.join(bad)}, since some step after {self.last_checked_step}; nothing "
                "was saved, the last checkpoint is whole. Lower Optimizer.lr.learning_rate or set Optimizer.clip_norm"
            )
        self.learners.average_statistics()
        if self.rank != 0:
            return
        files = self.learners.state() if name == LATEST else self.learners.answers()
        if self.loss_scale.used:
            self.progress.loss_scale = self.loss_scale.value, self.loss_scale.good_steps
        self.progress.mean_updates = {student: mean.updates for student, mean in self.learners.means.items()}
        self._saved_step = self.progress.step if name == LATEST else self._saved_step
        kept = configuration.dump(self.run.as_recorded(self.config))
        checkpoint.save(self.run.path / name, files, self.progress, kept)

    def batches(self) -> contextlib.AbstractContextManager[TrainBatches]:
        """The training's batches from where the run stands, with the workers that make them."""
        mixed = self.unlabelled if self.labelled is not None else None
        start, rank, ranks = self.progress.step * self.config.Optimizer.accumulate, self.rank, self.world_size
        return open_batches(self.config, self.dataset, mixed, self.batch_size, start, rank, ranks)
