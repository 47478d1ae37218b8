"""Sequences of rows that lie one after another: padded, packed, unpacked, repeated, chosen."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_indices, check_lengths, check_rank, check_same_type, known
from caffe2_models.operators.indexing import positions_of_ranges
from caffe2_models.operators.lengths import places_within, starts_of, total_of
from caffe2_models.operators.registry import ANY, BOOL, FLOAT32, INDICES, INT32, NUMBERS, Operator, operator
from caffe2_models.operators.shaping import Joint, OutputCount
from caffe2_models.tensors import TensorType


def check_data(data: TensorType, lengths: TensorType) -> None:
    """Raises ModelError for data that has no rows, or other ones than known lengths say."""
    check_rank(lengths, 1, "lengths")
    if not data.shape:
        raise ModelError("data of no dimensions has no rows")
    if lengths.content is not None:
        check_lengths(lengths.content, data.shape[0])


@operator("LengthsPad")
@dataclass(frozen=True)
class LengthsPad(Operator):
    """Sequences of rows, each filled up to target_length with padding_value."""

    target_length: int = -1
    padding_value: float = -1.0

    dtypes = (NUMBERS, INT32)

    def infer(self, data, lengths):
        check_data(data, lengths)
        if self.target_length < 1:
            raise ModelError(f"target_length {self.target_length}")
        return data.with_shape((lengths.size * self.target_length, *data.shape[1:]))

    def compute(self, data, lengths):
        packed = pack(data, lengths, self.target_length, self.padding_value)
        return packed.reshape(lengths.size * self.target_length, *data.shape[1:])


def pack(data: np.ndarray, lengths: np.ndarray, longest: int, padding: float) -> np.ndarray:
    """Sequences [sum of lengths, ...] as [sequences, longest, ...], filled up with the padding."""
    check_lengths(lengths, data.shape[0])
    check_longest(lengths, longest)
    result = np.full((lengths.size, longest, *data.shape[1:]), padding, data.dtype)
    result[np.repeat(np.arange(lengths.size), lengths), places_within(lengths)] = data
    return result


def check_longest(lengths: np.ndarray, longest: int) -> None:
    if lengths.size and (lengths.max() > longest or lengths.min() < 0):
        raise ModelError(f"a sequence of {lengths.max()} elements, of at most {longest}")


@operator("LengthsTile")
@dataclass(frozen=True)
class LengthsTile(Operator):
    """Each row as often as its length says."""

    dtypes = (ANY, INT32)

    def infer(self, data, lengths):
        if not data.shape or lengths.size != data.shape[0]:
            raise ModelError(f"{lengths.size} lengths for the rows of {list(data.shape)}")
        return data.with_shape((total_of(lengths), *data.shape[1:]))

    def compute(self, data, lengths):
        return np.repeat(data, lengths, axis=0)


@operator("LengthsGather")
@dataclass(frozen=True)
class LengthsGather(Operator):
    """The sequences at the indices, one after another."""

    dtypes = (ANY, INT32, INDICES)

    def infer(self, data, lengths, indices):
        check_data(data, lengths)
        check_rank(indices, 1, "indices")
        each, chosen = known(lengths, "lengths"), known(indices, "indices")
        check_indices(chosen, each.size)
        return data.with_shape((int(each[chosen].sum(dtype=np.int64)), *data.shape[1:]))

    def compute(self, data, lengths, indices):
        lengths = lengths.astype(np.int64)
        return data[positions_of_ranges(starts_of(lengths)[indices], lengths[indices])]


@operator("LengthsTopK")
@dataclass(frozen=True)
class LengthsTopK(Operator):
    """The k largest values of each sequence, of equal ones the first, and their places in it (int32).

    Where there are fewer than k, the rest of the values is 0 and that of the places -1.
    """

    k: int = -1

    dtypes = (FLOAT32, INT32)

    def infer(self, data, lengths):
        check_rank(data, 1, "data")
        check_data(data, lengths)
        if self.k < 1:
            raise ModelError(f"the {self.k} largest")
        shape = (lengths.size, self.k)
        return TensorType(shape), TensorType(shape, np.int32)

    def compute(self, data, lengths):
        check_lengths(lengths, data.size)
        values, places = np.zeros((lengths.size, self.k), np.float32), np.full((lengths.size, self.k), -1, np.int32)
        group, within = np.repeat(np.arange(lengths.size), lengths), places_within(lengths)
        order = np.lexsort((within, -data, group))
        kept = within < self.k  # in each group's order as well: groups keep their places
        chosen = order[kept]
        values[group[kept], within[kept]] = data[chosen]
        places[group[kept], within[kept]] = within[chosen]
        return values, places


@operator("PackSegments")
@dataclass(frozen=True)
class PackSegments(Operator):
    """Sequences of rows as [sequences, longest, ...], filled up with 0, or minus infinity with pad_minf.

    The longest is max_length, at which others are cut, or what the lengths say. Output 2, with return_presence_mask, is
    where a row is.
    """

    max_length: int = -1
    pad_minf: bool = False
    return_presence_mask: bool = False

    dtypes = (INDICES, ANY)

    def infer(self, lengths, data):
        check_data(data, lengths)
        if self.max_length < -1:
            raise ModelError(f"max_length {self.max_length}")
        longest = self.max_length if self.max_length != -1 else longest_of(lengths)
        packed = data.with_shape((lengths.size, longest, *data.shape[1:]))
        return packed, TensorType((lengths.size, longest), np.bool_)

    def compute(self, lengths, data):
        longest = self.max_length if self.max_length != -1 else int(lengths.max(initial=0))
        padding = -math.inf if self.pad_minf and data.dtype.kind == "f" else 0
        check_lengths(lengths, data.shape[0])
        if lengths.max(initial=0) > longest:
            data, lengths = data[places_within(lengths) < longest], np.minimum(lengths, longest)
        return pack(data, lengths, longest, padding), np.arange(longest) < lengths[:, None]


def longest_of(lengths: TensorType) -> int:
    return max(int(known(lengths, "lengths").max(initial=0)), 0)


@operator("UnpackSegments")
@dataclass(frozen=True)
class UnpackSegments(Operator):
    """Undoes PackSegments."""

    max_length: int = -1

    dtypes = (INDICES, ANY)

    def infer(self, lengths, data):
        check_rank(lengths, 1, "lengths")
        if len(data.shape) < 2 or data.shape[0] != lengths.size:
            raise ModelError(f"{lengths.size} lengths for {data}")
        if self.max_length not in (-1, data.shape[1]):
            raise ModelError(f"max_length {self.max_length}, of {data}")
        if lengths.value is None:
            return TensorType.up_to((data.shape[0] * data.shape[1], *data.shape[2:]), data.dtype)
        check_longest(lengths.value, data.shape[1])
        return data.with_shape((total_of(lengths), *data.shape[2:]))

    def compute(self, lengths, data):
        return data[np.repeat(np.arange(lengths.size), lengths), places_within(lengths)]


@operator("PackRNNSequence")
@dataclass(frozen=True)
class PackRNNSequence(Operator):
    """Sequences of rows as [longest, sequences, ...], filled up with 0."""

    dtypes = (NUMBERS, INT32)

    def infer(self, data, lengths):
        check_data(data, lengths)
        if len(data.shape) < 2:
            raise ModelError(f"rows of {data} have no elements")
        return data.with_shape((longest_of(lengths), lengths.size, *data.shape[1:]))

    def compute(self, data, lengths):
        packed = pack(data, lengths, int(lengths.max(initial=0)), 0)
        return np.ascontiguousarray(packed.swapaxes(0, 1))


@operator("UnpackRNNSequence")
@dataclass(frozen=True)
class UnpackRNNSequence(Operator):
    """Undoes PackRNNSequence."""

    dtypes = (NUMBERS, INT32)

    def infer(self, data, lengths):
        check_rank(lengths, 1, "lengths")
        if len(data.shape) < 3 or data.shape[1] != lengths.size:
            raise ModelError(f"{lengths.size} lengths for {data}")
        if lengths.value is None:
            return TensorType.up_to((data.shape[0] * data.shape[1], *data.shape[2:]), data.dtype)
        check_longest(lengths.value, data.shape[0])
        return data.with_shape((total_of(lengths), *data.shape[2:]))

    def compute(self, data, lengths):
        return data[places_within(lengths), np.repeat(np.arange(lengths.size), lengths)]


@operator("ReversePackedSegs")
@dataclass(frozen=True)
class ReversePackedSegs(Operator):
    """[longest, sequences, elements] with the elements of each sequence in reverse; what is beyond it stays."""

    dtypes = (NUMBERS | BOOL, INDICES)

    def infer(self, data, lengths):
        check_rank(data, 3, "data")
        if lengths.shape != (data.shape[1],):
            raise ModelError(f"lengths of shape {list(lengths.shape)} for {data}")
        return data.with_shape(data.shape)

    def compute(self, data, lengths):
        check_longest(lengths, data.shape[0])
        step = np.arange(data.shape[0])[:, None]
        source = np.where(step < lengths, lengths - 1 - step, step)
        return np.take_along_axis(data, source[..., None], axis=0)

    def lower(self, graph, data, lengths):
        return graph.add("ReverseSequence", data, graph.cast(lengths, np.int64), time_axis=0, batch_axis=1)


@dataclass(frozen=True)
class Padding(Operator):
    """Base: padding_width rows before each sequence, end_padding_width (the same, where it is -1) behind it.

    Without lengths there is one sequence, of all rows.
    """

    padding_width: int = 1
    end_padding_width: int = -1

    def widths(self) -> tuple[int, int]:
        """(rows before, rows behind)"""
        end = self.padding_width if self.end_padding_width < 0 else self.end_padding_width
        if self.padding_width < 0 or max(self.padding_width, end) >= 1 << 31:
            raise ModelError(f"padding of {self.padding_width} and {end} rows")
        return self.padding_width, end

    @staticmethod
    def lengths_of(data, lengths) -> np.ndarray:
        return np.array([data.shape[0]]) if lengths is None else lengths.ravel().astype(np.int64)

    def check(self, data: TensorType, lengths: TensorType | None) -> int:
        """How many sequences there are; ModelError for data without rows."""
        if not data.shape:
            raise ModelError("data of no dimensions has no rows")
        return 1 if lengths is None else lengths.size


@operator("AddPadding")
@dataclass(frozen=True)
class AddPadding(Padding):
    """Rows around each sequence: zeros, or the third blob, and the fourth behind it; output 2 is the new lengths."""

    dtypes = (NUMBERS | BOOL, INT32, NUMBERS | BOOL)

    def infer(self, data, lengths=None, before=None, behind=None):
        count, width = self.check(data, lengths), sum(self.widths())
        for row in (before, behind):
            if row is not None and row.size != math.prod(data.shape[1:]):
                raise ModelError(f"a row of {row.size} values for {data}")
            if row is not None:
                check_same_type(data, row)
        padded = data.with_shape((data.shape[0] + width * count, *data.shape[1:]))
        return padded, TensorType((count,), np.int32)

    def compute(self, data, lengths=None, before=None, behind=None):
        each, (start, end) = self.lengths_of(data, lengths), self.widths()
        check_lengths(each, data.shape[0])
        padded = each + start + end
        result = np.zeros((int(padded.sum()), *data.shape[1:]), data.dtype)
        first = starts_of(padded)
        behind = before if behind is None else behind
        if before is not None:
            places = positions_of_ranges(first, np.full(each.size, start))
            result[places] = before.reshape(data.shape[1:])
        if behind is not None:
            places = positions_of_ranges(first + start + each, np.full(each.size, end))
            result[places] = behind.reshape(data.shape[1:])
        result[positions_of_ranges(first + start, each)] = data
        return result, padded.astype(np.int32)


@operator("RemovePadding")
@dataclass(frozen=True)
class RemovePadding(Padding):
    """Undoes AddPadding."""

    dtypes = (NUMBERS | BOOL, INT32)

    def infer(self, data, lengths=None):
        count, width = self.check(data, lengths), sum(self.widths())
        rows = data.shape[0] - width * count
        if rows < 0:
            raise ModelError(f"{count} paddings of {width} rows, of {data}")
        return data.with_shape((rows, *data.shape[1:])), TensorType((count,), np.int32)

    def compute(self, data, lengths=None):
        each, (start, end) = self.lengths_of(data, lengths), self.widths()
        check_lengths(each, data.shape[0])
        left = each - start - end
        if (left < 0).any():
            raise ModelError(f"a sequence of {each.min()} rows with padding of {start + end}")
        return data[positions_of_ranges(starts_of(each) + start, left)], left.astype(np.int32)


@operator("GatherPadding")
@dataclass(frozen=True, kw_only=True)
class GatherPadding(Padding):
    """The sum of all rows of padding; with two outputs, of those before and of those behind the sequences."""

    outputs: OutputCount

    dtypes = (NUMBERS | BOOL, INT32)

    def infer(self, data, lengths=None):
        self.check(data, lengths)
        if not any(self.widths()):
            return TensorType((), np.int64), TensorType((), np.int64)
        return data.with_shape(data.shape[1:]), data.with_shape(data.shape[1:])

    def compute(self, data, lengths=None):
        each, (start, end) = self.lengths_of(data, lengths), self.widths()
        if not start and not end:
            return np.zeros((), np.int64), np.zeros((), np.int64)
        check_lengths(each, data.shape[0])
        if (each < start + end).any():
            raise ModelError(f"a sequence of {each.min()} rows with padding of {start + end}")
        first = starts_of(each)
        before = data[positions_of_ranges(first, np.full(each.size, start))].sum(axis=0, dtype=data.dtype)
        behind = data[positions_of_ranges(first + each - end, np.full(each.size, end))].sum(axis=0, dtype=data.dtype)
        return (before, behind) if self.outputs.count == 2 else (before + behind, behind)


@operator("PadEmptySamples")
@dataclass(frozen=True)
class PadEmptySamples(Operator):
    """Lengths with 1 for 0, and the features (one row for each element) with a row of zeros for each such sequence."""

    dtypes = (INT32, ANY)

    def infer(self, lengths, *features):
        check_rank(lengths, 1, "lengths")
        total = total_of(lengths)
        empty = int((known(lengths, "lengths") == 0).sum())
        for feature in features:
            if not feature.shape or feature.shape[0] != total:
                raise ModelError(f"{feature} for {total} elements")
        padded = (feature.with_shape((total + empty, *feature.shape[1:])) for feature in features)
        return lengths.with_shape(lengths.shape), *padded

    def compute(self, lengths, *features):
        padded = np.maximum(lengths, 1)
        places = positions_of_ranges(starts_of(padded.astype(np.int64)), lengths.astype(np.int64))
        results = []
        for feature in features:
            result = np.zeros((int(padded.sum()), *feature.shape[1:]), feature.dtype)
            result[places] = feature
            results.append(result)
        return padded, *results


@operator("SplitByLengths")
@dataclass(frozen=True, kw_only=True)
class SplitByLengths(Joint):
    """Cuts along an axis: each output takes as many of the lengths, in order, and is as long as they add up to.

    With use_scaling_lengths the lengths are multiplied with what makes them as many as there are elements.
    """

    outputs: OutputCount
    use_scaling_lengths: bool = False

    dtypes = (ANY, INT32)

    def infer(self, x, lengths):
        axis, sizes = self._cuts(x.shape, known(lengths, "lengths"))
        return tuple(x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])) for size in sizes)

    def compute(self, x, lengths):
        axis, sizes = self._cuts(x.shape, lengths)
        return tuple(np.ascontiguousarray(part) for part in np.split(x, np.cumsum(sizes)[:-1], axis))

    def _cuts(self, shape, lengths: np.ndarray) -> tuple[int, list[int]]:
        """(the axis, the extents of the parts along it)"""
        axis, count = self.along(len(shape)), self.outputs.count
        if lengths.ndim != 1 or lengths.size % count:
            raise ModelError(f"lengths of shape {list(lengths.shape)} for {count} parts")
        extent, total = shape[axis], int(lengths.sum(dtype=np.int64))
        scale = 1
        if self.use_scaling_lengths:
            if total < 0 or extent % (total or 1):
                raise ModelError(f"lengths that add up to {total} do not divide {extent}")
            scale = extent // total if total else 1
        check_lengths(lengths.astype(np.int64) * scale, extent)
        return axis, [int(size) * scale for size in lengths.reshape(count, -1).sum(axis=1, dtype=np.int64)]


@operator("CTCGreedyDecoder")
@dataclass(frozen=True)
class CTCGreedyDecoder(Operator):
    """What each sequence of scores spells, best class by best class: how many, and their classes, int32.

    Class 0 is the blank; with merge_repeated a class counts once as long as it is the best.
    """

    merge_repeated: bool = True

    dtypes = (FLOAT32, INT32)

    def infer(self, scores, lengths=None):
        check_rank(scores, 3, "scores")
        steps, count, classes = scores.shape
        if not classes or (lengths is not None and lengths.shape != (count,)):
            raise ModelError(f"scores {scores} with lengths {lengths}")
        return TensorType((count,), np.int32), TensorType.up_to((steps * count,), np.int32)

    def compute(self, scores, lengths=None):
        steps, count, _ = scores.shape
        lengths = np.full(count, steps, np.int32) if lengths is None else lengths
        if (lengths > steps).any():
            raise ModelError(f"a sequence of {lengths.max()} steps of {steps}")
        blank = np.isnan(scores[..., 0])
        best = np.where(blank, 0, np.where(np.isnan(scores), -np.inf, scores).argmax(axis=-1)).T.astype(np.int32)
        kept = (best != 0) & (np.arange(steps) < lengths[:, None])
        if self.merge_repeated:
            kept[:, 1:] &= best[:, 1:] != best[:, :-1]
        return kept.sum(axis=1, dtype=np.int32), best[kept]
