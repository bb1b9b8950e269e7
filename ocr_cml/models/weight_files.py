"""Weight files: found, read without running code from them, written whole."""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ocr_cml.models import pdparams
from ocr_cml.models.pdparams import Weights, read_pdparams
from ocr_cml.run_files import BEST, LATEST, is_checkpoint
from ppocr_data.atomic import replacing
from ppocr_data.errors import WeightsError

MOST_BYTES = 2**31
"""The largest that a compressed weight file may become: a few kilobytes could otherwise fill the memory."""


def _read_safetensors(file: BinaryIO) -> Weights:
    return load_file(file.name)


def _read_npz(file: BinaryIO) -> Weights:
    archive = np.load(file, allow_pickle=False)
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise WeightsError("it holds one array, not a table of weights by name")
    size = sum(entry.file_size for entry in archive.zip.infolist())
    if size > MOST_BYTES:
        raise WeightsError(f"unpacked it has {size:,} bytes; no detector's weights have more than {MOST_BYTES:,}")
    return {key: archive[key] for key in archive.files}


READERS: dict[str, Callable[[BinaryIO], Weights]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".pdparams": read_pdparams,
}
_BESIDE_A_STUDENT = (".optimizer", ".connectors", ".mean")
"""Ends of the stems of what a checkpoint holds beside `<student>.safetensors`: no network's weights by themselves."""
_UNREADABLE = (
    *(pickle.UnpicklingError, SafetensorError, zipfile.BadZipFile, struct.error, zlib.error, EOFError, MemoryError),
    *(AttributeError, LookupError, OSError, OverflowError, TypeError, ValueError),
    RuntimeError,  # and NotImplementedError: an archive of a newer zip, encrypted, or compressed in another way
)


def find_weights(path: str | Path, name: str | None = None) -> Path:
    """The weight file that a path means.

    Args:
        path: a file; a file without its extension (PaddleOCR's habit: output/best_accuracy); or a folder with one
            weight file, or one for each student (a run's best/; of its latest/ the exponential mean where one is
            kept, which is what was evaluated).
        name: the network to load, which chooses among a folder's files.

    Raises:
        WeightsError: there is no such file, or more than one, or its kind is unknown.
    """
    path = Path(path)
    kinds = ", ".join(READERS)
    if path.is_dir():
        for made in (BEST, LATEST):
            if is_checkpoint(path / made):
                raise WeightsError(f"{path}: is a run's folder; its {made} weights are {path / made}")
        files = sorted(f for f in path.iterdir() if f.suffix in READERS and f.is_file())
        files = [f for f in files if not f.stem.endswith(_BESIDE_A_STUDENT)]
        files = [f for f in files if f.stem == name] or files
        if len(files) == 1:
            mean = files[0].with_name(f"{files[0].stem}.mean.safetensors")
            return mean if mean.is_file() else files[0]
        if not files and ((path / "inference.pdiparams").is_file() or (path / "inference.onnx").is_file()):
            raise WeightsError(
                f"{path}: is an inference model, which has no weights to learn from; students start from a training "
                "model's weight file (a teacher takes such a folder as inference_model)"
            )
        found = ", ".join(f.name for f in files) or "none"
        which = f"; name one by Architecture.Models.{name}.pretrained" if files and name else ""
        raise WeightsError(
            f"{path}: expected one weight file ({kinds}) for {name or 'the network'}, found: {found}{which}"
        )
    if path.is_file():
        if path.suffix not in READERS:
            raise WeightsError(f"{path}: unknown kind of weight file; known are {kinds}")
        return path
    files = [f for f in (path.with_name(path.name + kind) for kind in READERS) if f.is_file()]
    if len(files) > 1:
        raise WeightsError(f"{path}: ambiguous, name one of {', '.join(f.name for f in files)}")
    if not files and path.name == BEST and is_checkpoint(path.parent / LATEST):
        raise WeightsError(f"{path}: is not there, as its run was not evaluated yet; take {path.parent / LATEST}")
    if not files:
        raise WeightsError(f"{path}: no such weight file, nor with one of {kinds} added")
    return files[0]


def read_weights(path: str | Path, name: str | None = None) -> Weights:
    """The arrays in a weight file by their names, as stored. Never runs code from the file.

    Args:
        path: .safetensors, .npz or .pdparams, or what `find_weights` resolves to one.
        name: the network to load, where `path` is a folder with several students.

    Raises:
        WeightsError: no such file, a damaged one, or a pickle that names anything but arrays.
    """
    file = find_weights(path, name)
    try:
        with file.open("rb") as stream:
            weights = READERS[file.suffix](stream)
    except WeightsError as error:
        raise WeightsError(f"{file}: {error}") from None
    except _UNREADABLE as error:
        reason = str(error) or type(error).__name__
        raise WeightsError(f"{file}: not a readable {file.suffix} file ({reason})") from None
    if not weights:
        raise WeightsError(f"{file}: holds no weights")
    return weights


def is_ours(file: Path) -> bool:
    """Whether a `.pdparams` is one of those that `write_pdparams` writes; one that cannot be read is not."""
    try:
        with file.open("rb") as stream:
            return pdparams.is_ours(stream)
    except (WeightsError, *_UNREADABLE):
        return False


def save_weights(detector_state: Mapping[str, np.ndarray], path: str | Path) -> None:
    """Writes arrays by name as safetensors: the file is whole or, if this fails, what it was before.

    Raises:
        WeightsError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sync=True) as fresh:
            save_file({key: np.ascontiguousarray(value) for key, value in detector_state.items()}, fresh)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"{path}: the weights could not be written ({error}); no earlier file was touched") from None
