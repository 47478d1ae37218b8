"""Images sampled at places that the net computes: taps around each place, gathered and weighted."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.indexing import INT64
from exporters.onnx_to_caffe2.operators.layout import slice_axis
from exporters.onnx_to_caffe2.operators.logic import round_
from exporters.onnx_to_caffe2.operators.window import Window
from exporters.onnx_to_caffe2.registry import Node, converts

CUBIC = -0.75  # Keys' coefficient, as ONNX and torch have it
EXACT = 1 << 24  # whole numbers that float32 holds


@converts("GridSample")
def grid_sample(node, x, grid, *, mode="linear", padding_mode="zeros", align_corners=0):
    """The grid [N, *output, D] has places from -1 to 1, the last dimension first."""
    mode = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    sizes = [x.fixed_dim(axis) for axis in range(2, x.rank)]
    output = [grid.fixed_dim(axis) for axis in range(1, grid.rank - 1)]
    flat = node.add("Reshape", [grid], shape=[0, math.prod(output), len(sizes)])
    places = []
    for axis, size in enumerate(sizes):
        normal = slice_axis(node, flat, 2, len(sizes) - 1 - axis, len(sizes) - axis)
        place = _linear(node, node.add("Squeeze", [normal], dims=[2]), 1, 1)
        if align_corners:
            places.append(_linear(node, place, (size - 1) / 2, 0))
        else:
            places.append(_linear(node, _linear(node, place, size, -1), 0.5, 0))
    borders = [(0.0, size - 1.0) if align_corners else (-0.5, size - 0.5) for size in sizes]
    y = sample(node, x, places, mode, padding_mode, borders)
    return node.add("Reshape", [y], shape=[0, x.fixed_dim(1), *output])


@converts("AffineGrid", constants={1: "size"})
def affine_grid(node, theta, *, size, align_corners=0):
    """Places [N, *output, D] of the output's pixels, from -1 to 1, turned by theta [N, D, D + 1]."""
    output = [int(extent) for extent in size[2:]]
    steps = [np.arange(extent, dtype=np.float64) for extent in output]
    sides = [
        2 * step / max(extent - 1, 1) - 1 if align_corners else (2 * step + 1) / extent - 1
        for step, extent in zip(steps, output, strict=True)
    ]
    mesh = np.meshgrid(*sides, indexing="ij")
    places = np.stack([*(axis.ravel() for axis in mesh[::-1]), np.ones(math.prod(output))], axis=1)
    weight, zeros = node.constant(np.float32(places)), node.constant(np.zeros(len(places), np.float32))
    turned = node.add("Transpose", [node.add("FC", [theta, weight, zeros], axis=2)], axes=[0, 2, 1])
    return node.add("Reshape", [turned], shape=[0, *output, len(output)])


@converts("DeformConv")
def deform_conv(node, x, weight, offset, bias=None, mask=None, *, kernel_shape=None, strides=None, pads=None,
                dilations=None, group=1, offset_group=1):  # fmt: skip
    """Bilinear samples at the window's places and their offsets, as columns, and a convolution of single pixels."""
    if x.rank != 4 or not weight.is_constant:
        raise Unsupported("Caffe2's DeformConv is for GPUs, and its Conv wants weights that are constants, on images")
    window = Window.of(x, node.output, weight.shape[2:], strides, pads, dilations)
    height, width = node.output.shape[2:]
    rows, columns = window.places(x)
    area, pixels = math.prod(window.kernel), height * width
    starts = (
        np.broadcast_to(rows.T[:, None, :, None], (*window.kernel, height, width)).reshape(-1),
        np.broadcast_to(columns.T[None, :, None, :], (*window.kernel, height, width)).reshape(-1),
    )
    shifts = node.add("Reshape", [offset], shape=[0, offset_group, area, 2, pixels])
    channels = x.fixed_dim(1) // offset_group
    parts = []
    for index in range(offset_group):
        group_shifts = slice_axis(node, shifts, 1, index, index + 1)
        places = []
        for side, start in enumerate(starts):
            shift = node.add("Reshape", [slice_axis(node, group_shifts, 3, side, side + 1)], shape=[0, area * pixels])
            places.append(node.add("Add", [shift, node.constant(start.astype(np.float32))]))
        source = slice_axis(node, x, 1, index * channels, (index + 1) * channels)
        seen = sample(node, source, places, "linear", "zeros", [])
        if mask is not None:
            share = slice_axis(node, mask, 1, index * area, (index + 1) * area)
            seen = node.add("Mul", [seen, node.add("Reshape", [share], shape=[0, 1, area * pixels])])
        parts.append(seen)
    seen = node.add_many("Concat", parts, 1, axis=1)[0] if len(parts) > 1 else parts[0]
    seen = node.add("Reshape", [seen], shape=[0, x.fixed_dim(1) * area, height, width])
    matrix = node.constant(weight.value.reshape(len(weight.value), -1, 1, 1))
    return node.add("Conv", [seen, matrix, bias], kernel=1, group=group if group > 1 else None)


