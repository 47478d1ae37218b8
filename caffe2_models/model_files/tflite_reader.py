"""TensorFlow Lite files made by anyone, read without trusting them, by the schema's own classes from LiteRT."""

import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from caffe2_common.errors import ModelError
from caffe2_common.files import read_whole
from caffe2_models.model_files import naming
from caffe2_models.tensors import MAX_BLOB_BYTES

MAX_FILE_BYTES = 2 << 30  # offsets are of 32 bits
IDENTIFIER = b"TFL3"  # behind the first four bytes
CUSTOM = "CUSTOM "  # before the name of an operator that is no built-in

DTYPES: dict[int, np.dtype] = {
    schema.TensorType.FLOAT32: np.dtype(np.float32),
    schema.TensorType.FLOAT16: np.dtype(np.float16),
    schema.TensorType.FLOAT64: np.dtype(np.float64),
    schema.TensorType.COMPLEX64: np.dtype(np.complex64),
    schema.TensorType.COMPLEX128: np.dtype(np.complex128),
    schema.TensorType.INT8: np.dtype(np.int8),
    schema.TensorType.UINT8: np.dtype(np.uint8),
    schema.TensorType.INT16: np.dtype(np.int16),
    schema.TensorType.UINT16: np.dtype(np.uint16),
    schema.TensorType.UINT32: np.dtype(np.uint32),
    schema.TensorType.UINT64: np.dtype(np.uint64),
    schema.TensorType.INT32: np.dtype(np.int32),
    schema.TensorType.INT64: np.dtype(np.int64),
    schema.TensorType.BOOL: np.dtype(np.bool_),
}
OTHER = np.dtype(np.void)  # texts, resources: what numpy has no element for
OPERATORS = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
OPTIONS = {code: name for name, code in vars(schema.BuiltinOptions).items() if isinstance(code, int) and code}

# What the generated classes raise of a file that ends, or points, where it should not.
DAMAGED = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, KeyError)


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point); several of both along `axis`."""

    scale: np.ndarray  # float32
    zero_point: np.ndarray  # int64
    axis: int

    @property
    def is_single(self) -> bool:
        return self.scale.size == 1

    @property
    def first(self) -> tuple[float, int]:
        """(scale, zero point), of a tensor that has one of both."""
        return float(self.scale[0]), int(self.zero_point[0])


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor as it is stored (images N, H, W, C), its dtype OTHER where numpy has none; numbers of 4 bits are int8.

    stored_bytes: of its content in the file, 0 where the graph computes it; data: that, where it is dense and has a
    dtype.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    quantization: Quantization | None
    data: np.ndarray | None
    stored_bytes: int = 0
    is_sparse: bool = False

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.data is not None

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, eq=False)
class Operator:
    """kind: as the schema names it. operands: None for one that is left out. options: its table, or None."""

    kind: str
    operands: list[Tensor | None]
    outputs: list[Tensor]
    options: Any

    @property
    def inputs(self) -> list[Tensor]:
        """The operands up to the last one that is there. Raises ModelError where one before it is not."""
        found = [x for x in self.operands if x is not None]
        if self.operands[: len(found)] != found:
            raise ModelError(f"{self}: an input is missing")
        return found

    @property
    def output(self) -> Tensor:
        return self.outputs[0]

    def optional(self, index: int) -> Tensor | None:
        """An operand that may be left out."""
        return self.operands[index] if index < len(self.operands) else None

    def __str__(self) -> str:
        return f"{self.kind} -> {self.outputs[0] if self.outputs else 'nothing'}"


@dataclass(frozen=True)
class File:
    """The first graph of a file, how many it has, its metadata entries by name, and all of its bytes."""

    name: str
    content: bytes
    inputs: list[Tensor]
    outputs: list[Tensor]
    operators: list[Operator]
    metadata: dict[str, bytes]
    tensors: list[Tensor]
    graphs: int


def read_tflite(path: str | os.PathLike[str]) -> File:
    """Raises ModelError, in one line, for a file that is missing, damaged or no TensorFlow Lite model."""
    path = Path(path)
    content = read_whole(path, MAX_FILE_BYTES, ".tflite")
    with naming(path):
        return parse_tflite(content, path.stem)


def parse_tflite(content: bytes, name: str = "net") -> File:
    """The graph of a file's bytes. Raises ModelError."""
    if content[4:8] != IDENTIFIER:
        raise ModelError("not a TensorFlow Lite model")
    try:
        return _Parser(content).parse(name)
    except DAMAGED:
        raise ModelError("truncated or damaged") from None


