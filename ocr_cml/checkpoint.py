"""Checkpoints that survive a kill at any moment and load without running code.

A checkpoint is a folder: one safetensors file for each student, one for each student's optimizer, one for connectors
and exponential means where there are any, and `state.json` with the step, the best result and a SHA-256 of every file.
It is written beside its place and renamed into it, and the one before is kept, so that there is a whole one at every
moment.

What is *not* in it: the teachers (their path and hash are), and the state of a random number generator: samples are
drawn from (seed, epoch, index) and no operation of a step is random, so the step alone says where the data order
stands.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import paddle
from paddle import nn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ppocr_data.errors import UserError, WeightsError

FORMAT = 1
LATEST, BEST = "latest", "best"
Arrays = dict[str, np.ndarray]


@dataclass
class Best:
    """The best evaluation so far: which student, how good, and when."""

    student: str
    hmean: float
    step: int


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        step: optimizer steps done.
        best: the best student so far, or None before the first evaluation.
        teachers: for each teacher the path and hash of what answered, for the record.
        overtaken: the teachers' hmean was passed by a student, and it was said.
        dropped: students that diverged and were left out, with the step after which that was.
        restarts: for each student that diverged and began anew, the steps after which it did.
        evaluation_due: the evaluation of this step could not be made, and comes first when the run goes on.
        loss_scale: float16's factor of the loss, and the steps since it last changed.
        trained_on, scored_on: SHA-256 of the label files for training and for evaluation; empty in old checkpoints.
        mean_updates: how often each student's exponential mean was moved; old checkpoints leave it to the step.
        samples_a_step: labelled and unlabelled samples of a step, in all processes; None in old checkpoints. With
            others the step would say neither where the data stand nor where the schedules do.
    """

    step: int = 0
    best: Best | None = None
    teachers: dict[str, dict[str, str]] = field(default_factory=dict)
    overtaken: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, list[int]] = field(default_factory=dict)
    loss_scale: tuple[float, int] | None = None
    evaluation_due: bool = False
    trained_on: str = ""
    scored_on: str = ""
    mean_updates: dict[str, int] = field(default_factory=dict)
    samples_a_step: tuple[int, int] | None = None

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Progress:
        best = Best(**data["best"]) if data.get("best") else None
        scale, samples = data.get("loss_scale"), data.get("samples_a_step")
        return cls(
            step=data["step"],
            best=best,
            teachers=dict(data.get("teachers", {})),
            overtaken=bool(data.get("overtaken", False)),
            dropped=dict(data.get("dropped", {})),
            restarts={name: list(steps) for name, steps in dict(data.get("restarts", {})).items()},
            evaluation_due=bool(data.get("evaluation_due", False)),
            loss_scale=(float(scale[0]), int(scale[1])) if scale else None,
            trained_on=str(data.get("trained_on", "")),
            scored_on=str(data.get("scored_on", "")),
            mean_updates=dict(data.get("mean_updates", {})),
            samples_a_step=(int(samples[0]), int(samples[1])) if samples else None,
        )


def arrays_of(layer: nn.Layer) -> Arrays:
    """A network's parameters and running statistics as float arrays by their structured names."""
    return {name: value.numpy() for name, value in layer.state_dict().items()}


def optimizer_arrays(optimizer: paddle.optimizer.Optimizer, layers: Mapping[str, nn.Layer]) -> Arrays:
    """An optimizer's state under structured names (`Student/backbone.conv.conv.weight/moment1_0`).

    Paddle names it after process-wide counters (`conv2d_17.w_0_moment1_0`), which another process need not repeat.
    """
    return {f"{name}/{slot}": value.numpy() for name, slot, value in _optimizer_state(optimizer, layers)}


