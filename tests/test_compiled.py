"""Students whose training forward is one compiled program, against the same students without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import paddle
import pytest
import tiny

from ocr_cml.compiled import CompiledStudent
from ocr_cml.export import export_detector
from ocr_cml.models import Detector, DetOutput, build_detector
from ppocr_data.errors import ModelError
from ppocr_data.transforms import DetResizeForTest

DBFPN = {"name": "DBFPN", "out_channels": 24}
LOCAL = {"name": "PFHeadLocal", "k": 50, "mode": "small"}
AUXILIARY = {"name": "DBHead", "k": 50, "aux_in_channels": 24}
NETWORKS: dict[str, dict[str, Any]] = {
    "PPLCNetV3": {"Backbone": {"name": "PPLCNetV3", "scale": 0.35}},
    "ResNet_vd": {"Backbone": {"name": "ResNet_vd", "layers": 18}, "Neck": {"name": "LKPAN", "out_channels": 24}},
    "PPHGNet_small": {"Backbone": {"name": "PPHGNet_small"}, "Neck": DBFPN, "Head": LOCAL},
    "PPLCNetV4, RepLKFPN": {
        "Backbone": {"name": "PPLCNetV4", "model_size": "tiny"},
        "Neck": {"name": "RepLKFPN", "out_channels": 24},
        "Head": AUXILIARY,
    },
    "PPLCNetV4, RepLKPAN": {
        "Backbone": {"name": "PPLCNetV4", "model_size": "tiny"},
        "Neck": {"name": "RepLKPAN", "out_channels": 24, "intracl": True},
        "Head": AUXILIARY,
    },
}


def twins(spec: dict[str, Any]) -> tuple[Detector, Detector]:
    """Two networks with the same weights, in training mode."""
    paddle.seed(3)
    first, second = build_detector(tiny.STUDENT | spec), build_detector(tiny.STUDENT | spec)
    tiny.set_places_apart(first)
    second.set_state_dict(first.state_dict())
    first.train()
    second.train()
    return first, second


def loss(said: DetOutput) -> paddle.Tensor:
    """Of everything that a network says."""
    parts = [said.binary_prob.mean(), paddle.abs(said.shrink_prob - 0.3).mean()]
    parts += [(feature**2).mean() for feature in said.features.values()]
    parts += [loss(part) for part in said.auxiliary.values()]
    return paddle.add_n(parts)


def assert_equal_twins(spec: dict[str, Any]) -> None:
    """The losses, gradients, running statistics and names of two steps."""
    plain, student = twins(spec)
    compiled = CompiledStudent("Student", student, with_features=True)
    names = list(student.state_dict())
    images = paddle.to_tensor(np.random.default_rng(1).normal(size=(2, 3, 64, 64)).astype(np.float32))
    for _ in range(2):
        expected, found = plain(images), compiled(images)
        assert list(found.features) == list(expected.features)
        assert list(found.auxiliary) == list(expected.auxiliary)
        expected, found = loss(expected), loss(found)
        expected.backward()
        found.backward()
        assert float(found) == pytest.approx(float(expected), rel=1e-5)
    assert list(student.state_dict()) == names
    learned = dict(student.named_parameters())
    gradients = {name: p.grad.numpy() for name, p in plain.named_parameters() if p.grad is not None}
    assert len(gradients) > 50
    scale = max(np.abs(value).max() for value in gradients.values())
    for name, value in gradients.items():
        np.testing.assert_allclose(learned[name].grad.numpy(), value, rtol=1e-3, atol=5e-6 * scale, err_msg=name)
    for name, value in tiny.state_of(plain).items():
        np.testing.assert_allclose(tiny.state_of(student)[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_a_compiled_student_says_and_learns_the_same() -> None:
    assert_equal_twins({})


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
def test_every_network_part_can_be_compiled(network: str) -> None:
    assert_equal_twins(NETWORKS[network])


def test_the_steepness_of_the_binary_map_is_the_head_s_own() -> None:
    """`k` is no output of the program: another one than the default must reach what is made of the answer."""
    assert_equal_twins({"Head": {"name": "DBHead", "k": 20}})


def test_on_a_cpu_a_program_runs_in_one_thread() -> None:
    """In several its memory grew by gigabytes from step to step, with freed memory kept as the tools set it."""
    paddle.set_flags({"FLAGS_new_executor_serial_run": False})
    CompiledStudent("Student", twins({})[1], with_features=False)
    assert paddle.get_flags("FLAGS_new_executor_serial_run") == {"FLAGS_new_executor_serial_run": True}


def test_parameters_that_no_term_reaches_get_zeros() -> None:
    plain, student = twins({})
    images = paddle.ones([1, 3, 32, 32])
    plain(images).shrink_logit.mean().backward()
    CompiledStudent("Student", student, with_features=False)(images).shrink_logit.mean().backward()
    unreached = [name for name, p in plain.named_parameters() if not p.stop_gradient and p.grad is None]
    assert unreached
    assert all(name.startswith("head.thresh.") for name in unreached)
    learned = dict(student.named_parameters())
    assert not any(learned[name].grad.numpy().any() for name in unreached)


def test_a_size_that_no_network_takes_is_refused_as_ever() -> None:
    _, student = twins({})
    with pytest.raises(ModelError, match=r"64x60 pixels: both must be multiples of 32"):
        CompiledStudent("Student", student, with_features=False)(paddle.zeros([1, 3, 64, 60]))


def test_a_network_that_cannot_be_compiled_is_refused_by_name() -> None:
    """It looks at a number of the image, which a program does not have while it is made."""
    _, student = twins({})
    plain = student.neck.forward
    student.neck.forward = lambda levels: plain(levels) * float(levels[0].numpy().mean())
    compiled = CompiledStudent("Student2", student, with_features=False)
    with pytest.raises(ModelError, match=r"Global.to_static: Student2 cannot be compiled .*; set it to false"):
        compiled(paddle.ones([1, 3, 64, 64]))


# --- trainings -------------------------------------------------------------------------------------------------------


def losses(run: Path) -> list[float]:
    return [record["loss"] for record in tiny.records(run, "loss")]


@pytest.mark.slow
def test_a_training_is_the_same_and_goes_on_with_the_same_bits(
    tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    """With what a training can have around its students, and one of the compiled ones learning at a time."""
    terms = [tiny.LABELS, tiny.MUTUAL, tiny.TEACHER, {"OFDLoss": {"layers": [["neck", "neck"]]}}]

    def settings(run: str) -> dict[str, Any]:
        data = tiny.settings(tiny_set, tmp_path / run, terms=terms, teacher=tiny_teacher)
        data["Optimizer"] |= {"accumulate": 2, "ema_decay": 0.9}
        return data

    tiny.fit(settings("plain"))
    trainer = tiny.fit(settings("compiled"), to_static=True, save_memory=True)
    tiny.fit(settings("resumed"), max_steps=1, to_static=True, save_memory=True)
    tiny.fit(settings("resumed"), to_static=True, save_memory=True)

    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "plain"), rel=1e-5)
    plain, compiled, resumed = (tiny.saved(tmp_path / run) for run in ("plain", "compiled", "resumed"))
    assert plain.keys() == compiled.keys() == resumed.keys()
    for file in plain:
        assert plain[file].keys() == compiled[file].keys()
        tiny.assert_same(resumed[file], compiled[file])

    page = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    report = export_detector(  # it compares the product with the network itself
        trainer.cohort.students["Student"],
        tmp_path / "export",
        normalization=trainer.cohort.normalization,
        postprocess=trainer.config.PostProcess,
        resize=DetResizeForTest(limit_side_len=64, limit_type="min"),
        check_images=[page],
    )
    assert report.map_difference <= 1e-4
