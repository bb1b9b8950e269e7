"""Fixtures that several test modules use."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable, Iterator
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


@pytest.fixture(autouse=True)
def log_as_at_the_start() -> Iterator[None]:
    """Each test meets the log as a fresh process has it: a run's logging (of a module's fixture, say) hides it from
    `caplog`, and leaves a handler on a stream that is closed by then."""

    def reset() -> None:
        for log in map(logging.getLogger, ("ocr_cml", "ppocr_data")):
            log.setLevel(logging.NOTSET)
            log.propagate, log.handlers = True, []

    reset()
    yield
    reset()


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a tool's `main` in this process: `tool("train", "-c", ...)` gives exit code, standard output, standard error.

    Threads and memory are left as they are: they can only be set before paddle is imported, and here it was.
    """
    from ocr_cml import commands

    monkeypatch.setattr(commands, "tune_process", list)

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        path = REPOSITORY / "tools" / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"tool_{name}", path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        capsys.readouterr()
        code = module.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run
