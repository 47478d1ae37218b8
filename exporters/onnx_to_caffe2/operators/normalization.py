"""Normalizations."""

import numpy as np

from caffe2_models.proto import caffe2_pb2
from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.registry import converts

DataType = caffe2_pb2.TensorProto
CAST_TYPES = {
    "float32": DataType.FLOAT,
    "int32": DataType.INT32,
    "int64": DataType.INT64,
    "bool": DataType.BOOL,
}


@converts("BatchNormalization")
def batch_normalization(node, x, scale, bias, mean, variance, *, epsilon=1e-5, momentum=0.9, spatial=1,
                        training_mode=0):  # fmt: skip
    if training_mode or not spatial:
        raise Unsupported("training, or statistics of every pixel; export the model in eval mode")
    if x.rank == 2:  # Caffe2's SpatialBN wants images
        scale, bias, mean, variance = (constant_of(blob) for blob in (scale, bias, mean, variance))
        scale = scale / np.sqrt(variance + epsilon)
        scaled = node.add("Mul", [x, node.constant(np.float32(scale))])
        scaled.shapes = x.shapes
        return node.add("Add", [scaled, node.constant(np.float32(bias - mean * scale))])
    return node.add("SpatialBN", [x, scale, bias, mean, variance], is_test=1, epsilon=epsilon)


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
    normal = node.add("LayerNorm", [x], axis=axis % x.rank, epsilon=epsilon)
    scaled = node.add("Mul", [normal, scale])
    return scaled if bias is None else node.add("Add", [scaled, bias])


@converts("LRN")
def local_response_normalization(node, x, *, size, alpha=1e-4, beta=0.75, bias=1.0):
    if size % 2 == 0:
        raise Unsupported("an even size")
    return node.add("LRN", [x], size=size, alpha=alpha, beta=beta, bias=bias)


@converts("LpNormalization")
def lp_normalization(node, x, *, axis=-1, p=2):
    if p != 2:
        raise Unsupported(f"p = {p}; Caffe2 has 2")
    return node.add("Normalize", [x], axis=axis % x.rank)


@converts("Dropout", "Identity", constants={1: "ratio", 2: "training_mode"})
def identity(node, x, *, ratio=None, training_mode=False, is_test=1, seed=None):
    if training_mode:
        raise Unsupported("training; export the model in eval mode")
    return x


@converts("Cast", "CastLike")
def cast(node, x, like=None, *, to=None, saturate=1, round_mode=None):
    """Between float types, which all are float32 here, nothing changes."""
    if x.dtype == node.output.dtype:
        return x
    if node.output.dtype.name not in CAST_TYPES:
        raise Unsupported(f"activations of type {node.output.dtype}")
    return node.add("Cast", [x], to=CAST_TYPES[node.output.dtype.name])
