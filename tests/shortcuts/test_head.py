"""Two transposed convolutions of a head as 1x1 convolutions, where that is exact and nowhere else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.shortcuts.by_hand import Pyramid, assert_equal


@pytest.mark.parametrize(
    ("first", "second", "between", "channels", "applies"),
    [
        ({}, {}, "Relu", 1, True),
        ({"bias": False}, {"bias": False}, "Relu", 1, True),
        ({}, {}, "Sigmoid", 1, False),
        ({}, {}, "Relu", 2, False),
        ({"size": 4, "pads": [1] * 4}, {}, "Relu", 1, False),
        ({}, {"size": 4, "pads": [1] * 4}, "Relu", 1, False),
        ({"output_padding": [1, 1]}, {}, "Relu", 1, False),
        ({}, {"strides": [1, 1]}, "Relu", 1, False),
    ],
)
def test_a_head_is_shortened_where_that_is_exact(
    first: dict[str, Any], second: dict[str, Any], between: str, channels: int, applies: bool
) -> None:
    graph = Pyramid()
    middle = graph.add(between, [graph.deconv("x", 3, 5, **first)])
    assert_equal(graph.model(graph.deconv(middle, 5, channels, **second)), applies)


def test_a_head_with_normalisation_and_a_bias_of_its_own() -> None:
    graph = Pyramid()
    middle = graph.add("Add", [graph.deconv("x", 3, 5, bias=False), graph.constant(1, 5, 1, 1)])
    statistics = [graph.constant(5) for _ in range(4)]
    graph.constants[statistics[3]] = np.abs(graph.constants[statistics[3]]) + 0.1
    normal = graph.add("BatchNormalization", [middle, *statistics], epsilon=1e-3)
    final = graph.deconv(graph.add("Relu", [normal]), 5, 1, bias=False)
    shifted = graph.add("Add", [final, graph.constant(1, 1, 1, 1)])
    assert_equal(graph.model(graph.add("Sigmoid", [shifted])), applies=True)


def test_a_head_in_groups_is_left_as_it_is() -> None:
    head = Pyramid()
    middle = head.add("Relu", [head.deconv("x", 3, 1, bias=False, group=3)])
    assert_equal(head.model(head.deconv(middle, 3, 1)), applies=False)
