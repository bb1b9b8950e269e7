"""The students in training: what each carries beside its weights, and how that is moved, saved and restored."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import paddle

from ocr_cml import checkpoint, optim
from ocr_cml.checkpoint import Arrays, Checkpoint, Progress
from ocr_cml.cohort import Cohort
from ocr_cml.distributed import average_gradients, average_statistics
from ocr_cml.loop.divergence import LossScale
from ocr_cml.models.detector import Detector
from ocr_cml.optim import ExponentialMean
from ocr_cml.schema import OptimizerSection
from ppocr_data.errors import WeightsError


class Learners:
    """Optimizers, exponential means and the loss scale of a cohort's students.

    Args:
        cohort: the students with the connectors of their terms.
        section: how a gradient becomes a step.
        loss_scale: what float16 needs; without use otherwise.
        restartable: keep the initial weights, so that a student can begin anew.
        world_size: processes that train together.
        device: `cpu` or `gpu:N`; on a GPU all tensors of a student move in one call, where Paddle can do that.

    Attributes:
        optimizers, means: by student; there are no means where no `ema_decay` is set.
    """

    def __init__(
        self,
        cohort: Cohort,
        section: OptimizerSection,
        loss_scale: LossScale,
        restartable: bool,
        world_size: int,
        device: str = "cpu",
    ) -> None:
        self.cohort, self.section, self.loss_scale, self.world_size = cohort, section, loss_scale, world_size
        self._fused = optim.fuses(section, device)
        self._paired: dict[str, list[str]] = {}
        students, decay = cohort.students, section.ema_decay
        self.optimizers = {name: self._new_optimizer(name) for name in students}
        self.means = {name: ExponentialMean(student, decay) for name, student in students.items()} if decay else {}
        self._initial = {name: self._state_of(name) for name in students} if restartable else {}

    # --- steps ---

    def average_gradients(self, names: tuple[str, ...]) -> None:
        """Every process gets the mean of all processes' gradients."""
        for name in names:
            average_gradients(self.cohort.parameters(name), self.world_size)

    def move(self, name: str, rate: float, *, skip: bool = False) -> None:
        """One optimizer step of a student and its connectors, and of its mean; `skip`: none, its gradient goes."""
        if self._fused and not skip:
            self._pair_anew(name)
        optimizer = self.optimizers[name]
        optimizer.set_lr(rate)
        if not skip:
            optimizer.step()
        optimizer.clear_grad()
        if self.means and not skip:
            self.means[name].update(self.cohort.students[name])

    def _new_optimizer(self, name: str) -> paddle.optimizer.Optimizer:
        self._paired.pop(name, None)
        return optim.build_optimizer(self.section, self.cohort.parameters(name), fused=self._fused)

    def _pair_anew(self, name: str) -> None:
        """Give a student a new optimizer with the old one's state if other tensors have a gradient than had at first.

        A fused step would pair the old list of tensors with the new list of gradients. Rare: a term begins to count.
        """
        moved = [parameter.name for parameter in self.cohort.parameters(name) if parameter.grad is not None]
        if self._paired.setdefault(name, moved) != moved:
            layers = {name: self.cohort.students[name], **self.cohort.connectors(name)}
            state = checkpoint.optimizer_arrays(self.optimizers[name], layers)
            self.optimizers[name] = self._new_optimizer(name)
            if state:
                checkpoint.restore_optimizer(self.optimizers[name], layers, state)
            self._paired[name] = moved

    def forget_gradients(self, names: tuple[str, ...]) -> None:
        """Throw away what backward left."""
        for name in names:
            self.optimizers[name].clear_grad()

    def drop(self, *names: str) -> None:
        """Go on without some students. Raises ValueError where that cannot be."""
        self.cohort.drop(*names)
        for name in names:
            self.optimizers.pop(name)
            self.means.pop(name, None)

    def restart(self, name: str) -> None:
        """Give a student and its connectors the weights that it began with, and an optimizer without a past."""
        for value, initial in zip(self._tensors_of(name), self._initial[name], strict=True):
            paddle.assign(paddle.to_tensor(initial), value)
        self.optimizers[name] = self._new_optimizer(name)
        if name in self.means:
            self.means[name] = ExponentialMean(self.cohort.students[name], self.means[name].decay)

    def average_statistics(self) -> None:
        """Every process gets the mean of all processes' running statistics."""
        average_statistics(self.cohort.students.values(), self.world_size)
        for name, mean in self.means.items():
            mean.copy_statistics(self.cohort.students[name])

    @contextlib.contextmanager
    def answering(self, name: str) -> Iterator[Detector]:
        """A student as it would be exported now: in eval mode, with its exponential mean where one is kept."""
        student = self.cohort.students[name]
        kept = {key: value.clone() for key, value in student.state_dict().items()} if self.means else None
        if kept is not None:
            student.set_state_dict(self.means[name].values)
        student.eval()
        try:
            yield student
        finally:
            if kept is not None:
                student.set_state_dict(kept)

    # --- checkpoints ---

    def answers(self) -> dict[str, Arrays]:
        """The files of `best/`: each student as it would be exported."""
        return {
            name: _arrays(self.means[name].values) if name in self.means else checkpoint.arrays_of(student)
            for name, student in self.cohort.students.items()
        }

    def state(self) -> dict[str, Arrays]:
        """The files of `latest/`: everything that a resumed run needs to go on bit for bit."""
        files: dict[str, Arrays] = {}
        for name, student in self.cohort.students.items():
            connectors = self.cohort.connectors(name)
            files[name] = checkpoint.arrays_of(student)
            files[f"{name}.optimizer"] = checkpoint.optimizer_arrays(
                self.optimizers[name], {name: student, **connectors}
            )
            if connectors:
                files[f"{name}.connectors"] = {
                    f"{label}/{key}": value
                    for label, layer in connectors.items()
                    for key, value in checkpoint.arrays_of(layer).items()
                }
            if name in self.means:
                files[f"{name}.mean"] = _arrays(self.means[name].values)
        return files

    def note_in(self, progress: Progress) -> None:
        """What `restore` needs beside the arrays of `state`."""
        if self.loss_scale.used:
            progress.loss_scale = self.loss_scale.value, self.loss_scale.good_turns
        progress.mean_updates = {name: mean.updates for name, mean in self.means.items()}

    def restore(self, found: Checkpoint) -> None:
        """The inverse of `state` and `note_in`, for the students that the checkpoint's run still had.

        Raises:
            WeightsError: the checkpoint is one of another cohort, or holds students alone, as `best/` does.
        """
        held = {stem.partition(".")[0] for stem in found.stems}
        if strangers := sorted(held - self.cohort.students.keys()):
            raise WeightsError(
                f"{found.folder}: holds {', '.join(strangers)}, which Architecture.Models lacks; go on with that run's "
                f"students, or start a new run from its weights{_each_by_itself(found, strangers[0])}"
            )
        if dropped := [name for name in found.progress.dropped if name in self.cohort.students]:
            try:
                self.drop(*dropped)
            except ValueError as error:
                raise WeightsError(
                    f"{found.folder}: that run has dropped {', '.join(dropped)}, and {error}; go on with its Loss, or "
                    "start a new run from its weights by Global.pretrained_model"
                ) from None
        for name, student in self.cohort.students.items():
            self._restore(found, name, student)
        if self.loss_scale.used and found.progress.loss_scale:
            self.loss_scale.value, self.loss_scale.good_turns = found.progress.loss_scale

    def _restore(self, found: Checkpoint, name: str, student: Detector) -> None:
        connectors = self.cohort.connectors(name)
        if not any(stem.endswith(".optimizer") for stem in found.stems):
            raise WeightsError(
                f"{found.folder}: holds students without their optimizers' state, so the run cannot go on from it; "
                "resume from latest/"
            )
        needed = {name: f"it lacks {name}", f"{name}.optimizer": f"it lacks {name}.optimizer"}
        if name in self.means:
            needed[f"{name}.mean"] = f"it was trained without Optimizer.ema_decay, and keeps no mean of {name}"
        for stem, lacking in [(stem, text) for stem, text in needed.items() if stem not in found.stems]:
            how = _each_by_itself(found, *self.cohort.students.keys() - {name}) if stem == name else _ALL_AT_ONCE
            raise WeightsError(
                f"{found.folder}: the run cannot go on from it: {lacking}; go on as it was trained, or start a new run "
                f"from its weights{how}"
            )
        checkpoint.restore_layers({"": student}, found.arrays(name), f"{found.folder}: {name}")
        try:
            checkpoint.restore_layers(
                connectors, found.arrays(f"{name}.connectors"), f"{found.folder}: {name}.connectors"
            )
        except WeightsError as error:
            raise WeightsError(
                f"{error}; the loss terms that have connectors of their own (OFD, AFD, one of yours), or the teacher "
                "whose features they read, are not those of that run: go on with them as they were, or start a new run "
                "from its weights by Global.pretrained_model"
            ) from None
        state = found.arrays(f"{name}.optimizer")
        # Nobody has moved yet whose steps overflowed from the first on, nor who began anew just before the save.
        unmoved = found.progress.loss_scale or found.progress.step in found.progress.restarts.get(name, [])
        if state or not unmoved:
            checkpoint.restore_optimizer(self.optimizers[name], {name: student, **connectors}, state)
        if name in self.means:
            mean = self.means[name]
            since_restart = found.progress.step - max(found.progress.restarts.get(name, [0]))
            mean.updates = found.progress.mean_updates.get(name, since_restart)
            for key, value in found.arrays(f"{name}.mean").items():
                paddle.assign(paddle.to_tensor(value), mean.values[key])

    def _tensors_of(self, name: str) -> list[paddle.Tensor]:
        return [value for layer in self.cohort.layers_of(name) for value in layer.state_dict().values()]

    def _state_of(self, name: str) -> list[np.ndarray]:
        return [value.numpy().copy() for value in self._tensors_of(name)]


_ALL_AT_ONCE = " by Global.pretrained_model"


def _each_by_itself(found: Checkpoint, *names: str) -> str:
    """How students that are not those of the checkpoint begin with its weights."""
    held = next((name for name in sorted(names) if name in found.stems), "<Name>")
    return f", each by itself, as by Architecture.Models.<Name>.pretrained={found.folder / held}.safetensors"


def _arrays(values: dict[str, paddle.Tensor]) -> Arrays:
    return {key: value.numpy() for key, value in values.items()}
