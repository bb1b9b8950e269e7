"""Heads: the neck's map [N,C,H/4,W/4] -> logits [N,1,H,W] of the shrink map and, while training, the threshold map."""

from __future__ import annotations

from collections.abc import Sequence

import paddle
import paddle.nn.functional as F
from paddle import ParamAttr, Tensor, nn

from ocr_cml.models.convolutions import Conv2D, Conv2DTranspose
from ocr_cml.models.layers import ConvBN, require_one_of, upsample_nearest
from ppocr_data.errors import ModelError

LAST_SHARE = 0.25
"""Of the usual weights, what those of the last layer start with: logits within a unit of zero, none saturated."""

AUXILIARY = ("p2", "p3", "p4")
"""The levels of a neck, at 1/4, 1/8 and 1/16, that auxiliary branches answer from."""


def mean_logit(a: Tensor, b: Tensor) -> Tensor:
    """The logit of the mean of two probabilities, (sigmoid(a) + sigmoid(b)) / 2, from their logits; same shape.

    log(s(a) + s(b)) - log(s(-a) + s(-b)) with log(e^x + e^y) = m + log(e^(x - m) + e^(y - m)), m the larger of the two:
    finite wherever a and b are, and without cancellation.
    """

    def log_sum(x: Tensor, y: Tensor) -> Tensor:
        larger = paddle.maximum(x, y).detach()  # whose gradient is none of the sum's
        return larger + paddle.log(paddle.exp(x - larger) + paddle.exp(y - larger))

    return log_sum(F.log_sigmoid(a), F.log_sigmoid(b)) - log_sum(F.log_sigmoid(-a), F.log_sigmoid(-b))


def without_nan(x: Tensor) -> Tensor:
    """x with 0 in place of NaN, through which no gradient flows."""
    return paddle.where(paddle.isnan(x), paddle.zeros_like(x), x)