def sample(
    node: Node, x: Blob, places: Sequence[Blob], mode: str, padding: str, borders: Sequence[tuple[float, float]]
) -> Blob:
    """x [N, C, *size] at places [N, P], in pixels, of each of its dimensions: [N, C, P].

    mode: nearest, linear or cubic; padding: what is beyond the image, zeros, border or reflection (at the borders).
    """
    sizes = [x.fixed_dim(axis) for axis in range(2, x.rank)]
    if mode not in TAPS or math.prod(sizes) > EXACT:
        raise Unsupported(f"mode {mode} of maps of {math.prod(sizes)} pixels")
    if mode == "nearest":
        places = [round_(node, place) for place in places]
    if padding == "reflection":
        places = [_reflected(node, place, *border) for place, border in zip(places, borders, strict=True)]
    if padding == "border":
        places = [node.add("Clip", [p], min=0.0, max=size - 1.0) for p, size in zip(places, sizes, strict=True)]
    taps = [TAPS[mode](node, place) for place in places]
    seen = [
        [_within(node, index, weight, size, padding, border) for index, weight in pairs]
        for pairs, size, border in itertools.zip_longest(taps, sizes, borders)
    ]
    strides = [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]
    channels = x.fixed_dim(1)
    flat = node.add("Reshape", [x], shape=[0, channels, math.prod(sizes)])
    total = None
    for corner in itertools.product(*seen):
        index = _total(node, [_linear(node, at, stride, 0) for (at, _), stride in zip(corner, strides, strict=True)])
        index = node.add("ExpandDims", [as_type(node, index, INT64)], dims=[1])
        index = node.add("Tile", [index], tiles=channels, axis=1) if channels > 1 else index
        value = node.add("Gather", [flat, index], axis=2, match_outer=1)
        for _, weight in corner:
            value = value if weight is None else node.add("Mul", [value, node.add("ExpandDims", [weight], dims=[1])])
        total = value if total is None else node.add("Sum", [total, value])
    assert total is not None
    return total


Tap = tuple[Blob, Blob | None]  # a pixel's place, float32, and its weight; None: 1


def _nearest_taps(node: Node, place: Blob) -> list[Tap]:
    return [(place, None)]


def _linear_taps(node: Node, place: Blob) -> list[Tap]:
    low = node.add("Floor", [place])
    share = node.add("Sub", [place, low])
    return [(low, _linear(node, share, -1, 1)), (_linear(node, low, 1, 1), share)]


def _cubic_taps(node: Node, place: Blob) -> list[Tap]:
    """Keys, Cubic convolution interpolation (1981), in the distances 1 + s, s, 1 - s and 2 - s."""
    low = node.add("Floor", [place])
    share = node.add("Sub", [place, low])
    rest = _linear(node, share, -1, 1)
    far, near = (-4 * CUBIC, 8 * CUBIC, -5 * CUBIC, CUBIC), (1.0, 0.0, -(CUBIC + 3), CUBIC + 2)
    weights = [
        _polynomial(node, _linear(node, share, 1, 1), far),
        _polynomial(node, share, near),
        _polynomial(node, rest, near),
        _polynomial(node, _linear(node, rest, 1, 1), far),
    ]
    return [(_linear(node, low, 1, step), weight) for step, weight in zip((-1, 0, 1, 2), weights, strict=True)]


TAPS = {"nearest": _nearest_taps, "linear": _linear_taps, "cubic": _cubic_taps}


def _within(node: Node, index: Blob, weight: Blob | None, size: int, padding: str, border) -> Tap:
    """A pixel that is there: beyond the image, in zeros, one of no weight; else one at the border, or reflected."""
    if padding == "reflection":
        index = _reflected(node, index, *border)
        index = node.add("Floor", [_linear(node, index, 1, 0.25)]) if border[0] else index
    inside = node.add("Clip", [index], min=0.0, max=size - 1.0)
    if padding != "zeros":
        return inside, weight
    there = as_type(node, node.add("EQ", [inside, index]), np.dtype(np.float32))
    return inside, there if weight is None else node.add("Mul", [weight, there])


def _reflected(node: Node, x: Blob, low: float, high: float) -> Blob:
    """Back and forth between two borders: |x - low| modulo twice the way between them."""
    span = high - low
    if span <= 0:
        return _linear(node, x, 0, low)
    way = node.add("Abs", [_linear(node, x, 1, -low)])
    turns = node.add("Floor", [_linear(node, way, 1 / span, 0)])
    rest = node.add("Sub", [way, _linear(node, turns, span, 0)])
    even = _linear(node, node.add("Floor", [_linear(node, turns, 0.5, 0)]), 2, 0)
    odd = node.add("Sub", [turns, even])
    back = node.add("Mul", [odd, _linear(node, rest, -2, span)])
    return _linear(node, node.add("Add", [rest, back]), 1, low)


def _polynomial(node: Node, x: Blob, coefficients: Sequence[float]) -> Blob:
    """By Horner's rule, the constant first."""
    y = _linear(node, x, coefficients[-1], coefficients[-2])
    for coefficient in coefficients[-3::-1]:
        y = _linear(node, node.add("Mul", [y, x]), 1, coefficient)
    return y


def _linear(node: Node, x: Blob, scale: float, shift: float) -> Blob:
    """scale * x + shift"""
    if scale != 1:
        x = node.add("Mul", [x, node.constant(np.float32(scale))])
    return node.add("Add", [x, node.constant(np.float32(shift))]) if shift else x


def _total(node: Node, blobs: Sequence[Blob]) -> Blob:
    return node.add("Sum", blobs) if len(blobs) > 1 else blobs[0]
