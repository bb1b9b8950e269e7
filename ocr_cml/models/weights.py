"""All loading of weights: from files, without running code, and into networks, without silent gaps.

A network that learns from half-loaded weights looks like one that learns badly, and a teacher without weights teaches
noise; both happened to users of PaddleOCR. So what does not fit is an error that lists the keys.
"""

from __future__ import annotations

import math
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from paddle import nn
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ocr_cml.checkpoint_files import BEST, is_checkpoint
from ocr_cml.models import pdparams
from ocr_cml.models.pdparams import Weights, read_pdparams
from ppocr_data.atomic import replacing
from ppocr_data.errors import WeightsError

PARTS = ("backbone", "neck", "head")
WRAPPERS = ("module", "_layers", "model")
MOST_BYTES = 2**31
"""The largest that a compressed weight file may become: a few kilobytes could otherwise fill the memory."""
UNUSED_WHEN_FROZEN = ("head.thresh",)
"""What a frozen network never computes: the threshold map exists in training only, so exports drop it."""


# --- files -----------------------------------------------------------------------------------------------------------


def _read_safetensors(file: BinaryIO) -> Weights:
    return load_file(file.name)


def _read_npz(file: BinaryIO) -> Weights:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise WeightsError("it holds one array, not a table of weights by name")
    size = sum(entry.file_size for entry in archive.zip.infolist())
    if size > MOST_BYTES:
        raise WeightsError(f"unpacked it has {size:,} bytes; no detector's weights have more than {MOST_BYTES:,}")
    return {key: archive[key] for key in archive.files}


READERS: dict[str, Callable[[BinaryIO], Weights]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pdparams": read_pdparams,
}
_UNREADABLE = (
    *(pickle.UnpicklingError, SafetensorError, zipfile.BadZipFile, struct.error, zlib.error, EOFError, MemoryError),
    *(AttributeError, LookupError, OSError, OverflowError, TypeError, ValueError),
    RuntimeError,  # and NotImplementedError: an archive of a newer zip, encrypted, or compressed in another way
)


def find_weights(path: str | Path, name: str | None = None) -> Path:
    """The weight file that a path means.

    Args:
        path: a file; a file without its extension (PaddleOCR's habit: output/best_accuracy); or a folder with one
            weight file, or one for each student (a run's best/; of its latest/ the exponential mean where one is
            kept, which is what was evaluated).
        name: the network to load, which chooses among a folder's files.

    Raises:
        WeightsError: there is no such file, or more than one, or its kind is unknown.
    """
    path = Path(path)
    kinds = ", ".join(READERS)
    if path.is_dir():
        if is_checkpoint(path / BEST):
            raise WeightsError(f"{path}: is a run's folder; its best weights are {path / BEST}")
        # A checkpoint folder also holds <student>.optimizer.safetensors and the like: no weights.
        files = sorted(f for f in path.iterdir() if f.suffix in READERS and f.is_file() and "." not in f.stem)
        files = [f for f in files if f.stem == name] or files
        if len(files) == 1:
            mean = files[0].with_name(f"{files[0].stem}.mean.safetensors")
            return mean if mean.is_file() else files[0]
        found = ", ".join(f.name for f in files) or "none"
        raise WeightsError(f"{path}: expected one weight file ({kinds}) for {name or 'the network'}, found: {found}")
    if path.is_file():
        if path.suffix not in READERS:
            raise WeightsError(f"{path}: unknown kind of weight file; known are {kinds}")
        return path
    files = [f for f in (path.with_name(path.name + kind) for kind in READERS) if f.is_file()]
    if len(files) > 1:
        raise WeightsError(f"{path}: ambiguous, name one of {', '.join(f.name for f in files)}")
    if not files:
        raise WeightsError(f"{path}: no such weight file, nor with one of {kinds} added")
    return files[0]


def read_weights(path: str | Path, name: str | None = None) -> Weights:
    """The arrays in a weight file by their names, as stored. Never runs code from the file.

    Args:
        path: .safetensors, .npz or .pdparams, or what `find_weights` resolves to one.
        name: the network to load, where `path` is a folder with several students.

    Raises:
        WeightsError: no such file, a damaged one, or a pickle that names anything but arrays.
    """
    file = find_weights(path, name)
    try:
        with file.open("rb") as stream:
            weights = READERS[file.suffix](stream)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise WeightsError(f"{file}: not a readable {file.suffix} file ({reason})") from None
    if not weights:
        raise WeightsError(f"{file}: holds no weights")
    return weights