class _MapBranch(nn.Layer):
    """Convolution and two transposed convolutions, from 1/4 of the resolution to a logit a pixel."""

    def __init__(self, in_channels: int, kernel_list: Sequence[int], fix_nan: bool) -> None:
        super().__init__()
        channels = in_channels // 4
        self.fix_nan = fix_nan
        self.conv1 = Conv2D(in_channels, channels, kernel_list[0], padding=kernel_list[0] // 2, bias_attr=False)
        self.conv_bn1 = self._norm(channels)
        self.conv2 = self._double(channels, channels)
        self.conv_bn2 = self._norm(channels)
        self.conv3 = self._double(channels, 1)

    @staticmethod
    def _norm(channels: int) -> nn.BatchNorm2D:
        return nn.BatchNorm2D(channels, bias_attr=ParamAttr(initializer=nn.initializer.Constant(1e-4)))

    @staticmethod
    def _double(inputs: int, outputs: int) -> Conv2DTranspose:
        """Twice the resolution; the places that a pixel becomes start alike, as if it were repeated.

        Started one by one (as by PaddleOCR, whose limit moreover counts the places and not the inputs), the last logits
        differ by several units from place to place of one pixel. Some places then begin and end at zero, where the Dice
        loss has no gradient left, and the map is full of holes. See Aitken et al. 2017, "Checkerboard artifact free
        sub-pixel convolution", for the same start of another layer.
        """
        layer = Conv2DTranspose(
            inputs,
            outputs,
            2,
            stride=2,
            weight_attr=ParamAttr(initializer=nn.initializer.KaimingUniform(fan_in=inputs)),
            bias_attr=ParamAttr(initializer=nn.initializer.Constant(0.0)),
        )
        with paddle.no_grad():
            one = layer.weight[:, :, :1, :1] * (LAST_SHARE if outputs == 1 else 1.0)
            layer.weight.set_value(one.tile([1, 1, 2, 2]))
        return layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The logit [N,1,H,W] and the features at half the resolution it was made from."""
        clean = without_nan if self.fix_nan and self.training else lambda tensor: tensor
        x = clean(F.relu(self.conv_bn1(self.conv1(x))))
        features = clean(F.relu(self.conv_bn2(self.conv2(x))))
        return self.conv3(features), features


_NARROWEST = 4
"""Channels of which a branch, a quarter as wide, has one left."""


class DBHead(nn.Layer):
    """The head of Differentiable Binarization (Liao et al., AAAI 2020).

    Args:
        in_channels: width of the neck.
        k: steepness of the binary map sigmoid(k (P - T)), > 0.
        kernel_list: kernel of the convolution (odd), then 2 and 2 of the transposed ones.
        fix_nan: while training, replace NaN inside the branches by 0 (PaddleOCR's remedy for float16).
        aux_in_channels: width of the neck's top-down maps at 1/4, 1/8 and 1/16, from each of which a pair of branches
            of its own answers while training (PP-OCRv6); 0: no such branches.

    Raises:
        ModelError: a kernel that would not give a map at input resolution, or a number out of range.
    """

    def __init__(
        self,
        in_channels: int,
        k: float = 50,
        kernel_list: Sequence[int] = (3, 2, 2),
        fix_nan: bool = False,
        aux_in_channels: int = 0,
    ) -> None:
        super().__init__()
        if isinstance(k, bool) or not isinstance(k, (int, float)) or not k > 0:
            raise ModelError(f"k: {k!r} must be a positive number, e.g. 50")
        kernels = list(kernel_list)
        odd = kernels and isinstance(kernels[0], int) and kernels[0] > 0 and kernels[0] % 2 == 1
        if not odd or kernels[1:] != [2, 2]:
            raise ModelError(f"kernel_list: {kernels} must be an odd kernel and then 2, 2, e.g. [3, 2, 2] or [7, 2, 2]")
        self.k = float(k)
        whole = isinstance(aux_in_channels, int) and not isinstance(aux_in_channels, bool)
        if not whole or (aux_in_channels < _NARROWEST and aux_in_channels != 0):
            raise ModelError(f"aux_in_channels: {aux_in_channels!r} must be 0 or the width of the neck")
        self.binarize = _MapBranch(in_channels, kernels, fix_nan)
        self.thresh = _MapBranch(in_channels, kernels, fix_nan)
        self.aux_in_channels = aux_in_channels
        for level in AUXILIARY if aux_in_channels else ():
            for branch in ("binarize", "thresh"):
                self.add_sublayer(f"aux_{branch}_{level}", _MapBranch(aux_in_channels, kernels, fix_nan))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Shrink-map logit and threshold-map logit, each [N,1,H,W]; the second is None in eval."""
        return self.binarize(x)[0], self.thresh(x)[0] if self.training else None

    def auxiliary(self, merged: list[Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Shrink and threshold logit [N,1,H,W] of each auxiliary pair of branches, by level: p4, p3, p2.

        Args:
            merged: the neck's top-down maps, fine to coarse; each is brought to 1/4 first, bilinearly.
        """
        found = {}
        for index, level in reversed(list(enumerate(AUXILIARY))):
            x = merged[index]
            if index:
                x = F.interpolate(x, scale_factor=2**index, mode="bilinear", align_corners=False)
            pair = [getattr(self, f"aux_{branch}_{level}")(x)[0] for branch in ("binarize", "thresh")]
            found[level] = (pair[0], pair[1])
        return found

    def probability(self, x: Tensor) -> Tensor:
        """P [N,1,H,W] alone."""
        return F.sigmoid(self.binarize(x)[0])


class _LocalModule(nn.Layer):
    """A 3x3 and a 1x1 convolution over the first map and the features beneath it; gives a logit a pixel."""

    def __init__(self, in_channels: int, hidden: int) -> None:
        super().__init__()
        self.last_3 = ConvBN(in_channels + 1, hidden, 3, act="relu")
        self.last_1 = Conv2D(hidden, 1, 1)

    def forward(self, features: Tensor, probability: Tensor) -> Tensor:
        return self.last_1(self.last_3(paddle.concat([probability, features], axis=1)))


class PFHeadLocal(DBHead):
    """DBHead whose map a local module refines (PP-OCRv4 and v5 server detectors).

    PaddleOCR trains the refined map and answers with the mean of the base and the refined one; here the mean is the map
    in both, so that what is trained, evaluated, distilled and exported is one and the same.

    Args:
        in_channels, k, kernel_list, fix_nan: as in DBHead.
        mode: "large" or "small": the local module has a quarter or an eighth of in_channels.
    """

    def __init__(
        self,
        in_channels: int,
        k: float = 50,
        mode: str = "small",
        kernel_list: Sequence[int] = (3, 2, 2),
        fix_nan: bool = False,
    ) -> None:
        super().__init__(in_channels, k, kernel_list, fix_nan)
        require_one_of("mode", mode, ("large", "small"))
        self.cbn_layer = _LocalModule(in_channels // 4, in_channels // (4 if mode == "large" else 8))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """As DBHead; the shrink-map logit is that of the mean of the base and the refined probability."""
        return mean_logit(*self._base_and_refined(x)), self.thresh(x)[0] if self.training else None

    def probability(self, x: Tensor) -> Tensor:
        """P [N,1,H,W] alone, as a mean of probabilities: inference engines compute a log-sigmoid as log(sigmoid(x)),
        which is -inf where the sigmoid underflows, so the exported graph must not contain the logit of the mean."""
        base, refined = self._base_and_refined(x)
        return 0.5 * (F.sigmoid(base) + F.sigmoid(refined))

    def _base_and_refined(self, x: Tensor) -> tuple[Tensor, Tensor]:
        base, features = self.binarize(x)
        return base, self.cbn_layer(upsample_nearest(features, 2), F.sigmoid(base))


HEADS: dict[str, type[nn.Layer]] = {"DBHead": DBHead, "PFHeadLocal": PFHeadLocal}
