"""From a batch to gradients: forward and backward of the students that learn together, and whether all is finite."""

from __future__ import annotations

import contextlib

import paddle

from ocr_cml.cohort import Cohort, StepResult, joined
from ocr_cml.distributed import largest_of_ranks
from ocr_cml.environment import give_back_freed_memory
from ocr_cml.loop import divergence
from ocr_cml.loop.divergence import LossScale
from ocr_cml.models.detector import DetOutput
from ocr_cml.schema import Config
from ppocr_data.loader import Batch

__all__ = ["Gradients"]


class Gradients:
    """Fills the gradients of a cohort's students; moves none of them.

    Args:
        cohort: students, teachers and terms.
        config: the precision's type, accumulation, and whether memory is to be saved.
        loss_scale: what float16 needs; without use otherwise.
        world_size: processes that train together.
        amp: compute in mixed precision.
        tidies: give back what the heap holds in vain before each backward pass.
    """

    def __init__(
        self, cohort: Cohort, config: Config, loss_scale: LossScale, world_size: int, *, amp: bool, tidies: bool
    ) -> None:
        self.cohort, self.loss_scale, self.world_size = cohort, loss_scale, world_size
        self.amp, self._dtype = amp, config.Global.amp_dtype
        self._accumulate, self._save_memory = config.Optimizer.accumulate, config.Global.save_memory
        self._tidies = tidies

    @property
    def precision(self) -> str:
        """What a student's forward computes in: `float32`, or `Global.amp_dtype`."""
        return self._dtype if self.amp else "float32"

    def autocast(self) -> contextlib.AbstractContextManager[None]:
        """In which a student's forward runs in the precision of `Global.amp_dtype`, if it is asked for."""
        return paddle.amp.auto_cast(enable=self.amp, dtype=self._dtype)

    def add(self, batch: Batch, guides: dict[str, DetOutput], learners: tuple[str, ...], progress: float) -> StepResult:
        """Forward and backward for one batch: of all learners together, or of one after the other.

        Args:
            batch: what they learn from.
            guides: the teachers' answers to it.
            learners: the students whose gradients grow.
            progress: how much of the weights' schedules is over, 0 to 1.
        """
        if not self._save_memory or len(learners) == 1:
            return self._backward(batch, guides, learners, progress)
        # The activations of one student at a time are held; the others' answers are made in advance without them.
        with self.autocast():
            known = guides | self.cohort.ask_students(batch, learners[1:])
        results = []
        for name in learners:
            results.append(self._backward(batch, known, (name,), progress))
            known[name] = results[-1].answers[name]
        return joined(results)

    def _backward(
        self, batch: Batch, guides: dict[str, DetOutput], learners: tuple[str, ...], progress: float
    ) -> StepResult:
        with self.autocast():
            result = self.cohort(batch, progress, guides, learners)
        if self._tidies:
            # Gradients seldom fit the holes that the forward pass left in the heap, which would grow beside them.
            give_back_freed_memory()
        return self.cohort.backward(result, self.loss_scale.value / self._accumulate)

    def unscale_and_find_broken(
        self, results: list[StepResult], learners: tuple[str, ...], answers: list[dict[str, DetOutput]]
    ) -> set[str]:
        """Divide gradients, in place, by float16's scale; says whose are not finite, the same on every rank.

        Returns:
            Names of students, and `""` where the total or a teacher's answer is not finite.
        """
        owned = {name: self.cohort.parameters(name) for name in learners}
        # A NaN of a teacher's need not reach the total: compared with a threshold it silently teaches "no text".
        sums = [result.total for result in results]
        sums += [divergence.checksum(answer) for given in answers for answer in given.values()]
        broken = divergence.unscale_and_find_broken(owned, paddle.add_n(sums), self.loss_scale.value)
        if largest_of_ranks(int("" in broken), self.world_size):  # gradients are averaged already, totals are not
            broken.add("")
        return broken
