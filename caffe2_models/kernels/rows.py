"""Float image nets of few channels on kernels of our own, in one pass over the rows of an image (rows.h).

Which operators these kernels compute, one function for each, and which operators in a row of a net they take.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from caffe2_models.kernels import _int8
from caffe2_models.kernels.graph import Graph
from caffe2_models.net import Part, Step
from caffe2_models.operators.largest import LANES
from caffe2_models.operators.window import Fit, Window
from caffe2_models.tensors import TensorType, Value

Constants = list[Value | None]

UNPACK, PACK = "PackedInt8BGRANHWCToNCHWCStylizerPreprocess", "BRGNCHWCToPackedInt8BGRAStylizerDeprocess"

# Where convolutions are faster here than in ONNX Runtime (docs/speed.md). Its vectors go along channels.
MAX_CHANNELS = {"Conv": 24, "ConvRelu": 24, "ConvTranspose": 64}  # that they make
LEAST_MACS = 1 << 22  # of all of them together: below, what it takes to hand over images counts

# What a ring of rows may take.
MAX_EXTENT = 64  # rows and columns of a kernel, and of pads
MAX_STRIDE = 16
MAX_ROW = 1 << 18  # elements of a row of all channels


@dataclass(frozen=True, eq=False)
class Activation:
    """min(max(x < 0 ? x * slope : x, low), high); slopes: one for each channel, or None for 1."""

    slopes: np.ndarray | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def is_identity(self) -> bool:
        return self.slopes is None and math.isinf(self.low) and math.isinf(self.high)

    def compiled(self) -> Any:
        slopes = np.empty(0, np.float32) if self.slopes is None else self.slopes
        return _int8.Activation(slopes, self.low, self.high)


@dataclass(frozen=True, eq=False)
class Stage:
    """How a program computes an operator's rows.

    emit(program, reads, activation) adds its node and returns that one's number; reads: the operator's inputs that are
    nodes, by position. What is nothing but an activation goes into the stage before, where that takes one.
    """

    emit: Callable[[Any, list[int], Any], int]
    reads: tuple[int, ...] = (0,)
    activation: Activation | None = None
    is_activation: bool = False  # of one input, and nothing else


def stage(method: str, *arguments, reads: tuple[int, ...] = (0,)) -> Stage:
    """The stage that is one call of a program's method: method(*reads, *arguments)."""

    def emit(program, reads, activation):
        return getattr(program, method)(*reads, *arguments)

    return Stage(emit, reads)


def active_stage(method: str, *arguments, activation: Activation, reads: tuple[int, ...] = (0,)) -> Stage:
    """The same of a method whose last argument is an activation."""

    def emit(program, reads, activation):
        return getattr(program, method)(*reads, *arguments, activation.compiled())

    return Stage(emit, reads, activation)


STAGES: dict[str, Callable[[Step, Constants], Stage | None]] = {}


def register(*types: str):
    """Register a function under operators' names."""

    def add(function):
        STAGES.update(dict.fromkeys(types, function))
        return function

    return add


def find_stage(step: Step, constants: Constants) -> Stage | None:
    """The stage of an operator at its moment, or None."""
    node = step.node
    if node.type not in STAGES or not is_image(step.inputs[0]) or getattr(node.operator, "order", "") == "NHWC":
        return None
    with node.context():
        found = STAGES[node.type](step, constants)
    if found is None or any(constants[position] is not None for position in found.reads):
        return None
    images = [*(step.inputs[position] for position in found.reads), step.outputs[0]]
    is_packed = node.type in (UNPACK, PACK)
    return found if all(is_image(x) and (x.dtype == np.float32 or is_packed) for x in images) else None


def is_image(x: TensorType) -> bool:
    """Whether these are images, of which not even a row is too much to hold."""
    return len(x.shape) == 4 and x.size > 0 and math.prod(image_shape(x)[::2]) <= MAX_ROW


def image_shape(x: TensorType) -> tuple[int, int, int]:
    """(channels, height, width); of packed pixels one channel, of four bytes each."""
    if x.dtype == np.uint8:
        return 1, x.shape[1], x.shape[2]
    return x.shape[1], x.shape[2], x.shape[3]


# ---------------------------------------------------------------------------------------------- operators


