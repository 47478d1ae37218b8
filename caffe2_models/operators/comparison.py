"""Comparisons, logic, choices, and checks of what a blob holds."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.dtypes import NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.arithmetic import Binary
from caffe2_models.operators.checks import check_same_shape, check_same_type
from caffe2_models.operators.elementwise import Elementwise
from caffe2_models.operators.registry import ANY, BOOL, FLOATS, INDICES, NUMBERS, Operator, operator
from caffe2_models.tensors import TensorType


@dataclass(frozen=True)
class Comparison(Binary):
    """A comparison that ONNX has too, with the broadcasting of arithmetic; bool."""

    def infer(self, a, b):
        check_same_type(a, b)
        return TensorType(self._result(a, b), np.bool_)


for caffe2_name, function, onnx_name, dtypes in [
    ("EQ", np.equal, "Equal", NUMBERS | BOOL),
    ("LT", np.less, "Less", NUMBERS),
    ("LE", np.less_equal, "LessOrEqual", NUMBERS),
    ("GT", np.greater, "Greater", NUMBERS),
    ("GE", np.greater_equal, "GreaterOrEqual", NUMBERS),
    ("And", np.logical_and, "And", BOOL),
    ("Or", np.logical_or, "Or", BOOL),
    ("Xor", np.logical_xor, "Xor", BOOL),
]:
    operator(caffe2_name, function=staticmethod(function), onnx_type=onnx_name, dtypes=dtypes)(Comparison)


@operator("NE")
@dataclass(frozen=True)
class NotEqual(Comparison):
    dtypes = NUMBERS | BOOL
    function = staticmethod(np.not_equal)
    onnx_type = "Equal"

    def lower(self, graph, a, b):
        return graph.add("Not", super().lower(graph, a, b))


@operator("BitwiseAnd", function=staticmethod(np.bitwise_and), onnx_type="And")
@operator("BitwiseOr", function=staticmethod(np.bitwise_or), onnx_type="Or")
@operator("BitwiseXor", function=staticmethod(np.bitwise_xor), onnx_type="Xor")
@dataclass(frozen=True)
class Bitwise(Binary):
    """Bits of integers; ONNX has them from opset 18 on, and until then digit by digit: [..., bits] of 0 and 1."""

    onnx_type: ClassVar[str]
    dtypes = INDICES | BOOL

    def lower(self, graph, a, b):
        if a.type.dtype == np.bool_:
            return super().lower(graph, a, b)
        width = 8 * a.type.dtype.itemsize
        aligned = self.aligned(a.shape, b.shape)
        second = graph.add("Reshape", b, graph.ints(aligned)) if aligned != b.shape else b
        digits = [self._digits(graph, graph.cast(x, np.int64), width) for x in (a, second)]
        joined = graph.cast(graph.add(self.onnx_type, *(graph.cast(each, np.bool_) for each in digits)), np.int64)
        weights = np.array([*(1 << i % 32 for i in range(width - 1)), -(1 << 31)], np.int64)
        total = None
        for start in range(width - 32, -1, -32):  # apart, for ONNX Runtime adds int64 in float64
            half = np.where((np.arange(width) >= start) & (np.arange(width) < start + 32), weights, 0)
            part = graph.add("ReduceSum", graph.add("Mul", joined, graph.constant(half)), graph.ints([-1]), keepdims=0)
            higher = total and graph.add("Mul", total, graph.constant(1 << 32, np.int64))
            total = graph.add("Add", higher, part) if higher else part
        return graph.cast(total, a.type.dtype)

    def _digits(self, graph, x: str, width: int) -> str:
        """All but the last are floor(x / 2^i) modulo 2; the last tells the sign."""
        column = graph.add("Unsqueeze", x, graph.ints([-1]))
        places = graph.constant(np.array([1 << i for i in range(width - 1)], np.int64))
        floor = graph.add("Div", graph.add("Sub", column, graph.add("Mod", column, places)), places)
        below = graph.cast(graph.add("Less", column, graph.constant(0, np.int64)), np.int64)
        return graph.add("Concat", graph.add("Mod", floor, graph.constant(2, np.int64)), below, axis=-1)


@operator("Not")
@dataclass(frozen=True)
class Not(Elementwise):
    dtypes = BOOL

    def compute(self, x):
        return np.logical_not(x)

    def lower(self, graph, x):
        return graph.add("Not", x)


@operator("IsNaN")
@dataclass(frozen=True)
class IsNaN(Elementwise):
    """1 where the input is no number, uint8."""

    dtypes = FLOATS

    def infer(self, x):
        return TensorType(x.shape, np.uint8)

    def compute(self, x):
        return np.isnan(x).astype(np.uint8)

    def lower(self, graph, x):
        return graph.cast(graph.add("IsNaN", x), np.uint8)


MEMBER_DTYPES = {code: NUMPY_OF_CODE[code] for code in (2, 5, 10)}  # int32, bool, int64


@dataclass(frozen=True)
class Members:
    """The argument `value`: integers; `dtype` is what they are, None for whatever they are compared with."""

    values: tuple[int, ...]
    dtype: np.dtype | None

    @classmethod
    def decode(cls, arguments: Arguments) -> "Members":
        code = arguments.get_int("dtype", None)
        if code is not None and code not in MEMBER_DTYPES:
            raise ModelError(f"dtype {code}; int32 (2), bool (5) or int64 (10) is expected")
        return cls(arguments.get_ints("value", ()), None if code is None else MEMBER_DTYPES[code])

    def of(self, dtype: np.dtype) -> np.ndarray:
        """As this type; none where they are of another. Raises ModelError for what is no int32 and should be."""
        members = np.array(self.values, np.int64)
        kind = self.dtype or dtype
        if kind == np.int32 and (members != members.astype(np.int32)).any():
            raise ModelError(f"value {list(self.values)}, which int32 does not hold")
        return members.astype(dtype) if kind == dtype else np.empty(0, dtype)


@operator("IsMemberOf")
@dataclass(frozen=True, kw_only=True)
class IsMemberOf(Elementwise):
    """Whether each element is one of the argument `value`'s; of another type than `dtype`, none is."""

    value: Members

    dtypes = INDICES | BOOL

    def infer(self, x):
        self.value.of(x.dtype)
        return TensorType(x.shape, np.bool_)

    def compute(self, x):
        return np.isin(x, self.value.of(x.dtype))

    def lower(self, graph, x):
        members = self.value.of(x.type.dtype)
        if not members.size:
            return graph.constant(np.zeros(x.shape, np.bool_))
        dtype = np.int32 if members.dtype == np.bool_ else members.dtype  # ReduceMax of booleans comes with opset 20
        equal = graph.add("Equal", graph.add("Unsqueeze", graph.cast(x, dtype), graph.ints([-1])),
                          graph.constant(members, dtype))  # fmt: skip
        return graph.cast(graph.add("ReduceMax", graph.cast(equal, np.int32), axes=[-1], keepdims=0), np.bool_)


