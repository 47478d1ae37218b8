"""Convolutions."""

import math

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.layout import pad_map, slice_axis
from exporters.onnx_to_caffe2.operators.window import Window, on_lines
from exporters.onnx_to_caffe2.registry import Node, converts


@converts("Conv")
@on_lines
def conv(node, x, weight, bias=None, *, kernel_shape=None, strides=None, pads=None, dilations=None, group=1,
         auto_pad="NOTSET"):  # fmt: skip
    window = Window.of(x, node.output, weight.shape[2:], strides, pads, dilations, auto_pad)
    return node.add("Conv", [x, weight, bias], **window.arguments(group))


@converts("ConvTranspose")
@on_lines
def conv_transpose(node, x, weight, bias=None, *, kernel_shape=None, strides=None, pads=None, dilations=None, group=1,
                   output_padding=None, output_shape=None, auto_pad="NOTSET"):  # fmt: skip
    """Caffe2 has no dilations: constant weights are spread instead."""
    if any(dilation != 1 for dilation in dilations or ()):
        weight = _spread(node, weight, dilations)
    dims = x.rank - 2
    adjust = tuple(output_padding or (0,) * dims)
    window = Window.of(x, node.output, weight.shape[2:], strides, pads, None)
    if output_shape is not None or auto_pad.startswith("SAME"):
        window, adjust = _cropped_to(node.output.shape[2:], x.shape[2:], window, adjust, auto_pad)
    if dims == 3:
        return _over_volumes(node, x, weight, bias, window, adjust, group)
    arguments = window.arguments(group)
    if adjust != (0, 0):
        arguments |= {"adj": adjust[0]} if adjust[0] == adjust[1] else {"adj_h": adjust[0], "adj_w": adjust[1]}
    return node.add("ConvTranspose", [x, weight, bias], **arguments)


def _spread(node: Node, weight: Blob, dilations) -> Blob:
    """The weight with zeros between its taps."""
    if not weight.is_constant:
        raise Unsupported("Caffe2's ConvTranspose has no argument dilation, and the weights are no constants")
    kernel = [(k - 1) * d + 1 for k, d in zip(weight.shape[2:], dilations, strict=True)]
    spread = np.zeros((*weight.shape[:2], *kernel), np.float32)
    taps = [slice(None), slice(None), *(slice(None, None, dilation) for dilation in dilations)]
    spread[tuple(taps)] = weight.value
    return node.constant(spread)


def _over_volumes(node: Node, x: Blob, weight: Blob, bias: Blob | None, window: Window, adjust, group: int) -> Blob:
    """Caffe2's ConvTranspose is of images: zeros between the voxels, and a convolution with the mirrored weight.

    Zeros come by ConvTranspose of single pixels: along the depth of maps [D, H * W], then in maps [H, W].
    """
    if not weight.is_constant:
        raise Unsupported("Caffe2's ConvTranspose has kernels of 2 dimensions only, and the weights are no constants")
    channels, (depth, height, width) = x.fixed_dim(1), (x.fixed_dim(axis) for axis in (2, 3, 4))
    down, *across = window.strides
    one, zero = node.constant(np.ones((1, 1, 1, 1), np.float32)), node.constant(np.zeros(1, np.float32))
    planes = node.add("Reshape", [x], shape=[-1, 1, depth, height * width])
    planes = node.add("ConvTranspose", [planes, one, zero], kernel=1, stride_h=down, stride_w=1)
    planes = node.add("Reshape", [planes], shape=[-1, 1, height, width])
    planes = node.add("ConvTranspose", [planes, one, zero], kernel=1, stride_h=across[0], stride_w=across[1])
    sizes = [(size - 1) * stride + 1 for size, stride in zip((depth, height, width), window.strides, strict=True)]
    volume = node.add("Reshape", [planes], shape=[-1, channels, *sizes])
    begins = [k - 1 - pad for k, pad in zip(window.kernel, window.begins, strict=True)]
    ends = [k - 1 - pad + more for k, pad, more in zip(window.kernel, window.ends, adjust, strict=True)]
    for axis, (begin, end) in enumerate(zip(begins, ends, strict=True), 2):  # what is padded by less than nothing
        volume = slice_axis(node, volume, axis, max(-begin, 0), min(end, 0) or None)
    pads = tuple(max(pad, 0) for pad in (*begins, *ends))
    parts = np.split(weight.value[:, :, ::-1, ::-1, ::-1], group)
    mirrored = node.constant(np.concatenate([part.swapaxes(0, 1) for part in parts]))
    plain = Window(window.kernel, (1, 1, 1), pads, (1, 1, 1))
    return node.add("Conv", [volume, mirrored, bias], **plain.arguments(group))


