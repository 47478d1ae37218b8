"""Operators that look up, choose and place elements by their positions."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.checks import (
    canonical_axis,
    check_indices,
    check_rank,
    check_same_type,
    known,
)
from caffe2_models.operators.registry import ANY, FLOAT32, INDICES, INT64, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType


@dataclass(frozen=True)
class WrapIndices:
    """The argument `wrap_indices`: whether negative indices count from the end; None where it is not given."""

    given: bool | None

    @classmethod
    def decode(cls, arguments: Arguments) -> "WrapIndices":
        return cls(arguments.get_bool("wrap_indices"))


@operator("BatchGather")
@dataclass(frozen=True)
class BatchGather(Operator):
    """Blocks of data along the second axis, in the indices' shape; with match_outer those of each outer position.

    Of data that is empty along the axis, the data itself, as Caffe2 does.
    """

    match_outer: bool = False

    axis = 1
    dtypes = (ANY, INDICES)

    def infer(self, data, indices):
        axis = canonical_axis(self.axis, len(data.shape))
        if self.match_outer and (axis < 1 or indices.shape[:axis] != data.shape[:axis]):
            raise ModelError(f"indices {list(indices.shape)} do not match {list(data.shape)} before axis {axis}")
        if not data.shape[axis]:
            return data.with_shape(data.shape)
        inner = indices.shape[axis:] if self.match_outer else indices.shape
        return data.with_shape((*data.shape[:axis], *inner, *data.shape[axis + 1 :]))

    def compute(self, data, indices):
        axis = canonical_axis(self.axis, data.ndim)
        if not data.shape[axis]:
            return data
        result = self.infer(TensorType(data.shape, data.dtype), TensorType(indices.shape, indices.dtype)).shape
        if not math.prod(result):
            return np.empty(result, data.dtype)
        check_indices(indices, data.shape[axis], self.wraps)
        if not self.match_outer:
            return data.take(indices, axis)
        outer = math.prod(data.shape[:axis])
        flat = data.reshape(outer, *data.shape[axis:])
        return flat[np.arange(outer)[:, None], indices.reshape(outer, -1)].reshape(result)

    def lower(self, graph, data, indices):
        axis = canonical_axis(self.axis, len(data.shape))
        if not data.shape[axis]:
            return graph.add("Identity", data)
        if not self.match_outer:
            return graph.add("Gather", data, indices, axis=axis)
        positions = graph.add("Unsqueeze", graph.cast(indices, np.int64), graph.ints([-1]))
        return graph.add("GatherND", data, positions, batch_dims=axis)

    @property
    def wraps(self) -> bool:
        """Whether negative indices count from the end."""
        return False


@operator("Gather")
@dataclass(frozen=True, kw_only=True)
class Gather(BatchGather):
    """Blocks of data along any axis, else as BatchGather.

    Negative indices count from the end where wrap_indices says so or, where it is not given, axis is 0.
    """

    wrap_indices: WrapIndices
    axis: int = 0

    @property
    def wraps(self):
        return self.axis == 0 if self.wrap_indices.given is None else self.wrap_indices.given


@operator("ArgMax", function=staticmethod(np.argmax), onnx_type="ArgMax", worst=-math.inf)
@operator("ArgMin", function=staticmethod(np.argmin), onnx_type="ArgMin", worst=math.inf)
@dataclass(frozen=True)
class ArgExtreme(Operator):
    """Where the largest (smallest) value along `axis` is, int64; of equal ones, or of none, the first.

    What is no number is passed over, but for one in the first place, which stays.
    """

    axis: int = -1
    keepdims: bool = True

    dtypes = NUMBERS

    def infer(self, x):
        axis = self._axis(len(x.shape))
        kept = (1,) if self.keepdims else ()
        return TensorType((*x.shape[:axis], *kept, *x.shape[axis + 1 :]), np.int64)

    def compute(self, x):
        axis = self._axis(x.ndim)
        if not x.shape[axis]:
            return np.zeros(self.infer(TensorType.of(x)).shape, np.int64)
        if x.dtype.kind == "f" and np.isnan(x).any():
            first = np.isnan(x.take([0], axis))
            x = np.where(np.isnan(x) | first, x.dtype.type(self.worst), x)
        return self.function(x, axis=axis, keepdims=self.keepdims).astype(np.int64)

    def lower(self, graph, x):
        if x.type.dtype == np.int64:  # which ONNX Runtime's kernel does not take; TopK's does
            axis, largest = self._axis(len(x.shape)), int(self.onnx_type == "ArgMax")
            _, positions = graph.add("TopK", x, graph.ints([1]), axis=axis, largest=largest, outputs=2)
            return positions if self.keepdims else graph.add("Squeeze", positions, graph.ints([axis]))
        return graph.add(self.onnx_type, x, axis=self._axis(len(x.shape)), keepdims=int(self.keepdims))

    def _axis(self, rank: int) -> int:
        if self.axis < -1:
            raise ModelError(f"axis {self.axis}; of negative ones Caffe2 takes -1 alone")
        return canonical_axis(self.axis, rank)


@operator("Find")
@dataclass(frozen=True)
class Find(Operator):
    """Where each of the second blob's numbers is in the first, the last place of several; else missing_value."""

    missing_value: int = -1

    dtypes = INDICES

    def infer(self, numbers, wanted):
        check_same_type(numbers, wanted)
        return wanted.with_shape(wanted.shape)

    def compute(self, numbers, wanted):
        numbers = numbers.ravel()
        missing = np.full(wanted.shape, self.missing_value, np.int64).astype(wanted.dtype)
        if not numbers.size:
            return missing
        order = np.argsort(numbers, kind="stable")
        place = np.searchsorted(numbers[order], wanted, side="right") - 1
        found = (place >= 0) & (numbers[order[np.maximum(place, 0)]] == wanted)
        return np.where(found, order[np.maximum(place, 0)].astype(wanted.dtype), missing)


