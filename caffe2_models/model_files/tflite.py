"""TensorFlow Lite files, float or quantized, whoever made them; needs the extra `litert`."""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_common.sizes import size_of
from caffe2_models import origin
from caffe2_models.model_files import ModelFile, Run, naming
from caffe2_models.model_files.counting import Operator, count
from caffe2_models.model_files.tflite_metadata import read_labels, read_normalization
from caffe2_models.profiling import NetCost
from caffe2_models.runtimes import DEFAULT_KERNELS, KERNELS
from caffe2_models.runtimes.litert import open_interpreter

IDENTIFIER = b"TFL3"  # behind the first four bytes

NAMES = {number: name for name, number in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if not name.startswith("_")}
BYTES = ("uint8", "int8")


class Quantized(NamedTuple):
    """real = scale * (byte - zero_point)"""

    scale: float
    zero_point: int


class Tensor(NamedTuple):
    """One of the file's: its shape as stored, and the content's size in its buffer, 0 for an activation."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    quantized: Quantized | None
    stored_bytes: int

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class TfliteFile(ModelFile):
    """Images are N, H, W, C in it, in float32, uint8 or int8, and scores may be bytes too; its batch is fixed."""

    format = "TensorFlow Lite"

    def __init__(self, path: str | os.PathLike[str], kernels: str = DEFAULT_KERNELS, content: bytes | None = None):
        super().__init__(path, content)
        if self.content[4:8] != IDENTIFIER:
            raise ModelError(f"{self.path}: not a TensorFlow Lite file")
        self.kernels, self.backend = kernels, f"litert ({KERNELS[kernels]})"
        with naming(self.path):
            open_interpreter(self.content, kernels)  # which verifies the file: what follows may trust its offsets
        model = schema.Model.GetRootAs(self.content)
        graph = model.Subgraphs(0)
        self._tensors = [_tensor(model, graph.Tensors(i)) for i in range(graph.TensorsLength())]
        self._operators = [_operator(model, graph.Operators(i)) for i in range(graph.OperatorsLength())]
        self._inputs = [self._tensors[graph.Inputs(i)] for i in range(graph.InputsLength())]
        self._outputs = [self._tensors[graph.Outputs(i)] for i in range(graph.OutputsLength())]
        self.inputs = {tensor.name: _dims(tensor) for tensor in self._inputs}
        self.outputs = {tensor.name: tensor.shape for tensor in self._outputs}
        constants = [tensor for tensor in self._tensors if tensor.stored_bytes and tensor.dtype in (*BYTES, "float32")]
        self.form = f"tflite{'-int8' * any(tensor.dtype in BYTES for tensor in constants)}"
        self.parameter_count = sum(tensor.size for tensor in self._tensors if tensor.stored_bytes)
        self.probabilities = self._ends_in_softmax()
        entries = _metadata(model)
        self.record = entries.get(origin.KEY)
        self.labels = read_labels(self.content)
        self.preprocessing = self._preprocessing(entries)

    def session(self, threads: int | None = 1) -> Run:
        with naming(self.path):
            interpreter = open_interpreter(self.content, self.kernels, threads)
        places = [detail["index"] for detail in interpreter.get_input_details()]
        results = [detail["index"] for detail in interpreter.get_output_details()]

        def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            for tensor, place in zip(self._inputs, places, strict=True):
                interpreter.set_tensor(place, self._stored(tensor, feeds[tensor.name]))
            try:
                interpreter.invoke()
            except RuntimeError as error:
                raise ModelError(f"{self.path}: LiteRT: {str(error).splitlines()[0]}") from None
            return {
                tensor.name: _real(tensor, interpreter.get_tensor(place))
                for tensor, place in zip(self._outputs, results, strict=True)
            }

        return run

    def cost(self, shapes: Mapping[str, tuple[int, ...]]) -> NetCost:
        named = {f"{tensor.name}#{i}": tensor for i, tensor in enumerate(self._tensors)}
        names, tensors = list(named), self._tensors
        operators = []
        for kind, inputs, outputs in self._operators:
            activations = [i for i in inputs if not tensors[i].stored_bytes]
            first = tensors[outputs[0]] if outputs else Tensor("", (), "float32", None, 0)
            quantized = first.quantized or Quantized(None, None)  # type: ignore[arg-type]
            operators.append(
                Operator(
                    kind=kind,
                    inputs=tuple(names[i] for i in activations),
                    outputs=tuple(names[i] for i in outputs),
                    constants=tuple(names[i] for i in inputs if tensors[i].stored_bytes),
                    macs=_macs(kind, [tensors[i] for i in inputs], first),
                    shape=first.shape,
                    dtype=first.dtype,
                    scale=quantized.scale,
                    zero_point=quantized.zero_point,
                )
            )
        nbytes = {name: tensor.stored_bytes or tensor.size * _width(tensor.dtype) for name, tensor in named.items()}
        kept = [name for name, tensor in named.items() if tensor in self._outputs]
        cost = count(self.name, operators, {name: tensor.size for name, tensor in named.items()}, nbytes, kept)
        for row in cost.operators:
            row.outputs[:] = [output.rpartition("#")[0] for output in row.outputs]
        return cost

    def _stored(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        """Real values, N, C, H, W where they are images, in the tensor's own layout and type."""
        stored = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
        if stored.shape != tensor.shape:
            raise ModelError(f"{self.path}: does not run on {list(values.shape)}; it is made for {_dims(tensor)}")
        if tensor.dtype not in BYTES:
            return np.ascontiguousarray(stored, tensor.dtype)
        if tensor.quantized is None:
            raise ModelError(f"{self.path}: input {tensor.name} is of bytes without a scale")
        scale, zero_point = tensor.quantized
        steps = np.rint(stored / np.float32(scale)) + zero_point
        ends = np.iinfo(tensor.dtype)
        return np.clip(steps, ends.min, ends.max).astype(tensor.dtype)

    def _ends_in_softmax(self) -> bool:
        """Whether the first output comes from one, over steps that only move or convert values."""
        writers = {output: (kind, inputs) for kind, inputs, outputs in self._operators for output in outputs}
        kind, inputs = "", [next(i for i, tensor in enumerate(self._tensors) if tensor == self._outputs[0])]
        while inputs and inputs[0] in writers:
            kind, inputs = writers[inputs[0]]
            if kind not in ("RESHAPE", "DEQUANTIZE", "QUANTIZE", "SQUEEZE"):
                break
        return kind == "SOFTMAX"

    def _preprocessing(self, entries: Mapping[str, bytes]) -> Preprocessing | None:
        """As recorded, else what TFLite's metadata say of pixels; bytes without any are the pixels themselves."""
        if KEY in entries:
            with naming(self.path):
                return Preprocessing.from_json(entries[KEY])
        images = [tensor for tensor in self._inputs if len(tensor.shape) == 4]
        if not images:
            return None
        size, channels = size_of((1, 1, *images[0].shape[1:3])), images[0].shape[3]
        pixels = read_normalization(entries.get("TFLITE_METADATA", b""), channels)
        if pixels is None and images[0].dtype in BYTES and images[0].quantized is not None:
            scale, zero_point = images[0].quantized
            zero = zero_point + (128 if images[0].dtype == "int8" else 0)
            pixels = (float(zero),) * channels, (1 / scale,) * channels
        if pixels is None:
            return None
        mean, std = (tuple(value / 255 for value in values) for values in pixels)
        return Preprocessing(size=size, mean=mean, std=std)