@register("Conv", "ConvRelu")
def convolution(step, constants):
    operator = step.node.operator
    window, bias = fitted(operator, step.inputs[0]), bias_of(step, constants)
    if window is None or constants[1] is None or bias is None or not suits(step):
        return None
    activation = Activation(low=0.0) if step.node.type == "ConvRelu" else Activation()
    by_winograd = "NNPACK" in step.node.engine  # as Caffe2 computes it then
    arguments = (window, operator.group, constants[1], bias, by_winograd)
    return active_stage("convolution", *arguments, activation=activation)


def suits(step: Step) -> bool:
    """Whether vectors along pixels have more in them than vectors along channels would."""
    operator: Any = step.node.operator
    channels, group = step.outputs[0].shape[1], operator.group
    return channels <= MAX_CHANNELS[step.node.type] and (group == 1 or channels > group)


def bias_of(step: Step, constants: Constants) -> Any:
    """Zeros where there is none; None where it is not constant."""
    return constants[2] if len(constants) > 2 else np.zeros(step.outputs[0].shape[1], np.float32)


def fitted(operator, x: TensorType):
    """The window of an operator on these images; None where it is none for rows."""
    return make_window(operator.window.fit(*x.shape[2:]), x.shape[2:])


def make_window(fit: Fit, size: tuple[int, ...]):
    """None for a window that sees too many rows at a time."""
    extents = [d * (k - 1) + 1 for k, d in zip(fit.kernel, fit.dilation, strict=True)]
    if max(*extents, *fit.pads) > MAX_EXTENT or max(fit.stride) > MAX_STRIDE:
        return None
    return _int8.Window(1, size, fit.output, fit.kernel, fit.stride, fit.dilation, fit.pads[:2])


@register("ConvTranspose")
def transposed_convolution(step, constants):
    """Read backwards: the window slides over the output, and makes the input."""
    operator, bias, given = step.node.operator, bias_of(step, constants), step.node.operator.window
    fit = Fit(given.kernel, given.stride, (1, 1), given.pads, step.inputs[0].shape[2:])
    window = make_window(fit, step.outputs[0].shape[2:])
    if window is None or constants[1] is None or bias is None or not suits(step):
        return None
    return active_stage("transposed_convolution", window, operator.group, constants[1], bias, activation=Activation())


@register("SpatialBN", "AffineChannel")
def scale(step, constants):
    """A depthwise convolution of one tap."""
    operator: Any = step.node.operator
    if any(value is None for value in constants[1:]):
        return None
    factors, terms = operator.factors(*constants[1:])
    pixel = make_window(Window(kernel=(1, 1)).fit(*step.inputs[0].shape[2:]), step.inputs[0].shape[2:])
    arguments = (pixel, len(factors), factors.reshape(-1, 1, 1, 1), terms, False)
    return active_stage("convolution", *arguments, activation=Activation())


@register("AveragePool", "MaxPool")
def pool(step, constants):
    operator = step.node.operator
    window = None if operator.window.global_pooling else fitted(operator, step.inputs[0])
    if window is None:
        return None
    if step.node.type == "MaxPool":  # with more columns, what is no number is compared in vectors
        return stage("maximum", window) if operator.window.kernel[1] < LANES else None
    return stage("average", window, operator.count_include_pad)


@register("PadImage")
def pad(step, constants):
    operator, shape = step.node.operator, step.inputs[0].shape
    if max(operator.window.pads) > MAX_EXTENT:
        return None
    rows, columns = (
        np.where(outside & (operator.mode == "constant"), -1, positions).astype(np.int32)
        for _, (positions, outside) in operator.sources(shape)
    )
    return stage("select", rows, columns, operator.value)


@register("ResizeNearest")
def resize(step, constants):
    operator, shape, scales = step.node.operator, step.inputs[0].shape, step.inputs[1:]
    if any(given.value is None for given in scales):
        return None
    sources = operator.sources(shape, scales[0].value if scales else None)
    rows, columns = (positions.astype(np.int32) for _, positions in sources)
    return stage("select", rows, columns, 0.0)


@register("Relu", "LeakyRelu", "PRelu", "Clip", "ReluN")
def activate(step, constants):
    operator, channels = step.node.operator, step.inputs[0].shape[1]
    match step.node.type:
        case "Relu":
            activation = Activation(low=0.0)
        case "ReluN":
            activation = Activation(low=0.0, high=operator.n)
        case "Clip":
            activation = Activation(low=operator.min, high=operator.max)
        case "LeakyRelu":
            activation = Activation(np.full(channels, operator.alpha, np.float32))
        case _ if constants[1] is not None:
            activation = Activation(np.broadcast_to(np.ravel(constants[1]), channels).astype(np.float32))
        case _:
            return None
    return replace(active_stage("activation", activation=activation), is_activation=True)


