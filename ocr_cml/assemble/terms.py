"""The loss terms, bound to the networks that they are between."""

from __future__ import annotations

from collections.abc import Mapping

import paddle

from ocr_cml.assemble.data import normalization
from ocr_cml.assemble.seeds import mixed
from ocr_cml.binding import TEACHERS, bind, stated_terms
from ocr_cml.cohort import BoundTerm, Cohort
from ocr_cml.losses.base import FeatureTerm
from ocr_cml.models.detector import Detector
from ocr_cml.runtime import FrozenDetector, LayerDetector
from ocr_cml.schema import Config
from ocr_cml.side_by_side import SideBySide


def build_cohort(
    config: Config,
    students: Mapping[str, Detector],
    teachers: Mapping[str, tuple[FrozenDetector, float]],
    at_once: SideBySide | None = None,
) -> Cohort:
    """Bind the loss terms to the networks. Connectors are initialised from the seed.

    Args:
        config: the validated configuration.
        students, teachers: what the terms are between.
        at_once: how many students compute at the same time; by default one.
    """
    channels = {name: student.feature_channels for name, student in students.items()}
    for name, (teacher, _) in teachers.items():
        channels[name] = teacher.layer.feature_channels if isinstance(teacher, LayerDetector) else {}
    channels[TEACHERS] = {}
    terms = []
    stated = stated_terms(config)
    for number, binding in enumerate(bind(config)):
        of = stated[binding.term]
        paddle.seed(mixed(config.Global.seed, 1000 + number))
        term = of.cls(**of.own)
        if isinstance(term, FeatureTerm):
            term.bind(channels[binding.learner], channels[binding.guide or binding.learner])
        terms.append(BoundTerm(binding, term, of.common.weight))
    update, compiled = config.Loss.update, config.Global.to_static
    return Cohort(students, teachers, terms, normalization(config), update, compiled=compiled, side_by_side=at_once)