class _Parser:
    """Reads tables lazily, so that nothing is copied before its size is checked."""

    def __init__(self, content: bytes):
        self.content = content
        self.model = schema.Model.GetRootAs(content, 0)
        self.text = 0  # bytes of names so far: in a sound file they do not overlap

    def parse(self, name: str) -> File:
        graph = self.model.Subgraphs(0)
        tensors = [self._tensor(graph.Tensors(index), index) for index in range(graph.TensorsLength())]
        kinds = [self._kind(self.model.OperatorCodes(index)) for index in range(self.model.OperatorCodesLength())]
        operators = [self._operator(graph.Operators(index), kinds, tensors) for index in range(graph.OperatorsLength())]
        return File(
            name=name,
            content=self.content,
            inputs=[_at(tensors, graph.Inputs(index)) for index in range(graph.InputsLength())],
            outputs=[_at(tensors, graph.Outputs(index)) for index in range(graph.OutputsLength())],
            operators=operators,
            metadata=dict(self._metadata(index) for index in range(self.model.MetadataLength())),
            tensors=tensors,
            graphs=self.model.SubgraphsLength(),
        )

    def _text(self, text: bytes | None) -> str:
        self.text += len(text or b"")
        if self.text > len(self.content):
            raise ModelError("truncated or damaged")
        return (text or b"").decode(errors="replace")

    def _tensor(self, table: Any, index: int) -> Tensor:
        name = self._text(table.Name()) or f"tensor_{index}"
        is_packed = table.Type() == schema.TensorType.INT4
        dtype = np.dtype(np.int8) if is_packed else DTYPES.get(table.Type(), OTHER)
        if table.ShapeLength() > 8:
            raise ModelError(f"tensor {name}: {table.ShapeLength()} dimensions")
        shape = tuple(int(table.Shape(axis)) for axis in range(table.ShapeLength()))
        if any(dim < 0 for dim in shape) or math.prod(shape) * dtype.itemsize > MAX_BLOB_BYTES:
            raise ModelError(f"tensor {name}: impossible shape {list(shape)}")
        stored, is_sparse = self._content(table, name), table.Sparsity() is not None
        data = None
        if stored is not None and dtype != OTHER and not is_sparse:
            content = _unpacked(stored, math.prod(shape)) if is_packed else stored
            if content.nbytes != math.prod(shape) * dtype.itemsize:
                raise ModelError(f"tensor {name}: {content.nbytes} bytes for {dtype} {list(shape)}")
            data = content.view(dtype).reshape(shape)
        nbytes = 0 if stored is None else stored.nbytes
        return Tensor(name, shape, dtype, self._quantization(table, name, shape), data, nbytes, is_sparse)

    def _quantization(self, table: Any, name: str, shape: tuple[int, ...]) -> Quantization | None:
        found = table.Quantization()
        if found is None or found.ScaleLength() == 0:
            return None
        scale = np.array(found.ScaleAsNumpy(), np.float32)
        zero_point = np.array(found.ZeroPointAsNumpy() if found.ZeroPointLength() else [0], np.int64)
        axis = int(found.QuantizedDimension())
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise ModelError(f"tensor {name}: a scale that is no positive number")
        if scale.size > 1 and not (axis < len(shape) and scale.size == shape[axis]):
            raise ModelError(f"tensor {name}: {scale.size} scales for dimension {axis} of {list(shape)}")
        if zero_point.size not in (1, scale.size):
            raise ModelError(f"tensor {name}: {zero_point.size} zero points for {scale.size} scales")
        return Quantization(scale, np.broadcast_to(zero_point, scale.shape), axis)

    def _content(self, table: Any, name: str) -> np.ndarray | None:
        """A constant's bytes, or None for what the graph computes."""
        if not 0 <= table.Buffer() < self.model.BuffersLength():
            raise ModelError(f"tensor {name}: its content is not in the file")
        buffer = self.model.Buffers(table.Buffer())
        return buffer.DataAsNumpy() if buffer.DataLength() else None

    def _kind(self, code: Any) -> str:
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        if number == schema.BuiltinOperator.CUSTOM:
            return f"{CUSTOM}{self._text(code.CustomCode())}"
        return OPERATORS.get(number, f"operator {number}")

    def _operator(self, table: Any, kinds: list[str], tensors: list[Tensor]) -> Operator:
        inputs = [
            _at(tensors, i) if (i := table.Inputs(index)) != -1 else None for index in range(table.InputsLength())
        ]
        outputs = [_at(tensors, table.Outputs(index)) for index in range(table.OutputsLength())]
        options, kind = table.BuiltinOptions(), table.BuiltinOptionsType()
        decoded = None
        if options is not None and kind in OPTIONS:
            lazy = getattr(schema, OPTIONS[kind])()
            lazy.Init(options.Bytes, options.Pos)
            decoded = getattr(schema, f"{OPTIONS[kind]}T").InitFromObj(lazy)
        return Operator(_at(kinds, table.OpcodeIndex()), inputs, outputs, decoded)

    def _metadata(self, index: int) -> tuple[str, bytes]:
        entry = self.model.Metadata(index)
        name = self._text(entry.Name())
        if not 0 <= entry.Buffer() < self.model.BuffersLength():
            raise ModelError(f"metadata {name}: its content is not in the file")
        content = self.model.Buffers(entry.Buffer())
        data = content.DataAsNumpy().tobytes() if content.DataLength() else b""
        self._text(data)
        return name, data


def _unpacked(content: np.ndarray, count: int) -> np.ndarray:
    """Whole numbers of 4 bits, two in a byte, the lower half first, as int8."""
    halves = np.stack([content << 4, content], axis=-1).view(np.int8) >> 4
    return halves.reshape(-1)[: max(count, 2 * len(content) - 1)]


def _at(items: list, index: int) -> Any:
    if not 0 <= index < len(items):
        raise ModelError("truncated or damaged")
    return items[index]
