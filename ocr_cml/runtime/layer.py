"""A network of ours as a frozen detector."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ocr_cml.inference_yml import InferenceConfig
from ocr_cml.normalization import Normalization
from ocr_cml.runtime.detector import FrozenDetector, check_images

if TYPE_CHECKING:
    from paddle import Tensor

    from ocr_cml.models.detector import Detector, DetOutput


class LayerDetector(FrozenDetector):
    """A network of ours, put into eval mode, on Paddle's current device."""

    engine = "layer"

    def __init__(self, layer: Detector, normalization: Normalization, source: str = "network") -> None:
        super().__init__(source, InferenceConfig(normalization=normalization))
        self.layer = layer
        layer.eval()

    def output(self, images: np.ndarray | Tensor) -> DetOutput:
        """Everything the network says about uint8 BGR `[N,H,W,3]`: logits and features, without gradient."""
        import paddle

        if isinstance(images, np.ndarray):
            check_images(images)
        with paddle.no_grad():
            return self.layer(self.normalization.to_device(images))

    def _run(self, images: np.ndarray) -> np.ndarray:
        import paddle

        with paddle.no_grad():
            return self.layer.probability(self.normalization.to_device(images)).numpy()
