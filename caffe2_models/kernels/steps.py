"""Which operators the kernels compute, and how each becomes steps of a program.

One function per operator, registered under its names. It gets a Step of the net and the values of those inputs that are
constant, and returns a Kernel; or None where the kernels do not cover this use, and the operator's own `compute` runs.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from caffe2_models import int8
from caffe2_models.kernels import _int8
from caffe2_models.net import Step
from caffe2_models.operators.window import Fit
from caffe2_models.tensors import Int8Tensor, TensorType, Value

Constants = list[Value | None]


@dataclass(frozen=True)
class Kernel:
    """How a program computes an operator.

    reads: the operator's inputs that are buffers, by position. emit(program, reads, writes, workspace) adds the steps;
    buffers are numbers. in_place: element i of the output depends on element i of the inputs alone. moves_nothing: the
    output is the input's bytes, and emit adds no step.
    """

    emit: Callable | None
    reads: tuple[int, ...] = (0,)
    workspace_bytes: int = 0
    in_place: bool = False
    moves_nothing: bool = False


KERNELS: dict[str, Callable[[Step, Constants], Kernel | None]] = {}


def kernel(*types: str):
    """Register a function under operators' names."""

    def register(function):
        KERNELS.update(dict.fromkeys(types, function))
        return function

    return register


def find_kernel(step: Step, constants: Constants) -> Kernel | None:
    """The kernel of an operator at its moment, or None."""
    node = step.operator
    if node.type not in KERNELS or any(t.size == 0 for t in [*step.inputs, *step.outputs]):
        return None
    with node.context():
        return KERNELS[node.type](step, constants)


# ------------------------------------------------------------------------------------------------- layers with weights


def fits_int32(weight: Int8Tensor, bias: np.ndarray) -> bool:
    """Whether no partial sum of a layer can leave int32, however the kernels split it; weight is [O, ...]."""
    weights = weight.data.reshape(len(bias), -1).astype(np.int64)
    spread = np.abs(weights - 128).sum(axis=1) + weights.shape[1] * abs(128 - weight.zero_point)
    constants = np.abs(bias.astype(np.int64)) + 255 * np.abs(weights - weight.zero_point).sum(axis=1)
    return bool((255 * spread + constants).max(initial=0) < 1 << 31)


def layer(step: Step, constants: Constants, window, channels: int, groups: int) -> Kernel | None:
    """A convolution, or a fully connected layer as a convolution of one pixel."""
    operator = step.operator.operator
    x, weight = step.inputs[0], constants[1]
    bias = constants[2].data if isinstance(constants[2], Int8Tensor) else constants[2]
    if weight is None or bias is None or not fits_int32(weight, bias):
        return None
    scale = int8.requantization_scale(x.scale, weight.scale, operator.Y_scale)
    lowest = operator.Y_zero_point if operator.relu else 0
    requantization = _int8.Requantization(scale, operator.Y_zero_point, lowest)

    def emit(program, reads, writes, workspace):
        program.convolution(reads[0], writes[0], workspace, window, channels, groups, weight.data, bias, weight.zero_point,
                            x.zero_point, requantization)  # fmt: skip

    return Kernel(emit, workspace_bytes=_int8.padded_bytes(window, channels, len(bias), groups))


@kernel("Int8Conv", "Int8ConvRelu")
def convolution(step, constants):
    operator, (images, height, width, channels) = step.operator.operator, step.inputs[0].shape
    window = make_window(images, height, width, operator.window.fit(height, width))
    return layer(step, constants, window, channels, operator.group)


