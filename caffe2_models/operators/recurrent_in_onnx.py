"""A RecurrentNetwork's blobs in a round of ONNX's Loop: how they are handed on, and what links read and write."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from caffe2_models.tensors import TensorType

if TYPE_CHECKING:
    from caffe2_models.lowering import Graph, Symbol

MAX_ROWS = 16  # that are handed on each for itself


@dataclass
class Held:
    """Base: a blob that links name. parts: what rounds hand on of it; of a blob that no link writes, itself."""

    parts: "list[Symbol]"

    def renamed(self, names: Iterator[str]) -> "Held":
        """The same, where the parts have the next of these names, and content that nobody knows yet."""
        return replace(self, parts=[replace(p, name=next(names), type=p.type.with_shape(p.shape)) for p in self.parts])

    def begin(self, graph: "Graph") -> None:
        """Make it ready for a round."""

    def read(self, graph: "Graph", step: str, part: slice) -> str:
        """The steps `part`, counted from this one; step is int64 [1]."""
        raise NotImplementedError

    def write(self, graph: "Graph", step: str, part: slice, new: str) -> None:
        raise NotImplementedError

    def end(self, graph: "Graph") -> "list[Symbol]":
        """Leave the parts as the next round takes them; returns what this one lists."""
        return []

    def joined(self, graph: "Graph", lists: Iterator[str]) -> str:
        """The blob after all rounds, from the parts that they leave and, where it has one, the next of the lists."""
        raise NotImplementedError


@dataclass
class Whole(Held):
    """All of it is there in every round."""

    def read(self, graph, step, part):
        return graph.add("Gather", self.parts[0], self._places(graph, step, part), axis=0)

    def write(self, graph, step, part, new):
        places = graph.add("Reshape", self._places(graph, step, part), graph.ints([-1, 1]))
        self.parts = [replace(self.parts[0], name=graph.add("ScatterND", self.parts[0], places, new))]

    def joined(self, graph, lists):
        return self.parts[0]

    @staticmethod
    def _places(graph: "Graph", step: str, part: slice) -> str:
        return graph.add("Add", step, graph.ints(range(part.start, part.stop)))


@dataclass
class Rows(Held):
    """A state, of which a round has the rows [1, N, D] that links can reach: as many as it begins with, and one more.

    The last is zeros when a round begins; no link reaches further, for at the last step the state ends there. The
    first is reached by no later step, and listed.
    """

    shape: tuple[int, ...]  # (N, D)

    def begin(self, graph):
        self.parts += self.split(graph, graph.constant(np.zeros((1, *self.shape), np.float32)), 1)

    def read(self, graph, step, part):
        rows = self.parts[part]
        return graph.add("Concat", *rows, axis=0) if len(rows) > 1 else rows[0].name

    def write(self, graph, step, part, new):
        self.parts[part] = self.split(graph, new, part.stop - part.start)

    def end(self, graph):
        done = graph.add("Reshape", self.parts.pop(0), graph.ints(self.shape))
        return [graph.symbol(done, TensorType(self.shape))]

    def joined(self, graph, lists):
        return graph.add("Concat", next(lists), *self.parts, axis=0)

    def split(self, graph: "Graph", x: str, count: int) -> "list[Symbol]":
        """The rows of [count, N, D]."""
        if count < 2:
            return [graph.symbol(x, TensorType((1, *self.shape)))] * count
        names = graph.add("Split", x, graph.ints([1] * count), outputs=count, axis=0)
        return [graph.symbol(name, TensorType((1, *self.shape))) for name in names]


def begin_state(graph: "Graph", first: "Symbol", shape: tuple[int, ...], count: int, is_read: bool) -> Held:
    """A state [T, N, D] whose first `count` steps are an input, broadcast; is_read: the step net sees all of it."""
    steps, *each = shape
    rows = graph.add("Expand", first, graph.ints([count, *each]))
    if not is_read and count <= MAX_ROWS:
        state = Rows([], tuple(each))
        state.parts = state.split(graph, rows, count)
        return state
    zeros = graph.constant(np.zeros((steps - count, *each), np.float32))
    return Whole([graph.symbol(graph.add("Concat", rows, zeros, axis=0), TensorType(shape))])