def _cropped_to(wanted, size, window: Window, adjust, auto_pad: str) -> tuple[Window, tuple[int, ...]]:
    """The padding, and the adjustment, that give the wanted output size.

    ONNX's ConvTranspose: the odd pad goes below for SAME_UPPER.
    """
    full = [s * (n - 1) + a + k for s, n, a, k in zip(window.strides, size, adjust, window.kernel, strict=True)]
    totals = [max(0, have - want) for have, want in zip(full, wanted, strict=True)]
    begins = [total // 2 if auto_pad == "SAME_UPPER" else total - total // 2 for total in totals]
    ends = [total - begin for total, begin in zip(totals, begins, strict=True)]
    missing = [max(0, want - have) for have, want in zip(full, wanted, strict=True)]
    adjust = tuple(have + more for have, more in zip(adjust, missing, strict=True))
    return Window(window.kernel, window.strides, (*begins, *ends), window.dilations), adjust


@converts("Col2Im", constants={1: "image_shape", 2: "block_shape"})
def col2im(node, x, *, image_shape, block_shape, strides=None, pads=None, dilations=None):
    """Dimension after dimension, the last first: what a window saw along it, back by a transposed convolution.

    x [N, C * blocks, places] becomes [N, C, *image]. The weight of a tap is a single 1 at its place.
    """
    dims = len(image_shape)
    strides, dilations, pads = strides or [1] * dims, dilations or [1] * dims, pads or [0] * 2 * dims
    extents = [(block - 1) * dilation + 1 for block, dilation in zip(block_shape, dilations, strict=True)]
    places = [(size + pads[i] + pads[dims + i] - extents[i]) // strides[i] + 1 for i, size in enumerate(image_shape)]
    channels = x.fixed_dim(1) // math.prod(block_shape)
    for i in reversed(range(dims)):
        # [N * C * earlier blocks, block, earlier places, places, what is whole already]
        earlier, blocks, rest = math.prod(places[:i]), math.prod(block_shape[:i]), math.prod(image_shape[i + 1 :])
        x = node.add("Reshape", [x], shape=[-1, block_shape[i], earlier, places[i], rest])
        x = node.add("Transpose", [x], axes=[0, 2, 1, 3, 4])
        x = node.add("Reshape", [x], shape=[-1, block_shape[i], places[i], rest])
        taps = np.zeros((block_shape[i], 1, extents[i], 1), np.float32)
        taps[np.arange(block_shape[i]), 0, np.arange(block_shape[i]) * dilations[i]] = 1
        weight, zero = node.constant(taps), node.constant(np.zeros(1, np.float32))
        full = (places[i] - 1) * strides[i] + extents[i]
        y = node.add(
            "ConvTranspose", [x, weight, zero], kernel_h=extents[i], kernel_w=1, stride_h=strides[i], stride_w=1
        )
        missing = image_shape[i] + pads[i] + pads[dims + i] - full
        y = pad_map(node, y, 0, 0, missing, 0)
        x = slice_axis(node, y, 2, pads[i], pads[i] + image_shape[i])
        x = node.add("Reshape", [x], shape=[-1, channels * blocks, earlier * image_shape[i] * rest])
    return node.add("Reshape", [x], shape=[-1, channels, *image_shape])
