"""Int8 quantize and dequantize, addition, activations, pooling and softmax."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models import int8
from caffe2_models.operators.convolution import image_shape
from caffe2_models.operators.pooling import check_pool, check_work, max_over_window, sum_over_window
from caffe2_models.operators.quantized import (
    Quantized,
    require_nhwc,
    require_quantized,
    require_same_quantization,
)
from caffe2_models.operators.registry import ANY, LAYOUT, ROW_ARGUMENTS, Operator, OutputScale, operator
from caffe2_models.operators.window import Fit, Window
from caffe2_models.requantization import EXACT_IN_FLOAT32, Rounding, Steps, WideRounding, find_addition, find_rounding
from caffe2_models.tensors import TensorType


@operator("Int8Quantize")
@dataclass(frozen=True, kw_only=True)
class Int8Quantize(Quantized):
    def infer(self, x):
        if x.dtype != np.float32 or x.is_quantized:
            raise ModelError(f"an input of {x.dtype}; float32 is expected")
        return self.type_of(x.shape)

    def compute(self, x):
        return self.tensor(int8.quantize(x, self.Y_scale, self.Y_zero_point))

    def lower(self, graph, x):
        with np.errstate(over="ignore"):
            beyond = np.float32(2**31) * np.float32(self.Y_scale)
        within = graph.add("Less", x, graph.constant(beyond))  # of what is no number, false
        x = graph.add("Where", within, x, graph.constant(np.finfo(np.float32).min))
        return graph.quantize(x, self.Y_scale, self.Y_zero_point)

    def lower_qdq(self, graph, x):
        return graph.quantize(x, self.Y_scale, self.Y_zero_point)


@operator("Int8Dequantize")
@dataclass(frozen=True)
class Int8Dequantize(Operator):
    dtypes = ANY
    takes_quantized = True

    def infer(self, x):
        require_quantized(x)
        return TensorType(x.shape, np.float32)

    def compute(self, x):
        return x.dequantize()

    def lower(self, graph, x):  # not DequantizeLinear, which runtimes fuse with what follows into what rounds elsewhere
        return graph.add("Mul", graph.centred(x, x.type.zero_point), graph.constant(np.float32(x.type.scale)))

    def lower_qdq(self, graph, x):
        return graph.dequantize(x)


@operator("Int8Add", "Int8Sum")
@operator("Int8AddRelu", "Int8SumRelu", relu=True)
@dataclass(frozen=True, kw_only=True)
class Int8Add(Quantized):
    """Two tensors of one shape."""

    idle_arguments = LAYOUT

    def infer(self, a, b):
        require_quantized(a, b)
        if a.shape != b.shape:
            raise ModelError(f"shapes {list(a.shape)} and {list(b.shape)} differ")
        if self.relu and self.Y_zero_point == 255:
            raise ModelError("with a zero point of 255 a Relu leaves one value only, which QNNPACK refuses")
        int8.add_multipliers(a.scale, b.scale, self.Y_scale)
        return self.type_of(a.shape)

    def compute(self, a, b):
        inputs = (a.data, a.scale, a.zero_point, b.data, b.scale, b.zero_point)
        return self.tensor(int8.add(*inputs, self.Y_scale, self.Y_zero_point, self.relu))

    def lower(self, graph, a, b):
        (a_scale, a_zero_point), (b_scale, b_zero_point) = ((x.type.scale, x.type.zero_point) for x in (a, b))
        multipliers = int8.add_multipliers(a_scale, b_scale, self.Y_scale)
        y = find_addition(multipliers, (a_zero_point, b_zero_point), self.Y_zero_point).lower(graph, a, b)
        return graph.at_least(y, self.Y_zero_point if self.relu else 0)

    def lower_qdq(self, graph, a, b):
        return self.quantize_real(graph, graph.add("Add", graph.dequantize(a), graph.dequantize(b)))


@dataclass(frozen=True, kw_only=True)
class Int8Pool(Quantized):
    """What the int8 pools share: NHWC shapes."""

    window: Window
    order: str = "NCHW"

    def infer(self, x):
        require_quantized(x)
        require_nhwc(self.order)
        check_pool(self.window)
        count, channels, height, width = image_shape(x, "NHWC")
        fit = self.window.fit(height, width)
        check_work(fit, count * channels)
        if fit.area == 1 and not self.takes_single_pixels(fit, (height, width)):
            raise ModelError("a window of one pixel, which QNNPACK refuses")
        return self.type_of((count, *fit.output, channels))

    def workspace(self, x):
        count, channels, *size = image_shape(x, "NHWC")
        return 4 * count * channels * self.window.fit(*size).padded_area(*size)

    def takes_single_pixels(self, fit: Fit, size: tuple[int, int]) -> bool:
        """Whether a window of one pixel on an image of this size is computed rather than refused."""
        return False

    def lower_qdq(self, graph, x):
        fit = self.window.fit(*x.shape[1:3])
        y = self.lower_real(graph, graph.to_nchw(graph.dequantize(x)), fit)
        return self.quantize_real(graph, graph.to_nhwc(y))

    def lower_real(self, graph, image: str, fit: Fit) -> str:
        """The operator on real NCHW images."""
        raise NotImplementedError


@lru_cache(maxsize=1024)
def average_rounding(
    area: int, x_scale: float, x_zero_point: int, y_scale: float, y_zero_point: int, relu: bool
) -> Rounding | WideRounding:
    """From window sums of (x - x_zero_point) to bytes, in ONNX."""

    def average(sums: np.ndarray) -> np.ndarray:
        return int8.average(sums, area, x_scale, y_scale, y_zero_point, relu)

    multiplier, shift = int8.average_multiplier(area, x_scale, y_scale)
    low, high = -area * x_zero_point, area * (255 - x_zero_point)
    if area * 255 > EXACT_IN_FLOAT32:
        raise UnsupportedError(f"the mean of {area} pixels, whose sum is not exact in float32, in ONNX")
    return find_rounding(Steps(average, low, high, 2.0**shift / multiplier, y_zero_point), area * 255)


@operator("Int8AveragePool")
@operator("Int8AveragePoolRelu", relu=True)
@dataclass(frozen=True, kw_only=True)
class Int8AveragePool(Int8Pool):
    """Mean over the window's whole area, padding as zero."""

    def infer(self, x):
        result = super().infer(x)
        int8.check_average_ratio(x.scale, self.Y_scale)
        return result

    def takes_single_pixels(self, fit, size):
        return fit.kernel == size and fit.stride == (1, 1)  # a global pool, which has no such rule

    def compute(self, x):
        fit = self.window.fit(*x.shape[1:3])
        image = x.data.astype(np.int32).transpose(0, 3, 1, 2) - x.zero_point
        acc = sum_over_window(image, fit).transpose(0, 2, 3, 1)
        return self.tensor(int8.average(acc, fit.area, x.scale, self.Y_scale, self.Y_zero_point, self.relu))

    def lower(self, graph, x):
        fit, zero_point, channels = self.window.fit(*x.shape[1:3]), x.type.zero_point, x.shape[3]
        rounding = average_rounding(
            fit.area, x.type.scale, zero_point, np.float32(self.Y_scale), self.Y_zero_point, self.relu
        )
        image = graph.to_nchw(graph.cast(x, np.float32))
        if fit.kernel == x.shape[1:3] and not any(fit.pads):
            total = graph.add("ReduceSum", image, graph.ints([2, 3]), keepdims=1)
            total = graph.add("Add", total, graph.constant(np.float32(rounding.offset - fit.area * zero_point)))
        else:  # the sum over a window is a convolution with ones
            if any(fit.pads):
                image = graph.add("Sub", image, graph.constant(np.float32(zero_point)))
            ones = graph.constant(np.ones((channels, 1, *fit.kernel), np.float32), name="ones")
            offset = rounding.offset - (0 if any(fit.pads) else fit.area * zero_point)
            bias = graph.constant(np.full(channels, offset, np.float32), name="offset")
            shape = {"kernel_shape": fit.kernel, "strides": fit.stride, "pads": fit.pads}
            total = graph.add("Conv", image, ones, bias, **shape, group=channels)
        return graph.to_nhwc(rounding.lower(graph, total))

    def lower_real(self, graph, image, fit):
        if self.window.global_pooling:
            return graph.add("GlobalAveragePool", image)
        shape = {"kernel_shape": fit.kernel, "strides": fit.stride, "pads": fit.pads}
        return graph.add("AveragePool", image, **shape, count_include_pad=1)


