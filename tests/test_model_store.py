"""Published models by name and weight files by address, without any network but this machine's own."""

from __future__ import annotations

import functools
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ocr_cml import model_store
from ppocr_data.errors import ModelError, WeightsError


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
        ("PP-OCRv5_sever_det", "did you mean 'PP-OCRv5_server_det'?"),
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


# --- weight files by address -----------------------------------------------------------------------------------------


class _Files(http.server.SimpleHTTPRequestHandler):
    """Serves a folder, silently; says more bytes than it sends of a file whose name says `cut`."""

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length" and "cut" in self.path:
            value = str(int(value) + 5)
        super().send_header(keyword, value)

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Path]]:
    """The address of a server on this machine, and the folder that it serves; the cache is empty."""
    monkeypatch.setenv("OCR_CML_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    server.server_close()


def test_an_address_is_downloaded_once(site: tuple[str, Path], tmp_path: Path) -> None:
    address, folder = site
    (folder / "a").mkdir()
    (folder / "a" / "teacher.pdparams").write_bytes(b"one")
    found = Path(model_store.weight_file(f"{address}/a/teacher.pdparams?download=1"))
    assert found == tmp_path / "cache" / "127.0.0.1" / "a" / "teacher.pdparams"
    assert found.read_bytes() == b"one"
    (folder / "a" / "teacher.pdparams").write_bytes(b"two")
    assert model_store.weight_file(f"{address}/a/teacher.pdparams") == str(found)
    assert found.read_bytes() == b"one"


def test_files_of_one_name_are_kept_apart(site: tuple[str, Path]) -> None:
    address, folder = site
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "teacher.pdparams").write_text(name)
    found = [Path(model_store.weight_file(f"{address}/{name}/teacher.pdparams")).read_text() for name in ("a", "b")]
    assert found == ["a", "b"]


@pytest.mark.parametrize(("name", "said"), [("absent.pdparams", "404"), ("cut.pdparams", "ended after 3 of 8 bytes")])
def test_what_cannot_be_downloaded_leaves_nothing_and_says_where_it_goes(
    site: tuple[str, Path], tmp_path: Path, name: str, said: str
) -> None:
    address, folder = site
    (folder / "cut.pdparams").write_bytes(b"abc")
    with pytest.raises(WeightsError, match=said) as caught:
        model_store.weight_file(f"{address}/{name}")
    assert f"put it at {tmp_path / 'cache' / '127.0.0.1' / name}" in str(caught.value)
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_without_a_network_an_address_is_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_CML_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"http://127.0.0.1:9/x/w\.pdparams: could not be downloaded"):
        model_store.weight_file("http://127.0.0.1:9/x/w.pdparams")


def test_what_is_no_address_is_said() -> None:
    with pytest.raises(WeightsError, match=r"http://\[::1/x\.pdparams: is no address \(Invalid IPv6 URL\)"):
        model_store.weight_file("http://[::1/x.pdparams")


@pytest.mark.parametrize("address", ["https://example.com", "https://example.com/a/", "http:///x"])
def test_an_address_must_name_a_file(address: str) -> None:
    with pytest.raises(WeightsError, match="names no file"):
        model_store.weight_file(address)


def test_an_address_does_not_leave_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCR_CML_CACHE", str(tmp_path))
    assert model_store.cached_at("https://h/%2e%2e/../a/..%2f..%2fw.npz") == tmp_path / "h" / "a" / "w.npz"


def test_a_path_is_itself() -> None:
    assert model_store.weight_file("pretrain_models/a") == "pretrain_models/a"
