"""What `tools/benchmark.py` does after reading its arguments."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ocr_cml.benchmark.machine import describe
from ocr_cml.benchmark.measure import table
from ocr_cml.benchmark.suite import CASES, Settings, Suite
from ocr_cml.cli import check_writable, write_json
from ppocr_data.errors import ConfigError


def benchmark(cases: Sequence[str], settings: Settings, json_path: Path | None = None) -> int:
    """Measure the cases (all where none is named), print one table, and write its numbers to `json_path`.

    Raises:
        ConfigError: a case that does not exist, or cannot be measured so; numbers that cannot be written.
    """
    for name in cases:
        if name not in CASES:
            raise ConfigError(f"benchmark: there is no case {name}; choose among {', '.join(CASES)}")
    if settings.rounds < 1:
        raise ConfigError(f"--rounds: must be at least 1, is {settings.rounds}")
    own = settings.label_file is not None
    if own and "detector" in cases:
        raise ConfigError("benchmark: the case detector runs on synthetic pictures; leave --label_file out")
    if settings.data_dir is not None and not own:
        raise ConfigError("--data_dir: says where the pictures of a label file are; add --label_file FILE")
    if settings.peer_source is not None and not (settings.peer_source / "ppocr").is_dir():
        raise ConfigError(f"--peer_source: {settings.peer_source} holds no ppocr/; name a checkout of PaddleOCR")
    chosen = list(cases) or [name for name in CASES if not (own and name == "detector")]
    if {"evaluation", "detector"} & set(chosen) and not settings.model_dir.exists():
        raise ConfigError(
            f"--model_dir: {settings.model_dir} does not exist; name the folder of an exported detector, or cases "
            "other than evaluation and detector"
        )
    if json_path is not None:
        check_writable(json_path)  # before minutes of work
    lines = describe()
    if own and not cases:
        lines.append("detector: skipped, it runs on synthetic pictures")
    if settings.peer_python is None:
        lines.append("ppocr: skipped, --peer_python names no environment with paddleocr 2.10.0")
    elif settings.peer_source is None:
        lines.append("ppocr: without --peer_source; its metric, losses and training step are skipped")
    suite, rows = Suite(settings, lambda line: print(line, file=sys.stderr)), []
    try:
        for name in chosen:
            rows += suite.run(name)
    finally:  # what was measured before a case failed is shown
        suite.close()
        print("\n".join([*lines, "", table(rows)]))
        if json_path is not None:
            write_json(json_path, {"machine": lines, "rows": [asdict(row) for row in rows]})
    return 0
