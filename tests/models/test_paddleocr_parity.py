"""The same weights in PaddleOCR's network and in ours give the same map; their checkpoints are each other's.

PaddleOCR's code is no requirement and no part of this project. Where a checkout of it is at hand, name it:

    PADDLEOCR_SOURCE=PaddleOCR python -m pytest tests/models/test_paddleocr_parity.py
"""

from __future__ import annotations

import copy
import importlib
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

from ocr_cml.models import build_detector
from ocr_cml.models.pdparams import write_pdparams
from ocr_cml.models.weight_files import read_weights
from ocr_cml.models.weights import load_into, select

SOURCE = os.environ.get("PADDLEOCR_SOURCE", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not SOURCE, reason="PADDLEOCR_SOURCE names no checkout of PaddleOCR"),
]

MOBILE = {"name": "MobileNetV3", "scale": 0.5, "model_name": "large", "disable_se": True}
RSEFPN = {"name": "RSEFPN", "out_channels": 96, "shortcut": True}
LKPAN = {"name": "LKPAN", "out_channels": 256}
HEAD = {"name": "DBHead", "k": 50}
LOCAL = {"name": "PFHeadLocal", "k": 50, "mode": "large"}


def resnet(layers: int) -> dict[str, Any]:
    return {"name": "ResNet_vd", "in_channels": 3, "layers": layers}


def dbfpn(channels: int) -> dict[str, Any]:
    return {"name": "DBFPN", "out_channels": channels}


def v6(size: str, neck: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    head = HEAD | {"fix_nan": True, "aux_in_channels": neck["out_channels"]}
    return {"name": "PPLCNetV4", "det": True, "model_size": size}, neck, head


NETWORKS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "v2 student": (MOBILE, dbfpn(96), HEAD),
    "v2 student, large": (MOBILE | {"scale": 1.0, "disable_se": False}, dbfpn(96), HEAD),
    "v2 teacher": (resnet(18), dbfpn(256), HEAD),
    "resnet 50": (resnet(50), dbfpn(256), HEAD),
    "v3 student": (MOBILE, RSEFPN, HEAD),
    "v3 teacher": (resnet(50), LKPAN | {"mode": "large"}, HEAD | {"kernel_list": [7, 2, 2]}),
    "lite neck": (resnet(18), {"name": "LKPAN", "out_channels": 64, "mode": "lite"}, HEAD),
    "v4 and v5 mobile": ({"name": "PPLCNetV3", "scale": 0.75, "det": True}, RSEFPN, HEAD | {"fix_nan": True}),
    "v4 server": ({"name": "PPHGNet_small", "det": True}, LKPAN | {"intracl": True}, LOCAL),
    "v5 server": ({"name": "PPHGNetV2_B4", "det": True}, LKPAN | {"intracl": True}, LOCAL),
    "small local head": (MOBILE, RSEFPN, LOCAL | {"mode": "small"}),
    "v6 tiny": v6("tiny", {"name": "RepLKFPN", "out_channels": 64, "dilated_kernel_size": 5, "shortcut": True}),
    "v6 small": v6("small", {"name": "RepLKFPN", "out_channels": 96, "dilated_kernel_size": 7, "shortcut": True}),
    "v6 medium": v6("medium", {"name": "RepLKPAN", "out_channels": 256, "intracl": True}),
}


@pytest.fixture(scope="module")
def paddleocr_code() -> Callable[[str], Any]:
    """Import a module of PaddleOCR's training code."""
    if not (Path(SOURCE) / "ppocr").is_dir():
        pytest.skip(f"PADDLEOCR_SOURCE: no folder ppocr in {SOURCE}")
    sys.path.append(str(Path(SOURCE).resolve()))
    return importlib.import_module


def theirs(code: Callable[[str], Any], name: str) -> nn.Layer:
    """PaddleOCR's network with random weights and random statistics, so that a slip in either would show."""
    backbone, neck, head = NETWORKS[name]
    spec = {"model_type": "det", "algorithm": "DB", "Transform": None, "Backbone": backbone, "Neck": neck, "Head": head}
    paddle.seed(11)
    network = code("ppocr.modeling.architectures").build_model(copy.deepcopy(spec))
    rng = np.random.default_rng(5)
    for key, value in network.state_dict().items():
        if key.endswith("compress.bn.weight"):  # PPLCNetV4's start at 0; larger ones amplify every rounding
            value.set_value(rng.uniform(0.1, 0.3, value.shape).astype("float32"))
        elif key.endswith("_variance") or (len(value.shape) == 1 and key.endswith(("weight", "scale"))):
            value.set_value(rng.uniform(0.7, 1.3, value.shape).astype("float32"))
        elif key.endswith("_mean") or (len(value.shape) == 1 and key.endswith("bias")):
            value.set_value((0.1 * rng.standard_normal(value.shape)).astype("float32"))
    return network


