"""From a batch to gradients: what is held between forward and backward. Their values are tests/test_trainer.py's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import tiny

from ocr_cml.cohort import Cohort
from ocr_cml.loop import gradients


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({"recompute": True}, ["forward", "give back", "backward"]),
        ({"recompute": False}, ["forward", "backward"]),
        ({"save_memory": True}, ["forward", "give back", "backward"] * 2),
    ],
)
def test_where_memory_counts_the_heap_is_tidied_before_every_backward_pass(
    section: dict[str, bool],
    expected: list[str],
    tiny_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []

    def noted(name: str, work: Any) -> Any:
        return lambda *given, **named: (order.append(name), work(*given, **named))[1]

    monkeypatch.setattr(Cohort, "__call__", noted("forward", Cohort.__call__))
    monkeypatch.setattr(Cohort, "backward", noted("backward", Cohort.backward))
    monkeypatch.setattr(gradients, "give_back_freed_memory", noted("give back", gradients.give_back_freed_memory))
    with tiny.Run(tiny.settings(tiny_set, tmp_path / "run"), max_steps=1, **section) as trainer:
        trainer.fit()
    assert order == expected