@operator("Int8MaxPool")
@operator("Int8MaxPoolRelu", relu=True)
@dataclass(frozen=True, kw_only=True)
class Int8MaxPool(Int8Pool):
    output_scale = OutputScale.AS_INPUT

    def infer(self, x):
        result = super().infer(x)
        require_same_quantization(self, x)
        return result

    def compute(self, x):
        fit = self.window.fit(*x.shape[1:3])
        y = max_over_window(x.data.transpose(0, 3, 1, 2), fit).transpose(0, 2, 3, 1)
        return self.tensor(np.maximum(y, np.uint8(self.Y_zero_point)) if self.relu else y)

    def lower(self, graph, x):
        y = self.lower_real(graph, graph.to_nchw(x), self.window.fit(*x.shape[1:3]))
        return graph.to_nhwc(graph.at_least(y, self.Y_zero_point if self.relu else 0))

    def lower_real(self, graph, image, fit):
        return graph.add("MaxPool", image, **fit.attributes)


@dataclass(frozen=True, kw_only=True)
class Int8Activation(Quantized):
    """A function of each byte, given as a table of 256."""

    idle_arguments = LAYOUT

    def infer(self, x):
        require_quantized(x)
        result = self.type_of(x.shape)
        self.table(x.scale, x.zero_point)  # refuses scales that it is not made for
        return result

    def compute(self, x):
        return self.tensor(self.table(x.scale, x.zero_point)[x.data])

    def table(self, scale: float, zero_point: int) -> np.ndarray:
        """uint8[256]: the output byte of every input byte."""
        raise NotImplementedError

    def lower(self, graph, x):
        table = graph.constant(self.table(x.type.scale, x.type.zero_point), name="table")
        return graph.add("Gather", table, graph.cast(x, np.int32), axis=0)


