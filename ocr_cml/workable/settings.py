"""Single settings that contradict each other, or that nothing could run."""

from __future__ import annotations

from ocr_cml.model_store import DETECTORS
from ocr_cml.schema import Config
from ocr_cml.yaml_source import KeyPath
from ppocr_data.spelling import hint


def setting_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """Every such contradiction, each with its key."""
    return [*_export_problems(config), *_warmup_problems(config), *_memory_problems(config)]


def _export_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """A student that was trained for hours should run where it is meant to."""
    name = config.Global.model_name
    if name in DETECTORS:
        return []
    text = (
        f"{name!r} is no detector of PaddleOCR's, and its runtime runs an export under no other name; "
        f"{hint(name, DETECTORS, 'choose one of')}"
    )
    return [(("Global", "model_name"), text)]


def _warmup_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """One of two lengths would win without a word."""
    rate = config.Optimizer.lr
    if rate.warmup_steps is None or rate.warmup_epoch == 0:
        return []
    text = (
        f"is {rate.warmup_epoch:g} while warmup_steps is {rate.warmup_steps}; set warmup_steps: null to count in epochs"
    )
    return [(("Optimizer", "lr", "warmup_epoch"), text)]


def _memory_problems(config: Config) -> list[tuple[KeyPath, str]]:
    """A compiled program decides by itself what it holds for the backward pass."""
    if not (config.Global.recompute is True and config.Global.to_static):
        return []
    return [(("Global", "recompute"), "is true, and has no effect on the programs of Global.to_static; set it to auto")]
