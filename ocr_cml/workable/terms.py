"""Whether every entry of the loss list binds, and every network learns or is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ocr_cml.binding import (
    TEACHERS,
    Binding,
    CommonTermArguments,
    auxiliary_weights,
    bind,
    ever_counts,
    stated_terms,
    unreached,
)
from ocr_cml.schema import Config
from ocr_cml.workable.features import feature_problems
from ocr_cml.yaml_source import KeyPath
from ppocr_data.spelling import hint


def term_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """Every reason why the loss list cannot be bound to the networks, with its dotted key."""
    problems: list[tuple[KeyPath, str]] = []
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
        heads = {name: config.students[name].Head or {} for name in learners if name in students}
        if without := [name for name, head in heads.items() if not head.get("aux_in_channels")]:
            text = (
                f"no auxiliary maps come from {', '.join(without)}; set Head.aux_in_channels and a neck RepLKFPN or "
                "RepLKPAN there, or this weight to 0"
            )
            problems += [((*term.path, key), text) for key in auxiliary_weights(term)]
        if term.looks_inside:
            problems += _feature_problems(term.path, config, term.common)
    problems += _label_problems(config)
    if not problems:
        bindings = bind(config)
        problems += _unused_problems(config, bindings)
        problems += _untaught(config, bindings)
        problems += feature_problems(config, bindings)
    return problems


def _untaught(config: Config, bindings: Sequence[Binding]) -> list[tuple[KeyPath, str]]:
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


def _label_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """Terms that need labels where there are none, and images without labels that no term could use."""
    terms = stated_terms(config)
    problems: list[tuple[KeyPath, str]] = []
    if not config.Train.dataset.label_file_list:
        text = "needs labels, and Train.dataset.label_file_list is empty; remove one or the other"
        problems += [(term.path, text) for term in terms if term.cls.role == "supervised"]
        if not any(term.cls.role == "teacher" for term in terms):
            text = (
                "there is neither a label nor a teacher term, so nothing says what text is; students that learn from "
                "each other alone agree on anything"
            )
            problems.append((("Loss", "loss_config_list"), text))
    taught = (term for term in terms if ever_counts(term.common.weight))
    if config.Train.unlabeled is not None and all(term.cls.role == "supervised" for term in taught):
        text = "no loss term could learn from images without labels; add a mutual or a teacher term, or remove them"
        problems.append((("Train", "unlabeled"), text))
    return problems


def _name_problems(
    path: KeyPath, role: str, common: CommonTermArguments, students: list[str], teachers: list[str]
) -> list[tuple[KeyPath, str]]:
    """What is wrong with `model_name_list` and `model_name_pairs` of one term."""
    found = [*_unknown_names(role, common, students, teachers), *_contradictions(role, common)]
    return [((*path, key), text) for key, text in found]


def _unknown_names(
    role: str, common: CommonTermArguments, students: list[str], teachers: list[str]
) -> Iterator[tuple[str, str]]:
    guide = ("teacher", teachers) if role == "teacher" else ("student", students)
    listed = [("model_name_list", name, "student", students) for name in common.model_name_list or ()]
    pairs = common.model_name_pairs or ()
    paired = [("model_name_pairs", *each) for a, b in pairs for each in ((a, "student", students), (b, *guide))]
    for key, name, kind, known in [*listed, *paired]:
        if name not in known:
            yield key, f"no {kind} is called {name!r}; {hint(name, known, f'the {kind}s are')}"


def _contradictions(role: str, common: CommonTermArguments) -> Iterator[tuple[str, str]]:
    for key in ("model_name_list", "model_name_pairs"):
        if getattr(common, key) == []:
            yield key, "names nobody; leave it out to bind every student"
    names, pairs = common.model_name_list or [], common.model_name_pairs or []
    if names and pairs:
        yield "model_name_pairs", "contradicts model_name_list; keep one of the two"
    if len({tuple(sorted(pair)) if role == "mutual" else pair for pair in pairs}) < len(pairs):
        both = "; a mutual pair binds both ways" if role == "mutual" else ""
        yield "model_name_pairs", f"a pair is given twice{both}"
    if role == "supervised" and pairs:
        yield "model_name_pairs", "a supervised term has no guide; use model_name_list"
    if len(set(names)) < len(names):
        yield "model_name_list", "a network is named twice"
    for learner, guide in pairs:
        if learner == guide:
            yield "model_name_pairs", f"{learner!r} cannot guide itself"


def _feature_problems(path: KeyPath, config: Config, common: CommonTermArguments) -> list[tuple[KeyPath, str]]:
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


def _unused_problems(config: Config, bindings: list[Binding]) -> list[tuple[KeyPath, str]]:
    problems: list[tuple[KeyPath, str]] = []
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
