"""Fully connected layers, products of matrices, determinants."""

import itertools

import numpy as np

from exporters.layers import Unsupported
from exporters.onnx_to_caffe2.operators.layout import reshape_to
from exporters.onnx_to_caffe2.registry import converts

MOST_ROWS = 5  # of a determinant: minors of all its columns are 2 ^ rows


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


@converts("Det")
def det(node, x):
    """Caffe2 has none: expanded by the minors of the first row, of the first two, and so on."""
    size = x.fixed_dim(x.rank - 1)
    if size > MOST_ROWS:
        raise Unsupported(f"a determinant of {size} rows; up to {MOST_ROWS} are expanded by minors")
    flat = node.add("Reshape", [x], shape=[-1, size * size])
    places = node.add_many("Split", [flat], size * size, axis=1) if size > 1 else [flat]
    minors = {(column,): places[column] for column in range(size)}
    for row in range(1, size):
        minors = {
            columns: _expand_minors(node, columns, places[row * size : (row + 1) * size], minors)
            for columns in itertools.combinations(range(size), row + 1)
        }
    (found,) = minors.values()
    return reshape_to(node, found, node.output) if node.output.rank else node.add("Squeeze", [found], dims=[0, 1])


def _expand_minors(node, columns: tuple[int, ...], places, minors):
    """The minor of these columns, of its last row's places and the minors above: signs alternate from the last on."""
    total = None
    for turn, column in enumerate(reversed(columns)):
        term = node.add("Mul", [places[column], minors[tuple(each for each in columns if each != column)]])
        total = term if total is None else node.add("Sub" if turn % 2 else "Add", [total, term])
    return total
