"""Which term pulls whom towards whom: the loss list of a configuration, bound to networks.

Every term ends as one or several `Binding`s (learner, guide, share of the weight). A term that binds to nothing is a
mistake that is reported before training: PaddleOCR answers a misspelled map name with a mutual loss of zero.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from paddle import nn
from pydantic import BaseModel, ConfigDict, Field

from ocr_cml.losses import TERMS, FeatureTerm
from ocr_cml.schema import Config, Weight, WeightSchedule
from ocr_cml.yaml_source import Path_
from ppocr_data.spelling import hint

TEACHERS = "Teachers"
"""The guide that stands for the weighted mean map of several teachers."""

ENSEMBLE = "ensemble"
"""The name under which the mean map of the students is scored and exported."""


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
    def path(self) -> Path_:
        """Its dotted key."""
        return ("Loss", "loss_config_list", str(self.position), self.name)

    @property
    def looks_inside(self) -> bool:
        """Whether it compares features, which only a network of ours shows."""
        return issubclass(self.cls, FeatureTerm)


def stated_terms(config: Config) -> list[StatedTerm]:
    """The loss list."""
    listed = []
    for position, entry in enumerate(config.Loss.loss_config_list):
        ((name, arguments),) = entry.items()
        listed.append(StatedTerm(position, name, *split_arguments(arguments)))
    return listed


def bind(config: Config) -> list[Binding]:
    """All bindings, in the order of the loss list. The configuration must be free of `binding_problems`."""
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


def binding_problems(config: Config) -> list[tuple[Path_, str]]:
    """Every reason why the loss list cannot be bound to the networks, with its dotted key."""
    problems: list[tuple[Path_, str]] = []
    students, teachers = list(config.students), list(config.teachers)
    if not students:
        problems.append((("Architecture", "Models"), "every network is frozen; one without freeze_params must learn"))
    for term in stated_terms(config):
        problems += _name_problems(term.path, term.cls.role, term.common, students, teachers)
        if term.cls.role == "teacher" and not teachers:
            problems.append((term.path, "no network is frozen, so there is no teacher; add one or remove the term"))
        learners = term.common.model_name_list or students
        if term.cls.role == "mutual" and not term.common.model_name_pairs and len(learners) < 2:
            text = f"mutual learning needs two students or more; found {', '.join(learners) or 'none'}"
            problems.append((term.path, text))
        if term.looks_inside:
            problems += _feature_problems(term.path, config, term.common)
    problems += _label_problems(config)
    if not problems:
        bindings = bind(config)
        problems += _unused_problems(config, bindings)
        problems += _untaught(config, bindings)
    return problems


def unreached(students: Collection[str], bindings: Iterable[Binding]) -> list[str]:
    """Those of some students that no label and no teacher reaches, not even by way of those that they learn from."""
    heavy = list(bindings)
    sound = {b.learner for b in heavy if b.guide not in students}
    while more := {b.learner for b in heavy if b.guide in sound} - sound:
        sound |= more
    return sorted(set(students) - sound)


def _untaught(config: Config, bindings: Sequence[Binding]) -> list[tuple[Path_, str]]:
    """Students that no label and no teacher reaches, not even by way of those that they learn from.

    Such a group agrees on anything, text or not, with a loss that falls to nothing.
    """
    weights = [term.common.weight for term in stated_terms(config)]
    heavy = [b for b in bindings if ever_counts(weights[b.term])]
    learners = {b.learner for b in bindings}
    lost = [name for name in unreached(config.students, heavy) if name in learners]
    if not lost:
        return []
    text = (
        f"neither a label nor a teacher reaches {', '.join(lost)}, so nothing says what text is; students that learn "
        "from each other alone agree on anything. Add a supervised or a teacher term of a weight above zero"
    )
    return [(("Loss", "loss_config_list"), text)]


def ever_counts(weight: Weight) -> bool:
    """Whether a term of this weight has any pull, at some time of the training."""
    return any((weight.start, weight.end)) if isinstance(weight, WeightSchedule) else weight != 0


def _label_problems(config: Config) -> list[tuple[Path_, str]]:
    """Terms that need labels where there are none, and images without labels that no term could use."""
    terms = stated_terms(config)
    problems: list[tuple[Path_, str]] = []
    if not config.Train.dataset.label_file_list:
        text = "needs labels, and Train.dataset.label_file_list is empty; remove one or the other"
        problems += [(term.path, text) for term in terms if term.cls.role == "supervised"]
        if not any(term.cls.role == "teacher" for term in terms):
            text = (
                "there is neither a label nor a teacher term, so nothing says what text is; students that learn from "
                "each other alone agree on anything"
            )
            problems.append((("Loss", "loss_config_list"), text))
    if config.Train.unlabeled is not None and all(term.cls.role == "supervised" for term in terms):
        text = "no loss term could learn from images without labels; add a mutual or a teacher term, or remove them"
        problems.append((("Train", "unlabeled"), text))
    return problems


def _name_problems(
    path: Path_, role: str, common: CommonTermArguments, students: list[str], teachers: list[str]
) -> list[tuple[Path_, str]]:
    guides = teachers if role == "teacher" else students
    wanted = [("model_name_list", name, students, "student") for name in common.model_name_list or ()]
    for learner, guide in common.model_name_pairs or ():
        wanted.append(("model_name_pairs", learner, students, "student"))
        wanted.append(("model_name_pairs", guide, guides, "teacher" if role == "teacher" else "student"))
    problems = []
    for key, name, known, kind in wanted:
        if name not in known:
            text = f"no {kind} is called {name!r}; {hint(name, known, f'the {kind}s are')}"
            problems.append(((*path, key), text))
    for key in ("model_name_list", "model_name_pairs"):
        if getattr(common, key) == []:
            problems.append(((*path, key), "names nobody; leave it out to bind every student"))
    if common.model_name_list and common.model_name_pairs:
        problems.append(((*path, "model_name_pairs"), "contradicts model_name_list; keep one of the two"))
    pairs = [tuple(sorted(pair)) if role == "mutual" else pair for pair in common.model_name_pairs or ()]
    if len(set(pairs)) < len(pairs):
        both = "; a mutual pair binds both ways" if role == "mutual" else ""
        problems.append(((*path, "model_name_pairs"), f"a pair is given twice{both}"))
    if role == "supervised" and common.model_name_pairs:
        problems.append(((*path, "model_name_pairs"), "a supervised term has no guide; use model_name_list"))
    listed = common.model_name_list or []
    if len(set(listed)) < len(listed):
        problems.append(((*path, "model_name_list"), "a network is named twice"))
    for learner, guide in common.model_name_pairs or ():
        if learner == guide:
            problems.append(((*path, "model_name_pairs"), f"{learner!r} cannot guide itself"))
    return problems


def _feature_problems(path: Path_, config: Config, common: CommonTermArguments) -> list[tuple[Path_, str]]:
    """A term on features needs a teacher whose inside can be seen: one network of ours."""
    teachers = config.teachers
    asked = {guide for _, guide in common.model_name_pairs or ()} or set(teachers)
    if len(teachers) > 1 and not common.model_name_pairs:
        return [(path, "compares features, and the mean of several teachers has none; choose by model_name_pairs")]
    closed = sorted(name for name in asked if name in teachers and teachers[name].inference_model)
    text = (
        "compares features, and an inference model shows only its map; give {} as Backbone, Neck, Head and pretrained"
    )
    problems = [(path, text.format(name)) for name in closed]
    for name in sorted(asked & teachers.keys() - set(closed)):
        if teachers[name].engine == "onnx":
            text = f"onnx shows only a map, and {path[-1]} compares features; set auto"
            problems.append((("Architecture", "Models", name, "engine"), text))
    return problems


def _unused_problems(config: Config, bindings: list[Binding]) -> list[tuple[Path_, str]]:
    problems: list[tuple[Path_, str]] = []
    taught = {binding.learner for binding in bindings}
    asked = {binding.guide for binding in bindings}
    for name in config.students:
        if name not in taught:
            problems.append(
                (("Architecture", "Models", name), "is taught by no loss term; name it in one or remove it")
            )
    for name in config.teachers:
        if name not in asked and TEACHERS not in asked:
            text = "is frozen and no loss term asks it; add a teacher term or remove the network"
            problems.append((("Architecture", "Models", name), text))
    return problems
