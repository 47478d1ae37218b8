"""What all Int8 operators share: the output's scale and zero point, and their lowering."""

from dataclasses import dataclass

import numpy as np

from caffe2_models.errors import ModelError
from caffe2_models.operators.fills import check_quantization
from caffe2_models.operators.registry import Operator
from caffe2_models.tensors import Int8Tensor, TensorType


@dataclass(frozen=True)
class Quantized(Operator):
    """An operator with a quantized output at Y_scale and Y_zero_point."""

    Y_scale: float = 1.0
    Y_zero_point: int = 0

    exact_in_onnx = False
    relu = False

    def type_of(self, shape: tuple[int, ...]) -> TensorType:
        """The output's type; raises ModelError for a scale or zero point that cannot be."""
        check_quantization(self.Y_scale, self.Y_zero_point)
        return TensorType(shape, np.uint8, self.Y_scale, self.Y_zero_point)

    def tensor(self, data: np.ndarray) -> Int8Tensor:
        """The output's value."""
        return Int8Tensor(np.ascontiguousarray(data), self.Y_scale, self.Y_zero_point)

    def lower_output(self, graph, y: str) -> str:
        """Real values to the output's quantized ones."""
        return graph.quantize(graph.add("Relu", y) if self.relu else y, self.Y_scale, self.Y_zero_point)


def require_quantized(*inputs: TensorType) -> None:
    """Raises ModelError for an input that is not uint8 with a scale and a zero point."""
    for x in inputs:
        if not x.is_quantized or x.dtype != np.uint8:
            raise ModelError(
                f"an input of {x.dtype} without scale and zero point; a quantized one is expected"
            )


def require_same_quantization(output: Quantized, *inputs: TensorType) -> None:
    """Raises ModelError where the operator moves bytes and so cannot change their scale or zero point."""
    for x in inputs:
        if np.float32(x.scale) != np.float32(output.Y_scale) or x.zero_point != output.Y_zero_point:
            raise ModelError(
                f"input (scale {x.scale:.9g}, zero point {x.zero_point}) and output (scale {output.Y_scale:.9g}, zero point "
                f"{output.Y_zero_point}) must be quantized alike"
            )
