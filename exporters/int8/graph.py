"""The float graph that the quantizer works on: a Caffe2 net's layers with weights, biases and clamps in one place.

Activations are NCHW, float32. A layer's clamp (ReLU, ReLU6, Clip) is part of the layer; every blob is written once.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models import Net
from caffe2_models.arguments import Arguments
from caffe2_models.build import add_operator, make_init
from caffe2_models.operators import OPERATORS, Operator
from caffe2_models.preprocessing import get_preprocessing, set_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Int8Tensor

WEIGHTED = {"Conv", "ConvTranspose", "FC"}


@dataclass
class Layer:
    """One operator. `inputs` are blobs and constants of the graph; WEIGHTED layers hold weight and bias themselves.

    weight: Conv [O, C / group, kh, kw], ConvTranspose [C, O, kh, kw], FC [O, K]; bias [O]. The output is clamped
    to low...high.
    """

    type: str
    inputs: list[str]
    outputs: list[str]
    arguments: dict = field(default_factory=dict)
    weight: np.ndarray | None = None
    bias: np.ndarray | None = None
    low: float = -math.inf
    high: float = math.inf

    @property
    def output(self) -> str:
        return self.outputs[0]

    @property
    def operator(self) -> Operator:
        """The operator with its arguments decoded."""
        proto = add_operator(caffe2_pb2.NetDef(), self.type, [], self.outputs, **self.arguments)
        return OPERATORS[self.type].decode(Arguments(proto))

    @property
    def is_weighted(self) -> bool:
        return self.weight is not None

    @property
    def is_clamped(self) -> bool:
        return self.low > -math.inf or self.high < math.inf

    @property
    def before_clamp(self) -> str:
        """The blob before the clamp, in the net that `Graph.to_net` makes."""
        return f"{self.output}/before_clamp" if self.is_clamped else self.output

    @property
    def group(self) -> int:
        return self.arguments.get("group", 1)

    @property
    def is_depthwise(self) -> bool:
        """One filter for each channel."""
        return self.type == "Conv" and self.group > 1 and self.weight.shape[:2] == (self.group, 1)

    @property
    def rows(self) -> np.ndarray:
        """The weight as [O, K]: a view, one row for each output channel."""
        weight = self.weight.swapaxes(0, 1) if self.type == "ConvTranspose" else self.weight
        return weight.reshape(weight.shape[0], -1)


@dataclass
class Graph:
    """Layers in order of execution. shapes: blob -> shape of one image's activation (batch 1)."""

    name: str
    inputs: list[str]
    outputs: list[str]
    layers: list[Layer]
    constants: dict[str, np.ndarray]
    shapes: dict[str, tuple[int, ...]]
    source: caffe2_pb2.NetDef

    @property
    def weighted(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.is_weighted]

    def activations(self, layer: Layer) -> list[str]:
        """The layer's inputs that are not constants."""
        return [name for name in layer.inputs if name not in self.constants]

    def producers(self) -> dict[str, Layer]:
        return {name: layer for layer in self.layers for name in layer.outputs}

    def consumers(self) -> dict[str, list[Layer]]:
        """Blob -> layers that read it; a graph output has one consumer more, None."""
        consumers: dict[str, list] = {}
        for layer in self.layers:
            for name in dict.fromkeys(layer.inputs):
                consumers.setdefault(name, []).append(layer)
        for name in self.outputs:
            consumers.setdefault(name, []).append(None)
        return consumers

    def copy(self) -> "Graph":
        """The same graph with layers of its own; arrays are shared (nobody changes one in place)."""
        layers = [
            dataclasses.replace(layer, inputs=[*layer.inputs], outputs=[*layer.outputs], arguments={**layer.arguments})
            for layer in self.layers
        ]
        return dataclasses.replace(self, layers=layers, constants=dict(self.constants), shapes=dict(self.shapes))

    def to_net(self) -> Net:
        """The graph as a Caffe2 float net: each layer's blob before the clamp under its own name."""
        predict = caffe2_pb2.NetDef(name=self.name)
        parameters: dict[str, np.ndarray] = {}
        for layer in self.layers:
            inputs = list(layer.inputs)
            parameters.update((name, self.constants[name]) for name in inputs if name in self.constants)
            if layer.is_weighted:
                inputs += [f"{layer.output}/weight", f"{layer.output}/bias"]
                parameters.update(zip(inputs[-2:], (layer.weight, layer.bias), strict=True))
            outputs = [layer.before_clamp, *layer.outputs[1:]]
            add_operator(predict, layer.type, inputs, outputs, **layer.arguments)
            if layer.is_clamped:
                add_clamp(predict, layer, layer.before_clamp, layer.output)
        predict.external_input.extend([*self.inputs, *parameters])
        predict.external_output.extend(self.outputs)
        copy_preprocessing(self.source, predict)
        return Net(predict, make_init({k: _float32(v) for k, v in parameters.items()}, f"{self.name}_init"))


