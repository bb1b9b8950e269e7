"""The process of one side: `python worker.py ours|plain|peer ROOT`. Requests come in as JSON lines, answers go out so.

It runs in PaddleOCR's virtual environment too, so it imports the standard library alone. A request is `{"case": name,
"arguments": {...}}`, which prepares the case (and warms it up by one round), or `{}`, which carries out one more round.
An answer is what the round measured, with the `cpu` seconds that it took in this process and its children, or
`{"error": message}`.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]


def main(side: str, root: str) -> None:
    """Answer requests until the other end closes."""
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    here = str(Path(__file__).resolve().parent)
    sys.path[:] = [path for path in sys.path if Path(path or ".").resolve() != Path(here)]
    serve(_load(side, here, root), sys.stdin, answers)


def _load(side: str, here: str, root: str) -> Any:
    if side != "peer":
        sys.path.insert(0, root)
        return importlib.import_module(f"ocr_cml.benchmark.{side}")
    spec = importlib.util.spec_from_file_location("benchmark_peer", Path(here) / "peer.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve(cases: Any, requests: TextIO, answers: TextIO) -> None:
    """Carry out each request with the functions of `cases`; the last case prepared is the one that is repeated."""
    current: Any = None
    for line in requests:
        request = json.loads(line)
        try:
            if "case" in request:
                current = getattr(cases, request["case"])(**request["arguments"])
            before = _cpu_seconds()
            answer = {**current(), "cpu": _cpu_seconds() - before}
        except Exception as error:  # noqa: BLE001 - told to the other end, which decides
            told = any(kind.__name__ == "UserError" for kind in type(error).__mro__)  # by name: not every side has ours
            answer = {"error": str(error) if told else traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _cpu_seconds() -> float:
    """Seconds of all cores that this process and the children that it waited for have used."""
    if resource is None:
        return sum(os.times()[:4])  # by hundredths of a second
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(used.ru_utime + used.ru_stime for used in both)


if __name__ == "__main__":
    main(*sys.argv[1:3])
