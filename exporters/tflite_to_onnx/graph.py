"""An ONNX graph in QDQ form being written for a TensorFlow Lite one.

Blobs of four dimensions are stored as N, H, W, C there and as N, C, H, W here, whatever they are; others as they are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from caffe2_common.errors import UnsupportedError
from caffe2_models.model_files.tflite_reader import Quantization, Tensor

NCHW, NHWC = (0, 3, 1, 2), (0, 2, 3, 1)  # permutations from the other one

BYTES = {np.dtype(np.uint8), np.dtype(np.int8)}


@dataclass
class Writer:
    """Nodes, initializers, and the name under which each tensor's real values are, in ONNX's order."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    values: dict[Tensor, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def name(self, wish: str) -> str:
        """A name that no other tensor has."""
        name, number = wish, 2
        while name in self.taken:
            name, number = f"{wish}_{number}", number + 1
        self.taken.add(name)
        return name

    def add(self, kind: str, inputs: Sequence[str], wish: str = "", **attributes: Any) -> str:
        """Append a node with one output, whose name is returned."""
        output = self.name(wish or f"{kind.lower()}_{len(self.nodes)}")
        attributes = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def constant(self, value: np.ndarray, wish: str = "constant") -> str:
        name = self.name(wish)
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def ints(self, values: Sequence[int]) -> str:
        return self.constant(np.array(values, np.int64))

    def real(self, tensor: Tensor) -> str:
        """The tensor's real values in ONNX's order."""
        if tensor not in self.values:
            if tensor.data is None:
                raise UnsupportedError(f"{tensor}: read before anything writes it")
            self.values[tensor] = self.weight(tensor, NCHW if tensor.rank == 4 else None)
        return self.values[tensor]

    def straight(self, tensor: Tensor) -> str:
        """The tensor's real values as TensorFlow Lite has them."""
        if tensor.rank != 4:
            return self.real(tensor)
        return self.weight(tensor) if tensor.is_constant else self.add("Transpose", [self.real(tensor)], perm=NHWC)

    def weight(self, tensor: Tensor, order: Sequence[int] | None = None, data: np.ndarray | None = None) -> str:
        """A constant's real values, its dimensions in this order; quantized ones by a DequantizeLinear.

        data: what it holds, where it was brought to another shape, whose last dimension is quantized as the tensor's.
        """
        value = tensor.data if data is None else data
        assert value is not None
        order = tuple(order or range(value.ndim))
        value, quantization = value.transpose(order), tensor.quantization
        if value.dtype == np.float16:
            value = value.astype(np.float32)
        if quantization is None or value.dtype not in BYTES | {np.dtype(np.int32)}:
            return self.constant(value, tensor.name)
        axis = None if quantization.is_single else order.index(quantization.axis)
        if data is not None and not quantization.is_single:
            axis = order.index(value.ndim - 1)
        stored = self.constant(value, f"{tensor.name}/bytes")
        parameters = self._parameters(quantization, value.dtype)
        return self.add("DequantizeLinear", [stored, *parameters], tensor.name, axis=axis)

    def write(self, tensor: Tensor, value: str) -> None:
        """What an operator computes, in ONNX's order, as the tensor; quantized where that is."""
        self.values[tensor] = self._quantized(tensor, value)

    def write_straight(self, tensor: Tensor, value: str) -> None:
        """The same of a value in TensorFlow Lite's order."""
        self.write(tensor, self.add("Transpose", [value], perm=NCHW) if tensor.rank == 4 else value)

    def _quantized(self, tensor: Tensor, value: str) -> str:
        quantization = tensor.quantization
        if quantization is None or tensor.dtype not in BYTES:
            if tensor.dtype == np.int16 and quantization is not None:
                raise UnsupportedError(f"{tensor}: activations of 16 bits; Caffe2's int8 operators have 8")
            return value
        parameters = self._parameters(quantization, tensor.dtype)
        stored = self.add("QuantizeLinear", [value, *parameters], f"{tensor.name}/bytes")
        return self.add("DequantizeLinear", [stored, *parameters], tensor.name)

    def _parameters(self, quantization: Quantization, dtype: np.dtype) -> list[str]:
        scale, zero_point = quantization.scale, quantization.zero_point.astype(dtype)
        if quantization.is_single:
            scale, zero_point = scale.reshape(()), zero_point.reshape(())
        return [self.constant(scale, "scale"), self.constant(zero_point, "zero_point")]
