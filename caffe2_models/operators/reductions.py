"""Sums, means, largest values and moments, over axes, over leading or trailing dimensions, over everything."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, check_rank
from caffe2_models.operators.registry import ANY, FLOAT32, FLOATS, INT32, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType


def largest(x: np.ndarray, axis: int | tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    """As std::max finds it from the first on: NaN where that is NaN, and else any NaN is passed over."""
    return _extreme(np.fmax, x, axis, keepdims)


def smallest(x: np.ndarray, axis: int | tuple[int, ...], keepdims: bool = False) -> np.ndarray:
    """As std::min finds it; see largest."""
    return _extreme(np.fmin, x, axis, keepdims)


def _extreme(function: np.ufunc, x: np.ndarray, axis: int | tuple[int, ...], keepdims: bool) -> np.ndarray:
    found = function.reduce(x, axis=axis, keepdims=True)
    axes = axis if isinstance(axis, tuple) else (axis,)
    first = x[tuple(slice(0, 1) if i in {a % x.ndim for a in axes} else slice(None) for i in range(x.ndim))]
    found = np.where(np.isnan(first), first, found)
    return found if keepdims else found.squeeze(axes)


@dataclass(frozen=True)
class Reduction(Operator):
    """Over `axes` (all where none is given), which stay as 1 with keepdims."""

    axes: tuple[int, ...] | None = None
    keepdims: bool = True

    dtypes = FLOATS

    def infer(self, x):
        axes = self._axes(len(x.shape))
        kept = [1 if axis in axes else dim for axis, dim in enumerate(x.shape) if self.keepdims or axis not in axes]
        return x.with_shape(tuple(kept))

    def compute(self, x):
        axes = self._axes(x.ndim)
        if not x.size:
            return np.full(self.infer(TensorType.of(x)).shape, self.of_nothing(x.dtype), x.dtype)
        return self.function(x, axis=axes, keepdims=self.keepdims).astype(x.dtype)

    def lower(self, graph, x):
        axes = self._axes(len(x.shape))
        if self.onnx_type == "ReduceSum":  # its axes became an input in opset 13, the others' in 18
            return graph.add("ReduceSum", x, graph.ints(axes), keepdims=int(self.keepdims))
        return graph.add(self.onnx_type, x, axes=axes, keepdims=int(self.keepdims))

    def _axes(self, rank):
        return (
            tuple(range(rank)) if not self.axes else tuple(sorted({canonical_axis(axis, rank) for axis in self.axes}))
        )


def limits(dtype: np.dtype) -> np.finfo | np.iinfo:
    return np.finfo(dtype) if dtype.kind == "f" else np.iinfo(dtype)


def zero(dtype: np.dtype) -> int:
    return 0


def wide(dtype: np.dtype) -> type:
    """What sums are added up in."""
    return np.float64 if dtype.kind == "f" else dtype.type


REDUCTIONS: list[tuple[str, Callable, Callable, frozenset[str]]] = [  # and what it makes of nothing
    ("ReduceMean", lambda x, **where: np.mean(x, dtype=np.float64, **where), zero, FLOATS),
    ("ReduceSum", lambda x, **where: np.sum(x, dtype=wide(x.dtype), **where), zero, NUMBERS),
    ("ReduceMax", largest, lambda dtype: limits(dtype).min, NUMBERS),
    ("ReduceMin", smallest, lambda dtype: limits(dtype).max, NUMBERS),
    ("ReduceL1", lambda x, **where: np.sum(np.abs(x), dtype=np.float64, **where), zero, FLOATS),
    ("ReduceL2", lambda x, **where: np.sqrt(np.sum(np.square(x, dtype=np.float64), **where)), zero, FLOATS),
]
for caffe2_name, function, of_nothing, dtypes in REDUCTIONS:
    functions = {"function": staticmethod(function), "of_nothing": staticmethod(of_nothing)}
    operator(caffe2_name, **functions, onnx_type=caffe2_name, dtypes=dtypes)(Reduction)


@dataclass(frozen=True)
class ReduceSide(Operator):
    """Over the first or last num_reduce_dim dimensions.

    With lengths (int32, one for each row or column that stays), over that many of the one dimension that goes. Of 0,
    the first value is taken nevertheless, and for a mean divided by 0.
    """

    num_reduce_dim: int = 1

    dtypes = (NUMBERS, INT32)
    front = False

    def infer(self, x, lengths=None):
        kept = self._kept(x.shape)
        if lengths is not None and (self.num_reduce_dim != 1 or lengths.size != math.prod(kept)):
            raise ModelError(f"{lengths.size} lengths for {list(x.shape)}; one for each of {list(kept)} is expected")
        return x.with_shape(kept)

    def compute(self, x, lengths=None):
        kept = self._kept(x.shape)
        axis = 0 if self.front else 1
        rows = self._matrix(x)
        if not rows.size:
            return np.zeros(kept, x.dtype)
        if lengths is None:
            return self.reduce(rows, axis, rows.shape[axis]).reshape(kept)
        lengths = lengths.ravel()
        extent = rows.shape[axis]
        if (lengths < 0).any() or (lengths > extent).any():
            raise ModelError(f"lengths {lengths.min()} to {lengths.max()} of {extent}")
        positions = np.arange(extent)
        longest = np.maximum(lengths, 1)
        seen = positions[:, None] < longest if self.front else positions < longest[:, None]
        return self.reduce(np.where(seen, rows, self.neutral(x.dtype)), axis, lengths).reshape(kept)

    def lower(self, graph, x, lengths=None):
        kept = self._kept(x.shape)
        rows = graph.add("Reshape", x, graph.ints(self._matrix_shape(x.shape)))
        axis = 0 if self.front else 1
        if not x.type.size:
            return graph.constant(np.zeros(kept, x.type.dtype))
        if lengths is None:
            extent = self._matrix_shape(x.shape)[axis]
            y = self.lower_reduce(graph, rows, axis, graph.constant(extent, x.type.dtype))
            return graph.add("Reshape", y, graph.ints(kept))
        positions = np.arange(self._matrix_shape(x.shape)[axis], dtype=np.int32)
        longest = graph.add("Max", lengths, graph.constant(1, np.int32))
        each = graph.add("Reshape", longest, graph.ints([-1] if self.front else [-1, 1]))
        seen = graph.add("Less", graph.constant(positions[:, None] if self.front else positions), each)
        filled = graph.add("Where", seen, rows, graph.constant(self.neutral(x.type.dtype), x.type.dtype))
        count = graph.cast(graph.add("Reshape", lengths, graph.ints([-1])), x.type.dtype)
        return graph.add("Reshape", self.lower_reduce(graph, filled, axis, count), graph.ints(kept))

    def reduce(self, rows: np.ndarray, axis: int, count) -> np.ndarray:
        """Over an axis of a matrix, along which `count` values of each row or column are meant."""
        raise NotImplementedError

    def lower_reduce(self, graph, rows: str, axis: int, count: str) -> str:
        raise NotImplementedError

    @staticmethod
    def neutral(dtype: np.dtype):
        """What stands for values beyond a length."""
        return dtype.type(0)

    def _split(self, rank: int) -> int:
        """Where the dimensions that go and those that stay meet."""
        if not 0 <= self.num_reduce_dim <= rank:
            raise ModelError(f"num_reduce_dim {self.num_reduce_dim} of {rank} dimensions")
        return self.num_reduce_dim if self.front else rank - self.num_reduce_dim

    def _kept(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        split = self._split(len(shape))
        return shape[split:] if self.front else shape[:split]

    def _matrix_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        split = self._split(len(shape))
        return math.prod(shape[:split]), math.prod(shape[split:])

    def _matrix(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(self._matrix_shape(x.shape))


def sum_along(rows: np.ndarray, axis: int) -> np.ndarray:
    """In the input's type; floats are added up in float64."""
    return rows.sum(axis=axis, dtype=np.float64 if rows.dtype.kind == "f" else rows.dtype).astype(rows.dtype)


