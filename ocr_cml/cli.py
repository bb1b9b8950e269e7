"""What every command-line tool shares: a mistake is one message and exit code 2; Ctrl-C is 130, SIGTERM 143."""

from __future__ import annotations

import argparse
import contextlib
import errno
import functools
import json
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from ocr_cml.hearing import hearing
from ocr_cml.log import LOG
from ppocr_data.atomic import FULL, write_to
from ppocr_data.errors import ConfigError, UserError

USER_MISTAKE = 2
_UNREACHABLE = (errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
"""Of a path that was given: asking whether it is there already fails so, wherever a tool asks."""
INTERRUPTED = 130
_ENDING = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Terminated(BaseException):
    """SIGTERM came, or the terminal went: whoever has something to clean up does so on the way out, as after Ctrl-C."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.code = 128 + number


def exit_cleanly(main: Callable[..., int]) -> Callable[..., int]:
    """Decorate a tool's `main` so that it returns the exit code that the command-line contract promises.

    0 for success, 2 with one message on standard error for a `UserError`, a path that may not be looked at or a full
    disk behind standard output, 130 for Ctrl-C, 143 for SIGTERM, 129 for a closed terminal, 0 where the reader of our
    output went away (`| head`). Anything else is a defect of ours and keeps its traceback.
    """

    @functools.wraps(main)
    @_lasting_standard_error()
    def wrapped(argv: list[str] | None = None) -> int:
        try:
            with _terminable():
                code = main(argv)
                sys.stdout.flush()
                return code
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return USER_MISTAKE
        except BrokenPipeError:
            _leave(sys.stdout)
            return 0
        except OSError as error:
            if not _of_the_surroundings(error):
                raise
            print(f"error: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
            if not error.filename:
                _leave(sys.stdout)
            return USER_MISTAKE
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED
        except Terminated as stop:
            with contextlib.suppress(OSError):  # of a closed terminal
                print("terminated", file=sys.stderr)
            return stop.code

    return wrapped


def tell_result(text: str) -> None:
    """Print what a tool has done, at once. A full disk behind standard output makes a warning of it: nobody is to do
    it all again for this line.

    Raises:
        BrokenPipeError: the reader of our output went away; see `exit_cleanly`.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        LOG.warning("standard output takes no more (%s): %s", error.strerror, text)
        _leave(sys.stdout)


def _of_the_surroundings(error: OSError) -> bool:
    """Whether it is no defect of ours: a path that may not be looked at, or a full disk.

    An error of a full disk that names no file is standard output's: what writes files says which one, see
    `ppocr_data.atomic`.
    """
    return bool(error.filename and error.errno in _UNREACHABLE) or error.errno in FULL


def _leave(stream: TextIO) -> None:
    """Python would complain once more when it flushes at exit what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


class _Lasting:
    """Standard error, until nobody takes it any more: no work is to end for want of a place to tell how far it is."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._until_it_fails():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._until_it_fails():
            self._stream.flush()

    @contextlib.contextmanager
    def _until_it_fails(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            _leave(self._stream)


@contextlib.contextmanager
def _lasting_standard_error() -> Iterator[None]:
    stream = sys.stderr
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        sys.stderr = _Lasting(stream or nowhere)  # type: ignore[assignment]  # none where it is closed, as by `2>&-`
        try:
            yield
        finally:
            sys.stderr = stream


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """In which SIGTERM and SIGHUP raise `Terminated`; a training notes them while it makes steps, see `loop.signals`.

    One that is ignored stays so, see `hearing`.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise Terminated(number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with hearing(_ENDING, end):
        yield


def called(tool: str) -> str:
    """How a person starts a tool, for the examples of its help.

    Args:
        tool: the name of its file without `.py`.

    Returns:
        `ocr-cml train` where it runs as that sub-command (tools/__main__.py says so in `sys.argv[0]`), else
        `python tools/train.py`.
    """
    name = Path(sys.argv[0]).name
    return name if name.startswith("ocr-cml ") else f"python tools/{tool}.py"


def command_line() -> str:
    """How this process was started, quoted so that a shell reads it back."""
    program, *arguments = sys.argv
    own = program.startswith("ocr-cml ")  # two words, see `called`
    return " ".join([program if own else shlex.quote(program), *map(shlex.quote, arguments)])


def given_path(text: str) -> Path:
    """A path of the command line. An empty one, as of a variable that is not set, would be the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("is empty; name a file or folder")
    return Path(text)


def check_writable(path: Path) -> None:
    """Raise ConfigError where a file that `--json PATH` asks for could not be written; no file is changed or left."""
    if path.exists() and not path.is_file():  # a pipe's reader takes a first close for the end
        return
    with _as_json_mistake(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        path.open("a", encoding="utf-8").close()
        if new:
            path.unlink()


def write_json(path: Path, data: object) -> None:
    """Write what `--json PATH` asks for, whole or not at all. Raises ConfigError where it cannot be written."""
    text = json.dumps(data, indent=1)
    with _as_json_mistake(path):
        write_to(path, text)


@contextlib.contextmanager
def _as_json_mistake(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--json {path}: cannot be written: {error.strerror}") from None


def add_config_arguments(parser: argparse.ArgumentParser, example: str = "configs/det_cml.yml") -> None:
    """Add `-c CONFIG` and `-o Key.sub=value ...`, as PaddleOCR's tools have them."""
    parser.add_argument("-c", "--config", required=True, metavar="CONFIG", help=f"a YAML file, for example {example}")
    parser.add_argument(
        "-o",
        "--override",
        nargs="+",
        action="extend",
        default=[],
        metavar="Key.sub=value",
        help="values that win over the file's",
    )
