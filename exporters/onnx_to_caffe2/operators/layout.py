"""Shapes and the order of elements: reshaping, slicing, joining, padding."""

import itertools
import math
from collections.abc import Callable, Mapping

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.layers.graph import Shapes
from exporters.onnx_to_caffe2.operators.broadcasting import broadcast
from exporters.onnx_to_caffe2.registry import Node, converts

# Bounds of a slice beyond this mean the very end, or the beginning, of a dimension of any size.
FAR = 1 << 20


@converts("Reshape")
def reshape(node, x, shape=None, *, allowzero=0):
    return reshape_to(node, x, node.output)


@converts("Flatten")
def flatten(node, x, *, axis=1):
    axis = axis % x.rank if axis != x.rank else axis
    return node.add("Flatten", [x], axis=axis if axis != 1 else None)


@converts("Squeeze", constants={1: "axes"})
def squeeze(node, x, *, axes=None):
    axes = sorted(axis % x.rank for axis in axes) if axes else [i for i, dim in enumerate(x.shape) if dim == 1]
    return node.add("Squeeze", [x], dims=axes) if axes else x


@converts("Unsqueeze", constants={1: "axes"})
def unsqueeze(node, x, *, axes):
    return node.add("ExpandDims", [x], dims=sorted(axis % node.output.rank for axis in axes))


@converts("Transpose")
def transpose(node, x, *, perm=None):
    axes = list(perm) if perm else list(range(x.rank))[::-1]
    return x if axes == sorted(axes) else node.add("Transpose", [x], axes=axes)


@converts("Concat")
def concat(node, *inputs, axis):
    axis %= inputs[0].rank
    return node.add("Concat", inputs, axis=axis) if len(inputs) > 1 else inputs[0]


@converts("Split", constants={1: "split"})
def split(node, x, *, axis=0, split=None, num_outputs=None):
    axis %= x.rank
    sizes = [output.fixed_dim(axis) for output in node.outputs]
    return node.add_many("Split", [x], len(sizes), axis=axis, split=sizes)


@converts("Slice", constants={1: "starts", 2: "ends", 3: "axes", 4: "steps"})
def slice_(node, x, *, starts, ends, axes=None, steps=None):
    """Caffe2 slices one dimension at a time, without steps; a pooling of single pixels steps over the map.

    Backwards, a Gather of the places.
    """
    axes = [axis % x.rank for axis in (range(len(starts)) if axes is None else axes)]
    strides = dict(zip(axes, steps or [1] * len(axes), strict=True))
    for start, end, axis in zip(starts, ends, axes, strict=True):
        if strides[axis] < 0:
            places = np.arange(x.fixed_dim(axis))[start : end : strides.pop(axis)]
            x = node.add("Gather", [x, node.constant(places)], axis=axis or None)
        else:
            x = slice_axis(node, x, axis, start, end)
    if x.rank == 4 and all(step == 1 or axis in (2, 3) for axis, step in strides.items()):
        return _step(node, x, strides.get(2, 1), strides.get(3, 1))
    for axis, step in strides.items():
        x = x if step == 1 else _over_rows(node, x, axis, lambda rows, step=step: _step(node, rows, step, 1))
    return x


