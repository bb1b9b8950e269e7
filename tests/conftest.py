"""Fixtures that several test modules use."""

from __future__ import annotations

import collections
import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from ocr_cml import environment

# Under nohup, and in the background of a script, they are ignored, and tests ask what they do.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The inputs are the same on every machine: a change fails only for what it changes. New ones are tried when asked.
hypothesis.settings.register_profile("usual", derandomize="OCR_CML_FUZZ" not in os.environ)
hypothesis.settings.load_profile("usual")

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


@pytest.fixture
def one_math_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that is cut among threads is rounded otherwise: here every thread computes alone."""
    monkeypatch.setenv("MKL_NUM_THREADS", "1")
    environment.set_math_threads(1)


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
def log(log_as_at_the_start: None) -> list[str]:
    """What the run says."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("ocr_cml")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    return lines


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


INPUTS_TRIED = pytest.StashKey[collections.Counter[str]]()
"""How many inputs the fuzzing tests tried of each kind, in all processes."""


def _inputs_tried_here() -> collections.Counter[str]:
    fuzzing = sys.modules.get("tests.reliability.fuzzing")
    return fuzzing.TRIED if fuzzing else collections.Counter()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[INPUTS_TRIED] = collections.Counter()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Where tests run in several processes: what one of them says at its end."""
    node.config.stash[INPUTS_TRIED].update(getattr(node, "workeroutput", {}).get("inputs_tried", {}))


def pytest_sessionstart(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):  # one of several processes: each computes on a core of its own
        with pytest.MonkeyPatch.context() as patch:  # read when paddle is loaded; what tests start decides for itself
            patch.setenv("OMP_NUM_THREADS", "1")
            environment.set_math_threads(1)


def pytest_sessionfinish(session: pytest.Session) -> None:
    here = _inputs_tried_here()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["inputs_tried"] = dict(here)
    else:
        session.config.stash[INPUTS_TRIED].update(here)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """One line for each kind of input, and their sum."""
    tried = config.stash[INPUTS_TRIED]
    if tried:
        terminalreporter.section("inputs tried")
        for kind, count in sorted(tried.items()):
            terminalreporter.write_line(f"{count:8,}  {kind}")
        terminalreporter.write_line(f"{sum(tried.values()):8,}  in all")
