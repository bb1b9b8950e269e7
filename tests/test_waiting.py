"""How often a step makes the host wait for the device: every reading of a tensor's values is counted."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paddle
import pytest
import tiny
from test_batches import Copies, to_tensor

from ocr_cml import batches, optim
from ocr_cml.assemble import teachers
from ocr_cml.runtime import LayerDetector
from ocr_cml.trainer import Trainer
from ppocr_data.errors import UserError

READINGS = ("numpy", "item", "tolist", "__float__", "__int__", "__bool__", "__index__", "__array__", "cpu")


@contextmanager
def counted() -> Iterator[list[str]]:
    """The names of the methods that read from the device meanwhile; one that calls another counts once."""
    seen: list[str] = []
    depth = [0]
    plain = {name: getattr(paddle.Tensor, name) for name in READINGS if hasattr(paddle.Tensor, name)}

    def noting(name: str) -> Any:
        def read(*arguments: Any, **named: Any) -> Any:
            if not depth[0]:
                seen.append(name)
            depth[0] += 1
            try:
                return plain[name](*arguments, **named)
            finally:
                depth[0] -= 1

        return read

    for name in plain:
        setattr(paddle.Tensor, name, noting(name))
    try:
        yield seen
    finally:
        for name, method in plain.items():
            setattr(paddle.Tensor, name, method)


def waits(trainer: Trainer, steps: int) -> list[int]:
    """Readings of each of the next steps."""
    found = []
    trainer.cohort.train()
    with trainer.batches() as batches:
        for _ in range(steps):
            with counted() as seen:
                trainer.step(batches)
            found.append(len(seen))
    return found


def settings(tiny_set: Path, tmp_path: Path, teacher: Path, **sections: Any) -> dict[str, Any]:
    data = tiny.settings(
        tiny_set, tmp_path / "run", terms=[tiny.LABELS, tiny.MUTUAL, tiny.TEACHER], teacher=teacher, **sections
    )
    data["Global"] |= {"max_steps": 100, "print_batch_step": 4, "save_batch_step": 6, "eval_batch_step": [0, 50]}
    return data


@pytest.fixture(autouse=True)
def layer_teacher(monkeypatch: pytest.MonkeyPatch) -> None:
    """The teacher as it is on a GPU: the network itself."""
    monkeypatch.setattr(
        teachers, "fastest", lambda layer, normalization, threads, source: LayerDetector(layer, normalization, source)
    )


def test_the_count_sees_readings() -> None:
    one = paddle.ones([1])
    with counted() as seen:
        float(one)
        one.numpy()
        assert one.item() == 1
        assert bool(one > 0)
        one + one
    assert len(seen) == 4


def test_on_a_cpu_every_step_looks_once(tiny_set: Path, tmp_path: Path, tiny_teacher: Path) -> None:
    with tiny.Run(settings(tiny_set, tmp_path, tiny_teacher)) as trainer:
        assert waits(trainer, 4) == [1, 1, 1, 1]


def test_on_a_gpu_only_steps_look_after_which_something_is_shown_or_written(
    tiny_set: Path, tmp_path: Path, tiny_teacher: Path
) -> None:
    """Log points are steps 4 and 8, a save is due after step 6."""
    with tiny.Run(settings(tiny_set, tmp_path, tiny_teacher), use_amp=False) as trainer:
        trainer.device = "gpu:0"
        assert waits(trainer, 8) == [0, 0, 0, 1, 0, 1, 0, 1]


def test_on_a_gpu_nothing_is_copied_to_the_device_in_a_way_that_waits(
    tiny_set: Path, tmp_path: Path, tiny_teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`to_tensor` waits until what the device was given before is done. Only the checks at log points use it."""
    sent: list[Any] = []
    monkeypatch.setattr(batches, "copier_here", Copies)
    monkeypatch.setattr(optim, "fuses", lambda *_: True)
    with tiny.Run(settings(tiny_set, tmp_path, tiny_teacher), use_amp=False) as trainer:
        trainer.device = "gpu:0"
        waits(trainer, 1)  # the normalisation's factors are sent once
        monkeypatch.setattr(paddle, "to_tensor", lambda *given, **named: sent.append(1) or to_tensor(*given, **named))
        assert waits(trainer, 2) == [0, 0]
        assert sent == []
        assert waits(trainer, 1) == [1]
        assert sent == [1]


def test_on_a_gpu_bfloat16_and_clipping_wait_no_more(tiny_set: Path, tmp_path: Path, tiny_teacher: Path) -> None:
    data = settings(tiny_set, tmp_path, tiny_teacher, Optimizer__clip_norm=1.0, Optimizer__ema_decay=0.9)
    with tiny.Run(data) as trainer:
        trainer.device, trainer.gradients.amp = "gpu:0", True
        assert waits(trainer, 4) == [0, 0, 0, 1]


@pytest.mark.parametrize("mode", ["drop", "restart"])
def test_on_a_gpu_every_step_looks_where_a_student_may_be_left_out(
    mode: str, tiny_set: Path, tmp_path: Path, tiny_teacher: Path
) -> None:
    data = settings(tiny_set, tmp_path, tiny_teacher)
    with tiny.Run(data, use_amp=False, on_divergence=mode) as trainer:
        trainer.device = "gpu:0"
        assert waits(trainer, 2) == [1, 1]


def test_on_a_gpu_trouble_is_named_at_the_next_log_point_and_never_saved(
    tiny_set: Path, tmp_path: Path, tiny_teacher: Path
) -> None:
    with tiny.Run(settings(tiny_set, tmp_path, tiny_teacher), use_amp=False) as trainer:
        trainer.device = "gpu:0"
        waits(trainer, 4)
        tiny.say(trainer.cohort.students["Student2"], math.nan)
        waits(trainer, 1)
        with pytest.raises(
            UserError, match=r"step 5: .*Student2's weights.*since some step after 4; nothing was saved"
        ):
            trainer.save("latest")
        with pytest.raises(UserError, match=r"step 6: .*Student2's weights are not finite.*it began after step 4"):
            waits(trainer, 1)
    assert not (tmp_path / "run" / "latest").exists()
