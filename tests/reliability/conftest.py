"""Says at the end how many inputs the fuzzing tests tried."""

from __future__ import annotations

from typing import Any

from tests.reliability.fuzzing import TRIED


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """One line for each kind of input, and their sum."""
    if TRIED:
        terminalreporter.section("inputs tried")
        for kind, count in sorted(TRIED.items()):
            terminalreporter.write_line(f"{count:8,}  {kind}")
        terminalreporter.write_line(f"{sum(TRIED.values()):8,}  in all")
