"""Poolings over windows and over the whole map, and back."""

import math

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.indexing import looked_up, scattered
from exporters.onnx_to_caffe2.operators.layout import pad, pad_map
from exporters.onnx_to_caffe2.operators.window import Window, on_lines
from exporters.onnx_to_caffe2.registry import Node, converts

FLOAT32 = np.dtype(np.float32)
LOWEST = float(np.finfo(np.float32).min)


@converts("MaxPool")
@on_lines
def max_pool(node, x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET",
             storage_order=0):  # fmt: skip
    x, given = as_type(node, x, FLOAT32), x.dtype  # which holds bytes exactly
    window = Window.of(x, node.output, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    y = _largest(node, x, window) if window.is_dilated else _pool(node, "MaxPool", x, window)
    places = [_places_of_largest(node, x, window, storage_order)] if any(node.read[1:]) else []
    return [as_type(node, y, given), *places]


def _largest(node: Node, x: Blob, window: Window) -> Blob:
    """A dilated pooling, dimension by dimension: the largest of what Im2Col's window of one column sees."""
    for axis in range(2, x.rank):
        before, size, behind = (math.prod(x.fixed_dim(i) for i in part) for part in
                                (range(1, axis), [axis], range(axis + 1, x.rank)))  # fmt: skip
        kernel, stride, dilation, begin, end = (
            values[axis - 2] for values in (window.kernel, window.strides, window.dilations, window.begins, window.ends)
        )
        rows = node.add("Reshape", [x], shape=[0, before, size, behind])
        rows = pad_map(node, rows, begin, 0, end, 0, value=LOWEST)
        columns = node.add(
            "Im2Col", [rows], kernel_h=kernel, kernel_w=1, stride_h=stride, stride_w=1, dilation_h=dilation,
            dilation_w=1)  # fmt: skip
        made = columns.shape[2]
        taps = node.add("Reshape", [columns], shape=[0, before, kernel, made * behind])
        largest = node.add("ReduceMax", [taps], axes=[2], keepdims=0)
        x = node.add("Reshape", [largest], shape=[0, *x.shape[1:axis], made, *x.shape[axis + 1 :]])
    return x


def _places_of_largest(node: Node, x: Blob, window: Window, storage_order: int) -> Blob:
    """Where each window's maximum stands among all elements: the tap that ArgMax finds, and where the window is."""
    if window.dims != 2:
        raise Unsupported("places of maxima in volumes: Caffe2's Im2Col takes images")
    count, channels, height, width = (x.fixed_dim(axis) for axis in range(4))
    down, across = (1, height) if storage_order else (width, 1)
    rows, columns = window.places(x)
    starts = (rows[:, :1] * down + columns[:, 0] * across).ravel()
    taps = ((rows[0] - rows[0, 0])[:, None] * down + (columns[0] - columns[0, 0]) * across).ravel()
    seen = node.add("Im2Col", [pad_map(node, x, *window.pads, value=LOWEST)], **{
        f"{name}_{side}": values[i] for i, side in enumerate("hw") for name, values in
        (("kernel", window.kernel), ("stride", window.strides), ("dilation", window.dilations))
    })  # fmt: skip
    seen = node.add("Reshape", [seen], shape=[count, channels, len(taps), len(starts)])
    found = looked_up(node, taps, node.add("ArgMax", [seen], axis=2, keepdims=0))
    planes = np.arange(count * channels).reshape(count, channels, 1) * height * width
    places = node.add("Add", [found, node.constant(planes + starts)])
    return node.add("Reshape", [places], shape=[count, channels, len(rows), len(columns)])


@converts("MaxUnpool", constants={2: "output_shape"})
@on_lines
def max_unpool(node, x, places, *, kernel_shape, strides=None, pads=None, output_shape=None):
    """Zeros, but where the places say: of an output that the window gives, which a larger one pads behind."""
    window = Window.of(x, x, kernel_shape, strides, pads, None)
    steps = zip(x.shape[2:], window.strides, window.kernel, window.begins, window.ends, strict=True)
    size = [(n - 1) * stride + kernel - begin - end for n, stride, kernel, begin, end in steps]
    shape = [x.fixed_dim(0), x.fixed_dim(1), *size]
    zeros = node.constant(np.zeros(math.prod(shape), np.float32))
    flat = [node.add("Reshape", [blob], shape=[-1]) for blob in (x, places)]
    y = node.add("Reshape", [scattered(node, zeros, flat[1], flat[0])], shape=shape)
    behind = [want - have for want, have in zip(output_shape or shape, shape, strict=True)]
    return pad(node, y, pads=[0] * len(shape) + behind) if any(behind) else y


@converts("AveragePool")
@on_lines
def average_pool(node, x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET",
                 count_include_pad=0):  # fmt: skip
    """Caffe2 leaves padding out of the average by default, as ONNX does."""
    window = Window.of(x, node.output, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    declared = Window.of(x, node.output, kernel_shape, strides, pads, dilations)
    counted = window if auto_pad != "NOTSET" else declared  # what ceil_mode adds at the end does not count
    is_uneven = count_include_pad and window != counted
    if window.is_dilated or (is_uneven and window.dims != 2):
        return _mean(node, x, window, counted if count_include_pad else window.padded([0] * 2 * window.dims))
    if is_uneven:
        x = pad_map(node, x, *counted.begins, *counted.ends)
        window = window.padded([0, 0, *(all_ - some for all_, some in zip(window.ends, counted.ends, strict=True))])
    included = 1 if count_include_pad and any(window.pads) and not is_uneven else None
    return _pool(node, "AveragePool", x, window, count_include_pad=included)


def _mean(node: Node, x: Blob, window: Window, counted: Window) -> Blob:
    """The window's sum over how many of its pixels lie in the map with the pads that count."""
    shares = []
    for axis, places in enumerate(window.places(x)):
        low, high = -counted.begins[axis], x.shape[2 + axis] + counted.ends[axis]
        shares.append(((places >= low) & (places < high)).sum(axis=1))
    counts = shares[0]
    for share in shares[1:]:
        counts = np.multiply.outer(counts, share)
    return node.add("Mul", [_sums(node, x, window), node.constant(np.float32(1 / counts))])


def _sums(node: Node, x: Blob, window: Window) -> Blob:
    """What each window sees, added up: a convolution of each channel with ones."""
    size = [x.fixed_dim(axis) for axis in range(2, x.rank)]
    planes = node.add("Reshape", [x], shape=[-1, 1, *size])
    ones, zero = node.constant(np.ones((1, 1, *window.kernel), np.float32)), node.constant(np.zeros(1, np.float32))
    y = node.add("Conv", [planes, ones, zero], **window.arguments())
    return node.add("Reshape", [y], shape=[-1, x.fixed_dim(1), *y.shape[2:]])


@converts("LpPool")
@on_lines
def lp_pool(node, x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET",
            p=2):  # fmt: skip
    """(sum of |x|^p)^(1/p): the sum is the mean over the whole window times its area."""
    window = Window.of(x, node.output, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    powers = node.add("Pow", [node.add("Abs", [x])], exponent=float(p))
    if window.is_dilated:
        total = _sums(node, powers, window)
    else:
        mean = _pool(node, "AveragePool", powers, window, count_include_pad=1 if any(window.pads) else None)
        total = node.add("Mul", [mean, node.constant(np.float32(np.prod(window.kernel)))])
    return node.add("Pow", [total], exponent=1 / p)


@converts("GlobalAveragePool")
@on_lines
def global_average_pool(node, x):
    return pool_map(node, "AveragePool", x)


@converts("GlobalMaxPool")
@on_lines
def global_max_pool(node, x):
    return pool_map(node, "MaxPool", x)


def pool_map(node: Node, kind: str, x: Blob) -> Blob:
    """Pool the whole map: a window of the map's size, as the published nets do, or of any size where it is
    free.
    """
    size = x.shape[2:]
    if len(size) not in (2, 3):
        raise Unsupported(f"a map of {len(size)} dimensions; Caffe2's kernels have 1 to 3")
    if len(size) == 3 or not all(x.is_fixed(axis) for axis in range(2, x.rank)):
        pooled = node.add(kind, [x], global_pooling=1)
    elif size[0] == size[1]:
        pooled = node.add(kind, [x], kernel=size[0], stride=1)
    else:
        pooled = node.add(kind, [x], kernel_h=size[0], kernel_w=size[1], stride=1)
    pooled.known_shapes = x.shapes_with(lambda shape: (*shape[:2], *[1] * len(size)))
    return pooled


def _pool(node: Node, kind: str, x: Blob, window: Window, **arguments) -> Blob:
    if any(pad >= kernel for pad, kernel in zip(window.pads, window.kernel * 2, strict=True)):
        raise Unsupported(f"Caffe2's {kind} takes no pads {window.pads} that are not below its kernel {window.kernel}")
    arguments = window.arguments() | arguments
    if arguments.get("pad") == 0:
        del arguments["pad"]
    if window.dims == 3:
        del arguments["dilations"]
    return node.add(kind, [x], **arguments)


@converts("RoiAlign")
def roi_align(node, x, rois, batch_indices, *, mode="avg", output_height=1, output_width=1, sampling_ratio=0,
              spatial_scale=1.0, coordinate_transformation_mode=None):  # fmt: skip
    """Caffe2's regions have the image's number in front of their corners."""
    if mode != "avg":
        raise Unsupported(f"Caffe2's RoIAlign has no argument mode: it averages, and takes no {mode}")
    where = coordinate_transformation_mode or ("half_pixel" if node.opset >= 16 else "output_half_pixel")
    if batch_indices.is_constant:
        images = node.constant(batch_indices.value.astype(np.float32)[:, np.newaxis])
    else:
        images = node.add("Cast", [node.add("ExpandDims", [batch_indices], dims=[1])], to=1)
    regions = node.add("Concat", [images, rois], axis=1)
    return node.add(
        "RoIAlign",
        [x, regions],
        spatial_scale=float(spatial_scale),
        pooled_h=output_height,
        pooled_w=output_width,
        sampling_ratio=sampling_ratio,
        aligned=int(where == "half_pixel"),
    )
