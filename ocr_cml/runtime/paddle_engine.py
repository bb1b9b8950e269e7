"""Paddle Inference as a frozen detector."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np

from ocr_cml.environment import restore_math_threads, take_back_sigterm
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.runtime.detector import SUPPORTED, FrozenDetector, last_line
from ocr_cml.runtime.devices import gpu_index
from ppocr_data.errors import ModelError


class PaddleDetector(FrozenDetector):
    """Paddle Inference, with the settings of `paddleocr.TextDetection`: oneDNN on a CPU.

    Threads that share one take turns: a predictor's input, run and output belong together, and Paddle ends the process
    where two meet in it.
    """

    engine = "paddle"

    def __init__(self, model: Path, params: Path, config: InferenceConfig, device: str, threads: int) -> None:
        super().__init__(str(model), config)
        from paddle import inference

        take_back_sigterm()
        self._turn = threading.Lock()
        settings = inference.Config(str(model), str(params))
        if device == "cpu":
            settings.disable_gpu()
            settings.enable_mkldnn()
            settings.set_mkldnn_cache_capacity(10)
            settings.set_cpu_math_library_num_threads(threads)
        else:
            settings.enable_use_gpu(100, gpu_index(device))
        settings.enable_new_ir(True)
        settings.enable_new_executor()
        settings.set_optimization_level(3)
        settings.enable_memory_optim()
        settings.disable_glog_info()
        try:
            self._predictor = inference.create_predictor(settings)
        except (RuntimeError, ValueError, OSError) as error:
            raise ModelError(
                f"{model}: Paddle cannot open it ({last_line(error)}); {params.name} is truncated, or belongs to "
                "another model; copy both files again"
            ) from error
        inputs = self._predictor.get_input_names()
        if len(inputs) != 1:
            raise ModelError(f"{model}: has {len(inputs)} inputs ({', '.join(inputs)}); {SUPPORTED}")

    def _run(self, images: np.ndarray) -> np.ndarray:
        predictor, pixels = self._predictor, self.normalization.apply(images)
        with self._turn:
            predictor.get_input_handle(predictor.get_input_names()[0]).copy_from_cpu(pixels)
            try:
                predictor.run()
            finally:
                restore_math_threads()
            return predictor.get_output_handle(predictor.get_output_names()[0]).copy_to_cpu()