@kernel("Int8FC")
def fully_connected(step, constants):
    rows, *inner = step.inputs[0].shape
    pixel = Fit((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (rows, 1))
    return layer(step, constants, make_window(1, rows, 1, pixel), math.prod(inner), 1)


def make_window(images: int, height: int, width: int, fit: Fit):
    return _int8.Window(images, (height, width), fit.output, fit.kernel, fit.stride, fit.dilation, fit.pads[:2])


# ------------------------------------------------------------------------------------------------------------- pooling


@kernel("Int8AveragePool", "Int8AveragePoolRelu")
def average_pool(step, constants):
    operator, x = step.operator.operator, step.inputs[0]
    images, height, width, channels = x.shape
    fit = operator.window.fit(height, width)
    multiplier, shift = int8.average_multiplier(fit.area, x.scale, operator.Y_scale)
    lowest = operator.Y_zero_point if operator.relu else 0

    def emit(program, reads, writes, workspace):
        program.average(reads[0], writes[0], make_window(images, height, width, fit), channels, x.zero_point, multiplier,
                        shift, operator.Y_zero_point, lowest)  # fmt: skip

    return Kernel(emit)


@kernel("Int8MaxPool", "Int8MaxPoolRelu")
def max_pool(step, constants):
    operator = step.operator.operator
    images, height, width, channels = step.inputs[0].shape
    window = make_window(images, height, width, operator.window.fit(height, width))
    lowest = operator.Y_zero_point if operator.relu else 0
    return Kernel(lambda program, reads, writes, workspace: program.maximum(reads[0], writes[0], window, channels, lowest))


# --------------------------------------------------------------------------------------------------------- elementwise


@kernel("Int8Add", "Int8AddRelu", "Int8Sum", "Int8SumRelu")
def add(step, constants):
    operator, (a, b) = step.operator.operator, step.inputs
    a_multiplier, b_multiplier, shift = int8.add_multipliers(a.scale, b.scale, operator.Y_scale)
    lowest = operator.Y_zero_point if operator.relu else 0

    def emit(program, reads, writes, workspace):
        program.add(*reads, writes[0], a.size, a_multiplier, a.zero_point, b_multiplier, b.zero_point, min(shift, 32),
                    operator.Y_zero_point, lowest)  # fmt: skip

    return Kernel(emit, reads=(0, 1), in_place=True)


@kernel("Int8Relu", "Int8LeakyRelu", "Int8Sigmoid")
def activation(step, constants):
    x = step.inputs[0]
    return look_up(x.size, step.operator.operator.table(x.scale, x.zero_point))


def look_up(size: int, table: np.ndarray) -> Kernel:
    """A function of each byte; table is uint8[256]."""
    return Kernel(lambda program, reads, writes, workspace: program.look_up(reads[0], writes[0], size, table), in_place=True)


@kernel("Int8Quantize")
def quantize(step, constants):
    y = step.outputs[0]
    return Kernel(lambda program, reads, writes, workspace: program.quantize(reads[0], writes[0], y.size, y.scale, y.zero_point))


def quantize_planes(x: TensorType, y: TensorType) -> Kernel:
    """NCHW2NHWC and Int8Quantize in one: float32 [N, C, ...] to uint8 [N, ..., C]."""
    images, channels, *pixels = x.shape

    def emit(program, reads, writes, workspace):
        program.quantize_planes(reads[0], writes[0], images, channels, math.prod(pixels), y.scale, y.zero_point)

    return Kernel(emit)


@kernel("Int8Dequantize")
def dequantize(step, constants):
    x = step.inputs[0]
    return Kernel(lambda program, reads, writes, workspace: program.dequantize(reads[0], writes[0], x.size, x.scale, x.zero_point))


@kernel("Int8Softmax")
def softmax(step, constants):
    x = step.inputs[0]
    rows, row = x.shape[0], x.size // x.shape[0]
    table = int8.softmax_table(x.scale, row)
    return Kernel(lambda program, reads, writes, workspace: program.softmax(reads[0], writes[0], rows, row, table))


# ------------------------------------------------------------------------------------------------------- moving of bytes


@kernel("Int8Flatten", "Int8Reshape")
def reshape(step, constants):
    return Kernel(None, moves_nothing=True) if len(step.outputs) == 1 else None


@kernel("Int8ChannelShuffle")
def channel_shuffle(step, constants):
    operator, x = step.operator.operator, step.inputs[0]
    if operator.order != "NHWC":
        return None
    channels, groups = x.shape[-1], operator.group
    return Kernel(lambda program, reads, writes, workspace: program.transpose(
        reads[0], writes[0], x.size // channels, groups, channels // groups, 1))  # fmt: skip


@kernel("Int8Concat")
def concat(step, constants):
    if len(step.outputs) != 1:
        return None
    operator, (y,) = step.operator.operator, step.outputs
    axis = operator.along(len(step.inputs[0].shape))
    runs = [math.prod(x.shape[axis:]) for x in step.inputs]
    pitch, rows = sum(runs), math.prod(y.shape[:axis])

    def emit(program, reads, writes, workspace):
        offset = 0
        for read, run in zip(reads, runs, strict=True):
            program.copy(read, writes[0], rows, run, 0, run, offset, pitch)
            offset += run

    return Kernel(emit, reads=tuple(range(len(runs))))
