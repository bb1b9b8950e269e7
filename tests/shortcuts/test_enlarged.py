"""Convolutions of enlarged maps on the small ones, where that is exact and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import paddle
import pytest

from ocr_cml.shortcuts.enlarged import corner_kernel
from tests.shortcuts.by_hand import RNG, Pyramid, assert_equal, image


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 4), (5, 3)])
def test_a_corner_kernel_convolves_as_the_kernel_does_on_the_enlarged_map(height: int, width: int) -> None:
    small, kernel = image(height, width, 2, 3).astype(np.float64), RNG.standard_normal((4, 3, 3, 3))
    large = paddle.to_tensor(small.repeat(2, 2).repeat(2, 3))
    plain = paddle.nn.functional.conv2d(large, paddle.to_tensor(kernel), padding=1).numpy()
    corners = paddle.nn.functional.conv2d(
        paddle.to_tensor(small), paddle.to_tensor(corner_kernel(kernel)), padding=1
    ).numpy()
    for row in range(2):
        for column in range(2):
            # Corner (u, v) lies between pixels 2u-1 and 2u of the enlarged map; the first row of the first is outside.
            places = corners.reshape(2, 2, 2, 4, height + 1, width + 1)[:, row, column]
            inside = places[:, :, 1 - row : height + 1 - row, 1 - column : width + 1 - column]
            np.testing.assert_allclose(inside, plain[:, :, 1 - row :: 2, 1 - column :: 2], atol=1e-12)


@pytest.mark.parametrize(
    ("fine", "factors", "rule", "conv", "applies"),
    [
        (1, (2,), {}, {}, True),
        (1, (8, 4, 2), {}, {}, True),
        (1, (4, 4), {}, {}, True),
        (1, (2,), {}, {"bias": True}, True),
        (1, (), {}, {}, False),
        (2, (2,), {}, {}, False),  # two maps at full size: nothing in this project's necks, and no rule for it
        (0, (2, 2), {}, {}, False),
        (1, (3,), {}, {}, False),
        (1, (2,), {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}, {}, False),
        (1, (2,), {"coordinate_transformation_mode": "half_pixel"}, {}, False),
        (1, (2,), {"nearest_mode": "ceil"}, {}, False),
        (1, (2,), {}, {"size": 5}, False),
        (1, (2,), {}, {"strides": [2, 2]}, False),
        (1, (2,), {}, {"dilations": [2, 2], "pads": [2] * 4}, False),
        (1, (2,), {}, {"group": 2}, False),
        (1, (2,), {}, {"pads": [0] * 4}, False),
    ],
)
def test_a_fusion_is_shortened_where_that_is_exact(
    fine: int, factors: tuple[int, ...], rule: dict[str, Any], conv: dict[str, Any], applies: bool
) -> None:
    graph = Pyramid()
    parts = [graph.conv("x", 3, 4, 1) for _ in range(fine)]
    for factor in factors:
        small = graph.add("AveragePool", ["x"], kernel_shape=[factor] * 2, strides=[factor] * 2)
        parts.insert(0, graph.enlarge(graph.conv(small, 3, 4, 1), factor, **rule))
    joined = graph.add("Concat", parts, axis=1)
    assert_equal(graph.model(graph.conv(joined, 4 * len(parts), 6, **({"size": 3} | conv))), applies)


def test_maps_that_others_read_as_well_stay() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    large = graph.enlarge(graph.conv(small, 3, 4, 1), 2)
    fused = graph.conv(graph.add("Concat", [large, graph.conv("x", 3, 4, 1)], axis=1), 8, 4, 3)
    assert_equal(graph.model(graph.add("Add", [fused, large])), applies=True)


def test_a_concat_that_others_read_as_well_is_left_alone() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    joined = graph.add("Concat", [graph.enlarge(graph.conv(small, 3, 4, 1), 2), graph.conv("x", 3, 4, 1)], axis=1)
    assert_equal(graph.model(graph.add("Add", [graph.conv(joined, 8, 8, 3), joined])), applies=False)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize(
    ("lateral", "factor", "read_twice", "applies"),
    [
        ({}, 2, "", True),
        ({"bias": True}, 2, "", False),  # the bias ends at the picture's edge, a bias behind it would not
        ({"size": 3}, 2, "", False),
        ({}, 4, "", False),
        ({}, 2, "sum", False),
        ({}, 2, "lateral", False),
        ({}, 2, "enlarged", True),
    ],
)
def test_a_finest_level_is_shortened_where_that_is_exact(
    lateral: dict[str, Any], factor: int, read_twice: str, swapped: bool, applies: bool
) -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[factor] * 2, strides=[factor] * 2)
    large = graph.enlarge(graph.conv(small, 3, 12, 1), factor)
    narrow = graph.conv("x", 3, 12, **({"size": 1} | lateral))
    total = graph.add("Add", [large, narrow] if swapped else [narrow, large])
    result = graph.conv(total, 12, 12, 3)
    values = {"sum": total, "lateral": narrow, "enlarged": large}
    if read_twice:
        result = graph.add("Mul", [result, values[read_twice]])
    assert_equal(graph.model(result), applies)


def test_a_finest_level_of_many_channels_would_cost_more() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    total = graph.add("Add", [graph.conv("x", 3, 8, 1), graph.enlarge(graph.conv(small, 3, 8, 1), 2)])
    assert_equal(graph.model(graph.conv(total, 8, 4, 3)), applies=False)


def test_a_fusion_with_dilated_kernels_is_left_as_it_is() -> None:
    graph = Pyramid()
    small = graph.add("AveragePool", ["x"], kernel_shape=[2, 2], strides=[2, 2])
    parts = [graph.enlarge(graph.conv(small, 3, 4, 1), 2), graph.conv("x", 3, 4, 1)]
    joined = graph.add("Concat", parts, axis=1)
    assert_equal(graph.model(graph.conv(joined, 8, 6, 3, dilations=[2, 2])), applies=False)  # pads 1: two pixels less
