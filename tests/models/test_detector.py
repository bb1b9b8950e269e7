"""Detectors: PaddleOCR's names, shapes and sizes; what they answer; what they refuse; export."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from paddle import nn

from ocr_cml.models import Detector, DetOutput, accepted_arguments, build_detector
from ocr_cml.models.detector import as_float32
from ocr_cml.models.heads import HEADS, DBHead, mean_logit, without_nan
from ppocr_data.errors import ModelError

MOBILE = {"name": "MobileNetV3", "scale": 0.5, "model_name": "large", "disable_se": True}
TINY = {"name": "MobileNetV3", "scale": 0.35, "model_name": "small", "disable_se": True}
RSEFPN = {"name": "RSEFPN", "out_channels": 96, "shortcut": True}
SERVER_NECK = {"name": "LKPAN", "out_channels": 256, "intracl": True}
HEAD = {"name": "DBHead", "k": 50}
LOCAL_HEAD = {"name": "PFHeadLocal", "k": 50, "mode": "large"}


def resnet(layers: int) -> dict[str, Any]:
    return {"name": "ResNet_vd", "layers": layers}


def dbfpn(channels: int) -> dict[str, Any]:
    return {"name": "DBFPN", "out_channels": channels}


def lcnet(scale: float) -> dict[str, Any]:
    return {"name": "PPLCNetV3", "scale": scale, "det": True}


def v6(size: str, channels: int, kernel: int) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    neck = {"name": "RepLKFPN", "out_channels": channels, "shortcut": True, "dilated_kernel_size": kernel}
    return {"name": "PPLCNetV4", "det": True, "model_size": size}, neck, HEAD | {"aux_in_channels": channels}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_what_is_widened_is_learnt_from(dtype: str) -> None:
    """In mixed precision the heads answer in 16 bits: a cast that lets no gradient through would train nothing."""
    narrow = paddle.to_tensor([0.5, -0.25]).astype(dtype)
    narrow.stop_gradient = False
    wide = as_float32(narrow)
    (wide * paddle.to_tensor([2.0, 3.0])).sum().backward()
    assert wide.dtype == paddle.float32
    assert narrow.grad.astype("float32").tolist() == [2.0, 3.0]


def build(backbone: dict[str, Any], neck: dict[str, Any], head: dict[str, Any] = HEAD) -> Detector:
    return build_detector({"Backbone": backbone, "Neck": neck, "Head": head})


class PlainHead(nn.Layer):
    """All that docs/extending.md asks of a head, and nothing else."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.up = nn.Conv2DTranspose(in_channels, 2, 4, stride=4)

    def forward(self, x: paddle.Tensor) -> tuple[paddle.Tensor, paddle.Tensor]:
        both = self.up(x)
        return both[:, :1], both[:, 1:]

    def probability(self, x: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.sigmoid(self(x)[0])


def test_a_head_of_a_stranger_needs_no_more_than_the_page_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HEADS, "PlainHead", PlainHead)
    network = build(TINY, {"name": "RSEFPN", "out_channels": 24}, {"name": "PlainHead"})
    image = paddle.rand([1, 3, 64, 96])
    said = network(image)
    binary = nn.functional.sigmoid(50.0 * (said.shrink_prob - said.threshold_prob))
    assert np.allclose(said.binary_prob.numpy(), binary.numpy(), atol=1e-6)
    network.eval()
    assert np.allclose(network.probability(image).numpy(), network(image).shrink_prob.numpy(), atol=1e-6)


