"""Comparisons, logic and choices."""

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type, broadcast, widened
from exporters.onnx_to_caffe2.registry import Node, converts

COMPARISONS = {"Equal": "EQ", "Greater": "GT", "GreaterOrEqual": "GE", "Less": "LT", "LessOrEqual": "LE"}
COMPARED = ("float32", "int32", "int64")


@converts(*COMPARISONS)
def comparison(node, a, b, *, axis=None, broadcast=None):
    if a.dtype.kind == "O":
        raise Unsupported(f"Caffe2's {COMPARISONS[node.type]} takes no strings")
    if a.dtype.name not in (*COMPARED, "bool"):
        a, b = (as_type(node, x, np.dtype(np.int32)) for x in (a, b))
    return node.add(COMPARISONS[node.type], [a, b])


@converts("And", "Or", "Xor")
def logic(node, a, b, *, axis=None, broadcast=None):
    return node.add(node.type, [a, b])


@converts("Where")
@widened
def where(node, condition, a, b):
    """Caffe2's has all three in one shape; a constant number is a vector of one there, and so are others beside it."""
    blobs = broadcast(node, [condition, a, b])
    if all(blob.rank == 0 for blob in blobs):
        blobs = [x if x.is_constant else node.add("ExpandDims", [x], dims=[0]) for x in blobs]
    return node.add("Where", blobs)


@converts("IsNaN")
def is_nan(node, x):
    return as_type(node, node.add("IsNaN", [x]), np.dtype(np.bool_))


@converts("IsInf")
def is_inf(node, x, *, detect_negative=1, detect_positive=1):
    if not detect_negative and not detect_positive:
        return node.add("LT", [x, x])
    if detect_negative and detect_positive:
        x = node.add("Abs", [x])
    elif detect_negative:
        x = node.add("Negative", [x])
    return node.add("EQ", [x, node.constant(np.float32(np.inf))])


@converts("Round")
def round_(node, x):
    """To the nearest, of two to the even one: floor(x), and 1 more above its middle, or in it where floor(x) is odd."""
    floor = node.add("Floor", [x])
    rest, half = node.add("Sub", [x, floor]), node.constant(np.float32(0.5))
    pairs = node.add("Floor", [node.add("Mul", [floor, half])])
    odd = node.add("GT", [node.add("Sub", [node.add("Mul", [floor, half]), pairs]), node.constant(np.float32(0.25))])
    up = node.add("Or", [node.add("GT", [rest, half]), node.add("And", [node.add("EQ", [rest, half]), odd])])
    return node.add("Add", [floor, as_type(node, up, np.dtype(np.float32))])


def larger(node: Node, a: Blob, b: Blob, kind: str = "Max") -> Blob:
    """Max or Min of two blobs; Caffe2's own are of floats."""
    if a.dtype == np.float32:
        return node.add(kind, broadcast(node, [a, b]))
    is_first = node.add("GT" if kind == "Max" else "LT", [a, b])
    return node.add("Where", broadcast(node, [is_first, a, b]))


@converts("BitwiseAnd", "BitwiseOr", "BitwiseXor")
@widened
def bitwise(node, a, b):
    return node.add(node.type, broadcast(node, [a, b]))


@converts("BitwiseNot")
@widened
def bitwise_not(node, x):
    """-1 - x"""
    return node.add("Sub", [node.constant(x.dtype.type(-1)), x])
