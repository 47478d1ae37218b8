"""A net in QDQ form (exporters.int8.qdq) as a TensorFlow Lite file for LiteRT's int8 kernels.

Written first as float operators between DEQUANTIZE and QUANTIZE, the way over ONNX. Then each such group becomes one
operator of bytes; what has no such kernel stays in float.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from caffe2_models import Net
from caffe2_models.tensors import TensorType
from exporters.caffe2_to_tflite.conversion import Converted, write
from exporters.caffe2_to_tflite.graph import Graph, Operators, Quantization, Tensor
from exporters.caffe2_to_tflite.int8_operators import Blob, Int8Writer
from exporters.int8.qdq import QdqLayer

# What moves elements, and does the same to bytes: the output is quantized as the input.
MOVERS = {"RESHAPE", "TRANSPOSE", "PAD", "STRIDED_SLICE", "SLICE", "GATHER", "MAX_POOL_2D", "REDUCE_MAX", "TILE"}
MOVERS |= {"BROADCAST_TO", "MIRROR_PAD", "AVERAGE_POOL_2D"}  # the last rounds to the input's steps

# Operators with an int8 kernel whose output has a quantization of its own; all inputs are activations.
FREE = {"ADD", "MUL", "SUB", "MEAN", "LEAKY_RELU", "LOGISTIC", "SOFTMAX", "HARD_SWISH", "TANH"}
ALIKE = {"CONCATENATION"}  # inputs and output are quantized alike
# Layers: kind -> (position of the image, of the weight, of the bias, axis of the weight's channels)
LAYERS = {
    "CONV_2D": (0, 1, 2, 0),
    "DEPTHWISE_CONV_2D": (0, 1, 2, 3),
    "FULLY_CONNECTED": (0, 1, 2, 0),
    "TRANSPOSE_CONV": (2, 1, 3, 0),
}
PROBABILITIES = {"LOGISTIC": (1 / 256, -128), "SOFTMAX": (1 / 256, -128), "TANH": (1 / 128, 0)}  # that kernels want
FUSED = {"RELU": schema.ActivationFunctionType.RELU, "RELU6": schema.ActivationFunctionType.RELU6}
FUSING = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL", "SUB")


def to_tflite(net: Net, shapes: Mapping[str, Sequence[int]], layers: Mapping[str, QdqLayer]) -> Converted:
    """The net for inputs of these shapes. layers: what it holds in bytes, by the blobs that quantize their outputs."""
    converted = write(net, shapes, "int8", {"Int8Quantize": quantize, "Int8Dequantize": dequantize})
    folding = _Folding(converted.graph, {converted.blobs[name].index: layer for name, layer in layers.items()})
    converted.graph.operators = folding.run(list(converted.outputs.values()))
    blobs = {name: folding.moved(tensor) for name, tensor in converted.blobs.items()}
    return replace(converted, blobs=blobs, record=b"")


def quantize(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    quantization = w.quantization(float(np.float32(operator.Y_scale)), operator.Y_zero_point)
    return w.graph.add("QUANTIZE", [x.tensor], y.shape, w.dtype, x.tensor.order, quantization)


def dequantize(w: Int8Writer, operator: Any, y: TensorType, x: Blob) -> Tensor:
    return w.graph.add("DEQUANTIZE", [x.tensor], y.shape, np.float32, x.tensor.order)


class _Folding:
    """One pass over the operators in order.

    bytes_of: tensor of real values -> the tensor of bytes that they are. same: tensor of bytes -> another that is
    equal. clamped: tensors of bytes from which a Relu is taken already.
    """

    def __init__(self, graph: Graph, layers: Mapping[int, QdqLayer]):
        self.graph, self.layers = graph, layers
        self.old: Operators = graph.operators
        self.new: Operators = []
        self.bytes_of: dict[int, int] = {}
        self.same: dict[int, int] = {}
        self.clamped: set[int] = set()
        self.readers: dict[int, list[tuple[str, schema.OperatorT]]] = {}
        for kind, operator in self.old:
            for index in {int(i) for i in operator.inputs}:
                self.readers.setdefault(index, []).append((kind, operator))

    def run(self, outputs: Sequence[Tensor]) -> Operators:
        self.outputs = Counter(tensor.index for tensor in outputs)
        for kind, operator in self.old:
            self._fold(kind, operator)
        return self.new

    def moved(self, tensor: Tensor) -> Tensor:
        """The tensor that holds a blob of bytes now."""
        return replace(tensor, index=self.same.get(tensor.index, tensor.index))

    def _fold(self, kind: str, operator: schema.OperatorT) -> None:
        first, output = int(operator.inputs[0]), int(operator.outputs[0])
        source = self.bytes_of.get(first)
        if kind == "DEQUANTIZE":
            self._stands_for(output, self._latest(first))
        elif kind == "QUANTIZE" and source is not None:
            self._requantize(output, source)
        elif kind == "AVERAGE_POOL_2D" and source is not None and self._is_mean(operator):
            self._fold("MEAN", self._as_mean(operator))
        elif kind in MOVERS and source is not None:
            self._made(kind, operator, {0: source}, output, self._quantization(source))
        elif kind in FUSED and source is not None and self._needs_no_relu(kind, source, output):
            self._stands_for(output, source)
        elif not (kind in LAYERS and self._layer(kind, operator, output)) and not (
            kind in FREE | ALIKE and self._function(kind, operator, output)
        ):
            self.new.append((kind, operator))

    def _is_mean(self, pool: schema.OperatorT) -> bool:
        """Whether it has but one window, the whole image: MEAN's output has a quantization of its own."""
        image, output = (
            [int(size) for size in self.graph.tensors[int(i)].shape[1:3]] for i in (*pool.inputs, *pool.outputs)
        )
        options = pool.builtinOptions
        return output == [1, 1] and image == [options.filterHeight, options.filterWidth]

    def _as_mean(self, pool: schema.OperatorT) -> schema.OperatorT:
        mean = schema.OperatorT()
        mean.inputs = np.array([pool.inputs[0], self.graph.ints([1, 2]).index], np.int32)
        mean.outputs = pool.outputs
        mean.builtinOptionsType = schema.BuiltinOptions.ReducerOptions
        mean.builtinOptions = schema.ReducerOptionsT()
        mean.builtinOptions.keepDims = True
        return mean

    def _needs_no_relu(self, kind: str, source: int, output: int) -> bool:
        """Whether the bytes before or behind it have no others."""
        end = self._end(output)
        return self._is_clamped(kind, source) or (end is not None and self._is_clamped(kind, end[0]))

    def _layer(self, kind: str, operator: schema.OperatorT, output: int) -> bool:
        image, weight, bias, axis = LAYERS[kind]
        source = self.bytes_of.get(int(operator.inputs[image]))
        end = self._end(output)
        layer = self.layers.get(end[0]) if end is not None else None
        if source is None or end is None or layer is None:
            return False
        target, activation = end
        real = self.graph.buffers[self.graph.tensors[int(operator.inputs[weight])].buffer]
        shape = [int(size) for size in self.graph.tensors[int(operator.inputs[weight])].shape]
        values = np.frombuffer(bytes(real.data), np.float32).reshape(shape)
        along = [1] * len(shape)
        along[axis] = -1
        scales = layer.weight.scales
        data = np.rint(values / scales.reshape(along)).astype(np.int8)
        per_channel = Quantization(tuple(float(scale) for scale in scales), 0, axis)
        content = self.graph.constant(data, per_channel, "weight")
        of_bias = Quantization(tuple(float(scale) for scale in layer.bias_scales))
        inputs = {image: source, weight: content.index, bias: self.graph.constant(layer.bias, of_bias, "bias").index}
        quantization = self.graph.tensors[target].quantization
        self._made(kind, operator, inputs, output, quantization, activation)
        return True

    def _function(self, kind: str, operator: schema.OperatorT, output: int) -> bool:
        places = [0] if kind == "MEAN" else range(len(operator.inputs))
        inputs = {place: int(operator.inputs[place]) for place in places}
        end = self._end(output)
        if end is None or any(index not in self.bytes_of for index in inputs.values()):
            return False
        sources = {place: self.bytes_of[index] for place, index in inputs.items()}
        target, activation = end
        quantization = self.graph.tensors[target].quantization
        if kind in PROBABILITIES and _key(quantization) != PROBABILITIES[kind]:
            return False
        if kind in ALIKE and any(_key(self._quantization(source)) != _key(quantization) for source in sources.values()):
            return False
        if activation is not None and kind not in FUSING:
            return False
        self._made(kind, operator, sources, output, quantization, activation)
        return True

    def _end(self, output: int) -> tuple[int, str | None] | None:
        """(the tensor that quantizes an operator's output, with nothing but moves and a Relu between, that Relu)"""
        activation = None
        while not self.outputs[output] and len(self.readers.get(output, ())) == 1:
            ((kind, reader),) = self.readers[output]
            output = int(reader.outputs[0])
            if kind == "QUANTIZE":
                return output, activation
            if kind in FUSED and activation is None:
                activation = kind
            elif kind not in MOVERS - {"AVERAGE_POOL_2D", "PAD"}:
                return None
        return None

    def _requantize(self, output: int, source: int) -> None:
        """Bytes at another scale; none at all where it is the same."""
        if _key(self._quantization(source)) == _key(self._quantization(output)):
            self.same[output] = source
        else:
            self._emit("QUANTIZE", schema.OperatorT(), [source], output)

    def _made(
        self,
        kind: str,
        operator: schema.OperatorT,
        inputs: Mapping[int, int],
        output: int,
        quantization: schema.QuantizationParametersT,
        activation: str | None = None,
    ) -> None:
        """The operator on bytes, and the real values of what it makes, which are left out if nobody reads them."""
        result = self._like(output, quantization)
        if activation is not None and not self._is_clamped(activation, result):
            operator = copy.copy(operator)
            operator.builtinOptions = copy.copy(operator.builtinOptions)
            operator.builtinOptions.fusedActivationFunction = FUSED[activation]
            self.clamped.add(result)
        if kind in MOVERS and inputs[0] in self.clamped:
            self.clamped.add(result)
        self._emit(kind, operator, [inputs.get(i, int(index)) for i, index in enumerate(operator.inputs)], result)
        self._stands_for(output, result)

    def _stands_for(self, output: int, source: int) -> None:
        """Bytes that are the real values of a tensor."""
        self.bytes_of[output] = source
        self._emit("DEQUANTIZE", schema.OperatorT(), [source], output)

    def _emit(self, kind: str, operator: schema.OperatorT, inputs: Sequence[int], output: int) -> None:
        operator = copy.copy(operator)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array([output], np.int32)
        self.new.append((kind, operator))

    def _like(self, index: int, quantization: schema.QuantizationParametersT) -> int:
        """A tensor of bytes beside one of real values."""
        tensor = copy.copy(self.graph.tensors[index])
        tensor.name, tensor.type, tensor.quantization = b"%s_int8" % tensor.name, schema.TensorType.INT8, quantization
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _latest(self, index: int) -> int:
        return self.same.get(index, index)

    def _quantization(self, index: int) -> schema.QuantizationParametersT:
        return self.graph.tensors[index].quantization

    def _is_clamped(self, kind: str, index: int) -> bool:
        """Whether the bytes of a tensor are what a Relu leaves as it is."""
        scale, zero_point = _key(self._quantization(index))
        low, high = (-128 - zero_point) * scale, (127 - zero_point) * scale
        return (low >= 0 or index in self.clamped) and (kind == "RELU" or high <= 6)


def _key(quantization: schema.QuantizationParametersT) -> tuple[float, int]:
    """Scale and zero point of a tensor that has one of each."""
    return float(quantization.scale[0]), int(quantization.zeroPoint[0])
