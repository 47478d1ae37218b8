"""Fully connected layers."""

import numpy as np

from exporters.onnx_to_caffe2.registry import converts


@converts("Gemm")
def gemm(node, a, b, c=None, *, alpha=1.0, beta=1.0, transA=0, transB=0, broadcast=None):
    """alpha * A' * B' + beta * C; with constant B and C that is FC, whose weight is [out, in]."""
    if transA or not b.is_constant or (c is not None and not c.is_constant):
        return _general(node, a, b, c, alpha, beta, transA, transB)
    weight = b.value if transB else b.value.T
    weight = b if alpha == 1 and transB else node.constant(np.float32(alpha) * weight)
    bias = c if beta == 1 and c is not None and c.value.shape == weight.shape[:1] else None
    if bias is None:
        content = np.zeros(1, np.float32) if c is None else np.float32(beta) * c.value
        if content.ndim > 1 and content.shape[0] != 1:
            return _general(node, a, b, c, alpha, beta, transA, transB)
        bias = node.constant(np.broadcast_to(content.ravel(), weight.shape[:1]))
    return node.add("FC", [a, weight, bias])


def _general(node, a, b, c, alpha: float, beta: float, trans_a: int, trans_b: int):
    product = node.add("MatMul", [a, b], trans_a=trans_a or None, trans_b=trans_b or None)
    if alpha != 1:
        product = node.add("Mul", [product, node.constant(np.float32(alpha))])
    if c is None:
        return product
    if beta != 1:
        c = _scaled(node, c, beta)
    return node.add("Add", [product, c])


def _scaled(node, x, factor: float):
    if x.is_constant:
        return node.constant(np.float32(factor) * x.value)
    return node.add("Mul", [x, node.constant(np.float32(factor))])


@converts("MatMul")
def matmul(node, a, b):
    """A constant matrix on the right is a layer; anything else is a product of activations.

    A vector is a row on the left, a column on the right, and the product has no such dimension.
    """
    row, column = a.rank == 1, b.rank == 1
    if not (row or column):
        return _product(node, a, b)
    y = _product(node, _expanded(node, a, 0) if row else a, _expanded(node, b, 1) if column else b)
    rank = node.output.rank + row + column
    return node.add("Squeeze", [y], dims=[axis for axis, gone in ((rank - 2, row), (rank - 1, column)) if gone])


def _expanded(node, x, axis: int):
    """A vector as a matrix."""
    if x.is_constant:
        return node.constant(np.expand_dims(x.value, axis))
    y = node.add("ExpandDims", [x], dims=[axis])
    y.known_shapes = x.shapes_with(lambda shape: (*shape[:axis], 1, *shape[axis:]))
    return y


def _product(node, a, b):
    if b.is_constant and b.rank == 2 and a.rank > 1:
        weight, bias = node.constant(b.value.T), node.constant(np.zeros(b.shape[1], np.float32))
        return node.add("FC", [a, weight, bias], axis=a.rank - 1 if a.rank > 2 else None)
    if a.rank == b.rank == 2:
        return node.add("MatMul", [a, b])
    same_batch = [shape[:-2] for shape in a.shapes] == [shape[:-2] for shape in b.shapes]
    return node.add("BatchMatMul", [a, b], broadcast=None if same_batch else 1)
