"""The largest values, in order."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, known
from caffe2_models.operators.registry import FLOAT32, INT64, Operator, operator
from caffe2_models.tensors import TensorType


@operator("TopK")
@dataclass(frozen=True)
class TopK(Operator):
    """The k largest values along `axis`, largest first, of equal ones the first.

    k is an argument, or where it is not given the second blob. Output 2 is their places, output 3 their places in the
    flattened input, int64. Where there are fewer than k, the rest of the values is 0 and that of the places -1.
    """

    k: int = -1
    axis: int = -1

    dtypes = (FLOAT32, INT64)

    def infer(self, x, k=None):
        told = known(k, "number") if k is not None and self.k == -1 else None
        axis, count = self._axis(len(x.shape)), self._count(told)
        shape = (*x.shape[:axis], count, *x.shape[axis + 1 :])
        return x.with_shape(shape), TensorType(shape, np.int64), TensorType((math.prod(shape),), np.int64)

    def compute(self, x, k=None):
        axis, count = self._axis(x.ndim), self._count(k)
        rows = np.moveaxis(x, axis, -1)
        places = np.argsort(-rows, axis=-1, kind="stable")[..., :count]
        unordered = np.isnan(rows).any(axis=-1)
        for row in map(tuple, np.argwhere(unordered)):
            places[row] = heap_order(rows[row], count)
        values = np.take_along_axis(rows, places, axis=-1)
        missing = count - places.shape[-1]
        pads = [(0, 0)] * (x.ndim - 1) + [(0, missing)]
        values, places = np.pad(values, pads), np.pad(places, pads, constant_values=-1)
        flat = np.moveaxis(np.arange(x.size).reshape(x.shape), axis, -1)
        flat = np.pad(np.take_along_axis(flat, places[..., : count - missing], axis=-1), pads, constant_values=-1)
        values, places, flat = (np.ascontiguousarray(np.moveaxis(v, -1, axis)) for v in (values, places, flat))
        return values, places, flat.ravel()

    def lower(self, graph, x, k=None):
        axis, count = self._axis(len(x.shape)), self._count(k and k.type.value)
        extent, inner = x.shape[axis], math.prod(x.shape[axis + 1 :])
        values, places = graph.add("TopK", x, graph.ints([min(count, extent)]), axis=axis, outputs=2)
        outer = np.arange(math.prod(x.shape[:axis])).reshape(*x.shape[:axis], *[1] * (len(x.shape) - axis))
        offsets = outer * extent * inner + np.arange(inner).reshape(1, *x.shape[axis + 1 :])
        flat = graph.add(
            "Add", graph.add("Mul", places, graph.constant(inner, np.int64)), graph.constant(offsets, np.int64)
        )
        if count > extent:
            pads = graph.ints([0] * len(x.shape) + [count - extent if i == axis else 0 for i in range(len(x.shape))])
            values = graph.add("Pad", values, pads)
            places, flat = (graph.add("Pad", v, pads, graph.constant(-1, np.int64)) for v in (places, flat))
        return values, places, graph.add("Reshape", flat, graph.ints([-1]))

    def _axis(self, rank: int) -> int:
        if self.axis < -1:
            raise ModelError(f"axis {self.axis}; of negative ones Caffe2 takes -1 alone")
        return canonical_axis(self.axis, rank)

    def _count(self, k: np.ndarray | None) -> int:
        if k is not None and k.size != 1:
            raise ModelError(f"k of {k.size} numbers")
        count = self.k if k is None or self.k != -1 else int(k.ravel()[0])
        if count < 1:
            raise ModelError(f"the {count} largest")
        return count


@operator("FlexibleTopK")
@dataclass(frozen=True)
class FlexibleTopK(Operator):
    """The largest values of each row of the last dimension, and their places; the second blob says how many of each."""

    dtypes = (FLOAT32, INT64)

    def infer(self, x, counts):
        if not x.shape or counts.size != math.prod(x.shape[:-1]):
            raise ModelError(f"{counts.size} counts for the rows of {x}")
        wanted = known(counts, "counts")
        if ((wanted < 1) | (wanted > x.shape[-1])).any():
            raise ModelError(f"the largest {wanted.min()} to {wanted.max()} of {x.shape[-1]}")
        total = int(wanted.sum())
        return x.with_shape((total,)), TensorType((total,), np.int64)

    def compute(self, x, counts):
        rows = x.reshape(-1, x.shape[-1])
        places = np.argsort(-rows, axis=-1, kind="stable")
        wanted = np.arange(rows.shape[1]) < counts.reshape(-1, 1)
        return np.take_along_axis(rows, places, axis=-1)[wanted], places[wanted]


def heap_order(row: np.ndarray, count: int) -> list[int]:
    """The places that Caffe2's heap of the `count` largest leaves, in its order: what NaN in the row makes of it.

    The heap is libstdc++'s (make_heap, push_heap, pop_heap), with the smallest on top; NaN is smaller than nothing.
    """

    def before(a: int, b: int) -> bool:
        return bool(row[a] > row[b] or (row[a] == row[b] and a < b))

    heap = list(range(min(count, row.size)))

    def rise(hole: int, top: int, value: int) -> None:
        while hole > top and before(heap[(hole - 1) // 2], value):
            heap[hole] = heap[(hole - 1) // 2]
            hole = (hole - 1) // 2
        heap[hole] = value

    def sink(hole: int, length: int, value: int) -> None:
        top, child = hole, hole
        while child < (length - 1) // 2:
            child = 2 * (child + 1)
            if before(heap[child], heap[child - 1]):
                child -= 1
            heap[hole] = heap[child]
            hole = child
        if length % 2 == 0 and child == (length - 2) // 2:
            child = 2 * (child + 1)
            heap[hole] = heap[child - 1]
            hole = child - 1
        rise(hole, top, value)

    def pop() -> int:
        first, last = heap[0], heap.pop()
        if heap:
            sink(0, len(heap), last)
        return first

    for parent in range((len(heap) - 2) // 2, -1, -1):
        sink(parent, len(heap), heap[parent])
    for place in range(count, row.size):
        if row[heap[0]] < row[place]:
            pop()
            heap.append(place)
            rise(len(heap) - 1, 0, place)
    return [pop() for _ in range(len(heap))][::-1]
