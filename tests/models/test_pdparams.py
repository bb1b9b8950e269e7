"""The checkpoints that PaddleOCR reads: what is in them, and that paddle loads them as its own."""

from __future__ import annotations

import pickletools
from pathlib import Path

import numpy as np
import paddle
import pytest

from ocr_cml.models import build_detector
from ocr_cml.models.pdparams import write_pdparams
from ocr_cml.models.weight_files import read_weights
from ppocr_data.errors import WeightsError

WEIGHTS = {
    "backbone.conv.weight": np.arange(24, dtype="f4").reshape(2, 3, 2, 2),
    "backbone.bn._mean": np.array([0.5, -1.0], "f4"),
    "head.bias": np.float32(3).reshape(()),
}


def test_paddle_loads_tensors_under_their_names(tmp_path: Path) -> None:
    write_pdparams(WEIGHTS, tmp_path / "sub" / "best.pdparams")
    loaded = paddle.load(str(tmp_path / "sub" / "best.pdparams"))
    assert list(loaded) == list(WEIGHTS)
    for key, value in WEIGHTS.items():
        assert isinstance(loaded[key], paddle.Tensor) and loaded[key].dtype == paddle.float32
        np.testing.assert_array_equal(loaded[key].numpy(), value)


def test_our_reader_reads_it_back(tmp_path: Path) -> None:
    write_pdparams(WEIGHTS, tmp_path / "best.pdparams")
    back = read_weights(tmp_path / "best")
    assert back.keys() == WEIGHTS.keys()
    for key, value in WEIGHTS.items():
        np.testing.assert_array_equal(back[key], value)


def test_it_names_arrays_and_nothing_else_as_every_numpy_knows_them(tmp_path: Path) -> None:
    write_pdparams(WEIGHTS, tmp_path / "best.pdparams")
    operations = list(pickletools.genops((tmp_path / "best.pdparams").read_bytes()))
    named = {argument for opcode, argument, _ in operations if opcode.name == "GLOBAL"}
    assert named == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}
    assert {opcode.name for opcode, _, _ in operations} & {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ"} == set()
    assert max(opcode.proto for opcode, _, _ in operations) <= 3


def test_bytes_in_an_array_that_look_like_a_name_stay(tmp_path: Path) -> None:
    trap = np.frombuffer(b"cnumpy._core.multiarray\n_reconstruct\n..", np.uint8).astype("f4")
    raw = np.frombuffer(b"cnumpy._core.multiarray\n_reconstruct\n...", "f4")
    write_pdparams({"a": trap, "b": raw}, tmp_path / "w.pdparams")
    np.testing.assert_array_equal(read_weights(tmp_path / "w.pdparams")["b"], raw)


def test_a_layer_takes_it(tmp_path: Path) -> None:
    spec = {
        "Backbone": {"name": "MobileNetV3", "scale": 0.35, "model_name": "small", "disable_se": True},
        "Neck": {"name": "DBFPN", "out_channels": 16},
        "Head": {"name": "DBHead"},
    }
    one, other = build_detector(spec), build_detector(spec)
    write_pdparams({key: value.numpy() for key, value in one.state_dict().items()}, tmp_path / "w.pdparams")
    missing, unexpected = other.set_state_dict(paddle.load(str(tmp_path / "w.pdparams")))
    assert missing == unexpected == []
    for key, value in one.state_dict().items():
        np.testing.assert_array_equal(other.state_dict()[key].numpy(), value.numpy())


def test_a_file_that_cannot_be_written_leaves_the_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WeightsError, match=r"file.w\.pdparams: the weights could not be written"):
        write_pdparams(WEIGHTS, tmp_path / "file" / "w.pdparams")
    (tmp_path / "w.pdparams").mkdir()
    with pytest.raises(WeightsError, match="no earlier file was touched"):
        write_pdparams(WEIGHTS, tmp_path / "w.pdparams")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "w.pdparams"]
