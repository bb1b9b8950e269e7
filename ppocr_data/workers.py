"""Worker processes that carry out an endless sequence of tasks, with the results in order.

Why not `paddle.io.DataLoader`: it wraps a worker's error into a traceback under the same type, answers a dead worker
with a SystemError that names nobody, and makes tensors of the arrays before the trainer wants them on its device.

The processes are forked where that is safe (Linux), so they start in milliseconds; they touch numpy and OpenCV alone,
never paddle. Results travel through pipes as raw bytes: nothing is left behind in shared memory, however a run ends.
"""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from ppocr_data.errors import DataError
from ppocr_data.worker import POLL_SECONDS, Worker, WorkerLostError

LOG = logging.getLogger(__name__)
_AHEAD = 2


class WorkerPool:
    """`count` processes that carry out `tasks` one after the other.

    A process that dies or hangs is replaced, and its tasks are given to the new one: a task is a pure function, so that
    the results are the same. One that is lost again and again without a result in between is given up.

    Args:
        work: what a worker does with a task: returns a dataclass whose arrays are contiguous.
        tasks: the endless sequence of tasks; task i goes to worker i modulo count.
        count: number of processes, >= 1.
        patience: seconds without an answer after which a worker is taken to be stuck.
        restarts: how often in a row a lost worker is replaced.
        describe: a task in words, for messages.
    """

    def __init__(
        self,
        work: Callable[[Any], Any],
        tasks: Iterator[Any],
        count: int,
        patience: float = 300.0,
        restarts: int = 3,
        describe: Callable[[Any], str] = str,
    ) -> None:
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
        self._tasks, self._patience, self._restarts, self._describe = tasks, patience, restarts, describe
        self._workers = [Worker(context, work, number) for number in range(count)]
        self._results: queue.Queue[Any] = queue.Queue(maxsize=max(2, count))
        self._stop = threading.Event()
        self._replacing = threading.Lock()
        self._failure: BaseException | None = None
        for _ in range(_AHEAD):
            for worker in self._workers:
                worker.give(next(tasks))
        self._pump = threading.Thread(target=self._collect, name="data-pump", daemon=True)
        self._pump.start()

    @property
    def pids(self) -> list[int]:
        """The processes at this moment."""
        return [worker.process.pid for worker in self._workers if worker.process.pid]

    def get(self) -> Any:
        """The next result, in the order of the tasks.

        Raises:
            UserError: the task raised it, with the same type and message; or a worker was lost for good.
            RuntimeError: the task raised something else; its traceback is in the message. Once raised, an error is
                raised at every call.
        """
        while self._failure is None:
            try:
                result = self._results.get(timeout=POLL_SECONDS)
            except queue.Empty:
                self._end_what_hangs_within_a_result()
                continue
            if not isinstance(result, BaseException):
                return result
            self._failure = result
        raise self._failure

    def close(self) -> None:
        """End all processes and wait for them. Safe to call twice."""
        self._stop.set()
        with self._replacing:  # or a process that is just being started would not be among those that end here
            for worker in self._workers:
                worker.process.kill()  # they have nothing to put in order, and a stopped one would not hear a SIGTERM
        self._pump.join()
        for worker in self._workers:
            worker.close()
        self._failure = self._failure or RuntimeError("the loader is closed")

    def _collect(self) -> None:
        """Take results from the workers in turn, so that they never wait for the trainer with a finished batch."""
        turn = 0
        try:
            while not self._stop.is_set():
                worker = self._workers[turn % len(self._workers)]
                self._put(self._take(worker))
                worker.give(next(self._tasks))
                turn += 1
        except BaseException as error:  # noqa: BLE001 - whatever it is, it belongs to the caller of get()
            self._put(error)

    def _take(self, worker: Worker) -> Any:
        for lost in itertools.count(1):
            try:
                return worker.take(self._patience, self._stop)
            except WorkerLostError as error:
                if self._stop.is_set():
                    raise RuntimeError("the loader is closed") from None
                making = f"it was making {self._describe(worker.tasks[0])}"
                if lost > self._restarts:
                    times = f", {lost} times in a row" if lost > 1 else ""
                    raise DataError(f"{error}{times}; {making}") from None
                LOG.warning("%s; %s; another takes over", error, making)
                with self._replacing:
                    if self._stop.is_set():
                        raise RuntimeError("the loader is closed") from None
                    worker.replace()
        raise AssertionError("unreachable")

    def _end_what_hangs_within_a_result(self) -> None:
        """A worker that stopped after half a result leaves the pump waiting for the rest; its end is seen there."""
        with self._replacing:
            for worker in self._workers:
                since = worker.receiving_since
                if since is not None and time.monotonic() - since > self._patience:
                    worker.hangs_within_a_result = True
                    worker.process.kill()

    def _put(self, result: Any) -> None:
        while not self._stop.is_set():
            try:
                self._results.put(result, timeout=POLL_SECONDS)
                return
            except queue.Full:
                continue
