"""Backbones: an image [N,3,H,W] -> four feature maps at 1/4, 1/8, 1/16, 1/32, with their widths in `out_channels`."""

from __future__ import annotations

from paddle import nn

from ocr_cml.models.backbones.mobilenet_v3 import MobileNetV3
from ocr_cml.models.backbones.pphgnet_v2 import PPHGNet_small, PPHGNetV2_B4
from ocr_cml.models.backbones.pplcnet_v3 import PPLCNetV3
from ocr_cml.models.backbones.pplcnet_v4 import PPLCNetV4
from ocr_cml.models.backbones.resnet_vd import ResNet_vd

BACKBONES: dict[str, type[nn.Layer]] = {
    "MobileNetV3": MobileNetV3,
    "ResNet_vd": ResNet_vd,
    "PPLCNetV3": PPLCNetV3,
    "PPLCNetV4": PPLCNetV4,
    "PPHGNet_small": PPHGNet_small,
    "PPHGNetV2_B4": PPHGNetV2_B4,
}
