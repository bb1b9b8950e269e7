"""Fixtures that several test modules use."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.append(str(REPOSITORY / "tests"))  # for `import tiny`


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real photos and official weights beside the checkout. Tests that need them skip where they are absent."""
    folder = REPOSITORY.parent / "shared"
    if not (folder / "models").is_dir():
        pytest.skip("real photos and weights (../shared) are not on this machine")
    return folder


@pytest.fixture(scope="session")
def tiny_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six training and two evaluation images of 96x96, in the form of the embedded set."""
    from ppocr_data import synth

    folder = tmp_path_factory.mktemp("data") / "set"
    synth.generate(folder, train=6, val=2, size=(96, 96), seed=3)
    return folder


@pytest.fixture(scope="session")
def tiny_teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a frozen network as small as the students of `tiny`."""
    import tiny

    return tiny.teacher_weights(tmp_path_factory.mktemp("teacher") / "teacher.safetensors")
