"""Quantization and back: of one constant scale for a blob Caffe2's own, else the arithmetic that it stands for."""

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.convolution import conv
from exporters.onnx_to_caffe2.operators.linear import matmul
from exporters.onnx_to_caffe2.operators.logic import round_
from exporters.onnx_to_caffe2.registry import Node, converts

FLOAT32, INT32 = np.dtype(np.float32), np.dtype(np.int32)

# What is added to the zero points, and to the bytes, of a type to make them uint8.
OFFSETS = {np.dtype(np.uint8): 0, np.dtype(np.int8): 128}

WHOLE = ("uint8", "int8", "uint16", "int16")


@converts("QuantizeLinear")
def quantize_linear(node, x, scale, zero_point=None, *, axis=1, block_size=0, saturate=1, precision=0, output_dtype=0):
    """round(x / scale) + zero point, as far as the type goes."""
    dtype = node.output.dtype
    if (single := _single(scale, zero_point)) and dtype in OFFSETS:
        return node.add("Int8Quantize", [x], Y_scale=single[0], Y_zero_point=single[1] + OFFSETS[dtype])
    if dtype.name not in WHOLE:
        raise Unsupported(f"Caffe2 quantizes to no {dtype}")
    scale = _spread(node, scale, x, axis, block_size)
    zero_point = zero_point and _spread(node, zero_point, x, axis, block_size)
    steps = round_(node, node.add("Div", [as_type(node, x, FLOAT32), scale]))
    if zero_point is not None:
        steps = node.add("Add", [steps, as_type(node, zero_point, FLOAT32)])
    bounds = np.iinfo(dtype)
    return as_type(node, node.add("Clip", [steps], min=float(bounds.min), max=float(bounds.max)), dtype)


@converts("DequantizeLinear")
def dequantize_linear(node: Node, x: Blob, scale: Blob, zero_point: Blob | None = None, *, axis=1, block_size=0,
                      output_dtype=0):  # fmt: skip
    """(x - zero point) * scale"""
    single = _single(scale, zero_point)
    if x.scale is not None:
        if single is None or np.float32(x.scale) != np.float32(single[0]):
            raise Unsupported("Caffe2's Int8Dequantize has no argument for a scale: it is that of the Int8Quantize")
        return node.add("Int8Dequantize", [x])
    scale = _spread(node, scale, x, axis, block_size)
    zero_point = zero_point and _spread(node, zero_point, x, axis, block_size)
    if zero_point is not None and not (zero_point.is_constant and not zero_point.value.any()):
        x = node.add("Sub", [as_type(node, blob, INT32) for blob in (x, zero_point)])
    return node.add("Mul", [as_type(node, x, FLOAT32), scale])


@converts("QLinearMatMul")
def matmul_of_bytes(node, a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero):
    """Between bytes that are no blob of Caffe2's Int8Quantize, as the float product that it stands for."""
    factors = [dequantize_linear(node, *triple, axis=0) for triple in ((a, a_scale, a_zero), (b, b_scale, b_zero))]
    return _to_bytes(node, matmul(node, *factors), y_scale, y_zero)


@converts("QLinearConv")
def conv_of_bytes(node, x, x_scale, x_zero, w, w_scale, w_zero, y_scale, y_zero, bias=None, **attributes):
    """The same of a convolution; the bias has the scale of the products."""
    real = dequantize_linear(node, x, x_scale, x_zero)
    weight = dequantize_linear(node, w, w_scale, w_zero, axis=0)
    if bias is not None:
        bias = node.add("Mul", [as_type(node, bias, FLOAT32), node.add("Mul", [x_scale, w_scale])])
    return _to_bytes(node, conv(node, real, weight, bias, **attributes), y_scale, y_zero)


@converts("MatMulInteger")
def matmul_of_integers(node, a, b, a_zero=None, b_zero=None):
    _require_exact_sums(b.fixed_dim(max(b.rank - 2, 0)))
    return as_type(node, matmul(node, _centred(node, a, a_zero, -2), _centred(node, b, b_zero, -1)), INT32)


@converts("ConvInteger")
def conv_of_integers(node, x, w, x_zero=None, w_zero=None, **attributes):
    _require_exact_sums(int(np.prod(w.shape[1:])))
    return as_type(node, conv(node, _centred(node, x, x_zero, 1), _centred(node, w, w_zero, 0), **attributes), INT32)


def _require_exact_sums(count: int) -> None:
    if count * 255 * 255 >= 1 << 24:
        raise Unsupported(f"Caffe2's products of whole numbers are float32's, not exact in sums of {count} of bytes")


def _centred(node: Node, x: Blob, zero_point: Blob | None, axis: int) -> Blob:
    """x - zero point, float32, which holds it exactly. axis: of several zero points."""
    real = as_type(node, x, FLOAT32)
    if zero_point is None:
        return real
    shift = as_type(node, zero_point, FLOAT32)
    if shift.rank == 1:
        shift = _spread(node, shift, x, axis, 0)
    return node.constant(real.value - shift.value) if real.is_constant and shift.is_constant else (
        node.add("Sub", [real, shift]))  # fmt: skip


def _to_bytes(node: Node, x: Blob, scale: Blob, zero_point: Blob) -> Blob:
    steps = round_(node, node.add("Div", [x, scale]))
    steps = node.add("Add", [steps, as_type(node, zero_point, FLOAT32)])
    bounds = np.iinfo(node.output.dtype)
    return as_type(node, node.add("Clip", [steps], min=float(bounds.min), max=float(bounds.max)), node.output.dtype)


def _single(scale: Blob, zero_point: Blob | None) -> tuple[float, int] | None:
    """The one scale and zero point of a whole blob; None where there are several, or they are computed."""
    if not scale.is_constant or (zero_point is not None and not zero_point.is_constant):
        return None
    scales, zero_points = np.unique(scale.value), np.unique(0 if zero_point is None else zero_point.value)
    return (float(scales[0]), int(zero_points[0])) if scales.size == zero_points.size == 1 else None


def _spread(node: Node, values: Blob, x: Blob, axis: int, block_size: int) -> Blob:
    """Scales or zero points in a shape that broadcasts to x: one for all, for each of a dimension, or for blocks."""
    if values.rank == 0 or values.shape == (1,):
        return values
    axis %= x.rank
    if block_size:
        if not values.is_constant:
            raise Unsupported("Caffe2 repeats no blocks of scales that are computed")
        repeated = values.value.repeat(block_size, axis=axis)
        return node.constant(repeated[tuple(slice(dim) for dim in x.shape)])
    shape = [-1 if i == axis else 1 for i in range(x.rank)]
    return node.constant(values.value.reshape(shape)) if values.is_constant else (
        node.add("Reshape", [values], shape=shape))  # fmt: skip
