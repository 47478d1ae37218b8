"""TensorFlow Lite files, float or quantized, whoever made them; needs the extra `litert`."""

import math
import os
from collections.abc import Mapping

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import KEY, Preprocessing
from caffe2_common.sizes import size_of
from caffe2_models import origin
from caffe2_models.model_files import ModelFile, Run, naming
from caffe2_models.model_files.counting import Operator, count
from caffe2_models.model_files.tflite_metadata import read_labels, read_normalization
from caffe2_models.model_files.tflite_reader import CUSTOM, IDENTIFIER, Tensor, parse_tflite
from caffe2_models.profiling import NetCost
from caffe2_models.runtimes import DEFAULT_KERNELS, KERNELS
from caffe2_models.runtimes.litert import open_interpreter

BYTES = ("uint8", "int8")
NOTHING = Tensor("", (), np.dtype(np.float32), None, None)  # that an operator without outputs makes


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
            self._file = parse_tflite(self.content, self.name)
        tensors, entries = self._file.tensors, self._file.metadata
        self.inputs = {tensor.name: _dims(tensor) for tensor in self._file.inputs}
        self.outputs = {tensor.name: tensor.shape for tensor in self._file.outputs}
        quantized = any(tensor.dtype.name in BYTES for tensor in tensors if tensor.stored_bytes)
        self.form = f"tflite{'-int8' * quantized}"
        self.parameter_count = sum(tensor.size for tensor in tensors if tensor.stored_bytes)
        self.probabilities = self._ends_in_softmax()
        self.record = entries.get(origin.KEY)
        self.labels = read_labels(self.content)
        self.preprocessing = self._preprocessing(entries)

    def session(self, threads: int | None = 1) -> Run:
        with naming(self.path):
            interpreter = open_interpreter(self.content, self.kernels, threads)
        places = [detail["index"] for detail in interpreter.get_input_details()]
        results = [detail["index"] for detail in interpreter.get_output_details()]

        def run(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
            for tensor, place in zip(self._file.inputs, places, strict=True):
                interpreter.set_tensor(place, self._stored(tensor, feeds[tensor.name]))
            try:
                interpreter.invoke()
            except RuntimeError as error:
                raise ModelError(f"{self.path}: LiteRT: {str(error).splitlines()[0]}") from None
            return {
                tensor.name: _real(tensor, interpreter.get_tensor(place))
                for tensor, place in zip(self._file.outputs, results, strict=True)
            }

        return run

    def cost(self, shapes: Mapping[str, tuple[int, ...]]) -> NetCost:
        named = {f"{tensor.name}#{i}": tensor for i, tensor in enumerate(self._file.tensors)}
        names = {tensor: name for name, tensor in named.items()}
        operators = []
        for operator in self._file.operators:
            read = [tensor for tensor in operator.operands if tensor is not None]
            made = operator.outputs[0] if operator.outputs else NOTHING
            scale, zero_point = (None, None) if made.quantization is None else made.quantization.first
            operators.append(
                Operator(
                    kind=operator.kind.removeprefix(CUSTOM),
                    inputs=tuple(names[tensor] for tensor in read if not tensor.stored_bytes),
                    outputs=tuple(names[tensor] for tensor in operator.outputs),
                    constants=tuple(names[tensor] for tensor in read if tensor.stored_bytes),
                    macs=_macs(operator.kind, read, made.size),
                    shape=made.shape,
                    dtype=made.dtype.name,
                    scale=scale,
                    zero_point=zero_point,
                )
            )
        nbytes = {name: tensor.stored_bytes or tensor.size * _width(tensor.dtype) for name, tensor in named.items()}
        kept = [name for name, tensor in named.items() if tensor in self._file.outputs]
        cost = count(self.name, operators, {name: tensor.size for name, tensor in named.items()}, nbytes, kept)
        for row in cost.operators:
            row.outputs[:] = [output.rpartition("#")[0] for output in row.outputs]
        return cost

    def _stored(self, tensor: Tensor, values: np.ndarray) -> np.ndarray:
        """Real values, N, C, H, W where they are images, in the tensor's own layout and type."""
        stored = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values
        if stored.shape != tensor.shape:
            raise ModelError(f"{self.path}: does not run on {list(values.shape)}; it is made for {_dims(tensor)}")
        if tensor.dtype.name not in BYTES:
            return np.ascontiguousarray(stored, tensor.dtype)
        if tensor.quantization is None:
            raise ModelError(f"{self.path}: input {tensor.name} is of bytes without a scale")
        scale, zero_point = tensor.quantization.first
        steps = np.rint(stored / np.float32(scale)) + zero_point
        ends = np.iinfo(tensor.dtype)
        return np.clip(steps, ends.min, ends.max).astype(tensor.dtype)

    def _ends_in_softmax(self) -> bool:
        """Whether the first output comes from one, over steps that only move or convert values."""
        writers = {output: operator for operator in self._file.operators for output in operator.outputs}
        blob: Tensor | None = self._file.outputs[0]
        while blob in writers:
            operator = writers[blob]
            if operator.kind not in ("RESHAPE", "DEQUANTIZE", "QUANTIZE", "SQUEEZE"):
                return operator.kind == "SOFTMAX"
            blob = operator.operands[0]
        return False

    def _preprocessing(self, entries: Mapping[str, bytes]) -> Preprocessing | None:
        """As recorded, else what TFLite's metadata say of pixels; bytes without any are the pixels themselves."""
        if KEY in entries:
            with naming(self.path):
                return Preprocessing.from_json(entries[KEY])
        images = [tensor for tensor in self._file.inputs if len(tensor.shape) == 4]
        if not images:
            return None
        size, channels = size_of((1, 1, *images[0].shape[1:3])), images[0].shape[3]
        pixels = read_normalization(entries.get("TFLITE_METADATA", b""), channels)
        if pixels is None and images[0].dtype.name in BYTES and images[0].quantization is not None:
            scale, zero_point = images[0].quantization.first
            zero = zero_point + (128 if images[0].dtype == np.int8 else 0)
            pixels = (float(zero),) * channels, (1 / scale,) * channels
        if pixels is None:
            return None
        mean, std = (tuple(value / 255 for value in values) for values in pixels)
        return Preprocessing(size=size, mean=mean, std=std)


def _dims(tensor: Tensor) -> tuple[int, ...]:
    """The shape as Caffe2 has it."""
    return tuple(tensor.shape[axis] for axis in (0, 3, 1, 2)) if len(tensor.shape) == 4 else tensor.shape


def _real(tensor: Tensor, stored: np.ndarray) -> np.ndarray:
    if tensor.dtype.name not in BYTES or tensor.quantization is None:
        return stored
    scale, zero_point = tensor.quantization.first
    return np.float32(scale) * (stored.astype(np.float32) - np.float32(zero_point))


def _macs(kind: str, inputs: list[Tensor], outputs: int) -> int:
    """Multiply-adds of an operator with weights. outputs: how many numbers it makes."""
    if kind == "CONV_2D":
        return outputs * math.prod(inputs[1].shape[1:])
    if kind == "DEPTHWISE_CONV_2D":
        return outputs * math.prod(inputs[1].shape[1:3])
    if kind == "TRANSPOSE_CONV":
        return inputs[2].size * math.prod(inputs[1].shape[:3])
    if kind == "FULLY_CONNECTED":
        return outputs * inputs[1].shape[-1]
    if kind == "BATCH_MATMUL":
        return outputs * inputs[0].shape[-1]
    return 0


def _width(dtype: np.dtype) -> int:
    """Bytes of a value."""
    return dtype.itemsize or 1