def is_ours(file: Path) -> bool:
    """Whether a `.pdparams` is one of those that `write_pdparams` writes; one that cannot be read is not."""
    try:
        with file.open("rb") as stream:
            return pdparams.is_ours(stream)
    except (WeightsError, *_UNREADABLE):
        return False


def save_weights(detector_state: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Writes arrays by name as safetensors: the file is whole or, if this fails, what it was before.

    Raises:
        WeightsError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=True) as fresh:
            save_file({key: np.ascontiguousarray(value) for key, value in detector_state.items()}, fresh)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: the weights could not be written ({error}); no earlier file was touched") from None


# --- from a file's keys to a network's -------------------------------------------------------------------------------


def _split_key(key: str) -> tuple[str | None, str]:
    """("Student", "backbone.conv.weight") of a detector's key; (None, key without wrappers) of any other."""
    segments = key.split(".")
    for index, segment in enumerate(segments):
        if segment in PARTS:
            return ".".join(s for s in segments[:index] if s not in WRAPPERS), ".".join(segments[index:])
    while len(segments) > 1 and segments[0] in WRAPPERS:
        segments.pop(0)
    return None, ".".join(segments)


def holds_by_name(weights: Mapping[str, np.ndarray], name: str) -> bool:
    """Whether a distillation checkpoint has a network of that name among its own."""
    return any(_split_key(key)[0] == name for key in weights)


def select(weights: Mapping[str, np.ndarray], name: str) -> tuple[Weights, dict[str, int]]:
    """The part of a checkpoint that belongs to one network, under that network's own keys.

    A distillation checkpoint holds several networks (`Student.backbone...`, `Teacher.backbone...`): the one called
    `name` is taken, or else the only one there is. Prefixes that wrappers add (`module.`, `_layers.`, `model.`) go. A
    file with no `backbone`, `neck` or `head` in its keys (a classifier's) is returned as one network.

    Returns:
        The weights, and how many arrays were left aside, by the network they belong to.

    Raises:
        WeightsError: several networks, and none is called `name`.
    """
    groups: dict[str | None, Weights] = {}
    for key, value in weights.items():
        owner, inner = _split_key(key)
        groups.setdefault(owner, {})[inner] = value
    owners = [owner for owner in groups if owner is not None]
    if not owners:
        return groups.get(None, {}), {}
    chosen = name if name in owners else "" if "" in owners else owners[0]
    if chosen not in (name, "") and len(owners) > 1:
        raise WeightsError(f"the file holds the networks {', '.join(sorted(owners))}; none is called {name!r}")
    rest = {owner or "(other keys)": len(group) for owner, group in groups.items() if owner != chosen}
    return groups[chosen], rest


