"""PaddleOCR's detection configurations, read as this package's own.

The rules are in `networks`, `loss` and `sections` beside this file. What PaddleOCR computes and this package
computes otherwise is told in a note; what cannot be honoured is a problem, or stays where it is for the strict schema
to refuse, so that nothing is dropped in silence.
"""

from __future__ import annotations

from ocr_cml.compat.loss import translate_loss
from ocr_cml.compat.networks import PARTS, refuse_other_models, translate_networks, translate_weights
from ocr_cml.compat.reading import Reading
from ocr_cml.compat.sections import (
    leave_out_what_means_nothing,
    translate_data,
    translate_global,
    translate_optimizer,
    translate_scoring,
)
from ocr_cml.yaml_source import Source


def translate(source: Source) -> list[str]:
    """Turn `source.data` from PaddleOCR's form into the native one; a native configuration is left as it is.

    Keys of PaddleOCR's that mean nothing here are left out of both: one that remained in a native configuration must
    not bring PaddleOCR's defaults of other keys with it.

    Overrides must have been applied: they are written against PaddleOCR's keys. Keys that move take their lines along.

    Returns:
        Notes for people, one for each thing that is read differently from PaddleOCR, with the reason.

    Raises:
        ConfigError: the configuration is not one of a DB text detector. Lesser mistakes go to `source.problems`.
    """
    reading = Reading(source)
    leave_out_what_means_nothing(reading)
    if not _is_paddleocr(reading):
        return reading.notes
    refuse_other_models(reading)
    translate_networks(reading)
    translate_weights(reading)
    translate_loss(reading)
    translate_global(reading)
    translate_optimizer(reading)
    translate_scoring(reading)
    translate_data(reading)
    return reading.notes


def _is_paddleocr(reading: Reading) -> bool:
    """Whether anything is written as only PaddleOCR's configurations have it."""
    loss = reading.section("Loss")
    terms = [name for _, name, _ in reading.steps("Loss", "loss_config_list")]
    names = [*terms, reading.section("PostProcess").get("name"), reading.section("Metric").get("name")]
    return (
        any(part in reading.section("Architecture") for part in PARTS)
        or any(str(name).startswith("Distillation") for name in names)
        or loss.get("name", "CombinedLoss") != "CombinedLoss"
    )
