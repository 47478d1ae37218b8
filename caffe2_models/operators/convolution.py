"""Conv and ConvTranspose, float32."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.products import PLAIN, Engine, convolve, multiply, winograd_depthwise
from caffe2_models.operators.registry import Layer, Operator, operator
from caffe2_models.operators.window import CAFFE_POOLING, MAX_DIMS, Fit, Window, pair
from caffe2_models.tensors import TensorType

Image = tuple[int, ...]  # (N, C, H, W), or the same numbers in NHWC order; with one or three dimensions for H, W


def correlate(x: np.ndarray, weight: np.ndarray, fit: Fit, group: int = 1) -> np.ndarray:
    """Convolution of x [N, C, *size] with weight [O, C / group, *kernel], whole numbers of a floating dtype.

    Tap by tap needs no more memory than two activations; padding is zero.
    """
    count, channels = x.shape[:2]
    out_channels = weight.shape[0]
    x = np.pad(x, fit.margins) if any(fit.pads) else x
    depthwise = group == channels == out_channels
    taps: np.ndarray = weight.reshape(group, out_channels // group, channels // group, fit.area)
    taps = np.ascontiguousarray(np.moveaxis(taps, 3, 0))  # BLAS takes no strided matrices

    def part(tap: int) -> np.ndarray:
        seen = tap_of(x, fit, tap)
        if depthwise:
            return seen * taps[tap, :, 0, 0].reshape(-1, *[1] * len(fit.kernel))
        return taps[tap] @ seen.reshape(count, group, channels // group, math.prod(fit.output))

    total = part(0)
    for tap in range(1, fit.area):
        np.add(total, part(tap), out=total)
    return total.reshape(count, out_channels, *fit.output)


def tap_of(x: np.ndarray, fit: Fit, tap: int) -> np.ndarray:
    """What one position of the kernel sees of the padded x [N, C, *size]: [N, C, *output]."""
    seen = [slice(None), slice(None)]
    for axis, place in enumerate(np.unravel_index(tap, fit.kernel)):
        start, step = int(place) * fit.dilation[axis], fit.stride[axis]
        seen.append(slice(start, start + (fit.output[axis] - 1) * step + 1, step))
    return x[tuple(seen)]


def scatter(
    x: np.ndarray, weight: np.ndarray, upscaling: "Upscaling", group: int = 1, exact: bool = False
) -> np.ndarray:
    """Transposed convolution of x [N, C, H, W] with weight [C, O / group, kh, kw].

    exact: of whole numbers, whose sums are the same in any order.
    """
    count, channels, height, width = x.shape
    window, (rows, columns) = upscaling.window, upscaling.size(height, width)
    per_group, (kernel_h, kernel_w), (down, across) = weight.shape[1], window.kernel, window.stride
    top, left = window.pads[:2]
    full = np.zeros((count, group * per_group, *upscaling.full_size(height, width)), x.dtype)
    seen = x.reshape(count, group, channels // group, height * width)
    taps = weight.reshape(group, channels // group, per_group, kernel_h, kernel_w)
    taps = np.ascontiguousarray(taps.transpose(3, 4, 0, 2, 1))
    for i in range(kernel_h):
        for j in range(kernel_w):
            part = taps[i, j] @ seen if exact else multiply(taps[i, j], seen)
            reached = full[:, :, i : i + height * down : down, j : j + width * across : across]
            reached += part.reshape(count, group * per_group, height, width)
    return full[:, :, top : top + rows, left : left + columns]


def image_shape(x: TensorType, order: str, dims: int | None = 2) -> Image:
    """(N, C, *size) of an image blob in either order; raises ModelError for another rank or order.

    dims: of the size; None for any that windows slide over.
    """
    expected = range(3, MAX_DIMS + 3) if dims is None else [dims + 2]
    if len(x.shape) not in expected:
        raise ModelError(f"an image of {' or '.join(map(str, expected))} dimensions is expected, not {list(x.shape)}")
    if order == "NCHW":
        return x.shape
    if order == "NHWC":
        count, *size, channels = x.shape
        return count, channels, *size
    raise ModelError(f"order {order!r} is neither NCHW nor NHWC")


def ordered(shape: Image, order: str) -> Image:
    """An (N, C, *size) shape in the given order."""
    count, channels, *size = shape
    return shape if order == "NCHW" else (count, *size, channels)


def check_convolution(
    channels: int,
    weight: TensorType,
    kernel: tuple[int, ...],
    group: int,
    order: str,
    bias: TensorType | None,
) -> int:
    """The number of output channels; raises ModelError where weight, bias, group and input do not agree."""
    out_channels, *rest = ordered_weight(weight.shape, order, len(kernel))
    if group < 1 or channels % group or out_channels % group:
        raise ModelError(f"{channels} input, {out_channels} output channels do not divide into {group} groups")
    if tuple(rest) != (channels // group, *kernel):
        raise ModelError(
            f"weight {list(weight.shape)} does not fit {channels} channels, kernel {kernel}, group {group}"
        )
    check_bias(bias, out_channels)
    return out_channels


def check_bias(bias: TensorType | None, out_channels: int) -> None:
    """Raises ModelError for a bias that is not one value for each output channel."""
    if bias is not None and bias.shape != (out_channels,):
        raise ModelError(f"bias {list(bias.shape)} does not fit {out_channels} output channels")


def ordered_weight(shape: tuple[int, ...], order: str, dims: int = 2) -> Image:
    """A weight shape as (out, in / group, *kernel); for a transposed convolution (in, out / group, kh, kw)."""
    if len(shape) != dims + 2 or 0 in shape:
        raise ModelError(f"a weight of {dims + 2} dimensions is expected, not {list(shape)}")
    if order == "NCHW":
        return shape
    first, *kernel, last = shape
    return first, last, *kernel


def to_nchw(x: np.ndarray, order: str) -> np.ndarray:
    return x if order == "NCHW" else np.moveaxis(x, -1, 1)


def from_nchw(x: np.ndarray, order: str) -> np.ndarray:
    return np.ascontiguousarray(x if order == "NCHW" else np.moveaxis(x, 1, -1))


@dataclass(frozen=True)
class Windowed(Operator):
    """Base of what slides a window over images."""

    window: Window


@operator("Conv", "Conv1D", "Conv2D", "Conv3D")
@dataclass(frozen=True)
class Conv(Windowed):
    """Convolution; weight [O, C / group, *kernel] in NCHW order, [O, *kernel, C / group] in NHWC order.

    Of as many dimensions as the list `kernels` has, whatever the name says; of two where there is none.
    """

    group: int = 1
    order: str = "NCHW"
    engine: Engine = PLAIN

    layer = Layer.CONVOLUTION
    parameters = ("w", "b")
    carries_order = True

    def infer(self, x, weight, bias=None):
        count, channels, *size = image_shape(x, self.order, self.window.dims)
        kernel = tuple(size) if self.window.global_pooling else self.window.kernel
        out_channels = check_convolution(channels, weight, kernel, self.group, self.order, bias)
        return x.with_shape(ordered((count, out_channels, *self.window.fit(*size).output), self.order))

    def is_plain(self, x, weight) -> bool:
        """Whether its sums are of rounded products, in order, for inputs of these types."""
        _, channels, *size = image_shape(x, self.order, self.window.dims)
        fit = self.window.fit(*size)
        named = self.engine.is_fused(fit) or self.engine.is_winograd(fit, self.group, channels, weight.shape[0])
        return self.order != "NCHW" or not named

    def compute(self, x, weight, bias=None):
        engine = self.engine if self.order == "NCHW" else PLAIN
        x, weight = to_nchw(x, self.order), to_nchw(weight, self.order)
        fit = self.window.fit(*x.shape[2:])
        if engine.is_winograd(fit, self.group, x.shape[1], weight.shape[0]):
            return winograd_depthwise(x, weight, bias, fit)
        y = convolve(x, weight, fit, self.group, engine.is_fused(fit))
        if bias is not None:
            y += bias.reshape(-1, *[1] * (x.ndim - 2))
        return from_nchw(y, self.order)

    def lower(self, graph, x, weight, bias=None):
        rank = len(x.shape)
        fit = self.window.fit(*image_shape(x.type, self.order, self.window.dims)[2:])
        if self.order == "NHWC":
            x, weight = graph.to_nchw(x, rank), graph.to_nchw(weight, rank)
        y = graph.add("Conv", x, weight, bias, **fit.attributes, dilations=fit.dilation, group=self.group)
        return graph.to_nhwc(y, rank) if self.order == "NHWC" else y

    def macs(self, x, weight, bias=None):
        return self.infer(x, weight, bias).size * (weight.size // weight.shape[0])

    def workspace(self, x, weight, bias=None):
        count, channels, *size = image_shape(x, self.order, self.window.dims)
        return 4 * count * channels * self.window.fit(*size).padded_area(*size)


@operator("ConvRelu")
@dataclass(frozen=True)
class ConvRelu(Conv):
    """ReLU of a convolution."""

    def compute(self, x, weight, bias=None):
        return np.maximum(super().compute(x, weight, bias), 0)

    def lower(self, graph, x, weight, bias=None):
        return graph.add("Relu", super().lower(graph, x, weight, bias))


@dataclass(frozen=True)
class Adjustment:
    """adj, or adj_h and adj_w, or adjs: what the output size gains over the smallest that fits."""

    pixels: tuple[int, ...] = (0, 0)

    @classmethod
    def decode(cls, arguments: Arguments) -> "Adjustment":
        return cls(pair(arguments, "adj") or (0, 0))


@dataclass(frozen=True)
class Upscaling:
    """The geometry of transposed convolutions."""

    window: Window
    adj: Adjustment

    def size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output (ConvTransposeUnpoolBase::ComputeSizeAndPad)."""
        window, pixels = self.window, self.adj.pixels
        if window.dims != 2:
            raise ModelError("a transposed convolution is of two dimensions")
        if window.dilation != (1, 1) or window.legacy_pad == CAFFE_POOLING:
            raise ModelError("a transposed convolution takes neither dilation nor legacy_pad 3")
        if any(not 0 <= a < s for a, s in zip(pixels, window.stride, strict=True)):
            raise ModelError(f"adj {list(pixels)} must be below the stride {list(window.stride)}")
        rows, columns = (
            (size - 1) * window.stride[i] + window.kernel[i] + pixels[i] - window.pads[i] - window.pads[i + 2]
            for i, size in enumerate((height, width))
        )
        if min(rows, columns, height, width) < 1:
            raise ModelError(f"an output of {rows} by {columns} pixels of {height} by {width}")
        return rows, columns

    def full_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the output before its pads are cut off."""
        window = self.window
        rows, columns = (
            max((size - 1) * window.stride[i] + window.kernel[i], window.pads[i] + output)
            for i, (size, output) in enumerate(zip((height, width), self.size(height, width), strict=True))
        )
        return rows, columns

    def lower(self, graph, x, weight, bias, group: int = 1) -> str:
        """On NCHW images."""
        return graph.add(
            "ConvTranspose",
            *(x, weight, bias),
            kernel_shape=self.window.kernel,
            strides=self.window.stride,
            pads=self.window.pads,
            output_padding=self.adj.pixels,
            group=group,
        )


@operator("ConvTranspose")
@dataclass(frozen=True)
class ConvTranspose(Windowed):
    """Transposed convolution; weight [C, O / group, kh, kw] in NCHW order, [C, kh, kw, O] in NHWC order."""

    adj: Adjustment
    group: int = 1
    order: str = "NCHW"

    layer = Layer.TRANSPOSED_CONVOLUTION
    parameters = ("w", "b")
    carries_order = True

    def infer(self, x, weight, bias=None):
        count, channels, height, width = image_shape(x, self.order)
        in_channels, per_group, *kernel = ordered_weight(weight.shape, self.order)
        if self.group < 1 or channels % self.group:
            raise ModelError(f"{channels} channels do not divide into {self.group} groups")
        if in_channels != channels or tuple(kernel) != self.window.kernel:
            raise ModelError(f"weight {list(weight.shape)} does not fit {channels} channels, kernel {kernel}")
        check_bias(bias, per_group * self.group)
        size = Upscaling(self.window, self.adj).size(height, width)
        return x.with_shape(ordered((count, per_group * self.group, *size), self.order))

    def compute(self, x, weight, bias=None):
        x, weight = to_nchw(x, self.order), to_nchw(weight, self.order)
        y = scatter(x, weight, Upscaling(self.window, self.adj), self.group)
        return from_nchw(y if bias is None else y + bias[:, None, None], self.order)

    def lower(self, graph, x, weight, bias=None):
        if self.order == "NHWC":
            x, weight = graph.to_nchw(x), graph.to_nchw(weight)
        y = Upscaling(self.window, self.adj).lower(graph, x, weight, bias, self.group)
        return graph.to_nhwc(y) if self.order == "NHWC" else y

    def macs(self, x, weight, bias=None):
        return x.size * (weight.size // weight.shape[0])

    def workspace(self, x, weight, bias=None):
        count, _, *size = image_shape(x, self.order)
        channels = ordered_weight(weight.shape, self.order)[1] * self.group
        return 4 * count * channels * math.prod(Upscaling(self.window, self.adj).full_size(*size))
