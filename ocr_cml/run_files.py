"""What lies in a run folder, and how a folder is known for a checkpoint.

For all who only ask where, or whether: opening a checkpoint is `ocr_cml.checkpoint`'s, which needs Paddle.
"""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yml"
"""The configuration with every default; in each checkpoint as well."""
METRICS = "metrics.jsonl"
"""The records, see `ocr_cml.records`."""
TRAIN_LOG, PREVIEW, REPORT = "train.log", "preview.jpg", "report.html"
VALIDATION, VALIDATION_RECORD = "validation", "validation.json"
"""The folder of the best student's pictures, and in it what is said of them."""
LATEST, BEST = "latest", "best"
"""What a run goes on from, and its best students alone."""
STATE = "state.json"
"""In every checkpoint: the step, the best result, and a SHA-256 of every other file."""


def is_checkpoint(folder: Path) -> bool:
    """Whether a folder says that it is a checkpoint; a damaged one says so too."""
    return (folder / STATE).is_file()


def previous_of(folder: Path) -> Path:
    """Where the checkpoint before the one in `folder` is kept."""
    return folder.with_name(f"{folder.name}.previous")


def temporary_of(folder: Path) -> Path:
    """Where one is written before it takes its place; left behind by a kill alone."""
    return folder.with_name(f"{folder.name}.tmp")


def is_kept(folder: Path) -> bool:
    """Whether a checkpoint lies in `folder`, or the one before it beside it."""
    return folder.is_dir() or previous_of(folder).is_dir()
