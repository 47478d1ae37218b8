"""Operators that keep, drop or replace elements where a mask says so."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import (
    canonical_axis,
    check_lengths,
    check_rank,
    check_same_type,
)
from caffe2_models.operators.registry import ANY, BOOL, FLOAT32, INDICES, INT32, Operator, operator
from caffe2_models.tensors import TensorType

# Of a column and a row: whether the mode replaces the element.
TRIANGLES = {"upper": np.greater, "lower": np.less, "upperdiag": np.greater_equal, "lowerdiag": np.less_equal}


@operator("SequenceMask")
@dataclass(frozen=True)
class SequenceMask(Operator):
    """Values replaced by fill_val, in rows of all that lies from `axis` on.

    Those from a row's length on (mode sequence), farther than `radius` from its centre (window), above or below the
    diagonal (upper, lower), and on it (upperdiag, lowerdiag). With `batch` the rows are counted anew for each position
    up to that axis; with repeat_from_axis each length holds for whole blocks from that axis on.
    """

    mode: str
    axis: int = 1
    radius: int = 10
    grad: bool = False
    fill_val: float = -math.inf
    batch: int | None = None
    repeat_from_axis: int | None = None

    dtypes = (FLOAT32, INT32)
    modes = ("sequence", "window", *TRIANGLES)

    def infer(self, x, numbers=None):
        if self.mode not in self.modes:
            raise ModelError(f"mode {self.mode!r} is none of {', '.join(self.modes)}")
        if self.repeat_from_axis is not None and (self.mode != "sequence" or self.batch is not None):
            raise ModelError("repeat_from_axis goes with mode sequence, and without batch")
        _, rows, _, _ = self._view(x.shape)
        if self.mode in ("sequence", "window") and (numbers is None or numbers.size < rows):
            raise ModelError(f"mode {self.mode} takes a number for each of {rows} rows")
        return x.with_shape(x.shape)

    def compute(self, x, numbers=None):
        view = self._view(x.shape)
        masked = self._triangle(view) if self.mode in TRIANGLES else self._apart(view, numbers)
        return np.where(masked, self._filling, x.reshape(view)).reshape(x.shape)

    def lower(self, graph, x, numbers=None):
        view = self._view(x.shape)
        _, rows, columns, _ = view
        if self.mode in ("sequence", "window"):
            places = graph.constant(np.arange(columns, dtype=np.int32).reshape(1, 1, -1, 1))
            flat = graph.add("Reshape", numbers, graph.ints([-1]))
            flat = graph.add("Slice", flat, graph.ints([0]), graph.ints([rows]))
            numbers = graph.add("Reshape", flat, graph.ints([1, rows, 1, 1]))
            if self.mode == "sequence":
                masked = graph.add("GreaterOrEqual", places, numbers)
            else:
                distance = graph.add("Abs", graph.add("Sub", places, numbers))
                masked = graph.add("Greater", distance, graph.constant(self.radius, np.int32))
        else:
            masked = graph.constant(self._triangle(view))
        rows_of_x = graph.add("Reshape", x, graph.ints(view))
        filled = graph.add("Where", masked, graph.constant(self._filling), rows_of_x)
        return graph.add("Reshape", filled, graph.ints(x.shape))

    @property
    def _filling(self) -> np.float32:
        return np.float32(0 if self.grad else self.fill_val)

    def _triangle(self, view: tuple[int, int, int, int]) -> np.ndarray:
        """Which elements of such a view are replaced by their place alone, to be broadcast."""
        _, rows, columns, _ = view
        return TRIANGLES[self.mode](np.arange(columns)[:, None], np.arange(rows)[:, None, None])

    def _apart(self, view: tuple[int, int, int, int], numbers: np.ndarray) -> np.ndarray:
        """Which elements of such a view are replaced by their rows' lengths or centres, to be broadcast."""
        _, rows, columns, _ = view
        column, numbers = np.arange(columns)[:, None], numbers.ravel()[:rows, None, None].astype(np.int64)
        return column >= numbers if self.mode == "sequence" else np.abs(column - numbers) > self.radius

    def _view(self, shape: tuple[int, ...]) -> tuple[int, int, int, int]:
        """(batches, rows, columns, repeated values) as which the input is seen."""
        axis = canonical_axis(self.axis, len(shape))
        right = math.prod(shape[axis:])
        if self.batch is not None:
            batch = canonical_axis(self.batch, len(shape))
            if batch >= axis:
                raise ModelError(f"batch {batch} is not before axis {axis}")
            return math.prod(shape[: batch + 1]), math.prod(shape[batch + 1 : axis]), right, 1
        repeated = 1
        if self.repeat_from_axis is not None:
            start = canonical_axis(self.repeat_from_axis, len(shape))
            if start < axis:
                raise ModelError(f"repeat_from_axis {start} is before axis {axis}")
            repeated = math.prod(shape[start:])
        return 1, math.prod(shape[:axis]), right // max(repeated, 1), repeated


