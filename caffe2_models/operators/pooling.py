"""Pools: the largest value, the mean or a norm of what a window sees, float32."""

import functools
import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.convolution import Windowed, from_nchw, image_shape, ordered, tap_of, to_nchw
from caffe2_models.operators.largest import LOWEST, largest_in_line, largest_in_nchw
from caffe2_models.operators.registry import operator
from caffe2_models.operators.window import Fit, Window

MAX_PIXELS_SEEN = 1 << 36


def max_over_window(x: np.ndarray, fit: Fit) -> np.ndarray:
    """Maximum over each window of x [N, C, *size]; padding never wins."""
    x = pad_to_fit(x, fit, np.finfo(x.dtype).min if x.dtype.kind == "f" else 0)
    y = tap_of(x, fit, 0).copy()
    for tap in range(1, fit.area):
        np.maximum(y, tap_of(x, fit, tap), out=y)
    return y


def sum_over_window(x: np.ndarray, fit: Fit) -> np.ndarray:
    """Sum over each window of x [N, C, *size]; padding counts as zero."""
    if max(fit.output) == 1 and not any(fit.pads) and fit.kernel == x.shape[2:]:
        return x.sum(axis=tuple(range(2, x.ndim)), keepdims=True)
    x = pad_to_fit(x, fit, 0)
    y = tap_of(x, fit, 0).copy()
    for tap in range(1, fit.area):
        y += tap_of(x, fit, tap)
    return y


