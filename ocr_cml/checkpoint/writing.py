"""Write a checkpoint so that a kill or a power cut at any moment leaves a whole one."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import save_file

from ocr_cml.checkpoint.arrays import Arrays
from ocr_cml.checkpoint.progress import Progress
from ocr_cml.checkpoint.reading import FORMAT, open_checkpoint
from ocr_cml.run_files import CONFIG, STATE, previous_of, temporary_of
from ppocr_data.digests import sha256_of
from ppocr_data.errors import UserError, WeightsError


def save(folder: Path, files: Mapping[str, Arrays], progress: Progress, config_yaml: str) -> None:
    """Write a checkpoint: whole or not at all, with the previous one kept as `<name>.previous`.

    Args:
        folder: for example `RUN/latest`.
        files: file stem -> arrays.
        progress: where the run stands.
        config_yaml: the resolved configuration, so that a checkpoint is usable without its run folder.

    Raises:
        UserError: the disk is full or the folder cannot be written; existing checkpoints are whole.
    """
    temporary = temporary_of(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        hashes = {
            f"{stem}.safetensors": _write(temporary / f"{stem}.safetensors", arrays) for stem, arrays in files.items()
        }
        _write_text(temporary / CONFIG, config_yaml)
        hashes[CONFIG] = sha256_of(temporary / CONFIG)
        state = {"format": FORMAT, "progress": asdict(progress), "sha256": hashes}
        _write_text(temporary / STATE, json.dumps(state, indent=1))
        _sync_folder(temporary)
        _swap_in(temporary, folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise UserError(f"{folder}: the checkpoint could not be written: {error}; earlier ones are whole") from None


def _write(path: Path, arrays: Arrays) -> str:
    save_file({name: np.asarray(value, order="C") for name, value in arrays.items()}, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return sha256_of(path)


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Ask for the folder's entries to be on the disk before what follows: a power cut may otherwise lose a rename."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _swap_in(temporary: Path, folder: Path) -> None:
    """Put the new checkpoint in place. Between any two renames at least one whole checkpoint has a known name."""
    previous = previous_of(folder)
    if _is_whole(folder):
        if previous.is_symlink():  # to another disk; it comes here from `folder`, and rmtree leaves links
            previous.unlink()
        shutil.rmtree(previous, ignore_errors=True)
        os.rename(folder, previous)
    elif folder.is_dir():
        shutil.rmtree(folder)  # damaged: the one before it stays, it may be the only whole one
    os.rename(temporary, folder)
    _sync_folder(folder.parent)


def finish_interrupted_save(folder: Path) -> None:
    """Complete a save that was killed between its two renames: what it wrote is whole and newer than the one before.

    Only the run's owner may call it: what looks abandoned could else be a save at work.
    """
    temporary = temporary_of(folder)
    if not folder.exists() and temporary.is_dir() and _is_whole(temporary):
        with contextlib.suppress(OSError):  # a folder that cannot be written is told by whoever writes next
            os.rename(temporary, folder)


def swap_with_previous(folder: Path) -> None:
    """Let a checkpoint and the one before it change places; `folder` itself may be missing.

    After a kill in between `finish_interrupted_save` puts back what stood in `folder`.
    """
    previous, aside = previous_of(folder), temporary_of(folder)
    shutil.rmtree(aside, ignore_errors=True)
    if folder.is_dir():
        folder.rename(aside)
    previous.rename(folder)
    if aside.is_dir():
        aside.rename(previous)


def _is_whole(folder: Path) -> bool:
    try:
        open_checkpoint(folder)
    except WeightsError:
        return False
    return True
