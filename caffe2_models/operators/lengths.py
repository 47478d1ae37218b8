"""What describes sequences that lie one after another: lengths, offsets, ranges, segment ids."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_lengths, check_rank, known
from caffe2_models.operators.indexing import positions_of_ranges
from caffe2_models.operators.registry import ANY, INDICES, INT32, Operator, operator
from caffe2_models.tensors import TensorType


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Where each sequence begins."""
    return np.cumsum(lengths) - lengths


def places_within(lengths: np.ndarray) -> np.ndarray:
    """0, 1 ... of each sequence, one after another."""
    return positions_of_ranges(np.zeros(lengths.size, np.int64), lengths.astype(np.int64))


def total_of(lengths: TensorType) -> int:
    """What known lengths add up to; ModelError where one is negative, LaterError where only a run tells them."""
    check_rank(lengths, 1, "lengths")
    content = known(lengths, "lengths")
    total = int(content.sum(dtype=np.int64))
    check_lengths(content, total)
    return total


@operator("LengthsToSegmentIds")
@dataclass(frozen=True)
class LengthsToSegmentIds(Operator):
    """The number of its sequence for each element, int32."""

    dtypes = INT32

    def infer(self, lengths):
        return TensorType((total_of(lengths),), np.int32)

    def compute(self, lengths):
        return np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)


@operator("LengthsRangeFill")
@dataclass(frozen=True)
class LengthsRangeFill(Operator):
    """0, 1 ... for each sequence, int32."""

    dtypes = INT32

    def infer(self, lengths):
        return TensorType((total_of(lengths),), np.int32)

    def compute(self, lengths):
        return places_within(lengths).astype(np.int32)


@operator("LengthsToWeights")
@dataclass(frozen=True)
class LengthsToWeights(Operator):
    """1 / length^power of its sequence for each element."""

    power: float = 0.5

    dtypes = INDICES

    def infer(self, lengths):
        return TensorType((total_of(lengths),))

    def compute(self, lengths):
        filled = np.maximum(lengths, 1).astype(np.float64)
        return np.repeat((1 / np.power(filled, self.power)).astype(np.float32), lengths)


@operator("LengthsToOffsets")
@dataclass(frozen=True)
class LengthsToOffsets(Operator):
    """Where each sequence begins, int32; with include_last_offset, where the last one ends too."""

    include_last_offset: bool = False

    dtypes = INT32

    def infer(self, lengths):
        check_rank(lengths, 1, "lengths")
        return TensorType((lengths.size + self.include_last_offset,), np.int32)

    def compute(self, lengths):
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int32)])
        return offsets[: lengths.size + self.include_last_offset].astype(np.int32)

    def lower(self, graph, lengths):
        sums = graph.add("CumSum", lengths, graph.constant(0, np.int32), exclusive=int(not self.include_last_offset))
        zero = graph.constant(np.zeros(1, np.int32))
        return graph.add("Concat", zero, sums, axis=0) if self.include_last_offset else sums


@operator("LengthsToRanges")
@dataclass(frozen=True)
class LengthsToRanges(Operator):
    """(start, length) of each sequence, int32."""

    dtypes = INT32

    def infer(self, lengths):
        check_rank(lengths, 1, "lengths")
        return TensorType((lengths.size, 2), np.int32)

    def compute(self, lengths):
        return np.stack([starts_of(lengths), lengths], axis=1).astype(np.int32)

    def lower(self, graph, lengths):
        starts = graph.add("CumSum", lengths, graph.constant(0, np.int32), exclusive=1)
        columns = [graph.add("Unsqueeze", x, graph.ints([1])) for x in (starts, lengths)]
        return graph.add("Concat", *columns, axis=1)


