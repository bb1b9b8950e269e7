"""Open a model in the engine that fits, try it, and compare engines."""

from __future__ import annotations

import logging
from pathlib import Path

import cv2
import numpy as np

from ocr_cml import inference_yml
from ocr_cml.environment import cpu_cores
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.log import LOG
from ocr_cml.model_files import ModelFiles, find_files
from ocr_cml.paddle_to_onnx import ConversionError, to_onnx
from ocr_cml.runtime.detector import SUPPORTED, FrozenDetector, last_line
from ocr_cml.runtime.devices import check_cuda_provider, check_device
from ocr_cml.runtime.onnx_engine import OnnxDetector
from ocr_cml.runtime.paddle_engine import PaddleDetector
from ppocr_data.errors import ModelError

ENGINES = ("auto", "paddle", "onnx")
PARITY = 1e-3
"""How far two engines' maps of one picture may lie apart."""


def open_detector(
    path: Path | str, engine: str = "auto", device: str = "cpu", threads: int | None = None
) -> FrozenDetector:
    """Open an inference model and make sure that it answers as a text detector does.

    Args:
        path: a folder with `inference.json` (or `.pdmodel`) and `inference.pdiparams`, or `inference.onnx`, or both;
            or an `.onnx` file. An `inference.yml` beside it states how pixels are normalised.
        engine: `paddle`, `onnx`, or `auto`: on a CPU ONNX Runtime, on a GPU Paddle where it can. A Paddle model is
            converted in memory; where that fails, it runs in Paddle and the log says so. `auto` on a CPU compares both
            engines on one picture, so that a stale ONNX file is noticed; naming the engine saves that second.
        device: `cpu`, `gpu` or `gpu:N`.
        threads: CPU threads; by default as many as this process may use.

    Raises:
        ModelError: files are missing, the engine or device is not there, or the model is no text detector.
    """
    path = Path(path)
    if engine not in ENGINES:
        raise ModelError(f"engine {engine!r} is unknown; choose {', '.join(ENGINES)}")
    check_device(device)
    stated = inference_yml.beside(path)
    files = find_files(path)
    config = inference_yml.read(stated) if stated.is_file() else InferenceConfig()
    if not stated.is_file():
        norm, post = config.normalization, config.postprocess
        # PaddleOCR's own folders come without one, and are meant so; an ONNX file may be anybody's.
        LOG.log(
            logging.WARNING if files.program is None else logging.INFO,
            "%s: has no %s beside it, so pixels are normalised as PaddleOCR's detectors want them (BGR, mean %s, "
            "std %s) and maps read with thresh %g, box_thresh %g, unclip_ratio %g",
            *(files.program or files.onnx, inference_yml.FILE_NAME, list(norm.mean), list(norm.std)),
            *(post.thresh, post.box_thresh, post.unclip_ratio),
        )
    open_with = {"paddle": _open_paddle, "onnx": _open_onnx, "auto": _open_fastest}[engine]
    try:
        return open_with(files, config, device, threads or cpu_cores())
    except ConversionError as error:
        raise ModelError(f"{files.program}: cannot be converted to ONNX ({error}); use engine paddle") from error


def _open_paddle(files: ModelFiles, config: InferenceConfig, device: str, threads: int) -> FrozenDetector:
    if files.program is None or files.params is None:
        raise ModelError(f"{files.onnx}: is an ONNX model; use engine onnx, or export it with inference.pdiparams")
    return _checked(PaddleDetector(files.program, files.params, config, device, threads))


def _open_onnx(files: ModelFiles, config: InferenceConfig, device: str, threads: int) -> FrozenDetector:
    """Raises ConversionError where there is no ONNX file and the Paddle model has no ONNX form."""
    check_cuda_provider(device)
    if files.onnx is not None or files.program is None or files.params is None:
        return _checked(OnnxDetector(str(files.onnx), str(files.onnx), config, device, threads))
    converted = to_onnx(files.program, files.params)
    try:
        detector = OnnxDetector(converted, f"{files.program} (converted to ONNX)", config, device, threads)
    except ModelError as error:  # weights that were cut short, say, which the converter does not mind
        raise ConversionError(str(error)) from error
    return _checked(detector)


def _open_fastest(files: ModelFiles, config: InferenceConfig, device: str, threads: int) -> FrozenDetector:
    if files.program is None:
        return _open_onnx(files, config, device, threads)
    if device != "cpu":
        return _open_paddle(files, config, device, threads)
    try:
        fast = _open_onnx(files, config, device, threads)
    except ConversionError as error:
        plain = _open_paddle(files, config, device, threads)  # which says what is wrong with a model that is damaged
        LOG.warning("%s: cannot be converted to ONNX (%s); it runs in Paddle, more slowly", files.program, error)
        return plain
    try:
        reference = _open_paddle(files, config, device, threads)
    except ModelError as error:
        LOG.warning("%s; it runs in ONNX Runtime, with nothing to compare with", error)
        return fast
    check_parity(fast, reference, probe_images())
    return fast


def check_parity(a: FrozenDetector, b: FrozenDetector, images: np.ndarray, atol: float = PARITY) -> float:
    """The largest absolute difference between two detectors' maps of uint8 BGR `[N,H,W,3]`.

    Raises:
        ModelError: it exceeds `atol`.
    """
    difference = float(np.abs(a.probability(images) - b.probability(images)).max())
    if not difference <= atol:
        raise ModelError(
            f"{a.source} ({a.engine}) and {b.source} ({b.engine}) answer differently: maps differ by {difference:.2g}, "
            f"allowed is {atol:g}. One of them is out of date: export again, or name the engine to use"
        )
    return difference


def probe_images() -> np.ndarray:
    """A small picture with text, uint8 `[1,64,96,3]`: what every model is tried on when it is opened."""
    image = np.full((64, 96, 3), 230, np.uint8)
    image[:, :, 0] = np.arange(96, dtype=np.uint8) + 120
    cv2.putText(image, "Text 12", (6, 40), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (20, 30, 40), 2, cv2.LINE_AA)
    return image[None]


def _checked(detector: FrozenDetector) -> FrozenDetector:
    """Try the model on one picture and refuse what does not answer with a map of probabilities."""
    images = probe_images()
    shape = [1, 3, *images.shape[1:3]]
    try:
        answer = detector._run(images)
    except Exception as error:  # whatever an engine raises for an input that the graph does not take
        raise ModelError(
            f"{detector.source}: does not take an input of {shape} ({last_line(error)}); {SUPPORTED}, N, H and W free"
        ) from error
    wanted = [1, 1, *images.shape[1:3]]
    if list(answer.shape) != wanted:
        raise ModelError(
            f"{detector.source}: answers an image of {shape} with {list(answer.shape)}, not with {wanted}; {SUPPORTED}"
        )
    if not np.isfinite(answer).all() or answer.min() < -PARITY or answer.max() > 1 + PARITY:
        raise ModelError(
            f"{detector.source}: answers with values from {answer.min():.3g} to {answer.max():.3g}, which are no "
            f"probabilities; {SUPPORTED}"
        )
    return detector
