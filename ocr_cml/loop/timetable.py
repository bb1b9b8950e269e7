"""When a run logs, evaluates, saves and ends, and how fast it learns: all that follows from its lengths alone."""

from __future__ import annotations

from dataclasses import dataclass

from ocr_cml.optim import learning_rate
from ocr_cml.schema import Config

__all__ = ["Timetable"]


@dataclass(frozen=True)
class Timetable:
    """The steps of a run, counted by those that are behind it: step 0 is its start.

    Attributes:
        config: the validated configuration.
        samples: images of an epoch.
        samples_a_step: those of an optimizer step, in all processes and with accumulation.
    """

    config: Config
    samples: int
    samples_a_step: int

    @classmethod
    def of(cls, config: Config, labelled: int, unlabelled: int, taken: tuple[int, int]) -> Timetable:
        """That of a run: an epoch is counted by its labelled images, or by the others where there are none.

        Args:
            config: the validated configuration.
            labelled, unlabelled: images of either kind.
            taken: those of a step, labelled and unlabelled.
        """
        return cls(config, *((labelled, taken[0]) if labelled else (unlabelled, taken[1])))

    @property
    def steps_per_epoch(self) -> float:
        """Optimizer steps in which every sample is seen once; not a whole number, as batches straddle epochs."""
        return self.samples / self.samples_a_step

    @property
    def schedule_steps(self) -> int:
        """Steps that the learning rate and the weights' schedules span."""
        return self.config.Optimizer.lr.decay_steps or self._all_epochs

    @property
    def last_step(self) -> int:
        """The step after which the run ends: Global.max_steps or the last epoch, whichever comes first."""
        return min(self._all_epochs, self.config.Global.max_steps or self._all_epochs)

    @property
    def _all_epochs(self) -> int:
        # In whole numbers: a quotient's rounding would add a step to some.
        return -(-self.config.Global.epoch_num * self.samples // self.samples_a_step)

    def rate(self, step: int) -> float:
        """The learning rate with which the step after `step` is taken."""
        return learning_rate(self.config.Optimizer.lr, step, self.schedule_steps, self.steps_per_epoch)

    def fraction(self, step: int) -> float:
        """How much of the weights' schedules is over, 0 to 1."""
        return min(1.0, step / self.schedule_steps)

    def logs_at(self, step: int) -> bool:
        """Whether losses are written down after a step."""
        return step % self.config.Global.print_batch_step == 0 or step == self.last_step

    def evaluates_at(self, step: int) -> bool:
        """Whether students are evaluated after a step."""
        start, every = self.config.Global.eval_batch_step
        return step == self.last_step or (step > start and (step - start) % every == 0)

    def saves_at(self, step: int) -> bool:
        """Whether `latest/` is written after a step because of save_batch_step; evaluations write it anyway."""
        every = self.config.Global.save_batch_step
        return every is not None and step % every == 0

    def pauses_at(self, step: int) -> bool:
        """Whether after a step something is shown or written."""
        return self.logs_at(step) or self.evaluates_at(step) or self.saves_at(step)

    def evaluations_after(self, step: int) -> int:
        """How many evaluations a run makes after a step."""
        if step >= self.last_step:
            return 0
        start, every = self.config.Global.eval_batch_step
        regular = max(0, self.last_step - start) // every - max(0, step - start) // every
        return regular if self.last_step > start and (self.last_step - start) % every == 0 else regular + 1
