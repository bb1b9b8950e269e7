"""Reading, network and post-process of neighbouring images at the same time, with the results in order.

Decoding, resizing and the networks let go of Python's lock, so threads are enough. The network runs in the caller's
thread: it has the cores for itself but for what the one reading and the one finishing thread need.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def ahead(work: Callable[[Item], Result], items: Iterable[Item], depth: int) -> Iterator[Result]:
    """`work(item)` of each item, in order, done in a thread of its own up to `depth` items ahead of the caller.

    `items` is read in the caller's thread, `depth` items ahead: where it is itself a generator that works, its work
    overlaps with that of the thread. An exception of `work` is raised where its result is due.
    """
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > depth:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # The caller went away or something failed: nobody wants the rest.
        pool.shutdown(wait=True, cancel_futures=True)
