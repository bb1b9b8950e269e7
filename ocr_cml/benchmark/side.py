"""One side of a comparison: a process that does a case again and again when it is told to."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from ppocr_data.errors import UserError

ROOT = Path(__file__).resolve().parent.parent.parent
OURS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "MKL_DEBUG_CPU_TYPE")
"""What `environment.tune_process` sets for a process; the other half, malloc, it does at run time."""

_SETTLE = 0.5
"""Seconds. Threads of OpenMP and of BLAS keep a core busy while they wait for more work, before they sleep: without a
pause the next side is measured beside a third of a second of that, a single call of a detector as a quarter slower."""

_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1),
    "MALLOC_TOP_PAD_": str(256 * 1024 * 1024),
}
"""glibc's names for the same settings, for a process that cannot call `mallopt`."""


class Side:
    """A process that answers requests, see `worker.py`. Use it in a `with` statement.

    Args:
        name: how the table calls it.
        kind: `ours`, `plain` or `peer`: which module holds its cases.
        python: the interpreter; by default this one.
        environment: variables to set. Threads and malloc are PaddleOCR's defaults unless they are named here; ours sets
            its own in the process, as its tools do.
        arguments: of its cases, beside those that all sides are given.
    """

    def __init__(
        self,
        name: str,
        kind: str,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        arguments: Mapping[str, Any] | None = None,
    ) -> None:
        self.name, self._arguments = name, dict(arguments or {})
        self._command = [python or sys.executable, str(Path(__file__).with_name("worker.py")), kind, str(ROOT)]
        clean = {key: value for key, value in os.environ.items() if key not in OURS and not key.startswith("MALLOC_")}
        clean["PADDLE_PDX_DISABLE_MODEL_SOURCE_CHECK"] = "True"
        self._environment = clean | dict(environment or {})

    def __enter__(self) -> Side:
        """Start the process. Raises UserError where there is no such interpreter."""
        self._errors = tempfile.TemporaryFile("w+")
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=self._environment,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            program = self._command[0]
            raise UserError(f"benchmark: {self.name}: {program} cannot be started: {error.strerror}") from None
        return self

    def prepare(self, case: str, **arguments: Any) -> dict[str, Any]:
        """Prepare a case and do a first round, which warms up caches and is not counted."""
        return self._ask({"case": case, "arguments": arguments | self._arguments})

    def round(self) -> dict[str, Any]:
        """Do the case once more, when the other sides' threads have gone to sleep; what the process measured."""
        time.sleep(_SETTLE)
        return self._ask({})

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        except BrokenPipeError:
            line = ""
        answer = json.loads(line) if line else {"error": self._last_words()}
        if "error" in answer:
            raise UserError(f"benchmark: {self.name} failed: {answer['error'].strip()}")
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        return f"exit code {self._process.returncode}\n{self._errors.read()[-2000:]}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):  # a process that has died takes no last words
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()


def our_environment() -> dict[str, str]:
    """The environment that our tools set up, as variables: for giving another side the same."""
    from ocr_cml.environment import cpu_environment

    return cpu_environment() | _MALLOC
