"""The int8 net: every layer as its Int8 operator or, in an island, in float, and the operators between the two."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.operators.pooling import Pool
from caffe2_models.proto import caffe2_pb2
from exporters.int8.forms import FORMS, NO_BEND
from exporters.int8.scales import Part, Quantization, Scales, rescaling
from exporters.layers import Blob, Graph, Layer
from exporters.layers.writer import add_clamp

INT32 = np.iinfo(np.int32)
FLOAT32 = np.dtype(np.float32)


Weight = TypeVar("Weight")  # QuantizedWeight for QNNPACK, else ChannelWeight


@dataclass(frozen=True)
class Weights(Generic[Weight]):
    """What an int8 layer is written with: its weight, and its bias as real values [O]."""

    weight: Weight
    bias: np.ndarray


def assemble(graph: Graph, choices: list[bool], scales: Scales, weights: Mapping[Blob, Weights]) -> Net:
    """The int8 net. choices: which layers are int8; weights: output blob -> those of each int8 layer that has some."""
    writer = Writer(graph, scales)
    for layer, chosen in zip(graph.layers, choices, strict=True):
        writer.add(layer, chosen, weights.get(layer.output))
    return writer.finish()


def quantize_bias(bias: np.ndarray, input_scale: float, weight_scale: float) -> Int8Tensor:
    """int32 at the accumulators' scale."""
    scale = float(np.float32(input_scale) * np.float32(weight_scale))
    steps = np.clip(np.rint(bias.astype(np.float64) / scale), INT32.min, INT32.max)
    return Int8Tensor(steps.astype(np.int32), scale, 0)


