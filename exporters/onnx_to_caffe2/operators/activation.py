"""Activations."""

import itertools

import numpy as np

from exporters.onnx_to_caffe2.operators.broadcasting import widened
from exporters.onnx_to_caffe2.operators.logic import larger
from exporters.onnx_to_caffe2.registry import converts

SIXTH = 1 / 6
FLOAT32 = np.finfo(np.float32)

# ONNX operators that are Caffe2 operators of one input and no arguments.
UNARY = {
    "Relu": "Relu",
    "Sigmoid": "Sigmoid",
    "Tanh": "Tanh",
    "Softsign": "Softsign",
    "Softplus": "Softplus",
    "Abs": "Abs",
    "Ceil": "Ceil",
    "Cos": "Cos",
    "Exp": "Exp",
    "Floor": "Floor",
    "Log": "Log",
    "Neg": "Negative",
    "Sign": "Sign",
    "Sin": "Sin",
    "Sqrt": "Sqrt",
    "Acos": "Acos",
    "Asin": "Asin",
    "Atan": "Atan",
    "Cosh": "Cosh",
    "Erf": "Erf",
    "Not": "Not",
    "Sinh": "Sinh",
    "Tan": "Tan",
}


@converts(*UNARY)
def unary(node, x):
    return node.add(UNARY[node.type], [x])


@converts("Clip")
@widened
def clip(node, x, low_input=None, high_input=None, *, min=None, max=None):
    """Bounds that are computed, and those of whole numbers, take a Max and a Min."""
    for bound, kind in ((low_input, "Max"), (high_input, "Min")):
        if bound is not None and not (bound.is_constant and x.dtype == np.float32):
            x = larger(node, x, bound, kind)
    if x.dtype != np.float32:
        return x
    if low_input is not None and low_input.is_constant:
        min = low_input.value
    if high_input is not None and high_input.is_constant:
        max = high_input.value
    if min is None and max is None:
        return x
    low, high = (None if bound is None else float(np.reshape(bound, ())) for bound in (min, max))
    low = None if low is None or low <= FLOAT32.min else low
    high = None if high is None or high >= FLOAT32.max else high
    if high is None:
        return x if low is None else node.add("Relu", [x]) if low == 0 else node.add("Clip", [x], min=low)
    return node.add("Clip", [x], min=low, max=high)


@converts("HardSigmoid")
def hard_sigmoid(node, x, *, alpha=0.2, beta=0.5):
    return node.add("HardSigmoid", [x], alpha=alpha, beta=beta)


@converts("HardSwish")
def hard_swish(node, x):
    return node.add("Mul", [x, node.add("HardSigmoid", [x], alpha=SIXTH, beta=0.5)])


@converts("Swish")
def swish(node, x, *, alpha=1.0):
    if alpha == 1:
        return node.add("Swish", [x])
    scaled = node.add("Mul", [x, node.constant(np.float32(alpha))])
    return node.add("Mul", [x, node.add("Sigmoid", [scaled])])


@converts("Mish")
def mish(node, x):
    return node.add("Mul", [x, node.add("Tanh", [node.add("Softplus", [x])])])


@converts("Selu")
def selu(node, x, *, alpha=1.67326319217681884765625, gamma=1.05070102214813232421875):
    return node.add("Selu", [x], alpha=alpha, scale=gamma)


@converts("Elu")
def elu(node, x, *, alpha=1.0):
    return node.add("Elu", [x], alpha=alpha)


@converts("LeakyRelu")
def leaky_relu(node, x, *, alpha=0.01):
    return node.add("LeakyRelu", [x], alpha=alpha)


@converts("PRelu")
def prelu(node, x, slope):
    """Caffe2's slope is one number or one per channel; with any other, max(x, 0) - slope * max(-x, 0)."""
    per_channel = (x.shape[1], *[1] * (x.rank - 2)) if x.rank > 1 else ()
    if slope.is_constant and (slope.value.size == 1 or _without_leading_ones(slope.shape) == per_channel):
        return node.add("PRelu", [x, node.constant(slope.value.ravel())])
    negative = node.add("Relu", [node.add("Negative", [x])])
    return node.add("Sub", [node.add("Relu", [x]), node.add("Mul", [negative, slope])])


def _without_leading_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(itertools.dropwhile(lambda dim: dim == 1, shape))


@converts("Gelu")
def gelu(node, x, *, approximate="none"):
    return node.add("Gelu", [x], fast_gelu=1 if approximate == "tanh" else None)


@converts("LogSoftmax")
def log_softmax(node, x, *, axis=None):
    return node.add("Log", [softmax(node, x, axis=axis)])


@converts("ThresholdedRelu")
def thresholded_relu(node, x, *, alpha=1.0):
    return node.add("ThresholdedRelu", [x], alpha=alpha)


@converts("Asinh")
def asinh(node, x):
    """log(|x| + sqrt(x^2 + 1)), with the sign of x."""
    size, one = node.add("Abs", [x]), node.constant(np.float32(1))
    root = node.add("Sqrt", [node.add("Add", [node.add("Sqr", [x]), one])])
    return node.add("Mul", [node.add("Sign", [x]), node.add("Log", [node.add("Add", [size, root])])])


@converts("Acosh")
def acosh(node, x):
    """log(x + sqrt(x^2 - 1))"""
    root = node.add("Sqrt", [node.add("Sub", [node.add("Sqr", [x]), node.constant(np.float32(1))])])
    return node.add("Log", [node.add("Add", [x, root])])


@converts("Atanh")
def atanh(node, x):
    """log((1 + x) / (1 - x)) / 2"""
    one = node.constant(np.float32(1))
    ratio = node.add("Div", [node.add("Add", [one, x]), node.add("Sub", [one, x])])
    return node.add("Mul", [node.add("Log", [ratio]), node.constant(np.float32(0.5))])


@converts("Softmax")
def softmax(node, x, *, axis=None):
    """Until opset 12 all dimensions from the axis on were one distribution, as in Caffe2; since then only
    the axis.
    """
    if node.opset < 13:
        axis = (1 if axis is None else axis) % x.rank
        return _softmax_from(node, x, axis)
    axis = (-1 if axis is None else axis) % x.rank
    if all(dim == 1 for dim in x.shape[axis + 1 :]):
        return _softmax_from(node, x, axis)
    order = [i for i in range(x.rank) if i != axis] + [axis]
    moved = _softmax_from(node, node.add("Transpose", [x], axes=order), x.rank - 1)
    return node.add("Transpose", [moved], axes=[int(i) for i in np.argsort(order)])


def _softmax_from(node, x, axis: int):
    return node.add("Softmax", [x], axis=axis if axis != 1 else None)
