"""Operators that make blobs from their arguments: what init nets are made of."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_models.errors import ModelError
from caffe2_models.operators.elementwise import CAFFE2_TYPES
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor, TensorType

FLOAT, INT64 = 1, 10


@dataclass(frozen=True)
class Values:
    """The argument `values` (or `value`), undecoded: its length is checked before its content is copied."""

    proto: caffe2_pb2.Argument

    @classmethod
    def decode(cls, arguments):
        name = "values" if "values" in arguments else "value"
        return cls(arguments.proto(name) or caffe2_pb2.Argument())

    def __len__(self):
        proto = self.proto
        return len(proto.floats) or len(proto.ints) or len(proto.s) or sum(map(len, proto.strings))

    def array(self, dtype: np.dtype) -> np.ndarray:
        """The values as a flat array."""
        if self.proto.s or self.proto.strings:
            return np.frombuffer(self.proto.s or b"".join(self.proto.strings), np.uint8).astype(dtype)
        return np.array(self.proto.floats or self.proto.ints, dtype)

    def scalar(self):
        """A single value, 0 where none is given."""
        return self.proto.f if self.proto.HasField("f") else self.proto.i

    def is_integer(self) -> bool:
        return self.proto.HasField("i")


@dataclass(frozen=True)
class Fill(Operator):
    """The shape is the argument `shape`, or comes from the first input: its own, or with input_as_shape its content;
    extra_shape follows."""

    shape: tuple[int, ...] = ()
    extra_shape: tuple[int, ...] = ()
    input_as_shape: bool = False

    min_inputs = 0

    def infer(self, x=None, *others):
        if x is not None and self.input_as_shape and x.value is None:
            raise ModelError("its shape comes from a blob that is known only when the net runs")
        return TensorType(self.result(x and x.value if self.input_as_shape else x), self.dtype)

    def result(self, x=None) -> tuple[int, ...]:
        """The output's shape, from the content or the shape of the first input."""
        if x is None:
            return self.shape
        return (*(x.tolist() if self.input_as_shape else x.shape), *self.extra_shape)

    def compute(self, x=None, *others):
        return self.fill(self.result(x))

    def lower(self, graph, x=None, *others):
        content = x and (x.type.value if self.input_as_shape else x)
        return graph.constant(self.fill(self.result(content)))

    dtype = np.dtype(np.float32)

    def fill(self, shape):
        raise NotImplementedError


@dataclass(frozen=True)
class GivenTensor(Fill):
    """The content is in the argument `values`."""

    values: Values = Values(caffe2_pb2.Argument())

    def infer(self, x=None, *others):
        result = super().infer(x, *others)
        if len(self.values) != result.size:
            raise ModelError(
                f"shape {list(result.shape)} declares {result.size} values, {len(self.values)} are given"
            )
        return result

    def fill(self, shape):
        return self.values.array(self.dtype).reshape(shape)


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
class TypeCode:
    """The argument `dtype`: a TensorProto.DataType, or None."""

    code: int | None

    @classmethod
    def decode(cls, arguments):
        return cls(arguments.get_int("dtype"))


@operator("ConstantFill")
@dataclass(frozen=True)
class ConstantFill(Fill):
    """One value everywhere; the type is `dtype` or that of `value`."""

    dtype_code: TypeCode = TypeCode(None)
    values: Values = Values(caffe2_pb2.Argument())

    @property
    def dtype(self):
        code = self.dtype_code.code or (INT64 if self.values.is_integer() else FLOAT)
        if code not in CAFFE2_TYPES:
            raise ModelError(f"data type {code} is not supported")
        return np.dtype(CAFFE2_TYPES[code])

    def fill(self, shape):
        return np.full(shape, self.values.scalar(), self.dtype)


@dataclass(frozen=True)
class RandomFill(Fill):
    """Random content, drawn from a fixed seed: such fills stand in for training, or for an input."""

    min: float = 0.0
    max: float = 1.0
    mean: float = 0.0
    std: float = 1.0

    def fill(self, shape):
        return self.draw(np.random.default_rng(0), shape).astype(np.float32)


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan in, fan out) of a weight [out, in, ...]."""
    size = math.prod(shape)
    return size // max(shape[0], 1), size // max(shape[1] if len(shape) > 1 else 1, 1)


for caffe2_name, draw in [
    ("UniformFill", lambda self, rng, shape: rng.uniform(self.min, self.max, shape)),
    ("GaussianFill", lambda self, rng, shape: rng.normal(self.mean, self.std, shape)),
    (
        "XavierFill",
        lambda self, rng, shape: rng.uniform(-1, 1, shape) * math.sqrt(3 / max(fans(shape)[0], 1)),
    ),
    ("MSRAFill", lambda self, rng, shape: rng.normal(0, math.sqrt(2 / max(fans(shape)[1], 1)), shape)),
]:
    operator(caffe2_name, draw=draw)(RandomFill)


@dataclass(frozen=True)
class Int8GivenTensor(Operator):
    """A quantized parameter: uint8 from a byte string, or int32 (a bias)."""

    shape: tuple[int, ...] = ()
    values: Values = Values(caffe2_pb2.Argument())
    Y_scale: float = 1.0
    Y_zero_point: int = 0

    min_inputs = 0
    dtype = np.dtype(np.uint8)

    def infer(self):
        result = TensorType(self.shape, self.dtype, self.Y_scale, self.Y_zero_point)
        if len(self.values) != result.size:
            raise ModelError(
                f"shape {list(result.shape)} declares {result.size} values, {len(self.values)} are given"
            )
        check_quantization(self.Y_scale, self.Y_zero_point)
        return result

    def compute(self):
        return Int8Tensor(self.values.array(self.dtype).reshape(self.shape), self.Y_scale, self.Y_zero_point)

    def lower(self, graph):
        return graph.constant(self.compute().data)


operator("Int8GivenTensorFill", dtype=np.dtype(np.uint8))(Int8GivenTensor)
operator("Int8GivenIntTensorFill", dtype=np.dtype(np.int32))(Int8GivenTensor)


def check_quantization(scale: float, zero_point: int) -> None:
    """Raises ModelError for a scale that is not positive and finite, or a zero point outside uint8."""
    if not 0 < scale < math.inf:
        raise ModelError(f"a scale of {scale}; it must be positive and finite")
    if not 0 <= zero_point <= 255:
        raise ModelError(f"a zero point of {zero_point}; it must lie in 0...255")
