"""Operators that make blobs from their arguments: what init nets are made of."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.dtypes import NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments, floats_of
from caffe2_models.operators.checks import known
from caffe2_models.operators.registry import ANY, Operator, operator
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor, TensorType

FLOAT, INT64 = 1, 10  # TensorProto.DataType


@dataclass(frozen=True)
class Values:
    """The argument `values`, undecoded: its length is checked before its content is copied.

    floats are its floats, where they stand apart from it.
    """

    proto: caffe2_pb2.Argument
    floats: np.ndarray | None = None

    @classmethod
    def decode(cls, arguments: Arguments) -> "Values":
        return cls(arguments.proto("values") or caffe2_pb2.Argument(), arguments.weights)

    def array(self, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """The values, as Caffe2 reads them for a fill of this dtype: floats, integers or a string's bytes."""
        if dtype == np.uint8:
            return np.frombuffer(self._content(dtype), np.uint8).reshape(shape)
        if dtype.kind == "f":
            floats = floats_of(self.proto) if self.floats is None else self.floats
            return floats.astype(dtype, copy=False).reshape(shape)
        return np.fromiter(self.proto.ints, np.int64, len(self.proto.ints)).astype(dtype).reshape(shape)

    def check(self, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        """Raises ModelError where there are not as many values as the shape declares."""
        given, declared = len(self._content(dtype)), math.prod(shape)
        if given != declared:
            raise ModelError(f"shape {list(shape)} declares {declared} values, {given} are given")

    def _content(self, dtype):
        proto = self.proto
        if dtype == np.uint8:
            return proto.s if proto.HasField("s") or len(proto.strings) != 1 else proto.strings[0]
        if dtype.kind == "f":
            return proto.floats if self.floats is None else self.floats
        return proto.ints


@dataclass(frozen=True)
class Fill(Operator):
    """Base: the shape is the argument `shape`, or comes from the input: its own, or with input_as_shape
    its content; extra_shape follows."""

    shape: tuple[int, ...] = ()
    extra_shape: tuple[int, ...] = ()
    input_as_shape: bool = False

    dtypes = ANY
    dtype = np.dtype(np.float32)

    def infer(self, x=None):
        content = known(x, "dimensions") if self.input_as_shape else None
        return TensorType(self.result(x and x.shape, content), self.dtype)

    def result(self, shape: tuple[int, ...] | None, content: np.ndarray | None) -> tuple[int, ...]:
        """The output's shape; from the first input's, where there is one, or with input_as_shape its content."""
        if shape is None:
            if self.extra_shape or self.input_as_shape:
                raise ModelError("extra_shape and input_as_shape go with an input")
            return self.shape
        if self.shape:
            raise ModelError("the shape is given twice, as an argument and by the input")
        if content is None:
            return (*shape, *self.extra_shape)
        if content.dtype != np.int64 or content.ndim != 1:
            raise ModelError(f"a shape given as {content.dtype}{list(shape)}; an int64 vector is expected")
        return (*content.tolist(), *self.extra_shape)

    def compute(self, x=None):
        return self.fill(self.result(None if x is None else x.shape, x if self.input_as_shape else None))

    def lower(self, graph, x=None):
        content = x and x.type.value if self.input_as_shape else None
        return graph.constant(self.fill(self.result(x and x.shape, content)))

    def fill(self, shape: tuple[int, ...]) -> np.ndarray:
        """The content."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class GivenTensor(Fill):
    """The content is the argument `values`; a double's is held in float32."""

    values: Values

    def infer(self, x=None):
        result = super().infer(x)
        self.values.check(self.dtype, result.shape)
        return result

    def fill(self, shape):
        return self.values.array(self.dtype, shape)


for caffe2_name, dtype in [
    ("GivenTensorFill", np.float32),
    ("GivenTensorDoubleFill", np.float64),
    ("GivenTensorIntFill", np.int32),
    ("GivenTensorInt16Fill", np.int16),
    ("GivenTensorInt64Fill", np.int64),
    ("GivenTensorBoolFill", np.bool_),
    ("GivenTensorByteStringToUInt8Fill", np.uint8),
]:
    operator(caffe2_name, dtype=np.dtype(dtype))(GivenTensor)


@dataclass(frozen=True)
class Scalar:
    """The arguments `value` (0 where it is not given) and `dtype` (that of the value likewise)."""

    value: float | int
    dtype: np.dtype

    @classmethod
    def decode(cls, arguments: Arguments) -> "Scalar":
        proto = arguments.proto("value")
        inferred = INT64 if proto is not None and proto.HasField("i") else FLOAT
        code = arguments.get_int("dtype", inferred)
        if code not in NUMPY_OF_CODE:
            raise ModelError(f"data type {code} is not supported")
        dtype = NUMPY_OF_CODE[code]
        value = arguments.get_float("value", 0.0) if dtype.kind == "f" else arguments.get_int("value", 0)
        return cls(value, dtype)


@operator("ConstantFill")
@dataclass(frozen=True, kw_only=True)
class ConstantFill(Fill):
    """One value everywhere; the type is `dtype` or that of `value`."""

    scalar: Scalar

    stands_in = True

    @property
    def dtype(self):
        return self.scalar.dtype

    def fill(self, shape):
        return np.full(shape, self.scalar.value, self.dtype)


@operator("DiagonalFill")
@dataclass(frozen=True, kw_only=True)
class DiagonalFill(ConstantFill):
    """One value along the diagonal of a matrix, or of a cube of more dimensions, zeros around it.

    In a matrix of more rows than columns it begins again below.
    """

    stands_in = False

    def infer(self, x=None):
        result = super().infer(x)
        shape = result.shape
        if len(shape) < 2 or (len(shape) > 2 and len(set(shape)) > 1):
            raise ModelError(f"a diagonal of {list(shape)}; a matrix or a cube is expected")
        return result

    def fill(self, shape):
        y = np.zeros(shape, self.dtype)
        y.ravel()[:: 1 + sum(math.prod(shape[axis:]) for axis in range(1, len(shape)))] = self.scalar.value
        return y


@operator("RangeFill")
@dataclass(frozen=True)
class RangeFill(Fill):
    """0, 1, 2 and so on, in the order of elements."""

    def fill(self, shape):
        return np.arange(math.prod(shape)).astype(np.float32).reshape(shape)


@dataclass(frozen=True)
class RandomFill(Fill):
    """Random content, drawn from a fixed seed: such fills stand in for training, or for an input."""

    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    stands_in = True

    def infer(self, x=None):
        arguments = (self.min, self.max, self.mean, self.std)
        if not all(map(math.isfinite, arguments)) or self.std < 0 or self.min > self.max:
            raise ModelError(f"random values from {self.min} to {self.max}, or {self.mean} +- {self.std}")
        return super().infer(x)

    def fill(self, shape):
        return self.draw(np.random.default_rng(0), shape).astype(np.float32)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight [out, in, ...], at least 1."""
    size = math.prod(shape)
    fan_in = size // max(shape[0] if shape else 1, 1)
    fan_out = size // max(shape[1] if len(shape) > 1 else 1, 1)
    return max(fan_in, 1), max(fan_out, 1)


for caffe2_name, draw in [
    ("UniformFill", lambda self, rng, shape: rng.uniform(self.min, self.max, shape)),
    ("GaussianFill", lambda self, rng, shape: rng.normal(self.mean, self.std, shape)),
    ("XavierFill", lambda self, rng, shape: rng.uniform(-1, 1, shape) * math.sqrt(3 / fans(shape)[0])),
    ("MSRAFill", lambda self, rng, shape: rng.normal(0, math.sqrt(2 / fans(shape)[1]), shape)),
]:
    operator(caffe2_name, draw=draw)(RandomFill)


@dataclass(frozen=True, kw_only=True)
class Int8GivenTensor(Operator):
    """A quantized parameter: uint8 from a byte string, or int32 (a bias)."""

    values: Values
    shape: tuple[int, ...] = ()
    Y_scale: float = 1.0
    Y_zero_point: int = 0

    dtype = np.dtype(np.uint8)

    def infer(self):
        result = TensorType(self.shape, self.dtype, self.Y_scale, self.Y_zero_point)
        self.values.check(self.dtype, result.shape)
        return result

    def compute(self):
        return Int8Tensor(self.values.array(self.dtype, self.shape), self.Y_scale, self.Y_zero_point)

    def lower(self, graph):
        return graph.constant(self.compute().data)


operator("Int8GivenTensorFill", dtype=np.dtype(np.uint8))(Int8GivenTensor)
operator("Int8GivenIntTensorFill", dtype=np.dtype(np.int32))(Int8GivenTensor)
