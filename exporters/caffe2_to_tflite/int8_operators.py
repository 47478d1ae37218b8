"""Int8 operators as TensorFlow Lite's quantized ones, in uint8 or in int8, chosen for QNNPACK's bytes first.

Blobs are as Caffe2 has them (NHWC, uint8); tensors of int8 hold each byte less 128.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from caffe2_common.errors import UnsupportedError
from caffe2_models import int8
from caffe2_models.operators.convolution import Upscaling
from caffe2_models.operators.int8_layers import Sums
from caffe2_models.tensors import Int8Tensor, TensorType
from exporters.caffe2_to_tflite.graph import TYPES, Graph, Quantization, Tensor
from exporters.caffe2_to_tflite.requantization import (
    Scales,
    averages_alike,
    find_addition,
    find_average,
    find_mean,
    find_scales,
)
from exporters.caffe2_to_tflite.windows import conv_options, pad_window, pool_options

RELU = {True: schema.ActivationFunctionType.RELU, False: schema.ActivationFunctionType.NONE}

INT32 = 1 << 31

WIDEST = 127  # a weight of int8

INTEGERS_ONLY = 3.0 * 2**22  # float32 numbers of this size are integers


@dataclass(frozen=True)
class Blob:
    """A quantized operand: its type in the net, and the tensor that holds it (none for a parameter)."""

    type: TensorType
    stored: Tensor | None

    @property
    def tensor(self) -> Tensor:
        if self.stored is None:
            raise UnsupportedError("an operand that is a parameter")
        return self.stored

    @property
    def scale(self) -> float:
        """The net's; the tensor's may be another number beside it."""
        if self.type.scale is None:
            raise TypeError(f"{self.type} has no scale")
        return float(self.type.scale)

    @property
    def zero_point(self) -> int:
        if self.type.zero_point is None:
            raise TypeError(f"{self.type} has no zero point")
        return self.type.zero_point

    @property
    def parameter(self) -> Int8Tensor:
        if not isinstance(self.type.value, Int8Tensor):
            raise UnsupportedError("a weight or bias that is computed")
        return self.type.value


@dataclass
class Int8Writer:
    """Writes Int8 operators on a graph.

    kind: the bytes' type. pinned: whether the output of the operator at hand must keep its scale (bytes are joined with
    others). inexact: the operators that are not proved to give QNNPACK's bytes in LiteRT's reference kernels, and why.
    """

    graph: Graph
    kind: str
    pinned: bool = False
    name: str = ""
    inexact: dict[str, str] = field(default_factory=dict)

    @property
    def dtype(self) -> Any:
        return np.uint8 if self.kind == "uint8" else np.int8

    @property
    def offset(self) -> int:
        """What a tensor's bytes are less than the net's."""
        return 0 if self.kind == "uint8" else 128

    def quantization(self, scale: float, zero_point: int) -> Quantization:
        return Quantization(scale, zero_point - self.offset)

    def add(self, kind: str, inputs: Sequence[Tensor | None], y: TensorType, scale: float, **options: Any) -> Tensor:
        """An operator whose output has the net's zero point and this scale."""
        quantization = self.quantization(scale, y.zero_point or 0)
        return self.graph.add(kind, inputs, y.shape, self.dtype, None, quantization, **options)

    def doubt(self, reason: str) -> None:
        self.inexact[self.name] = reason


Writes = Callable[..., Tensor]

WRITERS: dict[str, Writes] = {}


def writes(*kinds: str) -> Callable[[Writes], Writes]:
    """Register a function (writer, operator, output type, *operands) -> output tensor under Caffe2's operator names."""

    def register(function: Writes) -> Writes:
        WRITERS.update(dict.fromkeys(kinds, function))
        return function

    return register


def scale_of(tensor: Tensor) -> float:
    """The scale that a tensor of bytes has in the file."""
    if tensor.quantization is None or not isinstance(tensor.quantization.scale, float):
        raise TypeError(f"a tensor with one scale, not {tensor}")
    return tensor.quantization.scale


