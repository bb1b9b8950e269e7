"""Export: the folder answers as the network does, in both engines and in PaddleOCR, or nothing is changed."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import onnx_models
import paddle
import pytest
import yaml
from disks import files_of_at_most
from paddle import nn

from ocr_cml import inference_yml
from ocr_cml.export import PRODUCTS, Ensemble, ExportReport, _same_boxes, export_detector, save_graph
from ocr_cml.infer import load_detector
from ocr_cml.inference_yml import InferenceConfig, read, write
from ocr_cml.models import build_detector
from ocr_cml.models.weights import load_into
from ocr_cml.normalization import Normalization
from ocr_cml.paddle_to_onnx import to_onnx
from ocr_cml.postprocess import DBPostProcess
from ocr_cml.runtime import open_detector
from ppocr_data.errors import ModelError
from ppocr_data.locks import lock
from ppocr_data.transforms import DetResizeForTest

PAGES = [onnx_models.page(96, 160, 3), onnx_models.page(70, 120, 2, seed=1)]
POST = DBPostProcess(thresh=0.35, box_thresh=0.55, unclip_ratio=1.7)
LIMITS = [
    DetResizeForTest(limit_side_len=128, limit_type="max"),
    DetResizeForTest(limit_side_len=96, limit_type="min"),
    DetResizeForTest(limit_side_len=192, limit_type="resize_long"),
    DetResizeForTest(image_shape=(64, 96)),
]


class DarkNetwork(nn.Layer):
    """Blurs at a quarter of the size, so that up-sampling is in the graph; dark pixels are text."""

    def __init__(self, shift: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2D(4)
        self.conv.weight.set_value(np.full((4, 3, 3, 3), -0.2, np.float32))
        self.conv.bias.set_value(np.full(4, shift - 4, np.float32))

    def probability(self, x: paddle.Tensor) -> paddle.Tensor:
        level = self.norm(self.conv(x)).mean(axis=1, keepdim=True)
        return nn.functional.sigmoid(nn.functional.interpolate(level, scale_factor=2, mode="nearest"))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return self.probability(x)


class TwoFaced(DarkNetwork):
    """Answers otherwise in a traced graph than in dygraph."""

    def __init__(self, share: float = 0.9) -> None:
        super().__init__()
        self.share = share

    def probability(self, x: paddle.Tensor) -> paddle.Tensor:
        return super().probability(x) * (1.0 if paddle.in_dynamic_mode() else self.share)


def export(
    network: nn.Layer, folder: Path, resize: DetResizeForTest = LIMITS[0], pages: Sequence[np.ndarray] = PAGES
) -> ExportReport:
    return export_detector(
        network, folder, normalization=Normalization(), postprocess=POST, resize=resize, check_images=pages
    )


def maps_by_layer(network: nn.Layer, pixels: np.ndarray) -> np.ndarray:
    network.eval()
    with paddle.no_grad():
        return network(paddle.to_tensor(Normalization().apply(pixels))).numpy()[:, 0]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that held other things before, and its report beside it."""
    folder = tmp_path_factory.mktemp("export")
    (folder / "notes.txt").write_text("mine")
    report = export(DarkNetwork(), folder)
    assert (report.images, report.boxes, report.folder) == (2, 5, folder)
    assert report.map_difference <= 1e-4
    return folder


def test_four_files_are_written_and_others_stay(exported: Path) -> None:
    assert sorted(file.name for file in exported.iterdir()) == sorted([*PRODUCTS, "notes.txt"])
    assert (exported / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("engine", ["paddle", "onnx"])
def test_maps_and_boxes_are_the_networks_at_any_size_and_batch(exported: Path, engine: str) -> None:
    detector = load_detector(exported, engine)
    for height, width, count in [(32, 32, 1), (96, 160, 3)]:
        pixels = np.stack([onnx_models.page(height, width, 2, seed) for seed in range(count)])
        expected = maps_by_layer(DarkNetwork(), pixels)
        np.testing.assert_allclose(detector.network.probability(pixels), expected, atol=1e-4)
    page = PAGES[0]
    (expected,) = maps_by_layer(DarkNetwork(), LIMITS[0].resize(page)[None])
    polygons, scores = POST(expected, (96, 160))
    found = detector(page)
    assert len(polygons) == 3
    np.testing.assert_array_equal(found.polygons, polygons)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)


