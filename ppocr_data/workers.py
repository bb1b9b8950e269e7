"""Worker processes that carry out an endless sequence of tasks, with the results in order.

Why not `paddle.io.DataLoader`: it wraps a worker's error into a traceback under the same type, answers a dead worker
with a SystemError that names nobody, and makes tensors of the arrays before the trainer wants them on its device.

The processes are forked where that is safe (Linux), so they start in milliseconds; they touch numpy and OpenCV alone,
never paddle. Results travel through pipes as raw bytes: nothing is left behind in shared memory, however a run ends.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

from .errors import DataError, UserError

LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_AHEAD = 2


class _WorkerLostError(Exception):
    """A process died or no longer answers."""


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
        self._workers = [_Worker(context, work, number) for number in range(count)]
        self._results: queue.Queue[Any] = queue.Queue(maxsize=max(2, count))
        self._stop = threading.Event()
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
                result = self._results.get(timeout=_POLL_SECONDS)
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

    def _take(self, worker: _Worker) -> Any:
        for lost in itertools.count(1):
            try:
                return worker.take(self._patience, self._stop)
            except _WorkerLostError as error:
                if self._stop.is_set():
                    raise RuntimeError("the loader is closed") from None
                making = f"it was making {self._describe(worker.tasks[0])}"
                if lost > self._restarts:
                    times = f", {lost} times in a row" if lost > 1 else ""
                    raise DataError(f"{error}{times}; {making}") from None
                LOG.warning("%s; %s; another takes over", error, making)
                worker.replace()
        raise AssertionError("unreachable")

    def _end_what_hangs_within_a_result(self) -> None:
        """A worker that stopped after half a result leaves the pump waiting for the rest; its end is seen there."""
        for worker in self._workers:
            since = worker.receiving_since
            if since is not None and time.monotonic() - since > self._patience:
                worker.hangs_within_a_result = True
                worker.process.kill()

    def _put(self, result: Any) -> None:
        while not self._stop.is_set():
            try:
                self._results.put(result, timeout=_POLL_SECONDS)
                return
            except queue.Full:
                continue


class _Worker:
    """One process, the two pipes to it, and the tasks that it has yet to answer."""

    def __init__(self, context: Any, work: Callable[[Any], Any], number: int) -> None:
        self._context, self._work, self.number = context, work, number
        self.tasks: collections.deque[Any] = collections.deque()
        self.receiving_since: float | None = None
        self.hangs_within_a_result = False
        self._start()

    def _start(self) -> None:
        task_reader, self._to_do = self._context.Pipe(duplex=False)
        self._results, result_writer = self._context.Pipe(duplex=False)
        arguments = (self._work, task_reader, result_writer, (self._to_do, self._results), os.getpid())
        self.process = self._context.Process(
            target=_run, args=arguments, name=f"data-worker-{self.number}", daemon=True
        )
        self.process.start()
        self.hangs_within_a_result = False
        # Ours no longer: with no writer but the worker, its end is seen as the end of the pipe.
        task_reader.close()
        result_writer.close()

    def give(self, task: Any) -> None:
        self.tasks.append(task)
        self._send(task)

    def _send(self, task: Any) -> None:
        # A worker that died is told of when its answer is due, so that those before it still arrive.
        with contextlib.suppress(BrokenPipeError):
            self._to_do.send(task)

    def replace(self) -> None:
        """Another process in the place of this one, with the same tasks."""
        self.process.kill()
        self.close()
        self._start()
        for task in self.tasks:
            self._send(task)

    def take(self, patience: float, stop: threading.Event) -> Any:
        """Receive one result; raise what the worker raised, or _WorkerLostError."""
        deadline = time.monotonic() + patience
        while not self._results.poll(_POLL_SECONDS):
            if stop.is_set():
                raise RuntimeError("the loader is closed")
            if not self.process.is_alive() and not self._results.poll(0):
                raise _WorkerLostError(self._obituary())
            if time.monotonic() > deadline:
                raise _WorkerLostError(self._stuck(patience))
        self.receiving_since = time.monotonic()
        try:
            result = _receive(self._results)
        except (EOFError, OSError) as error:
            stuck = self.hangs_within_a_result
            raise _WorkerLostError(self._stuck(patience) if stuck else self._obituary()) from error
        finally:
            self.receiving_since = None
        self.tasks.popleft()
        if isinstance(result, BaseException):
            raise result
        return result

    def _stuck(self, patience: float) -> str:
        return (
            f"data worker {self.number} (pid {self.process.pid}) has not answered for {patience:.0f} s; is the disk "
            "with the images still there?"
        )

    def _obituary(self) -> str:
        self.process.join(_POLL_SECONDS)
        code = self.process.exitcode
        why = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        hint = "; the machine may be out of memory: lower num_workers or the batch size" if code == -9 else ""
        return f"data worker {self.number} (pid {self.process.pid}) {why}{hint}"

    def close(self) -> None:
        self.process.join(5)
        if self.process.is_alive():  # waiting for a disk that does not answer, a process hears no signal at all
            self.process.kill()
            self.process.join(5)
        self._to_do.close()
        self._results.close()


def _run(
    work: Callable[[Any], Any],
    tasks: Connection,
    results: Connection,
    parents_ends: tuple[Connection, Connection],
    parent: int,
) -> None:
    """The life of a worker: tasks in, results out, until the parent is gone."""
    # A pipe whose other end we held ourselves would never tell us that the parent is gone.
    for end in parents_ends:
        end.close()
    # An interrupt at the keyboard goes to the whole group: the parent saves its state and ends us itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # OpenCV's own threads did not survive the fork, and W workers with threads of their own would fight for the CPU.
    cv2.setNumThreads(0)
    try:
        while True:
            while not tasks.poll(_POLL_SECONDS):
                if os.getppid() != parent:
                    return
            task = tasks.recv()
            try:
                result = work(task)
            except UserError as error:
                results.send(error)
            except Exception:  # noqa: BLE001 - told to the parent, traceback and all
                results.send(RuntimeError(f"a data worker failed on {task}:\n{traceback.format_exc()}"))
            else:
                _send(results, result)
    except (EOFError, BrokenPipeError):
        return


def _send(pipe: Connection, result: Any) -> None:
    """Send a dataclass: first itself with its arrays' shapes in place of the arrays, then the arrays' bytes."""
    arrays = {
        f.name: value for f in dataclasses.fields(result) if isinstance(value := getattr(result, f.name), np.ndarray)
    }
    shapes = {name: (array.shape, array.dtype) for name, array in arrays.items()}
    pipe.send((dataclasses.replace(result, **dict.fromkeys(arrays)), shapes))
    for array in arrays.values():
        pipe.send_bytes(np.ascontiguousarray(array).data.cast("B"))


def _receive(pipe: Connection) -> Any:
    """Receive what `_send` sent, or the exception that was sent in its place."""
    message = pipe.recv()
    if isinstance(message, BaseException):
        return message
    result, shapes = message
    for name, (shape, dtype) in shapes.items():
        array = np.empty(shape, dtype)
        pipe.recv_bytes_into(array.data.cast("B"))
        setattr(result, name, array)
    return result
