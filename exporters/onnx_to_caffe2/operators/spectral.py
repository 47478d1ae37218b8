"""Fourier transforms of fixed length, as products with matrices; of frames of a signal, as a convolution."""

import math

import numpy as np

from exporters.layers import Unsupported
from exporters.onnx_to_caffe2.operators.layout import transposed
from exporters.onnx_to_caffe2.registry import converts

MAX_LENGTH = 4096  # of a transform, whose matrix has four times its square of elements


@converts("DFT", constants={1: "length", 2: "axis_input"})
def dft(node, x, *, length=None, axis_input=None, axis=1, inverse=0, onesided=0):
    """x [..., N, ..., 1 or 2], the last real and imaginary parts."""
    default = axis if node.opset < 20 else -2
    axis = int(np.reshape(default if axis_input is None else axis_input, ())) % x.rank
    size, parts = x.fixed_dim(axis), x.fixed_dim(x.rank - 1)
    real = inverse and onesided
    count = int(np.reshape(length, ())) if length is not None else 2 * (size - 1) if real else size
    matrix = _matrix(size, count, parts, bool(inverse), bool(onesided))
    order = [*(i for i in range(x.rank - 1) if i != axis), axis, x.rank - 1]
    moved = transposed(node, x, order)
    rest = [moved.fixed_dim(i) for i in range(1, x.rank - 2)]
    rows = node.add("Reshape", [moved], shape=[0 if x.rank > 2 else 1, *rest, size * parts])
    weight, zeros = node.constant(matrix), node.constant(np.zeros(len(matrix), np.float32))
    y = node.add("FC", [rows, weight, zeros], axis=rows.rank - 1 if rows.rank > 2 else None)
    made = 1 if real else 2
    head = [0, *rest] if x.rank > 2 else []
    y = node.add("Reshape", [y], shape=[*head, len(matrix) // made, made])
    return transposed(node, y, [int(i) for i in np.argsort(order)])


@converts("STFT", constants={1: "step", 2: "window", 3: "length"})
def stft(node, x, *, step, window=None, length=None, onesided=1):
    """The signal [N, L, 1 or 2] as a line of one or two channels, and each bin of the spectrum two filters."""
    parts = x.fixed_dim(2)
    size = len(window) if window is not None else int(np.reshape(length, ()))
    matrix = _matrix(size, size, parts, False, bool(onesided))
    filters = matrix.reshape(len(matrix), size, parts).transpose(0, 2, 1)
    if window is not None:
        filters = filters * np.asarray(window, np.float32)
    line = node.add("ExpandDims", [node.add("Transpose", [x], axes=[0, 2, 1])], dims=[2])
    weight, zeros = node.constant(np.float32(filters[:, :, None])), node.constant(np.zeros(len(matrix), np.float32))
    stride = int(np.reshape(step, ()))
    seen = node.add("Conv", [line, weight, zeros], kernel_h=1, kernel_w=size, stride_h=1, stride_w=stride, pad=0)
    frames = node.add("Transpose", [node.add("Squeeze", [seen], dims=[2])], axes=[0, 2, 1])
    return node.add("Reshape", [frames], shape=[0, node.output.fixed_dim(1), len(matrix) // 2, 2])


def _matrix(size: int, count: int, parts: int, inverse: bool, onesided: bool) -> np.ndarray:
    """[outputs * parts, size * parts], float32: what each real or imaginary part takes of those of the input.

    The transform is of `count` elements: what the input has beyond them is left out, what is missing is zero. One
    side of a spectrum, as the input of an inverse transform, stands for both, and gives real values.
    """
    if max(size, count) > MAX_LENGTH:
        raise Unsupported(f"a Fourier transform of {max(size, count)} elements: Caffe2 has none, and matrices grow")
    rows = np.arange(count)
    real = inverse and onesided
    if onesided and not inverse:
        rows = rows[: count // 2 + 1]
    columns = np.arange(size)
    angle = 2 * np.pi * (np.outer(rows, columns) % count) / count
    cosine, sine = np.cos(angle), np.sin(angle) * (1 if inverse else -1)
    used = (columns < (count // 2 + 1 if real else count)) * (1 / count if inverse else 1)
    if real:
        used = used * np.where((columns == 0) | (2 * columns == count), 1, 2)
    of_real, of_imaginary = [cosine, sine], [-sine, cosine]
    kept = [np.stack(both[: 1 if real else 2], axis=1) * used for both in (of_real, of_imaginary)]
    matrix = np.stack(kept[:parts], axis=3)
    return matrix.reshape(math.prod(matrix.shape[:2]), -1).astype(np.float32)
