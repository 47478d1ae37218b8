"""Layers and the values between them, as objects; named only where a net is written.

Activations are NCHW, float32. Who writes and who reads a blob is asked of the graph: blobs do not know, so that
copies of a graph share them.
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.sizes import Dims
from caffe2_models.arguments import Arguments
from caffe2_models.build import add_operator
from caffe2_models.operators import OPERATORS, Operator, traits_of
from caffe2_models.operators import registry as traits
from caffe2_models.operators.convolution import Windowed
from caffe2_models.operators.node import Node
from caffe2_models.operators.shaping import Concat
from caffe2_models.operators.window import Window
from caffe2_models.preprocessing import set_input_dims, set_input_dtypes, set_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType

FLOAT32 = np.dtype(np.float32)

Shape = tuple[int, ...]
Shapes = tuple[Shape, Shape]  # at the two sizes of the free dimensions
Kind = TypeVar("Kind", bound=Operator)
Class = type[Kind]  # in Layer the name `type` is taken

# The graph's own layer, that no net has: scale * x + shift, float64, one of each for every channel.
AFFINE = "Affine"


class Unsupported(Exception):
    """Why one node cannot be expressed; conversion gathers all of them into one UnsupportedError."""


@dataclass(eq=False)
class Blob:
    """A value of the net: its shapes, where they are known, and its value, where it is a constant.

    varies says that the value is known but depends on the input's shape, is_zero that it is zero throughout all the
    same, row what it repeats along the dimensions that vary (of 1 in it). scale and zero_point are set for bytes that
    stand for real values.
    """

    known_shapes: Shapes | None = None
    known_value: np.ndarray | None = None
    varies: bool = False
    is_zero: bool = False
    dtype: np.dtype = FLOAT32
    name: str = ""
    row: np.ndarray | None = None
    scale: float | None = None
    zero_point: int | None = None

    def __str__(self) -> str:
        return self.name

    @property
    def shapes(self) -> Shapes:
        """Raises Unsupported where they are not known."""
        if self.known_shapes is None:
            raise Unsupported(f"the shape of {self.name} is not known")
        return self.known_shapes

    @property
    def shape(self) -> Shape:
        return self.shapes[0]

    def shapes_with(self, change: Callable[[Shape], Shape]) -> Shapes:
        """What becomes of its shapes."""
        first, second = self.shapes
        return change(first), change(second)

    @property
    def value(self) -> np.ndarray:
        """A constant's content. Raises Unsupported for what the net computes."""
        if self.known_value is None:
            raise Unsupported(f"the value of {self.name} is computed while the net runs")
        return self.known_value

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.known_value is not None

    @property
    def is_image(self) -> bool:
        return self.rank == 4

    def type_at(self, variant: int) -> TensorType:
        """At the first or second of the sizes; a number is a vector of one in a net."""
        value = np.atleast_1d(self.value) if self.is_constant else None
        shape = self.shapes[variant] if value is None else value.shape
        return TensorType(shape, self.dtype, self.scale, self.zero_point, value)

    def is_fixed(self, axis: int) -> bool:
        """Whether the dimension is the same whatever the input's shape."""
        return self.known_shapes is not None and self.known_shapes[0][axis] == self.known_shapes[1][axis]

    def fixed_dim(self, axis: int) -> int:
        """A dimension that must not depend on the input's shape."""
        if not self.is_fixed(axis):
            raise Unsupported(f"needs a fixed size in dimension {axis}; export or convert with --img-size")
        return self.shape[axis]


def constant(value: np.ndarray, name: str = "") -> Blob:
    """A blob of known content."""
    value = np.asarray(value)
    return Blob((value.shape, value.shape), value, dtype=value.dtype, name=name)


