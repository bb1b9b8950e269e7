"""When a run logs, evaluates, saves and ends: lengths by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ocr_cml.loop.timetable import Timetable


def timetable(samples: int = 10, samples_a_step: int = 4, decay_steps: int | None = None, **stated: Any) -> Timetable:
    """A run over 10 samples in batches of 4, three epochs unless something else is said."""
    usual = {"epoch_num": 3, "max_steps": None, "print_batch_step": 3, "save_batch_step": None}
    settings = {**usual, "eval_batch_step": (0, 100), **stated}
    config = SimpleNamespace(
        Global=SimpleNamespace(**settings), Optimizer=SimpleNamespace(lr=SimpleNamespace(decay_steps=decay_steps))
    )
    return Timetable(config, samples, samples_a_step)  # type: ignore[arg-type]


def test_lengths_of_a_run_whose_batches_straddle_epochs() -> None:
    whole = timetable()
    assert whole.steps_per_epoch == 2.5
    assert (whole.last_step, whole.schedule_steps) == (8, 8)  # 7.5 steps: the last batch begins a fourth epoch


def test_a_length_that_a_quotient_would_round_up() -> None:
    """49 epochs of 9 images in batches of 7 are 63 steps; 9 / 7 * 49 is 63.00000000000001."""
    assert 9 / 7 * 49 > 63
    assert timetable(samples=9, samples_a_step=7, epoch_num=49).last_step == 63


@pytest.mark.parametrize(("max_steps", "last"), [(5, 5), (100, 8)])
def test_a_run_ends_with_its_steps_or_its_epochs(max_steps: int, last: int) -> None:
    assert timetable(max_steps=max_steps).last_step == last


def test_schedules_span_the_epochs_unless_a_length_of_their_own_is_stated() -> None:
    assert timetable(max_steps=5).schedule_steps == 8
    stated = timetable(decay_steps=4)
    assert [stated.fraction(step) for step in (0, 1, 4, 7)] == [0, 0.25, 1, 1]


def test_what_happens_after_which_step() -> None:
    run = timetable(save_batch_step=4, eval_batch_step=(2, 5))
    steps = range(1, run.last_step + 1)
    assert [step for step in steps if run.logs_at(step)] == [3, 6, 8]
    assert [step for step in steps if run.evaluates_at(step)] == [7, 8]
    assert [step for step in steps if run.saves_at(step)] == [4, 8]
    assert [step for step in steps if run.pauses_at(step)] == [3, 4, 6, 7, 8]
    assert not any(timetable().saves_at(step) for step in steps)


@pytest.mark.parametrize(
    ("start", "every", "last", "step", "expected"),
    [
        (0, 100, 200, 0, 2),
        (0, 100, 200, 100, 1),
        (0, 100, 250, 0, 3),
        (100, 100, 200, 0, 1),
        (500, 100, 200, 0, 1),
        (0, 100, 200, 200, 0),
        (0, 100, 250, 250, 0),
    ],
)
def test_evaluations_to_come_are_those_that_the_loop_makes(
    start: int, every: int, last: int, step: int, expected: int
) -> None:
    run = timetable(samples=1000, samples_a_step=1, max_steps=last, eval_batch_step=(start, every))
    made = sum(run.evaluates_at(at) for at in range(step + 1, last + 1))
    assert run.evaluations_after(step) == made == expected
