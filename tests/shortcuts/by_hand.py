"""Graphs made by hand, and what they answer."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ocr_cml.shortcuts import shortened

RNG = np.random.default_rng(7)
NEAREST = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}


def answer(model: bytes | onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    options = ort.SessionOptions()
    options.log_severity_level = 3
    content = model if isinstance(model, bytes) else model.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def kinds(model: bytes | onnx.ModelProto) -> Counter[str]:
    loaded = onnx.load_from_string(model) if isinstance(model, bytes) else model
    return Counter(node.op_type for node in loaded.graph.node)


def kernels(model: bytes | None) -> list[np.ndarray]:
    """The kernels of all convolutions."""
    assert model is not None
    graph = onnx.load_from_string(model).graph
    constants = {constant.name: numpy_helper.to_array(constant) for constant in graph.initializer}
    return [constants[node.input[1]] for node in graph.node if node.op_type == "Conv"]


def image(height: int, width: int, count: int = 1, channels: int = 3) -> np.ndarray:
    return RNG.standard_normal((count, channels, height, width)).astype(np.float32)


class Pyramid:
    """The end of a detector by hand, small enough to change one thing at a time."""

    def __init__(self) -> None:
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[NodeProto] = []

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1)).astype(np.float32)
        return name

    def add(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def conv(self, value: str, inputs: int, outputs: int, size: int, bias: bool = False, **attributes: Any) -> str:
        stated: dict[str, Any] = {"kernel_shape": [size, size], "pads": [size // 2] * 4} | attributes
        group = stated.get("group", 1)
        weights = [self.constant(outputs, inputs // group, size, size)] + [self.constant(outputs)] * bias
        return self.add("Conv", [value, *weights], **stated)

    def enlarge(self, value: str, factor: float, **rule: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = np.array([1, 1, factor, factor], np.float32)
        return self.add("Resize", [value, "", name], **(NEAREST | rule))

    def deconv(self, value: str, inputs: int, outputs: int, size: int = 2, bias: bool = True, **attributes: Any) -> str:
        stated: dict[str, Any] = {"kernel_shape": [size, size], "strides": [2, 2]} | attributes
        weights = [self.constant(inputs, outputs, size, size)] + [self.constant(outputs)] * bias
        return self.add("ConvTranspose", [value, *weights], **stated)

    def model(self, *results: str) -> bytes:
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in results]
        given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h", "w"])
        initializers = [numpy_helper.from_array(value, name) for name, value in self.constants.items()]
        graph = helper.make_graph(self.nodes, "graph", [given], outputs, initializers)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8).SerializeToString()


def assert_equal(model: bytes, applies: bool, block: int = 1) -> None:
    """The same answer; `block`: the maps of how many channels may be filled, by default none."""
    short = shortened(model, block)
    assert (short is not None) == applies
    if short is not None:
        pixels = image(16, 24)
        np.testing.assert_allclose(answer(short, pixels), answer(model, pixels), rtol=1e-4, atol=1e-5)
