"""Weights: reading without running code, choosing the right network, and loading without silent gaps."""

from __future__ import annotations

import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
from disks import files_of_at_most
from hypothesis import given, settings
from hypothesis import strategies as st

from ocr_cml.models import Detector, build_detector
from ocr_cml.models.weight_files import find_weights, read_weights, save_weights
from ocr_cml.models.weights import load_into, select
from ppocr_data.errors import WeightsError

SPEC = {
    "Backbone": {"name": "MobileNetV3", "scale": 0.35, "model_name": "small", "disable_se": True},
    "Neck": {"name": "DBFPN", "out_channels": 16},
    "Head": {"name": "DBHead"},
}


def detector(seed: int = 0, **backbone: Any) -> Detector:
    paddle.seed(seed)
    return build_detector(SPEC | {"Backbone": SPEC["Backbone"] | backbone})


def arrays(layer: paddle.nn.Layer) -> dict[str, np.ndarray]:
    return {key: value.numpy() for key, value in layer.state_dict().items()}


def assert_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_reads_what_paddle_saves(tmp_path: Path, protocol: int) -> None:
    net = detector()
    path = tmp_path / "best_accuracy.pdparams"
    paddle.save(net.state_dict(), str(path), protocol=protocol)
    assert_equal(read_weights(path), arrays(net))
    assert_equal(read_weights(tmp_path / "best_accuracy"), arrays(net))  # PaddleOCR's habit


def test_reads_tensors_numbers_and_orders(tmp_path: Path) -> None:
    content = OrderedDict(
        tensor=paddle.to_tensor([1.0, 2.0]),  # saved as (name, array)
        fortran=np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        big_endian=np.arange(3, dtype=">f4"),
        half=np.float16([0.5]),
        number=np.float32(3),
        step=7,
    )
    paddle.save(content, str(tmp_path / "w.pdparams"))
    read = read_weights(tmp_path / "w.pdparams")
    assert {key: value.tolist() for key, value in read.items()} == {
        "tensor": [1.0, 2.0],
        "fortran": [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]],
        "big_endian": [0.0, 1.0, 2.0],
        "half": [0.5],
        "number": 3.0,
        "step": 7,
    }


def test_reads_what_numpy_1_pickled(tmp_path: Path) -> None:
    data = pickle.dumps({"a": np.arange(4, dtype="f4")}, protocol=2).replace(b"numpy._core", b"numpy.core")
    (tmp_path / "w.pdparams").write_bytes(data)
    assert read_weights(tmp_path / "w.pdparams")["a"].tolist() == [0, 1, 2, 3]


def test_joins_arrays_that_paddle_cut_up(tmp_path: Path) -> None:
    content = {
        "w@@.0": np.arange(4, dtype="f4"),
        "w@@.1": np.arange(4, 6, dtype="f4"),
        "UnpackBigParamInfor@@": {"w": {"OriginShape": (2, 3), "slices": ["w@@.0", "w@@.1"]}},
    }
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content, protocol=2))
    assert read_weights(tmp_path / "w.pdparams")["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


def test_npz_and_safetensors_round_trip(tmp_path: Path) -> None:
    weights = arrays(detector())
    np.savez(tmp_path / "a.npz", **weights)
    save_weights(weights, tmp_path / "deep" / "b.safetensors")
    assert_equal(read_weights(tmp_path / "a.npz"), weights)
    assert_equal(read_weights(tmp_path / "deep" / "b"), weights)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["b.safetensors"]


def test_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_weights({"a": np.ones(2, "f4")}, path)
    refused = pytest.raises(WeightsError, match=r"could not be written .* no earlier file was touched")
    with files_of_at_most(4096), refused:
        save_weights({"a": np.zeros(10_000, "f4")}, path)
    assert read_weights(path)["a"].tolist() == [1, 1]
    assert [p.name for p in tmp_path.iterdir()] == ["w.safetensors"]


def test_finds_files(tmp_path: Path) -> None:
    for name in ("Student.safetensors", "Student2.safetensors", "Student.optimizer.safetensors"):
        save_weights({"a": np.ones(1, "f4")}, tmp_path / "best" / name)
    assert find_weights(tmp_path / "best", "Student2").name == "Student2.safetensors"
    with pytest.raises(WeightsError, match=r"one weight file .* for Third, found: Student\.saf.*, Student2\.saf"):
        find_weights(tmp_path / "best", "Third")
    save_weights({"a": np.ones(1, "f4")}, tmp_path / "published" / "MobileNetV3_large_x0.5_pretrained.safetensors")
    assert find_weights(tmp_path / "published").name == "MobileNetV3_large_x0.5_pretrained.safetensors"
    with pytest.raises(WeightsError, match="no such weight file"):
        find_weights(tmp_path / "nothing")
    (tmp_path / "w.pth").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"unknown kind of weight file; known are \.safetensors, \.npz, \.pdparams"):
        find_weights(tmp_path / "w.pth")
    for suffix in (".npz", ".pdparams"):
        (tmp_path / f"v2.0_train{suffix}").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"ambiguous, name one of v2\.0_train\.npz, v2\.0_train\.pdparams"):
        find_weights(tmp_path / "v2.0_train")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".pdparams"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x04\x95", b"PK\x03\x04broken"])
