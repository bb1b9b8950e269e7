"""The work that is compared: PP-OCRv2's collaborative mutual learning, as its configuration states it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

CROP = 640

STUDENT: dict[str, Any] = {
    "Backbone": {"name": "MobileNetV3", "scale": 0.5, "model_name": "large", "disable_se": True},
    "Neck": {"name": "DBFPN", "out_channels": 96},
    "Head": {"name": "DBHead", "k": 50},
}
TEACHER: dict[str, Any] = {
    "Backbone": {"name": "ResNet_vd", "layers": 18},
    "Neck": {"name": "DBFPN", "out_channels": 256},
    "Head": {"name": "DBHead", "k": 50},
}


def transforms(crop: int = CROP) -> list[dict[str, Any]]:
    """The training list of `ch_PP-OCRv2_det_cml.yml`, with another crop."""
    steps: Sequence[dict[str, Any]] = [
        {"type": "Fliplr", "args": {"p": 0.5}},
        {"type": "Affine", "args": {"rotate": [-10, 10]}},
        {"type": "Resize", "args": {"size": [0.5, 3]}},
    ]
    normalize = {"scale": "1./255.", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225], "order": "hwc"}
    return [
        {"DecodeImage": {"img_mode": "BGR", "channel_first": False}},
        {"DetLabelEncode": None},
        {"CopyPaste": None},
        {"IaaAugment": {"augmenter_args": list(steps)}},
        {"EastRandomCropData": {"size": [crop, crop], "max_tries": 50, "keep_ratio": True}},
        {"MakeBorderMap": {"shrink_ratio": 0.4, "thresh_min": 0.3, "thresh_max": 0.7}},
        {"MakeShrinkMap": {"shrink_ratio": 0.4, "min_text_size": 8}},
        {"NormalizeImage": normalize},
    ]


def teacher_weights(folder: Path) -> Path:
    """A file of weights for `TEACHER`, from a seed: what it answers is noise, how long it takes is not."""
    import paddle

    from ocr_cml.models import build_detector
    from ocr_cml.models.weight_files import save_weights

    path = folder / "teacher.safetensors"
    if not path.is_file():
        paddle.seed(1)
        network = build_detector(TEACHER)
        save_weights({name: value.numpy() for name, value in network.state_dict().items()}, path)
    return path
