"""Threads and memory are set up in fresh processes, as they can only be there: before paddle is imported."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from ocr_cml.environment import cpu_cores, process_threads, share_of, version_of

OURS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "MKL_DEBUG_CPU_TYPE",
    "GLOG_minloglevel",
    "PADDLE_LOCAL_SIZE",
    "PADDLE_TRAINERS_NUM",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)
SCRIPT = """
import json, os, sys
from ocr_cml.environment import tune_process
notes = tune_process()
assert "paddle" not in sys.modules
print(json.dumps([notes, dict(os.environ)]))
"""


def tuned(repository: Path, **users: str) -> tuple[list[str], dict[str, str]]:
    """What `tune_process` said and left in the environment of a process started with the user's settings."""
    clean = {k: v for k, v in os.environ.items() if k not in OURS and not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=repository, env=clean | users, capture_output=True, text=True, check=True
    )
    notes, environment = json.loads(done.stdout)
    return notes, environment


def test_what_is_set_is_said(repository: Path) -> None:
    notes, environment = tuned(repository)
    assert environment["OMP_NUM_THREADS"] == "1"
    assert environment["MKL_NUM_THREADS"] == str(cpu_cores())
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "GLOG_minloglevel"):
        assert any(note.startswith(f"{name}={environment[name]}") for note in notes), name
    assert sum(note.startswith("malloc: ") for note in notes) == 1


def test_the_user_s_settings_are_kept_and_named(repository: Path) -> None:
    users = {
        "OMP_NUM_THREADS": "3",
        "MKL_NUM_THREADS": "5",
        "MKL_DEBUG_CPU_TYPE": "4",
        "GLOG_minloglevel": "0",
        "MALLOC_ARENA_MAX": "2",
    }
    notes, environment = tuned(repository, **users)
    assert {name: environment[name] for name in users} == users
    assert "OMP_NUM_THREADS=3 (yours, kept)" in notes
    assert "MKL_NUM_THREADS=5 (yours, kept)" in notes
    assert "malloc: yours, kept (MALLOC_ARENA_MAX)" in notes


def test_an_empty_setting_of_the_user_s_is_a_setting(repository: Path) -> None:
    _, environment = tuned(repository, OMP_NUM_THREADS="")
    assert environment["OMP_NUM_THREADS"] == ""


@pytest.mark.parametrize("name", ["PADDLE_LOCAL_SIZE", "PADDLE_TRAINERS_NUM"])
def test_launched_processes_share_the_cores(repository: Path, name: str) -> None:
    _, environment = tuned(repository, **{name: str(2 * cpu_cores())})
    assert environment["MKL_NUM_THREADS"] == "1"


def test_after_paddle_it_refuses(repository: Path) -> None:
    script = "import sys, types; sys.modules['paddle'] = types.ModuleType('paddle')\n" + SCRIPT
    done = subprocess.run([sys.executable, "-c", script], cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "RuntimeError: tune_process() must run before paddle is imported" in done.stderr


def test_the_packages_that_tools_import_first_do_not_import_paddle(repository: Path) -> None:
    names = "ocr_cml.run_files, ocr_cml.commands, ocr_cml.cli, ocr_cml.model_files"
    script = f"import sys, {names}; sys.exit('paddle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=repository, check=False).returncode == 0


@pytest.mark.parametrize(
    ("cores", "processes", "threads"), [(8, 1, 8), (8, 2, 4), (8, 3, 2), (2, 4, 1), (1, 1, 1), (4, 0, 4)]
)
def test_cores_are_shared_out_and_everybody_has_one(cores: int, processes: int, threads: int) -> None:
    assert share_of(cores, processes) == threads


@pytest.mark.parametrize(("stated", "threads"), [("3", 3), ("0", 4), ("", 4), ("all", 4), (None, 4)])
def test_a_process_has_the_threads_that_its_user_states_or_its_share(
    stated: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ocr_cml.environment.cpu_cores", lambda: 8)
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    if stated is not None:
        monkeypatch.setenv("MKL_NUM_THREADS", stated)
    assert process_threads(2) == threads


def test_the_version_of_whichever_build_is_installed() -> None:
    """A machine with a GPU has paddlepaddle-gpu and onnxruntime-gpu alone."""
    assert version_of("no-such-build", "numpy") == version_of("numpy") != "none"
    assert version_of("no-such-build", "no-such-build-gpu") == "none"


def test_cpu_cores_are_not_more_than_the_affinity() -> None:
    assert 1 <= cpu_cores() <= (os.cpu_count() or 1)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_cpu_cores_follow_the_affinity() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cpu_cores() == 1
    finally:
        os.sched_setaffinity(0, before)


HELD = """
import numpy, os
from ocr_cml.environment import give_back_freed_memory, tune_process
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 10**6
tune_process()
start = resident()
blocks = [numpy.ones(4_000_000, numpy.uint8) for _ in range(50)]
kept = blocks.pop()  # the last, above the others: the heap cannot shrink
blocks.clear()
freed = resident()
give_back_freed_memory()
print(start, freed, resident(), int(kept.sum()))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are left alone")
@pytest.mark.parametrize(
    "users", [{}, {"MALLOC_MMAP_THRESHOLD_": "1000000000", "MALLOC_TRIM_THRESHOLD_": "1000000000"}]
)
def test_freed_memory_is_held_until_it_is_given_back_and_the_users_allocator_is_the_users(
    repository: Path, users: dict[str, str]
) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in OURS and not k.startswith("MALLOC_")}
    done = subprocess.run(
        [sys.executable, "-c", HELD], cwd=repository, env=clean | users, capture_output=True, text=True, check=True
    )
    start, freed, after, kept = map(int, done.stdout.split())
    assert kept == 4_000_000
    assert freed > start + 180
    assert (after > start + 180) is bool(users)
