"""Numbers as rows of zeros and ones, and as numbers of buckets."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import (
    check_indices,
    check_lengths,
    check_rank,
    check_same_type,
    known,
)
from caffe2_models.operators.registry import FLOAT32, INDICES, INT32, INT64, Operator, operator
from caffe2_models.tensors import TensorType


@operator("OneHot")
@dataclass(frozen=True)
class OneHot(Operator):
    """A row for each index, 1 at its place, float32; the rows' length is the second blob's content."""

    dtypes = INT64

    def infer(self, indices, size):
        check_rank(indices, 1, "indices")
        return TensorType((indices.size, length_of_row(size)))

    def compute(self, indices, size):
        result = np.zeros((indices.size, int(size.ravel()[0])), np.float32)
        check_indices(indices, result.shape[1])
        result[np.arange(indices.size), indices] = 1
        return result

    def lower(self, graph, indices, size):
        values = graph.constant(np.array([0, 1], np.float32))
        return graph.add("OneHot", indices, graph.ints([length_of_row(size.type)]), values, axis=-1)


def length_of_row(size: TensorType) -> int:
    """The content of a blob of one number, a row's length."""
    if size.size != 1:
        raise ModelError(f"a size of shape {list(size.shape)}; one number is expected")
    length = int(known(size, "length").ravel()[0])
    if length < 0:
        raise ModelError(f"rows of {length} elements")
    return length


@operator("BatchOneHot")
@dataclass(frozen=True)
class BatchOneHot(Operator):
    """Each column of x [N, D] compared with its values: lengths says how many of `values` are each column's."""

    dtypes = (INDICES, INT32, INDICES)

    def infer(self, x, lengths, values):
        check_same_type(x, values)
        if not x.shape or lengths.size != math.prod(x.shape[1:]):
            raise ModelError(f"{lengths.size} lengths for the columns of {list(x.shape)}")
        return x.with_shape((x.shape[0], values.size))

    def compute(self, x, lengths, values):
        check_lengths(lengths, values.size)
        columns = np.repeat(np.arange(lengths.size), lengths.ravel())
        rows = x.reshape(x.shape[0], lengths.size)
        return (rows[:, columns] == values.ravel()).astype(x.dtype)


@operator("BatchBucketOneHot")
@dataclass(frozen=True)
class BatchBucketOneHot(Operator):
    """Each column of x [N, D] by its (sorted) boundaries in buckets, one more than boundaries, float32.

    Among equal boundaries, a value that equals them falls into the bucket in the middle.
    """

    dtypes = (FLOAT32, INT32, FLOAT32)

    def infer(self, x, lengths, boundaries):
        if not x.shape or lengths.size != math.prod(x.shape[1:]):
            raise ModelError(f"{lengths.size} lengths for the columns of {list(x.shape)}")
        return TensorType((x.shape[0], boundaries.size + lengths.size))

    def compute(self, x, lengths, boundaries):
        lengths = lengths.ravel()
        check_lengths(lengths, boundaries.size)
        if (lengths < 1).any():
            raise ModelError("a column without boundaries")
        rows = x.reshape(x.shape[0], lengths.size)
        result = np.zeros((x.shape[0], boundaries.size + lengths.size), np.float32)
        starts = np.cumsum(lengths) - lengths
        for column, (start, length) in enumerate(zip(starts, lengths, strict=True)):
            edges = boundaries.ravel()[start : start + length]
            bucket = (buckets(rows[:, column], edges) + buckets(rows[:, column], edges, "right")) // 2
            result[np.arange(x.shape[0]), start + column + bucket] = 1
        return result


def buckets(x: np.ndarray, boundaries: np.ndarray, side: Literal["left", "right"] = "left") -> np.ndarray:
    """How many of the sorted boundaries are below each value, or not above it (right).

    Of NaN none and all, as std::lower_bound and std::upper_bound find.
    """
    nothing = 0 if side == "left" else boundaries.size
    return np.where(np.isnan(x), nothing, np.searchsorted(boundaries, x, side))


@operator("BatchBucketize")
@dataclass(frozen=True)
class BatchBucketize(Operator):
    """The chosen columns of x [N, D], each by its own (sorted) boundaries in buckets, int32."""

    dtypes = (FLOAT32, INT32, FLOAT32, INT32)

    def infer(self, x, columns, boundaries, lengths):
        check_rank(x, 2, "data")
        if columns.size != lengths.size:
            raise ModelError(f"{columns.size} columns with {lengths.size} lengths")
        return TensorType((x.shape[0], columns.size), np.int32)

    def compute(self, x, columns, boundaries, lengths):
        lengths, boundaries = lengths.ravel(), boundaries.ravel()
        check_lengths(lengths, boundaries.size)
        check_indices(columns, x.shape[1])
        result = np.empty((x.shape[0], columns.size), np.int32)
        starts = np.cumsum(lengths) - lengths
        for i, column in enumerate(columns.ravel()):
            below = buckets(x[:, column], boundaries[starts[i] : starts[i] + lengths[i]])
            result[:, i] = np.where(np.isnan(x[:, column]), lengths[i], below)  # NaN is above all here
        return result


@operator("SegmentOneHot")
@dataclass(frozen=True)
class SegmentOneHot(Operator):
    """A row for each segment, 1 at the places of its indices, float32; the third blob is the rows' length."""

    dtypes = (INT32, INT64, INT64)

    def infer(self, lengths, indices, size):
        check_rank(lengths, 1, "lengths")
        check_rank(indices, 1, "indices")
        return TensorType((lengths.size, length_of_row(size)))

    def compute(self, lengths, indices, size):
        result = np.zeros((lengths.size, int(size.ravel()[0])), np.float32)
        check_lengths(lengths, indices.size)
        check_indices(indices, result.shape[1])
        result[np.repeat(np.arange(lengths.size), lengths), indices] = 1
        return result