def test_the_network_itself_is_left_as_it_was(tmp_path: Path) -> None:
    network = DarkNetwork()
    network.train()
    before = {name: value.numpy().copy() for name, value in network.state_dict().items()}
    export(network, tmp_path / "new" / "folder")
    assert network.training and network.norm.training
    for name, value in network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_a_product_that_differs_is_refused_and_the_old_one_stays_whole(exported: Path) -> None:
    before = {file.name: file.read_bytes() for file in exported.iterdir()}
    with pytest.raises(ModelError, match="check image 1 of 2, paddle: the map differs from the network's by"):
        export(TwoFaced(), exported)
    assert {file.name: file.read_bytes() for file in exported.iterdir()} == before


@pytest.mark.parametrize("off", [0.1, float("nan")])
@pytest.mark.parametrize("wrong", ["paddle", "onnx"])
def test_each_of_the_two_products_is_asked(
    wrong: str, off: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(folder: Path, engine: str) -> Any:
        detector = open_detector(folder, engine)
        more = off if engine == wrong else 0.0
        return SimpleNamespace(engine=engine, probability=lambda pixels: detector.probability(pixels) + more)

    monkeypatch.setattr("ocr_cml.export.open_detector", opened)
    with pytest.raises(ModelError, match=f"check image 1 of 2, {wrong}: the map differs from the network's by {off} "):
        export(DarkNetwork(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_program_that_the_disk_cut_short_is_no_failed_conversion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paddle writes what there is room for, without an error."""

    def full(network: nn.Layer, path: Path) -> nn.Layer:
        graph = save_graph(network, path)
        program = path.with_suffix(".json")
        program.write_bytes(program.read_bytes()[:1000])
        return graph

    monkeypatch.setattr("ocr_cml.export.save_graph", full)
    with pytest.raises(ModelError, match=r"^inference.json was cut short as it was written; is the disk full\?$"):
        export(DarkNetwork(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_room_for_the_converter_is_no_failed_conversion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(model: Path, params: Path) -> bytes:
        with files_of_at_most(64):
            return to_onnx(model, params)

    monkeypatch.setattr("ocr_cml.export.to_onnx", limited)
    with pytest.raises(ModelError, match=rf"^{re.escape(str(tmp_path))}: cannot be written \(File too large\)$"):
        export(DarkNetwork(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_boxes_may_differ_by_pixels_on_the_threshold_alone() -> None:
    """Maps that lie 5e-4 apart: in one a box is no longer kept, in the other a pixel no longer belongs to it."""
    expected = np.zeros((64, 64), np.float32)
    expected[20:40, 10:50] = POST.box_thresh + 2e-4
    found = POST(expected, (64, 64))[0]
    answer = expected - np.float32(5e-4)
    assert len(found) == 1 and not POST(answer, (64, 64))[0]
    assert not _same_boxes(expected, answer, (64, 64), POST, found)
    expected[20:40, 10:50] = 0.9
    expected[20:40, 50] = POST.thresh + 2e-4
    found = POST(expected, (64, 64))[0]
    answer = expected.copy()
    answer[20:40, 50] -= np.float32(5e-4)
    assert not np.array_equal(POST(answer, (64, 64))[0], found)
    assert _same_boxes(expected, answer, (64, 64), POST, found)


def test_what_a_killed_export_left_is_removed_and_a_running_ones_place_is_not(tmp_path: Path) -> None:
    for name in ("killed", "running", "theirs"):
        (tmp_path / f".export-{name}").mkdir()
    (tmp_path / ".export-killed/.lock").touch()
    with (tmp_path / ".export-running/.lock").open("w+") as held:
        lock(held)
        export(DarkNetwork(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {*PRODUCTS, ".export-running", ".export-theirs"}


def test_more_rounding_than_usual_with_the_same_boxes_is_told_and_no_reason_to_refuse(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A student's running statistics may fit so badly that rounding alone moves its map by .0004."""
    report = export(TwoFaced(0.9996), tmp_path / "rounded")
    assert report.map_difference == pytest.approx(4e-4, abs=5e-5)
    assert report.boxes == 5
    assert "maps differ from the network's by up to 4.0e-04" in caplog.text
    caplog.clear()
    export(DarkNetwork(), tmp_path / "plain")
    assert not caplog.text


def test_a_folder_that_cannot_be_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="file: cannot be written"):
        export(DarkNetwork(), tmp_path / "file")


def test_without_an_image_to_check_a_picture_of_our_own_is_taken(tmp_path: Path) -> None:
    assert export(DarkNetwork(), tmp_path, pages=[]).images == 1
    with pytest.raises(ModelError, match=r"check image 1 of 1, .*: the map differs"):
        export(TwoFaced(), tmp_path, pages=[])


def test_an_ensemble_is_the_mean_of_the_maps(tmp_path: Path) -> None:
    networks = [DarkNetwork(), DarkNetwork(shift=2.0), DarkNetwork(shift=1.0)]
    export(Ensemble(networks), tmp_path)
    pixels = PAGES[0][None]
    expected = np.mean([maps_by_layer(network, pixels) for network in networks], axis=0)
    assert np.abs(maps_by_layer(networks[0], pixels) - expected).max() > 0.05
    np.testing.assert_allclose(load_detector(tmp_path, "onnx").network.probability(pixels), expected, atol=1e-4)
    with pytest.raises(ModelError, match="at least one network"):
        Ensemble([])


@pytest.mark.slow
def test_a_detector_of_ours_is_exported(tmp_path: Path) -> None:
    paddle.seed(3)
    spec = {
        "Backbone": {"name": "PPLCNetV3", "scale": 0.35},
        "Neck": {"name": "RSEFPN", "out_channels": 16, "shortcut": True},
        "Head": {"name": "DBHead"},
    }
    network = build_detector(spec)
    report = export(network, tmp_path)
    assert report.map_difference <= 1e-4
    network.eval()
    with paddle.no_grad():
        expected = network.probability(paddle.to_tensor(Normalization().apply(PAGES[0][None]))).numpy()[:, 0]
    assert expected.std() > 1e-4
    answer = load_detector(tmp_path, "onnx").network.probability(PAGES[0][None])
    np.testing.assert_allclose(answer, expected, atol=1e-4)


@pytest.mark.parametrize("resize", LIMITS, ids=["max", "min", "long", "fixed"])
def test_inference_yml_reads_back_as_it_was_written(tmp_path: Path, resize: DetResizeForTest) -> None:
    stated = Normalization((0.5, 0.4, 0.3), (0.25, 0.5, 1.0), 1 / 128, "RGB")
    config = InferenceConfig("PP-OCRv5_mobile_det", stated, resize, POST)
    inference_yml.write(config, tmp_path / "inference.yml")
    assert inference_yml.read(tmp_path / "inference.yml") == config


@pytest.mark.parametrize(
    ("stated", "meant"),
    [
        ({"image_shape": (384, 640), "limit_side_len": 384}, {"image_shape": (384, 640)}),
        ({"limit_side_len": 384, "keep_ratio": True}, {"limit_side_len": 384}),
    ],
)
def test_what_has_no_effect_on_a_resize_rule_is_not_exported(
    tmp_path: Path, stated: dict[str, Any], meant: dict[str, Any]
) -> None:
    assert export(DarkNetwork(), tmp_path / "out", DetResizeForTest(**stated)).boxes > 0
    assert inference_yml.read(tmp_path / "out" / "inference.yml").resize == DetResizeForTest(**meant)


def test_an_inference_yml_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    """Where a disk was full or a copy broke off it would be read as other settings, and find other boxes."""
    path = tmp_path / "inference.yml"
    inference_yml.write(InferenceConfig(resize=LIMITS[1]), path)
    whole = path.read_bytes()
    last = whole.index(b"box_type")
    for size in [*range(0, last, 7), *range(last - 3, len(whole) - 1)]:
        path.write_bytes(whole[:size])
        with pytest.raises(ModelError, match=re.escape(str(path))):
            inference_yml.read(path)
    path.write_bytes(whole[:-1])
    inference_yml.read(path)


def test_inference_yml_is_what_the_runtime_wants(exported: Path) -> None:
    document = yaml.safe_load((exported / "inference.yml").read_text())
    ops = [next(iter(op)) for op in document["PreProcess"]["transform_ops"]]
    assert ops == ["DecodeImage", "DetLabelEncode", "DetResizeForTest", "NormalizeImage", "ToCHWImage", "KeepKeys"]
    assert document["Global"] == {"model_name": "PP-OCRv4_mobile_det"}
    assert document["PreProcess"]["transform_ops"][0] == {"DecodeImage": {"img_mode": "BGR", "channel_first": False}}
    assert document["PostProcess"] == {
        "name": "DBPostProcess",
        "thresh": 0.35,
        "box_thresh": 0.55,
        "unclip_ratio": 1.7,
        "max_candidates": 1000,
        "use_dilation": False,
        "score_mode": "fast",
        "box_type": "quad",
    }


def test_the_call_says_what_the_file_cannot() -> None:
    assert [inference_yml.runtime_arguments(resize) for resize in LIMITS] == [
        {},
        {"limit_side_len": 96, "limit_type": "min"},
        {"limit_side_len": 192, "limit_type": "resize_long"},
        {},
    ]
    # The runtime's own rule for seals is another one.
    assert inference_yml.runtime_arguments(LIMITS[0], "PP-OCRv4_mobile_seal_det") == {
        "limit_side_len": 128,
        "limit_type": "max",
    }
    call = inference_yml.runtime_call(InferenceConfig(resize=LIMITS[1]))
    keywords = {word.arg: ast.literal_eval(word.value) for word in ast.parse(call, mode="eval").body.keywords}
    assert keywords == {
        "model_name": "PP-OCRv4_mobile_det",
        "model_dir": "DIR",
        "device": "cpu",
        "limit_side_len": 96,
        "limit_type": "min",
    }
    with pytest.raises(ModelError, match="max_side_limit: 900 cannot be deployed"):
        inference_yml.runtime_arguments(DetResizeForTest(max_side_limit=900))


@pytest.mark.parametrize(
    ("text", "resize", "unclip"),
    [
        ("PreProcess: {transform_ops: [{DetResizeForTest: {resize_long: 1280}}]}", (1280, "max"), 1.5),
        ("PreProcess: {transform_ops: [{DetResizeForTest: null}]}\nPostProcess: {thresh: 0.2}", (960, "max"), 2.0),
        ("PostProcess: {name: DBPostProcess, unclip_ratio: 0, box_thresh: 0.7}", (960, "max"), 2.0),
        (
            "Global: {model_name: PP-OCRv4_mobile_seal_det}\n"
            "PreProcess: {transform_ops: [{DetResizeForTest: {resize_long: 640}}]}",
            *((640, "min"), 1.5),
        ),
        ("Global: {model_name: PP-OCRv4_server_seal_det}\nPostProcess: {thresh: 0.2}", (736, "min"), 2.0),
        (
            "PostProcess: {name: DistillationDBPostProcess, model_name: [Student], key: head_out, thresh: 0.3}",
            *((960, "max"), 1.5),
        ),
    ],
)
def test_files_of_paddleocr_are_read_as_its_runtime_does(
    tmp_path: Path, text: str, resize: tuple[int, str], unclip: float
) -> None:
    path = tmp_path / "inference.yml"
    path.write_text(text)
    config = inference_yml.read(path)
    assert (config.resize.limit_side_len, config.resize.limit_type) == resize
    assert config.postprocess.unclip_ratio == unclip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PostProcess: {name: CTCLabelDecode}", "DBPostProcess.name"),
        ("PreProcess: {transform_ops: [{DecodeImage: {img_mode: GRAY}}]}", "img_mode: 'GRAY' is neither"),
        ("PreProcess: 3", "PreProcess: must be a mapping"),
        ("- a list", "found a list"),
        ("a: [", "not valid YAML"),
        ("PostProcess: {thresh: 0.3, thresh: 0.9}", r"PostProcess\.thresh: written twice, at .*inference\.yml:1 "),
    ],
)
def test_files_of_other_models_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "inference.yml"
    path.write_text(text)
    with pytest.raises(ModelError, match=message) as caught:
        inference_yml.read(path)
    assert str(path) in str(caught.value)