@operator("LengthsToShape")
@dataclass(frozen=True)
class LengthsToShape(Operator):
    """[how many, how long each is], int32, of sequences of one length."""

    dtypes = INT32

    def infer(self, lengths):
        check_rank(lengths, 1, "lengths")
        if not lengths.size:
            raise ModelError("no lengths, and so no length of all")
        return TensorType((2,), np.int32)

    def compute(self, lengths):
        if (lengths != lengths[0]).any():
            raise ModelError("sequences of different lengths")
        return np.array([lengths.size, lengths[0]], np.int32)


@operator("SegmentIdsToLengths")
@dataclass(frozen=True)
class SegmentIdsToLengths(Operator):
    """How often each id occurs, int32; for as many ids as the last one says, or the second blob has rows."""

    dtypes = (INDICES, ANY)

    def infer(self, ids, like=None):
        if ids.size != max(ids.shape, default=0) or not 1 <= len(ids.shape) <= 2:
            raise ModelError(f"segment ids of shape {list(ids.shape)}; a vector is expected")
        return TensorType((segment_count(ids, like),), np.int32)

    def compute(self, ids, like=None):
        ids = ids.ravel()
        check_sorted(ids)
        count = counted(ids, like)
        return np.bincount(ids, minlength=count).astype(np.int32)


@operator("SegmentIdsToRanges")
@dataclass(frozen=True)
class SegmentIdsToRanges(Operator):
    """(start, length) of the elements of each id, int32; see SegmentIdsToLengths."""

    dtypes = (INDICES, ANY)

    def infer(self, ids, like=None):
        check_rank(ids, 1, "segment ids")
        return TensorType((segment_count(ids, like), 2), np.int32)

    def compute(self, ids, like=None):
        check_sorted(ids)
        count = counted(ids, like)
        lengths = np.bincount(ids, minlength=count)
        starts = starts_of(lengths)
        if ids.size:  # Caffe2 leaves 0 outside the ids that occur
            starts[: ids[0]] = 0
            starts[ids[-1] + 1 :] = 0
        return np.stack([starts, lengths], axis=1).astype(np.int32)


def segment_count(ids: TensorType, like: TensorType | None) -> int:
    """How many segments sorted ids name, or the rows of another blob."""
    if like is not None:
        if not like.shape:
            raise ModelError("a second blob of no dimensions")
        return like.shape[0]
    content = known(ids, "segment ids").ravel()
    if content.size and content[-1] < 0:
        raise ModelError(f"segment id {content[-1]}")
    return int(content[-1]) + 1 if content.size else 0


def counted(ids: np.ndarray, like: np.ndarray | None) -> int:
    """segment_count of sorted ids; ModelError where they are more than the other blob's rows."""
    count = int(ids[-1]) + 1 if ids.size else 0
    if like is None:
        return count
    if count > like.shape[0]:
        raise ModelError(f"segment id {ids[-1]} of {like.shape[0]}")
    return like.shape[0]


def check_sorted(ids: np.ndarray) -> None:
    """Raises ModelError for segment ids that are negative or not sorted."""
    if ids.size and (ids[0] < 0 or (np.diff(ids) < 0).any()):
        raise ModelError("segment ids that are negative or not sorted")


@operator("LengthsSplit")
@dataclass(frozen=True)
class LengthsSplit(Operator):
    """Each length in n_split (argument or second blob) nearly equal ones, the larger first."""

    n_split: int | None = None

    dtypes = INT32

    def infer(self, lengths, n_split=None):
        check_rank(lengths, 1, "lengths")
        if n_split is not None and n_split.shape != (1,):
            raise ModelError(f"n_split of shape {list(n_split.shape)}")
        count = self._count(known(n_split, "number of parts") if n_split is not None else None)
        return TensorType((lengths.size * count,), np.int32)

    def compute(self, lengths, n_split=None):
        count = self._count(n_split)
        smaller, rest = lengths[:, None] // count, lengths[:, None] % count
        return (smaller + (np.arange(count) < rest)).astype(np.int32).ravel()

    def _count(self, n_split: np.ndarray | None) -> int:
        count = self.n_split if n_split is None else int(n_split[0])
        if count is None or count < 1:
            raise ModelError(f"n_split {count}")
        return count
