"""Students side by side on a CPU: each computes in a thread of its own.

Paddle's CPU kernels let go of Python's lock, but only its convolutions use several cores; normalisations, activations,
sums run on one. Two students in two threads of one core each therefore take much less time than the two one after the
other on both cores. Whether gradients are recorded is a matter of each thread, so one student's `no_grad` leaves the
others alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from ocr_cml.environment import set_math_threads, share_of

Result = TypeVar("Result")


class SideBySide:
    """Does some work for each of several students, `at_once` of them at the same time.

    Args:
        at_once: 1: one after the other, in the caller's thread.
        threads: MKL's threads of the process, shared out among those that compute at the same time.
    """

    def __init__(self, at_once: int = 1, threads: int = 1) -> None:
        self.at_once, self.threads = at_once, threads
        self._pool: ThreadPoolExecutor | None = None

    def each(self, work: Callable[[str], Result], names: Sequence[str]) -> dict[str, Result]:
        """`work(name)` by name, in the order of `names`. All are waited for; then the first one's exception is raised.

        A mode that the caller's thread is in, such as `no_grad` or `auto_cast`, does not reach into the others.
        """
        together = min(self.at_once, len(names))
        if together < 2:
            return {name: work(name) for name in names}
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.at_once, thread_name_prefix="student")
        set_math_threads(share_of(self.threads, together))
        try:
            futures = {name: self._pool.submit(work, name) for name in names}
            wait(futures.values())
        finally:
            set_math_threads(self.threads)
        return {name: future.result() for name, future in futures.items()}