@dataclass(eq=False)
class Layer:
    """One operator. Its output is clamped to low...high, where a rule has taken the clamp in.

    name: readable, for its parameters. A layer with weights has them as inputs 1 and 2:
    Conv [O, C / group, kh, kw], ConvTranspose [C, O, kh, kw], FC [O, K]; bias [O].
    """

    type: str
    inputs: list[Blob]
    outputs: list[Blob]
    arguments: dict = field(default_factory=dict)
    name: str = ""
    low: float = -math.inf
    high: float = math.inf

    @property
    def output(self) -> Blob:
        return self.outputs[0]

    @property
    def traits(self) -> Class[Operator]:
        """What is known of the operator whatever its arguments."""
        return traits_of(self.type)

    def decoded(self, kind: Class[Kind]) -> Kind:
        """The operator with its arguments decoded. Raises TypeError where it is not of this kind."""
        proto = add_operator(caffe2_pb2.NetDef(), self.type, [], [blob.name for blob in self.outputs], **self.arguments)
        operator = OPERATORS[self.type].decode(Arguments(proto))
        if not isinstance(operator, kind):
            raise TypeError(f"{self.type} is no {kind.__name__}")
        return operator

    @property
    def window(self) -> Window:
        """Of a convolution or a pool."""
        return self.decoded(Windowed).window

    def infer(self) -> None:
        """Give the outputs their shapes and element types. Raises Unsupported as Caffe2 would refuse to run it."""
        names = [f"x{index}" for index in range(len(self.inputs))]
        proto = add_operator(
            caffe2_pb2.NetDef(), self.type, names, [f"y{index}" for index in range(len(self.outputs))], **self.arguments
        )
        node = Node(proto, 0)
        variants = 1 if all(blob.shapes[0] == blob.shapes[1] for blob in self.inputs) else 2
        try:
            types = [
                node.infer({name: blob.type_at(variant) for name, blob in zip(names, self.inputs, strict=True)})[1]
                for variant in range(variants)
            ]
        except ModelError as error:
            raise Unsupported(f"Caffe2's {self.type} does not take it: {str(error).partition('): ')[2]}") from None
        for blob, first, second in zip(self.outputs, types[0], types[-1], strict=True):
            if first.is_exact and second.is_exact:
                blob.known_shapes, blob.dtype = (first.shape, second.shape), first.dtype
                blob.scale, blob.zero_point = first.scale, first.zero_point

    @property
    def activations(self) -> list[Blob]:
        """The inputs that are not constants."""
        return [blob for blob in self.inputs if not blob.is_constant]

    @property
    def has_constant_weights(self) -> bool:
        """Whether constants scale and shift each of its output channels, so that they can take a factor in."""
        kind, parameters = self.traits.layer, self.inputs[1:]
        if kind is None or not parameters or not all(blob.is_constant for blob in parameters):
            return self.type == AFFINE
        return self.group == 1 if kind is traits.Layer.TRANSPOSED_CONVOLUTION else self.type != "FCTransposed"

    @property
    def is_weighted(self) -> bool:
        """Whether it is a layer with constant weights on images or rows."""
        return self.has_constant_weights and self.arguments.get("axis", 1) == 1

    @property
    def weight(self) -> np.ndarray:
        return self.inputs[1].value

    @weight.setter
    def weight(self, value: np.ndarray) -> None:
        self.inputs[1] = constant(value)

    @property
    def has_bias(self) -> bool:
        return len(self.inputs) > 2

    @property
    def bias(self) -> np.ndarray:
        return self.inputs[2].value

    @bias.setter
    def bias(self, value: np.ndarray) -> None:
        self.inputs[2:] = [constant(value)]

    @property
    def weight_axis(self) -> int:
        """The weight's axis of output channels."""
        return 1 if self.traits.layer is traits.Layer.TRANSPOSED_CONVOLUTION else 0

    @property
    def channel_axis(self) -> int:
        """The output's axis of channels."""
        return self.output.rank - 1 if self.traits.layer is traits.Layer.FULLY_CONNECTED else 1

    @property
    def is_clamped(self) -> bool:
        return self.low > -math.inf or self.high < math.inf

    @property
    def group(self) -> int:
        return self.arguments.get("group", 1)

    @property
    def is_depthwise(self) -> bool:
        """One filter for each channel."""
        return self.type == "Conv" and self.group > 1 and self.weight.shape[:2] == (self.group, 1)

    @property
    def joins_channels(self) -> bool:
        """Whether this is a Concat along the channels of NCHW blobs."""
        if self.type != "Concat":
            return False
        operator = self.decoded(Concat)
        return operator.axis in (None, 1) and not operator.add_axis

    @property
    def rows(self) -> np.ndarray:
        """The weight as [O, K]: a view, one row for each output channel."""
        weight = self.weight.swapaxes(0, self.weight_axis)
        return weight.reshape(weight.shape[0], -1)

    def scale_outputs(self, scale: np.ndarray, shift: np.ndarray) -> None:
        """Make the layer's output scale * y + shift, one of each for every channel: (scale w) x + (scale b + shift).

        Computed in float64, in which an Affine keeps it.
        """
        along = [1] * self.weight.ndim
        along[self.weight_axis] = -1
        dtype = np.float64 if self.type == AFFINE else np.float32
        bias = self.bias.astype(np.float64) if self.has_bias else 0.0
        self.weight = (self.weight * scale.reshape(along)).astype(dtype)
        self.bias = (bias * scale + shift).astype(dtype)