@operator("ReduceFrontSum", front=True)
@operator("ReduceBackSum")
@dataclass(frozen=True)
class ReduceSideSum(ReduceSide):
    def reduce(self, rows, axis, count):
        return sum_along(rows, axis)

    def lower_reduce(self, graph, rows, axis, count):
        return graph.add("ReduceSum", rows, graph.ints([axis]), keepdims=0)


@operator("ReduceFrontMean", front=True)
@operator("ReduceBackMean")
@dataclass(frozen=True)
class ReduceSideMean(ReduceSide):
    def reduce(self, rows, axis, count):
        total = sum_along(rows, axis)
        return (total / count).astype(rows.dtype) if rows.dtype.kind == "f" else truncated_quotient(total, count)

    def lower_reduce(self, graph, rows, axis, count):
        return graph.add("Div", graph.add("ReduceSum", rows, graph.ints([axis]), keepdims=0), count)


def truncated_quotient(a: np.ndarray, b) -> np.ndarray:
    """Integers divided as C does it."""
    return (np.sign(a) * (np.abs(a) // b)).astype(a.dtype)


@operator("ReduceFrontMax", front=True)
@operator("ReduceBackMax")
@dataclass(frozen=True)
class ReduceSideMax(ReduceSide):
    dtypes = (FLOAT32, INT32)

    @staticmethod
    def neutral(dtype):
        return np.finfo(dtype).min

    def reduce(self, rows, axis, count):
        return largest(rows, axis)

    def lower_reduce(self, graph, rows, axis, count):
        return graph.add("ReduceMax", rows, axes=[axis], keepdims=0)


@operator("ReduceTailSum")
@dataclass(frozen=True)
class ReduceTailSum(Operator):
    """Over all dimensions but the first."""

    def infer(self, x):
        if not x.shape:
            raise ModelError("a blob of no dimensions has no rows")
        return x.with_shape(x.shape[:1])

    def compute(self, x):
        return sum_along(x.reshape(x.shape[0], math.prod(x.shape[1:])), 1)

    def lower(self, graph, x):
        rows = graph.add("Reshape", x, graph.ints((x.shape[0], math.prod(x.shape[1:]))))
        return graph.add("ReduceSum", rows, graph.ints([1]), keepdims=0)


@operator("RowwiseMax", axis=2)
@operator("ColwiseMax", axis=1)
@dataclass(frozen=True)
class MatrixMax(Operator):
    """The largest value of each row, or column, of each matrix [N, rows, columns]."""

    def infer(self, x):
        check_rank(x, 3, "a batch of matrices")
        if not x.shape[self.axis]:
            raise ModelError(f"the largest of nothing, in {list(x.shape)}")
        return x.with_shape(tuple(dim for axis, dim in enumerate(x.shape) if axis != self.axis))

    def compute(self, x):
        return largest(x, self.axis)

    def lower(self, graph, x):
        return graph.add("ReduceMax", x, axes=[self.axis], keepdims=0)


@dataclass(frozen=True)
class Total(Operator):
    """Base: one value of all elements; divided by their number with `average`."""

    average = False
    shape: ClassVar[tuple[int, ...]] = ()

    def infer(self, x):
        return x.with_shape(self.shape)

    def compute(self, x):
        total = self.terms(x).sum(dtype=np.float64)
        return np.asarray(total / x.size if self.average and x.size else total, x.dtype).reshape(self.shape)

    def lower(self, graph, x):
        total = self.lower_total(graph, graph.add("Reshape", x, graph.ints([-1])))
        if self.average and x.type.size:
            total = graph.add("Div", total, graph.constant(x.type.size, x.type.dtype))
        return graph.add("Reshape", total, graph.ints(self.shape))

    def terms(self, x: np.ndarray) -> np.ndarray:
        """What is summed."""
        raise NotImplementedError

    def lower_total(self, graph, x: str) -> str:
        """The sum of a vector's terms."""
        raise NotImplementedError


@dataclass(frozen=True)
class Elements(Total):
    def terms(self, x):
        return x

    def lower_total(self, graph, x):
        return graph.add("ReduceSum", x)


@operator("SumElements")
@dataclass(frozen=True)
class SumElements(Elements):
    average: bool = False


@operator("AveragedLoss")
@dataclass(frozen=True)
class AveragedLoss(Elements):
    """The mean of all elements."""

    average = True


@operator("SumElementsInt")
@dataclass(frozen=True)
class SumElementsInt(Operator):
    """The sum of all elements, int32."""

    dtypes = INT32

    def infer(self, x):
        return x.with_shape(())

    def compute(self, x):
        return np.asarray(x.sum(dtype=np.int32))

    def lower(self, graph, x):
        return graph.add("ReduceSum", x, keepdims=0)


@operator("SumSqrElements")
@dataclass(frozen=True)
class SumSqrElements(Total):
    """The sum of squares."""

    average: bool = False

    dtypes = FLOATS

    def terms(self, x):
        return np.square(x, dtype=np.float64)

    def lower_total(self, graph, x):
        return graph.add("ReduceSumSquare", x)


@operator("LpNorm")
@dataclass(frozen=True)
class LpNorm(Total):
    """The sum of absolute values (p=1), or of squares (p=2): no root is drawn."""

    p: int = 2
    average: bool = False

    shape = (1,)

    def infer(self, x):
        if self.p not in (1, 2):
            raise ModelError(f"p {self.p} is neither 1 nor 2")
        return super().infer(x)

    def terms(self, x):
        return np.abs(x) if self.p == 1 else np.square(x, dtype=np.float64)

    def lower_total(self, graph, x):
        return graph.add("ReduceL1" if self.p == 1 else "ReduceSumSquare", x)


@operator("Moments")
@dataclass(frozen=True)
class Moments(Operator):
    """Mean and variance over `axes` (all where none is given), which stay as 1 with keepdims."""

    axes: tuple[int, ...] = ()
    keepdims: bool = True

    def infer(self, x):
        axes = self._axes(len(x.shape))
        kept = [1 if axis in axes else dim for axis, dim in enumerate(x.shape) if self.keepdims or axis not in axes]
        return x.with_shape(tuple(kept)), x.with_shape(tuple(kept))

    def compute(self, x):
        if not x.size:
            nothing = np.zeros(self.infer(TensorType.of(x))[0].shape, x.dtype)
            return nothing, nothing
        over = {"axis": self._axes(x.ndim), "keepdims": self.keepdims, "dtype": np.float64}
        return np.mean(x, **over).astype(x.dtype), np.var(x, **over).astype(x.dtype)

    def lower(self, graph, x):
        axes, keepdims = self._axes(len(x.shape)), int(self.keepdims)
        mean = graph.add("ReduceMean", x, axes=axes, keepdims=1)
        centred = graph.add("Sub", x, mean)
        variance = graph.add("ReduceMean", graph.add("Mul", centred, centred), axes=axes, keepdims=keepdims)
        return mean if keepdims else graph.add("Squeeze", mean, graph.ints(axes)), variance

    def _axes(self, rank: int) -> tuple[int, ...]:
        if any(axis < 0 for axis in self.axes):
            raise ModelError(f"axes {list(self.axes)}; Caffe2 counts these from the front")
        return tuple(sorted({canonical_axis(axis, rank) for axis in self.axes or range(rank)}))


@operator("BatchMoments")
@dataclass(frozen=True)
class BatchMoments(Operator):
    """Each channel's mean, and mean of squares."""

    order: str = "NCHW"

    def infer(self, x):
        if len(x.shape) < 2 or not x.size or self.order not in ("NCHW", "NHWC"):
            raise ModelError(f"channels of {list(x.shape)}, order {self.order!r}")
        moments = x.with_shape((x.shape[self._channels],))
        return moments, moments

    def compute(self, x):
        axes = self._axes(x.ndim)
        squares = np.square(x, dtype=np.float64)
        return x.mean(axes, dtype=np.float64).astype(np.float32), squares.mean(axes).astype(np.float32)

    def lower(self, graph, x):
        axes = self._axes(len(x.shape))
        squares = graph.add("Mul", x, x)
        return tuple(graph.add("ReduceMean", values, axes=axes, keepdims=0) for values in (x, squares))

    @property
    def _channels(self) -> int:
        return 1 if self.order == "NCHW" else -1

    def _axes(self, rank: int) -> tuple[int, ...]:
        return tuple(axis for axis in range(rank) if axis != self._channels % rank)


@operator("SumReduceLike")
@dataclass(frozen=True)
class SumReduceLike(Operator):
    """The first blob summed over all dimensions but those of the second, which lie along its own from `axis` on (at
    its end where axis is -1)."""

    axis: int = -1
    axis_str: str = ""
    order: str = "NCHW"

    dtypes = (FLOATS, ANY)

    def infer(self, a, b):
        self._axes(a.shape, b.shape)
        return a.with_shape(b.shape)

    def compute(self, a, b):
        return sum_over(a, self._axes(a.shape, b.shape)).reshape(b.shape)

    def lower(self, graph, a, b):
        axes = self._axes(a.shape, b.shape)
        y = graph.add("ReduceSum", a, graph.ints(axes), keepdims=0) if axes else a
        return graph.add("Reshape", y, graph.ints(b.shape))

    def _axes(self, a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
        """The dimensions that are summed over."""
        if math.prod(b) == 1:
            return tuple(range(len(a)))
        axis = self.order.find(self.axis_str) if self.axis == -1 and self.axis_str else self.axis
        start = len(a) - len(b) if axis == -1 else axis
        if not 0 <= start <= len(a) - len(b) or a[start : start + len(b)] != b:
            raise ModelError(f"{list(b)} does not lie along {list(a)} from axis {start}")
        return tuple(i for i in range(len(a)) if not start <= i < start + len(b))


def sum_over(x: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    return x.sum(axis=axes, dtype=np.float64).astype(x.dtype)
