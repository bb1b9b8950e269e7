"""A student's training forward as one compiled program (`paddle.jit.to_static`); everything else runs as before.

The student itself stays what it is: its weights, their names, its eval mode, its export. The program takes the weights
as inputs at every call, writes running statistics in place, and gives gradients to the student's own parameters. Those
that no term reaches get zeros, where without a program they have none: weight decay moves them.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import paddle
from paddle import Tensor, nn

from ocr_cml.models.detector import Detector, DetOutput
from ppocr_data.errors import ModelError


class CompiledStudent:
    """Call it as the student, in training mode, with gradient. It is compiled at the first call for each size.

    Args:
        name: for messages.
        student: the network; whatever assigns to its weights in place is seen by the program.
        with_features: whether some term looks at features. An answer that nobody looks at would be carried through the
            backward pass as zeros.
    """

    def __init__(self, name: str, student: Detector, *, with_features: bool) -> None:
        self.name, self.student = name, student
        maps = _Maps(student, with_features)
        # full_graph: one program, or an error; the other mode falls back to Python wherever it does not understand.
        self._program = paddle.jit.to_static(maps, full_graph=True, backend=None)
        if paddle.get_device() == "cpu":
            # Several threads would fill as many arenas of malloc, which with freed memory kept grow from step to step.
            paddle.set_flags({"FLAGS_new_executor_serial_run": True})
        self._sizes: set[tuple[int, ...]] = set()

    def __call__(self, images: Tensor) -> DetOutput:
        """Normalised images `[N,C,H,W]` -> what the student says.

        Raises:
            ModelError: height or width is not a multiple of the stride, or the network cannot be compiled.
        """
        self.student.check_size(images)
        size = tuple(images.shape)
        if size in self._sizes:
            return self._answer(self._program(images))
        try:
            with _paddle_is_quiet():
                said = self._program(images)
        except Exception as error:
            last = (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
            raise ModelError(
                f"Global.to_static: {self.name} cannot be compiled by paddle {paddle.__version__}: {last}; "
                "set it to false, the network trains without it"
            ) from error
        self._sizes.add(size)
        return self._answer(said)

    def _answer(self, said: dict[str, Any]) -> DetOutput:
        return DetOutput(
            said["shrink"],
            said.get("threshold"),
            features=said["features"],
            k=self.student.k,
            auxiliary={level: self._answer(part) for level, part in said["auxiliary"].items()},
        )


@contextlib.contextmanager
def _paddle_is_quiet() -> Iterator[None]:
    """Without what Paddle's tracing tells of itself: that running statistics take no gradient, and the like."""

    def told(record: logging.LogRecord) -> bool:
        return record.filename != "backward_utils.py"

    root = logging.getLogger()
    root.addFilter(told)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.removeFilter(told)


class _Maps(nn.Layer):
    """The student's answer as nested dicts of tensors, which a program can return.

    A layer of its own: compiling leaves traces in the layer that it is asked for, and students are copied and exported.
    """

    def __init__(self, student: Detector, with_features: bool) -> None:
        super().__init__()
        self.student, self.with_features = student, with_features

    def forward(self, images: Tensor) -> dict[str, Any]:
        return self._parts(self.student(images))

    def _parts(self, output: DetOutput) -> dict[str, Any]:
        parts: dict[str, Any] = {"shrink": output.shrink_logit}
        if output.threshold_logit is not None:
            parts["threshold"] = output.threshold_logit
        parts["features"] = dict(output.features) if self.with_features else {}
        parts["auxiliary"] = {level: self._parts(part) for level, part in output.auxiliary.items()}
        return parts
