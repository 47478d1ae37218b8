"""Arithmetic with broadcasting. Caffe2's Add, Sub, Mul and Div broadcast as numpy does."""

import functools

import numpy as np

from exporters.onnx_to_caffe2.operators.broadcasting import as_type, broadcast, widened
from exporters.onnx_to_caffe2.operators.logic import larger
from exporters.onnx_to_caffe2.registry import converts

FLOAT32 = np.dtype(np.float32)


@converts("Add")
@widened
def add(node, a, b, *, axis=None, broadcast=None):
    """Two activations of one shape are a Sum, as in the published nets."""
    if not a.is_constant and not b.is_constant and a.shapes == b.shapes:
        return node.add("Sum", [a, b])
    return node.add("Add", [a, b])


@converts("Sub", "Mul", "Div")
@widened
def binary(node, a, b):
    return node.add(node.type, [a, b])


@converts("Sum")
def sum_all(node, first, *others):
    if all(other.shapes == first.shapes for other in others):
        return node.add("Sum", [first, *others]) if others else first
    for other in others:
        first = node.add("Add", [first, other])
    return first


@converts("Mean")
def mean(node, *inputs):
    total = sum_all(node, *inputs)
    return node.add("Mul", [total, node.constant(np.float32(1 / len(inputs)))])


@converts("Max", "Min")
@widened
def extremum(node, *inputs):
    """A scalar constant bounds the others: Clip (or Relu). Blobs of one shape: Max, Min."""
    if inputs[0].dtype != FLOAT32:  # Clip is of floats
        return functools.reduce(lambda a, b: larger(node, a, b, node.type), inputs)
    bounds = [float(blob.value.ravel()[0]) for blob in inputs if blob.is_constant and blob.value.size == 1]
    blobs = [blob for blob in inputs if not (blob.is_constant and blob.value.size == 1)]
    result = blobs[0] if len(blobs) == 1 else node.add(node.type, broadcast(node, blobs))
    if bounds and node.type == "Min":
        return node.add("Clip", [result], max=min(bounds))
    if bounds:
        return node.add("Relu", [result]) if max(bounds) == 0 else node.add("Clip", [result], min=max(bounds))
    return result


@converts("Pow")
def power(node, x, exponent):
    """Caffe2's is float32's, of blobs of one shape or with one exponent."""
    base = as_type(node, x, FLOAT32)
    if exponent.is_constant and exponent.value.size == 1:
        return as_type(node, node.add("Pow", [base], exponent=float(exponent.value.ravel()[0])), x.dtype)
    power = as_type(node, exponent, FLOAT32)
    return as_type(node, node.add("Pow", broadcast(node, [base, power])), x.dtype)


@converts("Reciprocal")
def reciprocal(node, x):
    return node.add("Pow", [x], exponent=-1.0)


@converts("Mod")
@widened
def modulo(node, a, b, *, fmod=0):
    """a - b * q, for the quotient q rounded down, or towards zero; what is left of it has the sign of b, or of a."""
    quotient = node.add("Div", [a, b])
    if a.dtype == FLOAT32:
        down = node.add("Floor", [quotient])
        if fmod:
            up = node.add("Ceil", [quotient])
            is_negative = as_type(node, node.add("LT", [quotient, node.constant(np.float32(0))]), FLOAT32)
            down = node.add("Add", [down, node.add("Mul", [node.add("Sub", [up, down]), is_negative])])
        rest = node.add("Sub", [a, node.add("Mul", [down, b])])
        infinite = node.add("EQ", [node.add("Abs", [b]), node.constant(np.float32(np.inf))])  # q would be 0 or -1
        is_other = node.add("LT", [node.add("Mul", [a, b]), node.constant(np.float32(0))])
        whole = a if fmod else node.add("Where", broadcast(node, [is_other, b, a]))
        finite = node.add("LT", [node.add("Abs", [a]), node.constant(np.float32(np.inf))])
        return node.add("Where", broadcast(node, [node.add("And", [infinite, finite]), whole, rest]))
    rest = node.add("Sub", [a, node.add("Mul", [quotient, b])])
    if fmod:
        return rest
    zero = node.constant(a.dtype.type(0))
    signs = [node.add("LT", [x, zero]) for x in (rest, b)]
    is_other = node.add("And", [node.add("Xor", signs), node.add("Not", [node.add("EQ", [rest, zero])])])
    return node.add("Add", [rest, node.add("Mul", [as_type(node, is_other, a.dtype), b])])
