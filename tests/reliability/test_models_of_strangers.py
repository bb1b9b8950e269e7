"""Inference models are programs: what they may touch is looked into before an engine runs them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ocr_cml.model_files import find_files
from ocr_cml.runtime import open_detector
from ppocr_data.errors import ModelError


def folder_with(tmp_path: Path, name: str, program: bytes) -> Path:
    (tmp_path / name).write_bytes(program)
    (tmp_path / "inference.pdiparams").write_bytes(b"")
    return tmp_path


def pir(*operators: str) -> bytes:
    """The skeleton of an `inference.json`."""
    ops = [{"#": operator, "A": [], "I": [], "O": []} for operator in operators]
    return json.dumps(
        {"base_code": {"magic": "pir"}, "program": {"regions": [{"#": "region_0", "blocks": [{"ops": ops}]}]}}
    ).encode()


def protobuf(*operators: str, width: int = 1) -> bytes:
    """The skeleton of an `inference.pdmodel`: one block of operators; lengths of so many bytes."""

    def field(number: int, content: bytes) -> bytes:
        length = bytes([len(content) & 0x7F | (0x80 if width > 1 else 0)]) + (b"\x80" * (width - 2) + b"\0") * (
            width > 1
        )
        return bytes([number << 3 | 2]) + length + content

    return field(1, b"".join(field(4, field(3, operator.encode()) + field(4, b"")) for operator in operators))


@pytest.mark.parametrize(
    "operator",
    ["save_combine", "load_combine", "py_func", "save", "read_file", "partial_send", "recv_v2_", "run_program"],
)
def test_operators_that_touch_files_or_python_are_refused_by_name(operator: str, tmp_path: Path) -> None:
    programs = {
        "inference.json": [
            pir("1.conv2d", f"1.{operator}"),
            pir("1.conv2d", f"pd_op.{operator}"),
            pir("1.conv2d", f"1.{operator}").replace(
                operator.encode(), b"\\u%04x" % ord(operator[0]) + operator[1:].encode()
            ),
        ],
        "inference.pdmodel": [protobuf("conv2d", operator), protobuf("conv2d", operator, width=2)],
    }
    for name, contents in programs.items():
        for content in contents:
            with pytest.raises(ModelError, match=rf"{name}: holds the operator {operator},"):
                find_files(folder_with(tmp_path, name, content))
        (tmp_path / name).unlink()


def test_a_detectors_operators_are_fine(tmp_path: Path) -> None:
    names = ["conv2d", "batch_norm", "relu", "nearest_interp_v2", "payload", "saved_x"]
    for name, content in (("inference.json", pir(*(f"1.{n}" for n in names))), ("inference.pdmodel", protobuf(*names))):
        assert find_files(folder_with(tmp_path, name, content)).program == tmp_path / name
        (tmp_path / name).unlink()


def test_an_operator_is_found_whatever_stands_beside_its_name(tmp_path: Path) -> None:
    """An unknown field right behind it: its tag is a letter, and the name a part of a longer word."""
    name = b"save_combine"
    hidden = protobuf("conv2d", name.decode()).replace(name, name + b"B\0", 1)
    program = bytearray(hidden)
    inner = program.index(name) - 2  # the operator's own length and the block's grow by what was put in
    at = program.rindex(b"\x22", 0, inner)
    program[at + 1] += 2
    program[1] += 2
    with pytest.raises(ModelError, match="holds the operator save_combine,"):
        find_files(folder_with(tmp_path, "inference.pdmodel", bytes(program)))


def test_a_tag_that_paddle_would_cut_is_damage(tmp_path: Path) -> None:
    """Five bytes whose lower 32 bits are the tag of an operator's type: Paddle reads a type there."""
    name = b"save_combine"
    type_ = b"\x9a\x80\x80\x80\x10" + bytes([len(name)]) + name
    operator = bytes([4 << 3 | 2, len(type_)]) + type_
    block = bytes([1 << 3 | 2, len(operator)]) + operator
    with pytest.raises(ModelError, match="is damaged or truncated"):
        find_files(folder_with(tmp_path, "inference.pdmodel", block))


def test_a_number_without_end_is_damage(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is damaged or truncated"):
        find_files(folder_with(tmp_path, "inference.pdmodel", b"\xff" * 4_000_000))


def test_a_key_that_is_there_twice_hides_nothing(tmp_path: Path) -> None:
    for twice in (b'"#": "1.save", "#": "1.relu"', b'"#": "1.relu", "#": "1.save"'):
        program = pir("1.relu").replace(b'"#": "1.relu"', twice)
        with pytest.raises(ModelError, match="holds the operator save,"):
            find_files(folder_with(tmp_path, "inference.json", program))


def test_words_in_a_program_that_are_no_operators_are_fine(tmp_path: Path) -> None:
    """Paddle writes the source lines that made an operator into its attributes."""
    program = protobuf("conv2d")
    line = b"    save(model)"
    attribute = bytes([4 << 3 | 2, len(line)]) + line
    operator = program[4:] + attribute
    block = bytes([4 << 3 | 2, len(operator)]) + operator
    assert find_files(folder_with(tmp_path, "inference.pdmodel", bytes([1 << 3 | 2, len(block)]) + block)).program


def test_published_programs_are_fine(shared: Path) -> None:
    for model in ("ch_PP-OCRv2_det_infer", "ch_PP-OCRv3_det_infer"):
        assert find_files(shared / "models" / model).program is not None


@pytest.mark.parametrize("place", ["../secret.bin", "{root}/secret.bin"])
def test_an_onnx_file_does_not_read_files_elsewhere(place: str, tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(np.ones(3, np.float32).tobytes())
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1, 3, 1, 1], data_location=TensorProto.EXTERNAL)
    entry = weight.external_data.add()
    entry.key, entry.value = "location", place.format(root=tmp_path)
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node("Sigmoid", ["c"], ["y"])]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, "H", "W"])
    answer = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 1, "H", "W"])
    graph = helper.make_graph(nodes, "g", [given], [answer], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/m.onnx").write_bytes(model.SerializeToString())
    assert onnx.load(tmp_path / "model/m.onnx", load_external_data=False).graph.initializer[0].name == "w"
    with pytest.raises(ModelError, match=r"m\.onnx"):
        open_detector(tmp_path / "model/m.onnx", "onnx")
