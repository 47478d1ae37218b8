"""Poolings over windows and over the whole map."""

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.window import Window, on_lines
from exporters.onnx_to_caffe2.registry import Node, converts


@converts("MaxPool")
@on_lines
def max_pool(node, x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0,
auto_pad="NOTSET",
             storage_order=0):  # fmt: skip
    window = Window.of(x, node.output, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    return _pool(node, "MaxPool", x, window)


@converts("AveragePool")
@on_lines
def average_pool(node, x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0,
auto_pad="NOTSET",
                 count_include_pad=0):  # fmt: skip
    """Caffe2 leaves padding out of the average by default, as ONNX does."""
    window = Window.of(x, node.output, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    if not count_include_pad or not any(window.pads):
        return _pool(node, "AveragePool", x, window)
    declared = Window.of(x, node.output, kernel_shape, strides, pads, dilations)
    if window == declared or auto_pad != "NOTSET":
        return _pool(node, "AveragePool", x, window, count_include_pad=1)
    # The declared padding counts, what ceil_mode adds at the end does not.
    top, left, bottom, right = declared.pads
    padded = node.add("PadImage", [x], pad_t=top, pad_l=left, pad_b=bottom, pad_r=right)
    rest = (0, 0, window.pads[2] - bottom, window.pads[3] - right)
    return _pool(node, "AveragePool", padded, Window(window.kernel, window.strides, rest, window.dilations))


@converts("LpPool")
@on_lines
def lp_pool(node, x, *, kernel_shape, strides=None, pads=None, dilations=None, ceil_mode=0, auto_pad="NOTSET",
            p=2):  # fmt: skip
    """(sum of |x|^p)^(1/p): the sum is the mean over the whole window times its area."""
    window = Window.of(x, node.output, kernel_shape, strides, pads, dilations, auto_pad, ceil_mode)
    powers = node.add("Pow", [node.add("Abs", [x])], exponent=float(p))
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
    if x.rank != 4:
        raise Unsupported(f"a map of {x.rank - 2} dimensions; images have 2")
    height, width = x.shape[2:]
    if not (x.is_fixed(2) and x.is_fixed(3)):
        pooled = node.add(kind, [x], global_pooling=1)
    elif height == width:
        pooled = node.add(kind, [x], kernel=height, stride=1)
    else:
        pooled = node.add(kind, [x], kernel_h=height, kernel_w=width, stride=1)
    pooled.known_shapes = x.shapes_with(lambda shape: (*shape[:2], 1, 1))
    return pooled


def _pool(node: Node, kind: str, x: Blob, window: Window, **arguments) -> Blob:
    if window.dilations != (1, 1):
        raise Unsupported("dilations other than 1")
    if any(pad >= kernel for pad, kernel in zip(window.pads, window.kernel * 2, strict=True)):
        raise Unsupported(f"padding {window.pads} that is not smaller than the kernel {window.kernel}")
    arguments = window.arguments() | arguments
    if arguments.get("pad") == 0:
        del arguments["pad"]
    return node.add(kind, [x], **arguments)


@converts("RoiAlign")
def roi_align(node, x, rois, batch_indices, *, mode="avg", output_height=1, output_width=1, sampling_ratio=0,
              spatial_scale=1.0, coordinate_transformation_mode=None):  # fmt: skip
    """Caffe2's regions have the image's number in front of their corners."""
    if mode != "avg":
        raise Unsupported(f"mode {mode}; Caffe2's RoIAlign averages")
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
