"""Find a checkpoint and check it, file by file, before anything is taken from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors.numpy import load_file

from ocr_cml.checkpoint.arrays import Arrays
from ocr_cml.checkpoint.progress import Progress
from ocr_cml.run_files import LATEST, STATE, is_checkpoint, previous_of
from ppocr_data.digests import sha256_of
from ppocr_data.errors import WeightsError

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on disk whose files have been checked against their hashes."""

    folder: Path
    progress: Progress
    stems: tuple[str, ...]

    def arrays(self, stem: str) -> Arrays:
        """One file's arrays; empty where the checkpoint has no such file."""
        return load_file(self.folder / f"{stem}.safetensors") if stem in self.stems else {}


def find(where: Path) -> tuple[Checkpoint, list[str]]:
    """The newest whole checkpoint of a run folder, or the given checkpoint folder itself.

    Returns:
        The checkpoint and a line for each damaged one that was passed over.

    Raises:
        WeightsError: there is no checkpoint, or none that is whole.
    """
    damaged: list[str] = []
    for folder in _candidates(where):
        try:
            return open_checkpoint(folder), damaged
        except WeightsError as error:
            damaged.append(str(error))
    if damaged:
        listed = "\n".join(f"  {line}" for line in damaged)
        raise WeightsError(
            f"no whole checkpoint to resume from:\n{listed}\n  Put a copy back, or start anew in another "
            "Global.save_model_dir; Global.pretrained_model takes a run's best/ for its initial weights"
        )
    raise WeightsError(f"{where}: no checkpoint here; expected a run folder with {LATEST}/, or a checkpoint folder")


def _candidates(where: Path) -> list[Path]:
    """The folders to try, newest first.

    A run folder holds `latest/`, or after a kill between two renames only the one before it. Any other folder is taken
    for a checkpoint, which after such a kill may itself be gone or cut short while its predecessor lies beside it.
    """
    in_run = [where / LATEST, previous_of(where / LATEST)]
    if any(folder.is_dir() for folder in in_run):
        return [folder for folder in in_run if folder.is_dir()]
    alone = [folder for folder in (where, previous_of(where)) if folder.is_dir()]
    return alone if any(map(is_checkpoint, alone)) else []


def progress_in(folder: Path) -> Progress | None:
    """What a checkpoint says of itself, its other files unread; None where there is none, or its record is damaged."""
    try:
        return Progress.from_json(json.loads((folder / STATE).read_text(encoding="utf-8"))["progress"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def open_checkpoint(folder: Path) -> Checkpoint:
    """Check a checkpoint folder file by file. Raises WeightsError naming the first file that is missing or damaged."""
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
        if state["format"] != FORMAT:
            raise WeightsError(f"{folder}: written in format {state['format']}; this version reads format {FORMAT}")
        for name, expected in state["sha256"].items():
            if Path(name).name != name:
                raise WeightsError(f"{folder}: {STATE} names {name!r}, which is no file of this folder")
            if not (folder / name).is_file():
                raise WeightsError(f"{folder}: {name} is missing")
            if sha256_of(folder / name) != expected:
                raise WeightsError(f"{folder}: {name} is damaged (its SHA-256 is not the one that was written)")
        stems = tuple(n.removesuffix(".safetensors") for n in state["sha256"] if n.endswith(".safetensors"))
        return Checkpoint(folder, Progress.from_json(state["progress"]), stems)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{folder}: {STATE} cannot be read ({error.__class__.__name__}: {error})") from None