@dataclass
class Graph:
    """Layers in order of execution, between the inputs and the outputs that the user names."""

    name: str
    inputs: list[Blob]
    outputs: list[Blob]
    layers: list[Layer] = field(default_factory=list)
    preprocessing: Preprocessing | None = None
    input_dims: Mapping[str, Dims] = field(default_factory=dict)

    def record(self, net: caffe2_pb2.NetDef) -> None:
        """Write into a net's file what is known of its inputs."""
        if self.preprocessing is not None:
            set_preprocessing(net, self.preprocessing)
        if self.input_dims:
            set_input_dims(net, self.input_dims)
        if dtypes := {blob.name: blob.dtype for blob in self.inputs if blob.dtype != FLOAT32}:
            set_input_dtypes(net, dtypes)

    def add(self, kind: str, inputs: Iterable[Blob | None], name: str, outputs: int, arguments: dict) -> Layer:
        """Append a layer, its outputs typed; inputs and arguments that are None are left out.

        Raises Unsupported where Caffe2's operator does not take such inputs.
        """
        read = [blob for blob in inputs if blob is not None]
        for blob in read:
            if blob.varies:
                raise Unsupported("computes with the input's shape; fix it with --img-size or --shape")
        if OPERATORS[kind].carries_order:
            arguments = {**arguments, "order": "NCHW"}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        layer = Layer(kind, read, [Blob(name=name), *(Blob() for _ in range(outputs - 1))], arguments, name)
        if all(blob.known_shapes is not None for blob in read):
            layer.infer()
        self.layers.append(layer)
        return layer

    @property
    def weighted(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.is_weighted]

    @property
    def activations(self) -> list[Blob]:
        """The inputs, and all that layers make."""
        made = [blob for layer in self.layers for blob in layer.outputs if not blob.is_constant]
        return [*self.inputs, *made]

    def producers(self) -> dict[Blob, Layer]:
        return {blob: layer for layer in self.layers for blob in layer.outputs}

    def consumers(self) -> dict[Blob, list[Layer | None]]:
        """Blob -> layers that read it; a graph output has one consumer more, None."""
        consumers: dict[Blob, list[Layer | None]] = {}
        for layer in self.layers:
            for blob in dict.fromkeys(layer.inputs):
                consumers.setdefault(blob, []).append(layer)
        for blob in self.outputs:
            consumers.setdefault(blob, []).append(None)
        return consumers

    def copy(self) -> "Graph":
        """The same graph with layers of its own; blobs are shared (nobody changes one's content)."""
        layers = [
            dataclasses.replace(layer, inputs=[*layer.inputs], outputs=[*layer.outputs], arguments={**layer.arguments})
            for layer in self.layers
        ]
        return dataclasses.replace(self, inputs=[*self.inputs], outputs=[*self.outputs], layers=layers)

    def replace(self, layer: Layer, *others: Layer) -> None:
        """Put other layers into the layer's place."""
        index = self.layers.index(layer)
        self.layers[index : index + 1] = others

    def bypass(self, layer: Layer) -> None:
        """Take the layer out; its readers read its first input."""
        source = layer.inputs[0]
        self.layers.remove(layer)
        for other in self.layers:
            other.inputs = [source if blob is layer.output else blob for blob in other.inputs]
        self.outputs = [source if blob is layer.output else blob for blob in self.outputs]

    def rename(self, layer: Layer) -> None:
        """Take the layer out; whoever makes its first input makes its output instead."""
        source = layer.inputs[0]
        self.layers.remove(layer)
        for other in self.layers:
            other.inputs = [layer.output if blob is source else blob for blob in other.inputs]
            other.outputs = [layer.output if blob is source else blob for blob in other.outputs]

    def absorb(self, layer: Layer, before: Layer) -> None:
        """Take the layer out; the one before, whose output nobody else reads, makes its output instead."""
        self.layers.remove(layer)
        before.outputs = [layer.output, *before.outputs[1:]]
        before.low, before.high = max(before.low, layer.low), min(before.high, layer.high)

    def remove_dead(self) -> None:
        """Drop the layers that no output needs."""
        needed, live = set(self.outputs), []
        for layer in reversed(self.layers):
            if not needed.isdisjoint(layer.outputs):
                needed.update(layer.inputs)
                live.append(layer)
        self.layers = live[::-1]
