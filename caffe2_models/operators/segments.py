"""Reductions of rows in groups, which lengths or segment ids tell; rows are taken as they are or by indices."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_indices, check_lengths, check_rank, known
from caffe2_models.operators.registry import FLOAT32, INDICES, INT32, Dtypes, Operator, operator
from caffe2_models.tensors import TensorType


def reduce_runs(rows: np.ndarray, lengths: np.ndarray, function: np.ufunc) -> np.ndarray:
    """Runs of rows [N, D], lengths [K] of them one after another, each reduced to one: [K, D]; 0 of an empty run."""
    result = np.zeros((lengths.size, *rows.shape[1:]), rows.dtype)
    filled = lengths > 0
    if filled.any():
        starts = (np.cumsum(lengths) - lengths)[filled]
        result[filled] = function.reduceat(rows, starts, axis=0)
    return result


def sum_runs(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return reduce_runs(rows, lengths, np.add)


def mean_runs(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    return sum_runs(rows, lengths) * (1 / np.maximum(lengths, 1)).astype(np.float32)[:, None]


def max_runs(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """As std::max finds it from the first row on: NaN where that is NaN, and else any NaN is passed over."""
    result = reduce_runs(rows, lengths, np.fmax)
    filled = lengths > 0
    first = rows[(np.cumsum(lengths) - lengths)[filled]]
    result[filled] = np.where(np.isnan(first), first, result[filled])
    return result


def range_max_runs(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """From the lowest float on: any NaN is passed over."""
    largest = reduce_runs(rows, lengths, np.fmax)
    return np.where(np.isnan(largest), np.finfo(np.float32).min, largest)


REDUCERS = {"Sum": sum_runs, "WeightedSum": sum_runs, "Mean": mean_runs, "Max": max_runs}


@dataclass(frozen=True)
class SegmentReduction(Operator):
    """Base: rows of data (its first dimension), in groups, each reduced to one.

    The inputs are data; with `weighted` a factor for each row; with `indexed` the indices of the rows, for which data
    is the table; and what groups the rows.
    """

    reducer = staticmethod(sum_runs)
    weighted = False
    indexed = False

    @classmethod
    def arity(cls):
        count = 2 + cls.weighted + cls.indexed
        return count, count

    def infer(self, data, *others):
        weights, indices, groups = self._roles(others)
        if not data.shape:
            raise ModelError("data of no dimensions has no rows")
        check_rank(groups, 1, "lengths" if groups.dtype == np.int32 else "segment ids")
        if indices is not None:
            check_rank(indices, 1, "indices")
        count = data.shape[0] if indices is None else indices.size
        if weights is not None and weights.shape != (count,):
            raise ModelError(f"weights of shape {list(weights.shape)} for {count} rows")
        return TensorType((self.group_count(groups, count), *self.row_shape(data.shape)))

    def compute(self, data, *others):
        weights, indices, groups = self._roles(others)
        if indices is not None:
            check_indices(indices, data.shape[0])
            data = data[indices]
        rows = self.floats(data, weights)
        lengths, order = self.runs(groups, rows.shape[0])
        if order is not None:
            rows = rows[order]
        return self.reducer(rows, lengths).reshape(lengths.size, *self.row_shape(data.shape))

    def workspace(self, data, *others):
        _, indices, _ = self._roles(others)
        count = data.shape[0] if indices is None else indices.size
        return 2 * 4 * count * math.prod(self.row_shape(data.shape))

    def macs(self, data, *others):
        weights, indices, _ = self._roles(others)
        count = data.shape[0] if indices is None else indices.size
        return count * math.prod(self.row_shape(data.shape)) if weights is not None else 0

    def _roles(self, others):
        """(weights, indices, groups), None where it has none."""
        weights = others[0] if self.weighted else None
        indices = others[self.weighted] if self.indexed else None
        return weights, indices, others[self.weighted + self.indexed]

    def row_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one reduced row of data of this shape."""
        return shape[1:]

    def floats(self, data: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
        """Rows of data as float32 [N, D], times their weights; a row of weight 0 counts as zeros, NaN or not."""
        rows = data.reshape(data.shape[0], math.prod(data.shape[1:])).astype(np.float32, copy=False)
        if weights is None:
            return rows
        weights = weights[:, None]
        return np.where(weights == 0, np.float32(0), rows * weights)

    def group_count(self, groups: TensorType, count: int) -> int:
        """How many groups of `count` rows there are."""
        raise NotImplementedError

    def runs(self, groups: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray | None]:
        """(the groups' lengths, the rows in the groups' order: None where they are in it already)."""
        raise NotImplementedError


@dataclass(frozen=True)
class LengthsReduction(SegmentReduction):
    """Groups of consecutive rows, by their lengths; 0 where one is empty."""

    def group_count(self, groups, count):
        return groups.size

    def runs(self, groups, count):
        check_lengths(groups, count)
        return groups.astype(np.int64), None


@dataclass(frozen=True)
class SortedReduction(SegmentReduction):
    """Groups of consecutive rows, by ids that begin at 0 and rise by 1."""

    def group_count(self, groups, count):
        check_id_count(groups, count)
        ids = known(groups, "segment ids")
        return int(ids[-1]) + 1 if ids.size else 0

    def runs(self, groups, count):
        if groups.size and (groups[0] != 0 or not np.isin(np.diff(groups), [0, 1]).all()):
            raise ModelError("segment ids that do not begin at 0 and rise by 1")
        return np.bincount(groups), None


@dataclass(frozen=True)
class UnsortedReduction(SegmentReduction):
    """Groups of rows with the same id; num_segments of them, or one more than the largest id."""

    num_segments: int = -1

    def group_count(self, groups, count):
        check_id_count(groups, count)
        if self.num_segments < -1:
            raise ModelError(f"num_segments {self.num_segments}")
        if self.num_segments != -1:
            return self.num_segments
        return int(known(groups, "segment ids").max(initial=-1)) + 1

    def runs(self, groups, count):
        segments = self.num_segments if self.num_segments != -1 else int(groups.max(initial=-1)) + 1
        check_indices(groups, segments)
        return np.bincount(groups, minlength=segments), np.argsort(groups, kind="stable")


def check_id_count(ids: TensorType, count: int) -> None:
    if ids.size != count:
        raise ModelError(f"{ids.size} segment ids for {count} rows")


def input_dtypes(data: Dtypes, weighted: bool, indexed: bool) -> tuple[Dtypes, ...]:
    """What each input of a SegmentReduction may hold."""
    return (data, *[FLOAT32] * weighted, *[INDICES] * indexed, INT32)


def register(prefix: str, base: type[SegmentReduction], names: tuple[str, ...], indexed: bool) -> None:
    """Register PREFIXSum and so on."""
    for name in names:
        weighted = name.startswith("Weighted")
        operator(
            f"{prefix}{name}",
            reducer=staticmethod(REDUCERS[name]),
            weighted=weighted,
            indexed=indexed,
            dtypes=input_dtypes(FLOAT32, weighted, indexed),
        )(base)


register("Lengths", LengthsReduction, ("Sum", "Mean", "Max", "WeightedSum"), indexed=False)
register("SortedSegment", SortedReduction, ("Sum", "Mean", "WeightedSum"), indexed=False)
register("SparseSortedSegment", SortedReduction, ("Sum", "Mean", "WeightedSum"), indexed=True)
register("UnsortedSegment", UnsortedReduction, ("Sum", "Mean", "WeightedSum"), indexed=False)
register("SparseUnsortedSegment", UnsortedReduction, ("Sum", "Mean", "WeightedSum"), indexed=True)


def log_sum_exp_runs(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    largest = range_max_runs(rows, lengths)
    return np.log(sum_runs(np.exp(rows - np.repeat(largest, lengths, axis=0)), lengths)) + largest


def log_mean_exp_runs(rows: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    largest = range_max_runs(rows, lengths)
    return np.log(mean_runs(np.exp(rows - np.repeat(largest, lengths, axis=0)), lengths)) + largest


for caffe2_name, reducer in [
    ("SortedSegmentRangeSum", sum_runs),
    ("SortedSegmentRangeMean", mean_runs),
    ("SortedSegmentRangeMax", range_max_runs),
    ("SortedSegmentRangeLogSumExp", log_sum_exp_runs),
    ("SortedSegmentRangeLogMeanExp", log_mean_exp_runs),
]:
    operator(caffe2_name, reducer=staticmethod(reducer), dtypes=(FLOAT32, INT32))(SortedReduction)


@operator("ReduceFrontWeightedSum")
@dataclass(frozen=True)
class ReduceFrontWeightedSum(Operator):
    """The blocks behind the first num_reduce_dim dimensions, each times its weight, added up."""

    num_reduce_dim: int = 1

    def infer(self, data, weights):
        if not 1 <= self.num_reduce_dim <= len(data.shape) or weights.shape != data.shape[: self.num_reduce_dim]:
            raise ModelError(f"weights {list(weights.shape)} for the blocks of {list(data.shape)}")
        return data.with_shape(data.shape[self.num_reduce_dim :])

    def compute(self, data, weights):
        return np.tensordot(weights, data, self.num_reduce_dim).astype(np.float32)

    def lower(self, graph, data, weights):
        count, kept = weights.type.size, data.shape[self.num_reduce_dim :]
        blocks = graph.add("Reshape", data, graph.ints((count, math.prod(kept))))
        total = graph.add("MatMul", graph.add("Reshape", weights, graph.ints([1, count])), blocks)
        return graph.add("Reshape", total, graph.ints(kept))

    def macs(self, data, weights):
        return data.size
