"""Activations."""

import itertools

import numpy as np

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
}


@converts(*UNARY)
def unary(node, x):
    return node.add(UNARY[node.type], [x])


@converts("Clip", constants={1: "min", 2: "max"})
def clip(node, x, *, min=None, max=None):
    low = None if min is None or min <= FLOAT32.min else float(min)
    high = None if max is None or max >= FLOAT32.max else float(max)
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
