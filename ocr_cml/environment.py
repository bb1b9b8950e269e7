"""The process environment of a CPU run: threads, memory allocation, and the arithmetic library's fast path.

None of this changes a result beyond rounding; it decides the speed. Paddle's CPU wheel brings two OpenMP runtimes whose
idle threads spin against each other, an old MKL that takes a slow path on AMD, and large buffers that glibc returns to
the kernel after every operation and faults in again. The settings below must be in place **before** paddle is imported,
so `tune_process` is the first call of every tool. It never overrides what the user has set, and says what it did.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import os
import platform
import signal
import sys
import threading
import warnings
from pathlib import Path

# glibc's mallopt parameters (malloc.h).
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_LARGEST_INT = 2**31 - 1
_TOP_PAD_BYTES = 256 * 1024 * 1024

_memory_is_kept = False


def cpu_cores() -> int:
    """Cores this process may use: the affinity mask and, in a container, the CPU quota."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _cgroup_quota() or cores))


def peak_memory() -> int | None:
    """The most memory that this process has held so far, bytes; None where the system does not tell."""
    with contextlib.suppress(OSError):  # Linux; what getrusage says there was the parent's, where that held more
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def version_of(*distributions: str, absent: str = "none") -> str:
    """The version of the first of several builds of one package that is installed; `absent` where none is."""
    for name in distributions:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(name)
    return absent


def machine_memory() -> int | None:
    """Memory that this process may use, bytes: the machine's, or less in a container; None where it is not known."""
    try:
        whole = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            whole = min(whole, int(Path(name).read_text()))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return whole


def share_of(cores: int, many: int) -> int:
    """How many cores each of `many` has that compute at the same time; at least one."""
    return max(1, cores // max(1, many))


def process_threads(processes: int = 1) -> int:
    """Threads of this process, one of `processes` on this machine: what MKL_NUM_THREADS says, else its share of cores.

    Loader workers use one thread each and are not subtracted: on a CPU a sample costs about a hundredth of a step, so
    the workers are nearly always asleep.
    """
    wanted = os.environ.get("MKL_NUM_THREADS", "")
    return int(wanted) if wanted.isdigit() and int(wanted) else share_of(cpu_cores(), processes)


def take_back_sigterm() -> None:
    """Undo what importing paddle does to SIGTERM, which it answers with the report of a crash."""
    handler = signal.getsignal(signal.SIGTERM)
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def tune_process(processes: int | None = None) -> list[str]:
    """Set threads, malloc and MKL for this process; returns one line for each thing done or left alone.

    Args:
        processes: training processes on this machine; by default what `paddle.distributed.launch` says.

    Raises:
        RuntimeError: paddle was imported already, so nothing here could take effect.
    """
    if "paddle" in sys.modules:
        raise RuntimeError("tune_process() must run before paddle is imported")
    # Two of paddle's warnings say nothing to anyone here: we compile no extensions, and running statistics are wanted.
    warnings.filterwarnings("ignore", message="No ccache found")
    warnings.filterwarnings("ignore", message="When training, we now always track global mean")
    if processes is None:
        processes = int(os.environ.get("PADDLE_LOCAL_SIZE") or os.environ.get("PADDLE_TRAINERS_NUM") or 1)
    wanted = cpu_environment(processes)
    wanted["GLOG_minloglevel"] = "2"  # paddle's C++ side says I and W lines about its own inside
    notes = [_set_unless_set(name, value) for name, value in wanted.items()]
    notes.append(_keep_freed_memory())
    return notes


def freed_memory_is_kept() -> bool:
    """Whether `tune_process` made this process's allocator keep what is freed."""
    return _memory_is_kept


def give_back_freed_memory() -> None:
    """Let the system have the pages that the allocator holds and nobody uses, if `tune_process` made it hold them."""
    if _memory_is_kept:
        ctypes.CDLL(None).malloc_trim(0)


def cpu_environment(processes: int = 1) -> dict[str, str]:
    """The variables that one of `processes` training processes on this machine should have."""
    wanted = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": str(share_of(cpu_cores(), processes))}
    return wanted | ({"MKL_DEBUG_CPU_TYPE": "5"} if _is_amd() else {})


def set_math_threads(threads: int) -> None:
    """Let MKL compute with so many threads from now on, in every thread of the process."""
    import paddle

    paddle.base.core.set_num_threads(threads)


def restore_math_threads() -> None:
    """Give MKL its threads back after a Paddle predictor ran.

    Paddle Inference sets the number of math threads of the whole process, and leaves it at one: a training step beside
    a teacher that was only probed would take twice its time on two cores.
    """
    if os.environ.get("MKL_NUM_THREADS", "").isdigit():
        set_math_threads(process_threads())


def _set_unless_set(name: str, value: str) -> str:
    if name in os.environ:
        return f"{name}={os.environ[name]} (yours, kept)"
    os.environ[name] = value
    return f"{name}={value}"


def _keep_freed_memory() -> str:
    """Tell glibc to keep freed buffers, unless the user tuned malloc or another allocator is in place."""
    tuned = [name for name in os.environ if name.startswith("MALLOC_") or name == "GLIBC_TUNABLES"]
    if tuned or "LD_PRELOAD" in os.environ:
        return f"malloc: yours, kept ({', '.join(tuned) or 'LD_PRELOAD'})"
    if platform.libc_ver()[0] != "glibc":
        return "malloc: not glibc, left alone"
    mallopt = ctypes.CDLL(None).mallopt
    settings = (
        (_M_MMAP_THRESHOLD, _LARGEST_INT),
        (_M_TRIM_THRESHOLD, _LARGEST_INT),
        (_M_TOP_PAD, _TOP_PAD_BYTES),
        # One heap for all threads: students that compute side by side would each keep a heap of a whole step.
        (_M_ARENA_MAX, 1),
    )
    done = all(mallopt(parameter, value) for parameter, value in settings)
    global _memory_is_kept
    _memory_is_kept = done
    return "malloc: freed buffers are kept" if done else "malloc: glibc refused the thresholds, left alone"


def _is_amd() -> bool:
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and "AuthenticAMD" in cpuinfo.read_text(errors="replace")


def _cgroup_quota() -> int | None:
    """Whole cores of the container's quota (cgroup v2), or None without one."""
    quota = Path("/sys/fs/cgroup/cpu.max")
    if not quota.is_file():
        return None
    amount, _, period = quota.read_text().strip().partition(" ")
    return None if amount == "max" else max(1, int(amount) // int(period or 100_000))