def test_damaged_files(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"w{suffix}: not a readable"):
        read_weights(path)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [(6, 64, "zip file version 6.4"), (8, 1, "is encrypted"), (10, 99, "compression")],
    ids=["newer", "encrypted", "compressed otherwise"],
)
def test_an_archive_that_python_does_not_open_is_refused_by_name(
    tmp_path: Path, field: int, value: int, told: str
) -> None:
    """Fields of an entry in the directory: the version that it needs, its flags, its way of compression."""
    path = tmp_path / "w.npz"
    np.savez(path, a=np.ones(3, np.float32))
    data = bytearray(path.read_bytes())
    entry, within = data.index(b"PK\x01\x02"), data.index(b"PK\x03\x04")
    data[entry + field] = data[within + field - 2] = value
    path.write_bytes(data)
    with pytest.raises(WeightsError, match=rf"w\.npz: not a readable \.npz file \(.*{told}"):
        read_weights(path)


def test_npz_with_objects_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    with pytest.raises(WeightsError, match="allow_pickle"):
        read_weights(tmp_path / "w.npz")


# --- pickles that would do something else ----------------------------------------------------------------------------


class _Call:
    """Pickles as a call of any function: what a malicious file does."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def _text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def _hostile(command: str) -> dict[str, bytes]:
    run = _text("posix") + _text("system") + b"\x93"
    memo = _text("posix") + b"\x940" + _text("system") + b"\x940" + b"h\x00h\x01\x93"  # names kept, dropped, fetched
    return {
        "GLOBAL": b"\x80\x02cposix\nsystem\n(V" + command.encode() + b"\ntR.",
        "STACK_GLOBAL": b"\x80\x04" + run + _text(command) + b"\x85R.",
        "memo": b"\x80\x04" + memo + _text(command) + b"\x85R.",
        "INST": b"(V" + command.encode() + b"\niposix\nsystem\n.",
        "OBJ": b"\x80\x02(cposix\nsystem\nV" + command.encode() + b"\no.",
        "NEWOBJ": b"\x80\x04" + run + _text(command) + b"\x85\x81.",
        "inside weights": pickle.dumps({"w": np.ones(2, "f4"), "x": _Call(os.system, command)}),
        "eval": pickle.dumps(_Call(eval, f"__import__('os').system({command!r})")),
        "getattr": pickle.dumps(_Call(getattr, "x", "join")),
        "dotted": b"\x80\x04" + _text("numpy") + _text("ndarray.tofile") + b"\x93.",
        "builtins by way of numpy": b"\x80\x04" + _text("numpy") + _text("load") + b"\x93.",
        "extension": b"\x80\x02\x82\x01.",
        "persistent": b"\x80\x04" + _text(command) + b"Q.",
        "state on a class": b"\x80\x04" + _text("numpy") + _text("dtype") + b"\x93}b.",
        "slots on a class": b"\x80\x04" + _text("collections") + _text("OrderedDict") + b"\x93N}\x86b.",
        "numpy.ndarray called": b"\x80\x04" + _text("numpy") + _text("ndarray") + b"\x93K\x02\x85\x85R.",
    }


@pytest.mark.parametrize("trick", _hostile(""))
def test_hostile_pickles_are_refused_and_not_run(tmp_path: Path, trick: str) -> None:
    proof = tmp_path / "it_ran"
    path = tmp_path / "w.pdparams"
    path.write_bytes(_hostile(f"touch {proof}")[trick])
    with pytest.raises(WeightsError, match=r"w\.pdparams: "):
        read_weights(path)
    assert not proof.exists()


def test_the_proof_would_show(tmp_path: Path) -> None:
    """The pickles above do run under a plain unpickler, so the test above can fail."""
    for trick in ("GLOBAL", "STACK_GLOBAL", "memo", "INST", "OBJ", "inside weights", "eval"):
        proof = tmp_path / trick.replace(" ", "_")
        pickle.loads(_hostile(f"touch {proof}")[trick])
        assert proof.exists(), trick


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_Call(os.system, "true"), r"it names (posix|nt)\.system"),
        (Path("x"), r"it names pathlib"),
        ({"a": np.array([{}], dtype=object)}, "numbers"),
        ({"a": {"b": np.ones(1)}}, "'a' is a dict, not an array; is this an optimizer's or a run's state"),
        ([1, 2], "holds a list"),
        ({"a": "text"}, "'a' is a str"),
        ({}, "holds no weights"),
    ],
)
def test_other_pickles_say_what_they_hold(tmp_path: Path, content: Any, message: str) -> None:
    (tmp_path / "w.pdparams").write_bytes(pickle.dumps(content))
    with pytest.raises(WeightsError, match=message):
        read_weights(tmp_path / "w.pdparams")


def test_array_whose_size_lies_is_refused(tmp_path: Path) -> None:
    data = pickle.dumps({"a": np.zeros(3, "f4")}, protocol=2)
    lying = data.replace(b"K\x03\x85", b"K\x09\x85")
    assert lying != data and any(op.name == "BUILD" for op, _, _ in pickletools.genops(lying))
    (tmp_path / "w.pdparams").write_bytes(lying)
    with pytest.raises(WeightsError, match=r"shape \(9,\) with 3 numbers"):
        read_weights(tmp_path / "w.pdparams")


def test_a_runs_folder_is_told_from_its_best_weights(tmp_path: Path) -> None:
    (tmp_path / "run/best").mkdir(parents=True)
    (tmp_path / "run/best/state.json").write_text("{}")
    save_weights({"a": np.ones(1, "f4")}, tmp_path / "run/something.safetensors")
    with pytest.raises(WeightsError, match=r"run: is a run's folder; its best weights are .*run/best"):
        find_weights(tmp_path / "run", "Student")


def test_a_type_that_numpys_own_parser_chokes_on_is_no_type_of_numbers(tmp_path: Path) -> None:
    """numpy takes "04" for a list of types, and its parser raises SyntaxError."""
    data = pickle.dumps({"a": np.zeros(3, "f4")}, protocol=2)
    assert b"f4" in data
    (tmp_path / "w.pdparams").write_bytes(data.replace(b"f4", b"04"))
    with pytest.raises(WeightsError, match="an array of 04, where numbers are expected"):
        read_weights(tmp_path / "w.pdparams")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.sampled_from([2, 4])
)
def test_damaged_pickles_never_raise_anything_else(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], protocol: int
) -> None:
    content = {"a.weight": np.arange(4, dtype="f4"), "b": np.float32(1), "n": {"k": ("x", 1)}}
    data = bytearray(pickle.dumps(content, protocol=protocol))
    for position, value in changes:
        data[position % len(data)] = value
    path = tmp_path_factory.mktemp("fuzz") / "w.pdparams"
    path.write_bytes(data)
    with pytest.raises(WeightsError):  # "n" is no array, so even an unharmed file is refused
        read_weights(path)


# --- choosing --------------------------------------------------------------------------------------------------------


def prefixed(prefix: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {prefix + key: value for key, value in weights.items()}


def test_selects_from_a_distillation_checkpoint() -> None:
    one, two, three = ({"backbone.w": np.full(1, i, "f4"), "head.w": np.ones(1, "f4")} for i in range(3))
    checkpoint = prefixed("Student.", one) | prefixed("Student2.", two) | prefixed("Teacher.", three)
    part, rest = select(checkpoint, "Student2")
    assert_equal(part, two)
    assert rest == {"Student": 2, "Teacher": 2}
    with pytest.raises(WeightsError, match="holds the networks Student, Student2, Teacher; none is called 'Third'"):
        select(checkpoint, "Third")


def test_a_network_without_a_name_is_taken_before_one_of_another_name() -> None:
    own, other = {"backbone.w": np.ones(1, "f4")}, {"backbone.w": np.zeros(1, "f4")}
    part, rest = select(prefixed("Teacher.", other) | own, "Student")
    assert_equal(part, own)
    assert rest == {"Teacher": 1}


@pytest.mark.parametrize(
    "prefix", ["", "module.", "_layers.", "model.", "module.model.", "Student.", "_layers.Student."]
)
def test_selects_a_single_network_under_any_wrapper(prefix: str) -> None:
    weights = {"backbone.conv.weight": np.ones(1, "f4"), "head.module.w": np.ones(1, "f4")}
    part, rest = select(prefixed(prefix, weights), "Student")
    assert_equal(part, weights)
    assert rest == {}


def test_select_keeps_a_classifier_whole_and_sets_strangers_aside() -> None:
    classifier = {"module.conv.weight": np.ones(1, "f4"), "module.fc.weight": np.ones(1, "f4")}
    assert list(select(classifier, "Student")[0]) == ["conv.weight", "fc.weight"]
    part, rest = select({"backbone.w": np.ones(1, "f4"), "epoch": np.ones(1, "f4")}, "Student")
    assert list(part) == ["backbone.w"] and rest == {"(other keys)": 1}


# --- loading ---------------------------------------------------------------------------------------------------------


def test_loads_everything() -> None:
    source, target = detector(1), detector(2)
    report = load_into(target, arrays(source), frozen=True, source="file")
    assert_equal(arrays(target), arrays(source))
    assert (report.share, report.source, report.missing, report.unexpected) == (1.0, "file", (), ())


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_converts_other_precisions(dtype: str) -> None:
    source, target = arrays(detector(1)), detector(2)
    load_into(target, {key: value.astype(dtype) for key, value in source.items()}, frozen=False)
    state = arrays(target)
    assert {value.dtype for value in state.values()} == {np.dtype("float32")}
    np.testing.assert_allclose(state["neck.in2_conv.weight"], source["neck.in2_conv.weight"], atol=2e-3)


def test_frozen_network_may_lack_only_the_threshold_branch() -> None:
    weights = arrays(detector(1))
    without = {key: value for key, value in weights.items() if not key.startswith("head.thresh.")}
    report = load_into(detector(2), without, frozen=True)
    assert report.share == 1.0 and len(report.missing) == 13 and all("thresh" in key for key in report.missing)
    del without["neck.in2_conv.weight"]
    with pytest.raises(WeightsError, match=r"frozen network.*\n  missing \(1\): neck\.in2_conv\.weight"):
        load_into(detector(2), without, frozen=True, min_share=0.0, allow_missing=["neck"])


def test_a_frozen_network_s_threshold_branch_may_be_missing_and_not_another_one() -> None:
    network = detector()
    weights = arrays(network)
    key = next(key for key in weights if key.startswith("head.thresh") and weights[key].ndim == 4)
    with pytest.raises(WeightsError, match="misshapen"):
        load_into(network, weights | {key: np.zeros((1, 1, 1, 1), np.float32)}, frozen=True)


def test_student_s_share() -> None:
    source = arrays(detector(1))
    backbone = {key: value for key, value in source.items() if key.startswith("backbone.")}
    sizes = {key: value.size for key, value in source.items() if not key.startswith("head.thresh.")}
    share = sum(sizes[key] for key in backbone) / sum(sizes.values())
    target = detector(2)
    before = arrays(target)
    with pytest.raises(
        WeightsError, match=rf"covers {share:.1%} of this network's weights; 100\.0% must fit\n  missing"
    ):
        load_into(target, backbone, frozen=False)
    assert_equal(arrays(target), before)
    assert load_into(target, backbone, frozen=False, min_share=0.5).share == pytest.approx(share)
    report = load_into(target, backbone, frozen=False, allow_missing=["neck", "head"])
    assert report.share == 1.0 and "neck.in2_conv.weight" in report.missing


def test_loads_a_classifier_into_the_backbone() -> None:
    source = arrays(detector(1))
    classifier = {key.removeprefix("backbone."): v for key, v in source.items() if key.startswith("backbone.")}
    classifier["fc.weight"] = np.ones((1, 1), "f4")
    target = detector(2)
    report = load_into(target, classifier, frozen=False, allow_missing=["neck", "head"])
    assert report.unexpected == ("fc.weight",)
    np.testing.assert_array_equal(arrays(target)["backbone.conv.conv.weight"], source["backbone.conv.conv.weight"])
    with pytest.raises(WeightsError, match="holds a backbone only"):
        load_into(target, classifier, frozen=False)


def test_another_shape_is_never_skipped() -> None:
    wider = arrays(detector(1, scale=0.5))
    for min_share in (1.0, 0.01):
        with pytest.raises(WeightsError, match=r"misshapen \(158\): backbone.* \(network \[24, 8, .*, and 148 more"):
            load_into(detector(2), wider, frozen=False, min_share=min_share)
    report = load_into(detector(2), wider, frozen=False, allow_missing=["backbone", "neck", "head.thresh"])
    assert report.share == 1.0 and any(
        key.startswith("neck.in5_conv.weight (network [16, 200, 1, 1], file [16, 288")
        for key in report.misshapen.values()
    )


def test_deeper_network_s_file_is_refused() -> None:
    """ResNet34's keys contain ResNet18's, with the same shapes: only what is left over tells them apart."""
    weights = arrays(detector(1)) | {"backbone.stage3.9.conv.weight": np.ones(1, "f4")}
    for frozen in (True, False):
        with pytest.raises(WeightsError, match=r"unexpected \(1\): backbone\.stage3\.9\.conv\.weight"):
            load_into(detector(2), weights, frozen=frozen)
    assert load_into(detector(2), weights, frozen=False, min_share=0.9).unexpected == ("backbone.stage3.9.conv.weight",)


def test_recogniser_is_named() -> None:
    weights = {"backbone.conv1.weight": np.ones(1, "f4"), "head.ctc_head.fc.weight": np.ones((1, 1), "f4")}
    with pytest.raises(WeightsError, match="text recogniser"):
        load_into(detector(), weights, frozen=False, min_share=0.5)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("neck.in2_conv.weight", np.nan, "neck.in2_conv.weight holds 1 NaN or infinite values"),
        ("head.binarize.conv1.weight", np.inf, "head.binarize.conv1.weight holds 1 NaN"),
        ("backbone.conv.bn._variance", -1.0, "backbone.conv.bn._variance holds negative variances"),
    ],
)
def test_values_that_cannot_be(key: str, value: float, message: str) -> None:
    weights = arrays(detector(1))
    weights[key] = weights[key].copy()
    weights[key].flat[0] = value
    target = detector(2)
    before = arrays(target)
    with pytest.raises(WeightsError, match=message):
        load_into(target, weights, frozen=False)
    assert_equal(arrays(target), before)


def test_integers_are_not_weights() -> None:
    weights = arrays(detector(1))
    weights["neck.in2_conv.weight"] = weights["neck.in2_conv.weight"].astype("int32")
    with pytest.raises(WeightsError, match=r"neck\.in2_conv\.weight holds int32 values"):
        load_into(detector(2), weights, frozen=False)


def test_of_a_run_that_was_not_evaluated_yet_the_latest_weights_are_named(tmp_path: Path) -> None:
    latest = tmp_path / "latest"
    latest.mkdir()
    (latest / "state.json").write_text("{}")
    with pytest.raises(WeightsError, match=rf"its run was not evaluated yet; take {latest}$"):
        find_weights(tmp_path / "best")
    with pytest.raises(WeightsError, match=rf"is a run's folder; its latest weights are {latest}$"):
        find_weights(tmp_path)


@pytest.mark.parametrize("name", ["inference.pdiparams", "inference.onnx"])
def test_an_inference_model_is_no_weight_file(name: str, tmp_path: Path) -> None:
    """PaddleOCR's users have two archives of each detector, and often name the wrong one."""
    (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="is an inference model, which has no weights to learn from; students start"):
        find_weights(tmp_path, "Student")