@register("Add", "Sum")
def add(step, constants):
    if len(step.inputs) != 2 or step.inputs[0].shape != step.inputs[1].shape:
        return None
    return active_stage("add", activation=Activation(), reads=(0, 1))


@register("Concat", "DepthConcat")
def concat(step, constants):
    operator: Any = step.node.operator
    if operator.add_axis or operator.along(4) != 1:
        return None
    reads = tuple(range(len(step.inputs)))

    def emit(program, reads, activation):
        return program.concat(reads)

    return Stage(emit, reads)


@register(UNPACK)
def unpack(step, constants):
    mean, noise = constants[1:]
    if mean is None or noise is None:
        return None
    noise = np.ravel(noise)[: step.node.operator.noise_size]
    return stage("unpack", np.ravel(mean), noise if noise.any() else noise[:0])


@register(PACK)
def pack(step, constants):
    return None if constants[1] is None else stage("pack", np.ravel(constants[1]))


# --------------------------------------------------------------------------------------- parts of nets


class RowPlan:
    """Operators that `find_part` found, compiled for feeds of given types.

    fused: products are not rounded before they are added; where they are, sums are `reference`'s to the bit.
    """

    def __init__(
        self,
        part: Part,
        types: dict[str, TensorType],
        outputs: list[str],
        instruction_set: str,
        pool,
        fused: bool = True,
    ):
        graph = Graph(part, types, outputs, find_stage)
        merge_activations(graph)
        self._program = _int8.RowProgram(instruction_set, pool, fused)
        read = {blob for instruction in graph.instructions for blob in instruction.reads}
        self._inputs = [name for name, blob in graph.feeds.items() if blob in read]
        nodes = {graph.feeds[name]: self._program.input(*image_shape(types[name])) for name in self._inputs}
        for instruction in graph.instructions:
            reads, found = [nodes[blob] for blob in instruction.reads], instruction.kernel
            nodes[instruction.outputs[0]] = found.emit(self._program, reads, found.activation)
        ((self._output, result),) = graph.outputs.items()
        self._type = result.type
        self._program.scratch_bytes()  # lays out the rows

    def run(self, feeds: dict[str, Value]) -> dict[str, Value]:
        """The output, in memory of its own."""
        y = np.empty(self._type.shape, self._type.dtype)
        self._program.run([np.require(feeds[name], requirements=["C", "A"]) for name in self._inputs], y, len(y))
        return {self._output: y}


def merge_activations(graph: Graph) -> None:
    """An activation of what nothing else reads is made by the stage before it, where that has none."""
    results = graph.outputs.values()
    for instruction in graph.instructions:
        x, found = instruction.inputs[0], instruction.kernel
        if not found.is_activation or x in results or len(x.readers) > 1 or x.writer is None:
            continue
        before = x.writer.kernel.activation
        if before is not None and before.is_identity:
            instruction.replace(x.writer.inputs, replace(x.writer.kernel, activation=found.activation))
    graph.drop_unneeded()


def find_part(
    steps: Sequence[Step], parameters: Mapping[str, Value], fed: Iterable[str], needed: Callable[[int], Set[str]]
) -> range | None:
    """The first operators in a row that are faster here than elsewhere, all but one of whose outputs only they read.

    steps: those of a net from some place on, of which `fed` are no parameters; needed(i): the blobs that what follows
    the first i of them reads, or that are asked for.
    """
    changed, covered = set(fed), []
    for step in steps:
        constants = [None if name in changed else parameters.get(name) for name in step.node.inputs]
        covered.append(find_stage(step, constants) is not None)
        changed.update(step.node.outputs)
    stop = 0
    while stop < len(steps):
        start = covered.index(True, stop) if True in covered[stop:] else len(steps)
        stop = covered.index(False, start) if False in covered[start:] else len(steps)
        for end in range(stop, start, -1):
            if not is_worthwhile(steps[start:end], steps):
                break
            firsts = {step.node.outputs[0] for step in steps[start:end]}
            others = {name for step in steps[start:end] for name in step.node.outputs[1:]}
            if len(firsts & needed(end)) == 1 and not others & needed(end):
                return range(start, end)
    return None


def is_worthwhile(some: Sequence[Step], steps: Sequence[Step]) -> bool:
    """Whether these are work enough, and most of it: else a net that is cut in two loses what a part of it gains."""
    macs = sum(step.macs for step in some)
    return macs >= LEAST_MACS and 2 * macs >= sum(step.macs for step in steps)
