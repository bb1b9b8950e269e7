"""Published models by name, from paddleocr's store, without any network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ocr_cml import model_store
from ppocr_data.errors import ModelError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty store."""
    monkeypatch.setenv("PADDLE_PDX_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "cache" / "official_models"
    folder.mkdir(parents=True)
    return folder


def test_a_name_is_the_folder_in_the_store(cache: Path) -> None:
    (cache / "PP-OCRv5_server_det").mkdir()
    (cache / "PP-OCRv5_server_det_onnx").mkdir()
    assert model_store.resolve("PP-OCRv5_server_det") == cache / "PP-OCRv5_server_det"


def test_the_onnx_package_will_do(cache: Path) -> None:
    (cache / "PP-OCRv5_server_det_onnx").mkdir()
    assert model_store.resolve("PP-OCRv5_server_det") == cache / "PP-OCRv5_server_det_onnx"


def test_a_path_that_exists_wins(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (cache / "PP-OCRv5_server_det").mkdir()
    (tmp_path / "PP-OCRv5_server_det").mkdir()
    monkeypatch.chdir(tmp_path)
    assert model_store.resolve("PP-OCRv5_server_det") == Path("PP-OCRv5_server_det")
    assert model_store.resolve(tmp_path / "PP-OCRv5_server_det") == tmp_path / "PP-OCRv5_server_det"


def test_the_store_is_in_the_home_folder_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PADDLE_PDX_CACHE_HOME", raising=False)
    assert model_store.store() == Path.home() / ".paddlex" / "official_models"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("PP-OCRv5_sever_det", "did you mean PP-OCRv5_server_det?"),
        ("PP-OCRv5_server_rec", "no published detector has this name"),
        ("models/absent", "no such folder or .onnx file"),
    ],
)
def test_what_is_neither_path_nor_name_is_refused(cache: Path, name: str, said: str) -> None:
    with pytest.raises(ModelError, match=name) as caught:
        model_store.resolve(name)
    assert said in str(caught.value)


def test_without_a_network_the_message_says_where_the_files_go(cache: Path) -> None:
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    code = "from ocr_cml.model_store import resolve; resolve('PP-OCRv5_server_det')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **nowhere, "no_proxy": "", "NO_PROXY": ""},
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
        timeout=120,
    )
    assert "ModelError: PP-OCRv5_server_det: is not in" in done.stderr
    assert f"into {cache / 'PP-OCRv5_server_det'}" in done.stderr