def _tensor(model: Any, tensor: Any) -> Tensor:
    parameters = tensor.Quantization()
    quantized = None
    if parameters is not None and parameters.ScaleLength():
        zero_point = int(parameters.ZeroPoint(0)) if parameters.ZeroPointLength() else 0
        quantized = Quantized(float(parameters.Scale(0)), zero_point)
    buffer = model.Buffers(tensor.Buffer())
    shape = tuple(int(tensor.Shape(i)) for i in range(tensor.ShapeLength()))
    name = (tensor.Name() or b"").decode(errors="replace")
    return Tensor(name, shape, TYPES.get(tensor.Type(), "?"), quantized, buffer.DataLength())


def _operator(model: Any, operator: Any) -> tuple[str, list[int], list[int]]:
    """(kind, input tensors, output tensors)"""
    code = model.OperatorCodes(operator.OpcodeIndex())
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = NAMES.get(number, "?")
    if kind == "CUSTOM" and code.CustomCode():
        kind = code.CustomCode().decode(errors="replace")
    inputs = [operator.Inputs(i) for i in range(operator.InputsLength()) if operator.Inputs(i) >= 0]
    return kind, inputs, [operator.Outputs(i) for i in range(operator.OutputsLength())]


def _metadata(model: Any) -> dict[str, bytes]:
    found = {}
    for i in range(model.MetadataLength()):
        entry = model.Metadata(i)
        buffer = model.Buffers(entry.Buffer())
        if buffer is not None and buffer.DataLength():
            found[(entry.Name() or b"").decode(errors="replace")] = buffer.DataAsNumpy().tobytes()
    return found


def _dims(tensor: Tensor) -> tuple[int, ...]:
    """The shape as Caffe2 has it."""
    return tuple(tensor.shape[axis] for axis in (0, 3, 1, 2)) if len(tensor.shape) == 4 else tensor.shape


def _real(tensor: Tensor, stored: np.ndarray) -> np.ndarray:
    if tensor.dtype not in BYTES or tensor.quantized is None:
        return stored
    scale, zero_point = tensor.quantized
    return np.float32(scale) * (stored.astype(np.float32) - np.float32(zero_point))


def _macs(kind: str, inputs: list[Tensor], output: Tensor) -> int:
    """Multiply-adds of an operator with weights."""
    if kind == "CONV_2D":
        return output.size * math.prod(inputs[1].shape[1:])
    if kind == "DEPTHWISE_CONV_2D":
        return output.size * math.prod(inputs[1].shape[1:3])
    if kind == "TRANSPOSE_CONV":
        return inputs[2].size * math.prod(inputs[1].shape[:3])
    if kind == "FULLY_CONNECTED":
        return output.size * inputs[1].shape[-1]
    if kind == "BATCH_MATMUL":
        return output.size * inputs[0].shape[-1]
    return 0


def _width(dtype: str) -> int:
    """Bytes of a value."""
    return np.dtype(dtype).itemsize if dtype in np.sctypeDict else 1
