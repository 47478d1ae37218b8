"""The graph as a Caffe2 net."""

import math

import numpy as np

from caffe2_models import Net
from caffe2_models.build import add_fill, add_operator
from caffe2_models.proto import caffe2_pb2
from exporters.layers.graph import Blob, Graph, Layer
from exporters.layers.naming import Names


def write_net(graph: Graph, release: bool = False) -> Net:
    """The Caffe2 net (float32, NCHW) with readable, unique blob names; clamps are operators of their own.

    release: weights leave the graph as they are written, so that none is in memory twice; it is used up.
    """
    names = Names(graph)
    predict = caffe2_pb2.NetDef(name=graph.name)
    init = caffe2_pb2.NetDef(name=f"{graph.name}_init")
    parameters: dict[Blob, str] = {}
    for layer in graph.layers:
        for index, blob in enumerate(layer.inputs):
            if blob.is_constant and blob not in parameters:
                parameters[blob] = names.of_parameter(layer, index)
                keeps_rank = layer.traits.identity  # what it copies is an output of the net
                add_fill(init, parameters[blob], _as_parameter(blob.value, keeps_rank))
                blob.known_value = None if release else blob.value
        inputs = [parameters.get(blob) or names.of(blob) for blob in layer.inputs]
        outputs = [names.of(blob) for blob in layer.outputs]
        outputs += [f"{outputs[0]}_{role}" for role in layer.traits.side_outputs[len(outputs) - 1 :]]
        first = f"{outputs[0]}/before_clamp" if layer.is_clamped else outputs[0]
        add_operator(predict, layer.type, inputs, [first, *outputs[1:]], **layer.arguments)
        if layer.is_clamped:
            add_clamp(predict, layer, first, outputs[0])
    predict.external_input.extend([*map(names.of, graph.inputs), *parameters.values()])
    predict.external_output.extend(map(names.of, graph.outputs))
    init.external_output.extend(parameters.values())
    graph.record(predict)
    return Net(predict, init)


def add_clamp(net: caffe2_pb2.NetDef, layer: Layer, source: str, target: str) -> None:
    """Append the layer's clamp as an operator of its own."""
    if (layer.low, layer.high) == (0, math.inf):
        add_operator(net, "Relu", [source], [target])
        return
    ends = {"min": layer.low, "max": layer.high}
    limits: dict = {key: float(value) for key, value in ends.items() if math.isfinite(value)}
    add_operator(net, "Clip", [source], [target], **limits)


def _as_parameter(value: np.ndarray, keeps_rank: bool) -> np.ndarray:
    """As init nets hold it: no float64, and a vector of one for a number, which broadcasts alike."""
    value = value.astype(np.float32) if value.dtype == np.float64 else value
    return value if keeps_rank else np.atleast_1d(value)
