"""Weights into networks, without silent gaps; their files are `ocr_cml.models.weight_files`.

A network that learns from half-loaded weights looks like one that learns badly, and a teacher without weights teaches
noise; both happened to users of PaddleOCR. So what does not fit is an error that lists the keys.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from paddle import nn

from ocr_cml.models.pdparams import Weights
from ppocr_data.errors import WeightsError

PARTS = ("backbone", "neck", "head")
WRAPPERS = ("module", "_layers", "model")
UNUSED_WHEN_FROZEN = ("head.thresh",)
"""What a frozen network never computes: the threshold map exists in training only, so exports drop it."""


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
        misshapen: of keys whose shapes differ and that were allowed to be missing what is wrong, in words.
        left_aside: what else the file holds, as `select` says: other networks and how many arrays each has.
    """

    share: float
    source: str
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshapen: Mapping[str, str] = field(default_factory=dict)
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
    wanted = 1.0 if frozen else min_share
    allowed = UNUSED_WHEN_FROZEN if frozen else tuple(allow_missing)
    targets = detector.state_dict()
    fit = _compared(targets, _with_backbone_prefix(weights, targets), allowed, source)
    wrong = {
        "missing": [key for key in fit.missing if key in fit.due] if frozen or fit.share < wanted else [],
        "unexpected": [key for key in fit.unexpected if not under(key, allowed) and _part(key)] if wanted >= 1 else [],
        "misshapen": [text for key, text in fit.misshapen.items() if key in fit.due or frozen],
    }
    if fit.share < wanted or any(wrong.values()):
        told = {**wrong, "unexpected": fit.unexpected}
        raise WeightsError(_complaint(source, fit.share, wanted, frozen, told, weights))
    for key, value in fit.loadable.items():
        targets[key].set_value(value)
    return LoadReport(fit.share, source, tuple(fit.missing), tuple(fit.unexpected), fit.misshapen)


@dataclass(frozen=True)
class _Fit:
    """What of a file's weights fits a network.

    Attributes:
        loadable: the weights under keys and in shapes that the network has.
        missing, unexpected: keys that the file lacks, and that the network lacks.
        misshapen: keys that both have in other shapes, with both shapes in words.
        due: keys of the network that should be loaded, with their numbers of elements.
    """

    loadable: Weights
    missing: list[str]
    unexpected: list[str]
    misshapen: dict[str, str]
    due: dict[str, int]

    @property
    def share(self) -> float:
        """Elements that can be loaded over all that are due, in [0, 1]."""
        return sum(size for key, size in self.due.items() if key in self.loadable) / max(1, sum(self.due.values()))


def _compared(targets: Mapping[str, Any], given: Weights, allowed: Sequence[str], source: str) -> _Fit:
    shapes = {key: list(target.shape) for key, target in targets.items()}
    misshapen = {
        key: f"{key} (network {shape}, file {list(given[key].shape)})"
        for key, shape in shapes.items()
        if key in given and shape != list(given[key].shape)
    }
    return _Fit(
        loadable={k: _checked(k, given[k], source) for k in shapes if k in given and k not in misshapen},
        missing=[key for key in shapes if key not in given],
        unexpected=[key for key in given if key not in shapes],
        misshapen=misshapen,
        due={key: math.prod(shape) for key, shape in shapes.items() if not under(key, allowed)},
    )


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
