"""Students in threads of their own: the same numbers, at the same time."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import paddle
import pytest
import tiny

from ocr_cml import assemble, side_by_side
from ocr_cml.side_by_side import SideBySide
from ocr_cml.trainer import Trainer
from ppocr_data.errors import ConfigError, UserError

# --- the threads -----------------------------------------------------------------------------------------------------


def test_so_many_work_at_the_same_time_and_answer_in_order() -> None:
    meeting = threading.Barrier(3, timeout=20)  # passes three together, and nobody alone

    def work(name: str) -> tuple[str, int]:
        meeting.wait()
        return name.lower(), threading.get_ident()

    found = SideBySide(3, 3).each(work, ["C", "A", "B"])
    assert [(name, answer) for name, (answer, _) in found.items()] == [("C", "c"), ("A", "a"), ("B", "b")]
    assert len({thread for _, thread in found.values()} - {threading.get_ident()}) == 3


def test_never_more_than_so_many() -> None:
    working, most, lock = 0, 0, threading.Lock()
    pause = threading.Event()

    def work(_: str) -> None:
        nonlocal working, most
        with lock:
            working += 1
            most = max(most, working)
        pause.wait(0.02)
        with lock:
            working -= 1

    SideBySide(2, 2).each(work, list("abcdef"))
    assert most == 2


@pytest.mark.parametrize(("at_once", "names"), [(1, ["a", "b"]), (4, ["a"])])
def test_one_works_in_the_callers_thread(at_once: int, names: list[str]) -> None:
    found = SideBySide(at_once, 4).each(lambda _: threading.get_ident(), names)
    assert set(found.values()) == {threading.get_ident()}
    assert SideBySide(4, 4).each(len, []) == {}


def test_all_are_waited_for_before_the_first_exception_comes() -> None:
    done: list[str] = []
    failed = threading.Event()

    def work(name: str) -> None:
        if name != "last":
            failed.set()
            raise ValueError(name)
        failed.wait(20)
        done.append(name)

    with pytest.raises(ValueError, match="first"):
        SideBySide(2, 2).each(work, ["first", "second", "last"])
    assert done == ["last"]


@pytest.mark.parametrize(
    ("at_once", "threads", "students", "share"), [(2, 8, 2, 4), (2, 8, 3, 4), (4, 8, 3, 2), (4, 2, 4, 1), (2, 1, 2, 1)]
)
def test_math_threads_are_shared_out_and_given_back(
    at_once: int, threads: int, students: int, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[int] = []
    monkeypatch.setattr(side_by_side, "set_math_threads", said.append)
    during = SideBySide(at_once, threads).each(lambda _: said[-1], [str(i) for i in range(students)])
    assert set(during.values()) == {share}
    assert said == [share, threads]


def test_a_students_gradient_mode_is_its_own() -> None:
    """What the whole idea rests on: `no_grad` of one thread does not silence another's graph."""
    silent, built = threading.Barrier(2, timeout=20), threading.Barrier(2, timeout=20)

    def work(name: str) -> bool:
        if name == "silent":
            with paddle.no_grad():
                silent.wait()
                built.wait()
            return False
        weight = paddle.to_tensor([2.0], stop_gradient=False)
        silent.wait()
        value = (weight * weight).sum()
        built.wait()
        value.backward()
        return bool(weight.grad is not None and float(weight.grad) == 4.0)

    assert SideBySide(2, 2).each(work, ["silent", "learns"])["learns"]


# --- the step --------------------------------------------------------------------------------------------------------


def fit(data: dict[str, Any], at_once: int) -> Trainer:
    data["Global"]["students_at_once"] = at_once
    with tiny.Run(data, max_steps=3) as trainer:
        assert trainer.cohort.side_by_side.at_once == at_once
        trainer.fit()
    return trainer


