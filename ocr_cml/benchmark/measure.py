"""Rounds taken in turn, and the table of their medians."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

OURS = "ours"


class Repeats(Protocol):
    """What can be measured: `side.Side`, or a stand-in."""

    name: str

    def prepare(self, case: str, **arguments: Any) -> dict[str, Any]:
        """Prepare a case and do an uncounted round."""

    def round(self) -> dict[str, Any]:
        """Do one round; what it measured."""


@dataclass
class Row:
    """One line of the table.

    Attributes:
        label: what was measured.
        unit: of the values: `s`, `ms/image`, `images/s`, `MB`.
        values: by the side's name, one number a round; sides that cannot do it are absent.
        cpu: the same for the CPU seconds of whole rounds, where the row is about whole rounds.
        note: what the reader must know about it.
    """

    label: str
    unit: str
    values: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    note: str = ""

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")

    def ratio(self, side: str) -> float | None:
        """How many times a side needs what ours needs (at rates: ours' rate over its), the median over the rounds.

        Rounds are paired: what disturbs the machine for a while disturbs both numbers of a pair.
        """
        ratio = _paired(self.values, side)
        return 1 / ratio if ratio and self.more_is_better else ratio

    def cpu_ratio(self, side: str) -> float | None:
        """The same of the CPU seconds, on which other jobs of the machine weigh less."""
        return _paired(self.cpu, side)


def in_turn(
    sides: Sequence[Repeats],
    case: str,
    arguments: Mapping[str, Any],
    rounds: int,
    say: Callable[[str], None] = lambda line: None,
) -> dict[str, list[dict[str, Any]]]:
    """Prepare a case on every side, then let them do it in turn, `rounds` times; the answers by side."""
    for side in sides:
        say(f"{case}: preparing {side.name}")
        side.prepare(case, **arguments)
    answers: dict[str, list[dict[str, Any]]] = {side.name: [] for side in sides}
    for number in range(rounds):
        # Every other round backwards, so that nobody always comes after the same neighbour.
        for side in sides if number % 2 == 0 else reversed(sides):
            answers[side.name].append(side.round())
        say(f"{case}: round {number + 1} of {rounds}")
    return answers


def row_of(label: str, unit: str, scale: float, answers: Mapping[str, Sequence[Mapping[str, Any]]], *keys: str) -> Row:
    """A row of the sum of some keys of the answers; a side that lacks one is left out."""
    values = {
        side: [scale * sum(answer[key] for key in keys) for answer in given]
        for side, given in answers.items()
        if given and all(key in given[0] for key in keys)
    }
    return Row(label, unit, values, cpu_of(answers) if keys == ("seconds",) else {})


def cpu_of(answers: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[float]]:
    """The CPU seconds of every side's rounds."""
    return {side: [answer["cpu"] for answer in given] for side, given in answers.items() if given and "cpu" in given[0]}


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown: median and quartiles of each side, and how many times ours each needs."""
    sides = list(dict.fromkeys(side for row in rows for side in row.values))
    others = [side for side in sides if side != OURS]
    cells = [["what", "unit", *sides, *(f"{side} : ours" for side in others)]]
    for row in rows:
        numbers = [_spread(row.values[side]) if side in row.values else "-" for side in sides]
        cells.append([row.label, row.unit, *numbers, *(_ratio(row, side) for side in others)])
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = [_line(line, widths) for line in cells]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines + [f"\n{row.label}: {row.note}" for row in rows if row.note])


def _ratio(row: Row, side: str) -> str:
    wall, cpu = row.ratio(side), row.cpu_ratio(side)
    if wall is None:
        return "-"
    return f"{wall:.2f}" if cpu is None else f"{wall:.2f} (CPU {cpu:.2f})"


def _paired(values: Mapping[str, Sequence[float]], side: str) -> float | None:
    """The median over the rounds of a side's number divided by ours."""
    if side == OURS or side not in values or OURS not in values:
        return None
    pairs = zip(values[side], values[OURS], strict=True)
    each = [theirs / ours for theirs, ours in pairs if theirs and ours]
    return statistics.median(each) if each else None


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def _spread(values: Sequence[float]) -> str:
    """Median (lower quartile-upper quartile); of fewer than four numbers, the extremes."""
    low, high = min(values), max(values)
    if len(values) >= 4:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{_number(statistics.median(values))} ({_number(low)}-{_number(high)})"


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
