"""The pipeline: a quantized ONNX model in, a Caffe2 int8 net out, at the model's own scales."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

import onnx

from caffe2_common.sizes import Dims, Size
from caffe2_models import Net
from exporters.int8.assembly import Weights, Writer
from exporters.int8.preparation import free_batch, to_qnnpack_layers
from exporters.layers import Blob, Graph, Layer, rewrite
from exporters.layers.naming import Names
from exporters.layers.reader import normalize_weights
from exporters.layers.rules import DropFlattening, FuseChannelShuffle
from exporters.onnx_to_caffe2 import read_layers
from exporters.quantized_onnx.parts import split_depthwise
from exporters.quantized_onnx.qdq import dequantized, to_qdq
from exporters.quantized_onnx.scales import FuseClampOfBytes, GivenScales, Quantizations, plan, take_pairs
from exporters.quantized_onnx.transposes import TRANSPOSE_RULES
from exporters.quantized_onnx.weights import Constants, WeightCost, quantize_weights


@dataclass(frozen=True)
class QuantizedConversion:
    """An int8 net, and what it is not exactly as in the model that it came from.

    weights: of each int8 layer, in order. islands: operators in float. rescaled: layers that compute at a coarser scale
    than the model's, for QNNPACK refuses that one, and are brought to it. parts: how many each depthwise layer is in
    whose channels' weights differ much.
    """

    net: Net
    weights: tuple[WeightCost, ...]
    islands: tuple[str, ...]
    rescaled: tuple[str, ...]
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def requantized(self) -> list[WeightCost]:
        """The weights whose integers are not the model's."""
        return [cost for cost in self.weights if not cost.is_exact]

    def __str__(self) -> str:
        kept = f"{len(self.weights) - len(self.requantized)} of {len(self.weights)} weights keep their integers"
        lines = [f"quantized already, so converted at its own scales: {kept}"]
        if self.requantized:
            worst = min(self.requantized, key=lambda cost: cost.snr)
            median = statistics.median(cost.snr for cost in self.requantized)
            lines.append(
                f"{len(self.requantized)} had a scale for each channel (or none), and have one for all now: signal "
                f"over noise {median:.1f} dB (median), {worst.snr:.1f} dB at the least ({worst.layer})"
            )
        if self.parts:
            total = sum(self.parts.values())
            lines.append(f"{len(self.parts)} depthwise layers are in {total} parts of channels with like scales")
        if self.rescaled:
            lines.append(f"computed at a coarser scale that QNNPACK takes, then rescaled: {_some(self.rescaled)}")
        if self.islands:
            lines.append(f"in float: {_some(self.islands)}")
        return "\n".join(lines)


def _some(names: tuple[str, ...], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def convert_quantized(
    model: onnx.ModelProto,
    size: Size | None = None,
    shapes: Mapping[str, Dims] | None = None,
    in_parts: bool = True,
) -> QuantizedConversion:
    """The int8 net of a model whose activations are quantized, in QDQ form or with operators on bytes.

    Its inputs and outputs are real values, NCHW. Layers that the model quantizes become Int8 operators where QNNPACK
    has them, at the model's scales; the others are islands of float. in_parts: depthwise layers may become several
    (`parts`), where their weights lose too much at one scale. Raises UnsupportedError or ModelError as
    `exporters.onnx_to_caffe2.convert` does.
    """
    model = to_qdq(model)
    constants = Constants(dequantized(model))
    graph = read_layers(model, size, shapes)
    del model
    normalize_weights(graph)
    for layer in graph.layers:
        free_batch(layer)
    rewrite(graph, TRANSPOSE_RULES)
    to_qnnpack_layers(graph)
    found = take_pairs(graph)
    rewrite(graph, [FuseClampOfBytes(found), FuseChannelShuffle(), DropFlattening()])
    parts = split_depthwise(graph, found, constants) if in_parts else {}
    _name(graph)
    choices = plan(graph, found)
    scales = GivenScales(graph, choices, found)
    layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen and layer.is_weighted]
    scales.legalize(_weight_scales(layers, constants))
    quantized = {y.output: quantize_weights(y, constants, scales.finest_weight_scale(y)) for y in layers}
    writer = IslandWriter(graph, scales, found)
    for layer, chosen in zip(graph.layers, choices, strict=True):
        writer.add(layer, chosen, quantized[layer.output][0] if layer.output in quantized else None)
    islands = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if not chosen]
    return QuantizedConversion(
        net=writer.finish(),
        weights=tuple(cost for _, cost in quantized.values()),
        islands=tuple(f"{layer.type} ({layer.output})" for layer in islands),
        rescaled=tuple(blob.name for blob in scales.wide),
        parts=parts,
    )


class IslandWriter(Writer):
    """Writes operators so that what islands of float make and read is quantized where the model quantizes it.

    Its ends clamp, and quantizers leave out the ReLU in front of them.
    """

    def __init__(self, graph: Graph, scales: GivenScales, found: Quantizations):
        super().__init__(graph, scales)
        self._found = found
        self._rounded: set[Blob] = set()
        for blob in graph.inputs:
            self._quantize(blob)

    def add(self, layer: Layer, is_int8: bool, weights: Weights | None) -> None:
        super().add(layer, is_int8, weights)
        if not is_int8:
            for blob in layer.outputs:
                self._quantize(blob)

    def _quantize(self, blob: Blob) -> None:
        """Let the blob's bytes be all that others can read of it."""
        if blob not in self._found.blobs or blob in self._found.real:
            return
        self.int8(blob)
        self._rounded.add(blob)
        names = {forms.pop(blob) for forms in (self._nchw, self._nhwc) if blob in forms}
        for operator in self.predict.op if blob in self.graph.outputs else ():  # the name is the rounded one's
            operator.input[:] = [f"{name}/real" if name in names else name for name in operator.input]
            operator.output[:] = [f"{name}/real" if name in names else name for name in operator.output]

    def float_name(self, blob: Blob, nhwc: bool) -> str:
        name = super().float_name(blob, nhwc)
        return f"{name}/rounded" if blob in self._rounded and blob not in self.graph.outputs else name


def _weight_scales(layers: list[Layer], constants: Constants) -> dict[Blob, float]:
    """What each layer's weight will have."""
    costs = {layer.output: quantize_weights(layer, constants, 0.0)[0] for layer in layers}
    return {blob: weights.weight.quantization.scale for blob, weights in costs.items()}


def _name(graph: Graph) -> None:
    """Give each blob its name in the net."""
    names = Names(graph)
    for layer in graph.layers:
        for blob in layer.outputs:
            blob.name = names.of(blob)
    named: set[Blob] = set()
    for layer in graph.layers:
        for index, blob in enumerate(layer.inputs):
            if blob.is_constant and blob not in named:
                blob.name = names.of_parameter(layer, index)
                named.add(blob)