@writes("Int8Quantize")
def quantize(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    """In float32, where what is added and taken away again rounds ties to even, as Caffe2 does.

    QUANTIZE rounds them away from zero, and the reference kernels have no ROUND.
    """
    quantization, shape = w.quantization(operator.Y_scale, operator.Y_zero_point), y.shape

    def step(kind: str, value: Tensor, constant: float, table: str) -> Tensor:
        return w.graph.add(kind, [value, w.graph.constant(np.float32(constant))], shape, table=table)

    steps = step("DIV", x.tensor, operator.Y_scale, "DivOptions")
    steps = step("MAXIMUM", steps, -operator.Y_zero_point, "MaximumMinimumOptions")
    steps = step("MINIMUM", steps, 255 - operator.Y_zero_point, "MaximumMinimumOptions")
    steps = step("ADD", steps, INTEGERS_ONLY, "AddOptions")
    steps = step("SUB", steps, INTEGERS_ONLY - quantization.zero_point, "SubOptions")
    return cast(w, steps, w.dtype, quantization)


@writes("Int8Dequantize")
def dequantize(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    if scale_of(x.tensor) == np.float32(x.scale):
        return w.graph.add("DEQUANTIZE", [x.tensor], y.shape)
    return real(w, x, x.scale)


def real(w: Int8Writer, x: Blob, scale: float) -> Tensor:
    """scale * (x - zero point) in float32, whatever the tensor's own scale."""
    graph, shape = w.graph, x.type.shape
    value = cast(w, x.tensor, np.float32)
    centre = graph.constant(np.float32(x.zero_point - w.offset))
    value = graph.add("SUB", [value, centre], shape, table="SubOptions")
    return graph.add("MUL", [value, graph.constant(np.float32(scale))], shape, table="MulOptions")


@writes("Int8Conv", "Int8ConvRelu")
def conv(w: Int8Writer, operator: Any, y: TensorType, x: Blob, weight: Blob, bias: Blob) -> Tensor:
    layer = Layer.of(w, operator, x, weight.parameter, bias.parameter)
    channels = x.type.shape[3]
    if not (operator.group == channels == layer.taps.shape[0] and channels > 1):
        return convolved(w, operator, y, layer, x.tensor, operator.group)
    wide = np.flatnonzero(np.abs(layer.taps).reshape(channels, -1).max(axis=1) > WIDEST)
    whole = depthwise(w, operator, y, layer, x.tensor)
    if not w.offset or not wide.size:
        return whole
    chosen = picked(w, x.tensor, wide)
    few = convolved(w, operator, y.with_shape((*y.shape[:3], len(wide))), layer.only(wide), chosen, len(wide))
    joined = y.with_shape((*y.shape[:3], channels + len(wide)))
    both = w.add("CONCATENATION", [whole, few], joined, scale_of(whole), table="ConcatenationOptions", axis=3)
    order = np.arange(channels)
    order[wide] = channels + np.arange(len(wide))
    return picked(w, both, order)


@writes("Int8FC")
def fully_connected(w: Int8Writer, operator: Any, y: TensorType, x: Blob, weight: Blob, bias: Blob) -> Tensor:
    """A convolution of one pixel: FULLY_CONNECTED rounds otherwise."""
    rows, inner = x.type.shape[0], int(np.prod(x.type.shape[1:]))
    taps = weight.parameter
    taps = replace(taps, data=taps.data.reshape(len(taps.data), 1, 1, inner))
    layer = Layer.of(w, operator, x, taps, bias.parameter)
    image, content = within_eight_bits(w, layer, w.graph.reshape(x.tensor, (rows, 1, 1, inner)), 1)
    options = {**conv_options((1, 1), (1, 1)), "padding": schema.Padding.VALID}
    options["fusedActivationFunction"] = RELU[operator.relu]
    whole = y.with_shape((rows, 1, 1, len(taps.data)))
    inputs = [image, content, layer.bias(w, image)]
    output = w.add("CONV_2D", inputs, whole, layer.scales.output, table="Conv2DOptions", **options)
    return w.graph.reshape(output, y.shape)


@writes("Int8ConvTranspose")
def conv_transpose(w: Int8Writer, operator: Any, y: TensorType, x: Blob, weight: Blob, bias: Blob) -> Tensor:
    """The whole upscaled image, of which the pads are cut."""
    window, taps = operator.window, weight.parameter
    taps = replace(taps, data=taps.data.transpose(3, 1, 2, 0))
    layer = Layer.of(w, operator, x, taps, bias.parameter)
    image, content = within_eight_bits(w, layer, x.tensor, 1)
    top, left, bottom, right = window.pads
    rows, columns = Upscaling(window, operator.adj).size(*x.type.shape[1:3])
    whole = y.with_shape((y.shape[0], rows + top + bottom, columns + left + right, y.shape[3]))
    options = {"strideH": window.stride[0], "strideW": window.stride[1], "padding": schema.Padding.VALID}
    inputs = [w.graph.ints(whole.shape), content, image, layer.bias(w, image)]
    output = w.add("TRANSPOSE_CONV", inputs, whole, layer.scales.output, table="TransposeConvOptions", **options)
    if not any(window.pads):
        return output
    ends = [w.graph.ints((0, top, left, 0)), w.graph.ints(y.shape)]
    return w.add("SLICE", [output, *ends], y, layer.scales.output, table="SliceOptions")


@dataclass(frozen=True)
class Layer:
    """A layer's weight less its zero point, int64 [O, kh, kw, I], its bias, int64 [O], and the scales found for it."""

    taps: np.ndarray
    biases: np.ndarray
    zero_point: int
    scales: Scales

    @classmethod
    def of(cls, w: Int8Writer, operator: Any, x: Blob, weight: Int8Tensor, bias: Int8Tensor) -> "Layer":
        scale = float(int8.requantization_scale(x.scale, weight.scale, operator.Y_scale))
        sums = Sums.of(x.type, weight, bias, 0, padded=True)
        reach = max(sums.low, -INT32), min(sums.high, INT32 - 1)
        declared = (scale_of(x.tensor), float(weight.scale), float(operator.Y_scale))
        found = find_scales(
            *(scale, operator.Y_zero_point, operator.relu, reach, declared), w.kind == "uint8", w.pinned
        )
        if not found.exact:
            w.doubt("no scales were found with which it rounds as QNNPACK does")
        taps = weight.data.astype(np.int64) - weight.zero_point
        return cls(taps, bias.data.astype(np.int64), weight.zero_point, found)

    def only(self, channels: np.ndarray) -> "Layer":
        """Some of the output channels."""
        return replace(self, taps=self.taps[channels], biases=self.biases[channels])

    def weight(self, w: Int8Writer, taps: np.ndarray, axis: int = 0) -> Tensor:
        """Taps as a tensor: bytes of uint8 have the zero point, those of int8 none."""
        zero_point = 0 if w.offset else self.zero_point
        content = (taps + zero_point).astype(w.dtype)
        return w.graph.constant(content, Quantization(self.scales.weight, zero_point, axis), "weight")

    def bias(self, w: Int8Writer, image: Tensor) -> Tensor:
        scale = float(np.float32(scale_of(image)) * np.float32(self.scales.weight))
        return w.graph.constant(self.biases.astype(np.int32), Quantization(scale), "bias")


def convolved(w: Int8Writer, operator: Any, y: TensorType, layer: Layer, image: Tensor, group: int) -> Tensor:
    fit = operator.window.fit(*image.shape[1:3])
    image, content = within_eight_bits(w, layer, image, group)
    padded = pad_window(w.graph, image, fit.kernel, fit.stride, fit.dilation, fit.pads, fit.output)
    options = {**conv_options(fit.stride, fit.dilation), **padded.options}
    options |= {"fusedActivationFunction": RELU[operator.relu], "table": "Conv2DOptions"}
    return w.add("CONV_2D", [padded.image, content, layer.bias(w, image)], y, layer.scales.output, **options)


def depthwise(w: Int8Writer, operator: Any, y: TensorType, layer: Layer, image: Tensor) -> Tensor:
    """In int8 of no use for channels whose weights have more than 8 bits: these are clipped."""
    fit = operator.window.fit(*image.shape[1:3])
    taps = layer.taps.clip(-WIDEST, WIDEST) if w.offset else layer.taps
    content = layer.weight(w, taps.transpose(3, 1, 2, 0), 3)
    padded = pad_window(w.graph, image, fit.kernel, fit.stride, fit.dilation, fit.pads, fit.output)
    options = {**conv_options(fit.stride, fit.dilation), **padded.options, "depthMultiplier": 1}
    options |= {"fusedActivationFunction": RELU[operator.relu], "table": "DepthwiseConv2DOptions"}
    return w.add("DEPTHWISE_CONV_2D", [padded.image, content, layer.bias(w, image)], y, layer.scales.output, **options)


def within_eight_bits(w: Int8Writer, layer: Layer, image: Tensor, group: int) -> tuple[Tensor, Tensor]:
    """(image, weight): in int8, which has no zero point of weights, some lie beyond -127...127.

    Such an input channel is there twice, and its weight is the sum of two; without groups only those that need it are.
    """
    if not w.offset or np.abs(layer.taps).max() <= WIDEST:
        return image, layer.weight(w, layer.taps)
    channels = image.shape[3] // group
    rest = layer.taps
    parts: list[np.ndarray] = []
    sources: list[np.ndarray] = []
    while np.any(rest):
        part = rest.clip(-WIDEST, WIDEST)
        needed = np.arange(channels) if group > 1 or not parts else np.flatnonzero(part.any(axis=(0, 1, 2)))
        parts.append(part[..., needed])
        sources.append(needed)
        rest = rest - part
    content = layer.weight(w, np.concatenate(parts, axis=3))
    if group > 1:
        every = np.arange(group)[:, None] * channels + np.concatenate(sources)
        return picked(w, image, every.ravel()), content
    copies = np.concatenate(sources[1:])
    few = picked(w, image, copies)
    whole = (*image.shape[:3], channels + len(copies))
    options = {"axis": 3, "table": "ConcatenationOptions"}
    return w.graph.add("CONCATENATION", [image, few], whole, w.dtype, None, image.quantization, **options), content


def picked(w: Int8Writer, image: Tensor, channels: np.ndarray) -> Tensor:
    """Some channels of an image, in an order."""
    inputs, shape = [image, w.graph.ints(channels.tolist())], (*image.shape[:3], channels.size)
    return w.graph.add("GATHER", inputs, shape, w.dtype, None, image.quantization, table="GatherOptions", axis=3)


@writes("Int8Add", "Int8Sum", "Int8AddRelu", "Int8SumRelu")
def add(w: Int8Writer, operator: Any, y: TensorType, a: Blob, b: Blob) -> Tensor:
    """In float32, with factors for which that is QNNPACK's byte; LiteRT's ADD of bytes has other multipliers."""
    multipliers = int8.add_multipliers(a.scale, b.scale, operator.Y_scale)
    zero_points = (a.zero_point, b.zero_point)
    found = find_addition(multipliers, zero_points, operator.Y_zero_point, float(operator.Y_scale), w.pinned)
    if not found.exact:
        return add_integers(w, operator, y, a, b, multipliers)
    terms = [real(w, x, factor) for x, factor in zip((a, b), found.factors, strict=True)]
    total = w.graph.add("ADD", terms, y.shape, table="AddOptions")
    output = w.add("QUANTIZE", [total], y, found.output)
    return at_least_zero_point(w, operator, output, y) if operator.relu else output


def add_integers(
    w: Int8Writer, operator: Any, y: TensorType, a: Blob, b: Blob, multipliers: tuple[int, int, int]
) -> Tensor:
    """QNNPACK's own arithmetic in int32, where float32 does not tell a tie from what is beside it."""
    *factors, shift = multipliers
    reach = sum(m * max(x.zero_point, 255 - x.zero_point) for m, x in zip(factors, (a, b), strict=True))
    half = 1 << (shift - 1)
    if reach + half >= INT32:
        w.doubt("the sum's rounding passes int32")
    terms = [
        integer("MUL", integer("SUB", cast(w, x.tensor, np.int32), x.zero_point - w.offset, w), factor, w)
        for x, factor in zip((a, b), factors, strict=True)
    ]
    total = w.graph.add("ADD", terms, y.shape, np.int32, table="AddOptions")
    below = w.graph.add("RIGHT_SHIFT", [total, w.graph.constant(np.full(1, 31, np.int32))], y.shape, np.int32)
    total = w.graph.add("ADD", [total, below], y.shape, np.int32, table="AddOptions")
    total = integer("ADD", total, min(half, INT32 - 1), w)
    steps = w.graph.add(
        "RIGHT_SHIFT", [total, w.graph.constant(np.full(1, min(shift, 31), np.int32))], y.shape, np.int32
    )
    steps = integer("ADD", steps, operator.Y_zero_point - w.offset, w)
    lowest = (operator.Y_zero_point if operator.relu else 0) - w.offset
    steps = integer("MINIMUM", integer("MAXIMUM", steps, lowest, w), 255 - w.offset, w)
    return cast(w, steps, w.dtype, w.quantization(operator.Y_scale, operator.Y_zero_point))


def integer(kind: str, x: Tensor, constant: int, w: Int8Writer) -> Tensor:
    """An operator of integers and a constant."""
    tables = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}
    operand = w.graph.constant(np.array(constant, x.dtype))
    return w.graph.add(kind, [x, operand], x.shape, x.dtype, table=tables.get(kind, "MaximumMinimumOptions"))


def cast(w: Int8Writer, x: Tensor, dtype: Any, quantization: Quantization | None = None) -> Tensor:
    types = {"inDataType": TYPES[x.dtype], "outDataType": TYPES[np.dtype(dtype)]}
    return w.graph.add("CAST", [x], x.shape, dtype, None, quantization, table="CastOptions", **types)


def at_least_zero_point(w: Int8Writer, operator: Any, x: Tensor, y: TensorType) -> Tensor:
    """Relu of bytes."""
    zero = w.graph.constant(np.array(operator.Y_zero_point - w.offset, w.dtype), x.quantization)
    return w.add("MAXIMUM", [x, zero], y, scale_of(x), table="MaximumMinimumOptions")


@writes("Int8Relu")
def relu(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    return at_least_zero_point(w, operator, x.tensor, y)


@writes("Int8MaxPool", "Int8MaxPoolRelu")
def max_pool(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    fit = operator.window.fit(*x.type.shape[1:3])
    padded = pad_window(w.graph, x.tensor, fit.kernel, fit.stride, fit.dilation, fit.pads, fit.output, lowest=True)
    options = {**pool_options(fit.kernel, fit.stride), **padded.options}
    options["fusedActivationFunction"] = RELU[operator.relu]
    return w.add("MAX_POOL_2D", [padded.image], y, scale_of(x.tensor), table="Pool2DOptions", **options)


@writes("Int8AveragePool", "Int8AveragePoolRelu")
def average_pool(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    """AVERAGE_POOL_2D where that is the same function; else a depthwise convolution with weights of 1."""
    fit, relu = operator.window.fit(*x.type.shape[1:3]), operator.relu
    alike = (np.float32(x.scale), x.zero_point) == (np.float32(operator.Y_scale), operator.Y_zero_point)
    options: dict[str, Any] = {"fusedActivationFunction": RELU[relu]}
    if alike and not any(fit.pads) and averages_alike(fit.area, x.zero_point, relu, w.offset):
        options |= {**pool_options(fit.kernel, fit.stride), "padding": schema.Padding.VALID}
        return w.add("AVERAGE_POOL_2D", [x.tensor], y, scale_of(x.tensor), table="Pool2DOptions", **options)
    zero_points, scales = (x.zero_point, operator.Y_zero_point), (x.scale, operator.Y_scale)
    single = w.kind == "uint8"
    found = find_average(fit.area, zero_points, relu, scales, scale_of(x.tensor), single, w.pinned)
    if not found.exact:
        return real_average_pool(w, operator, y, x)
    channels = x.type.shape[3]
    ones = np.ones((1, *fit.kernel, channels), w.dtype)
    weight = w.graph.constant(ones, Quantization(found.weight, 0, 3), "ones")
    bias_scale = float(np.float32(scale_of(x.tensor)) * np.float32(found.weight))
    bias = w.graph.constant(np.zeros(channels, np.int32), Quantization(bias_scale), "bias")
    padded = pad_window(w.graph, x.tensor, fit.kernel, fit.stride, fit.dilation, fit.pads, fit.output)
    options |= {**conv_options(fit.stride, fit.dilation), **padded.options, "depthMultiplier": 1}
    inputs = [padded.image, weight, bias]
    return w.add("DEPTHWISE_CONV_2D", inputs, y, found.output, table="DepthwiseConv2DOptions", **options)


def real_average_pool(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    """Sums in float32, where the layers' rounding gives other means (on ties: two by two pixels have some)."""
    fit, channels = operator.window.fit(*x.type.shape[1:3]), x.type.shape[3]
    zero_points, scales = (x.zero_point, operator.Y_zero_point), (x.scale, float(operator.Y_scale))
    found = find_mean(fit.area, zero_points, operator.relu, scales, w.pinned)
    if not found.exact:
        w.doubt("no factor was found with which the mean rounds as QNNPACK's does")
    image = real(w, x, 1.0)
    ones = w.graph.constant(np.ones((1, *fit.kernel, channels), np.float32), None, "ones")
    bias = w.graph.constant(np.zeros(channels, np.float32), None, "bias")
    padded = pad_window(w.graph, image, fit.kernel, fit.stride, fit.dilation, fit.pads, fit.output)
    options = {**conv_options(fit.stride, fit.dilation), **padded.options, "depthMultiplier": 1}
    inputs = [padded.image, ones, bias]
    total = w.graph.add("DEPTHWISE_CONV_2D", inputs, y.shape, table="DepthwiseConv2DOptions", **options)
    factor = w.graph.constant(np.float32(found.factors[0]))
    mean = w.graph.add("MUL", [total, factor], y.shape, table="MulOptions")
    output = w.add("QUANTIZE", [mean], y, found.output)
    return at_least_zero_point(w, operator, output, y) if operator.relu else output


@writes("Int8LeakyRelu", "Int8Sigmoid")
def activation(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    """A table of 256 bytes."""
    table = operator.table(x.scale, x.zero_point).astype(np.int64) - w.offset
    index = cast(w, x.tensor, np.int32)
    if w.offset:
        index = integer("ADD", index, w.offset, w)
    content = w.graph.constant(table.astype(w.dtype), w.quantization(operator.Y_scale, operator.Y_zero_point), "table")
    return w.add("GATHER", [content, index], y, operator.Y_scale, table="GatherOptions", axis=0)


@writes("Int8Softmax")
def softmax(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    """QNNPACK's own arithmetic: a table, and the quotient (512 v + S) // 2 S of entries and their sum, in int64.

    LiteRT divides no int64: what float32 makes of the quotient is off by one at most, which two comparisons tell.
    LiteRT's SOFTMAX of bytes has other tables, and its reference kernel aborts on long rows.
    """
    graph, shape = w.graph, (x.type.shape[0], int(np.prod(x.type.shape[1:])))
    rows, row = cast(w, graph.reshape(x.tensor, shape), np.int32), (shape[0], 1)
    last = graph.ints([1])
    largest = graph.add("REDUCE_MAX", [rows, last], row, np.int32, table="ReducerOptions", keepDims=True)
    below = graph.add("SUB", [rows, largest], shape, np.int32, table="SubOptions")
    table = int8.softmax_table(x.scale, shape[1])
    entries = [graph.constant(table, None, "table"), integer("ADD", below, 255, w)]
    values = graph.add("GATHER", entries, shape, np.int64, table="GatherOptions", axis=0)
    total = graph.add("SUM", [values, last], row, np.int64, table="ReducerOptions", keepDims=True)
    if int(table[-1]) * shape[1] >= 1 << 32:  # QNNPACK's sum is uint32
        wraps = cast(w, compared("GREATER_EQUAL", total, graph.constant(np.int64(1 << 32)), w), np.int64)
        wrapped = integer("MUL", wraps, 1 << 32, w)
        total = graph.add("SUB", [total, wrapped], row, np.int64, table="SubOptions")
    total = integer("MAXIMUM", total, 1, w)
    numerator = graph.add("ADD", [integer("MUL", values, 512, w), total], shape, np.int64, table="AddOptions")
    denominator = integer("MUL", total, 2, w)
    ratio = [cast(w, numerator, np.float32), cast(w, denominator, np.float32)]
    quotient = graph.add("FLOOR", [graph.add("DIV", ratio, shape, table="DivOptions")], shape)
    steps = cast(w, quotient, np.int64)
    product = graph.add("MUL", [steps, denominator], shape, np.int64, table="MulOptions")
    above = cast(w, compared("GREATER", product, numerator, w), np.int64)
    following = graph.add("ADD", [product, denominator], shape, np.int64, table="AddOptions")
    short = cast(w, compared("LESS_EQUAL", following, numerator, w), np.int64)
    steps = graph.add("SUB", [steps, above], shape, np.int64, table="SubOptions")
    steps = graph.add("ADD", [steps, short], shape, np.int64, table="AddOptions")
    steps = integer("ADD", integer("MINIMUM", steps, 255, w), -w.offset, w)
    quantization = w.quantization(operator.Y_scale, operator.Y_zero_point)
    return graph.reshape(cast(w, steps, w.dtype, quantization), y.shape)


def compared(kind: str, x: Tensor, y: Tensor, w: Int8Writer) -> Tensor:
    tables = {"GREATER": "GreaterOptions", "GREATER_EQUAL": "GreaterEqualOptions", "LESS_EQUAL": "LessEqualOptions"}
    return w.graph.add(kind, [x, y], x.shape, np.bool_, table=tables[kind])
