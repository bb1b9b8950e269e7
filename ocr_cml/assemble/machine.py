"""What the machine decides: the device, the precision, what is held, and how many students compute at once."""

from __future__ import annotations

import paddle

from ocr_cml.environment import process_threads, take_back_sigterm
from ocr_cml.schema import Config
from ocr_cml.side_by_side import SideBySide
from ppocr_data.errors import ConfigError


def use_device(config: Config) -> str:
    """Choose the device that Global.use_gpu names; returns `cpu` or `gpu:N`."""
    take_back_sigterm()  # the first that every tool asks of paddle
    wanted = config.Global.use_gpu
    present = paddle.is_compiled_with_cuda() and paddle.device.cuda.device_count() > 0
    if wanted is True and not present:
        raise ConfigError(
            "Global.use_gpu: true, but this machine or this build of paddle has no GPU; use auto, "
            "or install requirements-gpu.txt"
        )
    use = present if wanted == "auto" else bool(wanted)
    return paddle.set_device("gpu" if use else "cpu") and paddle.get_device()


def uses_amp(config: Config, device: str) -> bool:
    """Whether the students' forward runs in mixed precision, which Paddle has on a GPU alone."""
    return device.startswith("gpu") and config.Global.use_amp is not False


def recomputes(config: Config, device: str) -> bool:
    """Whether the students compute the inside of their backbones' blocks anew in the backward pass.

    By default where the activations of several students are held in the memory of the whole machine.
    """
    wanted = config.Global.recompute
    if wanted == "auto":
        several = device == "cpu" and len(config.students) > 1 and config.Loss.update == "synchronous"
        return not config.Global.to_static and (several or config.Global.save_memory)
    return wanted


def side_by_side(config: Config, device: str, processes: int) -> SideBySide:
    """How many students of one of `processes` on this machine compute at the same time.

    Raises:
        ConfigError: Global.students_at_once asks for what cannot be here.
    """
    wanted, threads = config.Global.students_at_once, process_threads(processes)
    against = [
        reason
        for reason, holds in {
            "a GPU computes one student after the other": device != "cpu",
            "Global.to_static's programs take turns": config.Global.to_static,
            "Global.save_memory holds one student's activations": config.Global.save_memory,
            "students of Loss.update: alternating take turns": config.Loss.update == "alternating",
        }.items()
        if holds
    ]
    if wanted == "auto":
        # All of them even where there are fewer cores: three on two cores would else leave one idle half of the time.
        return SideBySide(len(config.students) if threads > 1 and not against else 1, threads)
    if wanted > 1 and against:
        raise ConfigError(
            f"Global.students_at_once: {wanted} cannot be, because {' and '.join(against)}; set it to auto"
        )
    return SideBySide(min(wanted, len(config.students)), threads)
