"""The finished runs that `ocr_cml.why` looks at: their labels, configurations and records."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ocr_cml import assemble
from ocr_cml import config as configuration
from ocr_cml.checkpoint import open_checkpoint
from ocr_cml.records import AGREEMENT, read_records
from ocr_cml.run_files import CONFIG, METRICS
from ocr_cml.schema import Config
from ppocr_data.errors import ConfigError, UserError


@dataclass(frozen=True)
class FinishedRun:
    """A run folder with its label in the figures, its configuration, its records, and how many of them are damaged."""

    label: str
    folder: Path
    config: Config
    records: list[dict[str, Any]]
    damaged: int = 0


def label_of(text: str) -> tuple[str, Path]:
    """Label and folder of `FOLDER` or `LABEL=FOLDER`.

    Without a label it is the folder's name; `seed3`, as `tools/compare.py` calls its runs, takes that of the folder
    above, so that the seeds of a method are pooled.
    """
    label, sign, rest = text.partition("=")
    if sign and label and not Path(text).exists():
        return label, Path(rest)
    folder = Path(text)
    name = folder.resolve().name
    is_seed = name.startswith("seed") and name[len("seed") :].isdigit()
    return (folder.resolve().parent.name if is_seed else name), folder


def read_run(text: str) -> FinishedRun:
    """Read a run's configuration and records.

    Raises:
        ConfigError: the folder holds no run, or its configuration is damaged.
        UserError: its records cannot be read.
    """
    label, folder = label_of(text)
    missing = [name for name in (CONFIG, METRICS) if not (folder / name).is_file()]
    if missing:
        raise ConfigError(
            f"{folder}: is no finished run, it has no {missing[0]}; name a folder that tools/train.py wrote "
            "(Global.save_model_dir)"
        )
    try:
        records, damaged = read_records(folder / METRICS)
    except OSError as error:
        raise UserError(f"{folder / METRICS}: cannot be read: {error.strerror}") from None
    return FinishedRun(label, folder, configuration.load_record(folder / CONFIG), records, damaged)


def check_comparable(runs: Sequence[FinishedRun]) -> None:
    """One held-out set and one shrink ratio: what is text to one network must be text to the other.

    Raises:
        ConfigError: a run differs from the first in one of them.
    """
    first = runs[0]
    for run in runs[1:]:
        if run.config.Eval.dataset != first.config.Eval.dataset:
            raise ConfigError(f"{run.folder}: is evaluated on other images than {first.folder} (Eval.dataset differs)")
        if assemble.shrink_rule(run.config) != assemble.shrink_rule(first.config):
            raise ConfigError(
                f"{run.folder}: learned other shrunken text than {first.folder} (MakeShrinkMap differs), so their "
                "losses and their doubt on its edges cannot be compared"
            )


def other_crops(run: FinishedRun, reference: FinishedRun, weights: str) -> str:
    """A note where a run learned from other crops than those of the reference, which all networks are shown; else "".

    The same labels under another name are no difference. A run without labels is held against none.

    Raises:
        WeightsError: a checkpoint is missing or damaged.
    """
    ours, theirs = run.config.Train.dataset, reference.config.Train.dataset
    if not ours.label_file_list:
        return ""
    digests = [open_checkpoint(each.folder / weights).progress.trained_on for each in (run, reference)]
    same_labels = digests[0] == digests[1] if all(digests) else ours.label_file_list == theirs.label_file_list
    differing = [name for name in ("ratio_list", "transforms") if getattr(ours, name) != getattr(theirs, name)]
    if same_labels and not differing:
        return ""
    listed = ", ".join(f"Train.dataset.{name}" for name in [*(["label_file_list"] * (not same_labels)), *differing])
    return (
        f"{run.folder}: learned from other crops than {reference.folder}, the first run with labels ({listed}), and "
        "all are shown crops of that one: losses, rises and pulls are not those on the data of this run; with it named "
        "first they are others"
    )


def agreement_of(records: Sequence[dict[str, Any]]) -> list[tuple[int, float]]:
    """(step, mean over pairs of students of their agreement) at each log point that has any."""
    series = []
    for record in records:
        values = [value for key, value in record.items() if key.startswith(AGREEMENT)]
        if values:
            series.append((int(record["step"]), statistics.fmean(values)))
    return series
