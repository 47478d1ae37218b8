"""Int8 operators that move bytes: each is its float32 twin on the data, and keeps scale and zero point."""

from dataclasses import dataclass

import numpy as np

from caffe2_models.errors import ModelError
from caffe2_models.operators import shaping
from caffe2_models.operators.quantized import require_quantized, require_same_quantization
from caffe2_models.operators.registry import operator
from caffe2_models.tensors import Int8Tensor, TensorType


@dataclass(frozen=True)
class Moving:
    """Mixed into a shaping operator: applies it to the bytes of the first input (of all inputs in a Concat)."""

    Y_scale: float = 1.0
    Y_zero_point: int = 0

    def infer(self, x, *others):
        require_quantized(x)
        require_same_quantization(self, x)
        return super().infer(x, *others)

    def compute(self, x, *others):
        moved = super().compute(x.data, *others)
        if isinstance(moved, tuple):
            return (Int8Tensor(moved[0], x.scale, x.zero_point), *moved[1:])
        return Int8Tensor(moved, x.scale, x.zero_point)


@operator("Int8Flatten")
@dataclass(frozen=True)
class Int8Flatten(Moving, shaping.Flatten):
    pass


@operator("Int8Reshape")
@dataclass(frozen=True)
class Int8Reshape(Moving, shaping.Reshape):
    pass


@operator("Int8Transpose")
@dataclass(frozen=True)
class Int8Transpose(Moving, shaping.Transpose):
    pass


@operator("Int8ChannelShuffle")
@dataclass(frozen=True)
class Int8ChannelShuffle(Moving, shaping.ChannelShuffle):
    order: str = "NHWC"


@operator("Int8ResizeNearest")
@dataclass(frozen=True)
class Int8ResizeNearest(Moving, shaping.ResizeNearest):
    order: str = "NHWC"


@operator("Int8Slice")
@dataclass(frozen=True)
class Int8Slice(Moving, shaping.Slice):
    def infer(self, x, *bounds):
        result = super().infer(x, *bounds)
        if sum(a != b for a, b in zip(x.shape, result.shape, strict=True)) > 1:
            raise ModelError("Int8Slice cuts along one dimension only")
        return result


@operator("Int8Concat")
@dataclass(frozen=True)
class Int8Concat(shaping.Concat):
    """Inputs and output must be quantized alike: Caffe2 aborts where they are not."""

    order: str = "NHWC"
    Y_scale: float = 1.0
    Y_zero_point: int = 0

    def infer(self, *inputs: TensorType):
        require_quantized(*inputs)
        require_same_quantization(self, *inputs)
        return super().infer(*inputs)

    def compute(self, *inputs: Int8Tensor):
        joined, extents = super().compute(*[x.data for x in inputs])
        return Int8Tensor(np.ascontiguousarray(joined), inputs[0].scale, inputs[0].zero_point), extents
