"""What shares lists of ids out, and what joins them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_lengths, check_rank
from caffe2_models.operators.lengths import starts_of
from caffe2_models.operators.registry import ANY, INDICES, INT32, InputDtypes, Operator, operator
from caffe2_models.operators.shaping import OutputCount
from caffe2_models.tensors import TensorType


@operator("Partition")
@dataclass(frozen=True)
class Partition(Operator):
    """The first input's ids by their remainder, divided by the number of parts; the other inputs' rows go with them.

    Outputs: of each part what it has of the first input, of the second ... With pack_first_input an id becomes its
    quotient.
    """

    outputs: OutputCount
    pack_first_input: bool = False

    dtypes: ClassVar[InputDtypes] = (INDICES, ANY)

    def infer(self, ids, *others):
        self._check(ids, others, 1 + len(others))
        parts, rank = self._parts(1 + len(others)), len(ids.shape)
        return tuple(TensorType.up_to((ids.size, *x.shape[rank:]), x.dtype) for x in (ids, *others)) * parts

    def compute(self, ids, *others):
        parts = self._parts(1 + len(others))
        flat = ids.ravel()
        part = flat % parts
        first = flat // parts if self.pack_first_input else flat
        rows = [blob.reshape(math.prod(blob.shape[: ids.ndim]), *blob.shape[ids.ndim :])[: ids.size] for blob in others]
        return tuple(each[part == i] for i in range(parts) for each in (first, *rows))

    def _parts(self, inputs: int) -> int:
        return self.outputs.count // inputs

    def _check(self, ids: TensorType, others: tuple[TensorType, ...], inputs: int) -> None:
        """Raises ModelError for a number of outputs that does not fit, or inputs that have no row for each id."""
        if self.outputs.count < inputs or self.outputs.count % inputs:
            raise ModelError(f"{self.outputs.count} outputs for {inputs} inputs; a multiple is expected")
        if not ids.shape:
            raise ModelError("ids without a dimension")
        for blob in others:
            prefix = blob.shape[: len(ids.shape)]
            if len(prefix) < len(ids.shape) or any(has < needs for has, needs in zip(prefix, ids.shape, strict=True)):
                raise ModelError(f"an input {list(blob.shape)} beside ids {list(ids.shape)}")


@operator("LengthsPartition")
@dataclass(frozen=True)
class LengthsPartition(Partition):
    """Partition of ids that lie in sequences: the first input are their lengths, the first output of a part its own."""

    dtypes = (INT32, INDICES, ANY)

    def infer(self, lengths, ids, *others):
        check_rank(ids, 1, "ids")
        self._check(ids, others, 2 + len(others))
        parts = self._parts(2 + len(others))
        bounds = (TensorType.up_to((ids.size, *x.shape[1:]), x.dtype) for x in (ids, *others))
        return (TensorType((lengths.size,), np.int32), *bounds) * parts

    def compute(self, lengths, ids, *others):
        parts, lengths = self._parts(2 + len(others)), lengths.ravel()
        check_lengths(lengths, ids.size)
        part, owner = ids % parts, np.repeat(np.arange(lengths.size), lengths)
        first = ids // parts if self.pack_first_input else ids
        results = []
        for i in range(parts):
            results.append(np.bincount(owner[part == i], minlength=lengths.size).astype(np.int32))
            results += [each[: ids.size][part == i] for each in (first, *others)]
        return tuple(results)


@operator("MergeIdLists")
@dataclass(frozen=True)
class MergeIdLists(Operator):
    """Several lists of ids, each as lengths and values: of each sequence its ids from all lists, sorted, each once."""

    dtypes = INDICES

    def infer(self, lengths, values, *others):
        lists = (lengths, values, *others)
        if len(lists) % 2 or any(len(blob.shape) != 1 for blob in lists):
            raise ModelError("pairs of lengths and values, all vectors, are expected")
        for each, ids in zip(lists[::2], lists[1::2], strict=True):
            if each.dtype != np.int32 or each.shape != lengths.shape or ids.dtype != values.dtype:
                raise ModelError(f"lengths {each} and values {ids} beside {lengths} and {values}")
        total = sum(ids.size for ids in lists[1::2])
        return TensorType(lengths.shape, np.int32), TensorType.up_to((total,), values.dtype)

    def compute(self, *lists):
        for lengths, values in zip(lists[::2], lists[1::2], strict=True):
            if (lengths < 0).any() or lengths.sum(dtype=np.int64) > values.size:
                raise ModelError(f"lengths that are negative, or add up to more than {values.size}")
        starts = [starts_of(lengths.astype(np.int64)) for lengths in lists[::2]]
        merged = [
            np.unique(np.concatenate([values[start[i] : start[i] + lengths[i]]
                                      for start, lengths, values in zip(starts, lists[::2], lists[1::2], strict=True)]))
            for i in range(lists[0].size)
        ]  # fmt: skip
        counts = np.array([len(ids) for ids in merged], np.int32)
        return counts, np.concatenate([lists[1][:0], *merged])
