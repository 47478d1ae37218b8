"""Int8 convolution and fully connected layers (QNNPACK)."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
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
from caffe2_models.requantization import EXACT_IN_FLOAT32, Rounding, Steps, WideRounding, find_rounding
from caffe2_models.tensors import Int8Tensor, TensorType

INT32 = 1 << 31

FLOAT_BYTES = 8  # of the widest float in which layers are computed


def exact_dtype(x: Int8Tensor, weight: Int8Tensor, output_axis: int = 0) -> type:
    """float32 where no accumulator of the layer can leave its exact integers, else float64.

    Sums of products of integers are exact in any order while their absolute values sum to less than 2^24.
    """
    largest = max(x.zero_point, 255 - x.zero_point)
    weights = np.abs(weight.data.astype(np.int64) - weight.zero_point)
    total = weights.sum(axis=tuple(axis for axis in range(weights.ndim) if axis != output_axis))
    return np.float32 if largest * total.max(initial=0) < EXACT_IN_FLOAT32 else np.float64


def centred(x: Int8Tensor, dtype) -> np.ndarray:
    """data - zero_point in a float dtype, in which the products are summed exactly."""
    return x.data.astype(dtype) - dtype(x.zero_point)


def accumulators(total: np.ndarray, bias: Int8Tensor) -> np.ndarray:
    """int32 accumulators [.., O] from exact float sums and the bias; they wrap as int32 does."""
    return (total.astype(np.int64) + bias.data.astype(np.int64)).astype(np.int32)


def known(parameter) -> Int8Tensor:
    """The value of a weight or bias; raises UnsupportedError where it is computed."""
    if parameter.type.value is None:
        raise UnsupportedError(f"{parameter.name}: a weight or bias that is computed cannot be lowered to ONNX")
    return parameter.type.value


def nchw_constant(graph, weight: Int8Tensor) -> str:
    """The bytes of a weight, in ONNX's order of dimensions."""
    return graph.constant(weight.data.transpose(0, 3, 1, 2), np.uint8, "weight")


@dataclass(frozen=True)
class Sums:
    """How a layer's accumulators, sums of (x - zero_point) * (weight - zero_point) + bias, are best made in ONNX.

    low, high: how far they go; largest: how far their parts do. x_zero_point: what is to be subtracted from x, and
    bias, int64 [O]: what is to be added, in int32 and in float32 alike; where all pixels count, the zero point's share
    of every sum is in the bias.
    """

    low: int
    high: int
    largest: int
    x_zero_point: int
    bias: np.ndarray

    @classmethod
    def of(cls, x: TensorType, weight: Int8Tensor, bias: Int8Tensor, output_axis: int, padded: bool) -> "Sums":
        weights = np.moveaxis(weight.data.astype(np.int64) - weight.zero_point, output_axis, 0)
        rising, falling = (part.reshape(len(weights), -1).sum(1) for part in (weights.clip(0), -weights.clip(None, 0)))
        zero_point, biases = x.zero_point or 0, bias.data.astype(np.int64)
        over, under = 255 - zero_point, zero_point
        highs, lows = rising * over + falling * under, -(rising * under + falling * over)
        low, high = int((lows + biases).min()), int((highs + biases).max())
        largest = int((np.maximum(highs, -lows) + np.abs(biases)).max())
        if zero_point and not padded:
            absorbed = biases - zero_point * (rising - falling)
            whole = int((255 * np.maximum(rising, falling) + np.abs(absorbed)).max())
            if whole <= EXACT_IN_FLOAT32:
                return cls(low, high, whole, 0, absorbed)
        return cls(low, high, largest, zero_point, biases)

    @property
    def in_float32(self) -> bool:
        """Whether all sums on the way are integers that float32 holds."""
        return self.largest <= EXACT_IN_FLOAT32

    def rounding(self, scale: float, zero_point: int, relu: bool) -> Rounding | WideRounding:
        if self.in_float32:
            return layer_rounding(scale, zero_point, relu, self.low, self.high, self.largest, EXACT_IN_FLOAT32)
        if self.largest < INT32:
            return layer_rounding(scale, zero_point, relu, self.low, self.high, self.largest, INT32)
        return layer_rounding(scale, zero_point, relu, -INT32, INT32 - 1, self.largest, INT32)  # sums wrap


