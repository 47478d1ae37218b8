"""Normalizations."""

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.layout import reshape_to
from exporters.onnx_to_caffe2.registry import converts


@converts("BatchNormalization")
def batch_normalization(node, x, scale, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, spatial=1,
                        training_mode=0):  # fmt: skip
    if not spatial:
        raise Unsupported("Caffe2's SpatialBN has no argument spatial: statistics of every pixel")
    if training_mode:
        return _normalized_by_batch(node, x, scale, bias, [mean, variance], epsilon, momentum)
    if x.rank == 2:  # Caffe2's SpatialBN wants images
        scale, bias, mean, variance = (constant_of(blob) for blob in (scale, bias, mean, variance))
        scale = scale / np.sqrt(variance + epsilon)
        scaled = node.add("Mul", [x, node.constant(np.float32(scale))])
        scaled.known_shapes = x.shapes
        return node.add("Add", [scaled, node.constant(np.float32(bias - mean * scale))])
    return node.add("SpatialBN", [x, scale, bias, mean, variance], is_test=1, epsilon=epsilon)


def _normalized_by_batch(node, x, scale, bias, running: list[Blob], epsilon: float, momentum: float):
    """By the batch's own moments, which enter the running ones."""
    axes = [axis for axis in range(x.rank) if axis != 1]
    mean = node.add("ReduceMean", [x], axes=axes, keepdims=1)
    centred = node.add("Sub", [x, mean])
    variance = node.add("ReduceMean", [node.add("Sqr", [centred])], axes=axes, keepdims=1)
    deviation = node.add("Sqrt", [node.add("Add", [variance, node.constant(np.float32(epsilon))])])
    along = list(range(1, x.rank - 1))
    scale, bias = (node.add("ExpandDims", [blob], dims=along) if along else blob for blob in (scale, bias))
    y = node.add("Add", [node.add("Mul", [node.add("Div", [centred, deviation]), scale]), bias])
    results = [y]
    for old, moment in zip(running, (mean, variance), strict=True):
        kept = node.add("Mul", [old, node.constant(np.float32(momentum))])
        new = node.add("Mul", [node.add("Squeeze", [moment], dims=axes), node.constant(np.float32(1 - momentum))])
        results.append(node.add("Add", [kept, new]))
    return results[: len(node.outputs)]


def constant_of(blob: Blob) -> np.ndarray:
    """The values of a parameter, for arithmetic in float64."""
    if not blob.is_constant:
        raise Unsupported("parameters that are computed while the net runs")
    return blob.value.astype(np.float64)


@converts("InstanceNormalization")
def instance_normalization(node, x, scale, bias, *, epsilon=1e-5):
    return node.add("InstanceNorm", [x, scale, bias], epsilon=epsilon)


@converts("LayerNormalization")
def layer_normalization(node, x, scale, bias=None, *, axis=-1, epsilon=1e-5, stash_type=1):
    axis %= x.rank
    count = 1 if len(node.outputs) == 1 else 3
    normal, *moments = node.add_many("LayerNorm", [x], count, axis=axis, epsilon=epsilon)
    scaled = node.add("Mul", [normal, scale])
    results = [scaled if bias is None else node.add("Add", [scaled, bias])]
    if moments:
        mean, deviation = (reshape_to(node, moment, declared) for moment, declared in
                           zip(moments, _moments(x, axis), strict=True))  # fmt: skip
        results += [mean, node.add("Pow", [deviation], exponent=-1.0)]
    return results[: len(node.outputs)]


def _moments(x: Blob, axis: int) -> list[Blob]:
    """Mean and deviation as ONNX lays them out: with dimensions of 1 for those that they are taken over."""
    shapes = x.shapes_with(lambda shape: (*shape[:axis], *[1] * (len(shape) - axis)))
    return [Blob(shapes), Blob(shapes)]


@converts("LRN")
def local_response_normalization(node, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    if size % 2 == 0:
        raise Unsupported("Caffe2's LRN takes no even size")
    return node.add("LRN", [x], size=size, alpha=alpha, beta=beta, bias=bias)


@converts("LpNormalization")
def lp_normalization(node, x, *, axis=-1, p=2):
    if p not in (1, 2):
        raise Unsupported(f"p = {p}; Caffe2 has 1 and 2")
    return node.add("Normalize" if p == 2 else "NormalizeL1", [x], axis=axis % x.rank)


@converts("Identity")
def identity(node, x):
    return x


@converts("Dropout", constants={1: "share", 2: "training_mode"})
def dropout(node, x, *, share=0.5, training_mode=False, ratio=None, is_test=1, seed=None):
    """The second output, a mask of what is kept, is all ones."""
    if np.all(training_mode) and np.any(share):
        raise Unsupported("Caffe2's Dropout has no argument seed: what it drops in training is another each time")
    if len(node.outputs) == 1:
        return x
    everywhere = node.add("ConstantFill", [x], value=1.0)
    return x, as_type(node, everywhere, np.dtype(np.bool_))


@converts("Cast", "CastLike")
def cast(node, x, like=None, *, to=None, saturate=1, round_mode=None):
    """Between float types, which all are float32 here, nothing changes."""
    return as_type(node, x, node.output.dtype)
