"""Latency for architecture search: of operators, of blocks, of thousands of candidate nets per second.

clock = Clock(table, estimator)
layers = [[inverted_residual(56, 16, 24, e, k, 2) for e in (1, 3, 6) for k in (3, 5)], ...]
times = candidate_times(layers, clock)             # µs [layers, candidates]
times[np.arange(len(layers)), choices].sum(-1)     # µs of nets, choices [nets, layers]: see net_times
expected_time(times, probabilities)                # µs of a supernet, for a loss; times as a constant tensor
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from caffe2_models import Net
from caffe2_models.build import add_operator
from caffe2_models.net import Node
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType
from runtime_lut.cost import workload
from runtime_lut.estimate import Estimator
from runtime_lut.latency import net_latency
from runtime_lut.signature import Signature, canonical_arguments
from runtime_lut.table import Table

UINT8, INT32 = 6, 2


@dataclass(frozen=True)
class Operation:
    """An operator of a candidate: what a table is asked, and what an estimate needs."""

    signature: Signature
    node: Node
    inputs: tuple[TensorType, ...]
    output: TensorType


class Clock:
    """Times of operators from a table, from an estimator where the table (if any) lacks them; each asked
    once.
    """

    def __init__(self, table: Table | None = None, estimator: Estimator | None = None):
        self.table = table
        self.estimator = estimator
        self._known: dict[bytes, float] = {}

    def operator_time(self, operation: Operation) -> float:
        """µs; NaN where neither knows the operator."""
        key = operation.signature.key
        if key not in self._known:
            self._known[key] = self._look_up(operation)
        return self._known[key]

    def block_time(self, block: Iterable[Operation]) -> float:
        """µs of operators one after the other."""
        return sum(map(self.operator_time, block), 0.0)

    def net_time(self, net: Net, input_shapes=None) -> float:
        """µs of a whole net; NaN where an operator of it is unknown."""
        latency = net_latency(net, input_shapes, self.table, self.estimator)
        return math.nan if latency.missing else latency.total_us

    def _look_up(self, operation: Operation) -> float:
        match = self.table.find(operation.signature) if self.table is not None else None
        if match is not None:
            return match.time_us
        if self.estimator is None:
            return math.nan
        inputs, outputs = list(operation.inputs), [operation.output]
        macs = int(operation.node.operator.macs(*inputs))
        return self.estimator.estimate(workload(operation.node, inputs, outputs, macs)).time_us


def candidate_times(layers: Sequence[Sequence[Iterable[Operation]]], clock: Clock) -> np.ndarray:
    """µs [layers, candidates]; layers with fewer candidates than others are filled up with infinity."""
    width = max(len(candidates) for candidates in layers)
    times = np.full((len(layers), width), np.inf)
    for row, candidates in zip(times, layers, strict=True):
        row[: len(candidates)] = [clock.block_time(candidate) for candidate in candidates]
    return times


def net_times(times: np.ndarray, choices: np.ndarray) -> np.ndarray:
    """µs [nets] of nets that take candidate choices[net, layer] in each layer."""
    return times[np.arange(len(times)), choices].sum(axis=-1)


def expected_time(times: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """µs [..] expected where layers take their candidates with probabilities [.., layers, candidates].

    Candidates that do not exist (infinite) must have probability 0.
    """
    return (np.where(np.isfinite(times), times, 0) * probabilities).sum(axis=(-2, -1))


def inverted_residual(
    size: int,
    channels: int,
    out_channels: int,
    expansion: float = 6,
    kernel: int = 3,
    stride: int = 1,
    group: int = 1,
    depthwise_relu: bool = False,
    batch: int = 1,
) -> list[Operation]:
    """The int8 operators of FBNet's block on `size` pixels square, as the published nets have them.

    1x1 expansion with ReLU, depthwise convolution, 1x1 projection (the 1x1 ones in groups, with a channel
    shuffle between, where group is not 1), and the residual sum where shapes allow.
    """
    middle = round(channels * expansion)
    x = activation(batch, size, channels)
    wide = convolution(x, middle, 1, group=group, relu=True)
    operations = [wide]
    if group > 1:
        operations.append(shuffle(wide.output, group))
    deep = convolution(wide.output, middle, kernel, stride, group=middle, relu=depthwise_relu)
    narrow = convolution(deep.output, out_channels, 1, group=group)
    operations += [deep, narrow]
    if stride == 1 and channels == out_channels:
        operations.append(make("Int8Sum", [x, narrow.output], narrow.output.shape))
    return operations


def convolution(
    x: TensorType, out_channels: int, kernel: int, stride: int = 1, group: int = 1, relu: bool = False
) -> Operation:
    """An Int8Conv or Int8ConvRelu with padding kernel // 2; x is an activation NHWC."""
    batch, height, width, channels = x.shape
    pad = kernel // 2
    weight = quantized((out_channels, kernel, kernel, channels // group), scale=1e-3)
    bias = TensorType((out_channels,), np.dtype(np.int32), 1e-3, 0)
    rows, columns = ((size + 2 * pad - kernel) // stride + 1 for size in (height, width))
    kind = "Int8ConvRelu" if relu else "Int8Conv"
    arguments: dict[str, int | str] = {"group": group} if group > 1 else {}
    arguments |= {"kernel": kernel, "order": "NHWC", "pad": pad, "stride": stride}
    return make(kind, [x, weight, bias], (batch, rows, columns, out_channels), **arguments)


def shuffle(x: TensorType, group: int) -> Operation:
    """An Int8ChannelShuffle of an activation NHWC."""
    return make("Int8ChannelShuffle", [x], x.shape, group=group, order="NHWC")


def activation(batch: int, size: int, channels: int) -> TensorType:
    """The type of a quantized image NHWC."""
    return quantized((batch, size, size, channels))


def quantized(shape: tuple[int, ...], scale: float = 1.0) -> TensorType:
    return TensorType(shape, np.dtype(np.uint8), scale, 0)


def make(kind: str, inputs: Sequence[TensorType], output_shape: tuple[int, ...], **arguments) -> Operation:
    """An operator by its type, the types of its inputs, its output's shape and its arguments."""
    names = [str(index) for index in range(len(inputs))]
    op = add_operator(caffe2_pb2.NetDef(), kind, names, ["y"], **arguments)
    dtypes = tuple(UINT8 if t.dtype == np.uint8 else INT32 for t in inputs)
    shapes = tuple(t.shape for t in inputs)
    signature = Signature(kind, canonical_arguments(kind, op), shapes, dtypes)
    return Operation(signature, Node(op, 0), tuple(inputs), quantized(output_shape))
