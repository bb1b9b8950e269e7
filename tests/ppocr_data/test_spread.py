"""Which of many are looked at."""

from __future__ import annotations

from ppocr_data.spread import evenly


def test_all_of_few_and_some_of_many_with_both_ends() -> None:
    assert evenly(3, 200) == [0, 1, 2]
    assert evenly(1001, 5) == [0, 250, 500, 750, 1000]
    assert evenly(0, 5) == []
