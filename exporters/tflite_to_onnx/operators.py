"""TensorFlow Lite's operators as ONNX's: one small function for each, over real values."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models.model_files.tflite_reader import Operator, Tensor
from exporters.tflite_to_onnx.graph import BYTES, NCHW, NHWC, Writer

Translate = Callable[[Writer, Operator], None]
TRANSLATIONS: dict[str, Translate] = {}

NONE = schema.ActivationFunctionType.NONE
ACTIVATION = {code: name for name, code in vars(schema.ActivationFunctionType).items() if isinstance(code, int)}


def translates(*kinds: str) -> Callable[[Translate], Translate]:
    """Register a function (writer, operator) under TensorFlow Lite's operator names."""

    def register(function: Translate) -> Translate:
        TRANSLATIONS.update(dict.fromkeys(kinds, function))
        return function

    return register


def activated(w: Writer, value: str, function: int) -> str:
    """Behind the activation that is fused into an operator."""
    kind = ACTIVATION.get(function, str(function))
    if kind == "NONE":
        return value
    if kind in ("RELU", "TANH"):
        return w.add({"RELU": "Relu", "TANH": "Tanh"}[kind], [value])
    bounds = {"RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}.get(kind)
    if bounds is None:
        raise UnsupportedError(f"the activation {kind}")
    return clipped(w, value, *bounds)


def clipped(w: Writer, value: str, low: float, high: float) -> str:
    return w.add("Clip", [value, w.constant(np.float32(low)), w.constant(np.float32(high))])


def content(tensor: Tensor | None, what: str, size: int | None = None) -> np.ndarray:
    """An input that must be a constant: an axis, a shape, a padding; size: how many numbers it must have."""
    if tensor is None or tensor.data is None:
        raise UnsupportedError(f"its {what} are computed while the net runs")
    if size is not None and tensor.data.size != size:
        raise ModelError(f"{tensor.data.size} {what}; expected {size}")
    return tensor.data


def axis_of(tensor: Tensor, rank: int) -> int:
    """A dimension, counted from the front."""
    return checked_axis(int(content(tensor, "axes", 1).reshape(())), rank)


def checked_axis(axis: int, rank: int) -> int:
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} of {rank} dimensions")
    return axis % rank


def onnx_axis(axis: int, rank: int) -> int:
    """A dimension of the stored tensor, as ONNX has it."""
    axis %= max(rank, 1)
    return NCHW.index(axis) if rank == 4 else axis


