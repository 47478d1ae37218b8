"""Int8 quantize and dequantize, addition, activations, pooling and softmax."""

from dataclasses import dataclass

import numpy as np

from caffe2_models import int8
from caffe2_models.errors import ModelError
from caffe2_models.operators.convolution import image_shape
from caffe2_models.operators.pooling import max_over_window, sum_over_window
from caffe2_models.operators.quantized import Quantized, require_quantized, require_same_quantization
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import Window
from caffe2_models.tensors import TensorType


@operator("Int8Quantize")
@dataclass(frozen=True)
class Int8Quantize(Quantized):
    def infer(self, x):
        if x.dtype != np.float32 or x.is_quantized:
            raise ModelError(f"an input of {x.dtype}; float32 is expected")
        return self.type_of(x.shape)

    def compute(self, x):
        return self.tensor(int8.quantize(x, self.Y_scale, self.Y_zero_point))

    def lower(self, graph, x):
        return graph.quantize(x, self.Y_scale, self.Y_zero_point)


@operator("Int8Dequantize")
@dataclass(frozen=True)
class Int8Dequantize(Operator):
    def infer(self, x):
        require_quantized(x)
        return TensorType(x.shape, np.float32)

    def compute(self, x):
        return x.dequantize()

    def lower(self, graph, x):
        return graph.dequantize(x)


@operator("Int8Add", "Int8Sum")
@operator("Int8AddRelu", "Int8SumRelu", relu=True)
@dataclass(frozen=True)
class Int8Add(Quantized):
    """Two tensors of one shape."""

    def infer(self, a, b):
        require_quantized(a, b)
        if a.shape != b.shape:
            raise ModelError(f"shapes {list(a.shape)} and {list(b.shape)} differ")
        int8.add_multipliers(a.scale, b.scale, self.Y_scale)
        return self.type_of(a.shape)

    def compute(self, a, b):
        return self.tensor(int8.add(a.data, a.scale, a.zero_point, b.data, b.scale, b.zero_point, self.Y_scale,
                                    self.Y_zero_point, self.relu))  # fmt: skip

    def lower(self, graph, a, b):
        return self.lower_output(graph, graph.add("Add", graph.dequantize(a), graph.dequantize(b)))


@dataclass(frozen=True)
class Int8Pool(Quantized):
    """What the int8 pools share: NHWC shapes."""

    window: Window = Window()
    order: str = "NCHW"

    def infer(self, x):
        require_quantized(x)
        if self.order != "NHWC":
            raise ModelError("QNNPACK's pooling takes order NHWC only")
        count, channels, height, width = image_shape(x, "NHWC")
        return self.type_of((count, *self.window.fit(height, width).output, channels))

    def lower(self, graph, x):
        fit = self.window.fit(*x.shape[1:3])
        y = self.lower_pool(graph, graph.to_nchw(graph.dequantize(x)), fit)
        return self.lower_output(graph, graph.to_nhwc(y))


@operator("Int8AveragePool")
@operator("Int8AveragePoolRelu", relu=True)
@dataclass(frozen=True)
class Int8AveragePool(Int8Pool):
    """Mean over the window's whole area, padding as zero."""

    def infer(self, x):
        int8.check_average_ratio(x.scale or 0, self.Y_scale)
        return super().infer(x)

    def compute(self, x):
        fit = self.window.fit(*x.shape[1:3])
        acc = sum_over_window(x.data.astype(np.int32).transpose(0, 3, 1, 2) - x.zero_point, fit).transpose(
            0, 2, 3, 1
        )
        return self.tensor(int8.average(acc, fit.area, x.scale, self.Y_scale, self.Y_zero_point, self.relu))

    def lower_pool(self, graph, image, fit):
        if self.window.global_pooling:
            return graph.add("GlobalAveragePool", image)
        return graph.add("AveragePool", image, kernel_shape=fit.kernel, strides=fit.stride, pads=fit.pads,
                         count_include_pad=1)  # fmt: skip


@operator("Int8MaxPool")
@operator("Int8MaxPoolRelu", relu=True)
@dataclass(frozen=True)
class Int8MaxPool(Int8Pool):
    def infer(self, x):
        result = super().infer(x)
        require_same_quantization(self, x)
        return result

    def compute(self, x):
        fit = self.window.fit(*x.shape[1:3])
        y = max_over_window(x.data.transpose(0, 3, 1, 2), fit).transpose(0, 2, 3, 1)
        return self.tensor(np.maximum(y, np.uint8(self.Y_zero_point)) if self.relu else y)

    def lower_pool(self, graph, image, fit):
        return graph.add("MaxPool", image, kernel_shape=fit.kernel, strides=fit.stride, pads=fit.pads)


@dataclass(frozen=True)
class Int8Activation(Quantized):
    """A function of each byte, given as a table of 256."""

    def infer(self, x):
        require_quantized(x)
        return self.type_of(x.shape)

    def compute(self, x):
        return self.tensor(self.table(x.scale, x.zero_point)[x.data])

    def table(self, scale: float, zero_point: int) -> np.ndarray:
        """uint8[256]: the output byte of every input byte."""
        raise NotImplementedError

    def lower(self, graph, x):
        table = graph.constant(self.table(x.type.scale, x.type.zero_point), name="table")
        return graph.add("Gather", table, graph.add("Cast", x, to=6), axis=0)  # 6: int32


@operator("Int8Relu")
@dataclass(frozen=True)
class Int8Relu(Int8Activation):
    def infer(self, x):
        result = super().infer(x)
        require_same_quantization(self, x)
        return result

    def table(self, scale, zero_point):
        return np.maximum(np.arange(256), zero_point).astype(np.uint8)


@operator("Int8LeakyRelu")
@dataclass(frozen=True)
class Int8LeakyRelu(Int8Activation):
    alpha: float = 0.01

    def table(self, scale, zero_point):
        return int8.leaky_relu_table(scale, zero_point, self.Y_scale, self.Y_zero_point, self.alpha)


@dataclass(frozen=True)
class ProbabilityOutput(Quantized):
    """An output in 0...1 at scale 1/256 and zero point 0; QNNPACK refuses others."""

    Y_scale: float = 1 / 256

    def infer(self, x):
        require_quantized(x)
        if self.Y_scale != 1 / 256 or self.Y_zero_point != 0:
            raise ModelError("the output must have scale 1/256 and zero point 0")
        return self.type_of(x.shape)


@operator("Int8Sigmoid")
@dataclass(frozen=True)
class Int8Sigmoid(ProbabilityOutput, Int8Activation):
    def table(self, scale, zero_point):
        return int8.sigmoid_table(scale, zero_point)


@operator("Int8Softmax")
@dataclass(frozen=True)
class Int8Softmax(ProbabilityOutput):
    """Softmax over the last axis."""

    def compute(self, x):
        return self.tensor(int8.softmax(x.data.reshape(-1, x.shape[-1]), x.scale).reshape(x.shape))

    def lower(self, graph, x):
        return self.lower_output(graph, graph.add("Softmax", graph.dequantize(x), axis=-1))