@operator("ScatterAssign")
@dataclass(frozen=True)
class ScatterAssign(Operator):
    """The first blob with the blocks at `indices` replaced; of equal indices the last one holds."""

    dtypes = (NUMBERS | {"float16", "uint8"}, INDICES, NUMBERS | {"float16", "uint8"})

    def infer(self, data, indices, slices):
        check_same_type(data, slices)
        if not data.shape or not data.size or slices.size != indices.size * math.prod(data.shape[1:]):
            raise ModelError(f"{slices} for {indices.size} blocks of {data}")
        return data.with_shape(data.shape)

    def compute(self, data, indices, slices):
        check_indices(indices, data.shape[0])
        result = data.copy()
        result[indices.ravel()] = slices.reshape(indices.size, *data.shape[1:])
        return result


@operator("Scatter")
@dataclass(frozen=True)
class Scatter(Operator):
    """The first blob with single elements along `axis` replaced by updates, whose places the indices give.

    What is before the axis, and what is behind it, counts as one dimension each. There indices may be fewer than data,
    and go with its first elements. Of equal places the last one holds.
    """

    axis: int = 1

    dtypes = (ANY, INDICES, ANY)

    def infer(self, data, indices, updates):
        check_same_type(data, updates)
        axis = canonical_axis(self.axis, len(data.shape))
        if updates.shape != indices.shape or len(indices.shape) <= axis:
            raise ModelError(f"indices {list(indices.shape)} and updates {list(updates.shape)} along axis {axis}")
        whole, covered = in_blocks(data.shape, axis), in_blocks(indices.shape, axis)
        if any(not (0 < covered[i] <= whole[i] or covered[i] == whole[i]) for i in (0, 2)):
            raise ModelError(f"indices {list(indices.shape)} for data {list(data.shape)} along axis {axis}")
        return data.with_shape(data.shape)

    def compute(self, data, indices, updates):
        axis = canonical_axis(self.axis, data.ndim)
        result = data.copy()
        if data.size:
            check_indices(indices, data.shape[axis])
            count, _, width = covered = in_blocks(indices.shape, axis)
            blocks = result.reshape(in_blocks(data.shape, axis))[:count, :, :width]
            np.put_along_axis(blocks, indices.reshape(covered), updates.reshape(covered), 1)
        return result

    def lower(self, graph, data, indices, updates):
        axis = canonical_axis(self.axis, len(data.shape))
        blocks = [graph.add("Reshape", x, graph.ints(in_blocks(x.shape, axis))) for x in (data, indices, updates)]
        return graph.add("Reshape", graph.add("ScatterElements", *blocks, axis=1), graph.ints(data.shape))