def restore_optimizer(optimizer: paddle.optimizer.Optimizer, layers: Mapping[str, nn.Layer], arrays: Arrays) -> None:
    """The inverse of `optimizer_arrays`.

    A parameter may be without state: one that no term reaches has none. Files are whole, their hashes were checked.

    Raises:
        WeightsError: there is no state at all, or state of a parameter that this run's networks lack, or of another
            shape or kind of optimizer.
    """
    if not arrays:
        raise WeightsError("the checkpoint holds no optimizer state, so the run cannot go on from it")
    parameters = _named_parameters(layers)
    owners = {key.rpartition("/")[0] for key in arrays}
    if foreign := sorted(owners - parameters.keys()):
        raise WeightsError(
            f"the optimizer's state is for another network: it holds {foreign[0]!r}, which this run lacks"
        )
    # Paddle creates state at a parameter's first step. `set_state_dict` would do, but from then on it refuses every
    # parameter that had none, and it finds the others by counters that another process need not repeat.
    optimizer._create_accumulators(
        paddle.static.default_main_program().global_block(), [parameters[name] for name in sorted(owners)]
    )
    made = {f"{name}/{slot}": value for name, slot, value in _optimizer_state(optimizer, layers)}
    wrong = sorted(made.keys() ^ arrays.keys())
    wrong += [key for key in made.keys() & arrays.keys() if tuple(made[key].shape) != arrays[key].shape]
    if wrong:
        raise WeightsError(f"the optimizer's state is of another optimizer or network: {wrong[0]!r} does not fit")
    for key, value in made.items():
        paddle.assign(paddle.to_tensor(arrays[key], dtype=value.dtype), value)


def _optimizer_state(
    optimizer: paddle.optimizer.Optimizer, layers: Mapping[str, nn.Layer]
) -> Iterator[tuple[str, str, paddle.Tensor]]:
    """Every tensor of the state with the structured name of its parameter and its own, such as `moment1_0`.

    Paddle's own name ends in a count of the optimizers that this process has made for the parameter; here it is 0.
    """
    state = optimizer.state_dict()
    for name, parameter in _named_parameters(layers).items():
        for key, value in state.items():
            if isinstance(value, paddle.Tensor) and key.startswith(parameter.name + "_"):
                yield name, f"{key[len(parameter.name) + 1 :].rpartition('_')[0]}_0", value


def _named_parameters(layers: Mapping[str, nn.Layer]) -> dict[str, paddle.Tensor]:
    return {f"{owner}/{name}": p for owner, layer in layers.items() for name, p in layer.named_parameters()}


def save(folder: Path, files: Mapping[str, Arrays], progress: Progress, config_yaml: str) -> None:
    """Write a checkpoint: whole or not at all, with the previous one kept as `<name>.previous`.

    Args:
        folder: for example `RUN/latest`.
        files: file stem -> arrays.
        progress: where the run stands.
        config_yaml: the resolved configuration, so that a checkpoint is usable without its run folder.

    Raises:
        UserError: the disk is full or the folder cannot be written; existing checkpoints are whole.
    """
    temporary = folder.with_name(f"{folder.name}.tmp")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        hashes = {
            f"{stem}.safetensors": _write(temporary / f"{stem}.safetensors", arrays) for stem, arrays in files.items()
        }
        _write_text(temporary / "config.yml", config_yaml)
        hashes["config.yml"] = _digest(temporary / "config.yml")
        state = {"format": FORMAT, "progress": asdict(progress), "sha256": hashes}
        _write_text(temporary / "state.json", json.dumps(state, indent=1))
        _sync_folder(temporary)
        _swap_in(temporary, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"{folder}: the checkpoint could not be written: {error}; earlier ones are whole") from None


def _write(path: Path, arrays: Arrays) -> str:
    save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return _digest(path)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Ask for the folder's entries to be on the disk before what follows: a power cut may otherwise lose a rename."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap_in(temporary: Path, folder: Path) -> None:
    """Put the new checkpoint in place. Between any two renames at least one whole checkpoint has a known name."""
    previous = folder.with_name(f"{folder.name}.previous")
    if _is_whole(folder):
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(folder, previous)
    elif folder.is_dir():
        shutil.rmtree(folder)  # damaged: the one before it stays, it may be the only whole one
    os.rename(temporary, folder)
    _sync_folder(folder.parent)


