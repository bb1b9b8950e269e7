"""What is well-formed and cannot work: known from the text alone, refused before the first second of work."""

from __future__ import annotations

from ocr_cml.schema import Config
from ocr_cml.workable.networks import network_problems
from ocr_cml.workable.settings import setting_problems
from ocr_cml.workable.terms import term_problems
from ocr_cml.workable.transforms import transform_problems
from ocr_cml.yaml_source import KeyPath

__all__ = ["network_problems", "problems_of", "setting_problems", "term_problems", "transform_problems"]


def problems_of(config: Config) -> list[tuple[KeyPath, str]]:
    """Every reason why this configuration cannot work, each with the key that it concerns."""
    return [
        *term_problems(config),
        *network_problems(config),
        *transform_problems(config),
        *setting_problems(config),
    ]
