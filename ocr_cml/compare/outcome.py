"""Whether a training of a comparison has come to its end, and what its process took."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocr_cml.run_files import BEST, CONFIG, LATEST, is_kept
from ocr_cml.schema import Config
from ppocr_data.errors import ConfigError, UserError

OUTCOME = "outcome.json"
"""In a run folder: exit code, seconds and peak memory of its process, written every minute and when that ends."""

# Values that a run may be continued with, and that would make it longer, or scored more often, than the others.
_LENGTH = ("Global.epoch_num", "Global.max_steps", "Global.eval_batch_step", "Optimizer.lr.decay_steps")


@dataclass(frozen=True)
class PlannedRun:
    """One training.

    Attributes:
        method: its name.
        seed: its Global.seed.
        config: the whole configuration; of a reference that has begun it may have more students than the method.
        folder: the run folder.
        config_file: where the configuration is written for `tools/train.py`.
    """

    method: str
    seed: int
    config: Config
    folder: Path
    config_file: Path


def is_finished(run: PlannedRun) -> bool:
    """Whether a run has come to its end, with this configuration.

    Raises:
        ConfigError: the folder holds a run of another configuration.
    """
    from ocr_cml.changed_keys import different_keys

    recorded = _record_of(run.folder)
    if recorded is None:
        return False
    differing = different_keys(recorded, run.config, also=_LENGTH)
    if differing:
        kept, wanted = students_kept(run.folder), len(run.config.students)
        if kept not in (0, wanted):
            raise ConfigError(
                f"{run.folder}: {run.method} was trained with {_counted(kept)}, and this comparison asks for "
                f"{wanted}; choose other methods (only) or another output, or remove that folder"
            )
        raise ConfigError(
            f"{run.folder}: holds a run with other values of {', '.join(differing[:5])}"
            f"{' and more' if len(differing) > 5 else ''}; choose another output, or remove that folder"
        )
    return _ended_well(run.folder)


def students_kept(folder: Path) -> int:
    """How many students a run has that lies in a folder and has begun; 0 where there is none, or it cannot be read."""
    from ocr_cml import config as configuration

    recorded = _record_of(folder)
    try:
        return len(configuration.load_record(recorded).students) if recorded is not None else 0
    except ConfigError:
        return 0  # told when the run's turn comes


def _record_of(folder: Path) -> Path | None:
    """The configuration that a run began with; None where nothing has begun.

    What failed before it saved anything is no run yet: its cause may be mended, by other values too.
    """
    begun = _ended_well(folder) or any(is_kept(folder / name) for name in (LATEST, BEST))
    recorded = folder / CONFIG
    return recorded if begun and recorded.is_file() else None


def _ended_well(folder: Path) -> bool:
    return (folder / OUTCOME).is_file() and bool(_read(folder / OUTCOME)["exit_code"] == 0)


def _counted(students: int) -> str:
    return f"{students} student{'s' * (students != 1)}"


def read_outcome(run: PlannedRun) -> dict[str, Any]:
    """What the run's process took, see `ocr_cml.compare.measured.run`. Raises UserError where the file is damaged."""
    return _read(run.folder / OUTCOME)


def _read(path: Path) -> dict[str, Any]:
    try:
        outcome = json.loads(path.read_text(encoding="utf-8"))
        read = {key: outcome[key] for key in ("exit_code", "wall_seconds", "peak_bytes")}
        return read | {"cores": frozenset(map(int, outcome.get("cores", ())))}  # old ones do not say
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); remove it, and the run is taken up again") from None
