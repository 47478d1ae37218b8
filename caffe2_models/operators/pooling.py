"""MaxPool and AveragePool, float32."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.convolution import image_shape, ordered, tap_of
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import Fit, Window

MAX_PIXELS_SEEN = 1 << 36


def max_over_window(x: np.ndarray, fit: Fit) -> np.ndarray:
    """Maximum over each window of x [N, C, H, W]; padding never wins."""
    x = pad_to_fit(x, fit, np.finfo(x.dtype).min if x.dtype.kind == "f" else 0)
    y = tap_of(x, fit, 0).copy()
    for tap in range(1, fit.area):
        np.maximum(y, tap_of(x, fit, tap), out=y)
    return y


def sum_over_window(x: np.ndarray, fit: Fit) -> np.ndarray:
    """Sum over each window of x [N, C, H, W]; padding counts as zero."""
    if fit.output == (1, 1) and not any(fit.pads) and fit.kernel == x.shape[2:]:
        return x.sum(axis=(2, 3), keepdims=True)
    x = pad_to_fit(x, fit, 0)
    y = tap_of(x, fit, 0).copy()
    for tap in range(1, fit.area):
        y += tap_of(x, fit, tap)
    return y


def pad_to_fit(x: np.ndarray, fit: Fit, value) -> np.ndarray:
    """x [N, C, H, W] with the window's pads around it."""
    if not any(fit.pads):
        return x
    top, left, bottom, right = fit.pads
    return np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=value)


def pixels_in_window(fit: Fit, height: int, width: int) -> np.ndarray:
    """How many pixels of the image each window covers, [rows, columns]."""
    counts = []
    for axis, size in enumerate((height, width)):
        starts = np.arange(fit.output[axis]) * fit.stride[axis] - fit.pads[axis]
        counts.append(np.minimum(starts + fit.kernel[axis], size) - np.maximum(starts, 0))
    return counts[0][:, None] * counts[1][None, :]


def check_pool(window: Window) -> None:
    """Raises ModelError for a window that pools do not take."""
    if window.dilation != (1, 1):
        raise ModelError("pools take no dilation")
    if not window.global_pooling and any(p >= k for p, k in zip(window.pads, window.kernel * 2, strict=True)):
        raise ModelError(f"pads {list(window.pads)} must be smaller than the kernel {list(window.kernel)}")


def check_work(fit: Fit, planes: int) -> None:
    """Raises ModelError for windows so many and so large that to look at all their pixels would take minutes."""
    if fit.area * math.prod(fit.output) * planes > MAX_PIXELS_SEEN:
        raise ModelError(f"a kernel of {fit.kernel} over {fit.output} positions, which would take minutes")


@dataclass(frozen=True)
class Pool(Operator):
    """What the pools share: shapes, and computing in NCHW order."""

    window: Window
    order: str = "NCHW"

    carries_order = True

    def infer(self, x):
        check_pool(self.window)
        count, channels, height, width = image_shape(x, self.order)
        fit = self.window.fit(height, width)
        check_work(fit, count * channels)
        return x.with_shape(ordered((count, channels, *fit.output), self.order))

    def compute(self, x):
        if self.order == "NHWC":
            y = self.pool(x.transpose(0, 3, 1, 2))
            return np.ascontiguousarray(y.transpose(0, 2, 3, 1))
        return self.pool(x)

    def lower(self, graph, x):
        fit = self.window.fit(*image_shape(x.type, self.order)[2:])
        if self.order == "NHWC":
            return graph.to_nhwc(self.lower_pool(graph, graph.to_nchw(x), fit))
        return self.lower_pool(graph, x, fit)

    def workspace(self, x):
        count, channels, *size = image_shape(x, self.order)
        return 4 * count * channels * self.window.fit(*size).padded_area(*size)

    def pool(self, x: np.ndarray) -> np.ndarray:
        """The operator on NCHW images."""
        raise NotImplementedError

    def lower_pool(self, graph, x, fit: Fit) -> str:
        """The operator on NCHW images."""
        raise NotImplementedError


@operator("MaxPool")
@dataclass(frozen=True)
class MaxPool(Pool):
    def pool(self, x):
        return max_over_window(x, self.window.fit(*x.shape[2:]))

    def lower_pool(self, graph, x, fit):
        if self.window.global_pooling:
            return graph.add("GlobalMaxPool", x)
        return graph.add("MaxPool", x, kernel_shape=fit.kernel, strides=fit.stride, pads=fit.pads)


@operator("AveragePool")
@dataclass(frozen=True)
class AveragePool(Pool):
    """Mean over the pixels of each window; over its whole area with count_include_pad."""

    count_include_pad: bool = False

    def pool(self, x):
        fit = self.window.fit(*x.shape[2:])
        area = fit.area if self.count_include_pad else pixels_in_window(fit, *x.shape[2:])
        return (sum_over_window(x, fit) * (1 / np.float32(area))).astype(np.float32)  # not divided: as Caffe2 rounds

    def lower_pool(self, graph, x, fit):
        if self.window.global_pooling:
            return graph.add("GlobalAveragePool", x)
        include = int(self.count_include_pad)
        return graph.add(
            "AveragePool",
            x,
            kernel_shape=fit.kernel,
            strides=fit.stride,
            pads=fit.pads,
            count_include_pad=include,
        )
