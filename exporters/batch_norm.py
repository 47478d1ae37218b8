"""BatchNorm of an ONNX file that is being written, folded into the convolutions before it."""

from collections import Counter

import numpy as np
import onnx

from exporters.layers.rules import batch_norm_factors

EPSILON = 1e-5  # ONNX's default


def fold_batch_norms(graph: onnx.GraphProto, weights: dict[str, np.ndarray]) -> None:
    """Fold every BatchNormalization whose Conv nothing else reads, in float64.

    weights holds the tensors by name. Those of folded layers are replaced in it, under their own names unless
    other layers read these too.
    """
    writers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    kept = []
    for node in graph.node:
        conv = writers.get(node.input[0]) if node.op_type == "BatchNormalization" else None
        foldable = conv is not None and conv.op_type == "Conv" and readers[conv.output[0]] == 1
        if conv is not None and foldable and all(name in weights for name in [*conv.input[1:], *node.input[1:]]):
            _fold(conv, node, weights, readers)
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _fold(conv: onnx.NodeProto, norm: onnx.NodeProto, weights: dict[str, np.ndarray], readers: Counter) -> None:
    """scale * (w x + b - mean) / sqrt(variance + epsilon) + shift, as the Conv's own weight and bias."""
    epsilon = next((attribute.f for attribute in norm.attribute if attribute.name == "epsilon"), EPSILON)
    gamma, beta, mean, variance = (weights[name] for name in norm.input[1:5])
    scale, shift = batch_norm_factors(gamma, beta, mean, variance, epsilon)
    weight = weights[conv.input[1]]
    bias = weights[conv.input[2]] if len(conv.input) > 2 else 0
    names = [conv.input[1], f"{conv.input[1].removesuffix('weight')}bias"]
    for index, role in enumerate(("weight", "bias")):
        if readers[names[index]] > list(conv.input).count(names[index]):
            names[index] = f"{conv.name}/{role}"
    weights[names[0]] = (weight * scale.reshape(-1, *[1] * (weight.ndim - 1))).astype(weight.dtype)
    weights[names[1]] = (bias * scale + shift).astype(weight.dtype)
    conv.input[1:] = names
    conv.output[0] = norm.output[0]
