"""Which operators the kernels compute, and how each becomes steps of a program.

One function per operator, registered under its names. It gets a Step of the net and the values of those
inputs that are constant; it returns a Kernel, or None where the kernels do not cover this use and the
operator's own `compute` runs.
"""

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe2_models import int8
from caffe2_models.kernels import _int8
from caffe2_models.net import Step
from caffe2_models.operators.window import Fit
from caffe2_models.tensors import Int8Tensor, TensorType, Value

Constants = list[Value | None]

LARGEST_ADD_SHIFT = 32  # beyond it every sum rounds to zero, as at 32
MAX_MOVED = 1 << 24  # bytes whose positions a plan keeps
PAIR_AXES = 4  # of what look_up_pairs writes


@dataclass(frozen=True)
class Kernel:
    """How a program computes an operator's first output; others must be known beforehand.

    reads: the operator's inputs that are buffers, by position. emit(program, reads, writes, workspaces) adds
    the steps, buffers given by number; without it the output is the input's bytes. workspaces: bytes of each
    buffer that it needs besides. in_place: element i of the output depends on element i of the inputs alone.
    """

    emit: Callable | None
    reads: tuple[int, ...] = (0,)
    workspaces: tuple[int, ...] = ()
    in_place: bool = False


def call(method: str, *arguments, reads: tuple[int, ...] = (0,), in_place: bool = False) -> Kernel:
    """The kernel that is one call of a program's method: method(*reads, *writes, *arguments)."""

    def emit(program, reads, writes, workspaces):
        getattr(program, method)(*reads, *writes, *arguments)

    return Kernel(emit, reads, in_place=in_place)


KERNELS: dict[str, Callable[[Step, Constants], Kernel | None]] = {}


def kernel(*types: str):
    """Register a function under operators' names."""

    def register(function):
        KERNELS.update(dict.fromkeys(types, function))
        return function

    return register


def find_kernel(step: Step, constants: Constants) -> Kernel | None:
    """The kernel of an operator at its moment, or None."""
    node = step.node
    if node.type not in KERNELS or any(t.size == 0 for t in [*step.inputs, *step.outputs]):
        return None
    with node.context():
        return KERNELS[node.type](step, constants)


# ---------------------------------------------------------------------------------- layers with weights


@kernel("Int8Conv", "Int8ConvRelu")
def convolution(step, constants):
    operator, (images, height, width, channels) = step.node.operator, step.inputs[0].shape
    window = make_window(images, height, width, operator.window.fit(height, width))
    return layer(step, constants, window, channels, operator.group)


@kernel("Int8FC")
def fully_connected(step, constants):
    rows, *inner = step.inputs[0].shape
    pixel = Fit((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), (rows, 1))
    return layer(step, constants, make_window(1, rows, 1, pixel), math.prod(inner), 1)


def layer(step: Step, constants: Constants, window, channels: int, groups: int) -> Kernel | None:
    """A convolution, or a fully connected layer as a convolution of one pixel."""
    weight, bias = constants[1], bias_of(constants)
    if not isinstance(weight, Int8Tensor) or bias is None or not fits_int32(weight, bias):
        return None
    arguments = (window, channels, groups, weight.data, bias, *rounding_arguments(step, weight))
    workspaces = padding(window, channels, len(bias), groups)

    def emit(program, reads, writes, workspaces):
        program.convolution(*reads, *writes, *(workspaces or [-1]), *arguments)

    return Kernel(emit, workspaces=workspaces)


def bias_of(constants: Constants) -> np.ndarray | None:
    return constants[2].data if isinstance(constants[2], Int8Tensor) else constants[2]


def rounding_arguments(step: Step, weight: Int8Tensor) -> tuple:
    """(weight's zero point, input's zero point, requantization)"""
    operator: Any = step.node.operator
    x_scale, x_zero_point = step.inputs[0].quantization()
    scale = int8.requantization_scale(x_scale, weight.scale, operator.Y_scale)
    return weight.zero_point, x_zero_point, _int8.Requantization(scale, operator.Y_zero_point, lowest(operator))


def padding(window, *sizes: int) -> tuple[int, ...]:
    """The workspace of a convolution: its padded input, where it needs one."""
    padded = _int8.padded_bytes(window, *sizes)
    return (padded,) if padded else ()


