"""Frozen detectors: three engines, one answer; what is no detector is refused with a reason."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnx_models
import paddle
import pytest
from onnx import helper
from paddle import nn

from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.models.detector import DetOutput
from ocr_cml.normalization import Normalization
from ocr_cml.paddle_to_onnx import ConversionError, to_onnx
from ocr_cml.runtime import LayerDetector, check_parity, open_detector, probe_images
from ocr_cml.runtime.detector import FrozenDetector, check_images
from ocr_cml.runtime.opening import _checked
from ppocr_data.errors import ModelError

PIXELS = np.random.default_rng(4).integers(0, 256, (2, 64, 96, 3), dtype=np.uint8)


class Dark(nn.Layer):
    """The network of `onnx_models.dark_detector`, in Paddle."""

    def __init__(self, steepness: float = onnx_models.STEEPNESS) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 1, 1)
        self.conv.weight.set_value(np.full((1, 3, 1, 1), -steepness / 3, np.float32))
        self.conv.bias.set_value(np.array([steepness * onnx_models.DARK], np.float32))

    def probability(self, x: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.sigmoid(self.conv(x))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.probability(x)


class NotInOnnx(Dark):
    """A detector with an operator that ONNX lacks."""

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.probability(x) + 0 * paddle.digamma(nn.functional.sigmoid(x[:, :1]) + 1)


class DarkDetector(Dark):
    """The same with a detector's answer."""

    def forward(self, x: paddle.Tensor) -> DetOutput:
        return DetOutput(self.conv(x))


def save_paddle(network: nn.Layer, folder: Path) -> Path:
    network.eval()
    spec = paddle.static.InputSpec([None, 3, None, None], "float32", name="x")
    paddle.jit.save(network, str(folder / "inference"), input_spec=[spec])
    return folder


def by_hand(images: np.ndarray) -> np.ndarray:
    """What a detector of dark pixels must answer, in float64."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    level = ((images / 255 - mean) / std).mean(axis=-1)
    return 1 / (1 + np.exp(-onnx_models.STEEPNESS * (onnx_models.DARK - level)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_paddle(Dark(), tmp_path_factory.mktemp("paddle"))


@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_normalisation_is_the_runtimes_bit_for_bit(order: str) -> None:
    processors = pytest.importorskip("paddlex.inference.models.text_detection.processors")
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    images = PIXELS if order == "BGR" else PIXELS[..., ::-1]
    op = processors.NormalizeImage(scale="1./255.", mean=mean, std=std, order="hwc")
    expected = np.stack([image.transpose(2, 0, 1) for image in op(list(np.ascontiguousarray(images)))])
    stated = Normalization(mean, std, channel_order=order)
    np.testing.assert_array_equal(stated.apply(PIXELS), expected)
    np.testing.assert_array_equal(stated.to_device(PIXELS).numpy(), expected)


@pytest.mark.parametrize("shape", [(2, 64, 96), (1, 1, 1), (3, 1, 700), (0, 32, 32)])
@pytest.mark.parametrize("order", ["BGR", "RGB"])
def test_every_pixel_is_normalised_as_plain_arithmetic_does_it(order: str, shape: tuple[int, int, int]) -> None:
    stated = Normalization((0.5, 0.4, 0.3), (0.2, 0.3, 0.7), 1 / 255, order)
    wide = np.random.default_rng(1).integers(0, 256, (shape[0], shape[1], 2 * shape[2], 3), dtype=np.uint8)
    for images in (np.ascontiguousarray(wide[:, :, ::2]), wide[:, :, ::2]):  # every second column: not in one piece
        factor, added = stated.factors
        seen = images if order == "BGR" else images[..., ::-1]
        plain = (seen.astype(np.float32) * factor + added).transpose(0, 3, 1, 2)
        assert np.array_equal(stated.apply(images), plain)
        assert stated.apply(images).dtype == np.float32


@pytest.mark.parametrize("engine", ["paddle", "onnx", "auto"])
def test_every_engine_answers_what_is_computed_by_hand(exported: Path, engine: str) -> None:
    detector = open_detector(exported, engine, threads=1)
    assert detector.engine == ("onnx" if engine == "auto" else engine)
    answer = detector.probability(PIXELS)
    assert answer.shape == (2, 64, 96) and answer.dtype == np.float32
    np.testing.assert_allclose(answer, by_hand(PIXELS), atol=1e-5)


def test_a_mistake_in_a_shortcut_keeps_no_sound_model_shut(
    exported: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(_: object) -> bytes:
        raise ValueError("not enough values to unpack")

    monkeypatch.setattr("ocr_cml.shortcuts.shortened", mistaken)
    detector = open_detector(exported, "onnx", threads=1)
    np.testing.assert_allclose(detector.probability(PIXELS), by_hand(PIXELS), atol=1e-5)
    (said,) = caplog.messages
    assert said.endswith("runs without the shortcuts, which do not know what it holds (not enough values to unpack)")


@pytest.mark.parametrize("engine", ["paddle", "onnx"])
def test_threads_may_share_a_detector(exported: Path, engine: str) -> None:
    """Paddle's predictor ended the process where two met in it."""
    detector = open_detector(exported, engine, threads=1)
    several = [np.roll(PIXELS, shift, axis=2) for shift in range(8)] * 4
    with ThreadPoolExecutor(4) as pool:
        for images, answer in zip(several, pool.map(detector.probability, several), strict=True):
            np.testing.assert_allclose(answer, by_hand(images), atol=1e-5)


