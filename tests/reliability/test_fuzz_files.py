"""Any file: read, or refused with its name; never run, never without bound."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from safetensors.numpy import save as to_safetensors

from ocr_cml import checkpoint, config, inference_yml
from ocr_cml.model_files import find_files
from ocr_cml.models.weight_files import read_weights
from ocr_cml.schema import Config
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import ConfigError, ModelError, WeightsError
from tests.reliability.fuzzing import one_input, tries

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """A file with bytes changed, pieces moved, taken out or doubled, and perhaps its end cut off."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 16))
        kind = draw(st.sampled_from(["byte", "take", "double", "put"]))
        if kind == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif kind == "take":
            del data[at : at + length]
        elif kind == "double":
            data[at:at] = data[at : at + length]
        else:
            data[at:at] = draw(st.binary(max_size=8))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 3)) == 0 else data)


# --- images ----------------------------------------------------------------------------------------------------------

PICTURE = np.random.default_rng(1).integers(0, 255, (20, 30, 3), np.uint8)
IMAGES = {kind: cv2.imencode(kind, PICTURE)[1].tobytes() for kind in (".jpg", ".png", ".bmp", ".webp", ".tiff")}


@tries(300)
@given(st.one_of(st.sampled_from(sorted(IMAGES)).flatmap(lambda kind: damaged(IMAGES[kind])), st.binary(max_size=80)))
def test_any_image_is_decoded_or_refused(data: bytes) -> None:
    with one_input("images"):
        try:
            image = DecodeImage(max_megapixels=1.0).decode(data)
        except ValueError:
            return
        assert image.dtype == np.uint8
        assert image.ndim == 3
        assert 0 < image.shape[0] * image.shape[1] <= 1e6


# --- weights ---------------------------------------------------------------------------------------------------------

TABLE = {"backbone.a.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "head.b": np.ones(2, np.float32)}


def weight_files(folder: Path) -> dict[str, bytes]:
    np.savez(folder / "w.npz", **TABLE)
    np.savez_compressed(folder / "c.npz", **TABLE)
    return {
        ".npz": (folder / "w.npz").read_bytes(),
        "c.npz": (folder / "c.npz").read_bytes(),
        ".safetensors": to_safetensors(TABLE),
        ".pdparams": pickle.dumps(TABLE, protocol=2),
        "4.pdparams": pickle.dumps(TABLE, protocol=4),
    }


@tries(300)
@given(st.data())
def test_any_weight_file_is_read_or_refused_by_name(place: Path, data: st.DataObject) -> None:
    files = weight_files(place)
    kind = data.draw(st.sampled_from(sorted(files)))
    path = place / f"any.{kind.rpartition('.')[2]}"
    path.write_bytes(data.draw(damaged(files[kind])))
    with one_input("weight files"):
        try:
            found = read_weights(path)
        except WeightsError as error:
            assert path.name in str(error)
        else:
            assert all(isinstance(value, np.ndarray) and value.dtype.kind != "O" for value in found.values())


# Instructions of a pickle, each of which could be part of an attack, strung together without sense.
WORDS = [
    *(b"cposix\nsystem\n", b"cbuiltins\neval\n", b"cnumpy\ndtype\n", b"cnumpy.core.multiarray\n_reconstruct\n"),
    *(b"c_codecs\nencode\n", b"ccollections\nOrderedDict\n", b"cbuiltins\ntuple\n", b"cnumpy\nndarray\n"),
    *(b"\x8c\x05posix", b"\x8c\x06system", b"\x8c\x05numpy", b"\x8c\x07ndarray", b"\x93", b"\x94", b"h\x00", b"h\x01"),
    *(b"R", b"b", b"o", b"\x81", b"\x92", b"(", b")", b"}", b"]", b"N", b"K\x01", b"K\x00", b"\x85", b"\x86", b"\x87"),
    *(
        b"t",
        b"d",
        b"l",
        b"a",
        b"e",
        b"s",
        b"u",
        b"0",
        b"2",
        b"1",
        b"q\x00",
        b"r\x02\x00\x00\x00",
        b"X\x01\x00\x00\x00x",
    ),
    *(
        b"C\x04\x00\x00\x80?",
        b"U\x02f4",
        b"I1\n",
        b"\x82\x01",
        b"Q",
        b"P1\n",
        b"iposix\nsystem\n",
        b"\x88",
        b"G" + bytes(8),
    ),
]


@tries(500)
@given(st.lists(st.sampled_from(WORDS), max_size=14), st.sampled_from([b"\x80\x02", b"\x80\x04", b""]))
@example([b"cnumpy\ndtype\n", b"}", b"b"], b"\x80\x02")
@example([b"}", b"r\xff\xff\xff\x7f"], b"\x80\x02")  # remembered under two thousand million
def test_any_string_of_pickle_instructions_runs_nothing(place: Path, words: list[bytes], head: bytes) -> None:
    path = place / "any.pdparams"
    path.write_bytes(head + b"".join(words) + b".")
    with one_input("pickle instructions"):
        try:
            found = read_weights(path)
        except WeightsError:
            return
        assert all(isinstance(value, np.ndarray) for value in found.values())


# --- configurations --------------------------------------------------------------------------------------------------

SHIPPED = sorted((ROOT / "configs").glob("*.yml"))


@tries(150)
@given(st.data())
def test_any_change_of_a_shipped_configuration_loads_or_is_told(place: Path, data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(SHIPPED)).read_text(encoding="utf-8").splitlines()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["out", "twice", "indent", "value", "text"]))
        key, colon, _ = lines[at].partition(":")
        if kind == "out" and len(lines) > 1:
            del lines[at]
        elif kind == "twice":
            lines.insert(at, lines[at])
        elif kind == "indent":
            lines[at] = " " * data.draw(st.integers(0, 5)) + lines[at].strip()
        elif kind == "value":
            value = data.draw(
                st.one_of(st.floats(), st.integers(), st.text(max_size=5), st.just("[]"), st.just("*student"))
            )
            lines[at] = f"{key}{colon} {value}"
        else:
            lines.insert(at, data.draw(st.text(max_size=12)))
    path = place / "any.yml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    with one_input("configurations"):
        try:
            assert isinstance(config.load(path), Config)
        except ConfigError as error:
            assert "any.yml" in str(error)


