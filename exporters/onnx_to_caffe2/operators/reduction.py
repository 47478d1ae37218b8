"""Reductions."""

import functools

import numpy as np

from exporters.layers import Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.pooling import pool_map
from exporters.onnx_to_caffe2.registry import converts

MAX_FACTORS = 256


@converts("ReduceMean", constants={1: "axes"})
def reduce_mean(node, x, *, axes=None, keepdims=1, noop_with_empty_axes=0):
    """The mean over height and width is an average pooling of the map."""
    if not axes and noop_with_empty_axes:
        return x
    axes = sorted(axis % x.rank for axis in axes or range(x.rank))
    if axes == [2, 3] and x.rank == 4:
        pooled = pool_map(node, "AveragePool", x)
        return pooled if keepdims else node.add("Squeeze", [pooled], dims=[2, 3])
    return node.add("ReduceMean", [x], axes=axes, keepdims=keepdims)


@converts("ReduceSum", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", constants={1: "axes"})
def reduce(node, x, *, axes=None, keepdims=1, noop_with_empty_axes=0):
    if not axes and noop_with_empty_axes:
        return x
    numbers = as_type(node, x, np.dtype(np.float32)) if x.dtype == np.bool_ else x
    return as_type(node, node.add(node.type, [numbers], axes=_reduced_axes(x, axes), keepdims=keepdims), x.dtype)


@converts("ReduceProd", constants={1: "axes"})
def reduce_prod(node, x, *, axes=None, keepdims=1, noop_with_empty_axes=0):
    """Caffe2 multiplies blobs, not along them: the parts of each dimension one after the other."""
    if not axes and noop_with_empty_axes:
        return x
    axes = _reduced_axes(x, axes)
    for axis in axes:
        extent = x.fixed_dim(axis)
        if extent > MAX_FACTORS:
            raise Unsupported(f"a product of {extent} factors, more than {MAX_FACTORS}")
        first, *others = node.add_many("Split", [x], extent, axis=axis, split=[1] * extent) if extent > 1 else [x]
        x = functools.reduce(lambda a, b: node.add("Mul", [a, b]), others, first)
    return x if keepdims else node.add("Squeeze", [x], dims=axes)


def _reduced_axes(x, axes):
    """Counted from the front, in order; none given: all."""
    if 0 in x.shape:
        raise Unsupported("a reduction of nothing")
    return sorted(axis % x.rank for axis in axes or range(x.rank))
