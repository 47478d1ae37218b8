"""What all Int8 operators share: the output's scale and zero point, and what their lowerings begin or end with."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.registry import ANY, InputDtypes, Operator, OutputScale
from caffe2_models.tensors import Int8Tensor, TensorType


@dataclass(frozen=True, kw_only=True)
class Quantized(Operator):
    """An operator with a quantized output at Y_scale and Y_zero_point."""

    Y_scale: float = 1.0
    Y_zero_point: int = 0

    dtypes: ClassVar[InputDtypes] = ANY
    takes_quantized = True
    output_scale = OutputScale.FREE
    relu = False

    def type_of(self, shape: tuple[int, ...]) -> TensorType:
        """The output's type; raises ModelError for a scale or zero point that cannot be."""
        return TensorType(shape, np.dtype(np.uint8), self.Y_scale, self.Y_zero_point)

    def tensor(self, data: np.ndarray) -> Int8Tensor:
        """The output's value."""
        return Int8Tensor(np.ascontiguousarray(data), self.Y_scale, self.Y_zero_point)

    def quantize_real(self, graph, y: str) -> str:
        """Real values to the output's quantized ones, in QDQ form."""
        return graph.quantize(graph.add("Relu", y) if self.relu else y, self.Y_scale, self.Y_zero_point)


def require_quantized(*inputs: TensorType) -> None:
    """Raises ModelError for an input that is not uint8 with a scale and a zero point."""
    for x in inputs:
        if not x.is_quantized or x.dtype != np.uint8:
            raise ModelError(f"an input of {x.dtype}; a uint8 one with scale and zero point is expected")


def require_nhwc(order: str) -> None:
    """Raises ModelError for another order of the dimensions than QNNPACK's."""
    if order != "NHWC":
        raise ModelError("QNNPACK takes order NHWC only")


def require_same_quantization(output, *inputs: TensorType) -> None:
    """Raises ModelError where an operator that moves bytes would change their scale or zero point."""
    for x in inputs:
        if np.float32(x.scale) != np.float32(output.Y_scale) or x.zero_point != output.Y_zero_point:
            raise ModelError(
                f"input (scale {x.scale:.9g}, zero point {x.zero_point}) and output "
                f"(scale {output.Y_scale:.9g}, zero point {output.Y_zero_point}) must be quantized alike"
            )
