"""A teacher by its published name is the one in paddleocr's store, and its own normalisation is honoured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_models
import pytest
import tiny
import yaml

from ocr_cml import assemble


def test_a_published_name_is_found_in_the_store(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "official_models" / "PP-OCRv5_server_det"
    folder.mkdir(parents=True)
    onnx_models.dark_detector(folder / "inference.onnx")
    stated = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.25, 0.5], "scale": "1./255."}
    ops = [{"DecodeImage": {"img_mode": "RGB", "channel_first": False}}, {"NormalizeImage": stated}]
    (folder / "inference.yml").write_text(yaml.safe_dump({"PreProcess": {"transform_ops": ops}}))
    settings = tiny.settings(tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.TEACHER], students=1)
    teacher = {"freeze_params": True, "inference_model": "PP-OCRv5_server_det"}
    settings["Architecture"]["Models"]["Teacher"] = teacher
    config = tiny.load(settings, tmp_path)
    found, _ = assemble.build_teachers(config, 1, "cpu")
    normalization = found["Teacher"][0].normalization
    assert (normalization.channel_order, normalization.mean) == ("RGB", (0.5, 0.5, 0.5))
    page = onnx_models.page(64, 96, 2)[None]
    planes = (page[0].astype("f4") / 255 - 0.5) / np.array([0.5, 0.25, 0.5], "f4")
    z = onnx_models.STEEPNESS * (onnx_models.DARK - planes.mean(axis=2))
    np.testing.assert_allclose(found["Teacher"][0].probability(page)[0], 1 / (1 + np.exp(-z)), atol=1e-4)
    assert assemble.teacher_record(config)["Teacher"]["path"] == "PP-OCRv5_server_det"
