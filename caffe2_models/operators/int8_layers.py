"""Int8 convolution and fully connected layers (QNNPACK)."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import int8
from caffe2_models.operators.convolution import (
    Adjustment,
    Upscaling,
    check_bias,
    check_convolution,
    correlate,
    image_shape,
    scatter,
)
from caffe2_models.operators.quantized import Quantized, require_nhwc, require_quantized
from caffe2_models.operators.registry import ROW_ARGUMENTS, Layer, operator
from caffe2_models.operators.window import Window
from caffe2_models.tensors import Int8Tensor

EXACT_IN_FLOAT32 = 1 << 24

FLOAT_BYTES = 8  # of the widest float in which layers are computed


def exact_dtype(x: Int8Tensor, weight: Int8Tensor, output_axis: int = 0) -> type:
    """float32 where no accumulator of the layer can leave its exact integers, else float64.

    Sums of products of integers are exact in any order while their absolute values sum to less than 2^24.
    """
    largest = max(x.zero_point, 255 - x.zero_point)
    weights = np.abs(weight.data.astype(np.int64) - weight.zero_point)
    total = np.moveaxis(weights, output_axis, 0).reshape(weights.shape[output_axis], -1).sum(axis=1)
    return np.float32 if largest * total.max(initial=0) < EXACT_IN_FLOAT32 else np.float64


def centred(x: Int8Tensor, dtype) -> np.ndarray:
    """data - zero_point in a float dtype, in which the products are summed exactly."""
    return x.data.astype(dtype) - dtype(x.zero_point)


def accumulators(total: np.ndarray, bias: Int8Tensor) -> np.ndarray:
    """int32 accumulators [.., O] from exact float sums and the bias; they wrap as int32 does."""
    return (total.astype(np.int64) + bias.data.astype(np.int64)).astype(np.int32)


@dataclass(frozen=True, kw_only=True)
class Int8Layer(Quantized):
    """What Int8Conv, Int8ConvTranspose and Int8FC share: quantized inputs, one requantization."""

    def check(self, x, weight, bias):
        require_quantized(x, weight)
        if not bias.is_quantized or bias.dtype != np.int32:
            raise ModelError(f"a bias of {bias.dtype}; quantized int32 is expected")
        int8.requantization_scale(x.scale, weight.scale, self.Y_scale)

    def requantize(self, x: Int8Tensor, weight: Int8Tensor, acc: np.ndarray) -> Int8Tensor:
        scale = int8.requantization_scale(x.scale, weight.scale, self.Y_scale)
        return self.tensor(int8.requantize(acc, scale, self.Y_zero_point, self.relu))

    def lower_weights(self, graph, x, weight, bias) -> tuple[str, str]:
        """(weight, bias) as real values; QNNPACK takes the bias at scale x_scale * weight_scale."""
        if bias.type.value is None:
            raise ModelError("a bias that is computed cannot be lowered to ONNX")
        scale = np.float32(x.type.scale) * np.float32(weight.type.scale)
        content = graph.constant(bias.type.value.data, np.int32, "bias")
        bias = graph.add("DequantizeLinear", content, graph.constant(scale, name="scale"))
        return graph.dequantize(weight), bias


@operator("Int8Conv")
@operator("Int8ConvRelu", relu=True)
@dataclass(frozen=True, kw_only=True)
class Int8Conv(Int8Layer):
    """x NHWC, weight [O, kh, kw, C / group], bias int32 [O] at scale x_scale * weight_scale."""

    window: Window
    group: int = 1
    order: str = "NCHW"

    layer = Layer.CONVOLUTION

    def infer(self, x, weight, bias):
        require_nhwc(self.order)
        count, channels, height, width = image_shape(x, "NHWC")
        out_channels = check_convolution(channels, weight, self.window.kernel, self.group, "NHWC", bias)
        self.check(x, weight, bias)
        return self.type_of((count, *self.window.fit(height, width).output, out_channels))

    def compute(self, x, weight, bias):
        dtype = exact_dtype(x, weight)
        image, taps = centred(x, dtype).transpose(0, 3, 1, 2), centred(weight, dtype).transpose(0, 3, 1, 2)
        total = correlate(image, taps, self.window.fit(*image.shape[2:]), self.group)
        return self.requantize(x, weight, accumulators(total.transpose(0, 2, 3, 1), bias))

    def lower(self, graph, x, weight, bias):
        fit = self.window.fit(*x.shape[1:3])
        weight, bias = self.lower_weights(graph, x, weight, bias)
        y = graph.add(
            "Conv",
            *(graph.to_nchw(graph.dequantize(x)), graph.to_nchw(weight), bias),
            kernel_shape=fit.kernel,
            strides=fit.stride,
            dilations=fit.dilation,
            pads=fit.pads,
            group=self.group,
        )
        return self.lower_output(graph, graph.to_nhwc(y))

    def macs(self, x, weight, bias):
        return self.infer(x, weight, bias).size * (weight.size // weight.shape[0])

    def workspace(self, x, weight, bias):
        count, channels, *size = image_shape(x, "NHWC")
        padded = count * channels * self.window.fit(*size).padded_area(*size)
        return FLOAT_BYTES * (x.size + padded + self.infer(x, weight, bias).size)


@operator("Int8ConvTranspose")
@dataclass(frozen=True, kw_only=True)
class Int8ConvTranspose(Int8Layer):
    """x NHWC, weight [C, kh, kw, O], bias int32 [O]; the argument group is not read."""

    window: Window
    adj: Adjustment
    order: str = "NCHW"

    layer = Layer.TRANSPOSED_CONVOLUTION

    def infer(self, x, weight, bias):
        require_nhwc(self.order)
        count, channels, height, width = image_shape(x, "NHWC")
        if weight.shape != (channels, *self.window.kernel, bias.size) or not weight.size:
            raise ModelError(f"weight {list(weight.shape)} does not fit {channels} channels, {bias.size} outputs")
        check_bias(bias, bias.size)
        self.check(x, weight, bias)
        size = Upscaling(self.window, self.adj).size(height, width)
        return self.type_of((count, *size, bias.size))

    def compute(self, x, weight, bias):
        dtype = exact_dtype(x, weight, output_axis=3)
        image, taps = centred(x, dtype).transpose(0, 3, 1, 2), centred(weight, dtype).transpose(0, 3, 1, 2)
        total = scatter(image, taps, Upscaling(self.window, self.adj))
        return self.requantize(x, weight, accumulators(total.transpose(0, 2, 3, 1), bias))

    def lower(self, graph, x, weight, bias):
        weight, bias = self.lower_weights(graph, x, weight, bias)
        image = graph.to_nchw(graph.dequantize(x))
        y = Upscaling(self.window, self.adj).lower(graph, image, graph.to_nchw(weight), bias)
        return self.lower_output(graph, graph.to_nhwc(y))

    def macs(self, x, weight, bias):
        return x.size * (weight.size // weight.shape[0])

    def workspace(self, x, weight, bias):
        count, _, *size = image_shape(x, "NHWC")
        full = count * bias.size * math.prod(Upscaling(self.window, self.adj).full_size(*size))
        return FLOAT_BYTES * (x.size + full)


@operator("Int8FC")
@dataclass(frozen=True, kw_only=True)
class Int8FC(Int8Layer):
    """x, flattened to [N, K]; weight [O, K]; bias int32 [O]."""

    layer = Layer.FULLY_CONNECTED
    idle_arguments = ROW_ARGUMENTS

    def infer(self, x, weight, bias):
        inner = math.prod(x.shape[1:])
        if not x.shape or weight.shape[:2] != (bias.size, inner) or weight.size != inner * bias.size or not inner:
            raise ModelError(f"{list(x.shape)}, weight {list(weight.shape)}, bias {list(bias.shape)} do not fit")
        self.check(x, weight, bias)
        return self.type_of((x.shape[0], bias.size))

    def compute(self, x, weight, bias):
        dtype = exact_dtype(x, weight)
        rows = centred(x, dtype).reshape(x.shape[0], -1)
        total = rows @ centred(weight, dtype).reshape(weight.shape[0], -1).T
        return self.requantize(x, weight, accumulators(total, bias))

    def lower(self, graph, x, weight, bias):
        size = bias.type.size
        weight, bias = self.lower_weights(graph, x, weight, bias)
        rows = graph.add("Flatten", graph.dequantize(x), axis=1)
        matrix = graph.add("Reshape", weight, graph.ints([size, -1]))
        return self.lower_output(graph, graph.add("Gemm", rows, matrix, bias, transB=1))

    def macs(self, x, weight, bias):
        return x.shape[0] * weight.size