class Writer:
    """Writes operators; knows in which forms a blob is at hand, and makes the others when they are asked for."""

    layout = "NHWC"  # of quantized images
    backend = "auto"  # that computes what the phone will

    def __init__(self, graph: Graph, scales: Scales):
        self.graph, self.scales = graph, scales
        self.predict = caffe2_pb2.NetDef(name=f"{graph.name}_int8")
        self.parameters: dict[str, np.ndarray | Int8Tensor] = {}
        self._int8: dict[Blob, str] = {}
        self._nhwc: dict[Blob, str] = {}
        self._nchw: dict[Blob, str] = {blob: blob.name for blob in graph.inputs}
        self._copies: dict[tuple[Layer, Blob], str] = {}

    def add(self, layer: Layer, is_int8: bool, weights: Weights | None) -> None:
        """Append a layer in int8, with these weights if it has any, or in float."""
        if not is_int8:
            self.add_float(layer)
            return
        inputs = [self.requantized(layer, blob) for blob in layer.activations]
        if weights is None:
            self.add_int8(layer, inputs)
            return
        weight = self._weight(layer, weights)
        parts = self.scales.parts.get(layer.output)
        if parts:
            self._add_parts(layer, [*inputs, weight], weights, parts)
        else:
            self.add_int8(layer, [*inputs, weight, self._bias(layer, weights)])

    def finish(self) -> Net:
        """The net, whose outputs are float, NCHW."""
        for blob in self.graph.outputs:
            self.nchw(blob)
        self.predict.external_input.extend([*(blob.name for blob in self.graph.inputs), *self.parameters])
        self.predict.external_output.extend(blob.name for blob in self.graph.outputs)
        self.graph.record(self.predict)
        return Net(self.predict, make_init(self.parameters, f"{self.predict.name}_init"))

    def forms_of(self, blob: Blob) -> list[str]:
        """The names under which a blob of the graph is in the net so far."""
        return [forms[blob] for forms in (self._int8, self._nhwc, self._nchw) if blob in forms]

    def int8(self, blob: Blob) -> str:
        """The blob in int8, NHWC."""
        if blob not in self._int8:
            source = self.nhwc(blob)
            self._int8[blob] = f"{blob}_int8"
            add_operator(self.predict, "Int8Quantize", [source], [self._int8[blob]], **_output(self.scales[blob]))
        return self._int8[blob]

    def nhwc(self, blob: Blob) -> str:
        """The blob in float, NHWC where it is an image."""
        if blob.is_constant:
            return self._constant(f"{blob}_NHWC" if blob.is_image else blob.name, _to_nhwc(blob.value))
        if not blob.is_image and blob in self._nchw:
            return self._nchw[blob]
        if blob not in self._nhwc:
            self._nhwc[blob] = self.float_name(blob, nhwc=True)
            kind, source = ("Int8Dequantize", self._int8) if blob in self._int8 else ("NCHW2NHWC", self._nchw)
            add_operator(self.predict, kind, [source[blob]], [self._nhwc[blob]])
        return self._nhwc[blob]

    def nchw(self, blob: Blob) -> str:
        """The blob in float, NCHW where it is an image."""
        if blob.is_constant:
            return self._constant(blob.name, blob.value)
        if not blob.is_image:
            return self.nhwc(blob)
        if blob not in self._nchw:
            source = self.nhwc(blob)
            self._nchw[blob] = self.float_name(blob, nhwc=False)
            add_operator(self.predict, "NHWC2NCHW", [source], [self._nchw[blob]])
        return self._nchw[blob]

    def float_name(self, blob: Blob, nhwc: bool) -> str:
        """What a float form of a blob is called that is made from another form."""
        return f"{blob}_NHWC" if nhwc and blob.is_image else blob.name

    def requantized(self, layer: Layer, blob: Blob) -> str:
        """The blob in int8, quantized as the layer reads it."""
        own, wanted = self.scales[blob], self.scales.read(layer, blob)
        if own == wanted:
            return self.int8(blob)
        if (layer, blob) not in self._copies:
            self._copies[layer, blob] = f"{blob}_for_{layer.output}_int8"
            self._rescale(self.int8(blob), self._copies[layer, blob], own, wanted)
        return self._copies[layer, blob]

    def _weight(self, layer: Layer, weights: Weights) -> str:
        """The name of the layer's weight, which becomes a parameter."""
        name, quantization = f"{layer.output}_w_int8", weights.weight.quantization
        data = _weight_for(layer, weights.weight.data, layer.inputs[0].shape)
        self.parameters[name] = Int8Tensor(data, quantization.scale, quantization.zero_point)
        return name

    def _bias(self, layer: Layer, weights: Weights, edge: float = 0.0, part: str = "") -> str:
        """The name of the layer's bias, less an edge, which becomes a parameter."""
        name, read = f"{layer.output}{part}_b_int8", self.scales.read(layer, layer.inputs[0])
        self.parameters[name] = quantize_bias(weights.bias - edge, read.scale, weights.weight.scale)
        return name

    def add_int8(self, layer: Layer, inputs: list[str]) -> None:
        blob = layer.output
        name, wide = f"{blob}_int8", self.scales.wide.get(blob)
        self._add_operator(layer, inputs, name if wide is None else f"{blob}_wide_int8", wide or self.scales[blob])
        if wide is not None:
            self._rescale(f"{blob}_wide_int8", name, wide, self.scales[blob])
        self._int8[blob] = name

    def _add_operator(self, layer: Layer, inputs: list[str], output: str, quantization: Quantization) -> None:
        form = FORMS[layer.type]
        arguments = form.arguments(layer)
        if form.ordered:
            arguments["order"] = "NHWC"
        add_operator(self.predict, form.type_for(layer), inputs, [output], **arguments, **_output(quantization))

    def _add_parts(self, layer: Layer, inputs: list[str], weights: Weights, parts: Sequence[Part]) -> None:
        """The layer once for each part of its range, all with one weight; in float, the sum of what they make."""
        blob, names = layer.output, []
        for number, part in enumerate(parts):
            suffix = f"_part_{number}"
            bias = self._bias(layer, weights, part.edge, suffix)
            self._add_operator(layer, [*inputs, bias], f"{blob}{suffix}_int8", part.quantization)
            names.append(f"{blob}{suffix}")
            add_operator(self.predict, "Int8Dequantize", [f"{blob}{suffix}_int8"], [names[-1]])
        forms = self._nhwc if blob.is_image else self._nchw
        forms[blob] = self.float_name(blob, nhwc=True)
        add_operator(self.predict, "Sum", names, [forms[blob]])

    def add_float(self, layer: Layer) -> None:
        """An operator of an island, in NHWC where it computes the same there."""
        nhwc = computes_in_nhwc(layer)
        if layer.is_weighted:
            inputs = [self.nchw(layer.inputs[0])]
            inputs += [self._constant(f"{layer.output}_{part}", getattr(layer, part)) for part in ("weight", "bias")]
        else:
            inputs = [self.nhwc(blob) if nhwc else self.nchw(blob) for blob in layer.inputs]
        arguments = dict(layer.arguments)
        if nhwc and not layer.traits.elementwise:
            arguments["order"] = "NHWC"
        image = nhwc and layer.output.is_image
        outputs = [f"{blob}_NHWC" if image else blob.name for blob in layer.outputs]
        first = f"{outputs[0]}/before_clamp" if layer.is_clamped else outputs[0]
        add_operator(self.predict, layer.type, inputs, [first, *outputs[1:]], **arguments)
        if layer.is_clamped:
            add_clamp(self.predict, layer, first, outputs[0])
        (self._nhwc if image else self._nchw).update(zip(layer.outputs, outputs, strict=True))

    def _rescale(self, source: str, target: str, before: Quantization, after: Quantization) -> None:
        """Leaky ReLUs that hardly bend: the same values at another scale and zero point."""
        *between, last = rescaling(before, after)
        for step, quantization in enumerate([*between, last]):
            output = target if quantization is last else f"{target}/step_{step}"
            arguments = {"alpha": NO_BEND, "order": "NHWC", **_output(quantization)}
            add_operator(self.predict, "Int8LeakyRelu", [source], [output], **arguments)
            source = output

    def _constant(self, name: str, value: np.ndarray) -> str:
        self.parameters[name] = value.astype(np.float32) if value.dtype == np.float64 else value
        return name


def computes_in_nhwc(layer: Layer) -> bool:
    """Whether a float operator computes the same on NHWC blobs: pools told so, and what goes element by element.

    Conditions and whole numbers stay NCHW: Caffe2 brings only float32 into the other order.
    """
    if issubclass(layer.traits, Pool):
        return True
    if not layer.traits.elementwise or len(layer.outputs) > 1:
        return False
    if any(blob.dtype != FLOAT32 for blob in (*layer.inputs, *layer.outputs)):
        return False
    legacy = layer.arguments.get("broadcast", 0)  # it lays a blob along the other's dimensions, in their order
    return len(layer.inputs) == 1 or (not legacy and all(blob.is_image for blob in layer.inputs))


def _output(quantization: Quantization) -> dict:
    return {"Y_zero_point": quantization.zero_point, "Y_scale": quantization.scale}


def _to_nhwc(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array.transpose(0, 2, 3, 1)) if array.ndim == 4 else array


def _weight_for(layer: Layer, data: np.ndarray, input_shape: tuple[int, ...]) -> np.ndarray:
    """The weight as QNNPACK lays it out: [O, kh, kw, C / group], [C, kh, kw, O], or [O, K] with K in NHWC order."""
    if layer.type != "FC":
        return _to_nhwc(data)
    if len(input_shape) == 4:
        data = data.reshape(-1, *input_shape[1:]).transpose(0, 2, 3, 1).reshape(len(data), -1)
    return np.ascontiguousarray(data)
