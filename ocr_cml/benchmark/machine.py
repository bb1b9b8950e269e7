"""What stands above the table: the machine, threads and versions, and how busy the machine was."""

from __future__ import annotations

import os
import platform
from datetime import datetime, timezone
from pathlib import Path

from ocr_cml.environment import cpu_cores, cpu_environment, version_of

_PACKAGES = ("paddlepaddle", "onnxruntime", "opencv-contrib-python", "numpy", "shapely", "pyclipper", "paddleocr")


def describe() -> list[str]:
    """Lines for people."""
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    settings = ", ".join(f"{name}={value}" for name, value in cpu_environment().items())
    versions = [f"{name} {version_of(name, absent='absent')}" for name in _PACKAGES]
    return [
        f"date: {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC{load} (other jobs spoil absolute numbers)",
        f"machine: {_processor()}, {cpu_cores()} cores for this process, {_memory_gib()} GiB; {platform.platform()}",
        f"threads: ours {settings} and its own malloc settings, PaddleOCR as it is unless the column says otherwise",
        f"versions: Python {platform.python_version()}, {', '.join(versions)}",
    ]


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
