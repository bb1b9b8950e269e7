"""The loop. Read it from `Trainer.fit` downwards; it never asks which method runs."""

from __future__ import annotations

import contextlib
import functools
import signal
from collections.abc import Iterator

from ocr_cml import config as configuration
from ocr_cml.checkpoint import BEST, LATEST
from ocr_cml.cohort import StepResult, joined
from ocr_cml.distributed import broadcast_weights, largest_of_ranks, launcher_is_gone
from ocr_cml.evaluate import table
from ocr_cml.log import LOG
from ocr_cml.loop import divergence, finish, loggers, signals, startup
from ocr_cml.loop.agreement import student_agreements
from ocr_cml.loop.progress import Display
from ocr_cml.loop.recovery import recover
from ocr_cml.loop.resume import resume
from ocr_cml.loop.training import Training
from ocr_cml.models.blocks import statistics_now
from ocr_cml.models.detector import DetOutput
from ocr_cml.records import Best, best_of
from ppocr_data.errors import UserError
from ppocr_data.loader import Batch

_SAVED = "the state at step %d is saved; mend what the message below says and start again"


class Trainer(Training):
    """Trains a cohort and keeps the best student."""

    @functools.cached_property
    def display(self) -> Display:
        """What people see while it runs."""
        times, shown = self.timetable, self.rank == 0
        return Display(
            times.last_step, times.evaluations_after, shown=shown, memory=lambda: startup.memory(self.device)
        )

    def fit(self) -> Best | None:
        """Train from where the run stands to its end; returns the best student.

        Raises:
            Interrupted: after a signal, with the state saved.
            UserError: non-finite numbers, bad data, a full disk.
        """
        resume(self)
        self.saved_step = self.progress.step
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
                self._save_and_evaluate()
                self.save(LATEST)
                self._leave_if(self._asked_to_stop(asked))
            self.display.pace.paused()
            while self.progress.step < self.timetable.last_step:
                result = self.step(batches)
                step = self.progress.step
                if step < self.timetable.last_step:
                    batches.prepare()
                self.display.stepped(step)
                if self.timetable.logs_at(step):
                    self._log(result, *self.display.pace.logged())
                evaluate, stop = self.timetable.evaluates_at(step), self._asked_to_stop(asked)
                if evaluate or self.timetable.saves_at(step) or stop:
                    self._deal_with_broken_weights()
                    if evaluate and stop:
                        self.progress.evaluation_due = True  # who asks may not wait that long: it comes after a resume
                    elif evaluate:
                        self._save_and_evaluate()
                        stop = self._asked_to_stop(asked)
                    self.save(LATEST)
                self._leave_if(stop)
                self.display.pace.paused()  # what was written and evaluated is not the next step's time

    def _leave_if(self, stop: int) -> None:
        """End the training, saved as it is, where a signal asked for it."""
        if stop:
            # The launcher ends all when one ends: wait for rank 0's save.
            largest_of_ranks(stop, self.world_size)
            raise signals.Interrupted(stop)

    def _asked_to_stop(self, asked: list[int]) -> int:
        """The signal that asked, 0 without one; the same on all ranks: one that went on would wait for the others.

        A launcher that has ended asked as well: one of Paddle's two dies of its own SIGTERM and tells nobody.
        """
        if self.world_size > 1 and not self._checks_finite_at(self.progress.step):
            return 0  # looked for where ranks wait for each other anyway
        if self.world_size > 1 and not asked and launcher_is_gone():
            asked.append(signal.SIGTERM)
            LOG.warning("the launcher has ended: saving, then stopping")
        return largest_of_ranks(asked[0] if asked else 0, self.world_size)

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

    def _save_and_evaluate(self) -> None:
        """Evaluate, the steps until here saved before: it may take long and be killed, or meet a broken image.

        A run that ends within its evaluation begins with it when it goes on.
        """
        self.progress.evaluation_due = True
        if self.progress.step > self.saved_step:
            self.save(LATEST)
            self.display.pace.paused()  # the evaluation's time is its own
        self.progress.evaluation_due = False
        try:
            self._evaluate()
        except UserError:
            LOG.warning(_SAVED, self.progress.step)
            raise

    def _deal_with_broken_weights(self) -> None:
        """The next step would find them, but not before they were saved. With `stop` the save refuses them."""
        if self.config.Global.on_divergence != "stop" and (finding := divergence.broken_weights(self.cohort)):
            recover(self, finding)

    def _save_before_leaving(self) -> None:
        # Rank 0 alone could not average running statistics: the others may be about to take their step.
        if self.world_size == 1 and self.progress.step > self.saved_step:
            with contextlib.suppress(UserError):  # the message about the data is the one that helps
                self.save(LATEST)
                LOG.warning(_SAVED, self.progress.step)

    def _turn(
        self, learners: tuple[str, ...], drawn: list[Batch], answers: list[dict[str, DetOutput]], rate: float
    ) -> list[StepResult]:
        """Move some students together; where one's numbers are not finite nobody moves before it is dealt with."""
        fraction = self.timetable.fraction(self.progress.step)
        repeats = self.config.Global.on_divergence != "stop"
        while learners := tuple(name for name in learners if name in self.cohort.students):
            # A turn that is made again must not move them twice by one batch.
            put_back = [statistics_now(layer) for layer in self.cohort.layers_of(*learners) if repeats]
            results = [
                self.gradients.add(batch, guides, learners, fraction)
                for batch, guides in zip(drawn, answers, strict=True)
            ]
            self.learners.average_gradients(learners)
            checks = self._checks_finite_at(self.progress.step + 1)
            assert checks or not self.loss_scale.used, "gradients would move the students before they are unscaled"
            broken = self.gradients.unscale_and_find_broken(results, learners, answers) if checks else set()
            overflow = self.loss_scale.may_back_off and "" not in broken
            if not broken or overflow:  # too large a loss scale is no divergence: the step is lost, the scale halved
                self.loss_scale.update(overflowed=bool(broken))
                for name in learners:
                    self.learners.move(name, rate, skip=name in broken)
                return results
            with self.gradients.autocast():
                finding = divergence.examine(self.cohort, drawn, answers, results, learners)
            self.learners.forget_gradients(learners)
            for statistics in put_back:
                statistics()
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
        scores = self._scores()
        step = self.progress.step
        self.run.record({"step": step, "eval": scores, "eval_seconds": self.display.pace.evaluated()})
        if self.rank == 0:
            LOG.info("evaluation at step %d\n%s", step, table(scores))
        now = best_of([(step, scores)])
        assert now is not None, "there is a student"
        best = self.progress.best
        if best is None or now.hmean > best.hmean:
            self.progress.best = best = now
            self.save(BEST)
        self.display.evaluated(scores, best)
        finish.write_report(self)
        if self.teacher_hmean is not None and now.hmean > self.teacher_hmean and not self.progress.overtaken:
            self.progress.overtaken = True
            told = "%s has overtaken its teacher: hmean %.4f against %.4f"
            LOG.info(told, now.student, now.hmean, self.teacher_hmean)

    def _scores(self) -> dict[str, dict[str, float]]:
        """Of every student and the ensemble, once all answer with numbers: one that does not has diverged."""
        while True:
            students, silent = list(self.cohort.students), set[str]()
            with contextlib.ExitStack() as stack:
                answers = {name: stack.enter_context(self.answering_student(name)) for name in students}
                networks = {name: divergence.noting(name, answer, silent) for name, answer in answers.items()}
                scores = self.evaluator.score(networks, ensemble_of=students)
            self.cohort.train()
            finding = divergence.in_evaluation(self.cohort, silent, self.world_size)
            if finding is None:
                return scores
            recover(self, finding, evaluating=True)