@pytest.mark.usefixtures("one_math_thread")
@pytest.mark.parametrize(
    ("students", "at_once", "update"),
    [
        (2, 2, "synchronous"),
        pytest.param(3, 2, "synchronous", marks=pytest.mark.slow),
    ],
)
def test_a_training_is_the_same_to_the_bit(
    students: int, at_once: int, update: str, tiny_set: Path, tiny_teacher: Path, tmp_path: Path
) -> None:
    trainers = []
    for name, many in (("together", at_once), ("apart", 1)):
        terms = [tiny.LABELS, tiny.MUTUAL, tiny.TEACHER]
        data = tiny.settings(tiny_set, tmp_path / name, terms=terms, students=students, teacher=tiny_teacher)
        data["Loss"]["update"] = update
        data["Optimizer"]["accumulate"] = 2
        trainers.append(fit(data, many))
    for name, student in trainers[0].cohort.students.items():
        tiny.assert_same(tiny.state_of(student), tiny.state_of(trainers[1].cohort.students[name]))
    assert tiny.records(tmp_path / "together") == tiny.records(tmp_path / "apart")


def test_what_one_student_raises_ends_the_run_as_ever(tiny_set: Path, tmp_path: Path) -> None:
    data = tiny.settings(tiny_set, tmp_path / "run")
    data["Global"]["students_at_once"] = 2
    with tiny.Run(data) as trainer:
        tiny.say(trainer.cohort.students["Student2"], float("nan"))
        with pytest.raises(UserError, match="db/Student2"):
            trainer.fit()


# --- the choice ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "threads", "students", "at_once"),
    [
        ("auto", "1", 2, 1),
        ("auto", "2", 2, 2),
        ("auto", "2", 3, 3),
        ("auto", "8", 2, 2),
        (1, "8", 2, 1),
        (2, "1", 2, 2),
        (5, "2", 2, 2),
    ],
)
def test_all_students_at_once_where_there_are_several_cores(
    wanted: str | int,
    threads: str,
    students: int,
    at_once: int,
    tiny_set: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", threads)
    config = tiny.load(tiny.settings(tiny_set, tmp_path, students=students, Global__students_at_once=wanted), tmp_path)
    found = assemble.side_by_side(config, "cpu", 1)
    assert (found.at_once, found.threads) == (at_once, int(threads))


@pytest.mark.parametrize(
    ("section", "device", "reason"),
    [
        ({}, "gpu:0", "a GPU computes one student after the other"),
        ({"Global__to_static": True}, "cpu", "Global.to_static"),
        ({"Global__save_memory": True}, "cpu", "Global.save_memory"),
        ({"Loss__update": "alternating"}, "cpu", "students of Loss.update: alternating take turns"),
    ],
)
def test_where_it_cannot_be_auto_takes_one_and_two_are_refused(
    section: dict[str, Any], device: str, reason: str, tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MKL_NUM_THREADS", "4")
    config = tiny.load(tiny.settings(tiny_set, tmp_path, **section), tmp_path)
    assert assemble.side_by_side(config, device, 1).at_once == 1
    config = tiny.load(tiny.settings(tiny_set, tmp_path, Global__students_at_once=2, **section), tmp_path)
    with pytest.raises(ConfigError, match=f"^Global.students_at_once: 2 cannot be, because {reason}"):
        assemble.side_by_side(config, device, 1)


@pytest.mark.parametrize(
    ("students", "section", "device", "expected"),
    [
        (2, {}, "cpu", True),
        (1, {}, "cpu", False),
        (2, {}, "gpu:0", False),
        (2, {"save_memory": True}, "gpu:0", True),
        (1, {"save_memory": True}, "cpu", True),
        (2, {"to_static": True}, "cpu", False),
        (2, {"recompute": False}, "cpu", False),
        (1, {"recompute": True}, "gpu:0", True),
    ],
)
def test_backbones_are_computed_again_where_several_students_share_the_machines_memory(
    students: int, section: dict[str, bool], device: str, expected: bool, tiny_set: Path, tmp_path: Path
) -> None:
    named = {f"Global__{key}": value for key, value in section.items()}
    terms = [tiny.LABELS, tiny.MUTUAL] if students > 1 else [tiny.LABELS]
    data = tiny.settings(tiny_set, tmp_path, terms=terms, students=students, **named)
    assert assemble.recomputes(tiny.load(data, tmp_path), device) is expected
