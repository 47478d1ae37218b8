"""Rewrites of a lowered graph that ONNX Runtime computes faster, to the same numbers.

PRelu. ONNX Runtime takes an element at a time for it, and leaves the blocked layout of convolutions. As

    y = Relu(x) - slope * Relu(-x)

it is exact: one of the two terms is 0. Behind a convolution both factors are written as convolutions of one tap a
channel, which ONNX Runtime fuses with the Relu or the addition behind them, and computes in the blocked layout.
"""

import math

import numpy as np
import onnx

from caffe2_models.lowering import Graph


def tune(graph: Graph) -> None:
    """Rewrite what there is to rewrite; the names of blobs stay."""
    nodes, graph.nodes = graph.nodes, []
    writers = {name: node for node in nodes for name in node.output}
    for node in nodes:
        if node.op_type == "PRelu" and (slope := _slope(graph, writers, node)) is not None:
            writer = writers.get(node.input[0])
            rewrite = _by_convolutions if writer is not None and writer.op_type == "Conv" else _by_terms
            since = len(graph.nodes)
            graph.rename(rewrite(graph, node.input[0], slope), node.output[0], since)
        else:
            graph.nodes.append(node)


def _slope(graph: Graph, writers: dict[str, onnx.NodeProto], node: onnx.NodeProto) -> np.ndarray | None:
    """Constant slopes, one for each channel of images [N, C, H, W]: [C, 1, 1]; None where they are others."""
    reshape = writers.get(node.input[1])
    if reshape is None or not all(name in graph.initializers for name in reshape.input):
        return None
    slope, shape = (graph.initializers[name] for name in reshape.input)
    if len(shape) != 3 or math.prod(shape[1:]) != 1:
        return None
    return slope.reshape(shape)


def _by_terms(graph: Graph, x: str, slope: np.ndarray) -> str:
    negative = graph.add("Relu", graph.add("Neg", x))
    scaled = graph.add("Mul", negative, graph.constant(-slope, name="slope"))
    return graph.add("Add", scaled, graph.add("Relu", x))


def _by_convolutions(graph: Graph, x: str, slope: np.ndarray) -> str:
    def scaled(y: str, factors: np.ndarray) -> str:
        weight = graph.constant(factors.reshape(-1, 1, 1, 1), np.float32, name="slope")
        return graph.add("Conv", y, weight, kernel_shape=[1, 1], group=len(factors))

    negative = graph.add("Relu", scaled(x, np.full_like(slope, -1)))
    return graph.add("Add", scaled(negative, -slope), graph.add("Relu", x))
