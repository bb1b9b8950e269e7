"""The numbers of the table, from sides whose answers are known."""

from __future__ import annotations

from typing import Any

import pytest

from ocr_cml.benchmark.measure import Row, in_turn, row_of, table


class Known:
    """A side that answers with the numbers it was given, and notes when."""

    def __init__(self, name: str, answers: list[float], log: list[str]) -> None:
        self.name, self._answers, self._log = name, list(answers), log

    def prepare(self, case: str, **arguments: Any) -> dict[str, Any]:
        self._log.append(f"{self.name} prepares {case} {arguments}")
        return {"seconds": 99.0}

    def round(self) -> dict[str, Any]:
        self._log.append(self.name)
        return {"seconds": self._answers.pop(0)}


def test_sides_take_turns_and_the_first_round_is_not_counted() -> None:
    log: list[str] = []
    answers = in_turn([Known("ours", [1, 2, 3], log), Known("plain", [4, 5, 6], log)], "work", {"size": 7}, 3)
    assert log == [
        "ours prepares work {'size': 7}",
        "plain prepares work {'size': 7}",
        *["ours", "plain", "plain", "ours", "ours", "plain"],
    ]
    assert answers == {
        "ours": [{"seconds": 1}, {"seconds": 2}, {"seconds": 3}],
        "plain": [{"seconds": 4}, {"seconds": 5}, {"seconds": 6}],
    }


def test_a_ratio_is_the_median_of_the_pairs_and_not_the_quotient_of_medians() -> None:
    row = Row("work", "s", {"ours": [1.0, 2.0, 10.0], "plain": [3.0, 4.0, 50.0]})
    assert row.ratio("plain") == 3.0  # of 3, 2 and 5
    assert row.ratio("ours") is None
    assert row.ratio("absent") is None


def test_at_a_rate_more_is_better() -> None:
    assert Row("loader", "images/s", {"ours": [20.0], "ppocr": [5.0]}).ratio("ppocr") == 4.0


def test_rows_sum_keys_scale_them_and_leave_out_who_has_them_not() -> None:
    answers = {"ours": [{"a": 1.0, "b": 2.0}], "ppocr": [{"a": 3.0}], "nobody": []}
    assert row_of("both", "ms", 1000, answers, "a", "b").values == {"ours": [3000.0]}
    assert row_of("a", "s", 1, answers, "a").values == {"ours": [1.0], "ppocr": [3.0]}


def test_the_cpu_seconds_of_whole_rounds_stand_beside_the_ratio() -> None:
    answers = {"ours": [{"seconds": 1.0, "cpu": 2.0}], "ppocr": [{"seconds": 6.0, "cpu": 8.0}]}
    whole, part = row_of("step", "s", 1, answers, "seconds"), row_of("part", "s", 1, answers, "cpu")
    assert whole.cpu_ratio("ppocr") == 4.0 and part.cpu_ratio("ppocr") is None
    lines = table([whole, part]).splitlines()
    assert "6.00 (CPU 4.00)" in lines[2] and "(CPU" not in lines[3]


def test_the_table_is_markdown_with_quartiles_ratios_and_notes() -> None:
    rows = [
        Row("loader", "images/s", {"ours": [10.0, 20.0, 30.0, 40.0, 50.0], "plain": [5.0] * 5}, note="one worker"),
        Row("memory", "MB", {"ours": [1234.0]}),
    ]
    lines = table(rows).splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[:4]]
    assert cells[0] == ["what", "unit", "ours", "plain", "plain : ours"]
    assert set(lines[1]) <= {"|", "-"}
    assert cells[2] == ["loader", "images/s", "30 (20-40)", "5 (5-5)", "6.00"]
    assert cells[3] == ["memory", "MB", "1234 (1234-1234)", "-", "-"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert lines[-1] == "loader: one worker"


@pytest.mark.parametrize(
    ("value", "written"), [(0.000123, "0.000123"), (5.678, "5.68"), (99.96, "100"), (1234.5, "1234")]
)
def test_numbers_have_three_digits(value: float, written: str) -> None:
    assert f"{written} (" in table([Row("x", "s", {"ours": [value]})])
