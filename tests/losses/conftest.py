"""Inputs by formula, so that every expected value can be computed from the test alone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import paddle
import pytest

from ocr_cml.losses import Targets
from ocr_cml.models.detector import DetOutput


def wave(shape: tuple[int, ...], frequency: float, phase: float = 0.0) -> np.ndarray:
    """sin of the running index: a deterministic array without structure along any one axis."""
    return np.sin(np.arange(np.prod(shape), dtype=np.float64) * frequency + phase).reshape(shape)


class Inputs:
    """Two networks' outputs and the labels of a small, non-square batch, in numpy and on the device."""

    FEATURES: ClassVar[dict[str, tuple[int, ...]]] = {"backbone.1": (6, 6, 10), "neck": (4, 3, 5)}

    def __init__(self, images: int = 2, height: int = 6, width: int = 10) -> None:
        shape = (images, 1, height, width)
        self.z = 3 * wave(shape, 0.7)
        self.t = wave(shape, 0.3, np.pi / 2)
        self.u = 2 * wave(shape, 0.5, 1.0)
        self.shrink_map = (wave(shape, 0.37) > 0.2).astype(np.float32)
        self.shrink_mask = (wave(shape, 1.3) > -0.9).astype(np.float32)
        self.threshold_map = (0.5 + 0.2 * wave(shape, 0.9)).astype(np.float32)
        self.threshold_mask = (wave(shape, 0.21, np.pi / 2) > 0).astype(np.float32)
        self.has_label = np.ones((images, 1, 1, 1), np.float32)
        self.features = {name: 2 * wave((images, *size), 0.61) for name, size in self.FEATURES.items()}
        self.guide_features = {name: 2 * wave((images, *size), 0.43, 0.5) for name, size in self.FEATURES.items()}

    def targets(self, repeat: int = 1) -> Targets:
        names = ("shrink_map", "shrink_mask", "threshold_map", "threshold_mask", "has_label")
        return Targets(*(paddle.to_tensor(np.concatenate([getattr(self, name)] * repeat)) for name in names))

    def learner(self, dtype: str = "float32", repeat: int = 1) -> DetOutput:
        return self._output(self.z, self.t, self.features, dtype, repeat)

    def guide(self, dtype: str = "float32", repeat: int = 1) -> DetOutput:
        return self._output(self.u, -self.t, self.guide_features, dtype, repeat)

    def _output(self, z: np.ndarray, t: np.ndarray, features: dict, dtype: str, repeat: int) -> DetOutput:
        def leaf(x: np.ndarray) -> paddle.Tensor:
            tensor = paddle.to_tensor(np.concatenate([x] * repeat).astype(np.float32)).astype(dtype).detach()
            tensor.stop_gradient = False
            return tensor

        return DetOutput(leaf(z), leaf(t), {name: leaf(feature) for name, feature in features.items()})


@pytest.fixture
def make_inputs() -> type[Inputs]:
    """`make_inputs(images, height, width)` -> Inputs."""
    return Inputs


@pytest.fixture
def inputs() -> Inputs:
    """Two images of 6x10 pixels."""
    return Inputs()


@pytest.fixture
def differing_in_dont_care_text() -> Inputs:
    """An image without text; the one pixel on which learner and guide differ is don't care: masked, nothing is left."""
    inputs = Inputs(1, 16, 16)
    inputs.shrink_map[:], inputs.shrink_mask[:] = 0, 1
    inputs.u[:], inputs.z[:] = -6.0, -6.0
    inputs.u[0, 0, 8, 8], inputs.shrink_mask[0, 0, 8, 8] = 6.0, 0
    return inputs
