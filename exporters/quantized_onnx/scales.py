"""Which blobs of a graph are quantized, and how: what its pairs of quantization and back say."""

import math
from dataclasses import dataclass, field

from caffe2_models.operators.quantized import OutputScale
from exporters.int8.forms import FORMS
from exporters.int8.preparation import FuseClamp, clamp_of
from exporters.int8.scales import PROBABILITY, STEPS, Quantization, Scales
from exporters.layers import Blob, Graph, Layer, View

QUANTIZE, DEQUANTIZE = "Int8Quantize", "Int8Dequantize"


@dataclass
class Quantizations:
    """How blobs are quantized.

    copies: (output of a layer, blob) -> how this layer reads it, where others read it otherwise. real: blobs that are
    read as they are too, before they are quantized: what makes them is computed in float.
    """

    blobs: dict[Blob, Quantization] = field(default_factory=dict)
    copies: dict[tuple[Blob, Blob], Quantization] = field(default_factory=dict)
    real: set[Blob] = field(default_factory=set)


def take_pairs(graph: Graph) -> Quantizations:
    """Take Int8Quantize and Int8Dequantize out of the graph; what they say of the blob that they were on.

    Ensures that readers of a quantized blob read the blob itself.
    """
    found = Quantizations()
    producers, consumers = graph.producers(), graph.consumers()
    pairs = {layer for layer in graph.layers if layer.type == QUANTIZE}
    for layer in [layer for layer in graph.layers if layer.type == DEQUANTIZE]:
        source = producers[layer.inputs[0]]
        x = source.inputs[0]
        quantization = Quantization(float(source.arguments["Y_scale"]), int(source.arguments["Y_zero_point"]))
        first = found.blobs.setdefault(x, quantization)
        if any(reader is None or reader.type != QUANTIZE for reader in consumers[x]):
            found.real.add(x)
        readers = [reader for reader in graph.layers if layer.output in reader.inputs]
        if first != quantization:
            found.copies.update(((reader.output, x), quantization) for reader in readers)
        _merge(graph, layer, x, readers)
        pairs.add(layer)
    graph.layers = [layer for layer in graph.layers if layer not in pairs]
    return found


def _merge(graph: Graph, layer: Layer, x: Blob, readers: list[Layer]) -> None:
    """Readers of a dequantized blob read what was quantized; an output keeps its name."""
    for reader in readers:
        reader.inputs = [x if blob is layer.output else blob for blob in reader.inputs]
    if layer.output not in graph.outputs:
        return
    if x in graph.inputs or x in graph.outputs:
        graph.layers.append(Layer("Copy", [x], [layer.output], name=layer.output.name))
        return
    x.name = layer.output.name
    graph.outputs = [x if blob is layer.output else blob for blob in graph.outputs]


def plan(graph: Graph, found: Quantizations) -> list[bool]:
    """For each layer, whether it is computed in int8: where the file quantizes all that it reads and makes.

    What only moves values makes them as it reads them, where the file does not say how.
    """
    choices = []
    consumers = graph.consumers()
    for layer in graph.layers:
        form = FORMS.get(layer.type)
        one_output = not any(blob in consumers for blob in layer.outputs[1:])
        fits = form is not None and one_output and bool(layer.activations) and form.fits(layer)
        reads = fits and layer.output not in found.real and all(blob in found.blobs for blob in layer.activations)
        if form is not None and reads and layer.output not in found.blobs and form.output is OutputScale.AS_INPUT:
            quantizations = {found.blobs[blob] for blob in layer.activations}
            if len(quantizations) == 1:
                found.blobs[layer.output] = quantizations.pop()
        choices.append(bool(reads and layer.output in found.blobs and _is_made_so(layer, found.blobs[layer.output])))
    return choices


def _is_made_so(layer: Layer, quantization: Quantization) -> bool:
    """Whether the operator can make its output at this scale, clamped as the layer is."""
    form = FORMS[layer.type]
    if form.output is OutputScale.PROBABILITY:
        return quantization == PROBABILITY
    return _clamps_so(form.relu is not None or form.type == "Int8Relu", *clamp_of(layer), quantization)


def _clamps_so(has_relu: bool, low: float, high: float, quantization: Quantization) -> bool:
    """Whether values are clamped to low...high by an operator's ReLU, if it has one, and the ends of the bytes."""
    relu = has_relu and low == 0
    if relu and quantization.zero_point == STEPS:  # QNNPACK refuses a ReLU of one value
        return False
    lowest = -math.inf if low == -math.inf else low / quantization.scale + quantization.zero_point
    highest = math.inf if high == math.inf else high / quantization.scale + quantization.zero_point
    return (relu or lowest < 1) and highest > STEPS - 1


class FuseClampOfBytes(FuseClamp):
    """A ReLU or Clip between bytes of one kind becomes the clamp of what made them: rounding keeps the order of values.

    Requires that this layer can clamp so. PyTorch's quantized models have a Clip behind each convolution with ReLU6.
    """

    def __init__(self, found: Quantizations):
        self.blobs = {blob: kind for blob, kind in found.blobs.items() if blob not in found.real}

    def check(self, view: View, before: Layer, targets: list[Layer], layer: Layer) -> bool:
        kind, form = self.blobs.get(layer.output), FORMS.get(before.type)
        if kind is None or self.blobs.get(layer.inputs[0]) != kind or targets != [before] or form is None:
            return False
        return _clamps_so(form.relu is not None, *clamp_of(layer), kind)


class GivenScales(Scales):
    """The scales that a file gives; where QNNPACK cannot compute at one, the layer computes beside it."""

    def __init__(self, graph: Graph, choices: list[bool], found: Quantizations):
        self.graph = graph
        self.layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen]
        self.blobs, self.wide, self.copies, self.parts = dict(found.blobs), {}, dict(found.copies), {}
        self._rigid = True
        self._class, self._fixed = {}, set()

    def legalize(self, weight_scales) -> None:
        self._settle(weight_scales)
