"""Run a frozen detector: a Paddle layer in eval, Paddle Inference, or ONNX Runtime, behind one small interface.

Three users: the teacher in training, evaluation, and `tools/infer_det.py`. On a CPU, ONNX Runtime is several times as
fast as the dygraph layer, so `auto` converts a Paddle model in memory where no ONNX file lies beside it.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ocr_cml import inference_yml
from ocr_cml.environment import cpu_cores, freed_memory_is_kept, restore_math_threads
from ocr_cml.inference_yml import InferenceConfig, Normalization
from ocr_cml.model_files import ModelFiles, find_files
from ocr_cml.paddle_to_onnx import ConversionError, to_onnx
from ppocr_data.errors import ModelError

if TYPE_CHECKING:
    from paddle import Tensor

    from ocr_cml.models.detector import Detector, DetOutput

__all__ = ["FrozenDetector", "LayerDetector", "Normalization", "check_parity", "open_detector", "probe_images"]

LOG = logging.getLogger(__name__)
STRIDE = 32
ENGINES = ("auto", "paddle", "onnx")
PARITY = 1e-3
_PIXELS_AT_ONCE = 2**19
"""Pixels of a batch that ONNX Runtime is given at once on a CPU: an image of 640x640, or eight of 256x256."""
_SUPPORTED = "supported is a DB text detector: one input [N,3,H,W] float32, first output its probability map [N,1,H,W]"


class FrozenDetector(ABC):
    """Images in, probability maps out; nothing to train.

    Attributes:
        engine: `layer`, `paddle` or `onnx`.
        source: where it came from, for people.
        config: normalisation, resize rule and post-process that belong to it.
    """

    engine: str

    def __init__(self, source: str, config: InferenceConfig) -> None:
        self.source = source
        self.config = config

    @property
    def normalization(self) -> Normalization:
        """How pixels become its input."""
        return self.config.normalization

    def probability(self, images: np.ndarray) -> np.ndarray:
        """uint8 BGR `[N,H,W,3]`, H and W multiples of 32 -> float32 `[N,H,W]` in [0, 1].

        Raises:
            ModelError: the images are of another type or size.
        """
        _check_images(images)
        return self._run(images)[:, 0]

    @abstractmethod
    def _run(self, images: np.ndarray) -> np.ndarray:
        """Checked images -> float32 `[N,1,H,W]`."""


class LayerDetector(FrozenDetector):
    """A network of ours, put into eval mode, on Paddle's current device."""

    engine = "layer"

    def __init__(self, layer: Detector, normalization: Normalization, source: str = "network") -> None:
        super().__init__(source, InferenceConfig(normalization=normalization))
        self.layer = layer
        layer.eval()

    def output(self, images: np.ndarray | Tensor) -> DetOutput:
        """Everything the network says about uint8 BGR `[N,H,W,3]`: logits and features, without gradient."""
        import paddle

        if isinstance(images, np.ndarray):
            _check_images(images)
        with paddle.no_grad():
            return self.layer(self.normalization.to_device(images))

    def _run(self, images: np.ndarray) -> np.ndarray:
        import paddle

        with paddle.no_grad():
            return self.layer.probability(self.normalization.to_device(images)).numpy()


class PaddleDetector(FrozenDetector):
    """Paddle Inference, with the settings of `paddleocr.TextDetection`: oneDNN on a CPU."""

    engine = "paddle"

    def __init__(self, model: Path, params: Path, config: InferenceConfig, device: str, threads: int) -> None:
        super().__init__(str(model), config)
        from paddle import inference

        settings = inference.Config(str(model), str(params))
        if device == "cpu":
            settings.disable_gpu()
            settings.enable_mkldnn()
            settings.set_mkldnn_cache_capacity(10)
            settings.set_cpu_math_library_num_threads(threads)
        else:
            settings.enable_use_gpu(100, _gpu_index(device))
        settings.enable_new_ir(True)
        settings.enable_new_executor()
        settings.set_optimization_level(3)
        settings.enable_memory_optim()
        settings.disable_glog_info()
        try:
            self._predictor = inference.create_predictor(settings)
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(
                f"{model}: Paddle cannot open it ({_last_line(error)}); {params.name} is truncated, or belongs to "
                "another model; copy both files again"
            ) from error
        inputs = self._predictor.get_input_names()
        if len(inputs) != 1:
            raise ModelError(f"{model}: has {len(inputs)} inputs ({', '.join(inputs)}); {_SUPPORTED}")

    def _run(self, images: np.ndarray) -> np.ndarray:
        predictor = self._predictor
        handle = predictor.get_input_handle(predictor.get_input_names()[0])
        handle.copy_from_cpu(self.normalization.apply(images))
        try:
            predictor.run()
        finally:
            restore_math_threads()
        return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()


