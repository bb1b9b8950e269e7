"""The two transposed convolutions of a DB head, 2x2 with stride 2, as 1x1 convolutions.

None of their places overlap: every pixel becomes sixteen, each a function of that pixel alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import NodeProto

from ocr_cml.shortcuts.graph import Graph, attribute
from ocr_cml.shortcuts.places import placed

__all__ = ["shorten_head"]


def shorten_head(graph: Graph, first: NodeProto) -> bool:
    """Two transposed convolutions without overlap, the last to one channel: 1x1 convolutions, placed once."""
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
    # the second, column of the first, column of the second: the places of one pixel, row by row.
    places = widening.weight.transpose(2, 3, 1, 0).reshape(4 * width, inputs, 1, 1)
    pixels = np.zeros((2, 2, 2, 2, 2, 2, width), np.float32)
    for row in range(2):
        for column in range(2):
            pixels[row, :, column, :, row, column] = last.weight[:, 0].transpose(1, 2, 0)
    wide = _pointwise(graph, first.input[0], places, np.tile(widening.bias, 4))
    positive = graph.node("Relu", wide.output)
    narrow = _pointwise(graph, positive.output[0], pixels.reshape(16, 4 * width, 1, 1), np.tile(last.bias, 16))
    large = placed(graph, narrow.output[0], 4, 1, output=last.nodes[-1].output[0])
    graph.replace([*widening.nodes, relu, *last.nodes], [wide, positive, narrow, *large])
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
