"""Maps of few channels filled with zeros, where nothing else needs them as they are."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ocr_cml.shortcuts import shortened
from tests.shortcuts.by_hand import Pyramid, assert_equal, kernels


def plain(graph: Pyramid, value: str) -> str:
    return value


def depthwise(graph: Pyramid, value: str) -> str:
    return graph.conv(value, 5, 5, 3, bias=True, group=5)


def hard_swish(graph: Pyramid, value: str) -> str:
    return graph.add("Mul", [value, graph.add("HardSigmoid", [value])])


def residual(graph: Pyramid, value: str) -> str:
    return graph.add("Add", [value, graph.conv(graph.add("Relu", [graph.conv(value, 5, 5, 1)]), 5, 5, 3, bias=True)])


def gated(graph: Pyramid, value: str) -> str:
    gate = graph.conv(graph.add("GlobalAveragePool", [value]), 5, 5, 1)
    return graph.add("Mul", [value, graph.add("Sigmoid", [gate])])


def a_number_more(graph: Pyramid, value: str) -> str:
    return graph.add("Add", [graph.add("Relu", [value]), graph.constant()])


def a_number_for_each_channel(graph: Pyramid, value: str) -> str:
    return graph.add("Add", [graph.add("Relu", [value]), graph.constant(1, 5, 1, 1)])  # Relu: else it is folded


def mean_of_channels(graph: Pyramid, value: str) -> str:
    return graph.add("Mul", [value, graph.add("ReduceMean", [value], axes=[1], keepdims=1)])


@pytest.mark.parametrize("between", [plain, depthwise, hard_swish, residual, gated, a_number_more])
def test_filled_maps_give_the_same_answer(between: Callable[[Pyramid, str], str]) -> None:
    graph = Pyramid()
    model = graph.model(graph.conv(between(graph, graph.conv("x", 3, 5, 3, bias=True)), 5, 2, 3))
    assert_equal(model, applies=True, block=8)
    assert 5 not in {size for kernel in kernels(shortened(model, 8)) for size in kernel.shape[:2]}


def one_map_for_all_channels(graph: Pyramid, value: str) -> str:
    """Spatial attention: filled up, the one channel would no longer be spread over the others."""
    return graph.add("Mul", [value, graph.add("Sigmoid", [graph.conv(value, 5, 1, 1)])])


@pytest.mark.parametrize("between", [a_number_for_each_channel, mean_of_channels, one_map_for_all_channels])
def test_maps_whose_channels_are_counted_stay(between: Callable[[Pyramid, str], str]) -> None:
    graph = Pyramid()
    few = graph.conv("x", 3, 5, 3)
    # What follows is of ten channels, which no rule fills, so that `few` alone decides.
    assert_equal(graph.model(graph.conv(graph.conv(between(graph, few), 5, 10, 1), 10, 2, 1)), False, block=8)


def test_maps_side_by_side_stay() -> None:
    graph = Pyramid()
    few = graph.conv("x", 3, 5, 3)
    joined = graph.add("Concat", [few, few], axis=1)
    assert_equal(
        graph.model(graph.add("Add", [graph.conv(joined, 10, 2, 1), graph.conv(few, 5, 2, 1)])), False, block=8
    )


def test_a_map_that_is_a_result_stays() -> None:
    graph = Pyramid()
    few = graph.conv("x", 3, 5, 3)
    assert_equal(graph.model(graph.conv(few, 5, 2, 3), few), applies=False, block=8)


def test_groups_of_several_channels_stay() -> None:
    graph = Pyramid()
    few = graph.conv(graph.conv(graph.conv("x", 3, 5, 3), 5, 10, 1), 10, 5, 1, group=5)
    model = graph.model(graph.conv(few, 5, 2, 3))
    assert_equal(model, applies=True, block=8)  # the map before the groups is filled
    assert (5, 2) in {kernel.shape[:2] for kernel in kernels(shortened(model, 8))}


@pytest.mark.parametrize(("channels", "applies"), [(3, False), (4, True), (7, True), (8, False), (9, False)])
def test_few_are_half_a_block_and_more(channels: int, applies: bool) -> None:
    graph = Pyramid()
    assert_equal(graph.model(graph.conv(graph.conv("x", 3, channels, 3), channels, 2, 3)), applies, block=8)
