"""Maps of few channels, filled up with zeros to as many as ONNX Runtime computes at once.

ONNX Runtime convolves in blocks of 8 or 16 channels, as wide as the processor's registers. A map of fewer is written
out plainly after each convolution and read by a slower kernel. A MobileNetV3 x0.5 has eight channels at half of the
image's size, where its maps are largest: there the zeros cost less than what they save.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto

from ocr_cml.shortcuts.graph import Graph, attribute, attributes

__all__ = ["fill"]

_CHANNELWISE = {"Relu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "Mul", "Add", "GlobalAveragePool"}
"""Nodes that treat each channel on its own and make something finite of zeros, which weights of zero meet next."""


def fill(graph: Graph, block: int) -> bool:
    """Fill maps of at least half a block of channels up to the block.

    Args:
        graph: the graph to change.
        block: channels that ONNX Runtime computes at once.

    Returns:
        Whether there were any.
    """
    filled = False
    # One at a time: a convolution that makes some and reads others is another node after the first.
    while any(_fill_what_it_reads(graph, conv, block) for conv in graph.of("Conv")):
        filled = True
    return filled


def _fill_what_it_reads(graph: Graph, conv: NodeProto, block: int) -> bool:
    weight = graph.constants.get(conv.input[1])
    if weight is None or attribute(conv, "group", 1) != 1 or not block / 2 <= weight.shape[1] < block:
        return False
    values = _bound(graph, conv.input[0])
    convs = [node for node in graph.of("Conv") if values & {node.input[0], node.output[0]}]
    for node in convs:
        graph.replace([node], [_filled(graph, node, values, block - weight.shape[1])])
    return bool(convs)


def _bound(graph: Graph, value: str) -> set[str]:
    """The maps that are bound to `value` channel by channel, itself among them; none where they cannot be filled."""
    values, waiting = set[str](), [value]
    while waiting:
        value = waiting.pop()
        if value in values:
            continue
        values.add(value)
        maker, readers = graph.maker(value), graph.readers(value)
        if maker is None or readers is None:  # the image, or a result
            return set()
        for node in (maker, *readers):
            others = _others(graph, node)
            if others is None:
                return set()
            waiting += others
    return values


def _others(graph: Graph, node: NodeProto) -> list[str] | None:
    """The maps that a node binds channel by channel; None where it needs the channels as they are."""
    if node.op_type == "Conv":
        if any(name not in graph.constants for name in node.input[1:]):
            return None
        group = attribute(node, "group", 1)
        depthwise = group > 1 and graph.constants[node.input[1]].shape[:2] == (group, 1)
        return [node.input[0], node.output[0]] if depthwise else [] if group == 1 else None
    maps = [name for name in node.input if name and name not in graph.constants]
    scalar = all(graph.constants[name].size == 1 for name in node.input if name in graph.constants)
    counts = {graph.channels(name) for name in maps}
    alike = len(maps) == 1 or (len(counts) == 1 and None not in counts)  # a map of one channel is spread over all
    return [*maps, *node.output] if node.op_type in _CHANNELWISE and scalar and alike else None


def _filled(graph: Graph, node: NodeProto, values: set[str], more: int) -> NodeProto:
    """The same convolution with `more` channels of zeros where it reads or makes one of `values`."""
    stated, weight = attributes(node), graph.constants[node.input[1]]
    biases = [graph.constants[name] for name in node.input[2:]]
    if stated.get("group", 1) > 1:
        stated["group"] += more
    elif node.input[0] in values:
        weight = np.pad(weight, ((0, 0), (0, more), (0, 0), (0, 0)))
    if node.output[0] in values:
        weight = np.pad(weight, ((0, more), (0, 0), (0, 0), (0, 0)))
        biases = [np.pad(bias, (0, more)) for bias in biases]
    inputs = [node.input[0], graph.constant(weight), *map(graph.constant, biases)]
    return graph.node("Conv", inputs, node.output[0], **stated)
