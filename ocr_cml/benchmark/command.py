"""What `tools/benchmark.py` does after reading its arguments."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ocr_cml.benchmark.machine import describe
from ocr_cml.benchmark.measure import table
from ocr_cml.benchmark.suite import CASES, Settings, Suite
from ppocr_data.errors import ConfigError


def benchmark(cases: Sequence[str], settings: Settings, json_path: Path | None = None) -> int:
    """Measure the cases (all where none is named), print one table, and write its numbers to `json_path`.

    Raises:
        ConfigError: a case that does not exist.
    """
    for name in cases:
        if name not in CASES:
            raise ConfigError(f"benchmark: there is no case {name}; choose among {', '.join(CASES)}")
    lines = describe()
    if settings.peer_python is None:
        lines.append("ppocr: skipped, --peer_python names no environment with paddleocr 2.10.0")
    elif settings.peer_source is None:
        lines.append("ppocr: without --peer_source; its metric, losses and training step are skipped")
    suite, rows = Suite(settings, lambda line: print(line, file=sys.stderr)), []
    try:
        for name in cases or CASES:
            rows += suite.run(name)
    finally:  # what was measured before a case failed is shown
        suite.close()
        print("\n".join([*lines, "", table(rows)]))
    if json_path is not None:
        json_path.write_text(json.dumps({"machine": lines, "rows": [asdict(row) for row in rows]}, indent=1), "utf-8")
    return 0
