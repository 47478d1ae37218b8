"""Quantization and back, of one scale for a whole blob."""

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.registry import Node, converts

# What is added to the zero points, and to the bytes, of a type to make them uint8.
OFFSETS = {np.dtype(np.uint8): 0, np.dtype(np.int8): 128}


@converts("QuantizeLinear", constants={1: "scales", 2: "zero_points"})
def quantize_linear(node, x, *, scales, zero_points=0, axis=1, block_size=0, saturate=1, precision=0, output_dtype=0):
    scale, zero_point = _single(scales, zero_points)
    if node.output.dtype not in OFFSETS:
        raise Unsupported(f"Caffe2 quantizes to 8 bits, not to {node.output.dtype}")
    return node.add("Int8Quantize", [x], Y_scale=scale, Y_zero_point=zero_point + OFFSETS[node.output.dtype])


@converts("DequantizeLinear", constants={1: "scales", 2: "zero_points"})
def dequantize_linear(node: Node, x: Blob, *, scales, zero_points=0, axis=1, block_size=0, output_dtype=0):
    scale, _ = _single(scales, zero_points)
    if x.scale is None or np.float32(x.scale) != np.float32(scale):
        raise Unsupported("integers that no QuantizeLinear of the same scale made")
    return node.add("Int8Dequantize", [x])


def _single(scales, zero_points) -> tuple[float, int]:
    scales, zero_points = np.unique(scales), np.unique(zero_points)
    if scales.size != 1 or zero_points.size != 1:
        raise Unsupported("a scale for each channel of a blob; Caffe2 has one for all of it")
    return float(scales[0]), int(zero_points[0])
