"""Embedding tables: rows looked up and reduced, and tables whose rows are stored in 8, 4 or 2 bits."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_indices, check_lengths, check_rank
from caffe2_models.operators.largest import largest_in_runs
from caffe2_models.operators.reductions import largest, smallest
from caffe2_models.operators.registry import FLOAT32, INDICES, INT32, UINT8, Operator, operator
from caffe2_models.operators.segments import REDUCERS, LengthsReduction, input_dtypes, sum_runs
from caffe2_models.tensors import TensorType

FLOAT16 = frozenset({"float16"})


@dataclass(frozen=True)
class FusedRows:
    """How a row of a quantized table is stored: packed elements (the first in the lowest bits), scale, bias."""

    bits: int
    parameter: type  # of scale and bias

    @property
    def per_byte(self) -> int:
        return 8 // self.bits

    @property
    def tail(self) -> int:
        """Bytes of scale and bias."""
        return 2 * np.dtype(self.parameter).itemsize

    def width(self, columns: int) -> int:
        """Elements of a row of so many bytes; ModelError where there are none."""
        if columns <= self.tail:
            raise ModelError(f"rows of {columns} bytes, of which {self.tail} are scale and bias")
        return (columns - self.tail) * self.per_byte

    def unpack(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(elements [N, width] uint8, scales [N, 1], biases [N, 1] float32) of rows [N, bytes]."""
        tails = np.ascontiguousarray(rows[:, -self.tail :]).view(self.parameter).astype(np.float32)
        shifts = np.arange(self.per_byte, dtype=np.uint8) * self.bits
        elements = rows[:, : -self.tail, None] >> shifts & np.uint8(2**self.bits - 1)
        return elements.reshape(rows.shape[0], self.width(rows.shape[1])), tails[:, :1], tails[:, 1:]

    def decode(self, rows: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
        """Rows [N, bytes] as float32 [N, width], times their weights [N]."""
        elements, scales, biases = self.unpack(rows)
        if weights is not None:
            scales, biases = scales * weights[:, None], biases * weights[:, None]
        return elements * scales + biases

    def pack(self, elements: np.ndarray, scales: np.ndarray, biases: np.ndarray) -> np.ndarray:
        """Rows [N, bytes] of elements [N, width], scales and biases [N, 1]."""
        shifts = np.arange(self.per_byte, dtype=np.uint8) * self.bits
        count, width = elements.shape
        blocks = elements.reshape(count, width // self.per_byte, self.per_byte)
        packed = np.bitwise_or.reduce(blocks << shifts, axis=2)
        tails = np.concatenate([scales, biases], axis=1).astype(self.parameter).view(np.uint8)
        return np.concatenate([packed.astype(np.uint8), tails], axis=1)


FUSED_8, FUSED_8_HALF = FusedRows(8, np.float32), FusedRows(8, np.float16)
FUSED_4, FUSED_2 = FusedRows(4, np.float16), FusedRows(2, np.float16)


Extremes = tuple[np.ndarray, np.ndarray]

VECTOR = 8  # floats of AVX2, with which FBGEMM computes


def extremes_in_vectors(rows: np.ndarray) -> Extremes:
    """(lowest, highest) [N, 1] of rows [N, width], as FBGEMM finds them.

    In each lane of a vector, what is no number also hides what came before it, as the processor compares; in what does
    not fill a vector it is passed over. Of nothing it is the highest float, and the lowest.
    """
    whole = rows.shape[1] // VECTOR * VECTOR
    found = []
    for sign in (1, -1):
        lanes = np.full((len(rows), VECTOR), np.finfo(np.float32).max)
        for start in range(0, whole, VECTOR):
            vector = sign * rows[:, start : start + VECTOR]
            lanes = np.where(lanes < vector, lanes, vector)
        values = np.concatenate([lanes, sign * rows[:, whole:]], axis=1)
        found.append(sign * np.fmin.reduce(values, axis=1, keepdims=True, initial=np.finfo(np.float32).max))
    return found[0], found[1]


def extremes_in_memory(rows: np.ndarray) -> Extremes:
    """(lowest, highest) [N, 1] of rows [N, width], as Eigen finds them in the rows of a blob."""
    whole = [(0, rows.shape[1])]
    return -largest_in_runs(-rows, whole), largest_in_runs(rows, whole)


def extremes_in_turn(rows: np.ndarray) -> Extremes:
    """(lowest, highest) [N, 1] of rows [N, width], compared one by one."""
    return smallest(rows, 1, keepdims=True), largest(rows, 1, keepdims=True)


def extremes_of(rows: np.ndarray, of_odd: Callable[[np.ndarray], Extremes]) -> Extremes:
    """(lowest, highest) [N, 1] of rows [N, width]; as `of_odd` finds them where not all of them are finite."""
    if np.isfinite(rows).all():
        return rows.min(axis=1, keepdims=True), rows.max(axis=1, keepdims=True)
    return of_odd(rows)


def quantize_to_bytes(rows: np.ndarray, extremes: Extremes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(elements, scales, biases) of rows in 8 bits, parameters in float32."""
    lowest, highest = extremes
    span = highest - lowest
    inverse = np.float32(255) / (span + np.float32(1e-8))
    steps = np.rint((rows - lowest) * inverse)
    whole = rows.shape[1] // (4 * VECTOR) * (4 * VECTOR)
    elements = np.concatenate([to_steps(steps[:, :whole], 255), to_steps(steps[:, whole:])], axis=1)
    return elements, span / np.float32(255), lowest


def to_steps(values: np.ndarray, most: int | None = None) -> np.ndarray:
    """Whole numbers from 0 to `most`, or of their lowest byte, uint8; 0 of what no integer holds."""
    held = np.where(np.abs(values) < 2.0 ** (63 if most is None else 31), values, 0)
    return (held.astype(np.int64) if most is None else held.clip(0, most)).astype(np.uint8)


def quantize_to_bits(rows: np.ndarray, bits: int, extremes: Extremes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(elements, scales, biases) of rows in so many bits, parameters as float16 holds them."""
    steps = 2**bits - 1
    lowest = extremes[0].astype(np.float16).astype(np.float32)
    span = extremes[1] - lowest
    scales = np.where(span == 0, np.float32(1), span / np.float32(steps)).astype(np.float16).astype(np.float32)
    inverse = np.float32(1) / scales
    unusable = (scales == 0) | np.isinf(inverse)
    scales, inverse = (np.where(unusable, np.float32(1), v) for v in (scales, inverse))
    return to_steps(np.rint((rows - lowest) * inverse), steps), scales, lowest


@dataclass(frozen=True)
class ToFusedRows(Operator):
    """The last dimension of floats as quantized rows."""

    rows = FUSED_8
    extremes = staticmethod(extremes_in_vectors)

    def infer(self, x):
        if not x.shape or not x.shape[-1] or x.shape[-1] % self.rows.per_byte:
            raise ModelError(f"rows of {list(x.shape)} do not fill bytes with elements of {self.rows.bits} bits")
        return TensorType((*x.shape[:-1], x.shape[-1] // self.rows.per_byte + self.rows.tail), np.uint8)

    def compute(self, x):
        flat = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]).astype(np.float32)
        in_bytes = self.rows.parameter is np.float32
        found = extremes_of(flat, self.extremes)
        parts = quantize_to_bytes(flat, found) if in_bytes else quantize_to_bits(flat, self.rows.bits, found)
        packed = self.rows.pack(*parts)
        return packed.reshape(*x.shape[:-1], packed.shape[1])


@dataclass(frozen=True)
class FromFusedRows(Operator):
    """Quantized rows as floats."""

    rows = FUSED_8
    result = np.dtype(np.float32)

    dtypes = UINT8

    def infer(self, x):
        if not x.shape:
            raise ModelError("a blob of no dimensions has no rows")
        return TensorType((*x.shape[:-1], self.rows.width(x.shape[-1])), self.result)

    def compute(self, x):
        values = self.rows.decode(x.reshape(math.prod(x.shape[:-1]), x.shape[-1]))
        return values.astype(self.result).reshape(*x.shape[:-1], values.shape[1])


for bits, rows in [("8Bit", FUSED_8), ("4Bit", FUSED_4), ("2Bit", FUSED_2)]:
    half = "HalfFloat" if bits == "8Bit" else "Half"
    operator(f"FloatToFused{bits}RowwiseQuantized", rows=rows)(ToFusedRows)
    of_halves = extremes_in_vectors if bits == "8Bit" else extremes_in_turn
    operator(f"{half}ToFused{bits}RowwiseQuantized", rows=rows, dtypes=FLOAT16, extremes=staticmethod(of_halves))(
        ToFusedRows
    )
    operator(f"Fused{bits}RowwiseQuantizedToFloat", rows=rows)(FromFusedRows)
    operator(f"Fused{bits}RowwiseQuantizedTo{half}", rows=rows, result=np.dtype(np.float16))(FromFusedRows)

operator("FloatToFused8BitRowwiseQuantizedHalfScaleBias", rows=FUSED_8_HALF)(ToFusedRows)
operator("HalfFloatToFused8BitRowwiseQuantizedHalfScaleBias", rows=FUSED_8_HALF, dtypes=FLOAT16)(ToFusedRows)
operator(
    "Fused8BitRowwiseQuantizedHalfScaleBiasToFloat",
    "Fused8BitRowwiseQuantizedHalfScaleBiasToHalfFloat",  # whatever its name says, float32
    rows=FUSED_8_HALF,
)(FromFusedRows)


@operator("FloatToFused4BitFakeRowwiseQuantized", bits=4)
@operator("FloatToFused2BitFakeRowwiseQuantized", bits=2)
@operator("HalfToFused4BitFakeRowwiseQuantized", bits=4, dtypes=FLOAT16)
@operator("HalfToFused2BitFakeRowwiseQuantized", bits=2, dtypes=FLOAT16)
@dataclass(frozen=True)
class ToFakeFusedRows(Operator):
    """Rows quantized as in 4 or 2 bits, stored as in 8."""

    def infer(self, x):
        check_rank(x, 2, "a table")
        if not x.shape[1]:
            raise ModelError(f"rows of {list(x.shape)} are empty")
        return TensorType((x.shape[0], x.shape[1] + FUSED_8.tail), np.uint8)

    def compute(self, x):
        rows = x.astype(np.float32)
        return FUSED_8.pack(*quantize_to_bits(rows, self.bits, extremes_of(rows, extremes_in_turn)))


@operator("FloatToRowwiseQuantized8Bits")
@dataclass(frozen=True)
class FloatToRowwiseQuantized8Bits(Operator):
    """Rows in 8 bits, and their scales and biases [N, 2] as output 2."""

    def infer(self, x):
        if not x.shape or not x.size:
            raise ModelError(f"{list(x.shape)} has no rows")
        return TensorType(x.shape, np.uint8), TensorType((x.shape[0], 2))

    def compute(self, x):
        rows = x.reshape(x.shape[0], -1)
        lowest, highest = extremes_of(rows, extremes_in_memory)
        even = highest - lowest < np.float32(1e-10)
        scales = np.where(even, np.float32(1), (highest - lowest) / np.float32(255))
        scaled = (rows - lowest) * (np.float32(1) / scales)
        elements = np.where(even, 0, np.floor(scaled + np.float32(0.5)))  # halves go up, as std::round has it here
        return to_steps(elements).reshape(x.shape), np.concatenate([scales, lowest], axis=1)


@operator("Rowwise8BitQuantizedToFloat")
@dataclass(frozen=True)
class Rowwise8BitQuantizedToFloat(Operator):
    """Rows in 8 bits by their scales and biases [N, 2]."""

    dtypes = (UINT8, FLOAT32)

    def infer(self, x, parameters):
        if not x.shape or parameters.shape != (x.shape[0], 2):
            raise ModelError(f"scales and biases {list(parameters.shape)} for the rows of {list(x.shape)}")
        return TensorType(x.shape)

    def compute(self, x, parameters):
        shape = (-1, *[1] * (x.ndim - 1))
        return x * parameters[:, 0].reshape(shape) + parameters[:, 1].reshape(shape)

    def lower(self, graph, x, parameters):
        shape = graph.ints([-1, *[1] * (len(x.shape) - 1)])
        scales, biases = (
            graph.add("Reshape", graph.add("Gather", parameters, graph.ints([i]), axis=1), shape) for i in (0, 1)
        )
        return graph.add("Add", graph.add("Mul", graph.cast(x, np.float32), scales), biases)


@operator("GatherFused8BitRowwise")
@dataclass(frozen=True)
class GatherFused8BitRowwise(Operator):
    """Quantized rows at the indices, as floats."""

    dtypes = (UINT8, INDICES)

    def infer(self, table, indices):
        check_rank(table, 2, "a table")
        check_rank(indices, 1, "indices")
        return TensorType((indices.size, FUSED_8.width(table.shape[1])))

    def compute(self, table, indices):
        check_indices(indices, table.shape[0])
        return FUSED_8.decode(table[indices])


@dataclass(frozen=True)
class SparseLengths(LengthsReduction):
    """Rows of a table at the indices, in groups by lengths."""

    indexed = True

    def floats(self, data, weights):
        rows = super().floats(data, None)
        return rows if weights is None else rows * weights[:, None]

    def runs(self, groups, count):
        return super().runs(groups, count) if count else (np.zeros(groups.size, np.int64), None)  # lengths are not read


@dataclass(frozen=True)
class SparseLengthsFused(SparseLengths):
    """Rows of a quantized table at the indices, in groups by lengths."""

    rows = FUSED_8

    def row_shape(self, shape):
        if len(shape) != 2:
            raise ModelError(f"a table of shape {list(shape)}; two dimensions are expected")
        return (self.rows.width(shape[1]),)

    def floats(self, data, weights):
        return self.rows.decode(data, weights)

    def runs(self, groups, count):
        return LengthsReduction.runs(self, groups, count)


def register(pattern: str, base: type[LengthsReduction], data: frozenset[str], **fixed) -> None:
    """Register the sum, mean and weighted sum; the pattern has their name in."""
    for name in ("Sum", "Mean", "WeightedSum"):
        weighted = name == "WeightedSum"
        dtypes = (*input_dtypes(data, weighted, indexed=True), *fixed.get("further", ()))
        reducer = staticmethod(REDUCERS[name])
        operator(pattern.format(name), reducer=reducer, weighted=weighted, dtypes=dtypes, **fixed)(base)


register("SparseLengths{}", SparseLengths, FLOAT32 | FLOAT16)
register("SparseLengths{}Fused8BitRowwise", SparseLengthsFused, UINT8, rows=FUSED_8)
register("SparseLengths{}Fused4BitRowwise", SparseLengthsFused, UINT8, rows=FUSED_4)
register("SparseLengths{}Fused2BitRowwise", SparseLengthsFused, UINT8, rows=FUSED_2)


@operator("SparseLengthsPositionalWeightedSum")
@dataclass(frozen=True)
class SparseLengthsPositionalWeightedSum(Operator):
    """Rows of a table at the indices, in groups by lengths, each times the weight of its place in the group."""

    dtypes = (FLOAT32 | FLOAT16, FLOAT32, INDICES, INT32)

    def infer(self, table, weights, indices, lengths):
        check_rank(weights, 1, "weights")
        check_rank(indices, 1, "indices")
        check_rank(lengths, 1, "lengths")
        if not table.shape:
            raise ModelError("a table of no dimensions has no rows")
        return TensorType((lengths.size, *table.shape[1:]))

    def compute(self, table, weights, indices, lengths):
        result = np.zeros((lengths.size, *table.shape[1:]), np.float32)
        if not indices.size:
            return result
        check_indices(indices, table.shape[0])
        check_lengths(lengths, indices.size)
        if lengths.max(initial=0) > weights.size:
            raise ModelError(f"a group of {lengths.max()} rows with {weights.size} weights")
        lengths = lengths.astype(np.int64)
        places = np.arange(indices.size) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = table[indices].reshape(indices.size, -1).astype(np.float32) * weights[places][:, None]
        return sum_runs(rows, lengths).reshape(result.shape)

    def workspace(self, table, weights, indices, lengths):
        return 2 * 4 * indices.size * (table.size // max(table.shape[0], 1))

    def macs(self, table, weights, indices, lengths):
        return indices.size * (table.size // max(table.shape[0], 1))


@dataclass(frozen=True)
class SparseLengths8BitsRowwise(Operator):
    """Rows of a table in 8 bits at the indices, in groups by lengths; the last blob holds scales and biases [N, 2]."""

    weighted = False
    reducer = staticmethod(sum_runs)

    @classmethod
    def arity(cls):
        return 4 + cls.weighted, 4 + cls.weighted

    def infer(self, table, *others):
        *weights, indices, lengths, parameters = others
        check_rank(indices, 1, "indices")
        check_rank(lengths, 1, "lengths")
        if not table.shape or parameters.shape != (table.shape[0], 2):
            raise ModelError(f"scales and biases {list(parameters.shape)} for the rows of {list(table.shape)}")
        if weights and weights[0].size != indices.size:
            raise ModelError(f"{weights[0].size} weights for {indices.size} rows")
        return TensorType((lengths.size, *table.shape[1:]))

    def compute(self, table, *others):
        *weights, indices, lengths, parameters = others
        check_indices(indices, table.shape[0])
        check_lengths(lengths, indices.size)
        scales, biases = parameters[indices, :1], parameters[indices, 1:]
        if weights:
            scales, biases = scales * weights[0].reshape(-1, 1), biases * weights[0].reshape(-1, 1)
        rows = table[indices].reshape(indices.size, math.prod(table.shape[1:])) * scales + biases
        return self.reducer(rows, lengths.astype(np.int64)).reshape(lengths.size, *table.shape[1:])

    def workspace(self, table, *others):
        return 2 * 4 * others[-3].size * (table.size // max(table.shape[0], 1))

    def macs(self, table, *others):
        return others[-3].size * (table.size // max(table.shape[0], 1))


for caffe2_name, reduced in [("Sum", "Sum"), ("Mean", "Mean"), ("WeightedSum", "Sum"), ("WeightedMean", "Mean")]:
    weighted = caffe2_name.startswith("Weighted")
    operator(
        f"SparseLengths{caffe2_name}8BitsRowwise",
        weighted=weighted,
        reducer=staticmethod(REDUCERS[reduced]),
        dtypes=(UINT8, *[FLOAT32] * weighted, INDICES, INT32, FLOAT32),
    )(SparseLengths8BitsRowwise)


@dataclass(frozen=True)
class SparseLengthsCompressed(Operator):
    """Like the operators of fused rows, of a table without its unused rows: the last blob maps indices to its rows.

    Rows mapped to -1 count as nothing, though a mean divides by them too. A map of the one entry 0 is none.
    """

    weighted = False
    mean = False
    rows = FUSED_8

    @classmethod
    def arity(cls):
        return 4 + cls.weighted, 4 + cls.weighted

    def infer(self, table, *others):
        *weights, indices, lengths, mapping = others
        for blob, role in ((indices, "indices"), (lengths, "lengths"), (mapping, "a map of indices")):
            check_rank(blob, 1, role)
        check_rank(table, 2, "a table")
        if weights and weights[0].shape != indices.shape:
            raise ModelError(f"weights of shape {list(weights[0].shape)} for {indices.size} rows")
        return TensorType((lengths.size, self.rows.width(table.shape[1])))

    def compute(self, table, *others):
        *weights, indices, lengths, mapping = others
        check_lengths(lengths, indices.size)
        if mapping.size != 1 or mapping[0] != 0:
            check_indices(indices, mapping.size)
            indices = mapping[indices]
        present = indices != -1
        check_indices(indices[present], table.shape[0])
        decoded = np.zeros((indices.size, self.rows.width(table.shape[1])), np.float32)
        decoded[present] = self.rows.decode(table[indices[present]], weights[0][present] if weights else None)
        return REDUCERS["Mean" if self.mean else "Sum"](decoded, lengths.astype(np.int64))

    def workspace(self, table, *others):
        return 3 * 4 * others[-3].size * self.rows.width(table.shape[1])

    def macs(self, table, *others):
        return others[-3].size * self.rows.width(table.shape[1])


for name in ("Sum", "Mean", "WeightedSum"):
    for bits, rows in [("8Bit", FUSED_8), ("4Bit", FUSED_4), ("2Bit", FUSED_2)]:
        weighted = name == "WeightedSum"
        operator(
            f"SparseLengths{name}{bits}RowwiseSparse",
            weighted=weighted,
            mean=name == "Mean",
            rows=rows,
            dtypes=(UINT8, *[FLOAT32] * weighted, INDICES, INT32, INT32),
        )(SparseLengthsCompressed)
