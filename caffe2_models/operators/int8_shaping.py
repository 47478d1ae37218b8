"""Int8 operators that move bytes: each is its float32 twin on the data, and keeps scale and zero point."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators import resizing, shaping
from caffe2_models.operators.quantized import require_nhwc, require_quantized, require_same_quantization
from caffe2_models.operators.registry import ANY, InputDtypes, Operator, OutputScale, arity_of, operator
from caffe2_models.tensors import Int8Tensor, TensorType


@dataclass(frozen=True, kw_only=True)
class Moving(Operator):
    """Mixed into a shaping operator: applies it to the bytes of the first input."""

    Y_scale: float = 1.0
    Y_zero_point: int = 0

    dtypes: ClassVar[InputDtypes] = ANY
    takes_quantized = True
    output_scale = OutputScale.AS_INPUT

    @classmethod
    def arity(cls):
        return arity_of(super().infer)  # of the operator that this is mixed into

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
@dataclass(frozen=True, kw_only=True)
class Int8Flatten(Moving, shaping.Flatten):
    pass


@operator("Int8Reshape")
@dataclass(frozen=True, kw_only=True)
class Int8Reshape(Moving, shaping.Reshape):
    pass


@operator("Int8Transpose")
@dataclass(frozen=True, kw_only=True)
class Int8Transpose(Moving, shaping.Transpose):
    pass


@operator("Int8ChannelShuffle")
@dataclass(frozen=True, kw_only=True)
class Int8ChannelShuffle(Moving, shaping.ChannelShuffle):
    per_image = True

    def infer(self, x):
        require_nhwc(self.order)
        if self.group < 2:
            raise ModelError("a shuffle of one group, which QNNPACK refuses")
        return super().infer(x)


@operator("Int8ResizeNearest")
@dataclass(frozen=True, kw_only=True)
class Int8ResizeNearest(Moving, resizing.Nearest):
    """Images in NHWC order, whatever the argument order says."""

    order = "NHWC"
    per_image = True

    def infer(self, x):
        return super().infer(x)


@operator("Int8Slice")
@dataclass(frozen=True, kw_only=True)
class Int8Slice(Moving, shaping.Slice):
    """Cuts one dimension, given by starts and ends or as dim, start_idx and end_idx."""

    dim: int | None = None
    start_idx: int | None = None
    end_idx: int | None = None

    def wanted(self, rank, starts=None, ends=None):
        if starts is not None or None in (self.dim, self.start_idx, self.end_idx):
            return super().wanted(rank, starts, ends)
        starts, ends = [0] * rank, [-1] * rank
        dim = shaping.canonical_axis(self.dim, rank)
        starts[dim], ends[dim] = self.start_idx, self.end_idx
        return starts, ends


@operator("Int8Concat")
@dataclass(frozen=True, kw_only=True)
class Int8Concat(shaping.Concat):
    """Along `axis` or, by `order`, along the channels; along the first dimension where neither is given.

    Inputs and output must be quantized alike: Caffe2 aborts where they are not.
    """

    Y_scale: float = 1.0
    Y_zero_point: int = 0

    takes_quantized = True
    output_scale = OutputScale.AS_INPUT

    def infer(self, first: TensorType, *others: TensorType):
        require_quantized(first, *others)
        require_same_quantization(self, first, *others)
        return super().infer(first, *others)

    def compute(self, *inputs: Int8Tensor):
        joined, extents = super().compute(*[x.data for x in inputs])
        return Int8Tensor(np.ascontiguousarray(joined), inputs[0].scale, inputs[0].zero_point), extents

    def along(self, rank):
        axis = {"NHWC": 3, "NCHW": 1}.get(self.order, 0) if self.axis is None else self.axis
        if not 0 <= axis < rank:
            raise ModelError(f"axis {axis} of a blob of {rank} dimensions (negative ones are not taken)")
        return axis

    @property
    def _stacks(self):
        return False
