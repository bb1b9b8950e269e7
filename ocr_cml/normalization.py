"""How pixels become a network's input: one rule for training, evaluation and the runtime."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal

import cv2
import numpy as np

if TYPE_CHECKING:
    from paddle import Tensor


@dataclass(frozen=True)
class Normalization:
    """How uint8 pixels become the network's input: (pixel * scale - mean) / std, channel by channel.

    Attributes:
        mean, std: for the first, second and third channel as the network sees them.
        scale: factor of the pixels.
        channel_order: the order in which the network sees the channels. Our images are always BGR. PaddleOCR's
            detectors are given BGR too, with numbers that were once measured for RGB; so are ours.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 1 / 255
    channel_order: Literal["BGR", "RGB"] = "BGR"

    @property
    def factors(self) -> tuple[np.ndarray, np.ndarray]:
        """float32 `[3]` each: what a pixel is multiplied by, and what is then added, as the runtime computes them."""
        factor = [self.scale / std for std in self.std]
        added = [-mean / std for mean, std in zip(self.mean, self.std, strict=True)]
        return np.array(factor, np.float32), np.array(added, np.float32)

    def apply(self, images: np.ndarray) -> np.ndarray:
        """uint8 BGR `[N,H,W,3]` -> float32 `[N,3,H,W]`, bit for bit what the runtime feeds its network."""
        count, height, width, _ = images.shape
        out = np.empty((count, 3, height, width), np.float32)
        for channel, (factor, added) in enumerate(zip(*self.factors, strict=True)):
            source = channel if self.channel_order == "BGR" else 2 - channel
            value_of = np.arange(256, dtype=np.float32) * factor + added
            for index, image in enumerate(images):
                cv2.LUT(cv2.extractChannel(image, source), value_of, dst=out[index, channel])
        return out

    def to_device(self, images: np.ndarray | Tensor) -> Tensor:
        """The same on Paddle's current device; a GPU is sent the bytes, a quarter of the floats, or has them."""
        import paddle

        if isinstance(images, np.ndarray):
            if paddle.get_device() == "cpu":
                return paddle.to_tensor(self.apply(images))
            images = paddle.to_tensor(images)
        factor, added = _factors_on(paddle.get_device(), self)
        pixels = images.transpose([0, 3, 1, 2]).astype("float32")
        return (pixels if self.channel_order == "BGR" else pixels.flip(axis=1)) * factor + added


@cache
def _factors_on(device: str, normalization: Normalization) -> tuple[Tensor, Tensor]:
    """The factors as `[1,3,1,1]`, sent to Paddle's current device once: each time the host would wait for it."""
    import paddle

    factor, added = (paddle.to_tensor(values).reshape([1, 3, 1, 1]) for values in normalization.factors)
    return factor, added
