"""Shared building blocks."""

from __future__ import annotations

import numpy as np
import paddle
import paddle.nn.functional as F
import pytest
from paddle import nn

from ocr_cml.models.layers import fold_batch_norm, make_divisible, require_one_of, upsample_nearest
from ppocr_data.errors import ModelError


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
def test_upsample_nearest_equals_interpolate_with_its_gradient(factor: int) -> None:
    rng = np.random.default_rng(factor)
    values = rng.standard_normal((2, 3, 4, 5)).astype("float32")
    weight = paddle.to_tensor(rng.standard_normal((2, 3, 4 * factor, 5 * factor)).astype("float32"))
    results = []
    for up in (upsample_nearest, lambda x, f: F.interpolate(x, scale_factor=f, mode="nearest")):
        x = paddle.to_tensor(values, stop_gradient=False)
        y = up(x, factor)
        (y * weight).sum().backward()
        results.append((y.numpy(), x.grad.numpy()))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-5, atol=1e-5)


def test_upsample_nearest_repeats_pixels() -> None:
    x = paddle.to_tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    expected = [[1, 1, 2, 2], [1, 1, 2, 2], [3, 3, 4, 4], [3, 3, 4, 4]]
    assert upsample_nearest(x, 2)[0, 0].tolist() == expected


@pytest.mark.parametrize(
    ("value", "divisor", "expected"),
    [(8, 8, 8), (5.6, 8, 8), (12, 8, 16), (11.9, 8, 16), (20, 8, 24), (480 * 0.35, 8, 168), (24, 16, 32), (90, 16, 96)],
)
def test_make_divisible(value: float, divisor: int, expected: int) -> None:
    assert make_divisible(value, divisor) == expected


def test_folded_batch_norm_gives_the_same_map() -> None:
    paddle.seed(0)
    conv, norm = nn.Conv2D(3, 4, 3, padding=1, bias_attr=False), nn.BatchNorm2D(4)
    rng = np.random.default_rng(0)
    for tensor in (norm.weight, norm.bias, norm._mean):
        tensor.set_value(rng.standard_normal(4).astype("float32"))
    norm._variance.set_value(rng.uniform(0.5, 2, 4).astype("float32"))
    norm.eval()
    kernel, bias = fold_batch_norm(conv.weight.numpy(), norm)
    x = paddle.to_tensor(rng.standard_normal((1, 3, 5, 6)).astype("float32"))
    folded = F.conv2d(
        x, paddle.to_tensor(kernel.astype("float32")), paddle.to_tensor(bias.astype("float32")), padding=1
    )
    np.testing.assert_allclose(folded.numpy(), norm(conv(x)).numpy(), atol=1e-5)


def test_require_one_of_names_the_choices() -> None:
    with pytest.raises(ModelError, match=r"layers: 51 is not supported; choose one of 18, 50"):
        require_one_of("layers", 51, (18, 50))
    with pytest.raises(ModelError, match="scale: True"):
        require_one_of("scale", True, (0.5, 1.0))
