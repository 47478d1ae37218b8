"""Elements chosen by their places, and the places of elements."""

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.layout import slice_axis
from exporters.onnx_to_caffe2.registry import Node, converts

INT64, FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)


@converts("Gather")
def gather(node, x, indices, *, axis=0):
    """Constant indices that follow one another are a slice; a single one drops its dimension."""
    axis %= x.rank
    if not indices.is_constant:
        return node.add("Gather", [x, indices], axis=axis or None, wrap_indices=1 if axis else None)
    if not x.is_fixed(axis) and (indices.value < 0).any():
        raise Unsupported("indices from the end of a dimension of free size")
    wanted = np.where(indices.value < 0, indices.value + x.shape[axis], indices.value)
    row = wanted.ravel()
    if wanted.ndim < 2 and len(row) and (np.diff(row) == 1).all() and x.is_fixed(axis):
        x = slice_axis(node, x, axis, int(row[0]), int(row[-1]) + 1)
        return x if wanted.ndim else node.add("Squeeze", [x], dims=[axis])
    y = node.add("Gather", [x, node.constant(wanted.astype(np.int64))], axis=axis or None)
    return node.add("Squeeze", [y], dims=[axis]) if not wanted.ndim else y


def chosen(node: Node, x: Blob, axis: int, index: int) -> Blob:
    """x at one place of a dimension, which goes."""
    return node.add("Squeeze", [slice_axis(node, x, axis, index, index + 1)], dims=[axis])


@converts("GatherElements")
def gather_elements(node, x, indices, *, axis=0):
    """Along the last dimension that is Caffe2's Gather of each outer position."""
    axis %= x.rank
    indices = _wrapped(node, x, indices, axis)
    for other in range(x.rank):
        if other != axis and x.shape[other] != indices.shape[other]:
            x = slice_axis(node, x, other, 0, indices.fixed_dim(other))
    if x.rank == 1:
        return node.add("Gather", [x, indices])
    order = [*(i for i in range(x.rank) if i != axis), axis]
    x, indices = (_transposed(node, blob, order) for blob in (x, indices))
    y = node.add("Gather", [x, indices], axis=x.rank - 1, match_outer=1)
    return _transposed(node, y, [int(i) for i in np.argsort(order)])


@converts("ScatterElements", "Scatter")
def scatter_elements(node, x, indices, updates, *, axis=0, reduction="none"):
    if reduction != "none":
        raise Unsupported(f"reduction {reduction}")
    axis %= x.rank
    return node.add("Scatter", [x, _wrapped(node, x, indices, axis), updates], axis=axis)


def _wrapped(node: Node, x: Blob, indices: Blob, axis: int) -> Blob:
    """Constant indices counted from the beginning; those that are computed must be."""
    if not indices.is_constant:
        return indices
    negative = indices.value < 0
    if negative.any():
        return node.constant(np.where(negative, indices.value + x.fixed_dim(axis), indices.value))
    return indices


def _transposed(node: Node, x: Blob, order: list[int]) -> Blob:
    if order == sorted(order):
        return x
    return node.constant(x.value.transpose(order)) if x.is_constant else node.add("Transpose", [x], axes=order)


@converts("ArgMax", "ArgMin")
def arg_extreme(node, x, *, axis=0, keepdims=1, select_last_index=0):
    """Of equal elements Caffe2 finds the first; the last is the first from the end."""
    axis %= x.rank
    if not select_last_index:
        return node.add(node.type, [x], axis=axis, keepdims=keepdims)
    last = x.fixed_dim(axis) - 1
    backwards = node.add("Gather", [x, node.constant(np.arange(last, -1, -1))], axis=axis or None)
    found = node.add(node.type, [backwards], axis=axis, keepdims=keepdims)
    return node.add("Sub", [node.constant(np.int64(last)), found])


@converts("TopK", constants={1: "k"})
def top_k(node, x, *, k, axis=-1, largest=1, sorted=1):
    axis %= x.rank
    source = x if largest else node.add("Negative", [x])
    values, places, _ = node.add_many("TopK", [source], 3, k=int(np.reshape(k, ())), axis=axis)
    return values if largest else node.add("Negative", [values]), places


@converts("Hardmax")
def hardmax(node, x, *, axis=None):
    if node.opset < 13:
        axis = (1 if axis is None else axis) % x.rank
        if axis != x.rank - 1:
            raise Unsupported("one distribution over several dimensions")
    axis = (-1 if axis is None else axis) % x.rank
    largest = node.add("ArgMax", [x], axis=axis, keepdims=1)
    return as_type(node, node.add("EQ", [largest, node.constant(_places(x, axis))]), x.dtype)


def _places(x: Blob, axis: int) -> np.ndarray:
    """0, 1 ... along one dimension, in the rank of x."""
    return np.arange(x.fixed_dim(axis)).reshape([-1 if i == axis else 1 for i in range(x.rank)])


@converts("OneHot", constants={1: "depth"})
def one_hot(node, indices, values, *, depth, axis=-1):
    count = int(np.reshape(depth, ()))
    axis %= indices.rank + 1
    off, on = (float(value) for value in _constant(values))
    indices = as_type(node, indices, INT64)
    expanded = node.add("ExpandDims", [indices], dims=[axis])
    along = [-1 if i == axis else 1 for i in range(expanded.rank)]
    places = np.arange(count).reshape(along)
    hits = (node.add("EQ", [expanded, node.constant(places + shift)]) for shift in (0, -count))
    hot = as_type(node, node.add("Or", list(hits)), FLOAT32)
    scaled = node.add("Mul", [hot, node.constant(np.float32(on - off))])
    return as_type(node, node.add("Add", [scaled, node.constant(np.float32(off))]), values.dtype)


def _constant(blob: Blob) -> np.ndarray:
    if not blob.is_constant:
        raise Unsupported("values that are computed while the net runs")
    return blob.value.ravel()
