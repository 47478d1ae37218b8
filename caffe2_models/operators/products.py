"""float32 sums of products in an order of their own, the same on every machine.

Caffe2 has them from MKL, which adds up in another order on each processor. On one that MKL does not know (any but
Intel's) it takes the plain one, and so do these: each output is one sum over input channels, then over the kernel's
taps, every product rounded before it is added. NNPACK, where the file names it as the engine, computes the
same sum in fused multiply-adds. The bias comes last.
"""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_models import kernels
from caffe2_models.arguments import Arguments
from caffe2_models.operators.window import Fit

BLOCK = 1 << 20  # elements of a matrix that are widened at a time


@dataclass(frozen=True)
class Engine:
    """What a file says should compute a convolution, as far as it computes another rounding.

    Of NNPACK's convolutions those without a stride and with a kernel, which it does by Winograd's and Fourier's
    transforms, are summed as any other.
    """

    names: tuple[str, ...] = ()

    @classmethod
    def decode(cls, arguments: Arguments) -> "Engine":
        return cls(tuple(name for name in arguments.engine.split(",") if name in ("NNPACK", "DEPTHWISE_3x3")))

    def is_fused(self, fit: Fit) -> bool:
        return "NNPACK" in self.names and len(fit.kernel) == 2 and (fit.area == 1 or fit.stride != (1, 1))

    def is_winograd(self, fit: Fit, group: int, channels: int, out_channels: int) -> bool:
        geometry = (fit.kernel, fit.stride, fit.dilation) == ((3, 3), (1, 1), (1, 1))
        return "DEPTHWISE_3x3" in self.names and geometry and 1 < group == channels == out_channels


PLAIN = Engine()


def convolve(x: np.ndarray, weight: np.ndarray, fit: Fit, group: int = 1, fused: bool = False) -> np.ndarray:
    """Convolution of x [N, C, *size] with weight [O, C / group, *kernel], zeros around it."""
    count, channels = x.shape[:2]
    x = np.ascontiguousarray(np.pad(x, fit.margins) if any(fit.pads) else x)
    size = x.shape[2:]
    taps = places_of(size, fit.kernel, fit.dilation)
    taps = (np.arange(channels // group)[:, None] * math.prod(size) + taps).ravel()
    y = ordered_sums(
        x.reshape(count, group, channels // group * math.prod(size)),
        weight.reshape(group, weight.shape[0] // group, -1),
        taps,
        places_of(size, fit.output, fit.stride),
        fused,
    )
    return y.reshape(count, weight.shape[0], *fit.output)


def multiply(weight: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Products of the matrices weight [groups, rows, K] and x [N, groups, K, pixels]."""
    depth, pixels = x.shape[2:]
    x = np.ascontiguousarray(x).reshape(*x.shape[:2], depth * pixels)
    return ordered_sums(x, weight, np.arange(depth) * pixels, np.arange(pixels), False)


def ordered_sums(x: np.ndarray, weight: np.ndarray, taps: np.ndarray, places: np.ndarray, fused: bool) -> np.ndarray:
    """[N, groups, rows, pixels]: the sums over k of weight [groups, rows, k] times x [N, groups, taps[k] + places]."""
    if kernel := kernels.find("ordered_sums"):
        return kernel(x, weight, taps, places, fused)
    total = np.zeros((x.shape[0], *weight.shape[:2], places.size), np.float32)
    for k, tap in enumerate(taps):
        seen, factor = x[:, :, None, tap + places], weight[:, :, k, None]
        if fused:
            total = (total + factor * seen.astype(np.float64)).astype(np.float32)
        else:
            total += factor * seen
    return total


def places_of(size: tuple[int, ...], counts: tuple[int, ...], steps: tuple[int, ...]) -> np.ndarray:
    """Places, in an image of this size, of a grid of so many pixels, so far from each other."""
    grid = [np.arange(count) * step for count, step in zip(counts, steps, strict=True)]
    return np.ravel_multi_index(np.meshgrid(*grid, indexing="ij"), size).ravel()


def precise_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of two matrices, as float64 would have it."""
    wide, step = a.astype(np.float64), max(1, BLOCK // max(1, b.shape[0]))
    parts = [(wide @ b[:, i : i + step].astype(np.float64)).astype(np.float32) for i in range(0, b.shape[1], step)]
    return np.concatenate(parts, axis=1) if parts else np.zeros((a.shape[0], 0), np.float32)


def winograd_depthwise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None, fit: Fit) -> np.ndarray:
    """Depthwise convolution of x [N, C, H, W], kernel 3 x 3, by Winograd's F(2 x 2, 3 x 3), as DEPTHWISE_3x3 does.

    "Fast Algorithms for Convolutional Neural Networks" (Lavin and Gray, 2015); the bias is added to the products'
    second in the second row, which every output takes once.
    """
    count, channels = x.shape[:2]
    down, across = ((extent + 1) // 2 for extent in fit.output)
    padded = np.zeros((count, channels, 2 * down + 2, 2 * across + 2), np.float32)
    rows, columns = (min(extent, whole - pad) for extent, whole, pad in zip(
        x.shape[2:], padded.shape[2:], fit.pads[:2], strict=True))  # fmt: skip
    padded[:, :, fit.pads[0] : fit.pads[0] + rows, fit.pads[1] : fit.pads[1] + columns] = x[:, :, :rows, :columns]
    bias = np.zeros(channels, np.float32) if bias is None else bias
    y = (kernels.find("winograd_depthwise") or _winograd_depthwise)(padded, weight.reshape(channels, 9), bias)
    return np.ascontiguousarray(y[:, :, : fit.output[0], : fit.output[1]])


def _winograd_depthwise(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x [N, C, 2 down + 2, 2 across + 2], weight [C, 9] and bias [C] to [N, C, 2 down, 2 across]."""
    count, channels, *size = x.shape
    down, across = (extent // 2 - 1 for extent in size)
    columns = [np.stack([x[:, :, i : i + 2 * down : 2, j : j + 2 * across : 2] for j in range(4)]) for i in range(4)]
    factors = _twice(_kernel_transform, np.moveaxis(weight.reshape(channels, 3, 3), 0, 2))
    products = factors[:, :, None, :, None, None] * _twice(_input_transform, np.stack(columns))
    products[1, 1] += bias[:, None, None]
    pixels = _output_transform(_output_transform(products.swapaxes(0, 1)).swapaxes(0, 1))  # [2, 2, N, C, down, across]
    return pixels.transpose(2, 3, 4, 0, 5, 1).reshape(count, channels, 2 * down, 2 * across)


def _twice(transform, tiles: np.ndarray) -> np.ndarray:
    """Along columns, then along rows: the first two dimensions."""
    return transform(transform(tiles).swapaxes(0, 1)).swapaxes(0, 1)


def _input_transform(d: np.ndarray) -> np.ndarray:
    return np.stack([d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]])


def _kernel_transform(g: np.ndarray) -> np.ndarray:
    half = np.float32(0.5)
    even, odd = half * (g[0] + g[2]), half * g[1]
    return np.stack([g[0], even + odd, even - odd, g[2]])


def _output_transform(m: np.ndarray) -> np.ndarray:
    return np.stack([m[0] + m[1] + m[2], m[1] - m[2] - m[3]])
