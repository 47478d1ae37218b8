"""Conv and ConvTranspose, float32."""

from dataclasses import dataclass

import numpy as np

from caffe2_models.errors import ModelError
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import Fit, Window
from caffe2_models.tensors import TensorType


def correlate(x: np.ndarray, weight: np.ndarray, fit: Fit, group: int = 1) -> np.ndarray:
    """Convolution of x [N, C, H, W] with weight [O, C / group, kh, kw], summed tap by tap in x's dtype.

    Tap by tap needs no more memory than two activations; padding is zero.
    """
    count, channels = x.shape[:2]
    out_channels, (rows, columns) = weight.shape[0], fit.output
    top, left, bottom, right = fit.pads
    x = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right))) if any(fit.pads) else x
    depthwise = group == channels == out_channels
    taps = weight.reshape(group, out_channels // group, channels // group, -1)
    total = None
    for tap in range(fit.area):
        seen = tap_of(x, fit, tap)
        if depthwise:
            part = seen * taps[:, 0, 0, tap][:, None, None]
        else:
            part = taps[..., tap] @ seen.reshape(count, group, channels // group, rows * columns)
        total = part if total is None else np.add(total, part, out=total)
    return total.reshape(count, out_channels, rows, columns)


def tap_of(x: np.ndarray, fit: Fit, tap: int) -> np.ndarray:
    """What one position of the kernel sees of the padded x [N, C, H, W]: [N, C, rows, columns]."""
    i, j = tap // fit.kernel[1] * fit.dilation[0], tap % fit.kernel[1] * fit.dilation[1]
    rows, columns = fit.output
    return x[
        :, :, i : i + rows * fit.stride[0] : fit.stride[0], j : j + columns * fit.stride[1] : fit.stride[1]
    ][:, :, :rows, :columns]


def scatter(
    x: np.ndarray, weight: np.ndarray, window: Window, output: tuple[int, int], group: int = 1
) -> np.ndarray:
    """Transposed convolution of x [N, C, H, W] with weight [C, O / group, kh, kw] to [N, O, *output]."""
    count, channels, height, width = x.shape
    per_group, (kernel_h, kernel_w), (stride_h, stride_w) = weight.shape[1], window.kernel, window.stride
    top, left = window.pads[:2]
    full = np.zeros(
        (
            count,
            group * per_group,
            *(
                max((size - 1) * s + k, p + o)
                for size, s, k, p, o in zip(
                    (height, width), window.stride, window.kernel, (top, left), output, strict=True
                )
            ),
        ),
        x.dtype,
    )
    seen = x.reshape(count, group, channels // group, height * width)
    taps = weight.reshape(group, channels // group, per_group, kernel_h, kernel_w)
    for i in range(kernel_h):
        for j in range(kernel_w):
            part = taps[..., i, j].swapaxes(1, 2) @ seen
            full[:, :, i : i + height * stride_h : stride_h, j : j + width * stride_w : stride_w] += (
                part.reshape(count, -1, height, width)
            )
    return full[:, :, top : top + output[0], left : left + output[1]]


def image_shape(x: TensorType, order: str) -> tuple[int, int, int, int]:
    """(N, C, H, W) of an image blob in either order; raises ModelError for another rank or order."""
    if len(x.shape) != 4:
        raise ModelError(f"an image of 4 dimensions is expected, not {list(x.shape)}")
    if order == "NCHW":
        return x.shape
    if order == "NHWC":
        count, height, width, channels = x.shape
        return count, channels, height, width
    raise ModelError(f"order {order!r} is neither NCHW nor NHWC")


def ordered(shape: tuple[int, int, int, int], order: str) -> tuple[int, int, int, int]:
    """An (N, C, H, W) shape in the given order."""
    count, channels, height, width = shape
    return shape if order == "NCHW" else (count, height, width, channels)


def check_convolution(
    channels: int, weight: TensorType, kernel, group: int, order: str, bias: TensorType | None
) -> int:
    """The number of output channels; raises ModelError where weight, bias, group and input do not agree."""
    out_channels, *rest = ordered_weight(weight.shape, order)
    if group < 1 or channels % group or out_channels % group:
        raise ModelError(
            f"{channels} input and {out_channels} output channels do not divide into {group} groups"
        )
    if tuple(rest) != (channels // group, *kernel):
        raise ModelError(
            f"weight {list(weight.shape)} does not fit {channels} channels, kernel {list(kernel)}, {group} groups"
        )
    if bias is not None and bias.shape != (out_channels,):
        raise ModelError(f"bias {list(bias.shape)} does not fit {out_channels} output channels")
    return out_channels


def ordered_weight(shape: tuple[int, ...], order: str) -> tuple[int, int, int, int]:
    """A weight shape as (out, in / group, kh, kw)."""
    if len(shape) != 4:
        raise ModelError(f"a weight of 4 dimensions is expected, not {list(shape)}")
    out_channels, first, second, third = shape
    return shape if order == "NCHW" else (out_channels, third, first, second)


@operator("Conv")
@dataclass(frozen=True)
class Conv(Operator):
    """Convolution; weight [O, C / group, kh, kw] in NCHW order, [O, kh, kw, C / group] in NHWC order."""

    window: Window = Window()
    group: int = 1
    order: str = "NCHW"

    def infer(self, x, weight, bias=None):
        count, channels, height, width = image_shape(x, self.order)
        out_channels = check_convolution(channels, weight, self.window.kernel, self.group, self.order, bias)
        return x.with_shape(
            ordered((count, out_channels, *self.window.fit(height, width).output), self.order)
        )

    def compute(self, x, weight, bias=None):
        if self.order == "NHWC":
            x, weight = x.transpose(0, 3, 1, 2), weight.transpose(0, 3, 1, 2)
        y = correlate(x, weight, self.window.fit(*x.shape[2:]), self.group)
        if bias is not None:
            y += bias[:, None, None]
        return np.ascontiguousarray(y.transpose(0, 2, 3, 1)) if self.order == "NHWC" else y

    def lower(self, graph, x, weight, bias=None):
        fit = self.window.fit(*image_shape(x.type, self.order)[2:])
        if self.order == "NHWC":
            x, weight = graph.to_nchw(x), graph.to_nchw(weight)
        y = graph.add("Conv", x, weight, bias, kernel_shape=fit.kernel, strides=fit.stride, dilations=fit.dilation,
                      pads=fit.pads, group=self.group)  # fmt: skip
        return graph.to_nhwc(y) if self.order == "NHWC" else y

    def macs(self, x, weight, bias=None):
        return self.infer(x, weight, bias).size * (weight.size // weight.shape[0])


@dataclass(frozen=True)
class Adjustment:
    """adj, or adj_h and adj_w, or adjs: what the output size gains over the smallest that fits."""

    pixels: tuple[int, int] = (0, 0)

    @classmethod
    def decode(cls, arguments):
        if "adj" in arguments:
            return cls((arguments.get_int("adj"),) * 2)
        if "adj_h" in arguments and "adj_w" in arguments:
            return cls((arguments.get_int("adj_h"), arguments.get_int("adj_w")))
        return cls(tuple(arguments.get_ints("adjs") or (0, 0)))


@operator("ConvTranspose")
@dataclass(frozen=True)
class ConvTranspose(Operator):
    """Transposed convolution, NCHW; weight [C, O / group, kh, kw]; adj adds rows and columns at the far end."""

    window: Window = Window()
    group: int = 1
    order: str = "NCHW"
    adj: Adjustment = Adjustment()

    def infer(self, x, weight, bias=None):
        if self.order != "NCHW":
            raise ModelError("ConvTranspose is supported in NCHW order only")
        count, channels, height, width = image_shape(x, self.order)
        if len(weight.shape) != 4 or weight.shape[0] != channels or weight.shape[2:] != self.window.kernel:
            raise ModelError(
                f"weight {list(weight.shape)} does not fit {channels} channels, kernel {self.window.kernel}"
            )
        out_channels = weight.shape[1] * self.group
        if channels % self.group or (bias is not None and bias.shape != (out_channels,)):
            raise ModelError(
                f"bias or {self.group} groups do not fit {channels} input, {out_channels} output channels"
            )
        return x.with_shape((count, out_channels, *transposed_size(self.window, self.adj, height, width)))

    def compute(self, x, weight, bias=None):
        y = scatter(x, weight, self.window, transposed_size(self.window, self.adj, *x.shape[2:]), self.group)
        return y + bias[:, None, None] if bias is not None else np.ascontiguousarray(y)

    def lower(self, graph, x, weight, bias=None):
        return graph.add("ConvTranspose", x, weight, bias, kernel_shape=self.window.kernel, strides=self.window.stride,
                         pads=self.window.pads, output_padding=self.adj.pixels, group=self.group)  # fmt: skip

    def macs(self, x, weight, bias=None):
        return x.size * (weight.size // weight.shape[0])


def transposed_size(window: Window, adjustment: Adjustment, height: int, width: int) -> tuple[int, int]:
    """(height, width) of a transposed convolution's output (ConvTransposeUnpoolBase::ComputeSizeAndPad)."""
    if window.dilation != (1, 1) or window.legacy_pad == 3:
        raise ModelError("a transposed convolution takes neither dilation nor legacy_pad 3")
    if len(adjustment.pixels) != 2 or any(
        not 0 <= a < s for a, s in zip(adjustment.pixels, window.stride, strict=True)
    ):
        raise ModelError(f"adj {list(adjustment.pixels)} must be below the stride {list(window.stride)}")
    sizes = tuple(
        (size - 1) * stride + kernel + adj - before - after
        for size, stride, kernel, adj, before, after in zip(
            (height, width),
            window.stride,
            window.kernel,
            adjustment.pixels,
            window.pads[:2],
            window.pads[2:],
            strict=True,
        )
    )
    if min(sizes) < 1:
        raise ModelError(f"an output of {sizes[0]} by {sizes[1]} pixels")
    return sizes
