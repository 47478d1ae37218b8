"""What an operator costs: a workload (multiply-accumulates, elements moved) and non-negative prices for it.

time in µs = prices . (1, MACs, outputs, inputs, weights), one set of prices per kind of operator. Kinds
form a hierarchy (int8/depthwise/5x5, int8/depthwise, int8): where a kind was not measured, the next wider
one prices it.
"""

import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from caffe2_common.dtypes import NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_models.net import Node, Step
from caffe2_models.operators import traits_of
from caffe2_models.operators.registry import Layer
from caffe2_models.tensors import TensorType
from runtime_lut.signature import operator_of_record

# Columns of a workload: operator launches, then thousands of multiply-accumulates (as the kernels run them),
# of elements written, of activation elements read, of weights read.
COLUMNS = ("launch", "macs", "outputs", "inputs", "weights")
THOUSAND = 1000.0

# QNNPACK's GEMM computes 8 pixels by 8 channels at a time, its depthwise kernels 8 channels: sizes round up.
TILE = 8


@dataclass(frozen=True)
class Workload:
    """What one operator does. kind: path from the widest class to the narrowest; amounts: see COLUMNS."""

    kind: tuple[str, ...]
    amounts: tuple[float, ...]


def workload(node: Node, inputs: list[TensorType], outputs: list[TensorType], macs: int) -> Workload:
    """The workload of an operator whose types are known."""
    form = "int8" if node.type.startswith("Int8") else "fp32"
    layer = traits_of(node.type).layer
    parameters = inputs[1:] if layer is not None else []
    weights = sum(t.size for t in parameters)
    activations = sum(t.size for t in inputs) - weights
    written = sum(t.size for t in outputs[:1])
    if layer is Layer.CONVOLUTION and outputs:
        shape, macs = _convolution(node, inputs[0].shape, parameters[0].shape, outputs[0].shape)
        kind = (form, *shape)
    elif layer is Layer.FULLY_CONNECTED:
        kind = (form, "fc")
    else:
        kind = (form, "gemm" if macs else "other", node.type)
    return Workload(kind, (1.0, macs / THOUSAND, written / THOUSAND, activations / THOUSAND, weights / THOUSAND))


def step_workload(step: Step) -> Workload:
    """The workload of one operator of a net."""
    return workload(step.node, step.inputs, step.outputs, step.macs)


def record_workload(record: dict) -> Workload:
    """The workload of a table's record; of an operator this package does not know, as if output = input."""
    node = Node(operator_of_record(record), 0)
    quantized = node.type.startswith("Int8")
    inputs = []
    for index, (shape, code) in enumerate(zip(record["input_shapes"], record["input_dtypes"], strict=True)):
        dtype = NUMPY_OF_CODE.get(code, np.dtype(np.float32))
        # Activations at scale 1, weights and so biases at 1/1000: what QNNPACK requantizes stays in its
        # range.
        scale = 1.0 if index == 0 or (len(shape) < 2 and dtype == "uint8") else 1e-3
        known = (scale, 0) if quantized and dtype in ("uint8", "int32") else ()
        inputs.append(TensorType(tuple(shape), dtype, *known))
    try:
        inputs, outputs = node.infer(dict(zip(node.inputs, inputs, strict=True)))
        macs = Step(node, inputs, outputs).macs
    except ModelError:
        outputs, macs = inputs[:1], 0
    return workload(node, inputs, outputs, macs)