def sum_in_lanes(x: np.ndarray, fit: Fit) -> np.ndarray:
    """Sum over each window of x [N, C, H, W], in the order of Caffe2's: four columns at a time, then what is left.

    Eigen adds rows of the part of a window that lies in the image, as vectors of four; their lanes are added up
    crosswise, the other columns one by one.
    """
    (height, width), rows, step = fit.kernel, x.shape[3], fit.stride[1]
    x = np.pad(x, [*fit.margins[:3], (0, 0)])
    starts = np.arange(fit.output[1]) * step - fit.pads[1]
    first, seen = np.maximum(starts, 0), np.minimum(starts + width, rows) - np.maximum(starts, 0)
    y = np.zeros((*x.shape[:2], *fit.output), np.float32)
    for extent in np.unique(seen[seen > 0]):
        at = np.flatnonzero(seen == extent)
        columns = [x[:, :, :, first[at] + j] for j in range(extent)]
        taps = [[c[:, :, i :: fit.stride[0]][:, :, : fit.output[0]] for c in columns] for i in range(height)]
        whole = extent // 4 * 4
        total = np.zeros((*y.shape[:3], at.size), np.float32)
        if whole:
            lanes = [sum((row[j] for row in taps for j in range(lane, whole, 4)), np.float32(0)) for lane in range(4)]
            total = (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
        for row in taps:
            for tap in row[whole:]:
                total = total + tap
        y[:, :, :, at] = total
    return y


def pad_to_fit(x: np.ndarray, fit: Fit, value) -> np.ndarray:
    """x [N, C, *size] with the window's pads around it."""
    return np.pad(x, fit.margins, constant_values=value) if any(fit.pads) else x


def pixels_in_window(fit: Fit, *size: int) -> np.ndarray:
    """How many pixels of the image each window covers, [*output]."""
    counts = []
    for axis, extent in enumerate(size):
        starts = np.arange(fit.output[axis]) * fit.stride[axis] - fit.pads[axis]
        counts.append(np.minimum(starts + fit.kernel[axis], extent) - np.maximum(starts, 0))
    return functools.reduce(np.multiply.outer, counts)


def check_pool(window: Window) -> None:
    """Raises ModelError for a window that pools do not take."""
    if max(window.dilation) != 1:
        raise ModelError("pools take no dilation")
    if not window.global_pooling and any(p >= k for p, k in zip(window.pads, window.kernel * 2, strict=True)):
        raise ModelError(f"pads {list(window.pads)} must be smaller than the kernel {list(window.kernel)}")


def check_work(fit: Fit, planes: int) -> None:
    """Raises ModelError for windows so many and so large that to look at all their pixels would take minutes."""
    if fit.area * math.prod(fit.output) * planes > MAX_PIXELS_SEEN:
        raise ModelError(f"a kernel of {fit.kernel} over {fit.output} positions, which would take minutes")


@dataclass(frozen=True)
class Pool(Windowed):
    """What the pools share: shapes, and computing in NCHW order."""

    order: str = "NCHW"

    carries_order = True

    def infer(self, x):
        check_pool(self.window)
        count, channels, *size = image_shape(x, self.order, self.window.dims)
        fit = self.window.fit(*size)
        check_work(fit, count * channels)
        return x.with_shape(ordered((count, channels, *fit.output), self.order))

    def compute(self, x):
        return from_nchw(self.pool(to_nchw(x, self.order)), self.order)

    def lower(self, graph, x):
        rank, fit = len(x.shape), self.window.fit(*image_shape(x.type, self.order, self.window.dims)[2:])
        if self.order == "NHWC":
            return graph.to_nhwc(self.lower_pool(graph, graph.to_nchw(x, rank), fit), rank)
        return self.lower_pool(graph, x, fit)

    def workspace(self, x):
        count, channels, *size = image_shape(x, self.order, self.window.dims)
        return 4 * count * channels * self.window.fit(*size).padded_area(*size)

    def pool(self, x: np.ndarray) -> np.ndarray:
        """The operator on NCHW images."""
        raise NotImplementedError

    def lower_pool(self, graph, x, fit: Fit) -> str:
        """The operator on NCHW images."""
        raise NotImplementedError


@operator("MaxPool", "MaxPool1D", "MaxPool2D", "MaxPool3D")
@dataclass(frozen=True)
class MaxPool(Pool):
    passes_clamps = True
    passes_factors = True

    def pool(self, x):
        fit = self.window.fit(*x.shape[2:])
        if np.isfinite(x).all():
            return max_over_window(x, fit)
        if self.order == "NCHW":
            return largest_in_nchw(x, fit, self.window.global_pooling)
        if len(fit.kernel) == 1 and not self.window.global_pooling:
            return largest_in_line(x, fit)
        return max_over_window(np.fmax(x, LOWEST), fit)

    def lower_pool(self, graph, x, fit):
        if self.window.global_pooling:
            return graph.add("GlobalMaxPool", x)
        return graph.add("MaxPool", x, **fit.attributes)


@operator("AveragePool", "AveragePool1D", "AveragePool2D", "AveragePool3D")
@dataclass(frozen=True)
class AveragePool(Pool):
    """Mean over the pixels of each window; over its whole area with count_include_pad."""

    count_include_pad: bool = False

    passes_factors = True

    def pool(self, x):
        fit = self.window.fit(*x.shape[2:])
        area = fit.area if self.count_include_pad else pixels_in_window(fit, *x.shape[2:])
        in_lanes = len(fit.kernel) == 2 and self.order == "NCHW" and not self.window.global_pooling
        total = sum_in_lanes(x, fit) if in_lanes else sum_over_window(x, fit)
        return (total * (1 / np.float32(area))).astype(np.float32)  # not divided: as Caffe2 rounds

    def lower_pool(self, graph, x, fit):
        if self.window.global_pooling:
            return graph.add("GlobalAveragePool", x)
        return graph.add("AveragePool", x, **fit.attributes, count_include_pad=int(self.count_include_pad))


@operator("LpPool")
@dataclass(frozen=True)
class LpPool(Pool):
    """The p-norm of what each window sees."""

    p: float = 2.0

    def infer(self, x):
        if not self.p > 0:
            raise ModelError(f"p {self.p}")
        return super().infer(x)

    def pool(self, x):
        powers = np.power(np.abs(x), np.float32(self.p))
        return np.power(sum_over_window(powers, self.window.fit(*x.shape[2:])), np.float32(1 / self.p))

    def lower_pool(self, graph, x, fit):
        powers = graph.add("Pow", graph.add("Abs", x), graph.constant(np.float32(self.p)))
        mean = graph.add("AveragePool", powers, **fit.attributes, count_include_pad=1)
        total = graph.add("Mul", mean, graph.constant(np.float32(fit.area)))
        return graph.add("Pow", total, graph.constant(np.float32(1 / self.p)))