# backbone, neck, head, arrays in the checkpoint, learnable numbers: as PaddleOCR builds them
SIZES = {
    "v2 student": (MOBILE, dbfpn(96), HEAD, 269, 583_234),
    "v2 teacher": (resnet(18), dbfpn(256), HEAD, 149, 12_364_386),
    "v3 student": (MOBILE, RSEFPN, HEAD, 301, 603_418),
    "v3 teacher": (
        resnet(50),
        {"name": "LKPAN", "out_channels": 256},
        HEAD | {"kernel_list": [7, 2, 2]},
        316,
        32_895_970,
    ),
    "v4 and v5 mobile": (lcnet(0.75), RSEFPN, HEAD | {"fix_nan": True}, 905, 3_515_290),
    "v4 server": ({"name": "PPHGNet_small", "det": True}, SERVER_NECK, LOCAL_HEAD, 367, 28_463_939),
    "v5 server": ({"name": "PPHGNetV2_B4", "det": True}, SERVER_NECK, LOCAL_HEAD, 553, 26_291_811),
    "v6 tiny": (*v6("tiny", 64, 5), 494, 512_980),
    "v6 small": (*v6("small", 96, 7), 514, 2_650_004),
    "v6 medium": (
        {"name": "PPLCNetV4", "model_size": "medium"},
        {"name": "RepLKPAN", "out_channels": 256, "intracl": True},
        HEAD | {"aux_in_channels": 256},
        745,
        16_774_984,
    ),
    "squeeze-excite": (MOBILE | {"scale": 1.0, "disable_se": False}, dbfpn(96), HEAD, 301, 3_208_920),
    "small": (MOBILE | {"model_name": "small"}, dbfpn(96), HEAD, 209, 299_634),
    "resnet 34": (resnet(34), dbfpn(256), HEAD, 229, 22_472_546),
    "resnet 50": (resnet(50), dbfpn(256), HEAD, 309, 25_428_962),
    "lite": (resnet(18), {"name": "LKPAN", "out_channels": 64, "mode": "lite"}, HEAD, 240, 11_412_418),
    "small local head": (MOBILE, RSEFPN, LOCAL_HEAD | {"mode": "small"}, 308, 606_155),
}
SHAPES = {
    "v2 student": {
        "backbone.conv.conv.weight": [8, 3, 3, 3],
        "backbone.stage3.3.bn._variance": [480],
        "neck.in5_conv.weight": [96, 480, 1, 1],
        "head.binarize.conv2.weight": [24, 24, 2, 2],
        "head.thresh.conv_bn1._mean": [24],
    },
    "v2 teacher": {
        "backbone.conv1_1._conv.weight": [32, 3, 3, 3],
        "backbone.bb_3_0.short._batch_norm._mean": [512],
        "neck.p2_conv.weight": [64, 256, 3, 3],
    },
    "v3 student": {
        "neck.ins_conv.3.se_block.conv2.weight": [96, 24, 1, 1],
        "neck.inp_conv.0.in_conv.weight": [24, 96, 3, 3],
    },
    "v3 teacher": {
        "backbone.bb_3_2.conv2._conv.weight": [2048, 512, 1, 1],
        "neck.pan_lat_conv.3.weight": [64, 64, 9, 9],
        "head.binarize.conv1.weight": [64, 256, 7, 7],
    },
    "v4 and v5 mobile": {
        "backbone.blocks6.0.dw_conv.conv_kxk.3.conv.weight": [192, 1, 5, 5],
        "backbone.blocks3.0.dw_conv.act.lab.scale": [1],
        "backbone.blocks4.1.pw_conv.identity._mean": [96],
        "backbone.layer_list.3.weight": [360, 384, 1, 1],
    },
    "v4 server": {
        "backbone.stages.2.blocks.1.aggregation_conv.conv.weight": [768, 1920, 1, 1],
        "backbone.stages.3.downsample.conv.weight": [768, 1, 3, 3],
        "neck.incl4.v_layer_7x1.weight": [32, 32, 7, 1],
        "head.cbn_layer.last_3.conv.weight": [64, 65, 3, 3],
    },
    "v5 server": {
        "backbone.stem.stem2a.conv.weight": [16, 32, 2, 2],
        "backbone.stages.2.blocks.0.layers.5.conv2.conv.weight": [192, 1, 5, 5],
        "backbone.last_conv.weight": [2048, 2048, 1, 1],
    },
    "lite": {"neck.inp_conv.0.conv_end.weight": [16, 64, 1, 1], "neck.pan_lat_conv.0.conv2.weight": [64, 16, 1, 1]},
}


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_paddleocr_s(name: str) -> None:
    backbone, neck, head, arrays, numbers = SIZES[name]
    state = build(backbone, neck, head).state_dict()
    learnable = [v for k, v in state.items() if not k.endswith(("._mean", "._variance"))]
    assert (len(state), sum(int(np.prod(v.shape)) for v in learnable)) == (arrays, numbers)
    assert {key: state[key].shape for key in SHAPES.get(name, {})} == SHAPES.get(name, {})


