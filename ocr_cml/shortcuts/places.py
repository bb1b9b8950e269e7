"""Channels that are the places of a pixel, put in their places.

ONNX has DepthToSpace for it, which ONNX Runtime computes in one thread, channel by channel. With the channels of a
pixel side by side, what moves are whole runs of neighbours, and ONNX Runtime puts channels side by side as it leaves
the blocks in which it convolves: half the time for a student's maps.
"""

from __future__ import annotations

from onnx import NodeProto

from ocr_cml.shortcuts.graph import Graph


def placed(
    graph: Graph, value: str, size: int, channels: int, border: int = 0, output: str | None = None
) -> list[NodeProto]:
    """Nodes that make `[N, channels, size*H - 2*border, size*W - 2*border]`.

    Args:
        graph: where the nodes' constants go.
        value: `[N, size*size*channels, H, W]`; the channels' order is row in the pixel, column in the pixel, channel.
        size: rows and columns that a pixel becomes.
        channels: what is left of them.
        border: pixels to cut off at all four edges.
        output: name of the result.
    """
    last = graph.node("Transpose", [value], perm=[0, 2, 3, 1])
    rows = graph.node("Reshape", [last.output[0], graph.integers(0, 0, 0, size, size * channels)])
    moved = graph.node("Transpose", rows.output, perm=[0, 1, 3, 2, 4])
    # A Reshape can infer one size and keep those that stay at their axis: height and width must be computed.
    shape = graph.node("Shape", rows.output)
    kept = graph.node("Gather", [shape.output[0], graph.integers(0, 1, 2)], axis=0)
    grown = graph.node("Mul", [kept.output[0], graph.integers(1, size, size)])
    whole = graph.node("Concat", [grown.output[0], graph.integers(channels)], axis=0)
    large = graph.node("Reshape", [moved.output[0], whole.output[0]])
    nodes = [last, rows, moved, shape, kept, grown, whole, large]
    if border:
        edges = [graph.integers(border, border), graph.integers(-border, -border), graph.integers(1, 2)]
        nodes.append(graph.node("Slice", [large.output[0], *edges]))
    return [*nodes, graph.node("Transpose", nodes[-1].output, output, perm=[0, 3, 1, 2])]
