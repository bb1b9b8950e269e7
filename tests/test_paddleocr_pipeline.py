"""The export inside PaddleOCR's whole pipeline and paddlex's pipeline file, with a stand-in for their recogniser.

The real recogniser is a download; any network that answers as one shows that the detector is found, fed and believed.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx_models
import paddle
import pytest
import yaml
from paddle import nn

from ocr_cml.export import export_detector
from ocr_cml.infer import load_detector
from ocr_cml.normalization import Normalization
from ocr_cml.postprocess import DBPostProcess
from ppocr_data.transforms import DetResizeForTest

pytestmark = pytest.mark.slow
DETECTOR, RECOGNISER = "PP-OCRv4_mobile_det", "PP-OCRv5_mobile_rec"
LIMITS = {"limit_side_len": 96, "limit_type": "min"}
THRESHOLDS = {"thresh": 0.25, "box_thresh": 0.5, "unclip_ratio": 2.5}  # not those that the pipelines have of their own
REPOSITORY = Path(__file__).resolve().parent.parent
PAGE = onnx_models.page(96, 160, 3)


class _Dark(nn.Layer):
    """Dark pixels are text."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 1, 1)
        self.conv.weight.set_value(np.full((1, 3, 1, 1), -2.0, np.float32))
        self.conv.bias.set_value(np.full(1, -6.0, np.float32))

    def probability(self, x: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.sigmoid(self.conv(x))


class _Reader(nn.Layer):
    """Reads every line as "b", whatever it sees: `[N,T,4]` over blank, a, b and space, a column for eight pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2D(3, 4, (48, 8), stride=(48, 8))
        self.conv.weight.set_value(np.zeros((4, 3, 48, 8), np.float32))
        self.conv.bias.set_value(np.array([0, 0, 9, 0], np.float32))

    def forward(self, x: paddle.Tensor) -> paddle.Tensor:
        return nn.functional.softmax(self.conv(x).squeeze(2).transpose([0, 2, 1]), axis=2)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The exported detector and the stand-in for a recogniser."""
    detector, reader = tmp_path_factory.mktemp("det"), tmp_path_factory.mktemp("rec")
    post, resize = DBPostProcess(**THRESHOLDS), DetResizeForTest(**LIMITS)
    export_detector(
        _Dark(), detector, normalization=Normalization(), postprocess=post, resize=resize, check_images=[PAGE]
    )
    network = _Reader()
    network.eval()
    spec = [paddle.static.InputSpec([None, 3, 48, None], "float32", name="x")]
    paddle.jit.save(network, str(reader / "inference"), input_spec=spec)
    document = {
        "Global": {"model_name": RECOGNISER},
        "PreProcess": {
            "transform_ops": [
                {"DecodeImage": {"channel_first": False, "img_mode": "BGR"}},
                {"RecResizeImg": {"image_shape": [3, 48, 320]}},
                {"KeepKeys": {"keep_keys": ["image"]}},
            ]
        },
        "PostProcess": {"name": "CTCLabelDecode", "character_dict": ["a", "b"]},
    }
    (reader / "inference.yml").write_text(yaml.safe_dump(document))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK", "True")
        yield detector, reader


def expected(folder: Path) -> list:
    found = sorted(
        (polygon.tolist() for polygon in load_detector(folder, "onnx")(PAGE).polygons), key=lambda p: p[0][1]
    )
    assert len(found) == 3
    return found


def answered(result: dict) -> list:
    return sorted((np.asarray(polygon).tolist() for polygon in result["dt_polys"]), key=lambda p: p[0][1])


def call_of_the_pages(**values: Any) -> dict[str, Any]:
    """The arguments of `PaddleOCR(...)` that all pages give, but for the values of an export of one's own."""
    found = []
    for page in ("README.md", "README.zh-CN.md", "docs/deployment.md"):
        (call,) = re.findall(r"`(PaddleOCR\([^`]*\))`", (REPOSITORY / page).read_text(encoding="utf-8"))
        expression = ast.parse(call, mode="eval").body
        assert isinstance(expression, ast.Call)
        found.append({k.arg: k.value.value if isinstance(k.value, ast.Constant) else ... for k in expression.keywords})
    shown = [{key: value for key, value in each.items() if key != "text_detection_model_dir"} for each in found]
    assert shown[0] == shown[1] == shown[2]
    assert values.keys() <= found[0].keys(), "the pages must pass these as well"
    return {str(key): value for key, value in found[0].items()} | values


def test_paddleocr(folders: tuple[Path, Path]) -> None:
    paddleocr = pytest.importorskip("paddleocr")
    detector, reader = folders
    given = call_of_the_pages(
        text_detection_model_dir=str(detector),
        **{f"text_det_{key}": value for key, value in (LIMITS | THRESHOLDS).items()},
    )
    pipeline = paddleocr.PaddleOCR(
        **given, text_recognition_model_name=RECOGNISER, text_recognition_model_dir=str(reader), device="cpu"
    )
    (result,) = pipeline.predict(PAGE)
    assert answered(result) == expected(detector)
    assert result["rec_texts"] == ["b"] * 3


def test_paddlex_pipeline_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    paddlex = pytest.importorskip("paddlex")
    detector, reader = folders
    settings = {
        "pipeline_name": "OCR",
        "text_type": "general",
        "use_doc_preprocessor": False,
        "use_textline_orientation": False,
        "SubModules": {
            "TextDetection": {
                "module_name": "text_detection",
                "model_name": DETECTOR,
                "model_dir": str(detector),
                **LIMITS,
                "max_side_limit": 4000,
                **THRESHOLDS,
            },
            "TextRecognition": {
                "module_name": "text_recognition",
                "model_name": RECOGNISER,
                "model_dir": str(reader),
                "batch_size": 1,
                "score_thresh": 0.0,
            },
        },
    }
    (tmp_path / "OCR.yaml").write_text(yaml.safe_dump(settings))
    pipeline = paddlex.create_pipeline(pipeline=str(tmp_path / "OCR.yaml"), device="cpu")
    (result,) = pipeline.predict(PAGE)
    assert answered(result) == expected(detector)
