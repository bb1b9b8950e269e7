"""Which term pulls whom towards whom: the loss list of a configuration, bound to networks.

Every term ends as one or several `Binding`s (learner, guide, share of the weight). A term that binds to nothing is a
mistake that is reported before training: PaddleOCR answers a misspelled map name with a mutual loss of zero.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddle import nn
from pydantic import BaseModel, ConfigDict, Field

from ocr_cml.losses import TERMS, FeatureTerm
from ocr_cml.schema import Config, Weight, WeightSchedule
from ocr_cml.yaml_source import KeyPath

TEACHERS = "Teachers"
"""The guide that stands for the weighted mean map of several teachers."""


class CommonTermArguments(BaseModel):
    """What every loss term takes beside its own arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)

    weight: Weight = Field(1.0, description="Factor of the term, or its schedule over the training.")
    model_name_list: list[str] | None = Field(None, description="The learners; by default every student.")
    model_name_pairs: list[tuple[str, str]] | None = Field(
        None, description="[learner, guide] pairs, instead of the list."
    )


@dataclass(frozen=True)
class Binding:
    """One term from one guide to one learner.

    Attributes:
        term: position of the term in the loss list.
        label: name in logs, for example `mutual/Student<-Student2`.
        learner: the student whose weights the gradient reaches.
        guide: the network it is compared with, `Teachers` for their mean, or None for a supervised term.
        share: factor beside the term's weight, 1 / (K - 1) for K - 1 peers.
    """

    term: int
    label: str
    learner: str
    guide: str | None
    share: float


def split_arguments(arguments: Mapping[str, Any] | None) -> tuple[CommonTermArguments, dict[str, Any]]:
    """Part a list entry's arguments into the common ones and the term's own."""
    given = dict(arguments or {})
    common = {key: given.pop(key) for key in list(given) if key in CommonTermArguments.model_fields}
    return CommonTermArguments.model_validate_json(json.dumps(common), strict=True), given


@dataclass(frozen=True)
class StatedTerm:
    """An entry of the loss list, taken apart.

    Attributes:
        position: its place in the list.
        name: what it is called there, a key of `TERMS`.
        common: what every term takes.
        own: its own arguments.
    """

    position: int
    name: str
    common: CommonTermArguments
    own: dict[str, Any]

    @property
    def cls(self) -> type[nn.Layer]:
        """The class of the term."""
        return TERMS[self.name]

    @property
    def path(self) -> KeyPath:
        """Its dotted key."""
        return ("Loss", "loss_config_list", str(self.position), self.name)

    @property
    def looks_inside(self) -> bool:
        """Whether it compares features, which only a network of ours shows."""
        return issubclass(self.cls, FeatureTerm)


def idle_arguments(term: StatedTerm) -> dict[str, str]:
    """A term's arguments that are set otherwise than by default and have no effect, each with what makes it idle.

    They are no mistake: `-o Loss.loss_config_list.TeacherLoss.kind=soft` leaves those of the other kind in the file.
    """
    said_by_the_term = getattr(term.cls, "idle", None)
    if said_by_the_term is None:
        return {}
    parameters = inspect.signature(term.cls).parameters.values()
    defaults = {each.name: each.default for each in parameters}
    idle = said_by_the_term({**defaults, **term.own})
    return {name: why for name, why in idle.items() if term.own.get(name, defaults[name]) != defaults[name]}


def stated_terms(config: Config) -> list[StatedTerm]:
    """The loss list."""
    listed = []
    for position, entry in enumerate(config.Loss.loss_config_list):
        ((name, arguments),) = entry.items()
        listed.append(StatedTerm(position, name, *split_arguments(arguments)))
    return listed


def bind(config: Config) -> list[Binding]:
    """All bindings, in the order of the loss list. The configuration must be free of `workable.term_problems`."""
    bindings: list[Binding] = []
    for term in stated_terms(config):
        for learner, guide, share in _pairs(term.cls.role, term.common, list(config.students), list(config.teachers)):
            arrow = f"<-{guide}" if guide else ""
            bindings.append(Binding(term.position, f"{term.cls.log_name}/{learner}{arrow}", learner, guide, share))
    return _with_unique_labels(bindings)


def _pairs(
    role: str, common: CommonTermArguments, students: Sequence[str], teachers: Sequence[str]
) -> list[tuple[str, str | None, float]]:
    learners = common.model_name_list or list(students)
    if role == "supervised":
        return [(learner, None, 1.0) for learner in learners]
    if role == "teacher":
        if common.model_name_pairs:
            return [(learner, guide, 1.0) for learner, guide in common.model_name_pairs]
        guide = teachers[0] if len(teachers) == 1 else TEACHERS
        return [(learner, guide, 1.0) for learner in learners] if teachers else []
    if common.model_name_pairs:  # mutual: a pair binds both ways, as in PaddleOCR's files
        both = [pair for a, b in common.model_name_pairs for pair in ((a, b), (b, a))]
        peers = {learner: sum(a == learner for a, _ in both) for learner, _ in both}
        return [(learner, guide, 1.0 / peers[learner]) for learner, guide in both]
    return [(a, b, 1.0 / (len(learners) - 1)) for a in learners for b in learners if a != b]


def _with_unique_labels(bindings: list[Binding]) -> list[Binding]:
    """Number the labels of two entries of one term and pair (a `kl` and a `ppocr`, say): no log value is lost."""
    seen: dict[str, int] = {}
    unique = []
    for binding in bindings:
        seen[binding.label] = count = seen.get(binding.label, 0) + 1
        label = binding.label if count == 1 else f"{binding.label}#{count}"
        unique.append(Binding(binding.term, label, binding.learner, binding.guide, binding.share))
    return unique


def unreached(students: Collection[str], bindings: Iterable[Binding]) -> list[str]:
    """Those of some students that no label and no teacher reaches, not even by way of those that they learn from."""
    heavy = list(bindings)
    sound = {b.learner for b in heavy if b.guide not in students}
    while more := {b.learner for b in heavy if b.guide in sound} - sound:
        sound |= more
    return sorted(set(students) - sound)


def auxiliary_weights(term: StatedTerm) -> dict[str, float]:
    """The arguments of a term that weigh auxiliary maps, those above 0."""
    return {name: value for name, value in term.own.items() if name.startswith("aux_weight_") and value > 0}


def ever_counts(weight: Weight) -> bool:
    """Whether a term of this weight has any pull, at some time of the training."""
    if not isinstance(weight, WeightSchedule):
        return weight != 0
    begin, end = weight.over
    return (weight.start != 0 and end > 0) or (weight.end != 0 and begin < 1)
