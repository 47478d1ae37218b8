"""Sparse rows, which are values with their columns, and dense ones."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import (
    check_indices,
    check_lengths,
    check_rank,
    check_same_type,
    known,
)
from caffe2_models.operators.registry import ANY, FLOAT32, INDICES, INT32, INT64, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType


@operator("SparseToDense")
@dataclass(frozen=True)
class SparseToDense(Operator):
    """Rows added up at their indices; as many rows as output_first_dim, the third blob, or the largest index says."""

    output_first_dim: int = 0

    dtypes = (INDICES, NUMBERS - {"float64"}, ANY)

    def infer(self, indices, values, like=None):
        check_rank(indices, 1, "indices")
        if not values.shape or values.shape[0] != indices.size:
            raise ModelError(f"{indices.size} indices for {values}")
        if self.output_first_dim > 0:
            if like is not None:
                raise ModelError("the number of rows is given twice")
            rows = self.output_first_dim
        elif like is not None:
            if not like.shape:
                raise ModelError("a third blob of no dimensions")
            rows = like.shape[0]
        else:
            rows = int(known(indices, "rows").max(initial=-1)) + 1
        return values.with_shape((max(rows, 0), *values.shape[1:]))

    def compute(self, indices, values, like=None):
        types = (None if x is None else TensorType.of(x) for x in (indices, values, like))
        shape = self.infer(*types).shape
        check_indices(indices, shape[0])
        result = np.zeros(shape, values.dtype)
        np.add.at(result, indices, values)
        return result


@operator("SparseToDenseMask")
@dataclass(frozen=True)
class SparseToDenseMask(Operator):
    """Rows at the columns that the list `mask` gives to their ids, of equal ids the last; a default elsewhere.

    lengths (fourth blob) says how many ids each row of the output has; without it there is one, bare. Output 2 is
    which columns were found.
    """

    mask: tuple[int, ...]
    return_presence_mask: bool = False
    max_skipped_indices: int = 50

    dtypes = (INDICES, ANY, ANY, INT32)

    def infer(self, ids, values, default, lengths=None):
        if not self.mask or min(self.mask) < 0 or len(set(self.mask)) != len(self.mask):
            raise ModelError("the ids of `mask` must be some, not negative and distinct")
        check_rank(ids, 1, "ids")
        check_same_type(values, default)
        if not values.shape or values.shape[0] != ids.size or len(default.shape) + 1 != len(values.shape):
            raise ModelError(f"{ids.size} ids for {values}, with a default of {default}")
        if default.size != math.prod(values.shape[1:]):
            raise ModelError(f"a default of {default} for {values}")
        if lengths is not None:
            check_rank(lengths, 1, "lengths")
        shape = (*(lengths.shape if lengths is not None else ()), len(self.mask))
        return values.with_shape((*shape, *default.shape)), TensorType(shape, np.bool_)

    def compute(self, ids, values, default, lengths=None):
        each = np.array([ids.size]) if lengths is None else lengths
        check_lengths(each, ids.size)
        rows = np.repeat(np.arange(each.size), each)
        invalid = (ids < 0) | (ids >= np.iinfo(ids.dtype).max)
        if np.unique(rows[invalid]).size >= self.max_skipped_indices:
            raise ModelError("too many rows with invalid ids")
        order = np.argsort(self.mask, kind="stable")
        sorted_ids = np.array(self.mask, np.int64)[order]
        place = np.minimum(np.searchsorted(sorted_ids, ids), len(self.mask) - 1)
        found = (sorted_ids[place] == ids) & ~invalid
        columns = order[place]
        result = np.empty((each.size, len(self.mask), *default.shape), values.dtype)
        result[:] = default
        present = np.zeros((each.size, len(self.mask)), np.bool_)
        result[rows[found], columns[found]] = values[found].reshape(found.sum(), *default.shape)
        present[rows[found], columns[found]] = True
        return (result, present) if lengths is not None else (result[0], present[0])


@operator("BatchSparseToDense")
@dataclass(frozen=True)
class BatchSparseToDense(Operator):
    """Values [sum of lengths] at the columns of their indices in rows of dense_last_dim, or as wide as the fourth blob.

    Elsewhere stands default_value.
    """

    dense_last_dim: int = -1
    default_value: float = 0.0

    dtypes = (INT64, INT64, FLOAT32, ANY)

    def infer(self, lengths, indices, values, like=None):
        check_rank(lengths, 1, "lengths")
        check_rank(indices, 1, "indices")
        if like is not None:
            check_rank(like, 2, "the blob that gives the width")
        width = self.dense_last_dim if like is None or self.dense_last_dim != -1 else like.shape[1]
        if indices.size != values.size or (like is None and width < 1) or (like is not None and like.shape[1] != width):
            raise ModelError(f"{indices.size} indices, {values.size} values, rows of {width}")
        return TensorType((lengths.size, width))

    def compute(self, lengths, indices, values, like=None):
        width = self.dense_last_dim if like is None or self.dense_last_dim != -1 else like.shape[1]
        check_lengths(lengths, indices.size)
        check_indices(indices, width)
        result = np.full((lengths.size, width), self.default_value, np.float32)
        result[np.repeat(np.arange(lengths.size), lengths), indices] = values.ravel()
        return result


@operator("BatchDenseToSparse")
@dataclass(frozen=True)
class BatchDenseToSparse(Operator):
    """The values of rows at the columns that the indices give, lengths of them for each row."""

    dtypes = (INT64, INT64, FLOAT32)

    def infer(self, lengths, indices, dense):
        check_rank(lengths, 1, "lengths")
        check_rank(indices, 1, "indices")
        check_rank(dense, 2, "rows")
        if lengths.size != dense.shape[0]:
            raise ModelError(f"{lengths.size} lengths for the rows of {list(dense.shape)}")
        return dense.with_shape(indices.shape)

    def compute(self, lengths, indices, dense):
        check_lengths(lengths, indices.size)
        check_indices(indices, dense.shape[1])
        return dense[np.repeat(np.arange(lengths.size), lengths), indices]
