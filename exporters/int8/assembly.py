"""The int8 net: every layer as its Int8 operator or, in an island, in float, and the operators between the two."""

from collections.abc import Callable

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.operators import OPERATORS
from caffe2_models.operators.elementwise import Elementwise
from caffe2_models.proto import caffe2_pb2
from exporters.int8.forms import FORMS, NO_BEND
from exporters.int8.graph import Graph, Layer, add_clamp, copy_preprocessing
from exporters.int8.scales import Quantization, Scales, rescaling
from exporters.int8.weights import QuantizedWeight

INT32 = np.iinfo(np.int32)

# Float operators that compute the same on NHWC blobs; others see NCHW.
BINARY = {"Mul", "Add", "Sub", "Div", "Sum", "Max", "Min"}
WITH_ORDER = {"AveragePool", "MaxPool"}


WeightsFor = Callable[["Writer", Layer, str], tuple[QuantizedWeight, np.ndarray]]


def assemble(graph: Graph, choices: list[bool], scales: Scales, weights_for: WeightsFor) -> Net:
    """choices: which layers are int8.

    weights_for(writer, layer, source) gives a layer's weight and bias (real values) when its turn comes; source is the
    int8 blob that the layer reads.
    """
    writer = Writer(graph, scales)
    for layer, chosen in zip(graph.layers, choices, strict=True):
        if not chosen:
            writer.add_float(layer)
        elif layer.is_weighted:
            source = writer.requantized(layer, layer.inputs[0])
            writer.add_weighted(layer, source, *weights_for(writer, layer, source))
        else:
            writer.add_int8(layer, [writer.requantized(layer, name) for name in layer.inputs])
    return writer.finish()


def quantize_bias(bias: np.ndarray, input_scale: float, weight_scale: float) -> Int8Tensor:
    """int32 at the accumulators' scale."""
    scale = float(np.float32(input_scale) * np.float32(weight_scale))
    steps = np.clip(np.rint(bias.astype(np.float64) / scale), INT32.min, INT32.max)
    return Int8Tensor(steps.astype(np.int32), scale, 0)


