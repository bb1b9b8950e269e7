"""The places of a pixel, put in their places: what ONNX's DepthToSpace says of it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from ocr_cml.shortcuts.graph import Graph
from ocr_cml.shortcuts.places import placed
from tests.shortcuts.by_hand import Pyramid, answer, image, kinds


@pytest.mark.parametrize(("size", "channels", "border"), [(2, 3, 0), (2, 3, 1), (4, 1, 0), (3, 2, 2), (1, 2, 0)])
@pytest.mark.parametrize(("height", "width", "count"), [(2, 2, 1), (5, 3, 2)])
def test_places(size: int, channels: int, border: int, height: int, width: int, count: int) -> None:
    made = Pyramid()
    value = made.conv("x", 3, size * size * channels, 1)
    expected = made.add("DepthToSpace", [value], blocksize=size)
    graph = Graph(onnx.load_from_string(made.model(expected)))
    old = graph.maker(expected)
    assert old is not None
    graph.replace([old], placed(graph, value, size, channels, border, expected))
    pixels = image(height, width, count)
    whole = answer(made.model(expected), pixels)
    inside = slice(border, -border) if border else slice(None)
    np.testing.assert_array_equal(answer(graph.serialized(), pixels), whole[:, :, inside, inside])
    assert kinds(graph.serialized())["DepthToSpace"] == 0
