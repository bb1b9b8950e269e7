"""A batch's labels as the terms want them: float maps on the device, and masks that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from paddle import Tensor

from ocr_cml.batches import on_device
from ppocr_data.loader import Batch


@dataclass(frozen=True)
class Targets:
    """A batch's labels on the device. All maps are float32 `[N,1,H,W]`.

    Attributes:
        shrink_map: S, 1 inside shrunken text, else 0.
        shrink_mask: 0 on don't-care text, else 1.
        threshold_map: the border band's values, in [0, 1].
        threshold_mask: 1 on the border band, else 0.
        has_label: `[N,1,1,1]`, 1 for labelled images, 0 for the others, whose maps mean nothing.
    """

    shrink_map: Tensor
    shrink_mask: Tensor
    threshold_map: Tensor
    threshold_mask: Tensor
    has_label: Tensor

    @cached_property
    def label_mask(self) -> Tensor:
        """1 where a label teaches: labelled images without their don't-care text. Computed once a batch."""
        return self.shrink_mask * self.has_label

    @cached_property
    def label_text(self) -> Tensor:
        """1 on labelled text that counts. Computed once a batch."""
        return self.shrink_map * self.label_mask

    @cached_property
    def care_mask(self) -> Tensor:
        """1 everywhere but on the don't-care text of labelled images: what terms between networks may look at."""
        return 1.0 - (1.0 - self.shrink_mask) * self.has_label


def decode_targets(batch: Batch) -> Targets:
    """Decode a loader's uint8 `[N,H,W]` maps on the device, which are sent a quarter of the bytes of float32."""

    def decode(name: str) -> Tensor:
        return on_device(batch, name).unsqueeze(1).astype("float32")

    return Targets(
        shrink_map=decode("shrink_map"),
        shrink_mask=decode("shrink_mask"),
        threshold_map=decode("threshold_map") / 255.0,
        threshold_mask=decode("threshold_mask"),
        has_label=on_device(batch, "has_label").astype("float32").reshape([-1, 1, 1, 1]),
    )