@tries(150)
@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=20)).map("=".join), max_size=3))
@example(["Global.seed=" + "9" * 5000])
@example(["Global=" + "[" * 3000])
def test_any_override_is_applied_or_told(overrides: list[str]) -> None:
    with one_input("overrides"):
        try:
            assert isinstance(config.load(ROOT / "configs/det_cml.yml", overrides), Config)
        except ConfigError as error:
            assert "-o" in str(error) or "mistake" in str(error)


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
MERGES = (
    "a0: &a0 {"
    + ", ".join(f"k{i}: 1" for i in range(50))
    + "}\n"
    + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 12))
)


@pytest.mark.parametrize(
    "text", [BOMB, MERGES, "a: &a [*a]", "a: " + "[" * 5000], ids=["aliases", "merges", "loop", "deep"]
)
def test_a_configuration_that_unfolds_without_end_is_refused(place: Path, text: str) -> None:
    path = place / "bomb.yml"
    path.write_text(text)
    with one_input("configurations"), pytest.raises(ConfigError, match=r"bomb\.yml"):
        config.load(path)
    (place / "inference.yml").write_text(f"{text}\nGlobal: {{model_name: PP-OCRv4_mobile_det}}\n")
    with one_input("inference.yml"), pytest.raises(ModelError, match=r"inference\.yml"):
        inference_yml.read(place / "inference.yml")


# --- models and checkpoints ------------------------------------------------------------------------------------------

INFERENCE = (
    b"Global: {model_name: PP-OCRv4_mobile_det}\nPreProcess:\n  transform_ops:\n  - DecodeImage: {img_mode: BGR}\n"
    b"  - DetResizeForTest: {limit_side_len: 736, limit_type: min}\n  - NormalizeImage: {mean: [0.5, 0.5, 0.5]}\n"
    b"PostProcess: {name: DBPostProcess, thresh: 0.3, box_thresh: 0.6, unclip_ratio: 1.5}\n"
)


@tries(200)
@given(damaged(INFERENCE))
@example(INFERENCE.replace(b"{img_mode: BGR}", b"BGR}"))
@example(INFERENCE.replace(b"{limit_side_len: 736, limit_type: min}", b"736"))
@example(INFERENCE.replace(b"{mean: [0.5, 0.5, 0.5]}", b"[0.5]"))
@example(INFERENCE.replace(b"- DecodeImage: {img_mode: BGR}", b"- 3"))
def test_any_inference_yml_is_read_or_refused(place: Path, data: bytes) -> None:
    path = place / "inference.yml"
    path.write_bytes(data)
    with one_input("inference.yml"):
        try:
            inference_yml.read(path)
        except ModelError as error:
            assert "inference.yml" in str(error)


@tries(200)
@given(
    st.sampled_from(["inference.json", "inference.pdmodel"]),
    st.one_of(st.binary(max_size=60), damaged(b'{"a": [1, {"b": 2}]}')),
)
@example("inference.json", b"[" * 5000)
def test_any_program_is_looked_into_before_paddle_sees_it(place: Path, name: str, data: bytes) -> None:
    folder = place / "model"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    (folder / name).write_bytes(data)
    (folder / "inference.pdiparams").write_bytes(b"")
    with one_input("programs"):
        try:
            assert find_files(folder).program == folder / name
        except ModelError as error:
            assert name in str(error)


@tries(200)
@given(st.data())
@example(None)
def test_any_state_of_a_checkpoint_is_read_or_refused(place: Path, data: Any) -> None:
    folder = place / "latest"
    checkpoint.save(folder, {"Student": {"w": np.ones(3, np.float32)}}, checkpoint.Progress(3), "a: 1\n")
    whole = (folder / "state.json").read_bytes()
    (folder / "state.json").write_bytes(b"[" * 5000 if data is None else data.draw(damaged(whole)))
    with one_input("checkpoints"):
        try:
            found = checkpoint.open_checkpoint(folder)
        except WeightsError as error:
            assert str(folder) in str(error)
        else:
            assert set(found.stems) <= {"Student"}


def test_a_checkpoint_names_no_files_elsewhere(place: Path) -> None:
    folder = place / "latest"
    checkpoint.save(folder, {}, checkpoint.Progress(3), "")
    state = json.loads((folder / "state.json").read_text())
    for name in ("../config.yml", "/etc/hostname", "a/b"):
        (folder / "state.json").write_text(json.dumps({**state, "sha256": {name: "0"}}))
        with pytest.raises(WeightsError, match="no file of this folder"):
            checkpoint.open_checkpoint(folder)


def test_the_shipped_configurations_are_far_from_the_limit() -> None:
    from ocr_cml.yaml_source import _MOST_NODES

    def size(data: Any) -> int:
        inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
        return 1 + sum(map(size, inner))

    largest = max(size(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in SHIPPED)
    assert largest * 50 < _MOST_NODES
