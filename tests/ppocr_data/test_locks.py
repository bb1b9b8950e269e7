"""What a lock answers: held, held by another, and where a file system has none."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ppocr_data import locks
from ppocr_data.locks import is_held, lock

fcntl = pytest.importorskip("fcntl", reason="there are no locks here")

HOLDS = """
import sys
from ppocr_data.locks import lock
file = open(sys.argv[1], "a+")
print(lock(file, shared=sys.argv[2] == "shared"), flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["sole", "shared"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def holder(tmp_path: Path, repository: Path, kind: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", HOLDS, str(tmp_path / "lock"), kind]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=repository, **pipes) as process:
        assert process.stdout is not None and process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_a_sole_lock_is_refused_whatever_another_holds(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a+") as file:
        assert lock(file) is False


def test_a_shared_lock_is_refused_beside_a_sole_one_alone(
    holder: subprocess.Popen[str], tmp_path: Path, kind: str
) -> None:
    with (tmp_path / "lock").open("a+") as file:
        assert lock(file, shared=True) is (kind == "shared")


def test_whether_a_sole_lock_is_held_can_be_asked(holder: subprocess.Popen[str], tmp_path: Path, kind: str) -> None:
    assert is_held(tmp_path / "lock") is (kind == "sole")
    holder.kill()
    holder.wait()
    assert is_held(tmp_path / "lock") is False
    assert is_held(tmp_path / "nothing") is None


def test_who_is_killed_holds_nothing(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.kill()
    holder.wait()
    with (tmp_path / "lock").open("a+") as file:
        assert lock(file) is True


def test_whoever_waits_has_it_after_the_other(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a+") as file:
        assert holder.stdin is not None
        holder.stdin.close()
        assert lock(file, wait=True) is True


def test_a_closed_file_is_free(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("a+") as first:
        assert lock(first) is True
    with (tmp_path / "lock").open("a+") as second:
        assert lock(second) is True


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_where_a_file_system_has_no_locks_none_is_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int
) -> None:
    """Some network mounts: a training that took this for another process would never start there."""

    def refuse(*_: object) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", refuse)
    with (tmp_path / "lock").open("a+") as file:
        assert lock(file) is None
    assert is_held(tmp_path / "lock") is None


def test_another_failure_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(locks.fcntl, "flock", fail)
    with (tmp_path / "lock").open("a+") as file, pytest.raises(OSError, match="broken"):
        lock(file)


def test_without_locks_in_the_library_none_is_held(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(locks, "fcntl", None)
    with (tmp_path / "lock").open("a+") as file:
        assert lock(file) is None