def image(height: int = 64, width: int = 96, seed: int = 0) -> paddle.Tensor:
    return paddle.to_tensor(np.random.default_rng(seed).standard_normal((2, 3, height, width)).astype("float32"))


def settle(detector: nn.Layer, seed: int = 0) -> None:
    """Normalisation statistics and affine numbers away from their initial values, so that a slip would show."""
    rng = np.random.default_rng(seed)
    for key, value in detector.state_dict().items():
        if key.endswith(("_variance", "bn.weight", "identity.weight", "scale")):
            value.set_value(rng.uniform(0.7, 1.3, value.shape).astype("float32"))
        elif key.endswith(("_mean", "bn.bias", "identity.bias", "lab.bias")):
            value.set_value((0.1 * rng.standard_normal(value.shape)).astype("float32"))


@pytest.mark.parametrize(
    ("backbone", "neck", "head"),
    [(TINY, dbfpn(32), HEAD), (lcnet(0.5), RSEFPN | {"out_channels": 32}, HEAD), (TINY, dbfpn(32), LOCAL_HEAD)],
)
def test_answers(backbone: dict[str, Any], neck: dict[str, Any], head: dict[str, Any]) -> None:
    detector = build(backbone, neck, head)
    out = detector(image())
    assert isinstance(out, DetOutput) and out.threshold_logit is not None
    assert out.shrink_logit.shape == out.threshold_logit.shape == out.binary_prob.shape == [2, 1, 64, 96]
    assert {name: f.shape[1] for name, f in out.features.items()} == detector.feature_channels
    sizes = {name: f.shape[2:] for name, f in out.features.items()}
    quarter = [16, 24]
    assert sizes == {
        "backbone.0": quarter,
        "backbone.1": [8, 12],
        "backbone.2": [4, 6],
        "backbone.3": [2, 3],
        "neck": quarter,
    }
    steep = out.k * (out.shrink_prob - out.threshold_prob)
    np.testing.assert_allclose(out.binary_prob.numpy(), 1 / (1 + np.exp(-steep.numpy())), atol=1e-6)
    (out.shrink_prob.mean() + out.threshold_prob.mean()).backward()
    without = [name for name, p in detector.named_parameters() if not p.stop_gradient and p.grad is None]
    assert without == []  # an unused trainable parameter would stall DataParallel
    detector.eval()
    with paddle.no_grad():
        out = detector(image())
        assert out.threshold_logit is None
        with pytest.raises(ValueError, match="eval mode"):
            _ = out.threshold_prob
        np.testing.assert_allclose(detector.probability(image()).numpy(), out.shrink_prob.numpy(), atol=1e-6)


def test_local_head_trains_and_answers_with_the_same_map() -> None:
    detector = build(TINY, dbfpn(32), LOCAL_HEAD)
    detector.eval()
    detector.head.training = True  # only the head's own mode: statistics stay those of eval
    with paddle.no_grad():
        training = detector(image())
        detector.head.training = False
        answer = detector.probability(image())
        joined = training.features["neck"]
        base, refined = detector.head._base_and_refined(joined)
    assert training.threshold_logit is not None
    np.testing.assert_allclose(training.shrink_prob.numpy(), answer.numpy(), atol=1e-6)
    expected = 0.5 * (1 / (1 + np.exp(-base.numpy())) + 1 / (1 + np.exp(-refined.numpy())))
    np.testing.assert_allclose(answer.numpy(), expected, atol=1e-6)


