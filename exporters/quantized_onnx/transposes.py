"""Transposes that surround layers, as in models that hold images N, H, W, C: they sink, meet, and cancel."""

import math
from collections.abc import Sequence

from exporters.layers import Blob, Graph, Layer, Rule, View
from exporters.quantized_onnx.scales import DEQUANTIZE, QUANTIZE

FLATTENING = ("Flatten", "Reshape")


class CancelTransposes(Rule):
    """A Transpose of a Transpose is one Transpose, or none."""

    def pattern(self, view: View, layer: Layer):
        before = view.writer(layer.inputs[0]) if layer.type == "Transpose" else None
        named = layer.output in view.graph.outputs
        return (before, layer) if before is not None and before.type == "Transpose" and not named else None

    def rewrite(self, graph: Graph, before: Layer, layer: Layer) -> None:
        axes = [before.arguments["axes"][axis] for axis in layer.arguments["axes"]]
        layer.inputs, layer.arguments = [before.inputs[0]], {"axes": axes}
        if axes == sorted(axes):
            graph.bypass(layer)


class SinkTranspose(Rule):
    """What goes element by element through transposed blobs: the same through the blobs, then the Transpose.

    Requires that all of the layer's inputs are transposed alike.
    """

    def pattern(self, view: View, layer: Layer):
        pointwise = layer.type in (QUANTIZE, DEQUANTIZE, "Sum") or (
            layer.traits.elementwise  # type: ignore[attr-defined]
            and not layer.arguments.get("broadcast")
        )
        moved = [before for blob in layer.inputs if (before := view.writer(blob)) is not None]
        if not (pointwise or layer.type == "Concat") or not moved or len(layer.outputs) > 1 + (layer.type == "Concat"):
            return None
        if len(moved) < len(layer.inputs) or any(before.type != "Transpose" for before in moved):
            return None
        alike = len({tuple(before.arguments["axes"]) for before in moved}) == 1
        same = layer.output.known_shapes is not None and (
            layer.type == "Concat" or len({before.output.shapes for before in moved}) == 1
        )
        return (moved, layer) if alike and same else None

    def check(self, view: View, moved: list[Layer], layer: Layer) -> bool:
        return layer.type != "Concat" or not (
            layer.arguments.get("add_axis") or any(map(view.readers, layer.outputs[1:]))
        )

    def rewrite(self, graph: Graph, moved: list[Layer], layer: Layer) -> None:
        axes, output = moved[0].arguments["axes"], layer.output
        layer.inputs = [before.inputs[0] for before in moved]
        places = [axes.index(axis) for axis in range(len(axes))]
        first, second = (tuple(shape[place] for place in places) for shape in output.shapes)
        straight = Blob((first, second), dtype=output.dtype, name=f"{output.name}/straight", scale=output.scale)
        straight.zero_point = output.zero_point
        if layer.type == "Concat":
            layer.arguments = {"axis": axes[layer.arguments["axis"]]}
        layer.outputs = [straight, *layer.outputs[1:]]
        graph.replace(layer, layer, Layer("Transpose", [straight], [output], {"axes": list(axes)}, output.name))


class DropTranspose(Rule):
    """A Transpose before a flattening that moves no element, for it moves dimensions of one only."""

    def pattern(self, view: View, layer: Layer):
        before = view.writer(layer.inputs[0]) if layer.type in FLATTENING else None
        return (before, layer) if before is not None and before.type == "Transpose" else None

    def check(self, view: View, before: Layer, layer: Layer) -> bool:
        return not _moves(before.inputs[0].shape, before.arguments["axes"]) and _is_rows(layer)

    def rewrite(self, graph: Graph, before: Layer, layer: Layer) -> None:
        layer.inputs = [before.inputs[0]]
        if layer.type == "Reshape":
            layer.type, layer.arguments, layer.outputs = "Flatten", {}, layer.outputs[:1]


def _moves(shape: Sequence[int], axes: Sequence[int]) -> bool:
    lengthy = [axis for axis in axes if shape[axis] > 1]
    return lengthy != sorted(lengthy)


def _is_rows(layer: Layer) -> bool:
    """Whether all but the first dimension become one."""
    shape, flat = layer.inputs[0].shape, layer.output.shape
    return flat == (shape[0], math.prod(shape[1:]))


TRANSPOSE_RULES = [CancelTransposes(), SinkTranspose(), DropTranspose()]