def finish_interrupted_save(folder: Path) -> None:
    """Complete a save that was killed between its two renames: what it wrote is whole and newer than the one before.

    Only the run's owner may call it: what looks abandoned could else be a save at work.
    """
    temporary = folder.with_name(f"{folder.name}.tmp")
    if not folder.exists() and temporary.is_dir() and _is_whole(temporary):
        with contextlib.suppress(OSError):  # a folder that cannot be written is told by whoever writes next
            os.rename(temporary, folder)


def _is_whole(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except WeightsError:
        return False
    return True


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose files have been checked against their hashes."""

    folder: Path
    progress: Progress
    stems: tuple[str, ...]

    def arrays(self, stem: str) -> Arrays:
        """One file's arrays; empty where the checkpoint has no such file."""
        return load_file(self.folder / f"{stem}.safetensors") if stem in self.stems else {}


def find(where: Path) -> tuple[Checkpoint, list[str]]:
    """The newest whole checkpoint of a run folder, or the given checkpoint folder itself.

    Returns:
        The checkpoint and a line for each damaged one that was passed over.

    Raises:
        WeightsError: there is no checkpoint, or none that is whole.
    """
    damaged: list[str] = []
    for folder in _candidates(where):
        try:
            return open_checkpoint(folder), damaged
        except WeightsError as error:
            damaged.append(str(error))
    if damaged:
        listed = "\n".join(f"  {line}" for line in damaged)
        raise WeightsError(
            f"no whole checkpoint to resume from:\n{listed}\n  Put a copy back, or start anew in another "
            "Global.save_model_dir; Global.pretrained_model takes a run's best/ for its initial weights"
        )
    raise WeightsError(f"{where}: no checkpoint here; expected a run folder with {LATEST}/, or a checkpoint folder")


def _candidates(where: Path) -> list[Path]:
    """The folders to try, newest first.

    A run folder holds `latest/`, or after a kill between two renames only the one before it. Any other folder is taken
    for a checkpoint, which after such a kill may itself be gone or cut short while its predecessor lies beside it.
    """
    in_run = [where / LATEST, where / f"{LATEST}.previous"]
    if any(folder.is_dir() for folder in in_run):
        return [folder for folder in in_run if folder.is_dir()]
    alone = [folder for folder in (where, where.with_name(f"{where.name}.previous")) if folder.is_dir()]
    return alone if any((folder / "state.json").is_file() for folder in alone) else []


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check a checkpoint folder file by file. Raises WeightsError naming the first file that is missing or damaged."""
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise WeightsError(f"{folder}: written in format {state['format']}; this version reads format {FORMAT}")
        for name, expected in state["sha256"].items():
            if Path(name).name != name:
                raise WeightsError(f"{folder}: state.json names {name!r}, which is no file of this folder")
            if not (folder / name).is_file():
                raise WeightsError(f"{folder}: {name} is missing")
            if _digest(folder / name) != expected:
                raise WeightsError(f"{folder}: {name} is damaged (its SHA-256 is not the one that was written)")
        stems = tuple(n.removesuffix(".safetensors") for n in state["sha256"] if n.endswith(".safetensors"))
        return Checkpoint(folder, Progress.from_json(state["progress"]), stems)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{folder}: state.json cannot be read ({error.__class__.__name__}: {error})") from None


def restore_layers(layers: Mapping[str, nn.Layer], arrays: Arrays, where: str) -> None:
    """Put a checkpoint's arrays back into layers, all of them and nothing else.

    Args:
        layers: by prefix; keys in the file are `prefix/name`, or the plain name for the prefix "".
        arrays: the file's content.
        where: names the file in errors.

    Raises:
        WeightsError: a key is missing, left over, or of another shape.
    """
    targets = {
        (f"{prefix}/{name}" if prefix else name): value
        for prefix, layer in layers.items()
        for name, value in layer.state_dict().items()
    }
    wrong = sorted(targets.keys() ^ arrays.keys())
    wrong += [key for key in targets.keys() & arrays.keys() if tuple(targets[key].shape) != arrays[key].shape]
    if wrong:
        listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise WeightsError(f"{where}: is of another network than the configuration's: {listed}")
    for key, value in targets.items():
        paddle.assign(paddle.to_tensor(arrays[key], dtype=value.dtype), value)
