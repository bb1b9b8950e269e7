"""3x3 convolutions of maps that were just enlarged to the nearest pixel, computed on the small maps.

- **fusion**: of a pyramid's levels side by side, all enlarged but the finest: the enlarged ones at half the size.
- **finest level**: of the sum of an enlarged map and a 1x1 convolution; a 1x1 before a 3x3 convolution is one 3x3
  convolution of the fewer channels before both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from ocr_cml.shortcuts.graph import Graph, attribute
from ocr_cml.shortcuts.places import placed

__all__ = ["corner_kernel", "shorten_finest_level", "shorten_fusion"]

FEW = 0.25
"""Share of the channels between a 1x1 and a 3x3 convolution up to which those before both are few."""


def corner_kernel(kernel: np.ndarray) -> np.ndarray:
    """What convolves a map as `kernel` convolves that map enlarged twice to the nearest pixel.

    Four pixels of the large map lie around a corner of four small ones, which are all that they and their neighbours
    are made of: the first of two rows reads the row before it twice and the one behind it once, the second the other
    way round, and columns alike. Zeros around the enlarged map are zeros around the small one.

    Args:
        kernel: `[O,I,3,3]`, stride 1, padding 1.

    Returns:
        `[4*O,I,2,2]`, stride 1, padding 1; channels are row and column (around the corner), then the kernel's. Corners
        begin before the first pixel and end behind the last: at all edges a pixel more than the enlarged map has.
    """
    reached = np.array([[[1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]], kernel.dtype)
    corners = np.einsum("oiuv,rhu,cwv->rcoihw", kernel, reached, reached)
    return corners.reshape(-1, kernel.shape[1], 2, 2)


@dataclass(frozen=True)
class _Part:
    """What a 3x3 convolution reads of one map.

    Attributes:
        source: the map before it is enlarged.
        factor: how much it is enlarged; 1 where it is not.
        kernel: the kernel's channels that belong to it.
    """

    source: str
    factor: int
    kernel: np.ndarray


def shorten_fusion(graph: Graph, concat: NodeProto) -> bool:
    """3x3 of several enlarged maps and one that is not: the enlarged ones together, at half the size."""
    conv = graph.only_reader(concat.output[0])
    if conv is None or not _is_conv(graph, conv, 3):
        return False
    parts = _parts(graph, concat, graph.constants[conv.input[1]])
    coarse, fine = [part for part in parts if part.factor > 1], [part for part in parts if part.factor == 1]
    if not coarse or len(fine) != 1 or any(part.factor % 2 for part in coarse):
        return False
    resizes = [_nearest(graph, part.source, part.factor // 2) for part in coarse if part.factor > 2]
    halves = [part.source for part in coarse if part.factor == 2] + [resize.output[0] for resize in resizes]
    kernels = [part.kernel for part in coarse if part.factor == 2] + [part.kernel for part in coarse if part.factor > 2]
    joined = graph.node("Concat", halves, axis=1)
    new = [
        *resizes,
        joined,
        *_sum(graph, conv, fine[0].source, fine[0].kernel, joined.output[0], np.concatenate(kernels, 1)),
    ]
    graph.replace([conv, concat, *_makers(graph, concat)], new)
    return True


def shorten_finest_level(graph: Graph, conv: NodeProto) -> bool:
    """3x3 of the sum of a 1x1 convolution of few channels and a map enlarged twice: each of them on its own."""
    add = graph.maker(conv.input[0])
    if not _is_conv(graph, conv, 3) or add is None or add.op_type != "Add" or graph.only_reader(add.output[0]) is None:
        return False
    kernel = graph.constants[conv.input[1]]
    for lateral, enlarged in (tuple(add.input), tuple(add.input)[::-1]):
        (source, factor), narrow = _enlargement(graph, enlarged), graph.maker(lateral)
        if factor != 2 or narrow is None or graph.only_reader(lateral) is None or not _is_conv(graph, narrow, 1):
            continue
        first = graph.constants[narrow.input[1]][:, :, 0, 0]
        if len(narrow.input) > 2 or first.shape[1] > first.shape[0] * FEW:
            continue  # a bias would end at the picture's edge, many channels would cost more
        merged = np.einsum("omuv,mi->oiuv", kernel, first)
        new = _sum(graph, conv, narrow.input[0], merged, source, kernel)
        graph.replace([conv, add, narrow, *_makers(graph, add)], new)
        return True
    return False


def _sum(
    graph: Graph, conv: NodeProto, fine: str, fine_kernel: np.ndarray, half: str, half_kernel: np.ndarray
) -> list[NodeProto]:
    """What takes the place of `conv`: a 3x3 convolution of `fine`, plus one of `half` enlarged twice."""
    bias = list(conv.input[2:])
    same = graph.node("Conv", [fine, graph.constant(fine_kernel), *bias], kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    weight = graph.constant(corner_kernel(half_kernel))
    corners = graph.node("Conv", [half, weight], kernel_shape=[2, 2], pads=[1, 1, 1, 1])
    up = placed(graph, corners.output[0], 2, len(half_kernel), border=1)
    return [same, corners, *up, graph.node("Add", [same.output[0], up[-1].output[0]], conv.output[0])]


def _is_conv(graph: Graph, node: NodeProto, size: int) -> bool:
    """A plain convolution with stride 1 that keeps the size."""
    if node.op_type != "Conv" or node.input[1] not in graph.constants:
        return False
    kernel = graph.constants[node.input[1]]
    return (
        kernel.shape[2:] == (size, size)
        and attribute(node, "auto_pad", b"NOTSET") == b"NOTSET"
        and attribute(node, "group", 1) == 1
        and attribute(node, "strides", [1, 1]) == [1, 1]
        and attribute(node, "dilations", [1, 1]) == [1, 1]
        and attribute(node, "pads", [0] * 4) == [size // 2] * 4
    )


def _parts(graph: Graph, concat: NodeProto, kernel: np.ndarray) -> list[_Part]:
    """What of a kernel belongs to which map of a Concat; none where the graph does not tell the maps' channels."""
    channels = [graph.channels(name) or 0 for name in concat.input]
    if attribute(concat, "axis") != 1 or not all(channels) or sum(channels) != kernel.shape[1]:
        return []
    kernels = np.split(kernel, np.cumsum(channels)[:-1], axis=1)
    return [_Part(*_enlargement(graph, name), part) for name, part in zip(concat.input, kernels, strict=True)]


def _enlargement(graph: Graph, value: str) -> tuple[str, int]:
    """A map before it is enlarged to the nearest pixel, and how much; the value itself and 1 where it is not."""
    node = graph.maker(value)
    if node is None or node.op_type != "Resize" or len(node.input) != 3 or attribute(node, "mode") != b"nearest":
        return value, 1
    rule = (attribute(node, "coordinate_transformation_mode"), attribute(node, "nearest_mode"))
    scales = graph.constants.get(node.input[2])
    if (
        rule != (b"asymmetric", b"floor")
        or scales is None
        or scales.tolist() != [1, 1, int(scales[-1]), int(scales[-1])]
    ):
        return value, 1
    return node.input[0], int(scales[-1])


def _nearest(graph: Graph, value: str, factor: int) -> NodeProto:
    scales = graph.constant(np.array([1, 1, factor, factor]))
    rule = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.node("Resize", [value, "", scales], **rule)


def _makers(graph: Graph, node: NodeProto) -> list[NodeProto]:
    """The Resize nodes that a node reads."""
    makers = [graph.maker(name) for name in node.input]
    return [maker for maker in makers if maker is not None and maker.op_type == "Resize"]
