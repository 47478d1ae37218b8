"""ONNX nodes, as the operators' lowering writes them, in TensorFlow Lite: one small function for each.

Images, N, C, H, W in ONNX, are stored as N, H, W, C from the first operator on that wants them so: tensors know how
their dimensions are stored, and are transposed only where an operator needs the blob's own order.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import helper
from onnx.reference import ReferenceEvaluator

from caffe2_common.errors import UnsupportedError
from caffe2_models.lowering import IR_VERSION, OPSET
from exporters.caffe2_to_tflite.graph import NHWC, TYPES, Graph, Tensor, Value, straight
from exporters.caffe2_to_tflite.windows import conv_options, pad, pad_window, pool_options

Translation = TypeVar("Translation", bound=Callable[..., Any])

TRANSLATIONS: dict[str, Callable[..., Any]] = {}  # each gives a Value, or a tuple of Values


def translates(*kinds: str) -> Callable[[Translation], Translation]:
    """Register a function (graph, *inputs, **attributes) -> output or outputs under ONNX's operator names."""

    def register(function: Translation) -> Translation:
        TRANSLATIONS.update(dict.fromkeys(kinds, function))
        return function

    return register


def translate(graph: Graph, node: onnx.NodeProto, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    """The node's outputs. Raises UnsupportedError for an operator or a form of it that is not known."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if all(value is None or isinstance(value, np.ndarray) for value in inputs):
        return fold(node, inputs)
    if node.op_type in UNARY:
        return tuple(unary(graph, node.op_type, x) for x in inputs if isinstance(x, Tensor))
    if node.op_type in BINARY:
        return (binary(graph, node.op_type, *(x for x in inputs if x is not None)),)
    if node.op_type not in TRANSLATIONS:
        raise UnsupportedError(f"ONNX's {node.op_type} has no form here in TensorFlow Lite")
    if node.op_type in ("Split", "TopK"):
        attributes["outputs"] = len(node.output)
    found = TRANSLATIONS[node.op_type](graph, *inputs, **attributes)
    return found if isinstance(found, tuple) else (found,)


def fold(node: onnx.NodeProto, inputs: Sequence[Value | None]) -> tuple[Value, ...]:
    """What a node makes of constants."""
    feeds = {name: value for name, value in zip(node.input, inputs, strict=True) if value is not None}
    known = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
        for name, v in feeds.items()
    ]
    made = [onnx.ValueInfoProto(name=name) for name in node.output]
    model = helper.make_model(
        helper.make_graph([node], "constant", known, made),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    return tuple(np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds))


UNARY = {
    **{"Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH", "Exp": "EXP", "Log": "LOG", "Sqrt": "SQRT", "Abs": "ABS"},
    **{"Neg": "NEG", "Floor": "FLOOR", "Round": "ROUND", "Sin": "SIN", "Cos": "COS", "Sign": "SIGN"},
    **{"Not": "LOGICAL_NOT", "HardSwish": "HARD_SWISH"},
}
UNARY_TABLES = {"EXP": "ExpOptions", "ABS": "AbsOptions", "NEG": "NegOptions", "COS": "CosOptions"} | {
    "SIGN": "SignOptions",
    "LOGICAL_NOT": "LogicalNotOptions",
    "HARD_SWISH": "HardSwishOptions",
}
BINARY = {
    **{"Add": "ADD", "Sub": "SUB", "Mul": "MUL", "Div": "DIV", "Max": "MAXIMUM", "Min": "MINIMUM", "Pow": "POW"},
    **{"Less": "LESS", "LessOrEqual": "LESS_EQUAL", "Greater": "GREATER", "GreaterOrEqual": "GREATER_EQUAL"},
    **{"Equal": "EQUAL", "And": "LOGICAL_AND", "Or": "LOGICAL_OR"},
}
BINARY_TABLES = {
    **{"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions", "DIV": "DivOptions", "POW": "PowOptions"},
    **{"MAXIMUM": "MaximumMinimumOptions", "MINIMUM": "MaximumMinimumOptions", "EQUAL": "EqualOptions"},
    **{"LESS": "LessOptions", "LESS_EQUAL": "LessEqualOptions", "GREATER": "GreaterOptions"},
    **{"GREATER_EQUAL": "GreaterEqualOptions", "LOGICAL_AND": "LogicalAndOptions", "LOGICAL_OR": "LogicalOrOptions"},
}
BOOLEAN = ("LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "LOGICAL_AND", "LOGICAL_OR")


def unary(graph: Graph, kind: str, x: Tensor) -> Tensor:
    kind = UNARY[kind]
    return graph.add(kind, [x], x.shape, x.dtype, x.order, table=UNARY_TABLES.get(kind))


def binary(graph: Graph, kind: str, *inputs: Value) -> Tensor:
    """Of two, or one after the other of more; Max and Min of one are that."""
    total, *others = inputs
    for other in others:
        x, y = aligned(graph, total, other)
        written = BINARY[kind]
        shape = np.broadcast_shapes(x.shape, y.shape)
        dtype = np.bool_ if written in BOOLEAN else x.dtype
        total = graph.add(written, [x, y], shape, dtype, x.order, table=BINARY_TABLES[written])
    return graph.ordered(total) if isinstance(total, np.ndarray) else total


def aligned(graph: Graph, *values: Value) -> list[Tensor]:
    """Of one rank, stored in one order: that of the first tensor of the highest rank."""
    rank = max(len(value.shape) for value in values)
    leads = [value for value in values if isinstance(value, Tensor) and len(value.shape) == rank]
    order = leads[0].order if leads else straight(rank)
    return [graph.ordered(expanded(graph, value, rank), order) for value in values]


def expanded(graph: Graph, value: Value, rank: int) -> Value:
    shape = (1,) * (rank - len(value.shape)) + tuple(value.shape)
    if shape == tuple(value.shape):
        return value
    return value.reshape(shape) if isinstance(value, np.ndarray) else graph.reshape(value, shape)


def ints(values: Value | Sequence[int] | None) -> list[int]:
    """A constant vector of integers, from an input or an attribute."""
    if values is None or isinstance(values, Tensor):
        raise UnsupportedError("axes or sizes that are computed")
    return [int(value) for value in np.ravel(np.asarray(values))]


def scalar(value: Value | float | None) -> np.ndarray:
    """A constant number, 0 where none is given."""
    if isinstance(value, Tensor):
        raise UnsupportedError("a number that is computed")
    return np.asarray(0 if value is None else value, np.float32)


@translates("Identity", "Dropout")
def identity(graph: Graph, x: Tensor, *_: Value) -> Tensor:
    return x


@translates("Clip")
def clip(graph: Graph, x: Tensor, lowest: Value | None = None, highest: Value | None = None) -> Tensor:
    if lowest is not None and highest is not None and (scalar(lowest), scalar(highest)) == (0, 6):
        return graph.add("RELU6", [x], x.shape, x.dtype, x.order)
    if lowest is not None:
        x = binary(graph, "Max", x, lowest)
    return x if highest is None else binary(graph, "Min", x, highest)


@translates("LeakyRelu")
def leaky_relu(graph: Graph, x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return graph.add("LEAKY_RELU", [x], x.shape, x.dtype, x.order, table="LeakyReluOptions", alpha=alpha)


@translates("PRelu")
def prelu(graph: Graph, x: Tensor, slope: Value) -> Tensor:
    x, slopes = aligned(graph, x, slope)
    below = binary(graph, "Mul", binary(graph, "Min", x, scalar(0)), slopes)
    return binary(graph, "Add", unary(graph, "Relu", x), below)


@translates("Elu")
def elu(graph: Graph, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    """From other operators: LiteRT's reference kernels have no ELU."""
    below = binary(graph, "Sub", unary(graph, "Exp", binary(graph, "Min", x, scalar(0))), scalar(1))
    return binary(graph, "Add", unary(graph, "Relu", x), binary(graph, "Mul", below, scalar(alpha)))


@translates("Selu")
def selu(
    graph: Graph, x: Tensor, *, alpha: float = 1.67326319217681884765625, gamma: float = 1.05070102214813232421875
):
    return binary(graph, "Mul", elu(graph, x, alpha=alpha), scalar(gamma))


@translates("HardSigmoid")
def hard_sigmoid(graph: Graph, x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    line = binary(graph, "Add", binary(graph, "Mul", x, scalar(alpha)), scalar(beta))
    return binary(graph, "Min", binary(graph, "Max", line, scalar(0)), scalar(1))


@translates("Softplus")
def softplus(graph: Graph, x: Tensor) -> Tensor:
    """max(x, 0) + log(1 + exp(-|x|)), which overflows nowhere."""
    tail = unary(graph, "Exp", unary(graph, "Neg", unary(graph, "Abs", x)))
    return binary(graph, "Add", unary(graph, "Relu", x), unary(graph, "Log", binary(graph, "Add", tail, scalar(1))))


@translates("Softsign")
def softsign(graph: Graph, x: Tensor) -> Tensor:
    return binary(graph, "Div", x, binary(graph, "Add", unary(graph, "Abs", x), scalar(1)))


@translates("Ceil")
def ceil(graph: Graph, x: Tensor) -> Tensor:
    """From FLOOR: LiteRT's reference kernels have no CEIL."""
    return unary(graph, "Neg", unary(graph, "Floor", unary(graph, "Neg", x)))


@translates("ThresholdedRelu")
def thresholded_relu(graph: Graph, x: Tensor, *, alpha: float = 1.0) -> Tensor:
    return where(graph, binary(graph, "Greater", x, scalar(alpha)), x, scalar(0))


@translates("Erf")
def erf(graph: Graph, x: Tensor) -> Tensor:
    """To 1.5e-7: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26."""
    size = unary(graph, "Abs", x)
    t = reciprocal(graph, binary(graph, "Add", binary(graph, "Mul", size, scalar(0.3275911)), scalar(1)))
    total = binary(graph, "Mul", t, scalar(1.061405429))
    for factor in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        total = binary(graph, "Mul", t, binary(graph, "Add", total, scalar(factor)))
    tail = binary(graph, "Mul", total, unary(graph, "Exp", unary(graph, "Neg", binary(graph, "Mul", x, x))))
    return binary(graph, "Mul", unary(graph, "Sign", x), binary(graph, "Sub", scalar(1), tail))


@translates("Reciprocal")
def reciprocal(graph: Graph, x: Tensor) -> Tensor:
    return binary(graph, "Div", scalar(1), x)


@translates("Sum")
def sum_of(graph: Graph, *inputs: Value) -> Tensor:
    return binary(graph, "Add", *inputs)


@translates("Mean")
def mean_of(graph: Graph, *inputs: Value) -> Tensor:
    return binary(graph, "Div", binary(graph, "Add", *inputs), scalar(len(inputs)))


@translates("Where")
def where(graph: Graph, condition: Value, x: Value, y: Value) -> Tensor:
    chosen, x, y = aligned(graph, condition, x, y)
    shape = np.broadcast_shapes(chosen.shape, x.shape, y.shape)
    return graph.add("SELECT_V2", [chosen, x, y], shape, x.dtype, x.order, table="SelectV2Options")


@translates("Cast")
def cast(graph: Graph, x: Tensor, *, to: int) -> Tensor:
    dtype = helper.tensor_dtype_to_np_dtype(to)
    if dtype not in TYPES:
        raise UnsupportedError(f"a cast to {dtype}")
    if dtype == x.dtype:
        return x
    types = {"inDataType": TYPES[x.dtype], "outDataType": TYPES[dtype]}
    return graph.add("CAST", [x], x.shape, dtype, x.order, table="CastOptions", **types)


# Layers


def image(graph: Graph, x: Value) -> Tensor:
    """Stored as N, H, W, C."""
    if len(x.shape) != 4:
        raise UnsupportedError(f"a window over {len(x.shape) - 2} dimensions; images have two")
    return graph.ordered(x, NHWC)


def parameter(value: Value | None, what: str) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise UnsupportedError(f"a {what} that is computed")
    return value


def bias_or_zeros(graph: Graph, bias: Value | None, count: int) -> Tensor:
    """Some kernels want one."""
    return graph.constant(np.zeros(count, np.float32) if bias is None else parameter(bias, "bias"), None, "bias")


def output_size(size: int, kernel: int, stride: int, dilation: int, pads: int) -> int:
    return (size + pads - dilation * (kernel - 1) - 1) // stride + 1


def output_sizes(x: Tensor, kernel, stride, dilation, pads) -> list[int]:
    return [
        output_size(x.shape[2 + axis], kernel[axis], stride[axis], dilation[axis], pads[axis] + pads[axis + 2])
        for axis in range(2)
    ]


@translates("Conv")
def conv(
    graph: Graph,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = (1, 1),
    dilations: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    group: int = 1,
) -> Tensor:
    x, taps = image(graph, x), parameter(weight, "weight")
    kernel, channels = taps.shape[2:], x.shape[1]
    size = output_sizes(x, kernel, strides, dilations, pads)
    shape = (x.shape[0], taps.shape[0], *size)
    padded = pad_window(graph, x, kernel, strides, dilations, pads, size)
    options = {**conv_options(strides, dilations), **padded.options}
    addend = bias_or_zeros(graph, bias, taps.shape[0])
    if group == channels and group > 1:
        depth = taps.shape[0] // channels
        options |= {"depthMultiplier": depth, "table": "DepthwiseConv2DOptions"}
        content = graph.constant(taps.transpose(1, 2, 3, 0), None, "weight")
        return graph.add("DEPTHWISE_CONV_2D", [padded.image, content, addend], shape, order=NHWC, **options)
    content = graph.constant(taps.transpose(0, 2, 3, 1), None, "weight")
    inputs = [padded.image, content, addend]
    return graph.add("CONV_2D", inputs, shape, order=NHWC, table="Conv2DOptions", **options)


@translates("ConvTranspose")
def conv_transpose(
    graph: Graph,
    x: Value,
    weight: Value,
    bias: Value | None = None,
    *,
    kernel_shape: Sequence[int] = (),
    strides: Sequence[int] = (1, 1),
    pads: Sequence[int] = (0, 0, 0, 0),
    output_padding: Sequence[int] = (0, 0),
    group: int = 1,
) -> Tensor:
    """The whole upscaled image, of which the pads are cut; group by group."""
    x, taps = image(graph, x), parameter(weight, "weight")
    whole = [(x.shape[2 + i] - 1) * strides[i] + taps.shape[2 + i] + output_padding[i] for i in range(2)]
    addend = None if bias is None else np.split(parameter(bias, "bias"), group)
    options = {"strideH": strides[0], "strideW": strides[1], "padding": schema.Padding.VALID}
    parts = []
    for i, (pixels, content) in enumerate(zip(split_evenly(graph, x, group, 1), np.split(taps, group), strict=True)):
        shape = (x.shape[0], content.shape[1], *whole)
        stored = graph.ints([shape[axis] for axis in NHWC])
        inputs = [stored, graph.constant(content.transpose(1, 2, 3, 0), None, "weight"), pixels]
        if addend is not None:
            inputs.append(graph.constant(addend[i], None, "bias"))
        parts.append(graph.add("TRANSPOSE_CONV", inputs, shape, order=NHWC, table="TransposeConvOptions", **options))
    y = parts[0] if group == 1 else concat(graph, *parts, axis=1)
    ends = [whole[i] - pads[i + 2] for i in range(2)]
    return slice_of(graph, y, np.array(pads[:2]), np.array(ends), np.array([2, 3])) if any(pads) else y


def split_evenly(graph: Graph, x: Tensor, parts: int, axis: int) -> list[Tensor]:
    size = x.shape[axis] // parts
    if parts == 1:
        return [x]
    bounds = [(np.array([i * size]), np.array([(i + 1) * size])) for i in range(parts)]
    return [slice_of(graph, x, *bound, np.array([axis])) for bound in bounds]


@translates("MaxPool")
def max_pool(graph: Graph, x: Value, *, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), dilations=(1, 1)) -> Tensor:
    x = image(graph, x)
    size = output_sizes(x, kernel_shape, strides, dilations, pads)
    padded = pad_window(graph, x, kernel_shape, strides, (1, 1), pads, size, lowest=True)
    options = {**pool_options(kernel_shape, strides), **padded.options, "table": "Pool2DOptions"}
    return graph.add("MAX_POOL_2D", [padded.image], (*x.shape[:2], *size), order=NHWC, **options)


@translates("AveragePool")
def average_pool(
    graph: Graph, x: Value, *, kernel_shape, strides=(1, 1), pads=(0, 0, 0, 0), count_include_pad=0
) -> Tensor:
    """Padding counts as zeros; where it is not to count, each mean is multiplied by what part of it does."""
    x = image(graph, x)
    size = output_sizes(x, kernel_shape, strides, (1, 1), pads)
    padded = pad_window(graph, x, kernel_shape, strides, (1, 1), pads, size, same=False)
    options = {**pool_options(kernel_shape, strides), **padded.options, "table": "Pool2DOptions"}
    y = graph.add("AVERAGE_POOL_2D", [padded.image], (*x.shape[:2], *size), order=NHWC, **options)
    if count_include_pad or not any(pads):
        return y
    counts = [
        np.array([window_count(i * strides[a] - pads[a], kernel_shape[a], x.shape[2 + a]) for i in range(size[a])])
        for a in range(2)
    ]
    part = np.outer(*counts) / np.prod(kernel_shape)
    return binary(graph, "Div", y, part.astype(np.float32)[None, None])


def window_count(start: int, kernel: int, size: int) -> int:
    """How many pixels of the image a window along one axis sees."""
    return min(start + kernel, size) - max(start, 0)


@translates("GlobalAveragePool")
def global_average_pool(graph: Graph, x: Value) -> Tensor:
    return reduce_to(graph, "MEAN", x, [2, 3], True)


@translates("GlobalMaxPool")
def global_max_pool(graph: Graph, x: Value) -> Tensor:
    return reduce_to(graph, "REDUCE_MAX", x, [2, 3], True)


@translates("Gemm")
def gemm(graph: Graph, x: Value, weight: Value, bias: Value | None = None, *, alpha=1.0, beta=1.0, transA=0, transB=0):
    if alpha != 1 or beta != 1:
        raise UnsupportedError("a Gemm with factors")
    x = transpose(graph, x) if transA else x
    if not isinstance(weight, np.ndarray):
        y = batch_matmul(graph, x, weight, bool(transB))
        return y if bias is None else binary(graph, "Add", y, bias)
    taps = weight if transB else weight.T
    inputs, addend = [graph.ordered(x), graph.constant(taps, None, "weight")], bias
    if isinstance(bias, np.ndarray) and bias.size == len(taps):
        inputs.append(graph.constant(bias.reshape(-1), None, "bias"))
        addend = None
    else:
        inputs.append(bias_or_zeros(graph, None, len(taps)))
    shape = (x.shape[0], taps.shape[0])
    y = graph.add("FULLY_CONNECTED", inputs, shape, table="FullyConnectedOptions")
    return y if addend is None else binary(graph, "Add", y, addend)


@translates("MatMul")
def matmul(graph: Graph, x: Value, y: Value) -> Tensor:
    return batch_matmul(graph, x, y, False)


def batch_matmul(graph: Graph, x: Value, y: Value, transposed: bool) -> Tensor:
    if min(len(x.shape), len(y.shape)) < 2:
        raise UnsupportedError("a product of a vector and a matrix")
    rank = max(len(x.shape), len(y.shape))
    x, y = (graph.ordered(expanded(graph, value, rank)) for value in (x, y))
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    shape = (*batch, x.shape[-2], y.shape[-2] if transposed else y.shape[-1])
    return graph.add("BATCH_MATMUL", [x, y], shape, table="BatchMatMulOptions", adjY=transposed)


# Normalizations


@translates("BatchNormalization")
def batch_normalization(graph: Graph, x: Tensor, scale: Value, bias: Value, mean: Value, variance: Value, **options):
    values = [parameter(value, "statistic").astype(np.float64) for value in (scale, bias, mean, variance)]
    factor = values[0] / np.sqrt(values[3] + options.get("epsilon", 1e-5))
    addend = values[1] - values[2] * factor
    column = (-1, *(1,) * (len(x.shape) - 2))
    y = binary(graph, "Mul", x, factor.astype(np.float32).reshape(column))
    return binary(graph, "Add", y, addend.astype(np.float32).reshape(column))


@translates("InstanceNormalization")
def instance_normalization(graph: Graph, x: Tensor, scale: Value, bias: Value, *, epsilon: float = 1e-5) -> Tensor:
    axes, column = list(range(2, len(x.shape))), (-1, *(1,) * (len(x.shape) - 2))
    y = normalized(graph, x, axes, epsilon)
    y = binary(graph, "Mul", y, parameter(scale, "scale").reshape(column))
    return binary(graph, "Add", y, parameter(bias, "bias").reshape(column))


@translates("LayerNormalization")
def layer_normalization(
    graph: Graph, x: Tensor, scale: Value, bias: Value | None = None, *, axis=-1, epsilon=1e-5, **_
):
    y = binary(graph, "Mul", normalized(graph, x, list(range(axis % len(x.shape), len(x.shape))), epsilon), scale)
    return y if bias is None else binary(graph, "Add", y, bias)


def normalized(graph: Graph, x: Tensor, axes: list[int], epsilon: float) -> Tensor:
    centred = binary(graph, "Sub", x, reduce_to(graph, "MEAN", x, axes, True))
    variance = reduce_to(graph, "MEAN", binary(graph, "Mul", centred, centred), axes, True)
    return binary(graph, "Div", centred, unary(graph, "Sqrt", binary(graph, "Add", variance, scalar(epsilon))))


@translates("LRN")
def lrn(graph: Graph, x: Value, *, size: int, alpha: float = 1e-4, beta: float = 0.75, bias: float = 1.0) -> Tensor:
    """The sum over channels as a convolution: LOCAL_RESPONSE_NORMALIZATION leaves out the last channel of each."""
    x = image(graph, x)
    channel = np.arange(x.shape[1])
    distance = channel - channel[:, None]
    seen = (distance >= -((size - 1) // 2)) & (distance <= size // 2)
    total = conv(graph, binary(graph, "Mul", x, x), (seen * alpha / size).astype(np.float32)[:, :, None, None])
    return binary(graph, "Div", x, binary(graph, "Pow", binary(graph, "Add", total, scalar(bias)), scalar(beta)))


@translates("Softmax")
def softmax(graph: Graph, x: Tensor, *, axis: int = -1) -> Tensor:
    x = last(graph, x, axis)
    return graph.add("SOFTMAX", [x], x.shape, order=x.order, table="SoftmaxOptions", beta=1.0)


@translates("LogSoftmax")
def log_softmax(graph: Graph, x: Tensor, *, axis: int = -1) -> Tensor:
    x = last(graph, x, axis)
    return graph.add("LOG_SOFTMAX", [x], x.shape, order=x.order, table="LogSoftmaxOptions")


def last(graph: Graph, x: Tensor, axis: int) -> Tensor:
    """Stored with this dimension last."""
    if x.order[-1] == axis % len(x.shape):
        return x
    order = [other for other in range(len(x.shape)) if other != axis % len(x.shape)]
    return graph.ordered(x, [*order, axis % len(x.shape)])


# Reductions


def reduce_to(graph: Graph, kind: str, x: Value, axes: Sequence[int], keepdims: bool) -> Tensor:
    axes = sorted(axis % len(x.shape) for axis in axes) or list(range(len(x.shape)))
    x = graph.ordered(x, x.order if keepdims and isinstance(x, Tensor) else None)
    stored = graph.ints(sorted(x.stored_axis(axis) for axis in axes))
    shape = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    order: Sequence[int] | None = x.order
    if not keepdims:
        shape, order = [size for axis, size in enumerate(x.shape) if axis not in axes], None
    return graph.add(kind, [x, stored], shape, x.dtype, order, table="ReducerOptions", keepDims=keepdims)


def reduction(kind: str, before: str | None = None, after: str | None = None) -> Callable[..., Tensor]:
    """A reduction with axes as an attribute or an input; of squares or absolutes, and a root of it."""

    def reduces(graph: Graph, x: Tensor, axes: Value | Sequence[int] = (), *, keepdims: int = 1, **_: Any) -> Tensor:
        chosen = ints(axes)
        if before == "Square":
            x = binary(graph, "Mul", x, x)
        elif before is not None:
            x = unary(graph, before, x)
        y = reduce_to(graph, kind, x, chosen, bool(keepdims))
        return y if after is None else unary(graph, after, y)

    return reduces


TRANSLATIONS |= {
    "ReduceMean": reduction("MEAN"),
    "ReduceSum": reduction("SUM"),
    "ReduceMax": reduction("REDUCE_MAX"),
    "ReduceMin": reduction("REDUCE_MIN"),
    "ReduceProd": reduction("REDUCE_PROD"),
    "ReduceL1": reduction("SUM", before="Abs"),
    "ReduceL2": reduction("SUM", before="Square", after="Sqrt"),
    "ReduceSumSquare": reduction("SUM", before="Square"),
}


# What moves elements, of any type


def moved(graph: Graph, kind: str, inputs: Sequence[Tensor], x: Tensor, shape: Sequence[int], **options: Any) -> Tensor:
    """An operator that moves x's elements."""
    return graph.add(kind, inputs, shape, x.dtype, x.order, x.quantization, **options)


@translates("Transpose")
def transpose(graph: Graph, x: Value, *, perm: Sequence[int] | None = None) -> Value:
    """Nothing moves: the same tensor holds the other blob in another order."""
    if isinstance(x, np.ndarray):
        return x.transpose(perm)
    perm = list(perm) if perm is not None else list(range(len(x.shape)))[::-1]
    order = tuple(perm.index(axis) for axis in x.order)
    return Tensor(x.index, tuple(x.shape[axis] for axis in perm), x.dtype, order, x.quantization)


@translates("Reshape")
def reshape(graph: Graph, x: Tensor, shape: Value, *, allowzero: int = 0) -> Tensor:
    wanted = [have or x.shape[axis] for axis, have in enumerate(ints(shape))]
    if -1 in wanted:
        wanted[wanted.index(-1)] = int(np.prod(x.shape)) // -int(np.prod(wanted))
    return graph.reshape(x, wanted)


@translates("Flatten")
def flatten(graph: Graph, x: Tensor, *, axis: int = 1) -> Tensor:
    axis = axis % len(x.shape) if axis < 0 else axis
    return graph.reshape(x, (int(np.prod(x.shape[:axis])), int(np.prod(x.shape[axis:]))))


@translates("Squeeze")
def squeeze(graph: Graph, x: Tensor, axes: Value | None = None) -> Tensor:
    gone = [axis % len(x.shape) for axis in ints(axes)] if axes is not None else np.flatnonzero(np.array(x.shape) == 1)
    return graph.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in gone])


@translates("Unsqueeze")
def unsqueeze(graph: Graph, x: Tensor, axes: Value) -> Tensor:
    rank = len(x.shape) + len(ints(axes))
    new, sizes = {axis % rank for axis in ints(axes)}, iter(x.shape)
    return graph.reshape(x, [1 if axis in new else next(sizes) for axis in range(rank)])


@translates("Concat")
def concat(graph: Graph, *inputs: Value, axis: int) -> Tensor:
    parts = aligned(graph, *inputs)
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    options = {"axis": parts[0].stored_axis(axis), "table": "ConcatenationOptions"}
    return moved(graph, "CONCATENATION", parts, parts[0], shape, **options)


@translates("Split")
def split(graph: Graph, x: Tensor, sizes: Value | None = None, *, axis: int = 0, outputs: int) -> tuple[Tensor, ...]:
    parts = ints(sizes) if sizes is not None else [x.shape[axis] // outputs] * outputs
    starts = np.cumsum([0, *parts])
    along = np.array([axis])
    return tuple(slice_of(graph, x, np.array([a]), np.array([b]), along) for a, b in pairwise(starts))


@translates("Slice")
def slice_of(
    graph: Graph, x: Tensor, starts: Value, ends: Value, axes: Value | None = None, steps: Value | None = None
) -> Tensor:
    begins, stops = ints(starts), ints(ends)
    dimensions = ints(axes) if axes is not None else list(range(len(begins)))
    strides = ints(steps) if steps is not None else [1] * len(begins)
    cuts = {axis % len(x.shape): slice(*cut) for axis, *cut in zip(dimensions, begins, stops, strides, strict=True)}
    ranges = [range(size)[cuts.get(axis, slice(None))] for axis, size in enumerate(x.shape)]
    if any(taken.step < 0 or not len(taken) for taken in ranges):
        raise UnsupportedError("a slice that goes backwards, or is empty")
    stored = [ranges[axis] for axis in x.order]
    bounds = [[taken.start for taken in stored], [taken.stop for taken in stored], [taken.step for taken in stored]]
    inputs = [x, *(graph.ints(bound) for bound in bounds)]
    return moved(graph, "STRIDED_SLICE", inputs, x, [len(taken) for taken in ranges], table="StridedSliceOptions")


@translates("Pad")
def pad_of(graph: Graph, x: Tensor, pads: Value, value: Value | None = None, *, mode: bytes = b"constant") -> Tensor:
    amounts, rank = ints(pads), len(x.shape)
    widths = [(amounts[axis], amounts[axis + rank]) for axis in range(rank)]
    cut = [(max(-before, 0), size - max(-after, 0)) for (before, after), size in zip(widths, x.shape, strict=True)]
    if any(bound != (0, size) for bound, size in zip(cut, x.shape, strict=True)):
        x = slice_of(graph, x, *(np.array(side) for side in zip(*cut, strict=True)))
    grown = [(max(before, 0), max(after, 0)) for before, after in widths]
    stored = [grown[axis] for axis in x.order]
    shape = [size + sum(width) for size, width in zip(x.shape, grown, strict=True)]
    if mode == b"constant" and not scalar(value):
        return pad(graph, x, stored)
    table = graph.constant(np.array(stored, np.int32))
    if mode == b"constant":
        filler = graph.constant(scalar(value))
        return moved(graph, "PADV2", [x, table, filler], x, shape, table="PadV2Options")
    if mode == b"edge":
        for axis, (before, after) in enumerate(grown):
            places = np.arange(-before, x.shape[axis] + after).clip(0, x.shape[axis] - 1)
            x = gather(graph, x, places, axis=axis) if before or after else x
        return x
    if mode != b"reflect":
        raise UnsupportedError(f"padding by {mode.decode()}")
    options = {"mode": schema.MirrorPadMode.REFLECT, "table": "MirrorPadOptions"}
    return moved(graph, "MIRROR_PAD", [x, table], x, shape, **options)


@translates("Gather")
def gather(graph: Graph, x: Value, indices: Value, *, axis: int = 0) -> Tensor:
    where_from = graph.ordered(indices.astype(np.int32) if isinstance(indices, np.ndarray) else indices)
    if len(where_from.shape) != 1 or not isinstance(x, Tensor):
        x = graph.ordered(x)
    shape = (*x.shape[:axis], *where_from.shape, *x.shape[axis % len(x.shape) + 1 :])
    options = {"axis": x.stored_axis(axis), "table": "GatherOptions"}
    return graph.add(
        "GATHER",
        [x, where_from],
        shape,
        x.dtype,
        x.order if len(shape) == len(x.order) else None,
        x.quantization,
        **options,
    )


@translates("Expand")
def expand(graph: Graph, x: Tensor, shape: Value) -> Tensor:
    size = np.broadcast_shapes(x.shape, ints(shape))
    x = graph.ordered(expanded(graph, x, len(size)))
    return moved(graph, "BROADCAST_TO", [x, graph.ints(size)], x, size)


@translates("Tile")
def tile(graph: Graph, x: Tensor, repeats: Value) -> Tensor:
    times = ints(repeats)
    shape = [size * count for size, count in zip(x.shape, times, strict=True)]
    inputs = [x, graph.ints([times[axis] for axis in x.order])]
    return moved(graph, "TILE", inputs, x, shape, table="TileOptions")


@translates("Resize")
def resize(
    graph: Graph,
    x: Value,
    roi: Value | None = None,
    scales: Value | None = None,
    sizes: Value | None = None,
    *,
    mode: bytes = b"nearest",
    coordinate_transformation_mode: bytes = b"half_pixel",
    nearest_mode: bytes = b"round_prefer_floor",
) -> Tensor:
    x, wanted = image(graph, x), ints(sizes)
    if wanted[:2] != list(x.shape[:2]):
        raise UnsupportedError("resizing of other dimensions than height and width")
    inputs = [x, graph.ints(wanted[2:])]
    if mode == b"linear" and coordinate_transformation_mode in (b"align_corners", b"half_pixel"):
        options = {"alignCorners": coordinate_transformation_mode == b"align_corners"}
        options["halfPixelCenters"] = not options["alignCorners"]
        return moved(graph, "RESIZE_BILINEAR", inputs, x, wanted, table="ResizeBilinearOptions", **options)
    if (mode, coordinate_transformation_mode, nearest_mode) != (b"nearest", b"asymmetric", b"floor"):
        raise UnsupportedError(f"resizing by {mode.decode()}, {coordinate_transformation_mode.decode()}")
    for axis in (2, 3):
        pixels = np.arange(wanted[axis]) * x.shape[axis] // wanted[axis]
        x = gather(graph, x, pixels, axis=axis)
    return x
