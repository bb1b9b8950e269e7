"""The shortcuts through an ONNX graph: the same map as without them, taken where they hold and nowhere else."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import paddle
import pytest
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ocr_cml.export import save_graph
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.models import build_detector
from ocr_cml.onnx_graph import folded
from ocr_cml.onnx_shortcuts import enlarged_kernel, shortened
from ocr_cml.paddle_to_onnx import to_onnx
from ocr_cml.runtime import OnnxDetector
from tests import onnx_models, tiny

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


def image(height: int, width: int, count: int = 1, channels: int = 3) -> np.ndarray:
    return RNG.standard_normal((count, channels, height, width)).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (5, 3)])
def test_an_enlarged_kernel_convolves_as_the_kernel_does_on_the_enlarged_map(height: int, width: int) -> None:
    small, kernel = image(height, width, 2, 3).astype(np.float64), RNG.standard_normal((4, 3, 3, 3))
    large = np.pad(small.repeat(2, 2).repeat(2, 3), ((0, 0), (0, 0), (1, 1), (1, 1)))
    plain = np.zeros((2, 4, 2 * height, 2 * width))
    for row in range(2 * height):
        for column in range(2 * width):
            plain[:, :, row, column] = np.einsum(
                "nihw,oihw->no", large[:, :, row : row + 3, column : column + 3], kernel
            )
    through = paddle.nn.functional.conv2d_transpose(
        paddle.to_tensor(small), paddle.to_tensor(enlarged_kernel(kernel)), stride=2, padding=1
    )
    np.testing.assert_allclose(through.numpy(), plain, atol=1e-12)


def detector(folder: Path, backbone: dict[str, Any], neck: dict[str, Any]) -> bytes:
    """A network whose statistics are those of no fresh one, converted to ONNX."""
    paddle.seed(3)
    network = build_detector({"Backbone": backbone, "Neck": neck, "Head": {"name": "DBHead", "k": 50}})
    for name, buffer in network.named_buffers():
        low = 0.5 if name.endswith("_variance") else -0.2
        buffer.set_value(paddle.uniform(buffer.shape, min=low, max=low + 1.0))
    tiny.set_places_apart(network)
    network.eval()
    save_graph(network, folder / "inference")
    return to_onnx(folder / "inference.json", folder / "inference.pdiparams")


MOBILE = {"name": "MobileNetV3", "model_name": "large", "scale": 0.5, "disable_se": True}


@pytest.mark.parametrize(
    ("backbone", "neck", "change"),
    [
        # Two transposed convolutions go and two come; a 1x1 convolution goes (finest level) and two come (head).
        (MOBILE, {"name": "DBFPN", "out_channels": 96}, {"ConvTranspose": 0, "DepthToSpace": 1, "Conv": 1}),
        # No 1x1 convolution alone before the finest level's 3x3: squeeze and excitation stands between.
        (MOBILE, {"name": "RSEFPN", "out_channels": 96}, {"ConvTranspose": -1, "DepthToSpace": 1, "Conv": 2}),
        # Its finest level is a 9x9.
        ({"name": "ResNet_vd", "layers": 18}, {"name": "LKPAN", "out_channels": 256}, {"ConvTranspose": -1, "Conv": 2}),
    ],
    ids=["DBFPN", "RSEFPN", "LKPAN"],
)
def test_a_detector_answers_as_before(
    tmp_path: Path, backbone: dict[str, Any], neck: dict[str, Any], change: dict[str, int]
) -> None:
    model = detector(tmp_path, backbone, neck)
    short = shortened(model)
    assert short is not None
    before, after = kinds(folded(model)), kinds(short)
    assert {kind: after[kind] - before[kind] for kind in change} == change
    for height, width, count in ((32, 32, 1), (32, 320, 1), (160, 96, 2)):
        pixels = image(height, width, count)
        plain = answer(model, pixels)
        assert plain.std() > 1e-3, "a map that says nothing would compare equal with anything"
        # The logits of random weights run into the tens: rounding is 1e-6 of them.
        np.testing.assert_allclose(answer(short, pixels), plain, atol=2e-4)


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


def assert_equal(model: bytes, applies: bool) -> None:
    short = shortened(model)
    assert (short is not None) == applies
    if short is not None:
        pixels = image(16, 24)
        np.testing.assert_allclose(answer(short, pixels), answer(model, pixels), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("fine", "factors", "rule", "conv", "applies"),
    [
        (1, (2,), {}, {}, True),
        (1, (8, 4, 2), {}, {}, True),
        (1, (4, 4), {}, {}, True),
        (1, (2,), {}, {"bias": True}, True),
        (1, (), {}, {}, False),
        (2, (2,), {}, {}, False),  # two maps at full size: nothing in this project's necks, and no rule for it
        (0, (2, 2), {}, {}, False),
        (1, (3,), {}, {}, False),
        (1, (2,), {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, {}, False),
        (1, (2,), {"coordinate_transformation_mode": "half_pixel"}, {}, False),
        (1, (2,), {"nearest_mode": "ceil"}, {}, False),
        (1, (2,), {}, {"size": 5}, False),
        (1, (2,), {}, {"strides": [2, 2]}, False),
        (1, (2,), {}, {"dilations": [2, 2], "pads": [2] * 4}, False),
        (1, (2,), {}, {"group": 2}, False),
        (1, (2,), {}, {"pads": [0] * 4}, False),
    ],
)
def test_a_fusion_is_shortened_where_that_is_exact(
    fine: int, factors: tuple[int, ...], rule: dict[str, Any], conv: dict[str, Any], applies: bool
) -> None:
    graph = Pyramid()
    parts = [graph.conv("x", 3, 4, 1) for _ in range(fine)]
    for factor in factors:
        small = graph.add("AveragePool", ["x"], kernel_shape=[factor] * 2, strides=[factor] * 2)
        parts.insert(0, graph.enlarge(graph.conv(small, 3, 4, 1), factor, **rule))
    joined = graph.add("Concat", parts, axis=1)
    assert_equal(graph.model(graph.conv(joined, 4 * len(parts), 6, **({"size": 3} | conv))), applies)


def test_maps_that_others_read_as_well_stay() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    large = graph.enlarge(graph.conv(small, 3, 4, 1), 2)
    fused = graph.conv(graph.add("Concat", [large, graph.conv("x", 3, 4, 1)], axis=1), 8, 4, 3)
    assert_equal(graph.model(graph.add("Add", [fused, large])), applies=True)


def test_a_concat_that_others_read_as_well_is_left_alone() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    joined = graph.add("Concat", [graph.enlarge(graph.conv(small, 3, 4, 1), 2), graph.conv("x", 3, 4, 1)], axis=1)
    assert_equal(graph.model(graph.add("Add", [graph.conv(joined, 8, 8, 3), joined])), applies=False)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("lateral", "factor", "read_twice", "applies"),
    [
        ({}, 2, "", True),
        ({"bias": True}, 2, "", False),  # the bias ends at the picture's edge, a bias behind it would not
        ({"size": 3}, 2, "", False),
        ({}, 4, "", False),
        ({}, 2, "sum", False),
        ({}, 2, "lateral", False),
        ({}, 2, "enlarged", True),
    ],
)
def test_a_finest_level_is_shortened_where_that_is_exact(
    lateral: dict[str, Any], factor: int, read_twice: str, swapped: bool, applies: bool
) -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[factor] * 2, strides=[factor] * 2)
    large = graph.enlarge(graph.conv(small, 3, 12, 1), factor)
    narrow = graph.conv("x", 3, 12, **({"size": 1} | lateral))
    total = graph.add("Add", [large, narrow] if swapped else [narrow, large])
    result = graph.conv(total, 12, 12, 3)
    values = {"sum": total, "lateral": narrow, "enlarged": large}
    if read_twice:
        result = graph.add("Mul", [result, values[read_twice]])
    assert_equal(graph.model(result), applies)


def test_a_finest_level_of_many_channels_would_cost_more() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    total = graph.add("Add", [graph.conv("x", 3, 8, 1), graph.enlarge(graph.conv(small, 3, 8, 1), 2)])
    assert_equal(graph.model(graph.conv(total, 8, 4, 3)), applies=False)


@pytest.mark.parametrize(
    ("first", "second", "between", "channels", "applies"),
    [
        ({}, {}, "Relu", 1, True),
        ({"bias": False}, {"bias": False}, "Relu", 1, True),
        ({}, {}, "Sigmoid", 1, False),
        ({}, {}, "Relu", 2, False),
        ({"size": 4, "pads": [1] * 4}, {}, "Relu", 1, False),
        ({}, {"size": 4, "pads": [1] * 4}, "Relu", 1, False),
        ({"output_padding": [1, 1]}, {}, "Relu", 1, False),
        ({}, {"strides": [1, 1]}, "Relu", 1, False),
    ],
)
def test_a_head_is_shortened_where_that_is_exact(
    first: dict[str, Any], second: dict[str, Any], between: str, channels: int, applies: bool
) -> None:
    graph = Pyramid()
    middle = graph.add(between, [graph.deconv("x", 3, 5, **first)])
    assert_equal(graph.model(graph.deconv(middle, 5, channels, **second)), applies)


def test_a_head_with_normalisation_and_a_bias_of_its_own() -> None:
    graph = Pyramid()
    middle = graph.add("Add", [graph.deconv("x", 3, 5, bias=False), graph.constant(1, 5, 1, 1)])
    statistics = [graph.constant(5) for _ in range(4)]
    graph.constants[statistics[3]] = np.abs(graph.constants[statistics[3]]) + 0.1
    normal = graph.add("BatchNormalization", [middle, *statistics], epsilon=1e-3)
    final = graph.deconv(graph.add("Relu", [normal]), 5, 1, bias=False)
    shifted = graph.add("Add", [final, graph.constant(1, 1, 1, 1)])
    assert_equal(graph.model(graph.add("Sigmoid", [shifted])), applies=True)


def test_a_graph_without_any_stays_as_it_is(tmp_path: Path) -> None:
    assert shortened(str(onnx_models.dark_detector(tmp_path / "dark.onnx"))) is None


def test_the_runtime_takes_them_on_a_cpu(tmp_path: Path) -> None:
    model = detector(tmp_path, MOBILE, {"name": "DBFPN", "out_channels": 96})
    runtime = OnnxDetector(model, "student", InferenceConfig(), "cpu", 1)
    pixels = RNG.integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    short = shortened(model)
    assert short is not None
    normalised = runtime.normalization.apply(pixels)
    assert np.array_equal(runtime.probability(pixels), answer(short, normalised)[:, 0])
    np.testing.assert_allclose(runtime.probability(pixels), answer(model, normalised)[:, 0], atol=2e-5)
