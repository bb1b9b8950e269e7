"""Whether a training of a comparison has come to its end, and what its process took."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from ppocr_data.errors import ConfigError, UserError

if TYPE_CHECKING:
    from ocr_cml.compare.plan import PlannedRun

OUTCOME = "outcome.json"
"""In a run folder: exit code, seconds and peak memory of its process, written when that ends."""

_CHECKPOINTS = ("latest", "latest.previous", "best", "best.previous")

# Values that a run may be continued with, and that would make it longer, or scored more often, than the others.
_LENGTH = ("Global.epoch_num", "Global.max_steps", "Global.eval_batch_step", "Optimizer.lr.decay_steps")


def is_finished(run: PlannedRun) -> bool:
    """Whether a run has come to its end, with this configuration.

    Raises:
        ConfigError: the folder holds a run of another configuration.
    """
    from ocr_cml.run import different_keys

    recorded = run.folder / "config.yml"
    ended_well = (run.folder / OUTCOME).is_file() and read_outcome(run)["exit_code"] == 0
    # What failed before it saved anything is no run yet: its cause may be mended, by other values too.
    begun = ended_well or any((run.folder / name).is_dir() for name in _CHECKPOINTS)
    if not begun or not recorded.is_file():
        return False
    differing = different_keys(recorded, run.config) + _other_length(recorded, run.config.model_dump(mode="json"))
    if differing:
        raise ConfigError(
            f"{run.folder}: holds a run with other values of {', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''}; choose another output, or remove that folder"
        )
    return ended_well


def read_outcome(run: PlannedRun) -> dict[str, Any]:
    """What the run's process took, see `ocr_cml.compare.measured.run`. Raises UserError where the file is damaged."""
    path = run.folder / OUTCOME
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
        return {key: outcome[key] for key in ("exit_code", "wall_seconds", "peak_bytes")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it, and the run is taken up again") from None


def _other_length(recorded: Path, now: Mapping[str, Any]) -> list[str]:
    before = yaml.safe_load(recorded.read_text(encoding="utf-8"))
    return [key for key in _LENGTH if _value(before, key) != _value(now, key)]


def _value(data: Any, dotted: str) -> Any:
    for key in dotted.split("."):
        data = data.get(key) if isinstance(data, Mapping) else None
    return data