class Writer:
    """Writes operators; knows in which forms a blob is at hand, and makes the others when they are asked for."""

    def __init__(self, graph: Graph, scales: Scales):
        self.graph, self.scales = graph, scales
        self.predict = caffe2_pb2.NetDef(name=f"{graph.name}_int8")
        self.parameters: dict[str, np.ndarray | Int8Tensor] = {}
        self._int8: dict[str, str] = {}
        self._nhwc: dict[str, str] = {}
        self._nchw: dict[str, str] = {name: name for name in graph.inputs}

    def finish(self) -> Net:
        for name in self.graph.outputs:
            self.nchw(name)
        self.predict.external_input.extend([*self.graph.inputs, *self.parameters])
        self.predict.external_output.extend(self.graph.outputs)
        copy_preprocessing(self.graph.source, self.predict)
        return Net(self.predict, make_init(self.parameters, f"{self.predict.name}_init"))

    def forms_of(self, blob: str) -> list[str]:
        """The names under which a blob of the graph is in the net so far."""
        return [forms[blob] for forms in (self._int8, self._nhwc, self._nchw) if blob in forms]

    def int8(self, blob: str) -> str:
        """The blob in int8, NHWC."""
        if blob not in self._int8:
            source = self.nhwc(blob)
            self._int8[blob] = f"{blob}_int8"
            add_operator(self.predict, "Int8Quantize", [source], [self._int8[blob]], **_output(self.scales[blob]))
        return self._int8[blob]

    def nhwc(self, blob: str) -> str:
        """The blob in float, NHWC where it is an image."""
        if blob in self.graph.constants:
            return self._constant(blob, _to_nhwc(self.graph.constants[blob]), "_NHWC")
        if not self._is_image(blob) and blob in self._nchw:
            return self._nchw[blob]
        if blob not in self._nhwc:
            self._nhwc[blob] = f"{blob}_NHWC" if self._is_image(blob) else blob
            kind, source = ("Int8Dequantize", self._int8) if blob in self._int8 else ("NCHW2NHWC", self._nchw)
            add_operator(self.predict, kind, [source[blob]], [self._nhwc[blob]])
        return self._nhwc[blob]

    def nchw(self, blob: str) -> str:
        """The blob in float, NCHW where it is an image."""
        if blob in self.graph.constants:
            return self._constant(blob, self.graph.constants[blob])
        if not self._is_image(blob):
            return self.nhwc(blob)
        if blob not in self._nchw:
            source = self.nhwc(blob)
            self._nchw[blob] = blob
            add_operator(self.predict, "NHWC2NCHW", [source], [blob])
        return self._nchw[blob]

    def requantized(self, layer: Layer, blob: str) -> str:
        """The blob in int8, quantized as the layer reads it."""
        own, wanted = self.scales[blob], self.scales.read(layer, blob)
        if own == wanted:
            return self.int8(blob)
        name = f"{blob}_for_{layer.output}_int8"
        self._rescale(self.int8(blob), name, own, wanted)
        return name

    def add_weighted(self, layer: Layer, source: str, weight: QuantizedWeight, bias: np.ndarray) -> None:
        """source: the int8 blob that the layer reads."""
        blob = layer.inputs[0]
        names = [f"{layer.output}_w_int8", f"{layer.output}_b_int8"]
        data = _weight_for(layer, weight.data, self.graph.shapes[blob])
        scale, zero_point = weight.quantization.scale, weight.quantization.zero_point
        self.parameters[names[0]] = Int8Tensor(data, scale, zero_point)
        self.parameters[names[1]] = quantize_bias(bias, self.scales.read(layer, blob).scale, scale)
        self.add_int8(layer, [source, *names])

    def add_int8(self, layer: Layer, inputs: list[str]) -> None:
        form, blob = FORMS[layer.type], layer.output
        name, wide = f"{blob}_int8", self.scales.wide.get(blob)
        arguments = form.arguments(self.graph, layer)
        if form.ordered:
            arguments["order"] = "NHWC"
        made = name if wide is None else f"{blob}_wide_int8"
        add_operator(
            self.predict,
            form.type_for(layer),
            inputs,
            [made],
            **arguments,
            **_output(wide or self.scales[blob]),
        )
        if wide is not None:
            self._rescale(made, name, wide, self.scales[blob])
        self._int8[blob] = name

    def add_float(self, layer: Layer) -> None:
        """An operator of an island, in NHWC where it computes the same there."""
        nhwc = self._computes_in_nhwc(layer)
        inputs = [self.nhwc(name) if nhwc else self.nchw(name) for name in layer.inputs]
        if layer.is_weighted:
            inputs += [self._constant(f"{layer.output}_{part}", getattr(layer, part)) for part in ("weight", "bias")]
        arguments = dict(layer.arguments)
        if nhwc and layer.type in WITH_ORDER:
            arguments["order"] = "NHWC"
        image = nhwc and self._is_image(layer.output)
        outputs = [f"{name}_NHWC" if image else name for name in layer.outputs]
        first = f"{outputs[0]}/before_clamp" if layer.is_clamped else outputs[0]
        add_operator(self.predict, layer.type, inputs, [first, *outputs[1:]], **arguments)
        if layer.is_clamped:
            add_clamp(self.predict, layer, first, outputs[0])
        (self._nhwc if image else self._nchw).update(zip(layer.outputs, outputs, strict=True))

    def _computes_in_nhwc(self, layer: Layer) -> bool:
        if layer.type in BINARY:
            shapes = [
                np.shape(self.graph.constants.get(n, np.empty(self.graph.shapes.get(n, ())))) for n in layer.inputs
            ]
            return not layer.arguments.get("broadcast", 0) and all(len(shape) == 4 for shape in shapes)
        one = len(layer.inputs) == len(layer.outputs) == 1
        return one and (layer.type in WITH_ORDER or (issubclass(OPERATORS[layer.type], Elementwise) and "axis" not in (
            layer.operator.__dataclass_fields__)))  # fmt: skip

    def _rescale(self, source: str, target: str, before: Quantization, after: Quantization) -> None:
        """Leaky ReLUs that hardly bend: the same values at another scale and zero point."""
        *between, last = rescaling(before, after)
        for step, quantization in enumerate([*between, last]):
            output = target if quantization is last else f"{target}/step_{step}"
            arguments = {"alpha": NO_BEND, "order": "NHWC", **_output(quantization)}
            add_operator(self.predict, "Int8LeakyRelu", [source], [output], **arguments)
            source = output

    def _constant(self, name: str, value: np.ndarray, suffix: str = "") -> str:
        name += suffix if np.ndim(value) == 4 else ""
        self.parameters[name] = value.astype(np.float32) if value.dtype == np.float64 else value
        return name

    def _is_image(self, blob: str) -> bool:
        return len(self.graph.shapes[blob]) == 4


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