def _convolution(node: Node, x: tuple, weight: tuple, y: tuple) -> tuple[tuple[str, ...], int]:
    """(kind, multiply-accumulates with sizes rounded up to the kernels' tiles) of a convolution."""
    nhwc = node.arguments.get_str("order") == "NHWC"
    channels, (height, width) = (x[3], weight[1:3]) if nhwc else (x[1], weight[2:4])
    out_channels = weight[0]
    pixels = math.prod(y) // out_channels
    operator: Any = node.operator
    group, stride = operator.group, operator.window.stride[0]
    detail = (f"{height}x{width}", f"stride {stride}")
    if 1 < group == channels == out_channels:
        return ("depthwise", *detail), pixels * _up(channels) * height * width
    per_pixel = _up(out_channels // group) * group * (channels // group) * height * width
    kind = "grouped" if group > 1 else "pointwise" if height == width == 1 else "conv"
    return (kind, *detail), _up(pixels) * per_pixel


def _up(size: int) -> int:
    return -(-size // TILE) * TILE


@dataclass(frozen=True)
class Prices:
    """µs per unit of each column, and how far real times scatter about them (standard deviation of the
    logarithm).
    """

    prices: tuple[float, ...]
    spread: float
    count: int = 0

    @functools.cached_property
    def _array(self) -> np.ndarray:
        return np.array(self.prices)

    def time(self, amounts) -> float:
        """µs of a workload's amounts [.., columns]."""
        return np.asarray(amounts) @ self._array


class CostModel:
    """Prices per kind; asked for a kind it does not have, it takes the next wider one."""

    def __init__(self, prices: Mapping[tuple[str, ...], Prices]):
        self.prices = dict(prices)

    def prices_of(self, kind: tuple[str, ...]) -> Prices | None:
        """The narrowest prices that cover the kind, or None."""
        for length in range(len(kind), -1, -1):
            if kind[:length] in self.prices:
                return self.prices[kind[:length]]
        return None

    def count(self, kind: tuple[str, ...]) -> int:
        """How many measurements the prices of exactly this kind were fitted from."""
        return self.prices[kind].count if kind in self.prices else 0

    @classmethod
    def fit(cls, workloads: list[Workload], times_us: Iterable[float]) -> "CostModel":
        """Least relative error per kind and per each of its wider kinds; no price is negative."""
        times = np.asarray(list(times_us), float)
        members: dict[tuple[str, ...], list[int]] = {}
        for index, work in enumerate(workloads):
            for length in range(len(work.kind) + 1):
                members.setdefault(work.kind[:length], []).append(index)
        amounts = np.array([work.amounts for work in workloads])
        return cls({kind: _fit_kind(amounts[rows], times[rows]) for kind, rows in members.items()})


MIN_SPREAD = 0.02  # what repeated measurements of one operator differ by
FEW = 3


def _fit_kind(amounts: np.ndarray, times: np.ndarray) -> Prices:
    times = np.maximum(times, 1e-3)
    prices = non_negative_least_squares(amounts / times[:, None], np.ones(len(times)))
    predicted = amounts @ prices
    residuals = np.log(np.maximum(predicted, 1e-3) / times)
    freedom = max(len(times) - np.count_nonzero(prices), 1)
    spread = math.sqrt(float(np.sum(residuals**2)) / freedom)
    if len(times) < FEW:
        spread = max(spread, 0.5)
    return Prices(tuple(prices.tolist()), max(spread, MIN_SPREAD), len(times))


def non_negative_least_squares(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x >= 0 that minimizes |a x - b| (Lawson and Hanson's active set method, "Solving Least Squares
    Problems", 23.3).
    """
    norms = np.linalg.norm(a, axis=0)
    a = a / np.where(norms > 0, norms, 1)
    columns = a.shape[1]
    x, passive = np.zeros(columns), np.zeros(columns, bool)
    tolerance = 1e-10 * max(np.abs(a.T @ b).max(initial=0), 1e-300)
    for _ in range(10 * columns):
        gradient = a.T @ (b - a @ x)
        candidates = ~passive & (gradient > tolerance)
        if not candidates.any():
            break
        passive[np.argmax(np.where(candidates, gradient, -np.inf))] = True
        while True:
            solution = np.zeros(columns)
            solution[passive] = np.linalg.lstsq(a[:, passive], b, rcond=None)[0]
            blocked = np.flatnonzero(passive & (solution <= 0))
            if not len(blocked):
                x = solution
                break
            steps = x[blocked] / np.maximum(x[blocked] - solution[blocked], 1e-300)
            x = np.maximum(x + steps.min() * (solution - x), 0)
            passive[blocked[np.argmin(steps)]] = False  # so the inner loop ends
            x[~passive] = 0
    return x / np.where(norms > 0, norms, 1)
