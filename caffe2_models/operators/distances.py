"""Products and distances of two blobs, row by row: the first dimension stays."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_same_shape
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.tensors import TensorType


def rows_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """(rows, values of one) as these operators see a blob: the first dimension, and all others."""
    count = shape[0] if shape else 1
    return count, math.prod(shape[1:])


def products_of(shape: tuple[int, ...]) -> int:
    """How many products of rows there are: none of rows without values."""
    return rows_of(shape)[0] if math.prod(shape) else 0


@dataclass(frozen=True)
class RowWise(Operator):
    """Base: one value for each row of two blobs of one shape."""

    def infer(self, a, b):
        check_same_shape(a, b)
        return TensorType((rows_of(a.shape)[0],))

    def compute(self, a, b):
        rows = rows_of(a.shape)
        return self.measure(a.reshape(rows), b.reshape(rows))

    def lower(self, graph, a, b):
        rows = graph.ints(rows_of(a.shape))
        return self.lower_rows(graph, graph.add("Reshape", a, rows), graph.add("Reshape", b, rows))

    def macs(self, a, b):
        return a.size


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Products of the rows of two matrices."""
    return np.einsum("nd,nd->n", a, b, dtype=np.float64).astype(np.float32)


def lower_dot(graph, a: str, b: str) -> str:
    return graph.add("ReduceSum", graph.add("Mul", a, b), graph.ints([1]), keepdims=0)


@operator("DotProduct")
@dataclass(frozen=True)
class DotProduct(RowWise):
    def infer(self, a, b):
        check_same_shape(a, b)
        return TensorType((products_of(a.shape),))

    def measure(self, a, b):
        return dot(a, b)[: products_of(a.shape)]

    lower_rows = staticmethod(lower_dot)


@operator("SquaredL2Distance")
@dataclass(frozen=True)
class SquaredL2Distance(RowWise):
    """Half the square of the distance, by (a a + b b) / 2 - a b."""

    def measure(self, a, b):
        return (dot(a, a) + dot(b, b)) * np.float32(0.5) - dot(a, b)

    def lower_rows(self, graph, a, b):
        difference = graph.add("Sub", a, b)
        return graph.add("Mul", lower_dot(graph, difference, difference), graph.constant(np.float32(0.5)))


@operator("L1Distance")
@dataclass(frozen=True)
class L1Distance(RowWise):
    def measure(self, a, b):
        return np.abs(a - b).sum(axis=1)

    def lower_rows(self, graph, a, b):
        return graph.add("ReduceL1", graph.add("Sub", a, b), axes=[1], keepdims=0)


@operator("CosineSimilarity")
@dataclass(frozen=True)
class CosineSimilarity(RowWise):
    smallest = np.float32(1e-12)

    def measure(self, a, b):
        norms = np.maximum(dot(a, a), self.smallest) * np.maximum(dot(b, b), self.smallest)
        return dot(a, b) / np.sqrt(norms)

    def lower_rows(self, graph, a, b):
        smallest = graph.constant(self.smallest)
        a2, b2 = (graph.add("Max", lower_dot(graph, x, x), smallest) for x in (a, b))
        return graph.add("Div", lower_dot(graph, a, b), graph.add("Sqrt", graph.add("Mul", a2, b2)))


@operator("DotProductWithPadding")
@dataclass(frozen=True)
class DotProductWithPadding(Operator):
    """Products of rows of different lengths: the shorter is padded with pad_value or, with replicate, repeated."""

    pad_value: float = 0.0
    replicate: bool = False

    def infer(self, a, b):
        if len(a.shape) != len(b.shape) or rows_of(a.shape)[0] != rows_of(b.shape)[0]:
            raise ModelError(f"{a} and {b} have different rows")
        if self.replicate and not min(rows_of(a.shape)[1], rows_of(b.shape)[1]):
            raise ModelError(f"{a} and {b}: an empty row cannot be repeated")
        return TensorType((products_of(a.shape),))

    def compute(self, a, b):
        if not a.size:
            return np.zeros(0, np.float32)
        a, b = a.reshape(rows_of(a.shape)), b.reshape(rows_of(b.shape))
        if self.replicate:
            long, short = (a, b) if a.shape[1] > b.shape[1] else (b, a)
            times = long.shape[1] // short.shape[1]
            return dot(long[:, : times * short.shape[1]], np.tile(short, times))
        width = min(a.shape[1], b.shape[1])
        rest = (a if a.shape[1] > width else b)[:, width:].sum(axis=1)
        return dot(a[:, :width], b[:, :width]) + rest * np.float32(self.pad_value)

    def lower(self, graph, a, b):
        (_, wide_a), (_, wide_b) = rows_of(a.shape), rows_of(b.shape)
        a = graph.add("Reshape", a, graph.ints(rows_of(a.shape)))
        b = graph.add("Reshape", b, graph.ints(rows_of(b.shape)))
        long, short, wide, narrow = (a, b, wide_a, wide_b) if wide_a > wide_b else (b, a, wide_b, wide_a)
        if self.replicate:
            times = wide // narrow
            long = graph.add("Slice", long, graph.ints([0]), graph.ints([times * narrow]), graph.ints([1]))
            return lower_dot(graph, long, graph.add("Tile", short, graph.ints([1, times])))
        pads = graph.ints([0, 0, 0, wide - narrow])
        return lower_dot(graph, long, graph.add("Pad", short, pads, graph.constant(np.float32(self.pad_value))))

    def macs(self, a, b):
        return max(a.size, b.size)
