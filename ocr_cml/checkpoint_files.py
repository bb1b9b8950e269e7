"""Where checkpoints lie in a run folder, while they are written and afterwards, and how a folder is known for one.

For all who only ask where, or whether: opening one is `ocr_cml.checkpoint`'s, which needs Paddle.
"""

from __future__ import annotations

from pathlib import Path

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
