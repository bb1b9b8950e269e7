"""The students that a training made, out of `Global.pretrained_model`, and which of them its checkpoint calls best."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ocr_cml import assemble
from ocr_cml.checkpoint import Checkpoint, is_checkpoint, open_checkpoint
from ocr_cml.models.detector import Detector
from ocr_cml.run_files import STATE
from ocr_cml.schema import Config
from ppocr_data.errors import WeightsError


@dataclass(frozen=True)
class Trained:
    """Students with whole weights, in eval mode.

    Attributes:
        students: by name, without those that diverged in the run and that its checkpoint therefore does not hold.
        weights: `Global.pretrained_model`.
        checkpoint: of a run, if `weights` is a checkpoint's folder; it says which student is best.
    """

    students: dict[str, Detector]
    weights: Path
    checkpoint: Checkpoint | None

    def better_elsewhere(self) -> str:
        """Where a configuration's only student is not the best of a cohort's checkpoint: what to do. Else nothing."""
        if self.checkpoint is None or len(self.students) > 1:
            return ""
        (name,), best = self.students, self.checkpoint.progress.best
        if best is None or best.student == name or name not in self.checkpoint.stems:
            return ""
        return (
            f"{self.weights}: its best student is {best.student}, and this configuration has {name} alone; give the "
            "config.yml of the run that made it"
        )

    def best(self) -> str:
        """The student that the checkpoint calls best; the only one, where there is one.

        Raises:
            WeightsError: the weights do not say which is best, or the best one is not among these.
        """
        names = list(self.students)
        if other := self.better_elsewhere():
            raise WeightsError(f"{other}, or choose --student {names[0]}")
        if len(names) == 1:
            return names[0]
        if self.checkpoint is None:
            choices = "|".join(names)
            raise WeightsError(f"{self.weights}: does not say which student is best; choose with --student {choices}")
        best = self.checkpoint.progress.best
        if best is None or best.student not in names:
            raise WeightsError(
                f"{self.weights}: records no best student among {', '.join(names)}; choose with --student"
            )
        return best.student


_TRIES = 5
"""A training saves far less often than these take; who reads each time while it saves would read for ever."""


def load_trained(settings: Config) -> Trained:
    """Build the students and give them what a training made of them: all of one checkpoint, also where the training
    goes on and saves meanwhile.

    Raises:
        ConfigError, WeightsError: the checkpoint is damaged, or its weights are not whole, or not these students'.
    """
    weights = Path(str(settings.Global.pretrained_model))
    for _ in range(_TRIES):
        before = _state(weights)
        try:
            trained = _load(settings, weights)
        except (WeightsError, OSError):
            if _state(weights) == before:
                raise
        else:
            if _state(weights) == before:
                return trained
    raise WeightsError(f"{weights}: was replaced by its training each time it was read; copy the folder, and read that")


def _state(weights: Path) -> bytes | None:
    """What tells a checkpoint from the next one in its folder; None of what is no checkpoint."""
    try:
        return (weights / STATE).read_bytes()
    except OSError:
        return None


def _load(settings: Config, weights: Path) -> Trained:
    checkpoint = open_checkpoint(weights) if is_checkpoint(weights) else None
    dropped = checkpoint.progress.dropped if checkpoint else ()
    students = assemble.trained_students(settings, dropped)
    for network in students.values():
        network.eval()
    return Trained(students, weights, checkpoint)
