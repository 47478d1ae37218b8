"""ONNX's Loop and Scan, whose number of turns is known, as the nodes of all turns; both branches of an If."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from exporters.onnx_to_caffe2.functions import rename_node

MAX_TURNS = 1024


@dataclass(frozen=True)
class Body:
    """A subgraph for one turn: its constants and nodes under names of their own, and how its outputs are called."""

    constants: dict[str, onnx.TensorProto]
    nodes: list[onnx.NodeProto]
    outputs: list[str]


def body_of(graph: onnx.GraphProto, prefix: str, inputs: Sequence[str] = ()) -> Body:
    """The subgraph with the prefix before all that it defines, and its inputs called as given.

    What it reads of the graph around it keeps its name.
    """
    names = {name: f"{prefix}/{name}" for name in _defined(graph)}
    names |= dict(zip((value.name for value in graph.input), inputs, strict=False))

    def rename(name: str) -> str:
        return names.get(name, name)

    constants = {rename(tensor.name): tensor for tensor in graph.initializer}
    return Body(constants, [rename_node(n, rename, {}) for n in graph.node], [rename(o.name) for o in graph.output])


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    """Every name that a graph, or one within it, gives to a value."""
    yield from (value.name for value in graph.input)
    yield from (tensor.name for tensor in graph.initializer)
    for node in graph.node:
        yield from filter(None, node.output)
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _defined(attribute.g)


def attributes_of(proto: onnx.NodeProto) -> Mapping:
    return {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in proto.attribute}


class Writer:
    """Makes the nodes between the turns, in the spelling of an opset; constants go to `constants`, by name."""

    def __init__(self, prefix: str, opset: int):
        self.prefix, self.opset = prefix, opset
        self.constants: dict[str, np.ndarray] = {}
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, value: np.ndarray) -> str:
        name = f"{self.prefix}/constant{len(self.constants)}"
        self.constants[name] = value
        return name

    def item(self, x: str, index: int, axis: int) -> str:
        """x at one place of a dimension, which goes."""
        return self.add("Gather", [x, self.constant(np.array(index, np.int64))], axis=axis)

    def stack(self, items: Sequence[str], axis: int, output: str = "") -> str:
        """The items along a new dimension."""
        if self.opset >= 13:
            axes = self.constant(np.array([axis], np.int64))
            parts = [self.add("Unsqueeze", [item, axes]) for item in items]
        else:
            parts = [self.add("Unsqueeze", [item], axes=[axis]) for item in items]
        return self.add("Concat", parts, output, axis=axis)

    def copy(self, x: str, output: str) -> str:
        return self.add("Identity", [x], output)

    def add(self, kind: str, inputs: list[str], output: str = "", **attributes) -> str:
        """A node of one output, which is named after it."""
        output = output or f"{self.prefix}/{kind}{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output