class OnnxDetector(FrozenDetector):
    """ONNX Runtime, on a file or on bytes in memory; on a CPU with the `shortcuts`."""

    engine = "onnx"

    def __init__(self, model: str | bytes, source: str, config: InferenceConfig, device: str, threads: int) -> None:
        super().__init__(source, config)
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        # Threads that spin between two calls steal the cores that the training step needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        # A memory pool of its own would lie beside what the allocator keeps for the training, and idle most of a step.
        options.enable_cpu_mem_arena = not freed_memory_is_kept()
        self._on_cpu = device == "cpu"
        provider: Any = "CPUExecutionProvider"
        if device != "cpu":
            provider = ("CUDAExecutionProvider", {"device_id": _gpu_index(device)})
        try:
            self._session = ort.InferenceSession(
                _shortened(model, source) if self._on_cpu else model, options, providers=[provider]
            )
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise ModelError(f"{source}: ONNX Runtime cannot open it ({_last_line(error)}); export it again") from error
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{source}: has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); {_SUPPORTED}")
        self._input, self._output = inputs[0].name, self._session.get_outputs()[0].name
        self._single = inputs[0].shape[:1] == [1]  # exported for one image at a time

    def _run(self, images: np.ndarray) -> np.ndarray:
        # A large batch at once is no faster on a CPU, and its activations would stay in the process beside a training.
        at_once = max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
        count = 1 if self._single else at_once if self._on_cpu else max(1, len(images))
        parts = [images[first : first + count] for first in range(0, max(1, len(images)), count)]
        maps = [self._session.run([self._output], {self._input: self.normalization.apply(p)})[0] for p in parts]
        return maps[0] if len(maps) == 1 else np.concatenate(maps)


def _shortened(model: str | bytes, source: str) -> str | bytes:
    """The same network with fewer multiplications; the model as it is where no shortcut applies."""
    from ocr_cml.shortcuts import GraphError, shortened

    try:
        return shortened(model) or model
    except GraphError as error:  # opening the model as it is says what is wrong with it
        LOG.debug("%s: no shortcuts (%s)", source, _last_line(error))
        return model


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
    _check_device(device)
    stated = (path if path.is_dir() else path.parent) / inference_yml.FILE_NAME
    files = find_files(path)
    config = inference_yml.read(stated) if stated.is_file() else InferenceConfig()
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
    _check_cuda_provider(device)
    if files.onnx is not None or files.program is None or files.params is None:
        return _checked(OnnxDetector(str(files.onnx), str(files.onnx), config, device, threads))
    converted = to_onnx(files.program, files.params)
    return _checked(OnnxDetector(converted, f"{files.program} (converted to ONNX)", config, device, threads))


def _open_fastest(files: ModelFiles, config: InferenceConfig, device: str, threads: int) -> FrozenDetector:
    if files.program is None:
        return _open_onnx(files, config, device, threads)
    if device != "cpu":
        return _open_paddle(files, config, device, threads)
    try:
        fast = _open_onnx(files, config, device, threads)
    except ConversionError as error:
        LOG.warning("%s: cannot be converted to ONNX (%s); it runs in Paddle, more slowly", files.program, error)
        return _open_paddle(files, config, device, threads)
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
            f"{detector.source}: does not take an input of {shape} ({_last_line(error)}); {_SUPPORTED}, N, H and W free"
        ) from error
    wanted = [1, 1, *images.shape[1:3]]
    if list(answer.shape) != wanted:
        raise ModelError(
            f"{detector.source}: answers an image of {shape} with {list(answer.shape)}, not with {wanted}; {_SUPPORTED}"
        )
    if not np.isfinite(answer).all() or answer.min() < -PARITY or answer.max() > 1 + PARITY:
        raise ModelError(
            f"{detector.source}: answers with values from {answer.min():.3g} to {answer.max():.3g}, which are no "
            f"probabilities; {_SUPPORTED}"
        )
    return detector


def _check_images(images: np.ndarray) -> None:
    shape = list(images.shape)
    if images.dtype != np.uint8 or images.ndim != 4 or shape[3] != 3 or shape[1] % STRIDE or shape[2] % STRIDE:
        raise ModelError(f"images must be uint8 [N,H,W,3], H and W multiples of {STRIDE}; got {images.dtype} {shape}")


def _check_device(device: str) -> None:
    kind, _, index = device.partition(":")
    if kind not in ("cpu", "gpu") or (index and (kind == "cpu" or not index.isdigit())):
        raise ModelError(f"device {device!r} is unknown; choose cpu, gpu or gpu:N")


def _gpu_index(device: str) -> int:
    """The number in `gpu:N`; of plain `gpu` the one that Paddle is using."""
    import paddle

    _, _, index = (device if ":" in device else paddle.get_device()).partition(":")
    count = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if not count:
        raise ModelError(
            f"device {device}: paddle sees no GPU here; use cpu, or install its GPU build (requirements-gpu.txt)"
        )
    if int(index or 0) >= count:
        raise ModelError(f"device {device}: there are {count} GPUs, numbered from 0")
    return int(index or 0)


def _check_cuda_provider(device: str) -> None:
    import onnxruntime as ort

    if device != "cpu" and "CUDAExecutionProvider" not in ort.get_available_providers():
        raise ModelError(
            f"device {device}: ONNX Runtime has no CUDA here; use engine paddle, or install onnxruntime-gpu"
        )


def _last_line(error: Exception) -> str:
    """The last line that says something of an engine's long message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200] if lines else type(error).__name__