@operator("BooleanMaskLengths")
@dataclass(frozen=True)
class BooleanMaskLengths(Operator):
    """How many elements of each segment a mask leaves."""

    dtypes = (INDICES, BOOL)

    def infer(self, lengths, mask):
        check_rank(lengths, 1, "lengths")
        check_rank(mask, 1, "a mask")
        return lengths.with_shape(lengths.shape)

    def compute(self, lengths, mask):
        check_lengths(lengths, mask.size)
        kept = np.concatenate([[0], np.cumsum(mask)])
        ends = np.cumsum(lengths)
        return (kept[ends] - kept[ends - lengths]).astype(lengths.dtype)


@operator("BooleanUnmask")
@dataclass(frozen=True)
class BooleanUnmask(Operator):
    """Undoes BooleanMask: pairs of a mask and the values it left, the first mask that holds gives the value."""

    dtypes = ANY

    def infer(self, mask, values, *others):
        masks, lists = (mask, *others[::2]), (values, *others[1::2])
        if len(masks) != len(lists):
            raise ModelError("a mask without values")
        for each, found in zip(masks, lists, strict=True):
            check_rank(each, 1, "a mask")
            check_rank(found, 1, "values")
            check_same_type(values, found)
            if each.dtype != np.bool_ or each.shape != mask.shape:
                raise ModelError(f"a mask of {each}; {mask} is the first")
        return values.with_shape(mask.shape)

    def compute(self, *inputs):
        masks, lists = inputs[::2], inputs[1::2]
        result, done = np.zeros(masks[0].shape, lists[0].dtype), np.zeros(masks[0].shape, np.bool_)
        for mask, values in zip(masks, lists, strict=True):
            places = mask & ~done
            if places.sum() != values.size:
                raise ModelError(f"{values.size} values for the {places.sum()} places of a mask")
            result[places] = values
            done |= places
        if not done.all():
            raise ModelError("a place that no mask covers")
        return result


@operator("BooleanMask")
@dataclass(frozen=True)
class BooleanMask(Operator):
    """The rows (elements, of a vector) whose mask holds; output 2 is where they were, int64."""

    dtypes = (ANY, BOOL)

    def infer(self, data, mask):
        check_rank(mask, 1, "a mask")
        if not data.shape or data.shape[0] != mask.shape[0]:
            raise ModelError(f"a mask of {mask.size} for the rows of {list(data.shape)}")
        if mask.value is None:
            return TensorType.up_to(data.shape, data.dtype), TensorType.up_to(mask.shape, np.int64)
        kept = int(mask.value.sum())
        return data.with_shape((kept, *data.shape[1:])), TensorType((kept,), np.int64)

    def compute(self, data, mask):
        return data[mask], np.flatnonzero(mask)

    def lower(self, graph, data, mask):
        places = graph.add("Reshape", graph.add("NonZero", mask), graph.ints([-1]))
        return graph.add("Compress", data, mask, axis=0), places


@operator("StumpFuncIndex")
@dataclass(frozen=True)
class StumpFuncIndex(Operator):
    """The places of elements up to the threshold, and of those above it, int64."""

    threshold: float = 0.0

    def infer(self, x):
        if x.value is None:
            return TensorType.up_to((x.size,), np.int64), TensorType.up_to((x.size,), np.int64)
        low = int(self._low(x.value).sum())
        return TensorType((low,), np.int64), TensorType((x.size - low,), np.int64)

    def compute(self, x):
        low = self._low(x)
        return np.flatnonzero(low), np.flatnonzero(~low)

    def lower(self, graph, x):
        low = graph.add(
            "LessOrEqual", graph.add("Reshape", x, graph.ints([-1])), graph.constant(np.float32(self.threshold))
        )
        return tuple(
            graph.add("Reshape", graph.add("NonZero", mask), graph.ints([-1])) for mask in (low, graph.add("Not", low))
        )

    def _low(self, x: np.ndarray) -> np.ndarray:
        return x.ravel() <= np.float32(self.threshold)
