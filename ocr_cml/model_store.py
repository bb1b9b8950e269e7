"""What a configuration names and a machine may not have yet: published detectors by name, weight files by address.

Detectors come from the store that paddleocr itself keeps. Both are fetched once, at the moment they are needed; where
there is no network, the message says where to put the files.
"""

from __future__ import annotations

import http.client
import os
import re
import shutil
import urllib.parse
import urllib.request
from pathlib import Path

from ocr_cml.log import LOG
from ppocr_data.atomic import replacing
from ppocr_data.errors import ModelError, WeightsError
from ppocr_data.spelling import hint

_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_SECONDS = 30

DETECTORS = (
    *("PP-OCRv3_mobile_det", "PP-OCRv3_server_det", "PP-OCRv4_mobile_det", "PP-OCRv4_server_det"),
    *("PP-OCRv4_mobile_seal_det", "PP-OCRv4_server_seal_det", "PP-OCRv5_mobile_det", "PP-OCRv5_server_det"),
    *("PP-OCRv6_tiny_det", "PP-OCRv6_small_det", "PP-OCRv6_medium_det"),
)


def resolve(name_or_path: str | Path) -> Path:
    """The folder or file of an inference model.

    A path that exists wins. The name of a published detector means its folder in paddleocr's store
    (`~/.paddlex/official_models`, or that under PADDLE_PDX_CACHE_HOME); where it is not there yet, paddlex is asked to
    download it, once.

    Args:
        name_or_path: a folder, an `.onnx` file, or one of `DETECTORS`.

    Raises:
        ModelError: there is no such path and no such name; or the model is not in the store and cannot be downloaded,
            in which case the message says where to put its files.
    """
    path = Path(name_or_path)
    if path.exists():
        return path
    name = str(name_or_path)
    if name not in DETECTORS:
        message = f"{name}: no such folder or .onnx file (from {Path.cwd()})"
        if len(path.parts) == 1:  # it may be meant for a name
            message += (
                f", and no published detector has this name; {hint(name, DETECTORS, 'the published detectors are')}"
            )
        raise ModelError(message)
    for folder in (store() / name, store() / f"{name}_onnx"):
        if folder.is_dir():
            return folder
    return _download(name)


def store() -> Path:
    """The folder in which paddleocr keeps published models, a folder each."""
    return Path(os.environ.get("PADDLE_PDX_CACHE_HOME") or Path.home() / ".paddlex") / "official_models"


def _download(name: str) -> Path:
    try:
        from paddlex.inference.utils.official_models import official_models

        return Path(official_models.get_model_path(name))
    except Exception as error:  # noqa: BLE001  (paddlex raises Exception itself where no host answers)
        reason = str(error).strip() or type(error).__name__
        raise ModelError(
            f"{name}: is not in {store()} and could not be downloaded ({reason}). On a machine with a network, "
            f"download the inference model {name} from https://huggingface.co/PaddlePaddle/{name}, and put its "
            f"inference.json (or inference.pdmodel), inference.pdiparams and inference.yml into {store() / name}; or "
            "give the folder that holds them instead of the name"
        ) from None


# --- weight files by address -----------------------------------------------------------------------------------------


def is_address(where: object) -> bool:
    """Whether a weight file is named by an `http://` or `https://` address."""
    return isinstance(where, str) and _ADDRESS.match(where) is not None


def weight_file(where: str) -> str:
    """The path that `where` means: itself, or the file that its address was downloaded to, now or earlier.

    Each address has a place of its own, host and path, under `weight_cache()`: PaddleOCR keeps only the file's name,
    under which `teacher.pdparams` of one model is taken for that of another.

    Raises:
        WeightsError: the file is not there and cannot be downloaded; the message says where to put it.
    """
    if not is_address(where):
        return where
    target = cached_at(where)
    if not target.is_file():
        LOG.info("downloading %s to %s", where, target)
        try:
            _fetch(where, target)
        except (OSError, ValueError, http.client.HTTPException) as error:
            raise WeightsError(
                f"{where}: could not be downloaded ({error}). On a machine with a network download it and put it at "
                f"{target}; or name another file, or null for random weights"
            ) from None
    return str(target)


def weight_cache() -> Path:
    """Where downloaded weight files are kept: `OCR_CML_CACHE`, or `~/.cache/ocr_cml`."""
    return Path(os.environ.get("OCR_CML_CACHE") or Path.home() / ".cache" / "ocr_cml")


def cached_at(address: str) -> Path:
    """The place of an address in the cache. Raises WeightsError where it names no file, or is none."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError as error:
        raise WeightsError(f"{address}: is no address ({error})") from None
    inside = [part for part in urllib.parse.unquote(parts.path).split("/") if part not in ("", ".", "..")]
    if not parts.hostname or not inside or parts.path.endswith("/"):
        raise WeightsError(f"{address}: names no file")
    return weight_cache().joinpath(parts.hostname, *inside)


def _fetch(address: str, target: Path) -> None:
    """Download, whole or not at all; processes that do so at once do not disturb each other."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as fresh:
        with urllib.request.urlopen(address, timeout=_SECONDS) as answer, fresh.open("wb") as file:
            shutil.copyfileobj(answer, file)
            promised, got = answer.headers.get("Content-Length"), file.tell()
        if promised is not None and int(promised) != got:
            raise OSError(f"it ended after {got} of {promised} bytes")