def in_blocks(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """Elements before the axis, along it, and behind it."""
    return math.prod(shape[:axis]), shape[axis], math.prod(shape[axis + 1 :])


@operator("ScatterWeightedSum")
@dataclass(frozen=True)
class ScatterWeightedSum(Operator):
    """The first blob with the blocks at `indices` times its weight, plus each further blob times its own."""

    dtypes = (FLOAT32, FLOAT32, INDICES, FLOAT32)

    def infer(self, data, weight, indices, *others):
        if not data.shape or not data.size or len(others) % 2:
            raise ModelError(f"{data} with {len(others)} further inputs; each blob goes with a weight")
        expected = indices.size * math.prod(data.shape[1:])
        if any(w.size != 1 for w in (weight, *others[1::2])) or any(x.size != expected for x in others[::2]):
            raise ModelError(f"blobs of {expected} values with weights of one are expected")
        return data.with_shape(data.shape)

    def compute(self, data, weight, indices, *others):
        check_indices(indices, data.shape[0])
        result, indices = data.copy(), indices.ravel()
        np.multiply.at(result, indices, weight.ravel()[0])
        for blob, factor in zip(others[::2], others[1::2], strict=True):
            if factor.ravel()[0] != 0:  # then nothing is added, NaN or not
                np.add.at(result, indices, blob.reshape(indices.size, *data.shape[1:]) * factor.ravel()[0])
        return result


@operator("Unique")
@dataclass(frozen=True)
class Unique(Operator):
    """The distinct numbers, sorted; output 2 is each input's place among them, int32."""

    dtypes = INDICES

    def infer(self, x):
        check_rank(x, 1, "numbers")
        places = TensorType(x.shape, np.int32)
        if x.value is None:
            return TensorType.up_to(x.shape, x.dtype), places
        return x.with_shape((np.unique(x.value).size,)), places

    def compute(self, x):
        distinct, places = np.unique(x, return_inverse=True)
        return distinct, places.reshape(x.shape).astype(np.int32)

    def lower(self, graph, x):
        distinct, _, places, _ = graph.add("Unique", x, sorted=1, outputs=4)
        return distinct, graph.cast(places, np.int32)


@operator("GatherRanges")
@dataclass(frozen=True)
class GatherRanges(Operator):
    """The elements of a vector in ranges [N, ranges, (start, length)]; output 2 is how many for each of the N."""

    dtypes = (ANY, INDICES)

    def infer(self, data, ranges):
        check_rank(data, 1, "data")
        if len(ranges.shape) != 3 or not ranges.shape[1] or ranges.shape[2] != 2:
            raise ModelError(f"ranges {list(ranges.shape)}; [N, ranges, 2] is expected")
        flat = known(ranges, "ranges").reshape(-1, 2).astype(np.int64)
        check_ranges(flat, data.size)
        return data.with_shape((int(flat[:, 1].sum()),)), TensorType(ranges.shape[:1], np.int32)

    def compute(self, data, ranges):
        flat = ranges.reshape(-1, 2).astype(np.int64)
        lengths = ranges[..., 1].sum(axis=1).astype(np.int32)
        return data[positions_of_ranges(flat[:, 0], flat[:, 1])], lengths


@operator("GatherRangesToDense")
@dataclass(frozen=True)
class GatherRangesToDense(Operator):
    """Like GatherRanges of ranges that have a common length: an output for each of `lengths`, 0 where there is none.

    How many of the ranges may be empty or of another length, the other arguments say. With a key for each element
    (third blob) the elements of a range are sorted by theirs.
    """

    lengths: tuple[int, ...] = ()
    min_observation: int = 10000
    max_mismatched_ratio: float = 0.01
    max_empty_ratio: float = 1.0

    dtypes = (ANY, INDICES, INT64)

    def infer(self, data, ranges, keys=None):
        check_rank(data, 1, "data")
        if len(ranges.shape) != 3 or ranges.shape[2] != 2 or ranges.shape[1] != len(self.lengths) or not self.lengths:
            raise ModelError(f"ranges {list(ranges.shape)} for lengths {list(self.lengths)}")
        if min(self.lengths) < 1 or (keys is not None and keys.shape != data.shape):
            raise ModelError(f"lengths {list(self.lengths)}, or keys that are not one for each of {data}")
        return tuple(data.with_shape((ranges.shape[0], length)) for length in self.lengths)

    def compute(self, data, ranges, keys=None):
        check_ranges(ranges.reshape(-1, 2).astype(np.int64), data.size)
        results = []
        for j, length in enumerate(self.lengths):
            starts, found = ranges[:, j, 0].astype(np.int64), ranges[:, j, 1]
            self._check_ratio(int(((found != length) & (found != 0)).sum()), found.size, self.max_mismatched_ratio)
            self._check_ratio(int((found == 0).sum()), found.size, self.max_empty_ratio)
            result = np.zeros((ranges.shape[0], length), data.dtype)
            full = found == length
            places = starts[full, None] + np.arange(length)
            if keys is not None:
                order = np.argsort(keys[places], axis=1, kind="stable")
                places = np.take_along_axis(places, order, axis=1)
            result[full] = data[places]
            results.append(result)
        return tuple(results)

    def _check_ratio(self, odd: int, count: int, largest: float) -> None:
        """Raises ModelError for too many ranges that are empty, or of another length."""
        if largest < 1 and odd > max(count, self.min_observation) * np.float32(largest):
            raise ModelError(f"{odd} of {count} ranges are empty or of another length")


def check_ranges(ranges: np.ndarray, size: int) -> None:
    """Raises ModelError for (start, length) pairs that leave [0, size)."""
    used = ranges[ranges[:, 1] != 0]
    if used.size and (used.min() < 0 or (used[:, 0] > size - used[:, 1]).any()):
        raise ModelError(f"a range that leaves {size} elements")


def positions_of_ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1 ... of each range, one after another, int64."""
    ends = np.cumsum(lengths)
    total = int(ends[-1]) if lengths.size else 0
    return np.arange(total) + np.repeat(starts - (ends - lengths), lengths)


@operator("Range")
@dataclass(frozen=True)
class Range(Operator):
    """start, start + step ... below (above, by a negative step) stop: blobs of one number each.

    Where it is not given, step is 1 and start is 0.
    """

    dtypes = NUMBERS
    lists_numbers = True

    def infer(self, first, stop=None, step=None):
        given = [x for x in (first, stop, step) if x is not None]
        check_same_type(*given)
        if any(x.size != 1 for x in given):
            raise ModelError("a range's start, stop and step are blobs of one number")
        start, stop, step = self._bounds(*(known(x, "bounds") for x in given))
        return first.with_shape((self._length(start, stop, step),))

    def compute(self, *bounds):
        start, stop, step = self._bounds(*bounds)
        counted = np.arange(self._length(start, stop, step)).astype(start.dtype)
        return start + counted * step

    def lower(self, graph, first, stop=None, step=None):
        kind = first.type.dtype
        bounds = [graph.add("Reshape", x, graph.ints([])) for x in (first, stop, step) if x is not None]
        start, bounds = (graph.constant(0, kind), bounds) if len(bounds) == 1 else (bounds[0], bounds[1:])
        return graph.add("Range", start, *bounds, *([graph.constant(1, kind)] if len(bounds) == 1 else []))

    @staticmethod
    def _bounds(first, stop=None, step=None) -> tuple[np.generic, np.generic, np.generic]:
        kind = first.dtype.type
        one = [x.ravel()[0] for x in (first, stop, step) if x is not None]
        if len(one) == 1:
            return kind(0), one[0], kind(1)
        return one[0], one[1], one[2] if len(one) == 3 else kind(1)

    @staticmethod
    def _length(start, stop, step) -> int:
        if step == 0 or not all(math.isfinite(value) for value in (start, stop, step)):
            raise ModelError(f"a range from {start} to {stop} by {step}")
        if start.dtype.kind == "i":  # divided as C does it: of a negative step the rest does not count
            length = abs(int(stop) - int(start)) // abs(int(step))
            if (stop > start) != (step > 0):
                return 0
            return length + (step > 0 and length * int(step) < int(stop) - int(start))
        return max(math.ceil((stop - start) / step), 0)
