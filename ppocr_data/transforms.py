"""The transforms of a training or evaluation list, by PaddleOCR's names; `build_ops` makes them of such a list.

Pixels stay uint8, BGR and `[H,W,3]` through all of them: normalising and turning to `[3,H,W]` is done on the device,
for a whole batch at once. NormalizeImage states the numbers for that; ToCHWImage and KeepKeys are accepted, checked,
and do nothing.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
from pydantic import Field, field_validator

from ppocr_data.augment import ColorJitter, CopyPaste, IaaAugment
from ppocr_data.crop import Crop, EastRandomCropData, RandomWindow
from ppocr_data.decode import DecodeImage
from ppocr_data.errors import ConfigError
from ppocr_data.op import STRIDE, Op, Record
from ppocr_data.targets import MakeBorderMap, MakeShrinkMap, check_shrink_ratios


class DetLabelEncode(Op):
    """Accepted for PaddleOCR's lists. Labels are read and checked when the data set is opened, see `labels.py`."""

    takes_pending_warp: ClassVar[bool] = True

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record as it is."""
        return record


class DetResizeForTest(Op):
    """The one resize rule of evaluation, export and inference: that of `paddleocr.TextDetection`, pixel for pixel.

    Both sides become multiples of 32. With `image_shape` the size is fixed. Else the image is scaled by one factor:
    "min" scales up until the shorter side is `limit_side_len`, "max" scales down until the longer side is, and
    "resize_long" brings the longer side to it either way; then each side is rounded.
    """

    limit_side_len: int = Field(default=736, ge=32, description="The limit of the side, in pixels.")
    limit_type: Literal["min", "max", "resize_long"] = Field(
        default="min", description="Which side the limit is for: min, max or resize_long."
    )
    image_shape: tuple[int, int] | None = Field(
        default=None, description="Height and width to resize to, multiples of 32; overrides the limit."
    )
    keep_ratio: bool = Field(
        default=False, description="With image_shape: take its height, and the width that keeps the aspect."
    )
    max_side_limit: int = Field(default=4000, ge=32, description="No side becomes longer than this, in pixels.")

    @field_validator("image_shape")
    @classmethod
    def _check_shape(cls, shape: tuple[int, int] | None) -> tuple[int, int] | None:
        if shape is not None and any(side < STRIDE or side % STRIDE for side in shape):
            raise ValueError(f"image_shape must be [height, width] in multiples of {STRIDE}, is {list(shape)}")
        return shape

    def target_size(self, height: int, width: int) -> tuple[int, int]:
        """The (height, width) that an image of this height and width is brought to, multiples of 32."""
        if height + width < 2 * STRIDE:
            height, width = max(STRIDE, height), max(STRIDE, width)
        if self.image_shape is not None:
            fixed_h, fixed_w = self.image_shape
            return fixed_h, math.ceil(width * fixed_h / height / STRIDE) * STRIDE if self.keep_ratio else fixed_w
        limit, longer, shorter = float(self.limit_side_len), max(height, width), min(height, width)
        ratio = {
            "max": limit / longer if longer > limit else 1.0,
            "min": limit / shorter if shorter < limit else 1.0,
            "resize_long": limit / longer,
        }[self.limit_type]
        new_h, new_w = int(height * ratio), int(width * ratio)
        if max(new_h, new_w) > self.max_side_limit:
            ratio = float(self.max_side_limit) / max(new_h, new_w)
            new_h, new_w = int(new_h * ratio), int(new_w * ratio)
        return max(round(new_h / STRIDE) * STRIDE, STRIDE), max(round(new_w / STRIDE) * STRIDE, STRIDE)

    def resize(self, image: np.ndarray) -> np.ndarray:
        """Resize uint8 `[H,W,3]` to `target_size(H, W)`, bilinearly.

        An image with H + W < 64 is first filled up to 32 with black at the right and bottom, as the runtime does.
        """
        height, width = image.shape[:2]
        new_h, new_w = self.target_size(height, width)
        if height + width < 2 * STRIDE:
            padding = (0, max(0, STRIDE - height), 0, max(0, STRIDE - width))
            image = cv2.copyMakeBorder(image, *padding, cv2.BORDER_CONSTANT)
        return image if image.shape[:2] == (new_h, new_w) else cv2.resize(image, (new_w, new_h))

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Resize the image and state the original (H, W) as `image_hw`; polygons stay in original pixels."""
        image = record["image"]
        return {**record, "image": self.resize(image), "image_hw": image.shape[:2]}