# --- into networks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Attributes:
        share: loaded elements over all elements that were due, in [0, 1]; those that may be missing are not due.
        source: where the weights came from.
        missing: the network's keys that kept their initial values because the weights lack them.
        unexpected: keys of the weights that the network has not.
        misshapen: keys whose shapes differ and that were allowed to be missing, with both shapes.
        left_aside: what else the file holds, as `select` says: other networks and how many arrays each has.
    """

    share: float
    source: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    left_aside: Mapping[str, int] = field(default_factory=dict)


def load_into(
    detector: nn.Layer,
    weights: Mapping[str, np.ndarray],
    *,
    frozen: bool,
    min_share: float = 1.0,
    allow_missing: Sequence[str] = ("head.thresh",),
    source: str = "the weights",
) -> LoadReport:
    """Puts weights into a network, strictly; on an error the network is unchanged.

    Args:
        detector: the network.
        weights: by the network's own keys, as `select` gives them; a classifier's keys go to the backbone.
        frozen: the network will not learn, so it must be complete, but for `head.thresh`, which it never computes.
        min_share: of a network that learns, the least share of elements that must be loaded. Below 1 this also
            tolerates keys that the network has not; they are reported.
        allow_missing: prefixes of keys that a network that learns may lack or hold in another shape.
        source: names the file in errors and in the report.

    Raises:
        WeightsError: too little fits, a shape differs, or a value is not finite; lists the keys.
    """
    allowed = tuple(UNUSED_WHEN_FROZEN if frozen else allow_missing)
    targets = detector.state_dict()
    given = _with_backbone_prefix(weights, targets)
    shared = [key for key in targets if key in given]
    differing = [key for key in shared if tuple(targets[key].shape) != given[key].shape]
    fitting = {key: _checked(key, given[key], source) for key in shared if key not in set(differing)}
    missing = [key for key in targets if key not in given]
    unexpected = [key for key in given if key not in targets]
    due = {key: math.prod(targets[key].shape) for key in targets if not under(key, allowed)}
    share = sum(size for key, size in due.items() if key in fitting) / max(1, sum(due.values()))
    wrong_missing = [key for key in missing if key in due] if frozen or share < min_share else []
    wrong_shapes = [key for key in differing if key in due or frozen]
    strict = frozen or min_share >= 1
    wrong_extra = [key for key in unexpected if not under(key, allowed) and _part(key)] if strict else []
    shapes = {key: f"{key} (network {list(targets[key].shape)}, file {list(given[key].shape)})" for key in differing}
    if wrong_missing or wrong_shapes or wrong_extra or share < (1.0 if frozen else min_share):
        lists = {"missing": wrong_missing, "unexpected": unexpected, "misshapen": [shapes[key] for key in wrong_shapes]}
        raise WeightsError(_complaint(source, share, 1.0 if frozen else min_share, frozen, lists, weights))
    for key, value in fitting.items():
        targets[key].set_value(value)
    return LoadReport(share, source, tuple(missing), tuple(unexpected), tuple(shapes.values()))


def _part(key: str) -> bool:
    return key.split(".", 1)[0] in PARTS


def under(key: str, prefixes: Sequence[str]) -> bool:
    """Whether a key is one of the prefixes, or inside one: `head` holds `head.binarize.weight` and not `headless`."""
    return any(key == prefix or key.startswith(prefix.rstrip(".") + ".") for prefix in prefixes)


def _with_backbone_prefix(weights: Mapping[str, np.ndarray], targets: Mapping[str, Any]) -> Weights:
    """A classifier's file names the backbone's keys without `backbone.`; its own last layers stay as they are."""
    if any(_part(key) for key in weights):
        return dict(weights)
    return {f"backbone.{key}" if f"backbone.{key}" in targets else key: value for key, value in weights.items()}


def _checked(key: str, value: np.ndarray, source: str) -> np.ndarray:
    if value.dtype.kind != "f":
        raise WeightsError(f"{source}: {key} holds {value.dtype} values; expected float16, float32 or float64")
    value = value.astype(np.float32)
    if not np.isfinite(value).all():
        raise WeightsError(f"{source}: {key} holds {int((~np.isfinite(value)).sum())} NaN or infinite values")
    if key.endswith("._variance") and (value < 0).any():
        raise WeightsError(f"{source}: {key} holds negative variances")
    return value


def _complaint(
    source: str,
    share: float,
    wanted: float,
    frozen: bool,
    lists: Mapping[str, Sequence[str]],
    weights: Mapping[str, np.ndarray],
) -> str:
    kind = "a frozen network" if frozen else "this network"
    lines = [f"{source}: covers {share:.1%} of {kind}'s weights; {wanted:.1%} must fit"]
    for title, keys in lists.items():
        if keys:
            more = f", and {len(keys) - 10} more" if len(keys) > 10 else ""
            lines.append(f"  {title} ({len(keys)}): {', '.join(keys[:10])}{more}")
    if any(mark in key for key in weights for mark in ("ctc", "sar_head", "gtc_head", "nrtr", "head.fc.")):
        lines.append("  It looks like a text recogniser's or classifier's file; a text detector's is needed.")
    elif not any(_part(key) for key in weights):
        lines.append("  The file holds a backbone only; a student may start from it with allow_missing: [neck, head].")
    else:
        lines.append("  Are Backbone, Neck and Head those that the file was trained with?")
    return "\n".join(lines)
