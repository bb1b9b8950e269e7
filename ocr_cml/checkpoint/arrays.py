"""Networks and optimizers as float arrays under structured names, and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import paddle
from paddle import nn

from ppocr_data.errors import WeightsError

Arrays = dict[str, np.ndarray]


def arrays_of(layer: nn.Layer) -> Arrays:
    """A network's parameters and running statistics as float arrays by their structured names."""
    return {name: value.numpy() for name, value in layer.state_dict().items()}


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
    if wrong := _unfit(targets, arrays):
        listed = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise WeightsError(f"{where}: is of another network than the configuration's: {listed}")
    _fill(targets, arrays)


def optimizer_arrays(optimizer: paddle.optimizer.Optimizer, layers: Mapping[str, nn.Layer]) -> Arrays:
    """An optimizer's state under structured names (`Student/backbone.conv.conv.weight/moment1_0`).

    Paddle names it after process-wide counters (`conv2d_17.w_0_moment1_0`), which another process need not repeat.
    """
    return {f"{name}/{slot}": value.numpy() for name, slot, value in _optimizer_state(optimizer, layers)}


def restore_optimizer(optimizer: paddle.optimizer.Optimizer, layers: Mapping[str, nn.Layer], arrays: Arrays) -> None:
    """The inverse of `optimizer_arrays`.

    A parameter may be without state: one that no term reaches has none. `open_checkpoint` has checked the files.

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
    if wrong := _unfit(made, arrays):
        raise WeightsError(
            f"the optimizer's state is of another optimizer or network: {wrong[0]!r} does not fit. Go on with the "
            "Optimizer that it was trained with, or begin a new run from its weights by Global.pretrained_model"
        )
    _fill(made, arrays)


def _optimizer_state(
    optimizer: paddle.optimizer.Optimizer, layers: Mapping[str, nn.Layer]
) -> Iterator[tuple[str, str, paddle.Tensor]]:
    """Every tensor of the state with the structured name of its parameter and its own, such as `moment1_0`.

    Paddle's own name ends in a count of the optimizers that this process has made for the parameter; here it is 0.
    """
    names = {parameter.name: name for name, parameter in _named_parameters(layers).items()}
    for key, value in optimizer.state_dict().items():
        owner = key
        while owner and owner not in names:
            owner = owner.rpartition("_")[0]
        if owner and isinstance(value, paddle.Tensor):
            yield names[owner], f"{key[len(owner) + 1 :].rpartition('_')[0]}_0", value


def _named_parameters(layers: Mapping[str, nn.Layer]) -> dict[str, paddle.Tensor]:
    return {f"{owner}/{name}": p for owner, layer in layers.items() for name, p in layer.named_parameters()}


def _unfit(targets: Mapping[str, paddle.Tensor], arrays: Arrays) -> list[str]:
    """The keys that one side lacks, and then those whose shapes differ."""
    shared = sorted(targets.keys() & arrays.keys())
    return sorted(targets.keys() ^ arrays.keys()) + [k for k in shared if tuple(targets[k].shape) != arrays[k].shape]


def _fill(targets: Mapping[str, paddle.Tensor], arrays: Arrays) -> None:
    for key, value in targets.items():
        paddle.assign(paddle.to_tensor(arrays[key], dtype=value.dtype), value)