def test_mean_logit_is_exact_and_finite_with_its_gradient() -> None:
    values = [(-3.0, 2.0), (0.0, 0.0), (5.0, 5.0), (-200.0, -300.0), (200.0, 300.0), (-500.0, 500.0), (1.0, -400.0)]
    a, b = (paddle.to_tensor([v[i] for v in values], dtype="float32", stop_gradient=False) for i in (0, 1))
    result = mean_logit(a, b)
    p = [0.5 * (1 / (1 + np.exp(-x)) + 1 / (1 + np.exp(-y))) for x, y in values[:3]]
    np.testing.assert_allclose(result[:3].numpy(), np.log(p) - np.log1p(-np.array(p)), atol=1e-5)
    # Far out the larger probability decides: the mean of s(-200) and s(-300) is half of s(-200).
    np.testing.assert_allclose(result[3:6].numpy(), [-200 - np.log(2), 200 + np.log(2), 0], atol=1e-4)
    assert result[6].item() == pytest.approx(np.log(0.5 * 0.7310586) - np.log(1 - 0.5 * 0.7310586), abs=1e-4)
    result.sum().backward()
    for far in (1e3, 1e5, 5e7):  # where a sum by the smaller of the two would have cancelled
        p = 0.5 * (1 / (1 + np.exp(-0.3)) + 1)
        for pair in ((0.3, far), (far, 0.3)):
            logit = mean_logit(*(paddle.to_tensor([x]) for x in pair)).item()
            assert logit == pytest.approx(np.log(p) - np.log1p(-p), abs=1e-5)
    assert np.isfinite(a.grad.numpy()).all() and np.isfinite(b.grad.numpy()).all()
    assert a.grad[1].item() == b.grad[1].item() == 0.5


def test_output_from_probability() -> None:
    probability = paddle.to_tensor([0.0, 0.25, 1.0]).reshape([1, 1, 1, 3])
    out = DetOutput.from_probability(probability)
    np.testing.assert_allclose(out.shrink_prob.numpy().ravel(), [1e-6, 0.25, 1 - 1e-6], atol=1e-7)
    assert out.threshold_logit is None and np.isfinite(out.shrink_logit.numpy()).all()


