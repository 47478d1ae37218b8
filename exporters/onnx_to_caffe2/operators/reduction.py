"""Reductions."""

from exporters.layers import Unsupported
from exporters.onnx_to_caffe2.operators.pooling import pool_map
from exporters.onnx_to_caffe2.registry import converts


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
    if 0 in x.shape:
        raise Unsupported("a reduction of nothing")
    axes = sorted(axis % x.rank for axis in axes or range(x.rank))
    return node.add(node.type, [x], axes=axes, keepdims=keepdims)
