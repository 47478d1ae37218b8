"""A Caffe2 net as a graph: weights in one form, constants computed, every blob written once."""

import math
from collections import Counter
from collections.abc import Mapping

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import Int8Tensor, Net
from caffe2_models.net import Step
from caffe2_models.preprocessing import get_input_dims, get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType
from exporters.layers.graph import Blob, Graph, Layer, constant


def read_graph(net: Net, input_shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The float net's operators as layers.

    A blob written several times keeps its name for the last writer. Raises ModelError for a net that is quantized
    already, is in NHWC order, or does not fit the shapes.
    """
    if net.is_quantized:
        raise ModelError(f"{net.name or 'net'}: is quantized already; give the float net that it was made from")
    blobs = {name: constant(value, name) for name, value in net.parameters.items() if not isinstance(value, Int8Tensor)}
    types = net.input_types(input_shapes)
    blobs |= {name: Blob((kind.shape, kind.shape), dtype=kind.dtype, name=name) for name, kind in types.items()}
    graph = Graph(net.name or "net", [blobs[name] for name in input_shapes], [])
    graph.preprocessing, graph.input_dims = get_preprocessing(net.predict), get_input_dims(net.predict)
    writes_left = Counter(name for node in net.operators for name in node.outputs)
    for step in net.walk(input_shapes):
        node = step.node
        if node.arguments.get_str("order", "NCHW") != "NCHW":
            raise ModelError(f"{node}: order NHWC; the quantizer reads float nets in NCHW order")
        inputs = [blobs[name] for name in node.inputs]
        outputs = []
        for name, known, value in zip(node.outputs, step.outputs, _values(step, inputs), strict=True):
            writes_left[name] -= 1
            left = writes_left[name]
            outputs.append(_blob(known, value, name if left == 0 else f"{name}/before/{left}"))
        blobs.update(zip(node.outputs, outputs, strict=True))
        if not all(blob.is_constant for blob in outputs):
            graph.layers.append(Layer(node.type, inputs, outputs, arguments_of(node.proto), outputs[0].name))
    graph.outputs = [blobs[name] for name in net.outputs]
    normalize_weights(graph)
    return graph


def normalize_weights(graph: Graph) -> None:
    """One form for constant weights: FC's as a matrix [O, K], and a bias for all."""
    for layer in graph.layers:
        _normalize_weights(layer)


def arguments_of(op: caffe2_pb2.OperatorDef) -> dict:
    """An operator's arguments as Python values, which `add_operator` writes as they were."""
    return {argument.name: _value(argument) for argument in op.arg}


def _value(argument: caffe2_pb2.Argument):
    for single in ("i", "f", "s"):
        if argument.HasField(single):
            return getattr(argument, single)
    return list(argument.ints or argument.floats or argument.strings)


def _values(step: Step, inputs: list[Blob]) -> list[np.ndarray | None]:
    """The outputs' contents, as far as they are known before the net runs."""
    known = [found.content for found in step.outputs]
    if any(value is None for value in known) and all(blob.is_constant for blob in inputs):
        computed = step.node.compute([blob.value for blob in inputs])
        return [value if isinstance(value, np.ndarray) else None for value in computed]
    return known


def _blob(known: TensorType, value: np.ndarray | None, name: str) -> Blob:
    return Blob((known.shape, known.shape), value, dtype=known.dtype, name=name)


def _normalize_weights(layer: Layer) -> None:
    if layer.traits.layer is None or len(layer.inputs) < 2 or not all(blob.is_constant for blob in layer.inputs[1:]):
        return
    if layer.type in ("FC", "FCTransposed"):
        if layer.arguments.get("axis", 1) != 1:
            return
        weight = layer.weight
        rows = weight.shape[: layer.arguments.pop("axis_w", 1)]
        weight = weight.reshape(math.prod(rows), -1)
        layer.weight = weight.T if layer.type == "FCTransposed" else weight
        layer.type = "FC"
    if layer.is_weighted and not layer.has_bias:
        layer.bias = np.zeros(layer.weight.shape[layer.weight_axis], np.float32)
    if layer.is_weighted:
        layer.weight, layer.bias = _float32(layer.weight), _float32(layer.bias)


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array