def test_the_steepness_of_the_binarization_is_the_head_s(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build(TINY, dbfpn(16), HEAD | {"k": 10})
    network.train()
    output = network(paddle.zeros([1, 3, 32, 32]))
    apart = output.shrink_prob - output.threshold_prob
    np.testing.assert_allclose(output.binary_logit.numpy(), 10 * apart.numpy(), rtol=1e-6)


def test_a_fixed_answer_keeps_the_steepness_of_its_binarization() -> None:
    two, zero = (paddle.full([1, 1, 1, 1], value) for value in (2.0, 0.0))
    expected = 10 * (1 / (1 + math.exp(-2)) - 0.5)
    assert DetOutput(two, zero, k=10.0).detached().binary_logit.item() == pytest.approx(expected, rel=1e-5)


def test_certainty_means_one_thing_in_any_engine() -> None:
    asked = paddle.to_tensor([0.0, 1e-7, 0.3, 0.5, 0.9999, 1.0])
    logits = DetOutput.from_probability(asked).shrink_logit.numpy()
    largest = math.log((1 - 1e-6) / 1e-6)
    exact = [-largest, -largest, math.log(0.3 / 0.7), 0, math.log(0.9999 / 0.0001), largest]
    assert logits == pytest.approx(exact, rel=2e-4)  # of .9999 float32 knows no better
    assert logits[-1] == -logits[0] == pytest.approx(largest, rel=1e-7)
    known = DetOutput(paddle.to_tensor([-80.0, 80.0])).as_from_probability().shrink_logit.numpy()
    assert known.tolist() == [logits[0], logits[-1]]


def test_fusing_keeps_the_map_and_the_original() -> None:
    paddle.seed(0)
    detector = build(lcnet(0.5), RSEFPN | {"out_channels": 32})
    settle(detector)
    keys = list(detector.state_dict())
    fused = detector.fuse_for_export()
    assert detector.training and list(detector.state_dict()) == keys
    assert not any("conv_kxk" in key or ".identity." in key for key in fused.state_dict())
    detector.eval()
    with paddle.no_grad():
        expected = detector.probability(image()).numpy()
        np.testing.assert_allclose(fused.probability(image()).numpy(), expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_fusing_dilated_branches_keeps_the_map() -> None:
    paddle.seed(0)
    detector = build(*v6("tiny", 16, 7))
    settle(detector)
    for key, value in detector.state_dict().items():
        if key.endswith("compress.bn.weight"):  # they start at 0; larger ones amplify every rounding
            value.set_value(value * 0.2)
    fused = detector.fuse_for_export()
    assert not any("dil_conv" in key or "rep_dw.bn" in key for key in fused.state_dict())
    detector.eval()
    with paddle.no_grad():
        expected = detector.probability(image()).numpy()
        np.testing.assert_allclose(fused.probability(image()).numpy(), expected, atol=1e-5)
    assert expected.std() > 1e-3


def test_auxiliary_heads_answer_while_training_only() -> None:
    detector = build(*v6("tiny", 16, 5))
    out = detector(image())
    assert set(out.auxiliary) == {"p2", "p3", "p4"}
    assert all(aux.binary_prob.shape == [2, 1, 64, 96] for aux in out.auxiliary.values())
    detector.eval()
    assert detector(image()).auxiliary == {}


class _MapOnly(nn.Layer):
    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.detector.probability(x)


@pytest.mark.parametrize(
    ("backbone", "neck", "head"),
    [(TINY, dbfpn(16), HEAD), (lcnet(0.25), {"name": "LKPAN", "out_channels": 16, "intracl": True}, LOCAL_HEAD)],
)
def test_exports_with_unknown_size(
    tmp_path: Path, backbone: dict[str, Any], neck: dict[str, Any], head: dict[str, Any]
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    os.environ["POLYGRAPHY_AUTOINSTALL_DEPS"] = "0"  # paddle2onnx's optimizer would call pip
    paddle2onnx = pytest.importorskip("paddle2onnx")
    paddle.seed(1)
    detector = build(backbone, neck, head)
    settle(detector)
    layer = _MapOnly(detector.fuse_for_export())
    layer.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32", "x")
    paddle.jit.save(layer, str(tmp_path / "inference"), input_spec=[spec])
    loaded = paddle.jit.load(str(tmp_path / "inference"))
    model = str(tmp_path / "inference.onnx")
    paddle2onnx.export(
        str(tmp_path / "inference.json"), str(tmp_path / "inference.pdiparams"), model, optimize_tool="None"
    )
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    detector.eval()
    for height, width in ((64, 96), (32, 160)):
        x = image(height, width, seed=2)
        with paddle.no_grad():
            expected = detector.probability(x).numpy()
        np.testing.assert_allclose(loaded(x).numpy(), expected, atol=1e-5)
        np.testing.assert_allclose(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("Backbone", {"name": "MobilNetV3"}, r"Backbone\.name: unknown 'MobilNetV3'; did you mean 'MobileNetV3'\?"),
        ("Neck", {"name": "EASTFPN"}, r"Neck\.name: unknown 'EASTFPN'; did you mean 'RSEFPN'\?"),
        ("Head", {"name": "CTCHead"}, r"Head\.name: unknown 'CTCHead'; did you mean '\w*Head'"),
        ("Backbone", {"disable_sse": True}, r"Backbone\.disable_sse: .*it takes .*scale, .*disable_se"),
        ("Neck", {"in_channels": [1]}, r"Neck\.in_channels: DBFPN has no such argument.* out_channels, use_asf"),
        ("Backbone", {"scale": 0.6}, r"Backbone\.scale: 0\.6 is not supported; choose one of 0\.35, 0\.5"),
        ("Backbone", {"model_name": "huge"}, r"Backbone\.model_name: 'huge'"),
        ("Neck", {"out_channels": 30}, r"Neck\.out_channels: 30 must be a multiple of 4"),
        ("Neck", {"out_channels": 4}, r"Neck\.out_channels: 4 must be .* at least 8"),
        ("Neck", {"use_asf": True}, r"Neck\.use_asf: .*DB\+\+"),
        ("Head", {"k": -1}, r"Head\.k: -1 must be a positive number"),
        ("Head", {"kernel_list": [4, 2, 2]}, r"Head\.kernel_list: \[4, 2, 2\]"),
        ("Head", {"kernel_list": [3, 3, 2]}, r"Head\.kernel_list: \[3, 3, 2\]"),
        ("Head", {"kernel_list": [-3, 2, 2]}, r"Head\.kernel_list: \[-3, 2, 2\]"),
        ("Head", {"kernel_list": []}, r"Head\.kernel_list: \[\]"),
        ("Head", {"aux_in_channels": 1}, r"Head\.aux_in_channels: 1 must be 0 or the width of the neck"),
    ],
)
def test_refuses(part: str, change: dict[str, Any], message: str) -> None:
    spec = {"Backbone": TINY, "Neck": dbfpn(32), "Head": HEAD}
    with pytest.raises(ModelError, match=message):
        build_detector(spec | {part: spec[part] | change})


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"Neck": dbfpn(32), "Head": HEAD}, "Backbone: must be a mapping with a name"),
        ({"Backbone": TINY, "Neck": {"name": "DBFPN"}, "Head": HEAD}, "Neck.out_channels: DBFPN needs this argument"),
        ({"Backbone": TINY, "Nek": dbfpn(32), "Head": HEAD}, r"Nek: unknown part; did you mean 'Neck'\?"),
        ({"Backbone": TINY, "Neck": dbfpn(32), "Head": HEAD | {"aux_in_channels": 32}}, "only the necks RepLKFPN"),
        ({"Backbone": {"name": "PPLCNetV4", "model_size": "huge"}}, "Backbone.model_size: 'huge'"),
        ({"Backbone": resnet(51)}, "Backbone.layers: 51"),
        ({"Backbone": resnet(50) | {"dcn_stage": [False, True, True, True]}}, "deformable convolutions"),
        ({"Backbone": lcnet(0.75) | {"det": False}}, "recogniser"),
        ({"Backbone": {"name": "PPHGNetV2_B4", "det": False}}, "recogniser"),
        ({"Backbone": lcnet(0.75) | {"lr_mult_list": [1.0]}}, "six factors"),
    ],
)
def test_refuses_what_cannot_be_built(spec: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build_detector(spec)


def test_refuses_sizes_that_the_pyramid_cannot_join() -> None:
    with pytest.raises(ModelError, match="64x100 pixels: both must be multiples of 32"):
        build(TINY, dbfpn(32))(image(64, 100))


def test_accepted_arguments() -> None:
    assert accepted_arguments("Neck", "LKPAN") == ["out_channels", "mode", "intracl"]
    assert accepted_arguments("Backbone", "MobileNetV3") == ["in_channels", "model_name", "scale", "disable_se"]


def test_without_nan_replaces_nan_alone() -> None:
    x = paddle.to_tensor([1.0, float("nan"), -2.0, float("inf")], stop_gradient=False)
    y = without_nan(x)
    assert y.tolist() == [1.0, 0.0, -2.0, float("inf")]
    y.sum().backward()
    assert x.grad.tolist() == [1.0, 0.0, 1.0, 1.0]


def started_head(seed: int) -> tuple[DBHead, paddle.Tensor]:
    """A head from scratch and a neck's map for it [2,96,8,12], non-negative like what a neck gives."""
    paddle.seed(seed)
    return DBHead(96), paddle.nn.functional.relu(paddle.randn([2, 96, 8, 12]))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_sixteen_places_of_a_pixel_start_alike_and_undecided(seed: int) -> None:
    head, neck = started_head(seed)
    for logit in head(neck):
        assert logit is not None and logit.shape == [2, 1, 32, 48]
        places = logit.numpy().reshape(2, 8, 4, 12, 4).transpose(0, 1, 3, 2, 4).reshape(-1, 16)
        np.testing.assert_allclose(places, places[:, :1].repeat(16, axis=1), rtol=0, atol=1e-5)
        assert places.std() > 0.05, "a constant map tells pixels no apart"
        assert np.abs(places).max() < 3, "a saturated pixel has no gradient under the Dice loss"


def test_the_places_of_a_pixel_learn_apart() -> None:
    head, neck = started_head(0)
    wanted = paddle.zeros([2, 1, 32, 48])
    wanted[:, :, ::2, ::2] = 1.0  # one place of every four
    optimizer = paddle.optimizer.Adam(0.01, parameters=head.parameters())
    for _ in range(30):
        loss = paddle.nn.functional.binary_cross_entropy_with_logits(head(neck)[0], wanted)
        loss.backward()
        optimizer.step()
        optimizer.clear_grad()
    logit = head(neck)[0].numpy()[:, 0]
    assert logit[:, ::2, ::2].mean() > 2
    assert logit[:, 1::2, 1::2].mean() < -2
