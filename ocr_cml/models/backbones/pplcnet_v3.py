"""PPLCNetV3: the backbone of PP-OCRv4's and v5's mobile detectors (PaddleOCR; built on PP-LCNet, arXiv 2109.15099).

Each convolution trains as a sum of parallel branches (Ding et al., RepVGG, CVPR 2021) and is exported as one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, Tensor, nn

from ocr_cml.models.blocks import Block
from ocr_cml.models.convolutions import Conv2D
from ocr_cml.models.layers import ConvBN, Fusible, SqueezeExcite, fold_batch_norm, make_divisible
from ppocr_data.errors import ModelError

# per stage: kernel, input channels, output channels, stride, squeeze-excite
_STAGES: dict[str, tuple[tuple[int, int, int, int, bool], ...]] = {
    "blocks2": ((3, 16, 32, 1, False),),
    "blocks3": ((3, 32, 64, 2, False), (3, 64, 64, 1, False)),
    "blocks4": ((3, 64, 128, 2, False), (3, 128, 128, 1, False)),
    "blocks5": ((3, 128, 256, 2, False), *[(5, 256, 256, 1, False)] * 4),
    "blocks6": ((5, 256, 512, 2, True), (5, 512, 512, 1, True), *[(5, 512, 512, 1, False)] * 2),
}
_OUTPUTS = (16, 24, 56, 480)  # channels of the four feature maps at scale 1


class _Affine(nn.Layer):
    """scale * x + bias with one learnable number each; they learn at `lr` times the usual rate."""

    def __init__(self, lr: float, *, used: bool = True) -> None:
        super().__init__()

        def number(value: float) -> Tensor:
            attribute = ParamAttr(initializer=nn.initializer.Constant(value), learning_rate=lr, trainable=used)
            return self.create_parameter([1], attr=attribute)

        self.scale = number(1.0)
        self.bias = number(0.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


class _Act(nn.Layer):
    """Hard swish, then a learnable affine map."""

    def __init__(self, lr: float, *, used: bool) -> None:
        super().__init__()
        self.lab = _Affine(lr, used=used)

    def forward(self, x: Tensor) -> Tensor:
        return self.lab(F.hardswish(x))


class _RepConv(Fusible):
    """Sum of several kxk branches, a 1x1 branch and, where the shape is kept, an identity; affine; activation.

    A layer of stride 2 has no activation. Its parameters exist all the same in PaddleOCR's checkpoints; they are kept
    under their names and marked as not trainable.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, groups: int, branches: int, lr: float, lab_lr: float
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.groups = kernel, stride, groups

        def branch(size: int) -> ConvBN:
            init = nn.initializer.KaimingNormal()
            return ConvBN(inputs, outputs, size, stride, groups, init=init, lr_mult=lr, decay_norm=False)

        attributes = {name: ParamAttr(learning_rate=lr) for name in ("weight_attr", "bias_attr")}
        keeps_shape = inputs == outputs and stride == 1
        self.identity = nn.BatchNorm2D(inputs, **attributes) if keeps_shape else None
        self.conv_kxk = nn.LayerList([branch(kernel) for _ in range(branches)])
        self.conv_1x1 = branch(1) if kernel > 1 else None
        self.lab = _Affine(lr * lab_lr)
        self.act = _Act(lr * lab_lr, used=stride != 2)
        self.fused: Conv2D | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.fused(x) if self.fused is not None else self.lab(self._branches(x))
        return y if self.stride == 2 else self.act(y)

    def _branches(self, x: Tensor) -> Tensor:
        terms = [conv(x) for conv in self.conv_kxk]
        terms += [layer(x) for layer in (self.conv_1x1, self.identity) if layer is not None]
        return paddle.add_n(terms) if len(terms) > 1 else terms[0]

    def fuse(self) -> None:
        """Replaces the branches and the affine map after them by one convolution, summed in float64."""
        if self.fused is not None:
            return
        parts = [fold_batch_norm(conv.conv.weight.numpy(), conv.bn) for conv in self.conv_kxk]
        outputs, inputs = parts[0][0].shape[:2]
        margin = self.kernel // 2
        if self.conv_1x1 is not None:
            point, bias = fold_batch_norm(self.conv_1x1.conv.weight.numpy(), self.conv_1x1.bn)
            parts.append((np.pad(point, ((0, 0), (0, 0), (margin, margin), (margin, margin))), bias))
        if self.identity is not None:
            unit = np.zeros((outputs, inputs, self.kernel, self.kernel))
            unit[np.arange(outputs), np.arange(outputs) % inputs, margin, margin] = 1
            parts.append(fold_batch_norm(unit, self.identity))
        scale, shift = float(self.lab.scale), float(self.lab.bias)
        self.fused = Conv2D(inputs * self.groups, outputs, self.kernel, self.stride, padding=margin, groups=self.groups)
        self.fused.weight.set_value((np.sum([kernel for kernel, _ in parts], axis=0) * scale).astype("float32"))
        self.fused.bias.set_value((np.sum([bias for _, bias in parts], axis=0) * scale + shift).astype("float32"))
        del self.conv_kxk, self.lab
        self.conv_1x1 = self.identity = None


