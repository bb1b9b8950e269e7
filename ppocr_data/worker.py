"""One loader process: how it lives, how tasks reach it and results come back, and how its end is told.

Results travel through pipes as raw bytes: nothing is left behind in shared memory, however a run ends.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import cv2
import numpy as np

from ppocr_data.errors import UserError

POLL_SECONDS = 0.5
_SHORT_OF_MEMORY = 77
"""Exit code of a worker whose task found no memory."""


class WorkerLostError(Exception):
    """A process died or no longer answers."""


class Worker:
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
        self.close()
        self._start()
        for task in self.tasks:
            self._send(task)

    def take(self, patience: float, stop: threading.Event) -> Any:
        """Receive one result; raise what the worker raised, or WorkerLostError."""
        deadline = time.monotonic() + patience
        while not self._results.poll(POLL_SECONDS):
            if stop.is_set():
                raise RuntimeError("the loader is closed")
            if not self.process.is_alive() and not self._results.poll(0):
                raise WorkerLostError(self._obituary())
            if time.monotonic() > deadline:
                raise WorkerLostError(self._stuck(patience))
        self.receiving_since = time.monotonic()
        try:
            result = _receive(self._results)
        except (EOFError, OSError) as error:
            stuck = self.hangs_within_a_result
            raise WorkerLostError(self._stuck(patience) if stuck else self._obituary()) from error
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
        self.process.join(POLL_SECONDS)
        code = self.process.exitcode
        why = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        if code == _SHORT_OF_MEMORY:
            why = "ran out of memory"
        short = code in (-9, _SHORT_OF_MEMORY)
        hint = "; the machine may be out of memory: lower num_workers or the batch size" if short else ""
        return f"data worker {self.number} (pid {self.process.pid}) {why}{hint}"

    def close(self) -> None:
        self.process.kill()
        self.process.join(5)  # no longer: while it waits for a disk that does not answer, it hears no signal at all
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
            while not tasks.poll(POLL_SECONDS):
                if os.getppid() != parent:
                    return
            task = tasks.recv()
            try:
                result = work(task)
            except UserError as error:
                results.send(error)
            except MemoryError:
                os._exit(_SHORT_OF_MEMORY)  # another process may have more
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
