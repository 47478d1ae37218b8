"""The net as other runtimes read it: int8 layers as float operators between Int8Dequantize and Int8Quantize, NCHW.

These runtimes fuse each such group into one kernel. Weights are symmetric, with a scale for each channel.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caffe2_models import Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import Value
from exporters.int8.assembly import Weights
from exporters.int8.per_channel import ChannelWeight
from exporters.int8.scales import Quantization, Scales
from exporters.layers import Blob, Graph, Layer
from exporters.layers.writer import add_clamp

INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class QdqLayer:
    """What the file holds of a layer: its weight, and its bias in steps of input scale * weight scale, int32 [O].

    parameters: the names of both in the net.
    """

    weight: ChannelWeight
    bias: np.ndarray
    bias_scales: np.ndarray
    parameters: tuple[str, str]


class QdqWriter:
    """Writes operators, as `assembly.Writer` does for QNNPACK. layers: name of the quantized output -> QdqLayer."""

    layout = "NCHW"
    backend = "onnxruntime"

    def __init__(self, graph: Graph, scales: Scales):
        self.graph, self.scales = graph, scales
        self.predict = caffe2_pb2.NetDef(name=f"{graph.name}_int8")
        self.parameters: dict[str, Value] = {}
        self.layers: dict[str, QdqLayer] = {}
        self._bytes: dict[Blob, str] = {}
        self._real: dict[Blob, str] = {blob: blob.name for blob in graph.inputs}
        self._dequantized: dict[str, str] = {}

    def add(self, layer: Layer, is_int8: bool, weights: Weights[ChannelWeight] | None = None) -> None:
        """Append a layer between its conversions, with these weights if it has any, or in float."""
        if not is_int8:
            self._add_float(layer)
            return
        blob = layer.output
        inputs = [
            self._constant(f"{blob}_{position}", source.value)
            if source.is_constant
            else self._dequantize(self.requantized(layer, source))
            for position, source in enumerate(layer.inputs[:1] if weights is not None else layer.inputs)
        ]
        if weights is not None:
            inputs += self._add_weights(layer, weights)
        made = inputs[0]  # a Clip is what the ends of its range make of it
        if layer.type != "Clip":
            made = f"{blob}/float"
            add_operator(self.predict, layer.type, inputs, [made], **layer.arguments)
        quantization = self.scales.made(layer)
        if layer.low == 0 and quantization.zero_point:
            add_operator(self.predict, "Relu", [made], [f"{blob}/relu"])
            made = f"{blob}/relu"
        self._bytes[blob] = f"{blob}_int8"
        self._quantize(made, self._bytes[blob], quantization)

    def requantized(self, layer: Layer, blob: Blob) -> str:
        """The blob in int8, quantized as the layer reads it."""
        own, wanted = self.scales[blob], self.scales.read(layer, blob)
        if blob not in self._bytes:
            self._bytes[blob] = f"{blob}_int8"
            self._quantize(self._real[blob], self._bytes[blob], own)
        if own == wanted:
            return self._bytes[blob]
        name = f"{blob}_for_{layer.output}_int8"
        self._quantize(self._dequantize(self._bytes[blob]), name, wanted)
        return name

    def forms_of(self, blob: Blob) -> list[str]:
        """The names under which a blob of the graph is in the net so far."""
        bytes_of = self._bytes.get(blob)
        names = [bytes_of, self._real.get(blob), self._dequantized.get(bytes_of or "")]
        return [name for name in names if name is not None]

    def finish(self) -> Net:
        """The net, whose outputs are float."""
        for blob in self.graph.outputs:
            self._float(blob)
        self.predict.external_input.extend([*(blob.name for blob in self.graph.inputs), *self.parameters])
        self.predict.external_output.extend(self._float(blob) for blob in self.graph.outputs)
        self.graph.record(self.predict)
        return Net(self.predict, make_init(self.parameters, f"{self.predict.name}_init"))

    def _add_float(self, layer: Layer) -> None:
        inputs = [
            self._constant(f"{layer.output}_{position}", blob.value) if blob.is_constant else self._float(blob)
            for position, blob in enumerate(layer.inputs)
        ]
        outputs = [blob.name for blob in layer.outputs]
        first = f"{outputs[0]}/before_clamp" if layer.is_clamped else outputs[0]
        add_operator(self.predict, layer.type, inputs, [first, *outputs[1:]], **layer.arguments)
        if layer.is_clamped:
            add_clamp(self.predict, layer, first, outputs[0])
        self._real.update(zip(layer.outputs, outputs, strict=True))

    def _add_weights(self, layer: Layer, weights: Weights[ChannelWeight]) -> list[str]:
        """Names of its weight and bias, which are real values here."""
        names = (f"{layer.output}_w", f"{layer.output}_b")
        scale = np.float32(self.scales.read(layer, layer.inputs[0]).scale)
        bias_scales = scale * weights.weight.scales
        steps = np.clip(np.rint(weights.bias.astype(np.float64) / bias_scales), INT32.min, INT32.max).astype(np.int32)
        self.layers[f"{layer.output}_int8"] = QdqLayer(weights.weight, steps, bias_scales, names)
        self.parameters[names[0]] = weights.weight.values
        self.parameters[names[1]] = (steps.astype(np.float64) * bias_scales).astype(np.float32)
        return list(names)

    def _quantize(self, source: str, target: str, quantization: Quantization) -> None:
        scale, zero_point = quantization.scale, quantization.zero_point
        add_operator(self.predict, "Int8Quantize", [source], [target], Y_zero_point=zero_point, Y_scale=scale)

    def _dequantize(self, source: str) -> str:
        """Real values under the blob's own name, unless something has it."""
        if source not in self._dequantized:
            name = source.removesuffix("_int8")
            taken = name in self._real.values() or name not in {blob.name for blob in self._bytes}
            self._dequantized[source] = f"{name}/real" if taken else name
            add_operator(self.predict, "Int8Dequantize", [source], [self._dequantized[source]])
        return self._dequantized[source]

    def _float(self, blob: Blob) -> str:
        return self._real[blob] if blob in self._real else self._dequantize(self._bytes[blob])

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.parameters[name] = np.atleast_1d(value.astype(np.float32) if value.dtype == np.float64 else value)
        return name


def assemble_qdq(
    graph: Graph, choices: list[bool], scales: Scales, weights: Mapping
) -> tuple[Net, dict[str, QdqLayer]]:
    """(the net, what its layers hold)"""
    writer = QdqWriter(graph, scales)
    for layer, chosen in zip(graph.layers, choices, strict=True):
        writer.add(layer, chosen, weights.get(layer.output))
    return writer.finish(), writer.layers