def test_a_layer_answers_in_eval_without_gradient() -> None:
    network = DarkDetector()
    network.train()
    detector = LayerDetector(network, Normalization())
    np.testing.assert_allclose(detector.probability(PIXELS), by_hand(PIXELS), atol=1e-5)
    output = detector.output(PIXELS)
    np.testing.assert_allclose(output.shrink_prob.numpy()[:, 0], by_hand(PIXELS), atol=1e-5)
    assert output.shrink_logit.stop_gradient and not network.training


def test_an_onnx_file_alone_is_a_model(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = onnx_models.dark_detector(tmp_path / "teacher.onnx")
    open_detector(path)
    (said,) = caplog.messages
    assert said == (
        f"{path}: has no inference.yml beside it, so pixels are normalised as PaddleOCR's detectors want them (BGR, "
        "mean [0.485, 0.456, 0.406], std [0.229, 0.224, 0.225]) and maps read with thresh 0.3, box_thresh 0.6, "
        "unclip_ratio 1.5"
    )
    np.testing.assert_allclose(open_detector(path).probability(PIXELS), by_hand(PIXELS), atol=1e-5)
    with pytest.raises(ModelError, match="is an ONNX model; use engine onnx"):
        open_detector(path, "paddle")


def test_a_checkpoint_is_told_to_be_exported(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    (tmp_path / "best/state.json").write_text("{}")
    with pytest.raises(ModelError, match=r"best: is a checkpoint of a training; export its student first: .*=.*best "):
        open_detector(tmp_path / "best")
    run = tmp_path / "run 1"
    (tmp_path / "best").rename(run.with_name("moved"))
    run.mkdir()
    (tmp_path / "moved").rename(run / "best")
    with pytest.raises(ModelError) as told:
        open_detector(run)
    assert f"-c '{run / 'config.yml'}' -o 'Global.pretrained_model={run / 'best'}' Global.save" in str(told.value)


def test_pixels_are_normalised_as_the_folder_states(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    onnx_models.dark_detector(tmp_path / "inference.onnx")
    (tmp_path / "inference.yml").write_text(
        "PreProcess:\n  transform_ops:\n  - DecodeImage: {channel_first: false, img_mode: RGB}\n"
        "  - NormalizeImage: {scale: 1./255., mean: [0.5, 0.4, 0.3], std: [1, 0.5, 0.25], order: hwc}\n"
    )
    detector = open_detector(tmp_path)
    assert not caplog.messages
    assert detector.normalization == Normalization((0.5, 0.4, 0.3), (1, 0.5, 0.25), 1 / 255, "RGB")
    level = ((PIXELS[..., ::-1] / 255 - [0.5, 0.4, 0.3]) / [1, 0.5, 0.25]).mean(axis=-1)
    expected = 1 / (1 + np.exp(-onnx_models.STEEPNESS * (onnx_models.DARK - level)))
    np.testing.assert_allclose(detector.probability(PIXELS), expected, atol=1e-5)


def test_parity_is_the_largest_difference(tmp_path: Path) -> None:
    one = open_detector(onnx_models.dark_detector(tmp_path / "a.onnx"))
    other = open_detector(onnx_models.dark_detector(tmp_path / "b.onnx", steepness=3))
    largest = np.abs(one.probability(PIXELS) - other.probability(PIXELS)).max()
    assert check_parity(one, other, PIXELS, atol=1) == pytest.approx(largest) and largest > 0.1
    with pytest.raises(ModelError, match=r"a\.onnx.*b\.onnx.*answer differently"):
        check_parity(one, other, PIXELS)


def test_a_stale_onnx_file_beside_new_weights_is_noticed(exported: Path, tmp_path: Path) -> None:
    for file in exported.glob("inference.*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    onnx_models.dark_detector(tmp_path / "inference.onnx", steepness=2)
    with pytest.raises(ModelError, match=r"answer differently.*export again"):
        open_detector(tmp_path)


def test_what_onnx_lacks_runs_in_paddle_and_the_log_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_paddle(NotInOnnx(), tmp_path)
    with pytest.raises(ConversionError, match="unsupported"):
        to_onnx(tmp_path / "inference.json", tmp_path / "inference.pdiparams")
    with caplog.at_level(logging.WARNING):
        detector = open_detector(tmp_path)
    assert detector.engine == "paddle" and "cannot be converted to ONNX" in caplog.text
    np.testing.assert_allclose(detector.probability(PIXELS), by_hand(PIXELS), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stride": 4}, r"answers an image of \[1, 3, 64, 96\] with \[1, 1, 16, 24\]"),
        ({"ending": "Identity"}, "no probabilities"),
        ({"ending": "GlobalAveragePool"}, r"with \[1, 1, 1, 1\]"),
    ],
)
def test_what_answers_no_map_of_probabilities_is_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = onnx_models.dark_detector(tmp_path / "model.onnx", **changes)
    with pytest.raises(ModelError, match=message) as caught:
        open_detector(path)
    assert "supported is a DB text detector" in str(caught.value)


def test_a_model_of_two_inputs_or_of_one_fixed_size_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Add", ["x", "y"], ["p"])
    with pytest.raises(ModelError, match=r"has 2 inputs \(x, y\)"):
        open_detector(onnx_models.save(tmp_path / "two.onnx", [node], {}, ("x", "y")))
    fixed = helper.make_node("Add", ["x", "c"], ["p"])
    path = onnx_models.save(tmp_path / "fixed.onnx", [fixed], {"c": np.zeros((1, 3, 48, 320), np.float32)})
    with pytest.raises(ModelError, match=r"does not take an input of \[1, 3, 64, 96\]"):
        open_detector(path)


def test_sizes_that_a_model_is_fixed_to_are_named(tmp_path: Path) -> None:
    path = onnx_models.dark_detector(tmp_path / "fixed.onnx")
    model = onnx.load(str(path))
    for place, size in ((2, 640), (3, 320)):
        model.graph.input[0].type.tensor_type.shape.dim[place].dim_value = size
    onnx.save(model, str(path))
    with pytest.raises(
        ModelError, match=r"index: 2 Got: 64 Expected: 640, index: 3 Got: 96 Expected: 320\); supported"
    ):
        open_detector(path)


def test_an_answer_in_16_bits_is_read_in_32(tmp_path: Path) -> None:
    path = onnx_models.dark_detector(tmp_path / "half.onnx")
    expected = open_detector(path).probability(PIXELS)
    model = onnx.load(str(path))
    model.graph.node[-1].output[0] = "wide"
    model.graph.node.append(helper.make_node("Cast", ["wide"], ["p"], to=onnx.TensorProto.FLOAT16))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, str(path))
    answer = open_detector(path).probability(PIXELS)
    assert answer.dtype == np.float32
    np.testing.assert_allclose(answer, expected, atol=1e-3)


def test_a_shortcut_that_does_not_fit_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = onnx_models.dark_detector(tmp_path / "a.onnx")
    expected = open_detector(path).probability(PIXELS)
    monkeypatch.setattr("ocr_cml.shortcuts.shortened", lambda model: b"no model")
    np.testing.assert_allclose(open_detector(path).probability(PIXELS), expected, atol=1e-6)
    assert "runs without the shortcuts, which do not fit it" in caplog.text


def test_missing_files_are_named(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        open_detector(tmp_path / "nowhere")
    with pytest.raises(ModelError, match=r"inference.json \(or .pdmodel\) and inference.pdiparams missing"):
        open_detector(tmp_path)
    (tmp_path / "inference.json").write_bytes((exported / "inference.json").read_bytes())
    with pytest.raises(ModelError, match=r"has no model: inference\.pdiparams missing"):
        open_detector(tmp_path)
    with pytest.raises(ModelError, match="is a part of an inference model; give its folder, ") as refused:
        open_detector(exported / "inference.json")
    assert str(refused.value).endswith(str(exported))


def test_damaged_files_are_named(exported: Path, tmp_path: Path) -> None:
    program, weights = (exported / name for name in ("inference.json", "inference.pdiparams"))
    (tmp_path / program.name).write_bytes(program.read_bytes()[:500])
    (tmp_path / weights.name).write_bytes(weights.read_bytes())
    with pytest.raises(ModelError, match=r"inference\.json: is damaged or truncated"):
        open_detector(tmp_path)
    (tmp_path / program.name).write_bytes(program.read_bytes())
    (tmp_path / weights.name).write_bytes(weights.read_bytes()[:10])
    for engine in ("paddle", "auto"):  # ONNX's converter does not mind, and ONNX Runtime speaks of nodes
        with pytest.raises(ModelError, match=r"inference\.pdiparams is truncated, or belongs to another model"):
            open_detector(tmp_path, engine)
    (tmp_path / program.name).unlink()
    (tmp_path / "inference.pdmodel").write_bytes(b"hello world" * 20)
    with pytest.raises(ModelError, match=r"inference\.pdmodel: is damaged"):
        open_detector(tmp_path)
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(ModelError, match=r"broken\.onnx: ONNX Runtime cannot open it"):
        open_detector(tmp_path / "broken.onnx")


@pytest.mark.parametrize(
    "images",
    [PIXELS.astype(np.float32), PIXELS[0], PIXELS[:, :50], PIXELS[..., :1]],
    ids=["float", "3d", "size", "grey"],
)
def test_other_images_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    detector = open_detector(onnx_models.dark_detector(tmp_path / "a.onnx"))
    with pytest.raises(ModelError, match=r"uint8 \[N,H,W,3\], H and W multiples of 32"):
        detector.probability(images)


def test_engines_and_devices_that_are_not_there_are_refused(exported: Path) -> None:
    with pytest.raises(ModelError, match="engine 'tensorrt' is unknown; choose auto, paddle, onnx"):
        open_detector(exported, "tensorrt")
    with pytest.raises(ModelError, match="device 'cuda' is unknown"):
        open_detector(exported, device="cuda")
    if paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ModelError, match="no GPU here; use cpu"):
        open_detector(exported, device="gpu")
    with pytest.raises(ModelError, match="no CUDA here"):
        open_detector(exported, "onnx", device="gpu:0")


def test_the_probe_holds_text_for_a_real_detector() -> None:
    images = probe_images()
    assert images.shape == (1, 64, 96, 3) and (images.mean(axis=-1) < 80).sum() > 100


@pytest.mark.parametrize(
    "model", ["ch_PP-OCRv3_det_infer", pytest.param("ch_PP-OCRv2_det_infer", marks=pytest.mark.slow)]
)
def test_official_models_open_in_both_engines_and_agree(shared: Path, model: str) -> None:
    engines = [open_detector(shared / "models" / model, engine) for engine in ("paddle", "onnx")]
    assert engines[0].config == InferenceConfig()
    assert check_parity(*engines, probe_images(), atol=1e-4) < 1e-4
    assert engines[0].probability(probe_images()).max() > 0.9


@pytest.mark.parametrize(("count", "size"), [(3, 640), (5, 512), (1, 1024), (9, 256)])
def test_a_batch_is_answered_as_its_images_are_one_by_one(count: int, size: int, tmp_path: Path) -> None:
    """Large batches go through ONNX Runtime in parts; 5 of 512x512 in two and two and one."""
    detector = open_detector(onnx_models.dark_detector(tmp_path / "model.onnx"), threads=1)
    images = np.random.default_rng(size).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    alone = [detector.probability(image[None])[0] for image in images]
    np.testing.assert_array_equal(detector.probability(images), np.stack(alone))


def test_a_graph_for_one_image_at_a_time_answers_several(tmp_path: Path) -> None:
    """As torch.onnx.export writes it where nothing is said about the batch."""
    path = onnx_models.dark_detector(tmp_path / "model.onnx")
    model = onnx.load(path)
    images = np.random.default_rng(1).integers(0, 256, (3, 64, 96, 3), dtype=np.uint8)
    expected = open_detector(path, threads=1).probability(images)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(model, str(tmp_path / "single.onnx"))
    np.testing.assert_array_equal(open_detector(tmp_path / "single.onnx", threads=1).probability(images), expected)


def test_an_empty_batch_has_an_empty_answer(tmp_path: Path) -> None:
    detector = open_detector(onnx_models.dark_detector(tmp_path / "model.onnx"), threads=1)
    assert detector.probability(np.zeros((0, 64, 96, 3), np.uint8)).shape == (0, 64, 96)


@pytest.mark.parametrize("size", [(64, 50), (50, 64)])
def test_neither_side_may_be_off_the_stride(size: tuple[int, int]) -> None:
    with pytest.raises(ModelError, match="multiples of 32"):
        check_images(np.zeros((1, *size, 3), np.uint8))


@pytest.mark.parametrize(("value", "fine"), [(-0.1, False), (-0.0005, True), (1.0005, True), (1.1, False)])
def test_a_map_below_zero_is_no_map_of_probabilities(value: float, fine: bool) -> None:
    class Level(FrozenDetector):
        engine = "onnx"

        def _run(self, images: np.ndarray) -> np.ndarray:
            return np.full((len(images), 1, *images.shape[1:3]), value, np.float32)

    detector = Level("level", InferenceConfig())
    if fine:
        assert _checked(detector) is detector
    else:
        with pytest.raises(ModelError, match="no probabilities"):
            _checked(detector)


def test_pixels_that_are_on_the_device_are_turned_to_rgb_as_those_of_the_host() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 2, 3, 3), np.uint8)
    rule = Normalization((0.5, 0.4, 0.3), (0.25, 0.5, 1.0), 1 / 255, "RGB")
    found = rule.to_device(paddle.to_tensor(pixels)).numpy()
    np.testing.assert_allclose(found, rule.apply(pixels), atol=1e-6)
    red = (pixels[0, 0, 0, 2] / 255 - 0.5) / 0.25
    assert found[0, 0, 0, 0] == pytest.approx(red, abs=1e-5)


@pytest.mark.skipif(os.name != "posix", reason="signals of another kind")
def test_who_handles_sigterm_goes_on_doing_so(exported: Path, repository: Path) -> None:
    """Importing paddle takes it away, and answers it with the report of a crash."""
    program = (
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "heard = []\n"
        "signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))\n"
        "from ocr_cml.runtime import open_detector\n"
        "open_detector(sys.argv[2], 'paddle')\n"
        "os.kill(os.getpid(), signal.SIGTERM)\n"
        "print(heard)\n"
    )
    command = [sys.executable, "-c", program, str(repository), str(exported)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"[{signal.SIGTERM.value}]\n"), done.stderr
