"""A TensorFlow Lite graph being written, by the schema's own classes from LiteRT."""

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from caffe2_common.errors import UnsupportedError

TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.int64): schema.TensorType.INT64,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.bool_): schema.TensorType.BOOL,
}

# The versions from which operators take what is written here, where that is not 1; for int8 another.
VERSIONS = {"GATHER": 1, "RESHAPE": 1, "TRANSPOSE_CONV": 3, "BATCH_MATMUL": 1, "SELECT_V2": 1, "BROADCAST_TO": 2}
INT8_VERSIONS = {"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "TRANSPOSE_CONV": 3} | dict.fromkeys(
    (
        *("AVERAGE_POOL_2D", "MAX_POOL_2D", "CONCATENATION", "TRANSPOSE", "STRIDED_SLICE", "GATHER", "PAD", "PADV2"),
        *("MAXIMUM", "DEQUANTIZE", "RESIZE_NEAREST_NEIGHBOR", "SOFTMAX"),
    ),
    2,
)

SIGNATURE = "serving_default"  # as TensorFlow calls a model's only function

# Operators into which a Relu behind them may go.
FUSING = ("CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "SUB", "MUL", "DIV", "AVERAGE_POOL_2D", "MAX_POOL_2D")
ACTIVATIONS = {"RELU": schema.ActivationFunctionType.RELU, "RELU6": schema.ActivationFunctionType.RELU6}


@dataclass(frozen=True)
class Quantization:
    """Scale (one, or one a channel along `axis`) and zero point of a tensor of bytes."""

    scale: float | tuple[float, ...]
    zero_point: int = 0
    axis: int = 0

    def to_schema(self) -> schema.QuantizationParametersT:
        scales = np.atleast_1d(np.asarray(self.scale, np.float32))
        found = schema.QuantizationParametersT()
        found.scale, found.zeroPoint = scales, np.full(scales.shape, self.zero_point, np.int64)
        found.quantizedDimension = self.axis
        return found


@dataclass(frozen=True)
class Tensor:
    """A tensor of the graph. Its dimension i is dimension order[i] of the blob that it holds.

    shape is the blob's: an image blob N, C, H, W with the order (0, 2, 3, 1) is stored as N, H, W, C.
    """

    index: int
    shape: tuple[int, ...]
    dtype: np.dtype
    order: tuple[int, ...]
    quantization: Quantization | None = None

    @property
    def stored(self) -> tuple[int, ...]:
        """The shape as it is in the file."""
        return tuple(self.shape[axis] for axis in self.order)

    def stored_axis(self, axis: int) -> int:
        """Where the blob's dimension is stored."""
        return self.order.index(axis % len(self.shape))


Value = Tensor | np.ndarray  # arrays are constants, in the blob's order

NHWC = (0, 2, 3, 1)  # of an NCHW image


def straight(rank: int) -> tuple[int, ...]:
    return tuple(range(rank))


@dataclass
class Graph:
    """Nodes and tensors; `pack` makes the file's bytes."""

    tensors: list[schema.TensorT] = field(default_factory=list)
    operators: list[tuple[str, schema.OperatorT]] = field(default_factory=list)
    buffers: list[schema.BufferT] = field(default_factory=lambda: [schema.BufferT()])  # the first is empty

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any = np.float32,
        order: Sequence[int] | None = None,
        quantization: Quantization | None = None,
        buffer: int = 0,
    ) -> Tensor:
        """A new tensor for a blob of this shape. Raises UnsupportedError for a type that LiteRT has no kernels of."""
        if np.dtype(dtype) not in TYPES:
            raise UnsupportedError(f"values of {np.dtype(dtype)}")
        shape = tuple(int(size) for size in shape)
        made = Tensor(len(self.tensors), shape, np.dtype(dtype), tuple(order or straight(len(shape))), quantization)
        written = schema.TensorT()
        written.name, written.shape = name.encode(), np.array(made.stored, np.int32)
        written.type, written.buffer, written.hasRank = TYPES[made.dtype], buffer, True
        if quantization is not None:
            written.quantization = quantization.to_schema()
        self.tensors.append(written)
        return made

    def constant(
        self, value: np.ndarray | np.generic, quantization: Quantization | None = None, name: str = "constant"
    ) -> Tensor:
        """A constant as it stands."""
        array = np.ascontiguousarray(value)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        self.buffers.append(buffer)
        name = f"{name}/{len(self.tensors)}"
        return self.tensor(name, array.shape, array.dtype, None, quantization, len(self.buffers) - 1)

    def ints(self, values: Sequence[int]) -> Tensor:
        return self.constant(np.array(values, np.int32))

    def add(
        self,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        dtype: Any = np.float32,
        order: Sequence[int] | None = None,
        quantization: Quantization | None = None,
        **options: Any,
    ) -> Tensor:
        """Append an operator with one output; `options` are those of the schema's table of its kind."""
        output = self.tensor(f"{kind.lower()}/{len(self.operators)}", shape, dtype, order, quantization)
        self.add_to(kind, inputs, [output], **options)
        return output

    def add_to(self, kind: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], **options: Any) -> None:
        """Append an operator that writes given tensors."""
        written = schema.OperatorT()
        written.inputs = np.array([-1 if x is None else x.index for x in inputs], np.int32)
        written.outputs = np.array([y.index for y in outputs], np.int32)
        table = options.pop("table", None)
        if table is not None:
            written.builtinOptionsType = getattr(schema.BuiltinOptions, table)
            written.builtinOptions = getattr(schema, f"{table}T")()
            for key, value in options.items():
                if not hasattr(written.builtinOptions, key):
                    raise AttributeError(f"{table} has no {key}")
                setattr(written.builtinOptions, key, value)
        self.operators.append((kind, written))

    def rename(self, tensor: Tensor, name: str) -> None:
        self.tensors[tensor.index].name = name.encode()

    def ordered(self, value: Value, order: Sequence[int] | None = None) -> Tensor:
        """The value stored in this order; straight where none is given."""
        order = tuple(order or straight(len(value.shape)))
        if isinstance(value, np.ndarray):
            made = self.constant(np.transpose(value, order) if value.ndim else value)
            return replace(made, shape=value.shape, order=order)
        if value.order == order:
            return value
        kept: dict[str, Any] = {"dtype": value.dtype, "order": order, "quantization": value.quantization}
        lengthy = [[axis for axis in each if value.shape[axis] > 1] for each in (value.order, order)]
        if lengthy[0] == lengthy[1]:  # no element moves
            size = self.ints([value.shape[axis] for axis in order])
            return self.add("RESHAPE", [value, size], value.shape, **kept)
        permutation = self.ints([value.order.index(axis) for axis in order])
        return self.add("TRANSPOSE", [value, permutation], value.shape, table="TransposeOptions", **kept)

    def reshape(self, value: Value, shape: Sequence[int]) -> Tensor:
        """The same elements, in the blob's order, in another shape."""
        x = self.ordered(value)
        shape = tuple(int(size) for size in shape)
        if x.shape == shape:
            return x
        return self.add("RESHAPE", [x, self.ints(shape)], shape, x.dtype, None, x.quantization)

    def pack(
        self,
        name: str,
        inputs: Sequence[Tensor],
        outputs: Sequence[Tensor],
        metadata: dict[str, bytes],
    ) -> bytes:
        """The file. Operators that reach no output are left out, and tensors that no operator touches."""
        operators = self.live(outputs)
        touched = {int(i) for _, operator in operators for i in (*operator.inputs, *operator.outputs) if i >= 0}
        used = sorted(touched | {tensor.index for tensor in (*inputs, *outputs)})
        place = {-1: -1} | {old: new for new, old in enumerate(used)}

        def moved(indices: Iterable[int]) -> np.ndarray:
            return np.array([place[int(index)] for index in indices], np.int32)

        model, graph = schema.ModelT(), schema.SubGraphT()
        model.buffers = [self.buffers[0]]
        graph.name, graph.tensors, graph.operators = name.encode(), [], []
        for index in used:
            tensor = copy.copy(self.tensors[index])
            if tensor.buffer:
                model.buffers.append(self.buffers[tensor.buffer])
                tensor.buffer = len(model.buffers) - 1
            graph.tensors.append(tensor)
        graph.inputs, graph.outputs = (moved(tensor.index for tensor in ends) for ends in (inputs, outputs))
        model.signatureDefs = [
            self._signature(*((ends, list(moved(t.index for t in ends))) for ends in (inputs, outputs)))
        ]
        codes: dict[tuple[str, int], int] = {}
        for kind, operator in operators:
            operator.opcodeIndex = codes.setdefault((kind, self._version(kind, operator)), len(codes))
            operator.inputs, operator.outputs = moved(operator.inputs), moved(operator.outputs)
            graph.operators.append(operator)
        model.version, model.subgraphs, model.description = 3, [graph], b"caffe2-mobile"
        model.operatorCodes = [operator_code(kind, version) for kind, version in codes]
        model.metadata = []
        for key, content in metadata.items():
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(content, np.uint8)
            entry = schema.MetadataT()
            entry.name, entry.buffer = key.encode(), len(model.buffers)
            model.metadata.append(entry)
            model.buffers.append(buffer)
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _signature(self, *both: tuple[Sequence[Tensor], Sequence[int]]) -> schema.SignatureDefT:
        """The names by which libraries feed inputs and read outputs."""
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE.encode(), 0
        signature.inputs, signature.outputs = (
            [self._named(tensor, int(place)) for tensor, place in zip(ends, places, strict=True)]
            for ends, places in both
        )
        return signature

    def _named(self, tensor: Tensor, place: int) -> schema.TensorMapT:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self.tensors[tensor.index].name, place
        return entry

    def live(self, outputs: Sequence[Tensor]) -> "Operators":
        """The operators that the outputs need, Relus in those before them."""
        needed = {tensor.index for tensor in outputs}
        live = []
        for kind, operator in reversed(self.operators):
            if any(int(index) in needed for index in operator.outputs):
                needed.update(int(index) for index in operator.inputs)
                live.append((kind, copy.copy(operator)))
        return with_fused_activations(live[::-1], outputs)

    def _version(self, kind: str, operator: schema.OperatorT) -> int:
        touched = [int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0]
        if kind in INT8_VERSIONS and any(self.tensors[i].type == schema.TensorType.INT8 for i in touched):
            return INT8_VERSIONS[kind]
        return VERSIONS.get(kind, 1)


Operators = list[tuple[str, schema.OperatorT]]


def with_fused_activations(operators: Operators, outputs: Sequence[Tensor]) -> Operators:
    """Relus become part of the operator before them, where nothing else reads that."""
    readers = Counter(int(index) for _, operator in operators for index in operator.inputs)
    readers.update(tensor.index for tensor in outputs)
    writers = {int(operator.outputs[0]): (kind, operator) for kind, operator in operators}
    kept: Operators = []
    for kind, operator in operators:
        source = int(operator.inputs[0])
        before = writers.get(source) if kind in ACTIVATIONS and readers[source] == 1 else None
        if before is not None and before[0] in FUSING:
            options = copy.copy(before[1].builtinOptions)
            if options.fusedActivationFunction == schema.ActivationFunctionType.NONE:
                options.fusedActivationFunction = ACTIVATIONS[kind]
                before[1].builtinOptions, before[1].outputs = options, operator.outputs
                writers[int(operator.outputs[0])] = before
                continue
        kept.append((kind, operator))
    return kept


def operator_code(kind: str, version: int) -> schema.OperatorCodeT:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, kind)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # of the time when it was a byte
    code.version = version
    return code