# --- the real runtime ------------------------------------------------------------------------------------------------


def runtime_answer(call: str, images: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> list[list[list]]:
    """The polygons that PaddleOCR finds, called as the export says."""
    monkeypatch.setenv("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
    paddleocr = pytest.importorskip("paddleocr")
    keywords = {word.arg: ast.literal_eval(word.value) for word in ast.parse(call, mode="eval").body.keywords}
    detector = paddleocr.TextDetection(**keywords)
    return [np.asarray(detector.predict(image)[0]["dt_polys"]).tolist() for image in images]


@pytest.mark.slow
def test_rapidocr_finds_the_same_boxes_to_a_pixel(tmp_path: Path) -> None:
    """Its corners are rounded otherwise. Its wheel wants a second OpenCV: `pip install --no-deps rapidocr`."""
    rapidocr = pytest.importorskip("rapidocr")
    export(DarkNetwork(), tmp_path, LIMITS[1])
    stated = Normalization()
    runtime = rapidocr.RapidOCR(
        params={
            "Global.use_cls": False,
            "Global.use_rec": False,
            "Det.model_path": str(tmp_path / "inference.onnx"),
            "Det.limit_side_len": LIMITS[1].limit_side_len,
            "Det.limit_type": LIMITS[1].limit_type,
            "Det.mean": list(stated.mean),
            "Det.std": list(stated.std),
            "Det.use_dilation": False,
            "Det.thresh": POST.thresh,
            "Det.box_thresh": POST.box_thresh,
            "Det.unclip_ratio": POST.unclip_ratio,
        }
    )
    detector = load_detector(tmp_path, "onnx")
    for page in PAGES:
        found = runtime(page, use_det=True, use_cls=False, use_rec=False).boxes
        expected = sorted(detector(page).polygons, key=lambda polygon: polygon[0, 1])
        assert len(expected) >= 2
        np.testing.assert_allclose(sorted(found, key=lambda polygon: polygon[0, 1]), expected, atol=1.01)


@pytest.mark.slow
@pytest.mark.parametrize("resize", LIMITS, ids=["max", "min", "long", "fixed"])
def test_paddleocr_finds_the_same_boxes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: DetResizeForTest
) -> None:
    report = export(DarkNetwork(), tmp_path, resize)
    expected = runtime_answer(report.runtime_call, PAGES, monkeypatch)
    assert [len(found) for found in expected] == [3, 2]
    for engine in ("paddle", "onnx"):
        detector = load_detector(tmp_path, engine)
        assert [[p.tolist() for p in detector(page).polygons] for page in PAGES] == expected


@pytest.mark.slow
@pytest.mark.parametrize("resize", [DetResizeForTest(), DetResizeForTest(limit_side_len=960, limit_type="max")])
def test_paddleocr_finds_the_same_boxes_on_photos(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, resize: DetResizeForTest
) -> None:
    spec = {
        "Backbone": {"name": "MobileNetV3", "model_name": "large", "scale": 0.5, "disable_se": True},
        "Neck": {"name": "DBFPN", "out_channels": 96},
        "Head": {"name": "DBHead"},
    }
    network = build_detector(spec)
    with np.load(shared / "models/ppocr_det_student_npz/ch_PP-OCRv2_det_student_structured.npz") as weights:
        load_into(network, dict(weights), frozen=False, source="official")
    folder = shared / "data/icdar2015/ch4_training_images"
    photos = [cv2.imread(str(folder / f"img_{number}.jpg")) for number in range(901, 951)]
    report = export_detector(
        network,
        tmp_path,
        normalization=Normalization(),
        postprocess=DBPostProcess(),
        resize=resize,
        check_images=photos[:2],
    )
    expected = runtime_answer(report.runtime_call, photos, monkeypatch)
    assert sum(map(len, expected)) >= 15
    for engine in ("paddle", "onnx"):
        detector = load_detector(tmp_path, engine)
        assert [[p.tolist() for p in detector(photo).polygons] for photo in photos] == expected


@pytest.mark.parametrize(
    "theirs",
    [
        *(("inference.yml", "inference.pdiparams"), ("inference.pdmodel",)),
        # PaddleOCR's own exports have their inference.yml in the folder above; a teacher may be a bare .onnx file.
        *(("inference.json", "inference.pdiparams"), ("inference.onnx",), ("inference.yml",)),
    ],
)
def test_a_model_from_elsewhere_is_not_replaced(tmp_path: Path, theirs: tuple[str, ...]) -> None:
    for name in theirs:
        (tmp_path / name).write_text("theirs")
    with pytest.raises(ModelError, match="holds a model that this tool did not export"):
        export(DarkNetwork(), tmp_path)
    assert {file.name: file.read_text() for file in tmp_path.iterdir()} == dict.fromkeys(theirs, "theirs")


def test_an_export_that_is_cut_short_leaves_no_old_weights_under_new_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(DarkNetwork(), tmp_path)
    replace = Path.replace

    def full_disk(self: Path, target: Path) -> Path:
        if target == tmp_path / "inference.json":
            raise OSError(28, "No space left on device")
        return replace(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full_disk)
        with pytest.raises(ModelError, match="cannot be written"):
            export(DarkNetwork(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"inference.yml", "inference.pdiparams"}
    export(DarkNetwork(), tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == set(PRODUCTS)


def test_a_checkpoint_is_no_place_for_an_export(tmp_path: Path) -> None:
    """The training replaces it, and what lies in it."""
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(ModelError, match="is a checkpoint, which its training replaces; choose another folder"):
        export(DarkNetwork(), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["state.json"]


@pytest.mark.parametrize("placed", [0, 1, 2, 3])
def test_an_export_that_was_cut_short_is_made_again(
    placed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between any two of the renames that put its files in place."""
    moved = []

    def replace(self: Path, target: Path) -> Path:
        if target.name in PRODUCTS:
            if len(moved) == placed:
                raise KeyboardInterrupt
            moved.append(target.name)
        return rename(self, target)

    rename = Path.replace
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", replace)
        export(DarkNetwork(), tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(moved) and len(moved) == placed
    assert export(DarkNetwork(), tmp_path).boxes == 5
    assert export(DarkNetwork(), tmp_path).boxes == 5


def test_the_order_of_channels_and_the_longer_side_are_stated_as_the_runtime_takes_them(tmp_path: Path) -> None:
    path = tmp_path / "inference.yml"
    for text, order in (
        ("PreProcess: {transform_ops: [{NormalizeImage: null}]}", "RGB"),  # ops, and none of them decodes
        ("PreProcess: {transform_ops: [{DecodeImage: null}]}", "BGR"),
        ("PostProcess: {thresh: 0.3}", "BGR"),
    ):
        path.write_text(text)
        assert read(path).normalization.channel_order == order
    write(InferenceConfig(resize=DetResizeForTest(limit_side_len=640, limit_type="max")), path)
    ops = yaml.safe_load(path.read_text())["PreProcess"]["transform_ops"]
    assert ops[2]["DetResizeForTest"]["resize_long"] == 640  # all that the runtime reads of a rule
