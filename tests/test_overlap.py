"""Work done ahead in a thread: order, bounds, errors, and an end that leaves no thread behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ocr_cml.overlap import ahead


@pytest.mark.parametrize("depth", [0, 1, 3, 100])
@pytest.mark.parametrize("count", [0, 1, 7])
def test_results_come_in_order(count: int, depth: int) -> None:
    assert list(ahead(lambda item: item * item, range(count), depth)) == [item * item for item in range(count)]


def test_the_work_is_done_in_one_other_thread_and_the_items_are_drawn_in_ours() -> None:
    drawing, working = set(), set()

    def items() -> Iterator[int]:
        for item in range(5):
            drawing.add(threading.get_ident())
            yield item

    list(ahead(lambda _: working.add(threading.get_ident()), items(), 2))
    assert drawing == {threading.get_ident()}
    assert len(working) == 1 and not working & drawing


def test_no_more_items_are_drawn_than_the_depth_allows() -> None:
    drawn = []

    def items() -> Iterator[int]:
        for item in range(10):
            drawn.append(item)
            yield item

    results = ahead(lambda item: item, items(), 3)
    assert next(results) == 0
    assert drawn == [0, 1, 2, 3]
    results.close()


def test_while_the_caller_waits_for_one_item_the_thread_works_on_the_last() -> None:
    """The second item is only drawn once the first is being worked on: without overlap this would never end."""
    begun = threading.Event()

    def items() -> Iterator[int]:
        yield 0
        assert begun.wait(30)
        yield 1

    def work(item: int) -> int:
        begun.set()
        return item

    assert list(ahead(work, items(), 1)) == [0, 1]


def test_an_error_is_raised_where_its_result_is_due() -> None:
    def work(item: int) -> int:
        if item == 2:
            raise ValueError("two")
        return item

    results = ahead(work, range(5), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="two"):
        next(results)


def test_giving_up_leaves_no_thread() -> None:
    before = threading.active_count()
    results = ahead(lambda item: item, iter(int, 1), 2)
    next(results)
    results.close()
    assert threading.active_count() == before
