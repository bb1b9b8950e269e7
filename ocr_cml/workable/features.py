"""Whether networks have the features that a term compares."""

from __future__ import annotations

from collections.abc import Sequence

from ocr_cml.binding import Binding, StatedTerm, stated_terms
from ocr_cml.schema import Config
from ocr_cml.workable.networks import feature_channels
from ocr_cml.yaml_source import KeyPath
from ppocr_data.spelling import hint


def feature_problems(config: Config, bindings: Sequence[Binding]) -> list[tuple[KeyPath, str]]:
    """Every pair of features of which one is not there, with its dotted key."""
    found = [
        problem
        for term in stated_terms(config)
        if term.looks_inside
        for binding in bindings
        if binding.term == term.position
        for problem in _of_pair(config, term, binding)
    ]
    return list(dict.fromkeys(found))  # one learner has as many bindings as guides


def _of_pair(config: Config, term: StatedTerm, binding: Binding) -> list[tuple[KeyPath, str]]:
    problems = []
    for end, name in enumerate((binding.learner, binding.guide)):
        known = feature_channels(config.Architecture.Models[str(name)])
        for number, pair in enumerate(term.own["layers"]):
            if known and pair[end] not in known:
                text = f"{name} has no feature {pair[end]!r}; {hint(pair[end], list(known), 'it has')}"
                problems.append(((*term.path, "layers", str(number)), text))
    return problems