@operator("Int8Relu")
@dataclass(frozen=True, kw_only=True)
class Int8Relu(Int8Activation):
    output_scale = OutputScale.AS_INPUT

    def infer(self, x):
        result = super().infer(x)
        require_same_quantization(self, x)
        return result

    def table(self, scale, zero_point):
        return np.maximum(np.arange(256), zero_point).astype(np.uint8)


@operator("Int8LeakyRelu")
@dataclass(frozen=True, kw_only=True)
class Int8LeakyRelu(Int8Activation):
    alpha: float = 0.01

    def infer(self, x):
        if not int8.SMALLEST_NORMAL <= self.alpha < 1:
            raise ModelError(f"a slope of {self.alpha:.6g}; Caffe2 takes positive ones below 1")
        return super().infer(x)

    def table(self, scale, zero_point):
        return int8.leaky_relu_table(scale, zero_point, self.Y_scale, self.Y_zero_point, self.alpha)


@dataclass(frozen=True, kw_only=True)
class ProbabilityOutput(Quantized):
    """An output in 0...1 at scale 1/256 and zero point 0; QNNPACK refuses others."""

    output_scale = OutputScale.PROBABILITY

    def infer(self, x):
        require_quantized(x)
        if self.Y_scale != 1 / 256 or self.Y_zero_point != 0:
            raise ModelError("the output must have scale 1/256 and zero point 0")
        return self.type_of(x.shape)


@operator("Int8Sigmoid")
@dataclass(frozen=True, kw_only=True)
class Int8Sigmoid(ProbabilityOutput, Int8Activation):
    def table(self, scale, zero_point):
        return int8.sigmoid_table(scale, zero_point)


@operator("Int8Softmax")
@dataclass(frozen=True, kw_only=True)
class Int8Softmax(ProbabilityOutput):
    """Softmax over all but the first dimension, taken as one row."""

    idle_arguments = ROW_ARGUMENTS

    def infer(self, x):
        if not x.shape or not x.size:
            raise ModelError(f"softmax of {list(x.shape)}, which has no rows")
        return super().infer(x)

    def compute(self, x):
        return self.tensor(int8.softmax(x.data.reshape(x.shape[0], -1), x.scale).reshape(x.shape))

    def lower(self, graph, x):
        channels = math.prod(x.shape[1:])
        rows = graph.add("Reshape", graph.cast(x, np.int32), graph.ints([x.shape[0], channels]))
        below = graph.add("Sub", rows, graph.add("ReduceMax", rows, axes=[1]))
        index = graph.add("Add", below, graph.constant(255, np.int32))
        values = graph.add("Gather", graph.constant(int8.softmax_table(x.type.scale, channels), name="table"), index)
        total = graph.add("Mod", graph.add("ReduceSum", values, graph.ints([1])), graph.constant(1 << 32, np.int64))
        total = graph.add("Max", total, graph.constant(1, np.int64))
        half = graph.add("Div", total, graph.constant(2, np.int64))
        scaled = graph.add("Add", graph.add("Mul", values, graph.constant(256, np.int64)), half)
        y = graph.add("Min", graph.add("Div", scaled, total), graph.constant(255, np.int64))
        return graph.add("Reshape", graph.cast(y, np.uint8), graph.ints(x.shape))

    def lower_qdq(self, graph, x):
        rows = graph.add("Reshape", graph.dequantize(x), graph.ints([x.shape[0], math.prod(x.shape[1:])]))
        y = graph.add("Reshape", graph.add("Softmax", rows, axis=1), graph.ints(x.shape))
        return self.quantize_real(graph, y)