def ours(name: str) -> nn.Layer:
    backbone, neck, head = NETWORKS[name]
    return build_detector({"Backbone": backbone, "Neck": neck, "Head": head})


def state(network: nn.Layer) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in network.state_dict().items()}


def picture() -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(1).standard_normal((2, 3, 96, 160)).astype("float32"))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_same_weights_give_the_same_map(paddleocr_code: Callable[[str], Any], name: str) -> None:
    reference, network = theirs(paddleocr_code, name), ours(name)
    weights = state(reference)
    assert {key: value.shape for key, value in weights.items()} == {
        key: tuple(value.shape) for key, value in network.state_dict().items()
    }
    assert load_into(network, weights, frozen=False).share == 1.0
    reference.eval()
    network.eval()
    with paddle.no_grad():
        expected = reference(picture())["maps"].numpy()
        found = network.probability(picture()).numpy()
        fused = network.fuse_for_export().probability(picture()).numpy()
    assert expected.std() > 1e-3
    # The largest one's sums differ by 2.7e-5 through rounding; its map is that of the others otherwise.
    np.testing.assert_allclose(found, expected, atol=5e-5 if name == "v6 medium" else 1e-5)
    np.testing.assert_allclose(fused, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["v3 student", "v4 and v5 mobile", "v6 small"])
def test_training_gives_the_same_maps(paddleocr_code: Callable[[str], Any], name: str) -> None:
    reference, network = theirs(paddleocr_code, name), ours(name)
    load_into(network, state(reference), frozen=False)
    reference.train()
    network.train()
    expected, found = reference(picture()), network(picture())
    outputs = [("maps", found), *((f"aux_maps_{level}", aux) for level, aux in found.auxiliary.items())]
    for key, output in outputs:
        maps = paddle.concat([output.shrink_prob, output.threshold_prob], axis=1).numpy()
        # Statistics of a batch are sums of thousands of numbers, whose rounding a deep network amplifies.
        np.testing.assert_allclose(maps, expected.pop(key).numpy()[:, :2], atol=1e-4, err_msg=key)
    assert not expected


@pytest.mark.parametrize("name", ["v3 student", "v4 and v5 mobile"])
def test_its_loader_takes_our_checkpoint(
    paddleocr_code: Callable[[str], Any], name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network, reference = ours(name), theirs(paddleocr_code, name)
    write_pdparams(state(network), tmp_path / "student.pdparams")
    with caplog.at_level(logging.WARNING):
        paddleocr_code("ppocr.utils.save_load").load_pretrained_params(reference, str(tmp_path / "student"))
    found, expected = state(reference), state(network)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(found[key], value)


def test_a_distillation_checkpoint_of_its_model_starts_ours(
    paddleocr_code: Callable[[str], Any], tmp_path: Path
) -> None:
    backbone, neck, head = NETWORKS["v3 student"]
    one = {"model_type": "det", "algorithm": "DB", "Transform": None, "Backbone": backbone, "Neck": neck, "Head": head}
    spec = {
        "name": "DistillationModel",
        "algorithm": "Distillation",
        "model_type": "det",
        "Models": {
            name: {"pretrained": None, "freeze_params": False, "return_all_feats": False, **copy.deepcopy(one)}
            for name in ("Student", "Student2")
        },
    }
    whole = paddleocr_code("ppocr.modeling.architectures").build_model(spec)
    paddle.save(whole.state_dict(), str(tmp_path / "best_accuracy.pdparams"))
    weights, rest = select(read_weights(tmp_path / "best_accuracy"), "Student2")
    assert load_into(ours("v3 student"), weights, frozen=True).share == 1.0
    assert rest == {"Student": len(weights)}
    for key, value in whole.state_dict().items():
        if key.startswith("Student2."):
            np.testing.assert_array_equal(weights[key.removeprefix("Student2.")], value.numpy())
