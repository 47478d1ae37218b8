"""From one element type to another."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.dtypes import CODE_OF_NAME, NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_models.operators.registry import ANY, Operator, operator
from caffe2_models.tensors import TensorType


@dataclass(frozen=True)
class DataType:
    """The argument `to`: a TensorProto.DataType, by number or by name."""

    dtype: np.dtype

    @classmethod
    def decode(cls, arguments):
        proto = arguments.proto("to")
        if proto is None:
            raise ModelError("argument to is missing")
        name = proto.s.decode(errors="replace").upper()
        code = CODE_OF_NAME.get(name) if proto.HasField("s") else proto.i
        if code not in NUMPY_OF_CODE:
            raise ModelError(f"data type {code} is not supported")
        return cls(NUMPY_OF_CODE[code])


@operator("Cast")
@dataclass(frozen=True)
class Cast(Operator):
    to: DataType

    dtypes = ANY

    def infer(self, x):
        return TensorType(x.shape, self.to.dtype)

    def compute(self, x):
        return x.astype(self.to.dtype)

    def lower(self, graph, x):
        return graph.cast(x, self.to.dtype)


@operator("FloatToHalf")
@dataclass(frozen=True)
class FloatToHalf(Operator):
    """float16, rounded to nearest; with clip, what is too large becomes the largest."""

    clip: bool = False

    largest = np.float32(np.finfo(np.float16).max)

    def infer(self, x):
        return TensorType(x.shape, np.float16)

    def compute(self, x):
        return (np.clip(x, -self.largest, self.largest) if self.clip else x).astype(np.float16)

    def lower(self, graph, x):
        return graph.cast(graph.clip(x, -self.largest, self.largest) if self.clip else x, np.float16)


@operator("HalfToFloat")
@dataclass(frozen=True)
class HalfToFloat(Operator):
    dtypes = frozenset({"float16"})

    def infer(self, x):
        return TensorType(x.shape)

    def compute(self, x):
        return x.astype(np.float32)

    def lower(self, graph, x):
        return graph.cast(x, np.float32)
