"""A network of ours in the fastest engine at hand: for a frozen teacher and for evaluation on a CPU.

The same student answers several times as fast in ONNX Runtime as in dygraph; a conversion takes a few seconds.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import paddle

from ocr_cml.export import save_graph
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.log import LOG
from ocr_cml.models.detector import Detector
from ocr_cml.normalization import Normalization
from ocr_cml.paddle_to_onnx import ConversionError, to_onnx
from ocr_cml.runtime import FrozenDetector, LayerDetector, OnnxDetector, check_parity, probe_images
from ppocr_data.errors import ModelError

_WORTH_CONVERTING = 30
"""Images from which on a CPU it pays to convert a network."""


def answering(layer: Detector, normalization: Normalization, threads: int, source: str, images: int) -> FrozenDetector:
    """What answers so many images soonest: the network converted by `fastest`, or for few of them as it is."""
    if images >= _WORTH_CONVERTING:
        return fastest(layer, normalization, threads, source)
    return LayerDetector(layer, normalization, source)


def fastest(layer: Detector, normalization: Normalization, threads: int, source: str) -> FrozenDetector:
    """The network as it is now, in ONNX Runtime where that works and agrees; else, and on a GPU, the layer itself.

    The weights are copied: later training of `layer` does not reach the ONNX copy. After its first steps a network's
    running statistics may fit it so badly that its activations are huge and rounding alone moves its map: no reason to
    end a training.
    """
    plain = LayerDetector(layer, normalization, source)
    if paddle.get_device() != "cpu":
        return plain
    try:
        with tempfile.TemporaryDirectory() as folder:
            save_graph(layer, Path(folder) / "inference")
            model = to_onnx(Path(folder) / "inference.json", Path(folder) / "inference.pdiparams")
    # No temporary folder is an OSError, a full one Paddle's RuntimeError.
    except (ConversionError, OSError, RuntimeError) as error:
        LOG.warning("%s: cannot be converted to ONNX (%s); it runs in dygraph, more slowly", source, error)
        return plain
    converted = OnnxDetector(model, source, InferenceConfig(normalization=normalization), "cpu", threads)
    try:
        check_parity(converted, plain, probe_images())
    except ModelError as error:
        found = str(error).partition(". ")[0]
        LOG.warning("%s: not sure enough in ONNX Runtime (%s); it runs in dygraph, more slowly", source, found)
        return plain
    return converted
