"""The base of every transform: an op is its own config schema."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

STRIDE = 32
"""Images for the networks have sides that are multiples of this."""

Record = dict[str, Any]
"""One sample on its way through the ops. Keys:

image        uint8 `[H,W,3]` BGR, after DecodeImage
polygons     list of float32 `[K,2]`, pixels of `image` (of the original image after DetResizeForTest), K >= 3
ignore       bool `[P]`, True = don't care
texts        list of str, P long
source       str, where the label stands ("labels.txt:12")
path         Path of the image file
epoch        int >= 0
ext          callable `(rng) -> Record | None`: another decoded, labelled sample, for CopyPaste; may be absent
defer_warp   True where a crop is to follow: then IaaAugment moves the polygons and leaves the pixels to what follows
warp         Warp that `image` still waits for, None or absent where it and the polygons agree; only an op that
             `takes_pending_warp` meets one
image_hw     (H, W) of the original image, after DetResizeForTest
shrink_map, shrink_mask, threshold_map, threshold_mask: uint8 `[H,W]`, after MakeShrinkMap and MakeBorderMap
"""


class Op(BaseModel):
    """A transform of one record. Its fields are its YAML arguments, under PaddleOCR's names.

    An op never changes the record or the arrays it is given: it returns a new mapping. All its chance comes from
    `rng`, which depends on (seed, epoch, index) alone, so a sample does not depend on workers, ranks or order.

    Attributes:
        takes_pending_warp: True for an op that may be given a record whose image still waits for its `warp`, because
            it never looks at pixels and polygons together, or carries the warp out itself. Before every other op the
            data set carries it out, so that polygons are pixels of `image`.
    """

    takes_pending_warp: ClassVar[bool] = False

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the transformed record. Raises DataError where the sample cannot be used."""
        raise NotImplementedError


_Op = TypeVar("_Op", bound=Op)


def first_of(ops: Iterable[Op], kind: type[_Op]) -> _Op | None:
    """The first transform of a kind; None where there is none."""
    return next((op for op in ops if isinstance(op, kind)), None)