class NormalizeImage(Op):
    """States how pixels are normalised on the device: (pixel * scale - mean) / std, channel by channel in BGR order."""

    scale: float = Field(default=1 / 255, gt=0, description="Factor of the pixels; a number or a quotient like 1./255.")
    mean: tuple[float, float, float] = Field(
        default=(0.485, 0.456, 0.406), description="Mean to subtract from the scaled pixel, for B, G, R."
    )
    std: tuple[float, float, float] = Field(
        default=(0.229, 0.224, 0.225), description="Standard deviation to divide by, for B, G, R."
    )
    order: Literal["hwc", "chw"] = Field(default="hwc", description="Accepted for PaddleOCR's lists; has no effect.")

    @field_validator("scale", mode="before")
    @classmethod
    def _quotient(cls, scale: Any) -> Any:
        found = re.fullmatch(r"\s*([\d.]+)\s*/\s*([\d.]+)\s*", scale) if isinstance(scale, str) else None
        return float(found[1]) / float(found[2]) if found and float(found[2]) else scale

    @field_validator("std")
    @classmethod
    def _positive(cls, std: tuple[float, float, float]) -> tuple[float, float, float]:
        if min(std) <= 0:
            raise ValueError(f"std must be positive, is {list(std)}")
        return std

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record as it is."""
        return record


class ToCHWImage(Op):
    """Accepted for PaddleOCR's lists: the layout is changed on the device."""

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record as it is."""
        return record


class KeepKeys(Op):
    """Accepted for PaddleOCR's lists: what a batch holds is fixed."""

    keep_keys: list[str] = Field(default=[], description="Accepted for PaddleOCR's lists; has no effect.")

    def __call__(self, record: Record, rng: np.random.Generator) -> Record:
        """Return the record as it is."""
        return record


OPS: dict[str, type[Op]] = {
    "DecodeImage": DecodeImage,
    "DetLabelEncode": DetLabelEncode,
    "CopyPaste": CopyPaste,
    "IaaAugment": IaaAugment,
    "ColorJitter": ColorJitter,
    "EastRandomCropData": EastRandomCropData,
    "RandomWindow": RandomWindow,
    "MakeBorderMap": MakeBorderMap,
    "MakeShrinkMap": MakeShrinkMap,
    "DetResizeForTest": DetResizeForTest,
    "NormalizeImage": NormalizeImage,
    "ToCHWImage": ToCHWImage,
    "KeepKeys": KeepKeys,
}

_EVAL_OPS = ("DecodeImage", "DetLabelEncode", "DetResizeForTest", "NormalizeImage", "ToCHWImage", "KeepKeys")


def build_op(entry: Mapping[str, Any]) -> Op:
    """The transform of one validated list entry, `{name: arguments or None}`."""
    ((name, arguments),) = entry.items()
    return OPS[name].model_validate_json(json.dumps(arguments or {}), strict=True)


def build_ops(entries: Sequence[Mapping[str, Any]]) -> list[Op]:
    """The transforms of a validated list, in its order; see `build_op`."""
    return [build_op(entry) for entry in entries]


def check_train_ops(ops: Sequence[Op]) -> None:
    """Refuse a training list that cannot give batches.

    It must begin with DecodeImage and hold one crop, then MakeShrinkMap and MakeBorderMap (targets are built at the
    crop) with one shrink ratio, each once.

    Raises:
        ConfigError: everything that is wrong with the order, in one message.
    """
    names = [type(op).__name__ for op in ops]
    problems = [] if names[:1] == ["DecodeImage"] else ["the first transform must be DecodeImage"]
    crops = [name for name, op in zip(names, ops, strict=True) if isinstance(op, Crop)]
    if len(crops) != 1:
        known = [name for name, op in OPS.items() if issubclass(op, Crop)]
        told = f", and not {' and '.join(crops)}" if crops else ""
        problems.append(f"one of {' and '.join(known)} must stand in the list once{told}")
    targets = ("MakeShrinkMap", "MakeBorderMap")
    problems += [f"{name} must stand in the list once" for name in targets if names.count(name) != 1]
    if not problems:
        at = names.index(crops[0])
        reshaping = ("CopyPaste", "IaaAugment")
        problems += [f"{name} must follow {crops[0]}" for name in targets if names.index(name) < at]
        problems += [f"{name} must precede {crops[0]}" for name in reshaping if name in names[at:]]
    if "DetResizeForTest" in names:
        problems.append("DetResizeForTest is for evaluation; remove it from the training list")
    if problems:
        raise ConfigError("the training transforms cannot work: " + "; ".join(problems))
    check_shrink_ratios(ops)


def check_eval_ops(ops: Sequence[Op]) -> None:
    """Refuse an evaluation list that changes images at random or does not resize them by one rule.

    Raises:
        ConfigError: everything that is wrong, in one message.
    """
    names = [type(op).__name__ for op in ops]
    problems = [] if names[:1] == ["DecodeImage"] else ["the first transform must be DecodeImage"]
    if names.count("DetResizeForTest") != 1:
        problems.append("DetResizeForTest must stand in the list once")
    strange = [name for name in names if name not in _EVAL_OPS]
    problems += [f"{name} is for training, and no runtime of the exported model has it; remove it" for name in strange]
    if problems:
        raise ConfigError("the evaluation transforms cannot work: " + "; ".join(problems))