@kernel("Int8ConvTranspose")
def transposed_convolution(step, constants):
    """A convolution that makes the pixels of each stride as channels, then those channels as pixels.

    Along an axis of stride s, kernel k and pad p, output pixel o is phase a = (o + p) % s of place q = (o + p) // s:
        y[o] = sum over m of x[q - m] * w[a + s * m],
    for each phase a convolution of ceil(k / s) taps, the last of them first.
    """
    weight, bias = constants[1], bias_of(constants)
    if not isinstance(weight, Int8Tensor) or bias is None:
        return None
    operator, (images, *size, channels), output = step.node.operator, step.inputs[0].shape, step.outputs[0].shape[1:3]
    stride, pads = operator.window.stride, operator.window.pads[:2]
    weights, biases = in_phases(weight, bias, stride)
    taps = weights.data.shape[1:3]
    cut = [min(p // s, m - 1) for p, s, m in zip(pads, stride, taps, strict=True)]  # places of which pads leave nothing
    made = tuple((o - 1 + p) // s - c + 1 for o, p, s, c in zip(output, pads, stride, cut, strict=True))
    made_bytes = images * math.prod(made) * len(biases)
    if made_bytes >= 1 << 31 or images * math.prod(output) > MAX_MOVED or not fits_int32(weights, biases):
        return None
    before = tuple(m - 1 - c for m, c in zip(taps, cut, strict=True))
    window = _int8.Window(images, tuple(size), made, taps, (1, 1), (1, 1), before)
    arguments = (window, channels, 1, weights.data, biases, *rounding_arguments(step, weight))
    padded = padding(window, channels, len(biases), 1)
    if made == output and len(biases) == len(bias):

        def emit(program, reads, writes, workspaces):
            program.convolution(*reads, *writes, *(workspaces or [-1]), *arguments)

        return Kernel(emit, workspaces=padded)
    offsets = [p - c * s for p, s, c in zip(pads, stride, cut, strict=True)]
    pixels = pixel_starts(made, output, stride, offsets) * len(bias)
    run = len(bias)
    if offsets[1] == 0 and output[1] % stride[1] == 0:  # the phases of a place are neighbours
        pixels, run = pixels[:, :: stride[1]], run * stride[1]
    starts = np.add.outer(np.arange(images) * (made_bytes // images), pixels).astype(np.int32).ravel()

    def emit_both(program, reads, writes, workspaces):
        *pad, between = workspaces
        program.convolution(*reads, between, *(pad or [-1]), *arguments)
        program.gather(between, *writes, run, starts)

    return Kernel(emit_both, workspaces=(*padded, made_bytes))


def pixel_starts(made: tuple[int, int], output: tuple[int, int], stride: tuple[int, int], offsets) -> np.ndarray:
    """Where each pixel [*output] is among [*made, *stride], whose places times strides begin `offsets` before it."""
    rows, columns = (np.arange(o) + before for o, before in zip(output, offsets, strict=True))
    row_starts = (rows // stride[0] * made[1] * stride[0] + rows % stride[0]) * stride[1]
    column_starts = columns // stride[1] * math.prod(stride) + columns % stride[1]
    return np.add.outer(row_starts, column_starts)


def in_phases(weight: Int8Tensor, bias: np.ndarray, stride: tuple[int, int]) -> tuple[Int8Tensor, np.ndarray]:
    """A transposed convolution's weight [C, kh, kw, O] as that of `transposed_convolution`, and its bias.

    [sh * sw * O, ceil(kh / sh), ceil(kw / sw), C]: of phase (a, b), tap (i, j) from the last is w[:, a + sh * i,
    b + sw * j]; where there is none, zero.
    """
    known = _IN_PHASES.get(weight)
    if known is None or known[0] != stride or known[1] is not bias:
        (sh, sw), (channels, kh, kw, outputs) = stride, weight.data.shape
        mh, mw = -(-kh // sh), -(-kw // sw)
        whole = np.full((channels, mh * sh, mw * sw, outputs), weight.zero_point, np.uint8)
        whole[:, :kh, :kw] = weight.data
        taps = whole.reshape(channels, mh, sh, mw, sw, outputs)[:, ::-1, :, ::-1]
        data = np.ascontiguousarray(taps.transpose(2, 4, 5, 1, 3, 0)).reshape(sh * sw * outputs, mh, mw, channels)
        made = Int8Tensor(data, weight.scale, weight.zero_point), np.tile(bias, sh * sw)
        known = _IN_PHASES[weight] = (stride, bias, *made)
    return known[2], known[3]


# By the weight itself: a net is compiled anew for each number of images.
_IN_PHASES: weakref.WeakKeyDictionary[Int8Tensor, tuple] = weakref.WeakKeyDictionary()


def fits_int32(weight: Int8Tensor, bias: np.ndarray) -> bool:
    """Whether no partial sum of a layer can leave int32, however the kernels split it; weight is [O, ...]."""
    if weight not in _LARGEST_SUMS:
        _LARGEST_SUMS[weight] = _largest_sums(weight)
    return bool((_LARGEST_SUMS[weight] + np.abs(bias.astype(np.int64))).max(initial=0) < 1 << 31)


def _largest_sums(weight: Int8Tensor) -> np.ndarray:
    """What the partial sums of each output channel stay below, int64 [O]."""
    weights = weight.data.reshape(len(weight.data), -1).astype(np.int64)
    spread = np.abs(weights - 128).sum(axis=1) + weights.shape[1] * abs(128 - weight.zero_point)
    return 255 * (spread + np.abs(weights - weight.zero_point).sum(axis=1))


# By the weight itself: a net is compiled anew for each number of regions.
_LARGEST_SUMS: weakref.WeakKeyDictionary[Int8Tensor, np.ndarray] = weakref.WeakKeyDictionary()


def make_window(images: int, height: int, width: int, fit: Fit):
    """Where a window's taps lie; the pads at the far end follow from the output's size."""
    before = fit.pads[:2]
    return _int8.Window(images, (height, width), fit.output, fit.kernel, fit.stride, fit.dilation, before)


def lowest(operator) -> int:
    """The least byte of the output."""
    return operator.Y_zero_point if operator.relu else 0


# ---------------------------------------------------------------------------------------------- pooling


@kernel("Int8AveragePool", "Int8AveragePoolRelu")
def average_pool(step, constants):
    operator, x = step.node.operator, step.inputs[0]
    images, height, width, channels = x.shape
    fit = operator.window.fit(height, width)
    factors = int8.average_multiplier(fit.area, x.scale, operator.Y_scale)
    window = make_window(images, height, width, fit)
    return call("average", window, channels, x.zero_point, *factors, operator.Y_zero_point, lowest(operator))


@kernel("Int8MaxPool", "Int8MaxPoolRelu")
def max_pool(step, constants):
    operator = step.node.operator
    images, height, width, channels = step.inputs[0].shape
    window = make_window(images, height, width, operator.window.fit(height, width))
    return call("maximum", window, channels, lowest(operator))


# ------------------------------------------------------------------------------------------ elementwise


@kernel("Int8Add", "Int8AddRelu", "Int8Sum", "Int8SumRelu")
def add(step, constants):
    operator, (a, b) = step.node.operator, step.inputs
    a_multiplier, b_multiplier, shift = int8.add_multipliers(a.scale, b.scale, operator.Y_scale)
    factors = (a_multiplier, a.zero_point, b_multiplier, b.zero_point, min(shift, LARGEST_ADD_SHIFT))
    output = (operator.Y_zero_point, lowest(operator))
    return call("add", a.size, *factors, *output, reads=(0, 1), in_place=True)


@kernel("Int8Relu", "Int8LeakyRelu", "Int8Sigmoid")
def activation(step, constants):
    x = step.inputs[0]
    return look_up(x.size, step.node.operator.table(x.scale, x.zero_point))


def look_up(size: int, table: np.ndarray) -> Kernel:
    """A function of each byte; table is uint8[256]."""
    return call("look_up", size, table, in_place=True)


def look_up_floats(size: int, table: np.ndarray) -> Kernel:
    """A float32 function of each byte; table is float32[256]."""
    return call("look_up_floats", size, table)


def look_up_pairs(y: TensorType, x: TensorType, gate: TensorType, table: np.ndarray) -> Kernel | None:
    """A function of a byte of each of two tensors that broadcast to y; table is uint8[gate, byte]."""
    axes = shared_axes(y.shape, x.shape, gate.shape)
    if len(axes) > PAIR_AXES:
        return None
    padded = [(1, 0, 0)] * (PAIR_AXES - len(axes)) + axes
    return call("look_up_pairs", np.array(padded, np.int64).ravel(), table, reads=(0, 1))


def shared_axes(shape: tuple[int, ...], *inputs: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of each axis its extent and each input's pitch, 0 where that has one element for all; as few axes as may be."""
    pitches = []
    for given in inputs:
        extents = (1,) * (len(shape) - len(given)) + given
        pitches.append([0 if extents[i] == 1 else math.prod(extents[i + 1 :]) for i in range(len(shape))])
    axes: list[tuple[int, ...]] = []
    for extent, *own in zip(shape, *pitches, strict=True):
        if extent == 1:
            continue
        if axes and all(before == extent * pitch for before, pitch in zip(axes[-1][1:], own, strict=True)):
            axes[-1] = (axes[-1][0] * extent, *own)
        else:
            axes.append((extent, *own))
    return axes or [(1, *[0] * len(inputs))]


def average_floats(x: TensorType, fit: Fit, counts_padding: bool, table: np.ndarray) -> Kernel:
    """An AveragePool of a float32 function of each byte, NHWC; table is float32[256]."""
    images, height, width, channels = x.shape
    window = make_window(images, height, width, fit)
    return call("average_floats", window, channels, counts_padding, table)


@kernel("Int8Quantize")
def quantize(step, constants):
    y = step.outputs[0]
    return call("quantize", y.size, y.scale, y.zero_point)


def quantize_planes(x: TensorType, y: TensorType) -> Kernel:
    """NCHW2NHWC and Int8Quantize in one: float32 [N, C, ...] to uint8 [N, ..., C]."""
    images, channels, *pixels = x.shape
    return call("quantize_planes", images, channels, math.prod(pixels), y.scale, y.zero_point)


@kernel("Int8Dequantize")
def dequantize(step, constants):
    x = step.inputs[0]
    return call("dequantize", x.size, x.scale, x.zero_point)


@kernel("Int8Softmax")
def softmax(step, constants):
    x = step.inputs[0]
    rows, *inner = x.shape
    return call("softmax", rows, math.prod(inner), int8.softmax_table(x.scale, math.prod(inner)))


# -------------------------------------------------------------------------------------- moving of bytes


@kernel("Int8Flatten", "Int8Reshape")
def reshape(step, constants):
    return Kernel(emit=None)


@kernel("Int8ChannelShuffle", "Int8ResizeNearest", "Int8Slice", "Int8Transpose")
def move(step, constants):
    """Where each byte comes from is told by the operator itself, applied to the bytes' positions."""
    node, x = step.node, step.inputs[0]
    if x.size > MAX_MOVED or any(value is None for value in constants[1:]):
        return None
    images = x.shape[0] if node.operator.per_image else 1  # of which the first tells the others
    size = x.size // images
    positions = np.arange(size, dtype=np.int32).reshape(x.shape[0] // images, *x.shape[1:])
    rows = node.compute([Int8Tensor(positions, x.scale, x.zero_point), *constants[1:]])[0].data
    rows = rows.reshape(-1, step.outputs[0].shape[-1])
    if not (np.diff(rows, axis=1) == 1).all():
        rows = rows.reshape(-1, 1)
    starts = rows[:, 0] + size * np.arange(images, dtype=np.int32)[:, None]
    return call("gather", rows.shape[1], starts.ravel())


@kernel("Int8Concat")
def concat(step, constants):
    shape = step.outputs[0].shape
    axis = step.node.operator.along(len(shape))
    runs = [math.prod(x.shape[axis:]) for x in step.inputs]
    rows, pitch = math.prod(shape[:axis]), sum(runs)

    def emit(program, reads, writes, workspaces):
        offset = 0
        for read, run in zip(reads, runs, strict=True):
            program.copy(read, *writes, rows, run, 0, run, offset, pitch)
            offset += run

    return Kernel(emit, reads=tuple(range(len(runs))))