def joins_channels(layer: Layer) -> bool:
    """Whether this is a Concat along the channels of NCHW blobs."""
    return layer.type == "Concat" and layer.operator.axis in (None, 1) and not layer.operator.add_axis


def add_clamp(net: caffe2_pb2.NetDef, layer: Layer, source: str, target: str) -> None:
    """Append the layer's clamp as an operator of its own."""
    if (layer.low, layer.high) == (0, math.inf):
        add_operator(net, "Relu", [source], [target])
        return
    limits = {"min": layer.low, "max": layer.high}
    limits = {key: float(value) for key, value in limits.items() if math.isfinite(value)}
    add_operator(net, "Clip", [source], [target], **limits)


def copy_preprocessing(source: caffe2_pb2.NetDef, target: caffe2_pb2.NetDef) -> None:
    """What the source net records of its input, in the target net."""
    if (preprocessing := get_preprocessing(source)) is not None:
        set_preprocessing(target, preprocessing)


def read_graph(net: Net, input_shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The net's operators as layers, weights taken in, every blob written once.

    A blob written several times keeps its name for the last writer. Raises ModelError for a net that is quantized
    already, is in NHWC order, or does not fit the shapes.
    """
    if net.is_quantized:
        raise ModelError(f"{net.name or 'net'}: is quantized already; give the float net that it was made from")
    constants = {name: value for name, value in net.parameters.items() if not isinstance(value, Int8Tensor)}
    shapes = {name: tuple(shape) for name, shape in input_shapes.items()}
    names = _Names(node.outputs for node in net.operators)
    layers = []
    for step in net.walk(input_shapes):
        node = step.node
        if node.arguments.get_str("order", "NCHW") != "NCHW":
            raise ModelError(f"{node}: order NHWC; the quantizer reads float nets in NCHW order")
        inputs = [names.current(name) for name in node.inputs]
        outputs = [names.next(name) for name in node.outputs]
        if all(name in constants for name in inputs) or all(t.value is not None for t in step.outputs):
            known = [t.value for t in step.outputs]
            if any(value is None for value in known):
                known = node.compute([constants[name] for name in inputs])
            constants.update(zip(outputs, known, strict=True))
            continue
        constants.update((name, t.value) for name, t in zip(outputs, step.outputs, strict=True) if t.value is not None)
        shapes.update((name, t.shape) for name, t in zip(outputs, step.outputs, strict=True))
        layers.append(Layer(node.type, inputs, outputs, arguments_of(node.proto)))
    outputs = [names.current(name) for name in net.outputs]
    graph = Graph(net.name or "net", list(input_shapes), outputs, layers, constants, shapes, net.predict)
    for layer in layers:
        _take_weights(graph, layer)
    return graph


def arguments_of(op: caffe2_pb2.OperatorDef) -> dict:
    """An operator's arguments as Python values, which `add_operator` writes as they were."""
    return {argument.name: _value(argument) for argument in op.arg}


def _value(argument: caffe2_pb2.Argument):
    for single in ("i", "f", "s"):
        if argument.HasField(single):
            return getattr(argument, single)
    return list(argument.ints or argument.floats or argument.strings)


def _take_weights(graph: Graph, layer: Layer) -> None:
    """Move constant weights and biases of a Conv, ConvTranspose or FC into the layer."""
    constants = [graph.constants.get(name) for name in layer.inputs[1:]]
    kind = "FC" if layer.type == "FCTransposed" else layer.type
    if kind not in WEIGHTED or not constants or any(value is None for value in constants):
        return
    weight, bias = constants[0], constants[1] if len(constants) > 1 else None
    if kind == "FC":
        if layer.arguments.get("axis", 1) != 1:
            return
        rows = weight.shape[: layer.arguments.pop("axis_w", 1)]
        weight = weight.reshape(math.prod(rows), -1)
        weight = weight.T if layer.type == "FCTransposed" else weight
    if kind == "ConvTranspose" and layer.group != 1:
        return
    channels = weight.shape[1] if kind == "ConvTranspose" else weight.shape[0]
    layer.type, layer.inputs = kind, layer.inputs[:1]
    layer.weight = _float32(weight)
    layer.bias = _float32(bias) if bias is not None else np.zeros(channels, np.float32)


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


class _Names:
    """A name of its own for every version of a blob."""

    def __init__(self, writes: Iterable[Iterable[str]]):
        self._left: dict[str, int] = {}
        for names in writes:
            for name in names:
                self._left[name] = self._left.get(name, 0) + 1
        self._current: dict[str, str] = {}

    def current(self, name: str) -> str:
        return self._current.get(name, name)

    def next(self, name: str) -> str:
        self._left[name] -= 1
        left = self._left[name]
        self._current[name] = name if left == 0 else f"{name}/before/{left}"
        return self._current[name]
