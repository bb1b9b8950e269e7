"""Exact shortcuts through a DB detector's ONNX graph: the same map but for rounding, in less time on a CPU.

Half of a small detector's time goes into two 3x3 convolutions at a quarter of the image's size, whose input is mostly
small maps enlarged to the nearest pixel, and a tenth into the two transposed convolutions of the head. For a student of
PP-OCRv2's kind the rules leave two thirds of the multiplications, in the form that ONNX Runtime is fastest at: plain
convolutions, whose channels are put in their places afterwards.

- `enlarged`: a 3x3 convolution of a map enlarged twice is a 2x2 convolution of the small map, 16 instead of 36 products
  a small pixel. In the pyramid's fusion and in its finest level, where a 1x1 convolution before it is merged as well.
- `head`: two transposed convolutions without overlap are two 1x1 convolutions.
- `filled`: maps of fewer channels than the runtime computes at once are filled with zeros.
"""

from __future__ import annotations

import cv2

from ocr_cml.shortcuts.enlarged import shorten_finest_level, shorten_fusion
from ocr_cml.shortcuts.filled import fill
from ocr_cml.shortcuts.graph import Graph, GraphError, folded
from ocr_cml.shortcuts.head import shorten_head

__all__ = ["GraphError", "shortened"]

_AVX_512F = 13
"""OpenCV's number for it (`CV_CPU_AVX_512F` in core/cvdef.h); Python's bindings have no name for it."""


def shortened(model: str | bytes, block: int | None = None) -> bytes | None:
    """The model with every shortcut that applies; None where none does.

    Args:
        model: path of an ONNX file, or its content.
        block: channels that ONNX Runtime computes at once; None: 16 with AVX-512, else 8.

    Raises:
        GraphError: ONNX Runtime cannot open it.
    """
    graph = Graph(folded(model))
    applied = [shorten_head(graph, node) for node in graph.of("ConvTranspose")]
    applied += [shorten_fusion(graph, node) for node in graph.of("Concat")]
    applied += [shorten_finest_level(graph, node) for node in graph.of("Conv")]
    applied.append(fill(graph, block or (16 if cv2.checkHardwareSupport(_AVX_512F) else 8)))
    return graph.serialized() if any(applied) else None