def _step(node: Node, x: Blob, rows: int, columns: int) -> Blob:
    """Every so many rows and columns of a map."""
    if rows == columns == 1:
        return x
    shapes = x.shapes_with(lambda s: (*s[:2], -(-s[2] // rows), -(-s[3] // columns)))
    return _typed(node.add("MaxPool", [x], kernel=1, stride_h=rows, stride_w=columns), shapes)


@converts("Expand")
def expand(node, x, shape=None):
    return broadcast(node, [x], node.output.shapes)[0]


@converts("Tile", constants={1: "repeats"})
def tile(node, x, *, repeats):
    for axis, count in enumerate(repeats):
        x = node.add("Tile", [x], tiles=count, axis=axis) if count != 1 else x
    return x


@converts("Pad", constants={1: "pads", 2: "value", 3: "axes"})
def pad(node, x, *, pads=None, paddings=None, value=0.0, axes=None, mode="constant"):
    """PadImage pads height and width; negative pads cut."""
    pads = list(pads if pads is not None else paddings)
    axes = [axis % x.rank for axis in (range(x.rank) if axes is None else axes)]
    sides = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    if mode == "wrap" or x.dtype != np.float32:
        return _pad_by_places(node, x, sides, mode, value)
    filling = {"value": float(np.reshape(value, ())) or None} if mode == "constant" else {"mode": mode}
    for axis, (begin, end) in sides.items():
        if min(begin, end) < 0:
            x = slice_axis(node, x, axis, max(-begin, 0), end if end < 0 else None)
    sides = {axis: (max(begin, 0), max(end, 0)) for axis, (begin, end) in sides.items() if max(begin, end) > 0}
    if x.rank == 4 and sides.keys() <= {2, 3}:
        (top, bottom), (left, right) = sides.get(2, (0, 0)), sides.get(3, (0, 0))
        return pad_map(node, x, top, left, bottom, right, **filling)
    for axis, (begin, end) in sides.items():
        x = _over_rows(node, x, axis, lambda rows, b=begin, e=end: pad_map(node, rows, b, 0, e, 0, **filling))
    return x


def _pad_by_places(node: Node, x: Blob, sides: Mapping[int, tuple[int, int]], mode: str, value) -> Blob:
    """What PadImage has no mode or type for: places gathered of each dimension, the value's behind its end."""
    for axis, (begin, end) in sides.items():
        if begin == end == 0:
            continue
        size = x.fixed_dim(axis)
        places = np.arange(-begin, size + end)
        if mode == "constant":
            row = [1 if i == axis else x.fixed_dim(i) for i in range(x.rank)]
            filler = node.constant(np.full(row, np.reshape(value, ()), x.dtype))
            x = node.add_many("Concat", [x, filler], 1, axis=axis)[0]
            places = np.where((places < 0) | (places >= size), size, places)
        elif mode == "edge":
            places = places.clip(0, size - 1)
        elif mode == "wrap":
            places %= size
        else:
            places = np.abs((places + size - 1) % (2 * size - 2) - size + 1) if size > 1 else 0 * places
        x = node.add("Gather", [x, node.constant(places)], axis=axis or None)
    return x


def pad_map(node: Node, x: Blob, top: int, left: int, bottom: int, right: int, **filling) -> Blob:
    """A map with rows and columns around it: zeros, or what PadImage's arguments say."""
    if not any((top, bottom, left, right)):
        return x
    y = node.add("PadImage", [x], pad_t=top, pad_l=left, pad_b=bottom, pad_r=right, **filling)
    return _typed(y, x.shapes_with(lambda s: (*s[:2], s[2] + top + bottom, s[3] + left + right)))


@converts("DepthToSpace")
def depth_to_space(node, x, *, blocksize, mode="DCR"):
    size, channels = blocksize, x.shape[1] // blocksize**2
    height, width = x.fixed_dim(2), x.fixed_dim(3)
    split_shape = [size, size, channels] if mode == "DCR" else [channels, size, size]
    order = [0, 3, 4, 1, 5, 2] if mode == "DCR" else [0, 1, 4, 2, 5, 3]
    x = node.add("Reshape", [x], shape=[0, *split_shape, height, width])
    x = node.add("Transpose", [x], axes=order)
    return node.add("Reshape", [x], shape=[0, channels, height * size, width * size])


@converts("SpaceToDepth")
def space_to_depth(node, x, *, blocksize, mode="DCR"):
    size, channels = blocksize, x.shape[1]
    height, width = x.fixed_dim(2) // size, x.fixed_dim(3) // size
    x = node.add("Reshape", [x], shape=[0, channels, height, size, width, size])
    x = node.add("Transpose", [x], axes=[0, 3, 5, 1, 2, 4] if mode == "DCR" else [0, 1, 3, 5, 2, 4])
    return node.add("Reshape", [x], shape=[0, channels * size**2, height, width])


def reshape_to(node: Node, x: Blob, y: Blob) -> Blob:
    """Reshape x as y, without fixing what the input's shape leaves free."""
    if x.shapes == y.shapes:
        return x
    if y.rank == 2 and _dim(x, 0) == _dim(y, 0):
        return node.add("Flatten", [x])
    shape: list[int] = []
    for axis in range(y.rank):
        same = axis < x.rank and _dim(x, axis) == _dim(y, axis)
        if same and (axis == 0 or not y.is_fixed(axis)):
            shape.append(0)
        elif y.is_fixed(axis):
            shape.append(y.shape[axis])
        elif -1 not in shape:
            shape.append(-1)
        else:
            raise Unsupported("several dimensions that depend on the input's shape; fix it with --img-size")
    return node.add("Reshape", [x], shape=shape)


def transposed(node: Node, x: Blob, order: list[int]) -> Blob:
    """x with its dimensions in another order."""
    if order == sorted(order):
        return x
    return node.constant(x.value.transpose(order)) if x.is_constant else node.add("Transpose", [x], axes=order)


def slice_axis(node: Node, x: Blob, axis: int, start: int, end: int | None) -> Blob:
    """x[start:end] along one axis. Caffe2 counts from the end with -1 for the end itself."""
    shapes = x.shapes_with(lambda s: _with(s, axis, len(range(*slice(start, end).indices(s[axis])))))
    if x.is_fixed(axis):
        dim = x.shape[axis]
        start, end, _ = slice(start, end).indices(dim)
        if (start, end) == (0, dim):
            return x
    else:
        start, end = (0 if start < -FAR else start), (None if end is not None and end > FAR else end)
        start = start if start >= 0 else start - 1
        end = -1 if end is None else end if end >= 0 else end - 1
    if 0 in itertools.chain(*shapes):
        raise Unsupported("a slice of nothing")
    starts, ends = [0] * x.rank, [-1] * x.rank
    starts[axis], ends[axis] = start, end
    return _typed(node.add("Slice", [x], starts=starts, ends=ends), shapes)


def _over_rows(node: Node, x: Blob, axis: int, change: Callable[[Blob], Blob]) -> Blob:
    """What `change` makes of x as a map whose rows run along the axis: Caffe2 pads and steps over maps only."""
    rank = x.rank
    if rank > 4:
        dims = [x.fixed_dim(i) for i in range(1, rank)]
        first = 0 if axis else x.fixed_dim(0)
        before, size, behind = (math.prod(part) for part in (dims[: axis - 1], dims[axis - 1 : axis], dims[axis:]))
        shape = [0, before, size, behind] if axis else [1, 1, first, math.prod(dims)]
        y = change(node.add("Reshape", [x], shape=shape))
        return node.add(
            "Reshape", [y], shape=[0 if i == 0 and axis else d for i, d in enumerate(_with(x.shape, axis, y.shape[2]))]
        )
    if rank < 4:
        shapes = x.shapes_with(lambda s: (*s, *[1] * (4 - rank)))
        x = _typed(node.add("ExpandDims", [x], dims=list(range(rank, 4))), shapes)
    y = change(x) if axis == 2 else _swapped_with_rows(node, change(_swapped_with_rows(node, x, axis)), axis)
    if rank == 4:
        return y
    return _typed(node.add("Squeeze", [y], dims=list(range(rank, 4))), y.shapes_with(lambda s: s[:rank]))


def _swapped_with_rows(node: Node, x: Blob, axis: int) -> Blob:
    order = list(range(4))
    order[axis], order[2] = 2, axis
    return _typed(node.add("Transpose", [x], axes=order), x.shapes_with(lambda s: tuple(s[i] for i in order)))


def _dim(x: Blob, axis: int) -> tuple[int, int]:
    return x.shape[axis], x.shapes[1][axis]


def _with(shape: tuple[int, ...], axis: int, dim: int) -> tuple[int, ...]:
    return (*shape[:axis], dim, *shape[axis + 1 :])


def _typed(blob: Blob, shapes: Shapes) -> Blob:
    blob.known_shapes = shapes
    return blob
