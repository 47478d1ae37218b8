"""The Caffe2 net while it is being made: operators and blobs as objects, named only at the end."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from caffe2_models.build import add_fill, add_operator
from caffe2_models.proto import caffe2_pb2
from exporters.onnx_to_caffe2.naming import Names

# Operators that carry the layout they were made for, as the published nets do.
ORDERED = {
    *("Conv", "ConvTranspose", "FC", "MaxPool", "AveragePool", "Relu", "Softmax"),
    *("SpatialBN", "InstanceNorm", "LRN", "PadImage", "ResizeNearest", "UpsampleBilinear"),
}

# Second outputs that Caffe2 wants named though nobody reads them.
SIDE_OUTPUTS = {
    "Concat": ["split_info"],
    "Reshape": ["old_shape"],
    "LRN": ["scale"],
    "LayerNorm": ["mean", "std"],
}

FLOAT32 = np.dtype(np.float32)


@dataclass(eq=False)
class Blob:
    """A value of the net. shapes holds its shape at the two sizes of the free dimensions (None: not known).

    value is set for constants; varies says that the value is known but depends on the input's shape.
    """

    shapes: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    value: np.ndarray | None = None
    varies: bool = False
    dtype: np.dtype = FLOAT32
    name: str = ""
    op: "Op | None" = None

    @property
    def shape(self) -> tuple[int, ...]:
        if self.shapes is None:
            raise Unsupported(f"the shape of {self.name} is not known")
        return self.shapes[0]

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.value is not None

    def is_fixed(self, axis: int) -> bool:
        """Whether the dimension is the same whatever the input's shape."""
        return self.shape[axis] == self.shapes[1][axis]

    def fixed_dim(self, axis: int) -> int:
        """A dimension that must not depend on the input's shape."""
        if not self.is_fixed(axis):
            raise Unsupported(f"needs a fixed size in dimension {axis}; export or convert with --img-size")
        return self.shape[axis]


@dataclass(eq=False)
class Op:
    """A Caffe2 operator; layer is the readable name of the ONNX node it came from."""

    type: str
    inputs: list[Blob]
    outputs: list[Blob]
    arguments: dict[str, object]
    layer: str

    @property
    def output(self) -> Blob:
        return self.outputs[0]


class Unsupported(Exception):
    """Why one node cannot be expressed; convert() gathers all of them into one UnsupportedError."""


@dataclass
class Graph:
    """Operators in order, between the inputs and the outputs that the user names."""

    name: str
    inputs: list[Blob]
    outputs: list[Blob]
    ops: list[Op] = field(default_factory=list)

    def add(self, kind: str, inputs: Iterable[Blob | None], layer: str, outputs: int, arguments: dict) -> Op:
        inputs = [blob for blob in inputs if blob is not None]
        for blob in inputs:
            if blob.varies:
                raise Unsupported("computes with the input's shape; export it with a fixed input size")
        if kind in ORDERED:
            arguments = {**arguments, "order": "NCHW"}
        arguments = {key: value for key, value in arguments.items() if value is not None}
        op = Op(kind, inputs, [Blob(name=layer) for _ in range(outputs)], arguments, layer)
        for blob in op.outputs:
            blob.op = op
        self.ops.append(op)
        return op

    def uses(self) -> dict[Blob, int]:
        """How often each blob is read, as input of an operator or output of the net."""
        counts: dict[Blob, int] = {}
        for blob in [blob for op in self.ops for blob in op.inputs] + self.outputs:
            counts[blob] = counts.get(blob, 0) + 1
        return counts

    def remove_dead(self) -> None:
        """Drop the operators that no output needs."""
        needed, live = set(self.outputs), []
        for op in reversed(self.ops):
            if not needed.isdisjoint(op.outputs):
                needed.update(op.inputs)
                live.append(op)
        self.ops = live[::-1]

    def to_protos(self) -> tuple[caffe2_pb2.NetDef, caffe2_pb2.NetDef]:
        """(predict, init) nets with readable, unique blob names. Weights are moved: the graph is used up."""
        names = Names(self)
        predict = caffe2_pb2.NetDef(name=self.name)
        init = caffe2_pb2.NetDef(name=f"{self.name}_init")
        parameters: dict[Blob, str] = {}
        for op in self.ops:
            for index, blob in enumerate(op.inputs):
                if blob.is_constant and blob not in parameters:
                    parameters[blob] = names.of_parameter(op, index)
                    add_fill(init, parameters[blob], np.atleast_1d(blob.value))  # broadcasts as a scalar does
                    blob.value = None
            inputs = [parameters.get(blob) or names.of(blob) for blob in op.inputs]
            outputs = [names.of(blob) for blob in op.outputs]
            outputs += [f"{outputs[0]}_{suffix}" for suffix in SIDE_OUTPUTS.get(op.type, [])]
            add_operator(predict, op.type, inputs, outputs, **op.arguments)
        predict.external_input.extend([*map(names.of, self.inputs), *parameters.values()])
        predict.external_output.extend(map(names.of, self.outputs))
        init.external_output.extend(parameters.values())
        return predict, init