class _Block(Block):
    """Depthwise, optional squeeze-excite, pointwise."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int, use_se: bool, branches: int, lr: float, lab_lr: float
    ) -> None:
        super().__init__()
        self.dw_conv = _RepConv(inputs, inputs, kernel, stride, inputs, branches, lr, lab_lr)
        self.se = SqueezeExcite(inputs, slope=0.1666667, lr_mult=lr) if use_se else None
        self.pw_conv = _RepConv(inputs, outputs, 1, 1, 1, branches, lr, lab_lr)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dw_conv(x)
        return self.pw_conv(x if self.se is None else self.se(x))


class PPLCNetV3(nn.Layer):
    """Four feature maps at 1/4, 1/8, 1/16 and 1/32 of the input [N,in_channels,H,W]; H, W multiples of 32.

    Args:
        in_channels: channels of the image.
        scale: width multiplier, 0.1 or more; PP-OCRv4's mobile detector has 0.75.
        conv_kxk_num: parallel kxk branches of each convolution while training.
        lr_mult_list: factors on the learning rate of the stem and the five stages.
        lab_lr: further factor on the learning rate of the affine maps.
        det: true is the detector's strides; false, the recogniser's, is refused.

    Raises:
        ModelError: an argument outside its range, or the recogniser's form.
    """

    def __init__(
        self,
        in_channels: int = 3,
        scale: float = 1.0,
        conv_kxk_num: int = 4,
        lr_mult_list: Sequence[float] = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0),
        lab_lr: float = 0.1,
        det: bool = True,
    ) -> None:
        super().__init__()
        if det is not True:
            raise ModelError("det: false is the recogniser's PPLCNetV3; a detector needs det: true")
        if not isinstance(scale, (int, float)) or isinstance(scale, bool) or not scale >= 0.1:
            raise ModelError(f"scale: {scale!r} must be a number, at least 0.1")
        if not isinstance(conv_kxk_num, int) or conv_kxk_num < 1:
            raise ModelError(f"conv_kxk_num: {conv_kxk_num!r} must be a positive integer")
        if len(lr_mult_list) != 6:
            raise ModelError(f"lr_mult_list: {list(lr_mult_list)} must have six factors, for the stem and five stages")
        init = nn.initializer.KaimingNormal()
        self.conv1 = ConvBN(
            in_channels, make_divisible(16 * scale, 16), 3, 2, init=init, lr_mult=lr_mult_list[0], decay_norm=False
        )
        widths = []
        for (name, rows), lr in zip(_STAGES.items(), lr_mult_list[1:], strict=True):
            blocks = [
                _Block(
                    make_divisible(inputs * scale, 16),
                    make_divisible(outputs * scale, 16),
                    kernel,
                    stride,
                    use_se,
                    conv_kxk_num,
                    lr,
                    lab_lr,
                )
                for kernel, inputs, outputs, stride, use_se in rows
            ]
            self.add_sublayer(name, nn.Sequential(*blocks))
            widths.append(make_divisible(rows[-1][2] * scale, 16))
        self.out_channels = [int(channels * scale) for channels in _OUTPUTS]
        self.layer_list = nn.LayerList([Conv2D(w, c, 1) for w, c in zip(widths[1:], self.out_channels, strict=True)])

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.blocks2(self.conv1(x))
        features = []
        for i, stage in enumerate((self.blocks3, self.blocks4, self.blocks5, self.blocks6)):
            x = stage(x)
            features.append(self.layer_list[i](x))
        return features