@lru_cache(maxsize=4096)
def layer_rounding(
    scale: float, zero_point: int, relu: bool, low: int, high: int, largest: int, exact: int
) -> Rounding | WideRounding:
    """From accumulators to bytes, in ONNX; see find_rounding."""

    def requantize(accumulators: np.ndarray) -> np.ndarray:
        return int8.requantize(accumulators, np.float32(scale), zero_point, relu)

    return find_rounding(Steps(requantize, low, high, 1 / scale, zero_point), largest, exact)


@dataclass(frozen=True, kw_only=True)
class Int8Layer(Quantized):
    """What Int8Conv, Int8ConvTranspose and Int8FC share: quantized inputs, one requantization."""

    output_axis: ClassVar[int] = 0  # of the weight

    def check(self, x, weight, bias):
        require_quantized(x, weight)
        if not bias.is_quantized or bias.dtype != np.int32:
            raise ModelError(f"a bias of {bias.dtype}; quantized int32 is expected")
        int8.requantization_scale(x.scale, weight.scale, self.Y_scale)

    def requantize(self, x: Int8Tensor, weight: Int8Tensor, acc: np.ndarray) -> Int8Tensor:
        scale = int8.requantization_scale(x.scale, weight.scale, self.Y_scale)
        return self.tensor(int8.requantize(acc, scale, self.Y_zero_point, self.relu))

    def lower(self, graph, x, weight, bias):
        sums = Sums.of(x.type, known(weight), known(bias), self.output_axis, self.sees_padding(x))
        scale = int8.requantization_scale(x.type.scale, weight.type.scale, self.Y_scale)
        rounding = sums.rounding(float(scale), self.Y_zero_point, self.relu)
        if sums.in_float32:
            total = self.lower_float(graph, x, known(weight), sums, sums.bias + rounding.offset)
        else:
            total = self.lower_integer(graph, x, known(weight), (sums.bias + int(rounding.offset)).astype(np.int32))
            if isinstance(rounding, Rounding):
                total = graph.cast(total, np.float32)
        return self.lower_result(graph, rounding.lower(graph, total))

    def sees_padding(self, x) -> bool:
        """Whether sums take in pixels beside the image, which count as zero."""
        return False

    def lower_float(self, graph, x, weight: Int8Tensor, sums: "Sums", bias: np.ndarray) -> str:
        """Exact sums in float32: the layer on x - sums.x_zero_point and weight - zero_point; bias [O]."""
        raise NotImplementedError

    def lower_integer(self, graph, x, weight: Int8Tensor, bias: np.ndarray) -> str:
        """Sums in int32; bias [O]."""
        raise NotImplementedError

    def lower_result(self, graph, y: str) -> str:
        """From the layer's output as ONNX orders it to Caffe2's order."""
        return graph.to_nhwc(y)

    def lower_weights(self, graph, x, weight, bias) -> tuple[str, str]:
        """(weight, bias) as real values; QNNPACK takes the bias at scale x_scale * weight_scale."""
        scale = np.float32(x.type.scale) * np.float32(weight.type.scale)
        content = graph.constant(known(bias).data, np.int32, "bias")
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

    def sees_padding(self, x):
        return any(self.window.fit(*x.shape[1:3]).pads)

    def lower_float(self, graph, x, weight, sums, bias):
        image = graph.to_nchw(graph.centred(x, sums.x_zero_point))
        taps = graph.centred(nchw_constant(graph, weight), weight.zero_point)
        return graph.add("Conv", image, taps, graph.constant(bias, np.float32, "bias"), **self.geometry(x))

    def lower_integer(self, graph, x, weight, bias):
        zero_points = (graph.constant(x.type.zero_point, np.uint8), graph.constant(weight.zero_point, np.uint8))
        sums = graph.add(
            "ConvInteger", graph.to_nchw(x), nchw_constant(graph, weight), *zero_points, **self.geometry(x)
        )
        return graph.add("Add", sums, graph.constant(bias[:, None, None], np.int32, "bias"))

    def lower_qdq(self, graph, x, weight, bias):
        weight, bias = self.lower_weights(graph, x, weight, bias)
        y = graph.add("Conv", graph.to_nchw(graph.dequantize(x)), graph.to_nchw(weight), bias, **self.geometry(x))
        return self.quantize_real(graph, graph.to_nhwc(y))

    def geometry(self, x) -> dict:
        """The attributes of ONNX's operator."""
        fit = self.window.fit(*x.shape[1:3])
        window = {"kernel_shape": fit.kernel, "strides": fit.stride, "dilations": fit.dilation, "pads": fit.pads}
        return {**window, "group": self.group}

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
        total = scatter(image, taps, Upscaling(self.window, self.adj), exact=True)
        return self.requantize(x, weight, accumulators(total.transpose(0, 2, 3, 1), bias))

    output_axis = 3

    def sees_padding(self, x):  # which pixels are summed differs from place to place
        return True

    def lower_float(self, graph, x, weight, sums, bias):
        image = graph.to_nchw(graph.centred(x, sums.x_zero_point))
        taps = graph.centred(nchw_constant(graph, weight), weight.zero_point)
        bias = graph.constant(bias, np.float32, "bias")
        return Upscaling(self.window, self.adj).lower(graph, image, taps, bias)

    def lower_integer(self, graph, x, weight, bias):
        """Input channel by input channel as many at a time as are exact in float32; ONNX has no such operator."""
        image = graph.to_nchw(graph.centred(x, x.type.zero_point))
        extent = max(x.type.zero_point, 255 - x.type.zero_point)
        taps = centred(weight, np.int64).transpose(0, 3, 1, 2)
        reach = np.abs(taps).sum(axis=(2, 3)).max(axis=1) * extent
        if reach.max() >= EXACT_IN_FLOAT32:
            raise UnsupportedError("a transposed convolution of which one channel's sums are not exact in float32")
        parts = np.cumsum(reach) // (EXACT_IN_FLOAT32 - reach.max())
        total = graph.constant(bias[:, None, None], np.int32, "bias")
        for part in np.unique(parts):
            channels = np.flatnonzero(parts == part)
            pixels = graph.add("Slice", image, graph.ints(channels[:1]), graph.ints(channels[-1:] + 1), graph.ints([1]))
            kernel = graph.constant(taps[channels], np.float32, "taps")
            sums = Upscaling(self.window, self.adj).lower(graph, pixels, kernel, None)
            total = graph.add("Add", total, graph.cast(sums, np.int32))
        return total

    def lower_qdq(self, graph, x, weight, bias):
        weight, bias = self.lower_weights(graph, x, weight, bias)
        image = graph.to_nchw(graph.dequantize(x))
        y = Upscaling(self.window, self.adj).lower(graph, image, graph.to_nchw(weight), bias)
        return self.quantize_real(graph, graph.to_nhwc(y))

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
        rows = centred(x, dtype).reshape(x.shape[0], math.prod(x.shape[1:]))
        total = rows @ centred(weight, dtype).reshape(weight.shape[0], rows.shape[1]).T
        return self.requantize(x, weight, accumulators(total, bias))

    def lower_float(self, graph, x, weight, sums, bias):
        rows = graph.add("Flatten", graph.centred(x, sums.x_zero_point), axis=1)
        matrix = graph.constant(weight.data.reshape(bias.size, -1), np.uint8, "weight")
        matrix = graph.centred(matrix, weight.zero_point)
        return graph.add("Gemm", rows, matrix, graph.constant(bias, np.float32, "bias"), transB=1)

    def lower_integer(self, graph, x, weight, bias):
        matrix = graph.constant(weight.data.reshape(bias.size, -1).T, np.uint8, "weight")
        zero_points = (graph.constant(x.type.zero_point, np.uint8), graph.constant(weight.zero_point, np.uint8))
        sums = graph.add("MatMulInteger", graph.add("Flatten", x, axis=1), matrix, *zero_points)
        return graph.add("Add", sums, graph.constant(bias, np.int32, "bias"))

    def lower_result(self, graph, y):
        return y

    def lower_qdq(self, graph, x, weight, bias):
        size = bias.type.size
        weight, bias = self.lower_weights(graph, x, weight, bias)
        rows = graph.add("Flatten", graph.dequantize(x), axis=1)
        matrix = graph.add("Reshape", weight, graph.ints([size, -1]))
        return self.quantize_real(graph, graph.add("Gemm", rows, matrix, bias, transB=1))

    def macs(self, x, weight, bias):
        return x.shape[0] * weight.size
