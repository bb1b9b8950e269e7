"""ONNX Runtime as a frozen detector."""

from __future__ import annotations

from typing import Any

import numpy as np

from ocr_cml.environment import freed_memory_is_kept
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.log import LOG
from ocr_cml.runtime.detector import SUPPORTED, FrozenDetector, last_line
from ocr_cml.runtime.devices import gpu_index
from ppocr_data.errors import ModelError

_PIXELS_AT_ONCE = 2**19
"""Pixels of a batch that ONNX Runtime is given at once on a CPU: an image of 640x640, or eight of 256x256."""


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
            provider = ("CUDAExecutionProvider", {"device_id": gpu_index(device)})
        self._session = _session(model, source, options, provider, shorten=self._on_cpu)
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{source}: has {len(inputs)} inputs ({', '.join(i.name for i in inputs)}); {SUPPORTED}")
        self._input, self._output = inputs[0].name, self._session.get_outputs()[0].name
        self._single = inputs[0].shape[:1] == [1]  # exported for one image at a time

    def _run(self, images: np.ndarray) -> np.ndarray:
        # A large batch at once is no faster on a CPU, and its activations would stay in the process beside a training.
        at_once = max(1, _PIXELS_AT_ONCE // (images.shape[1] * images.shape[2]))
        count = 1 if self._single else at_once if self._on_cpu else max(1, len(images))
        parts = [images[first : first + count] for first in range(0, max(1, len(images)), count)]
        maps = [self._session.run([self._output], {self._input: self.normalization.apply(p)})[0] for p in parts]
        return np.asarray(maps[0] if len(maps) == 1 else np.concatenate(maps), np.float32)  # it may answer in 16 bits


def _session(model: str | bytes, source: str, options: Any, provider: Any, *, shorten: bool) -> Any:
    """A session on the network, with fewer multiplications where shortcuts apply, else on the model as it is.

    Raises:
        ModelError: ONNX Runtime cannot open the model.
    """
    import onnxruntime as ort

    if shorten and (shorter := _shortened(model, source)) is not None:
        try:
            return ort.InferenceSession(shorter, options, providers=[provider])
        except Exception as error:  # noqa: BLE001  ours is at fault, and the model may be sound
            LOG.warning("%s: runs without the shortcuts, which do not fit it (%s)", source, last_line(error))
    try:
        return ort.InferenceSession(model, options, providers=[provider])
    except Exception as error:  # ONNX Runtime's errors share no other base
        raise ModelError(f"{source}: ONNX Runtime cannot open it ({last_line(error)}); export it again") from error


def _shortened(model: str | bytes, source: str) -> bytes | None:
    """The same network with fewer multiplications; None where no shortcut applies."""
    from ocr_cml.shortcuts import GraphError, shortened

    try:
        return shortened(model)
    except GraphError as error:  # opening the model as it is says what is wrong with it
        LOG.debug("%s: no shortcuts (%s)", source, last_line(error))
        return None
    except Exception as error:  # noqa: BLE001  as in `_session`
        LOG.warning("%s: runs without the shortcuts, which do not know what it holds (%s)", source, last_line(error))
        return None
