"""A network of ours in the fastest engine that answers as it does."""

from __future__ import annotations

import errno
import functools
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import paddle
import pytest
import tiny

from ocr_cml.fastest import answering, fastest
from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.models import Detector, build_detector
from ocr_cml.paddle_to_onnx import NoRoomError
from ocr_cml.runtime import LayerDetector, Normalization, OnnxDetector, check_parity, probe_images


def network() -> Detector:
    """One whose map is not flat."""
    paddle.seed(3)
    student = build_detector(tiny.STUDENT)
    tiny.sharpen(student)
    student.eval()
    return student


def test_on_a_cpu_it_answers_in_onnx_runtime() -> None:
    student, (probe, *_) = network(), probe_images()
    plain, found = LayerDetector(student, Normalization(), "Student"), fastest(student, Normalization(), 1, "Student")
    assert isinstance(found, OnnxDetector)
    expected = plain.probability(probe[None])
    assert np.ptp(expected) > 0.01
    np.testing.assert_allclose(found.probability(probe[None]), expected, atol=1e-4)


@pytest.mark.parametrize(("images", "kind"), [(29, LayerDetector), (30, OnnxDetector)])
def test_a_conversion_must_pay(images: int, kind: type) -> None:
    assert isinstance(answering(network(), Normalization(), 1, "Student", images), kind)


def test_it_takes_the_threads_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several trainings on one machine none may take all the cores."""
    given: list[int] = []
    real = OnnxDetector

    def noted(model: bytes, source: str, config: InferenceConfig, device: str, threads: int) -> OnnxDetector:
        given.append(threads)
        return real(model, source, config, device, threads)

    monkeypatch.setattr("ocr_cml.fastest.OnnxDetector", noted)
    fastest(network(), Normalization(), 2, "Student")
    assert given == [2]


def test_a_network_that_rounding_moves_too_far_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a PPLCNetV3's first steps, whose running statistics do not fit it yet: no reason to end a training."""
    monkeypatch.setattr("ocr_cml.fastest.check_parity", functools.partial(check_parity, atol=0.0))
    with caplog.at_level(logging.WARNING):
        found = fastest(network(), Normalization(), 1, "Student")
    assert isinstance(found, LayerDetector)
    assert "Student: not sure enough in ONNX Runtime" in caplog.text
    assert caplog.text.rstrip().endswith("allowed is 0); it runs in dygraph, more slowly")


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a terminal elsewhere asks otherwise")
def test_a_ctrl_c_that_its_owner_outlives_is_no_failed_conversion(repository: Path) -> None:
    """A terminal's Ctrl-C reaches all processes of a group; a training notes it and goes on to the end of its step."""
    program = (
        "import os, signal, threading, sys\n"
        "sys.path[:0] = sys.argv[1:]\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "import test_fastest as t\n"
        "student = t.network()\n"
        "run = t.subprocess.run\n"
        "def asked(*a, **k):\n"
        "    threading.Timer(1.0, os.killpg, (0, signal.SIGINT)).start()\n"
        "    return run(*a, **k)\n"
        "t.subprocess.run = asked\n"
        "print(type(t.fastest(student, t.Normalization(), 1, 'Student')).__name__)\n"
    )
    command = [sys.executable, "-c", program, str(repository), str(repository / "tests")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, start_new_session=True)
    assert done.stdout.strip() == "OnnxDetector", done.stderr


def test_where_there_is_no_room_to_convert_it_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(model: Path, params: Path) -> bytes:
        raise NoRoomError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("ocr_cml.fastest.to_onnx", full)
    with caplog.at_level(logging.WARNING):
        found = fastest(network(), Normalization(), 1, "Student")
    assert isinstance(found, LayerDetector)
    assert "Student: cannot be converted to ONNX ([Errno 28] No space left on device)" in caplog.text


def test_without_a_temporary_folder_it_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As in a container whose disks are read-only: no reason to end a training at its first evaluation."""

    def none(*_: object) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr("ocr_cml.fastest.tempfile.TemporaryDirectory", none)
    with caplog.at_level(logging.WARNING):
        assert isinstance(fastest(network(), Normalization(), 1, "Student"), LayerDetector)
    assert "No usable temporary directory found); it runs in dygraph, more slowly" in caplog.text
