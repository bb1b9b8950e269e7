"""PaddleOCR's published detectors by name, from the store that paddleocr itself keeps on a machine."""

from __future__ import annotations

import os
from pathlib import Path

from ocr_cml.yaml_source import nearest
from ppocr_data.errors import ModelError

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
        guess = nearest(name, DETECTORS)
        known = f"did you mean {guess}?" if guess else f"published detectors are {', '.join(DETECTORS)}"
        raise ModelError(f"{name}: no such folder or .onnx file, and no published detector has this name; {known}")
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
