"""Exact shortcuts through a DB detector's ONNX graph: the same map but for rounding, with fewer multiplications.

Half of a small detector's time goes into two 3x3 convolutions at a quarter of the image's size, whose input is mostly
small maps enlarged to the nearest pixel, and a tenth into the two transposed convolutions of the head. For a student of
PP-OCRv2's kind the rules below leave two thirds of the multiplications:

- **enlarged**: a 3x3 convolution of a map enlarged twice is one transposed convolution of the small map, kernel 4,
  stride 2: 16 instead of 36 products a small pixel. In the pyramid's fusion and in its finest level.
- **lateral**: a 1x1 convolution before a 3x3 convolution is one 3x3 convolution of the fewer channels before both.
- **head**: two transposed convolutions of 2x2 with stride 2, none of whose places overlap, are two 1x1 convolutions
  whose channels are the places of a pixel, put in their places once at the end.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from ocr_cml.onnx_graph import Graph, attribute, folded

__all__ = ["enlarged_kernel", "shortened"]

FEW = 0.25
"""Share of the channels between a 1x1 and a 3x3 convolution up to which those before both are few."""


def shortened(model: str | bytes) -> bytes | None:
    """The model with every shortcut that applies; None where none does.

    Args:
        model: path of an ONNX file, or its content.

    Raises:
        GraphError: ONNX Runtime cannot open it.
    """
    graph = Graph(folded(model))
    applied = [_head(graph, node) for node in graph.of("ConvTranspose")]
    applied += [_fusion(graph, node) for node in graph.of("Concat")]
    applied += [_finest_level(graph, node) for node in graph.of("Conv")]
    return graph.serialized() if any(applied) else None


def enlarged_kernel(kernel: np.ndarray) -> np.ndarray:
    """What convolves a map as `kernel` convolves that map enlarged twice to the nearest pixel.

    Pixel i of the map becomes 2i and 2i+1, each of which reaches the outputs one before to one after it: 2i-1 to 2i+2.
    Zeros around the enlarged map are zeros around the small one.

    Args:
        kernel: `[O,I,3,3]`, stride 1, padding 1.

    Returns:
        `[I,O,4,4]` of a transposed convolution, stride 2, padding 1.
    """
    result = np.zeros((kernel.shape[1], kernel.shape[0], 4, 4), kernel.dtype)
    turned = kernel.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    for row in range(2):
        for column in range(2):
            result[:, :, row : row + 3, column : column + 3] += turned
    return result


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


def _fusion(graph: Graph, concat: NodeProto) -> bool:
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


def _finest_level(graph: Graph, conv: NodeProto) -> bool:
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
    weight = graph.constant(enlarged_kernel(half_kernel))
    up = graph.node("ConvTranspose", [half, weight], kernel_shape=[4, 4], strides=[2, 2], pads=[1, 1, 1, 1])
    return [same, up, graph.node("Add", [same.output[0], up.output[0]], conv.output[0])]


def _head(graph: Graph, first: NodeProto) -> bool:
    """Two transposed convolutions without overlap, the last to one channel: 1x1 convolutions and one DepthToSpace."""
    widening, relu = _transposed(graph, first)
    if widening is None or relu is None or relu.op_type != "Relu":
        return False
    second = graph.only_reader(relu.output[0])
    if second is None or second.op_type != "ConvTranspose":
        return False
    last, _ = _transposed(graph, second)
    if last is None or last.weight.shape[1] != 1:
        return False
    inputs, width = widening.weight.shape[:2]
    # Channels of the first: row and column within a pixel, then the channel. Of the second: row of the first, row of
    # the second, column of the first, column of the second, which is the order of DepthToSpace.
    places = widening.weight.transpose(2, 3, 1, 0).reshape(4 * width, inputs, 1, 1)
    pixels = np.zeros((2, 2, 2, 2, 2, 2, width), np.float32)
    for row in range(2):
        for column in range(2):
            pixels[row, :, column, :, row, column] = last.weight[:, 0].transpose(1, 2, 0)
    wide = _pointwise(graph, first.input[0], places, np.tile(widening.bias, 4))
    positive = graph.node("Relu", wide.output)
    narrow = _pointwise(graph, positive.output[0], pixels.reshape(16, 4 * width, 1, 1), np.tile(last.bias, 16))
    placed = graph.node("DepthToSpace", narrow.output, last.nodes[-1].output[0], blocksize=4)
    graph.replace([*widening.nodes, relu, *last.nodes], [wide, positive, narrow, placed])
    return True


@dataclass(frozen=True)
class _Transposed:
    """A transposed convolution of 2x2 with stride 2, with the bias and the normalisation that follow it in its weights.

    Attributes:
        weight: `[I,O,2,2]`.
        bias: `[O]`.
        nodes: what it stands for.
    """

    weight: np.ndarray
    bias: np.ndarray
    nodes: list[NodeProto]


def _transposed(graph: Graph, node: NodeProto) -> tuple[_Transposed | None, NodeProto | None]:
    """A transposed convolution and who reads it; None where it is of another kind."""
    plain = attribute(node, "pads", [0] * 4) == [0] * 4 and attribute(node, "dilations", [1, 1]) == [1, 1]
    plain &= attribute(node, "group", 1) == 1 and attribute(node, "output_padding", [0, 0]) == [0, 0]
    plain &= attribute(node, "auto_pad", b"NOTSET") == b"NOTSET" and attribute(node, "output_shape") is None
    plain &= attribute(node, "strides") == [2, 2] and all(name in graph.constants for name in node.input[1:])
    weight = graph.constants.get(node.input[1])
    if not plain or weight is None or weight.shape[2:] != (2, 2):
        return None, None
    bias = graph.constants[node.input[2]] if len(node.input) > 2 else np.zeros(weight.shape[1], np.float32)
    nodes, reader = [node], graph.only_reader(node.output[0])
    while reader is not None and (step := _affine(graph, reader, nodes[-1].output[0], len(bias))) is not None:
        weight, bias = weight * step[0][:, None, None], bias * step[0] + step[1]
        nodes.append(reader)
        reader = graph.only_reader(reader.output[0])
    return _Transposed(weight, bias, nodes), reader


def _affine(graph: Graph, node: NodeProto, value: str, channels: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Scale and shift of each channel, where a node is no more than that; else None."""
    if node.op_type == "BatchNormalization" and node.input[0] == value:
        gamma, beta, mean, variance = (graph.constants[name] for name in node.input[1:])
        scale = gamma / np.sqrt(variance + attribute(node, "epsilon", 1e-5))
        return scale, beta - mean * scale
    if node.op_type != "Add":
        return None
    shift = graph.constants.get(node.input[1] if node.input[0] == value else node.input[0])
    if shift is None or shift.shape != (1, channels, 1, 1):
        return None
    return np.ones(channels, np.float32), shift.reshape(-1)


def _pointwise(graph: Graph, value: str, kernel: np.ndarray, bias: np.ndarray) -> NodeProto:
    return graph.node("Conv", [value, graph.constant(kernel), graph.constant(bias)], kernel_shape=[1, 1])


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
