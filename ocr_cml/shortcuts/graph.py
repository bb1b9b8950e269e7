"""A loaded ONNX graph that can be searched and changed: who makes a value, who reads it, what is constant."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

__all__ = ["Graph", "GraphError", "attribute", "attributes", "folded"]


class GraphError(Exception):
    """ONNX Runtime cannot open a model."""


def folded(model: str | bytes) -> onnx.ModelProto:
    """The model as ONNX Runtime simplifies it with standard operators alone: constants computed, identities gone, batch
    normalisation and biases inside their convolutions.

    Args:
        model: path of a file, or its content.

    Raises:
        GraphError: ONNX Runtime cannot open it.
    """
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        options.log_severity_level = 3
        try:
            ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's errors share no other base
            raise GraphError(str(error)) from error
        return onnx.load(options.optimized_model_filepath)


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:
    """The value of an attribute; `default` where the node does not state it."""
    return next((helper.get_attribute_value(a) for a in node.attribute if a.name == name), default)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """All attributes that the node states."""
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


class Graph:
    """A model's nodes, in an order in which they can be computed.

    Attributes:
        nodes: the nodes as they are now.
        constants: name -> array of every constant.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self.nodes = list(model.graph.node)
        self.constants = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
        self._new: dict[str, np.ndarray] = {}
        self._results = {output.name for output in model.graph.output}
        self._channels = _channels(model)
        self._names = 0
        self._index()

    def _index(self) -> None:
        self._makers = {output: node for node in self.nodes for output in node.output}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def maker(self, value: str) -> onnx.NodeProto | None:
        """The node that makes a value; None for inputs and constants."""
        return self._makers.get(value)

    def only_reader(self, value: str) -> onnx.NodeProto | None:
        """The node that reads a value, if it is one alone and the value is no result of the graph."""
        readers = self.readers(value)
        return readers[0] if readers is not None and len(readers) == 1 else None

    def readers(self, value: str) -> list[onnx.NodeProto] | None:
        """The nodes that read a value; None where it is a result of the graph, which anybody may read."""
        return None if value in self._results else self._readers.get(value, [])

    def channels(self, value: str) -> int | None:
        """Size of a value's second axis; None where the graph does not tell."""
        return self._channels.get(value)

    def of(self, kind: str) -> list[onnx.NodeProto]:
        """The nodes of one kind of operator."""
        return [node for node in self.nodes if node.op_type == kind]

    def constant(self, array: np.ndarray) -> str:
        """The name of a new float32 constant."""
        name = self._name()
        self._new[name] = self.constants[name] = np.ascontiguousarray(array, dtype=np.float32)
        return name

    def integers(self, *values: int) -> str:
        """The name of a new constant of 64-bit integers, as shapes and axes are."""
        name = self._name()
        self._new[name] = np.array(values, np.int64)
        return name

    def node(self, kind: str, inputs: Sequence[str], output: str | None = None, **attributes: Any) -> onnx.NodeProto:
        """A node that is not in the graph yet, with one output."""
        output = output or self._name()
        return helper.make_node(kind, list(inputs), [output], name=f"{kind} {output}", **attributes)

    def _name(self) -> str:
        self._names += 1
        return f"shortcut.{self._names}"

    def replace(self, old: Iterable[onnx.NodeProto], new: Sequence[onnx.NodeProto]) -> None:
        """Put `new` where the last of `old` stands; nodes of `old` that others still read stay."""
        doomed = [id(node) for node in old]
        last = max(index for index, node in enumerate(self.nodes) if id(node) in doomed)
        nodes = [*self.nodes[: last + 1], *new, *self.nodes[last + 1 :]]
        made = {output for node in new for output in node.output}
        kept = [node for node in nodes if id(node) not in doomed]
        wanted = {name for node in kept for name in node.input} | self._results
        self.nodes = [node for node in nodes if id(node) not in doomed or wanted & (set(node.output) - made)]
        self._index()

    def serialized(self) -> bytes:
        """The model with its nodes as they are now; constants that nobody reads are left out."""
        graph = self._model.graph
        read = set(self._readers)
        initializers = [i for i in graph.initializer if i.name in read]
        initializers += [numpy_helper.from_array(array, name) for name, array in self._new.items() if name in read]
        for field, values in ((graph.node, self.nodes), (graph.initializer, initializers)):
            del field[:]
            field.extend(values)
        del graph.value_info[:]
        return self._model.SerializeToString()


def _channels(model: onnx.ModelProto) -> dict[str, int]:
    values = shape_inference.infer_shapes(model).graph.value_info
    shapes = {value.name: value.type.tensor_type.shape.dim for value in values}
    return {name: dims[1].dim_value for name, dims in shapes.items() if len(dims) == 4 and dims[1].dim_value}
