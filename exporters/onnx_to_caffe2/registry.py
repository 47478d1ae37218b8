"""The table of ONNX operators and what a conversion function sees of its node.

A conversion function takes its node, the ONNX inputs in order as blobs (None where one is left out) and the
ONNX attributes as keywords with the standard's defaults; it adds Caffe2 operators and returns the blob, or
blobs, that are the node's outputs. Inputs that must be constant (axes, pads, limits ...) come as keywords
too, whichever way the opset at hand spells them: `constants` gives their position and name.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from exporters.layers import Blob, Graph, Unsupported, constant
from exporters.onnx_to_caffe2.repetition import repeat


@dataclass(frozen=True)
class Conversion:
    function: Callable
    constants: dict[int, str]


CONVERSIONS: dict[str, Conversion] = {}


def converts(*types: str, constants: dict[int, str] | None = None) -> Callable:
    """Register a function as the conversion of these ONNX operators."""

    def register(function):
        for kind in types:
            if kind in CONVERSIONS:
                raise KeyError(f"ONNX operator {kind} is registered twice")
            CONVERSIONS[kind] = Conversion(function, constants or {})
        return function

    return register


@dataclass
class Node:
    """An ONNX node under conversion."""

    graph: Graph
    type: str
    opset: int
    layer: str
    outputs: list[Blob]  # their types, as ONNX defines them
    read: Sequence[bool]  # whether anyone reads them

    @property
    def output(self) -> Blob:
        return self.outputs[0]

    def add(self, kind: str, inputs: Iterable[Blob | None], **arguments) -> Blob:
        """Add a Caffe2 operator with one output; arguments that are None are left out."""
        return self.add_many(kind, inputs, 1, **arguments)[0]

    def add_many(self, kind: str, inputs: Iterable[Blob | None], outputs: int, **arguments) -> list[Blob]:
        """Add a Caffe2 operator with several outputs."""
        read = [repeat(self.graph, blob) if blob is not None and blob.varies else blob for blob in inputs]
        return self.graph.add(kind, read, self.layer, outputs, arguments).outputs

    def constant(self, value: np.ndarray, name: str = "") -> Blob:
        """A parameter."""
        return constant(value, name)


def convert_node(node: Node, inputs: list[Blob | None], attributes: dict[str, object]) -> list[Blob]:
    """Call the conversion function of a node. Raises Unsupported."""
    conversion = CONVERSIONS[node.type]
    keywords = dict(attributes)
    for index, name in conversion.constants.items():
        blob = inputs[index] if index < len(inputs) else None
        if blob is not None:
            keywords[name] = _constant_value(blob, name)
    data = [blob for index, blob in enumerate(inputs) if index not in conversion.constants]
    signature = inspect.signature(conversion.function)
    try:
        signature.bind(node, *data, **keywords)
    except TypeError as error:
        raise Unsupported(f"inputs or attributes that are not known: {error}") from None
    if any(blob is not None and blob.known_shapes is None for blob in data):
        raise Unsupported("an input of unknown shape")
    results = conversion.function(node, *data, **keywords)
    return list(results) if isinstance(results, (list, tuple)) else [results]


def _constant_value(blob: Blob, name: str):
    if not blob.is_constant:
        raise Unsupported(f"Caffe2 takes its {name} as an argument; here a blob has it, which the net computes")
    return blob.value.tolist()
