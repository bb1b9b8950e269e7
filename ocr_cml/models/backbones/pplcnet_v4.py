"""PPLCNetV4: the backbone of PP-OCRv6's detectors (PaddleOCR): in each block a depthwise mixer, then a pointwise one.

The depthwise convolution trains as a sum of three branches (Ding et al., RepVGG, CVPR 2021) and is exported as one.
"""

from __future__ import annotations

import numpy as np
from paddle import Tensor, nn

from ocr_cml.models.blocks import Block
from ocr_cml.models.convolutions import Conv2D
from ocr_cml.models.layers import BranchedStem, ConvBN, Fusible, SqueezeExcite, fold_batch_norm, require_one_of
from ppocr_data.errors import ModelError

# stem: middle and output channels; then the width of each of the four stages
_WIDTHS = {"tiny": (16, 32, 48, 64, 160), "small": (24, 48, 96, 192, 384), "medium": (64, 128, 256, 512, 896)}
_DEPTHS = (2, 3, 5, 3)
_KERNEL = 3


class _RepDepthwise(Fusible):
    """Normalisation of the sum of a 3x3 depthwise convolution (normalised), a 1x1 one and the input itself."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.conv = ConvBN(channels, channels, _KERNEL, groups=channels)
        self.conv1 = Conv2D(channels, channels, 1, groups=channels, bias_attr=False)
        self.bn = nn.BatchNorm2D(channels)
        self.fused: Conv2D | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.fused is not None:
            return self.fused(x)
        return self.bn(self.conv(x) + self.conv1(x) + x)

    def fuse(self) -> None:
        """Replaces the branches and the normalisation after them by one convolution, summed in float64."""
        if self.fused is not None:
            return
        kernel, bias = fold_batch_norm(self.conv.conv.weight.numpy(), self.conv.bn)
        kernel[:, :, _KERNEL // 2, _KERNEL // 2] += 1 + self.conv1.weight.numpy()[:, :, 0, 0]
        gain, shift = fold_batch_norm(np.ones((self.channels, 1, 1, 1)), self.bn)
        fused = Conv2D(self.channels, self.channels, _KERNEL, padding=_KERNEL // 2, groups=self.channels)
        fused.weight.set_value((kernel * gain).astype("float32"))
        fused.bias.set_value((shift + bias * gain.ravel()).astype("float32"))
        del self.conv, self.conv1, self.bn
        self.fused = fused


class _Block(Block):
    """Depthwise and optional squeeze-excite, then pointwise to twice the width and back; residual in its second half.

    The residual's last scale starts at zero, so that a fresh block passes on what the depthwise part gives.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, use_se: bool) -> None:
        super().__init__()
        self.residual = inputs == outputs and stride == 1
        if self.residual:
            mixer: list[tuple[str, nn.Layer]] = [("rep_dw", _RepDepthwise(inputs))]
        else:
            mixer = [("dw_conv", ConvBN(inputs, inputs, _KERNEL, stride, groups=inputs))]
        if use_se:
            mixer.append(("se", SqueezeExcite(inputs, slope=0.1666667)))
        self.token_mixer = nn.Sequential(*mixer)
        compress = ConvBN(inputs * 2, outputs, 1)
        if self.residual:
            nn.initializer.Constant(0.0)(compress.bn.weight)
        self.channel_mixer = nn.Sequential(
            ("expand", ConvBN(inputs, inputs * 2, 1)), ("act", nn.GELU()), ("compress", compress)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.token_mixer(x)
        return x + self.channel_mixer(x) if self.residual else self.channel_mixer(x)


class PPLCNetV4(nn.Layer):
    """Four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input [N,in_channels,H,W]; H, W multiples of 32.

    Args:
        in_channels: channels of the image.
        model_size: tiny, small or medium.
        det: true is the detector's form; false, the recogniser's and PaddleOCR's default, is refused.

    Raises:
        ModelError: another size, or the recogniser's form.
    """

    def __init__(self, in_channels: int = 3, model_size: str = "small", det: bool = True) -> None:
        super().__init__()
        if det is not True:
            raise ModelError("det: false is the recogniser's PPLCNetV4; a detector needs det: true")
        require_one_of("model_size", model_size, _WIDTHS)
        middle, *widths = _WIDTHS[model_size]
        self.stem = BranchedStem(in_channels, middle, widths[0])
        self.out_channels = widths
        inputs = widths[0]
        for stage, (depth, width) in enumerate(zip(_DEPTHS, widths, strict=True)):
            blocks = []
            for index in range(depth):
                halve = stage > 0 and index == 0
                # Squeeze-excite in every other block of those that keep the size.
                use_se = not halve and (index - (stage > 0)) % 2 == 0
                blocks.append(_Block(inputs, width, 2 if halve else 1, use_se))
                inputs = width
            self.add_sublayer(f"blocks_s{stage + 1}", nn.Sequential(*blocks))

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        features = []
        for stage in (self.blocks_s1, self.blocks_s2, self.blocks_s3, self.blocks_s4):
            x = stage(x)
            features.append(x)
        return features
