"""Small ONNX graphs written by hand: detectors of dark rectangles, and models that are no detectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STEEPNESS, DARK = 6.0, -1.0
"""P = sigmoid(STEEPNESS * (DARK - mean of the normalised channels)): dark pixels are text."""


def dark_detector(path: Path, *, steepness: float = STEEPNESS, ending: str = "Sigmoid", stride: int = 1) -> Path:
    """A 1x1 convolution and an activation: a right detector unless `ending` or `stride` say otherwise."""
    weight = np.full((1, 3, 1, 1), -steepness / 3, np.float32)
    bias = np.array([steepness * DARK], np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "weight", "bias"], ["z"], kernel_shape=[1, 1], strides=[stride, stride]),
        helper.make_node(ending, ["z"], ["p"]),
    ]
    return save(path, nodes, {"weight": weight, "bias": bias})


def save(path: Path, nodes: list, constants: dict[str, np.ndarray], inputs: tuple[str, ...] = ("x",)) -> Path:
    """A graph from float images `[N,3,H,W]` to the output `p`."""
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 3, "h", "w"]) for name in inputs]
    answer = [helper.make_tensor_value_info("p", TensorProto.FLOAT, None)]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "graph", given, answer, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(model, str(path))
    return path


def page(height: int = 96, width: int = 160, rectangles: int = 3, seed: int = 0) -> np.ndarray:
    """A light uint8 BGR picture with dark bars, one below the other."""
    rng = np.random.default_rng(seed)
    image = rng.integers(200, 256, (height, width, 3), dtype=np.uint8)
    for index in range(rectangles):
        top = 6 + index * (height // rectangles)
        image[top : top + height // rectangles // 2, 10 : width - 15 * (index + 1)] = rng.integers(0, 30)
    return image
