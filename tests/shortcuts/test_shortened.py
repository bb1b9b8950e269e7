"""All shortcuts through a detector's graph: the same map as without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest

from ocr_cml.export import save_graph
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.models import build_detector
from ocr_cml.paddle_to_onnx import to_onnx
from ocr_cml.runtime import OnnxDetector
from ocr_cml.shortcuts import shortened
from ocr_cml.shortcuts.graph import folded
from tests import onnx_models, tiny
from tests.shortcuts.by_hand import RNG, answer, image, kernels, kinds


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
DBFPN = {"name": "DBFPN", "out_channels": 96}


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """PP-OCRv2's."""
    return detector(tmp_path_factory.mktemp("student"), MOBILE, DBFPN)


@pytest.mark.parametrize(
    ("backbone", "neck", "change"),
    [
        # The head's two transposed convolutions become two 1x1; the fusion two convolutions, enlarged and not; so does
        # the finest level, where a 1x1 convolution goes.
        (MOBILE, DBFPN, {"ConvTranspose": -2, "Conv": 3, "Slice": 2}),
        # No 1x1 convolution alone before the finest level's 3x3: squeeze and excitation stands between.
        pytest.param(
            MOBILE,
            {"name": "RSEFPN", "out_channels": 96},
            {"ConvTranspose": -2, "Conv": 3, "Slice": 1},
            marks=pytest.mark.slow,
        ),
        # Its finest level is a 9x9.
        pytest.param(
            {"name": "ResNet_vd", "layers": 18},
            {"name": "LKPAN", "out_channels": 256},
            {"ConvTranspose": -2, "Conv": 3, "Slice": 1},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["DBFPN", "RSEFPN", "LKPAN"],
)
def test_a_detector_answers_as_before(
    tmp_path: Path, backbone: dict[str, Any], neck: dict[str, Any], change: dict[str, int]
) -> None:
    model = detector(tmp_path, backbone, neck)
    before, short = kinds(folded(model)), {block: shortened(model, block) for block in (8, 16)}
    for height, width, count in ((32, 32, 1), (32, 320, 1), (160, 96, 2)):
        pixels = image(height, width, count)
        plain = answer(model, pixels)
        assert plain.std() > 1e-3, "a map that says nothing would compare equal with anything"
        for graph in short.values():
            assert graph is not None
            after = kinds(graph)
            assert {kind: after[kind] - before[kind] for kind in change} == change
            # The logits of random weights run into the tens: rounding is 1e-6 of them.
            np.testing.assert_allclose(answer(graph, pixels), plain, atol=2e-4)


def test_maps_of_eight_channels_are_filled_for_a_processor_that_computes_sixteen(student: bytes) -> None:
    few = [min(kernel.shape[0] for kernel in kernels(shortened(student, block))) for block in (8, 16)]
    assert few == [8, 16]


def test_a_graph_without_any_stays_as_it_is(tmp_path: Path) -> None:
    assert shortened(str(onnx_models.dark_detector(tmp_path / "dark.onnx"))) is None


def test_the_runtime_takes_them_on_a_cpu(student: bytes) -> None:
    runtime = OnnxDetector(student, "student", InferenceConfig(), "cpu", 1)
    pixels = RNG.integers(0, 256, (1, 64, 96, 3), dtype=np.uint8)
    short = shortened(student)
    assert short is not None
    normalised = runtime.normalization.apply(pixels)
    assert np.array_equal(runtime.probability(pixels), answer(short, normalised)[:, 0])
    np.testing.assert_allclose(runtime.probability(pixels), answer(student, normalised)[:, 0], atol=2e-5)