def lower_choice(graph, condition: str, a, b) -> str:
    """Where, of any type: ONNX Runtime has it for 8, 32 and 64 bits, and not for bool."""
    carrier = {np.dtype(np.bool_): np.uint8, np.dtype(np.int8): np.int32, np.dtype(np.int16): np.int32,
               np.dtype(np.uint16): np.int32, np.dtype(np.float16): np.float32}.get(a.type.dtype)  # fmt: skip
    if carrier is None:
        return graph.add("Where", condition, a, b)
    chosen = graph.add("Where", condition, graph.cast(a, carrier), graph.cast(b, carrier))
    return graph.cast(chosen, a.type.dtype)


@operator("Where")
@dataclass(frozen=True)
class Where(Operator):
    """The first choice where the condition holds, else the second; with broadcast_on_rows a condition for each row."""

    broadcast_on_rows: bool = False

    dtypes = (BOOL, NUMBERS | BOOL)

    def infer(self, condition, a, b):
        check_same_shape(a, b)
        expected = a.shape[:1] if self.broadcast_on_rows else a.shape
        if condition.shape != expected or (self.broadcast_on_rows and not a.shape):
            raise ModelError(f"a condition of shape {list(condition.shape)} for choices {list(a.shape)}")
        return a.with_shape(a.shape)

    def compute(self, condition, a, b):
        return np.where(condition.reshape(self._aligned(condition.shape, a.ndim)), a, b)

    def lower(self, graph, condition, a, b):
        condition = graph.add("Reshape", condition, graph.ints(self._aligned(condition.shape, len(a.shape))))
        return lower_choice(graph, condition, a, b)

    def _aligned(self, shape: tuple[int, ...], rank: int) -> tuple[int, ...]:
        return shape + (1,) * (rank - len(shape))


@operator("Conditional")
@dataclass(frozen=True)
class Conditional(Operator):
    """Where, by rows, of choices of any type."""

    dtypes = (BOOL, ANY)

    def infer(self, condition, a, b):
        check_same_shape(a, b)
        if len(condition.shape) != 1 or not a.shape or condition.shape[0] != a.shape[0]:
            raise ModelError(f"a condition of shape {list(condition.shape)} for choices {list(a.shape)}")
        return a.with_shape(a.shape)

    def compute(self, condition, a, b):
        return np.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    def lower(self, graph, condition, a, b):
        condition = graph.add("Reshape", condition, graph.ints([-1] + [1] * (len(a.shape) - 1)))
        return lower_choice(graph, condition, a, b)


@operator("HasElements")
@dataclass(frozen=True)
class HasElements(Operator):
    """Whether any of the blobs is not empty, bool of no dimensions."""

    dtypes = ANY

    def infer(self, first, *others):
        return TensorType.of(self._answer(first, *others))

    def compute(self, *inputs):
        return self._answer(*inputs)

    def lower(self, graph, *inputs):
        return graph.constant(self._answer(*inputs))

    @staticmethod
    def _answer(*blobs) -> np.ndarray:
        return np.array(any(math.prod(blob.shape) for blob in blobs))


@operator("EnforceFinite")
@dataclass(frozen=True)
class EnforceFinite(Operator):
    """No outputs: a run ends with a ModelError where the input, of floats, holds NaN or infinities."""

    dtypes = ANY

    def infer(self, x):
        return ()

    def compute(self, x):
        if x.dtype in (np.float32, np.float64) and not np.isfinite(x).all():
            raise ModelError(f"value {x.ravel()[np.flatnonzero(~np.isfinite(x.ravel()))[0]]}, which is not finite")
        return ()


@operator("NanCheck")
@dataclass(frozen=True)
class NanCheck(Operator):
    """The first input; a run ends with a ModelError where any input holds NaN or infinities."""

    def infer(self, x, *others):
        return x.with_shape(x.shape)

    def compute(self, x, *others):
        for blob in (x, *others):
            if not np.isfinite(blob).all():
                raise ModelError("a value that is not finite")
        return x


@operator("ZeroGradient")
@dataclass(frozen=True)
class ZeroGradient(Operator):
    """Nothing: it is for training."""

    dtypes = ANY

    def infer(self, x):
        return ()

    def compute(self, x):
        return ()

    def lower(self, graph, x):
        return ()
