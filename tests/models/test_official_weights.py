"""PaddleOCR's official students: their unfused weights in our networks answer as their inference models do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import paddle
import pytest
from paddle import inference

from ocr_cml.models import build_detector
from ocr_cml.models.weight_files import read_weights
from ocr_cml.models.weights import load_into, select

NECKS = {"v2": {"name": "DBFPN", "out_channels": 96}, "v3": {"name": "RSEFPN", "out_channels": 96, "shortcut": True}}


def page() -> np.ndarray:
    """A white page with three lines of text, normalised: [1,3,192,320] float32."""
    image = np.full((192, 320, 3), 235, np.uint8)
    for row, text in ((50, "TOTAL 12.50"), (100, "Thank you"), (160, "2026-01-31")):
        cv2.putText(image, text, (20, row), cv2.FONT_HERSHEY_SIMPLEX, 1.1, (30, 30, 30), 2)
    normalised = (image / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return normalised.transpose(2, 0, 1)[None].astype("float32")


@pytest.mark.parametrize("version", NECKS)
def test_official_student_reproduces_its_inference_model(shared: Path, version: str) -> None:
    detector = build_detector(
        {
            "Backbone": {"name": "MobileNetV3", "scale": 0.5, "model_name": "large", "disable_se": True},
            "Neck": NECKS[version],
            "Head": {"name": "DBHead", "k": 50},
        }
    )
    file = shared / "models" / "ppocr_det_student_npz" / f"ch_PP-OCR{version}_det_student_structured.npz"
    weights, rest = select(read_weights(file), "Student")
    report = load_into(detector, weights, frozen=True)
    assert (report.share, rest, report.unexpected) == (1.0, {}, ())
    assert {key.rsplit(".", 2)[0] for key in report.missing} == {"head.thresh"}
    folder = shared / "models" / f"ch_PP-OCR{version}_det_infer"
    config = inference.Config(str(folder / "inference.pdmodel"), str(folder / "inference.pdiparams"))
    config.disable_gpu()
    config.disable_glog_info()
    config.switch_ir_optim(False)  # the graph as it was saved: the optimised one rounds differently, by up to 1e-4
    config.set_cpu_math_library_num_threads(1)
    expected = inference.create_predictor(config).run([paddle.to_tensor(page())])[0].numpy()
    detector.eval()
    with paddle.no_grad():
        found = detector.probability(paddle.to_tensor(page())).numpy()
    assert ((expected > 0.3).mean() > 0.02) and (expected < 0.3).mean() > 0.5  # it does see the lines
    np.testing.assert_allclose(found, expected, atol=1e-5)
