"""Sliding windows in TensorFlow Lite: its paddings SAME and VALID, and a PAD where neither is the net's."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from exporters.caffe2_to_tflite.graph import Graph, Tensor

LOWEST = {np.dtype(np.float32): np.finfo(np.float32).min, np.dtype(np.uint8): 0, np.dtype(np.int8): -128}


@dataclass(frozen=True)
class Padded:
    """An image, padded where it must be, and the padding that the operator is told."""

    image: Tensor
    padding: int

    @property
    def options(self) -> dict[str, Any]:
        return {"padding": self.padding}


def pad_window(
    graph: Graph,
    image: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    pads: Sequence[int],
    output: Sequence[int],
    lowest: bool = False,
    same: bool = True,
) -> Padded:
    """For a window on an image stored as N, H, W, C.

    pads: top, left, bottom, right. output: (rows, columns). lowest: the padding is the lowest value, which no maximum
    is, in place of zero. same: whether SAME is the same operator.
    """
    sizes = image.stored[1:3]
    extents = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    wanted = [max((o - 1) * s + e - size, 0) for o, s, e, size in zip(output, stride, extents, sizes, strict=True)]
    is_same = all(-(-size // s) == o for size, s, o in zip(sizes, stride, output, strict=True)) and all(
        pads[axis] == need // 2 for axis, need in enumerate(wanted)
    )
    if same and is_same and any(wanted):
        return Padded(image, schema.Padding.SAME)
    after = [max(need - pads[axis], 0) for axis, need in enumerate(wanted)]
    if any(pads[:2]) or any(after):
        image = pad(graph, image, [(0, 0), (pads[0], after[0]), (pads[1], after[1]), (0, 0)], lowest)
    return Padded(image, schema.Padding.VALID)


def pad(graph: Graph, x: Tensor, widths: Sequence[tuple[int, int]], lowest: bool = False) -> Tensor:
    """Rows and columns around a tensor, by stored dimension: zeros (of bytes, the zero point), or the lowest value."""
    stored = [size + sum(width) for size, width in zip(x.stored, widths, strict=True)]
    shape = [stored[x.order.index(axis)] for axis in range(len(stored))]
    before_after = graph.constant(np.array(widths, np.int32))
    kept: dict[str, Any] = {"dtype": x.dtype, "order": x.order, "quantization": x.quantization}
    if not lowest:
        return graph.add("PAD", [x, before_after], shape, table="PadOptions", **kept)
    value = graph.constant(np.array(LOWEST[x.dtype], x.dtype), x.quantization)
    return graph.add("PADV2", [x, before_after, value], shape, table="PadV2Options", **kept)


def pool_options(kernel: Sequence[int], stride: Sequence[int]) -> dict[str, Any]:
    """Of the schema's Pool2DOptions."""
    window = {"filterHeight": kernel[0], "filterWidth": kernel[1]}
    return {**window, "strideH": stride[0], "strideW": stride[1]}


def conv_options(stride: Sequence[int], dilation: Sequence[int]) -> dict[str, Any]:
    """Of the schema's Conv2DOptions and DepthwiseConv2DOptions."""
    strides = {"strideH": stride[0], "strideW": stride[1]}
    return {**strides, "dilationHFactor": dilation[0], "dilationWFactor": dilation[1]}