def pads_of(padding: int, size: Sequence[int], output: Sequence[int], kernel, stride, dilation) -> list[int]:
    """top, left, bottom, right of TensorFlow's SAME or VALID."""
    if padding == schema.Padding.VALID:
        return [0, 0, 0, 0]
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    totals = [max((o - 1) * s + r - i, 0) for o, s, r, i in zip(output, stride, reach, size, strict=True)]
    begins = [total // 2 for total in totals]
    return [*begins, *(total - begin for total, begin in zip(totals, begins, strict=True))]


def _conv(w: Writer, op: Operator, order: Sequence[int], group: int) -> None:
    x, weight, bias = op.inputs[0], op.inputs[1], op.optional(2)
    options, output = op.options, op.output
    content(weight, "weights")
    stride = options.strideH, options.strideW
    dilation = options.dilationHFactor, options.dilationWFactor
    kernel = weight.shape[1:3]
    pads = pads_of(options.padding, x.shape[1:3], output.shape[1:3], kernel, stride, dilation)
    inputs = [w.real(x), w.weight(weight, order), *([w.real(bias)] if bias is not None else [])]
    y = w.add("Conv", inputs, strides=stride, dilations=dilation, pads=pads, group=group, kernel_shape=kernel)
    w.write(output, activated(w, y, options.fusedActivationFunction))


@translates("CONV_2D")
def conv(w: Writer, op: Operator) -> None:
    x, weight = op.inputs[:2]
    if x.shape[3] % weight.shape[3]:
        raise UnsupportedError(f"{x.shape[3]} channels for weights of {weight.shape[3]}")
    _conv(w, op, NCHW, x.shape[3] // weight.shape[3])


@translates("DEPTHWISE_CONV_2D")
def depthwise_conv(w: Writer, op: Operator) -> None:
    """Weights [1, H, W, C * multiplier] are [C * multiplier, 1, H, W] here."""
    _conv(w, op, (3, 0, 1, 2), op.inputs[0].shape[3])


@translates("TRANSPOSE_CONV")
def transpose_conv(w: Writer, op: Operator) -> None:
    """Weights are [O, H, W, C] there and [C, O, H, W] here; the pads are those of the convolution the other way."""
    weight, x, bias = op.inputs[1], op.inputs[2], op.optional(3)
    options, output = op.options, op.output
    content(weight, "weights")
    stride, kernel = (options.strideH, options.strideW), weight.shape[1:3]
    pads = pads_of(options.padding, output.shape[1:3], x.shape[1:3], kernel, stride, (1, 1))
    full = [(i - 1) * s + k for i, s, k in zip(x.shape[1:3], stride, kernel, strict=True)]
    covered = [f - a - b for f, a, b in zip(full, pads[:2], pads[2:], strict=True)]
    missing = [o - c for o, c in zip(output.shape[1:3], covered, strict=True)]
    inputs = [w.real(x), w.weight(weight, (3, 0, 1, 2)), *([w.real(bias)] if bias is not None else [])]
    y = w.add("ConvTranspose", inputs, strides=stride, pads=pads, output_padding=missing, kernel_shape=kernel)
    w.write(output, activated(w, y, options.fusedActivationFunction))


@translates("FULLY_CONNECTED")
def fully_connected(w: Writer, op: Operator) -> None:
    """Rows of the last dimension; an image's values are in another order here, and so are the weights."""
    x, weight, bias = op.inputs[0], op.inputs[1], op.optional(2)
    output = op.output
    rows = content(weight, "weights")
    require_rank(weight, 2)
    columns = rows.shape[1]
    if x.rank == 4 and math.prod(x.shape[1:]) == columns:
        image = rows.reshape(-1, *x.shape[1:]).transpose(0, 3, 1, 2).reshape(rows.shape)
        flat = w.add("Flatten", [w.real(x)])
        value = w.weight(weight, None, image) if _is_row_wise(weight) else w.weight(weight, None)
    else:
        flat = w.add("Reshape", [w.straight(x), w.ints([-1 if x.rank != 2 else x.shape[0], columns])])
        flat = w.real(x) if x.rank == 2 and x.shape[1] == columns else flat
        value = w.weight(weight)
    inputs = [flat, value, *([w.real(bias)] if bias is not None else [])]
    y = activated(w, w.add("Gemm", inputs, transB=1), op.options.fusedActivationFunction)
    if output.rank == 2:
        w.write(output, y)
    else:
        w.write_straight(output, w.add("Reshape", [y, w.ints(output.shape)]))


def _is_row_wise(weight: Tensor) -> bool:
    return weight.quantization is None or weight.quantization.is_single or weight.quantization.axis == 0


@translates("BATCH_MATMUL")
def batch_matmul(w: Writer, op: Operator) -> None:
    sides = []
    for tensor, swapped in zip(op.inputs, (op.options.adjX, op.options.adjY), strict=True):
        value, axes = w.straight(tensor), list(range(tensor.rank))
        axes[-2:] = axes[:-3:-1]
        sides.append(w.add("Transpose", [value], perm=axes) if swapped else value)
    w.write_straight(op.output, w.add("MatMul", sides))


@translates("AVERAGE_POOL_2D", "MAX_POOL_2D")
def pool(w: Writer, op: Operator) -> None:
    x, output, options = op.inputs[0], op.output, op.options
    kernel, stride = (options.filterHeight, options.filterWidth), (options.strideH, options.strideW)
    pads = pads_of(options.padding, x.shape[1:3], output.shape[1:3], kernel, stride, (1, 1))
    kind = {"AVERAGE_POOL_2D": "AveragePool", "MAX_POOL_2D": "MaxPool"}[op.kind]
    y = w.add(kind, [w.real(x)], kernel_shape=kernel, strides=stride, pads=pads)
    w.write(output, activated(w, y, options.fusedActivationFunction))


BINARY = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div", "MAXIMUM": "Max", "MINIMUM": "Min", "POW": "Pow"}


@translates(*BINARY, "SQUARED_DIFFERENCE")
def binary(w: Writer, op: Operator) -> None:
    output = op.output
    sides = [_of_rank(w, tensor, output.rank) for tensor in op.inputs]
    if op.kind == "SQUARED_DIFFERENCE":
        gap = w.add("Sub", sides)
        y = w.add("Mul", [gap, gap])
    else:
        y = w.add(BINARY[op.kind], sides)
    w.write(output, activated(w, y, getattr(op.options, "fusedActivationFunction", NONE)))


def _of_rank(w: Writer, tensor: Tensor, rank: int) -> str:
    """The operand with ones in front, in the order of the output's dimensions."""
    if tensor.rank == rank or rank != 4 or tensor.rank == 0:
        return w.real(tensor)
    if tensor.data is not None:
        data = tensor.data.reshape((1,) * (4 - tensor.rank) + tensor.shape)
        return w.weight(tensor, NCHW, data)
    shape = (1,) * (4 - tensor.rank) + tensor.shape
    return w.add("Transpose", [w.add("Reshape", [w.real(tensor), w.ints(shape)])], perm=NCHW)


@translates("CONCATENATION")
def concatenation(w: Writer, op: Operator) -> None:
    axis = onnx_axis(checked_axis(op.options.axis, op.output.rank), op.output.rank)
    y = w.add("Concat", [w.real(x) for x in op.inputs], axis=axis)
    w.write(op.output, activated(w, y, op.options.fusedActivationFunction))


@translates("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def reshape(w: Writer, op: Operator) -> None:
    x, output = op.inputs[0], op.output
    if x.rank == 4 and output.rank == 2 and x.shape[1:3] == (1, 1) and x.shape[0] == output.shape[0]:
        w.write(output, w.add("Flatten", [w.real(x)]))
        return
    w.write_straight(output, w.add("Reshape", [w.straight(x), w.ints(output.shape)]))


UNARY = {
    **{"ABS": "Abs", "CEIL": "Ceil", "COS": "Cos", "EXP": "Exp", "FLOOR": "Floor", "LOG": "Log", "NEG": "Neg"},
    **{"LOGISTIC": "Sigmoid", "RELU": "Relu", "SIN": "Sin", "SQRT": "Sqrt", "TANH": "Tanh", "ELU": "Elu"},
    **{"QUANTIZE": "Identity", "DEQUANTIZE": "Identity", "HARD_SWISH": "HardSwish", "ROUND": "Round"},
}


@translates(*UNARY)
def unary(w: Writer, op: Operator) -> None:
    w.write(op.output, w.add(UNARY[op.kind], [w.real(op.inputs[0])]))


@translates("SQUARE")
def square(w: Writer, op: Operator) -> None:
    w.write(op.output, w.add("Mul", [w.real(op.inputs[0])] * 2))


@translates("RSQRT")
def rsqrt(w: Writer, op: Operator) -> None:
    w.write(op.output, w.add("Reciprocal", [w.add("Sqrt", [w.real(op.inputs[0])])]))


@translates("RELU6", "RELU_N1_TO_1")
def clamp(w: Writer, op: Operator) -> None:
    low, high = {"RELU6": (0, 6), "RELU_N1_TO_1": (-1, 1)}[op.kind]
    w.write(op.output, clipped(w, w.real(op.inputs[0]), low, high))


@translates("LEAKY_RELU")
def leaky_relu(w: Writer, op: Operator) -> None:
    w.write(op.output, w.add("LeakyRelu", [w.real(op.inputs[0])], alpha=float(op.options.alpha)))


@translates("PRELU")
def prelu(w: Writer, op: Operator) -> None:
    x, slope = op.inputs[:2]
    w.write(op.output, w.add("PRelu", [w.real(x), _of_rank(w, slope, x.rank)]))


@translates("SOFTMAX", "LOG_SOFTMAX")
def softmax(w: Writer, op: Operator) -> None:
    """Along the last dimension."""
    x, output = op.inputs[0], op.output
    beta = op.options.beta if op.kind == "SOFTMAX" else 1.0
    value = w.real(x) if beta == 1 else w.add("Mul", [w.real(x), w.constant(np.float32(beta))])
    kind = {"SOFTMAX": "Softmax", "LOG_SOFTMAX": "LogSoftmax"}[op.kind]
    w.write(output, w.add(kind, [value], axis=onnx_axis(-1, x.rank)))


@translates("L2_NORMALIZATION")
def l2_normalization(w: Writer, op: Operator) -> None:
    x, output = op.inputs[0], op.output
    y = w.add("LpNormalization", [w.real(x)], axis=onnx_axis(-1, x.rank), p=2)
    w.write(output, activated(w, y, op.options.fusedActivationFunction))


@translates("PAD", "PADV2", "MIRROR_PAD")
def pad(w: Writer, op: Operator) -> None:
    x = op.inputs[0]
    widths = content(op.inputs[1], "pads", 2 * x.rank).reshape(x.rank, 2)
    order = NCHW if x.rank == 4 else tuple(range(x.rank))
    pads = [int(widths[axis, side]) for side in (0, 1) for axis in order]
    inputs, mode = [w.real(x), w.ints(pads)], "constant"
    if op.kind == "PADV2":
        inputs.append(w.add("Reshape", [w.real(op.inputs[2]), w.ints([])]))
    elif op.kind == "MIRROR_PAD":
        if op.options.mode != schema.MirrorPadMode.REFLECT:
            raise UnsupportedError("symmetric padding")
        mode = "reflect"
    w.write(op.output, w.add("Pad", inputs, mode=mode))


REDUCTIONS = {
    "MEAN": "ReduceMean",
    "SUM": "ReduceSum",
    "REDUCE_MAX": "ReduceMax",
    "REDUCE_MIN": "ReduceMin",
    "REDUCE_PROD": "ReduceProd",
}


@translates(*REDUCTIONS)
def reduction(w: Writer, op: Operator) -> None:
    """Means of whole maps are global poolings."""
    x, output = op.inputs[0], op.output
    axes = sorted({checked_axis(int(axis), x.rank) for axis in content(op.inputs[1], "axes").ravel()})
    if op.kind == "MEAN" and x.rank == 4 and axes == [1, 2]:
        y = w.add("GlobalAveragePool", [w.real(x)])
        w.write(output, y if output.rank == 4 else w.add("Flatten", [y]))
        return
    y = w.add(REDUCTIONS[op.kind], [w.straight(x), w.ints(axes)], keepdims=int(op.options.keepDims))
    w.write_straight(output, y)


@translates("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def resize(w: Writer, op: Operator) -> None:
    x, output, options = op.inputs[0], op.output, op.options
    linear = op.kind == "RESIZE_BILINEAR"
    where = "align_corners" if options.alignCorners else "half_pixel" if options.halfPixelCenters else "asymmetric"
    nearest = "round_prefer_ceil" if options.alignCorners or options.halfPixelCenters else "floor"
    sizes = w.ints([output.shape[axis] for axis in NCHW])
    y = w.add(
        "Resize",
        [w.real(x), "", "", sizes],
        mode="linear" if linear else "nearest",
        coordinate_transformation_mode=where,
        nearest_mode=None if linear else nearest,
    )
    w.write(output, y)


@translates("TRANSPOSE")
def transpose(w: Writer, op: Operator) -> None:
    perm = [int(axis) for axis in content(op.inputs[1], "axes", op.inputs[0].rank)]
    w.write_straight(op.output, w.add("Transpose", [w.straight(op.inputs[0])], perm=perm))


@translates("SLICE")
def slice_(w: Writer, op: Operator) -> None:
    x, output = op.inputs[0], op.output
    begins = [int(begin) for begin in content(op.inputs[1], "bounds", x.rank)]
    _sliced(w, x, output, begins, [begin + size for begin, size in zip(begins, output.shape, strict=True)])


@translates("STRIDED_SLICE")
def strided_slice(w: Writer, op: Operator) -> None:
    x, output, options = op.inputs[0], op.output, op.options
    if options.ellipsisMask or options.newAxisMask:
        raise UnsupportedError("an ellipsis or a new axis")
    begins, ends, steps = ([int(v) for v in content(tensor, "bounds", x.rank)] for tensor in op.inputs[1:4])
    bounds = []
    for axis, (begin, end, step) in enumerate(zip(begins, ends, steps, strict=True)):
        shrunk = options.shrinkAxisMask >> axis & 1
        first = None if options.beginMask >> axis & 1 else begin
        last = None if options.endMask >> axis & 1 else end
        if shrunk:
            first, last, step = begin, begin + 1 if begin != -1 else None, 1
        bounds.append(slice(first, last, step).indices(x.shape[axis]))
    if any(step < 1 for _, _, step in bounds):
        raise UnsupportedError("steps backwards")
    axes = [onnx_axis(axis, x.rank) for axis in range(len(bounds))]
    y = w.add("Slice", [w.real(x), *(w.ints(part) for part in (*list(zip(*bounds, strict=True))[:2], axes)),
                        w.ints([step for _, _, step in bounds])])  # fmt: skip
    if not options.shrinkAxisMask:
        w.write(output, y)
        return
    y = w.add("Transpose", [y], perm=NHWC) if x.rank == 4 else y
    w.write_straight(output, w.add("Reshape", [y, w.ints(output.shape)]))


def _sliced(w: Writer, x: Tensor, output: Tensor, begins: Sequence[int], ends: Sequence[int]) -> None:
    axes = [axis for axis in range(x.rank) if (begins[axis], ends[axis]) != (0, x.shape[axis])]
    bounds = [[values[axis] for axis in axes] for values in (begins, ends)]
    places = [onnx_axis(axis, x.rank) for axis in axes]
    value = w.real(x)
    w.write(output, w.add("Slice", [value, *map(w.ints, (*bounds, places))]) if axes else w.add("Identity", [value]))


@translates("SPLIT", "SPLIT_V")
def split(w: Writer, op: Operator) -> None:
    x, axis = (op.inputs[1], op.inputs[0]) if op.kind == "SPLIT" else (op.inputs[0], op.inputs[2])
    along = axis_of(axis, x.rank)
    start = 0
    for output in op.outputs:
        begins, ends = [0] * x.rank, list(x.shape)
        begins[along], ends[along] = start, start + output.shape[along]
        start = ends[along]
        _sliced(w, x, output, begins, ends)


@translates("PACK")
def pack(w: Writer, op: Operator) -> None:
    output = op.output
    axis = checked_axis(op.options.axis, output.rank)
    parts = [w.add("Unsqueeze", [w.straight(x), w.ints([axis])]) for x in op.inputs]
    w.write_straight(output, w.add("Concat", parts, axis=axis))


@translates("UNPACK")
def unpack(w: Writer, op: Operator) -> None:
    x = op.inputs[0]
    axis, value = checked_axis(op.options.axis, x.rank), w.straight(x)
    for index, output in enumerate(op.outputs):
        part = w.add("Slice", [value, w.ints([index]), w.ints([index + 1]), w.ints([axis])])
        w.write_straight(output, w.add("Squeeze", [part, w.ints([axis])]))


@translates("GATHER")
def gather(w: Writer, op: Operator) -> None:
    x, indices = op.inputs[:2]
    places = w.constant(indices.data.astype(np.int64)) if indices.data is not None else w.straight(indices)
    w.write_straight(op.output, w.add("Gather", [w.straight(x), places], axis=checked_axis(op.options.axis, x.rank)))


@translates("ARG_MAX", "ARG_MIN")
def arg_max(w: Writer, op: Operator) -> None:
    x = op.inputs[0]
    kind = {"ARG_MAX": "ArgMax", "ARG_MIN": "ArgMin"}[op.kind]
    y = w.add(kind, [w.straight(x)], axis=axis_of(op.inputs[1], x.rank), keepdims=0)
    w.write_straight(op.output, y)


@translates("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def depth_to_space(w: Writer, op: Operator) -> None:
    kind = {"DEPTH_TO_SPACE": "DepthToSpace", "SPACE_TO_DEPTH": "SpaceToDepth"}[op.kind]
    w.write(op.output, w.add(kind, [w.real(op.inputs[0])], blocksize=op.options.blockSize))


@translates("CAST")
def cast(w: Writer, op: Operator) -> None:
    """Of bytes that stand for real values, the bytes themselves are meant."""
    x, output = op.inputs[0], op.output
    value = w.real(x)
    if x.quantization is not None and x.dtype in BYTES:
        scale, zero_point = single(x)
        value = w.add("Add", [w.add("Div", [value, w.constant(scale)]), w.constant(zero_point)])
    if output.quantization is not None and output.dtype in BYTES:
        scale, zero_point = single(output)
        if (real := quantized_in_floats(w, value, scale)) is not None:
            w.write(output, real)
            return
        w.write(output, w.add("Mul", [w.add("Sub", [value, w.constant(zero_point)]), w.constant(scale)]))
        return
    w.write(output, w.add("Cast", [value], to=helper.np_dtype_to_tensor_dtype(output.dtype)))


def quantized_in_floats(w: Writer, value: str, scale: np.ndarray) -> str | None:
    """What was quantized at this scale by the float operators that `to-tflite` writes for Int8Quantize, if it was."""
    writers = {node.output[0]: node for node in w.nodes}
    held = {tensor.name: tensor for tensor in w.initializers}
    constant = ""
    for kind in ("Sub", "Add", "Min", "Max", "Div"):
        node = writers.get(value)
        if node is None or node.op_type != kind or node.input[1] not in held:
            return None
        value, constant = node.input
    return value if numpy_helper.to_array(held[constant]) == scale else None


def single(tensor: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """The one scale and zero point of a tensor, float32."""
    if tensor.quantization is None or not tensor.quantization.is_single:
        raise UnsupportedError(f"{tensor}: a scale for each channel of what is no weight")
    return tensor.quantization.scale.reshape(()), tensor.quantization.zero_point.reshape(()).astype(np.float32)


# How many inputs and outputs operators have, where that is not one; the ranks of images; those without options.
INPUTS = {
    **dict.fromkeys((*BINARY, "SQUARED_DIFFERENCE", "BATCH_MATMUL", "PRELU", "PAD", "MIRROR_PAD", "GATHER"), 2),
    **dict.fromkeys((*REDUCTIONS, "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE", "ARG_MAX", "ARG_MIN"), 2),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SPLIT"), 2),
    **dict.fromkeys(("TRANSPOSE_CONV", "PADV2", "SLICE", "SPLIT_V"), 3),
    "STRIDED_SLICE": 4,
}
IMAGES = {
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESIZE_BILINEAR"), 0),
    **dict.fromkeys(("RESIZE_NEAREST_NEIGHBOR", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH"), 0),
    "TRANSPOSE_CONV": 2,
}
WITH_OPTIONS = {
    *IMAGES.keys(),
    *("FULLY_CONNECTED", "BATCH_MATMUL", "CONCATENATION", "LEAKY_RELU", "SOFTMAX", "L2_NORMALIZATION", "MIRROR_PAD"),
    *REDUCTIONS,
    *("STRIDED_SLICE", "PACK", "UNPACK", "GATHER"),
}


def require_rank(tensor: Tensor, rank: int) -> None:
    if tensor.rank != rank:
        raise ModelError(f"{tensor} has {tensor.rank} dimensions; expected {rank}")


def require_form(op: Operator) -> None:
    """Raises ModelError for an operator whose inputs, outputs or options are not what the schema says."""
    if len(op.inputs) < INPUTS.get(op.kind, 1) or not op.outputs:
        raise ModelError(f"{op}: {len(op.inputs)} inputs, {len(op.outputs)} outputs")
    if op.kind in WITH_OPTIONS and op.options is None:
        raise ModelError(f"{op}: its options are missing")
    if op.kind in IMAGES:
        require_rank(op.inputs[IMAGES[op.kind]], 4)
        require_rank(op.output, 4)
    if "CONV" in op.kind:
        require_rank(op.inputs[1], 4)


def require_translation(op: Operator) -> None:
    """Raises UnsupportedError for an operator that is not known."""
    if op.kind not in TRANSLATIONS:
        raise UnsupportedError("no translation of it is known")


def translate(w: Writer, op: Operator) -> None:
    """Write an operator that is known. Raises UnsupportedError where it is not, with these options."""
    require_form(op)
    TRANSLATIONS[op.kind](w, op)
