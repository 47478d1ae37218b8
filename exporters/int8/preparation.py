"""Rewrites of the float graph to the layers that QNNPACK has, computing the same."""

import math
from collections.abc import Mapping

import numpy as np

from caffe2_models import Net
from caffe2_models.operators.checks import flattened
from caffe2_models.operators.elementwise import HardSigmoid
from caffe2_models.operators.matrix import FC
from caffe2_models.operators.pooling import AveragePool
from caffe2_models.operators.shaping import ChannelShuffle, Split
from exporters.int8.forms import FORMS
from exporters.int8.functions import FUNCTION_RULES, is_in_island, is_uniform
from exporters.layers import Blob, Graph, Layer, Rule, View, constant, read_graph, rewrite
from exporters.layers.graph import AFFINE
from exporters.layers.rules import RULES, affine_input, affine_of

CLAMPS = {
    "Relu": lambda layer: (0.0, math.inf),
    "ReluN": lambda layer: (0.0, layer.arguments.get("n", 6.0)),
    "Clip": lambda layer: (layer.arguments.get("min", -math.inf), layer.arguments.get("max", math.inf)),
}


def clamp_of(layer: Layer) -> tuple[float, float]:
    """(lowest, highest) that its output can be, by a clamp taken in or its own."""
    low, high = CLAMPS[layer.type](layer) if layer.type in CLAMPS else (-math.inf, math.inf)
    return max(low, layer.low), min(high, layer.high)


def prepare(net: Net, input_shapes: Mapping[str, tuple[int, ...]]) -> Graph:
    """The net's graph with constants folded and clamps fused; raises ModelError as read_graph does."""
    graph = read_graph(net, input_shapes)
    for layer in graph.layers:
        free_batch(layer)
    to_qnnpack_layers(graph)
    return graph


def to_qnnpack_layers(graph: Graph) -> None:
    """Rewrite to the layers that QNNPACK has, in place."""
    rewrite(graph, QNNPACK_RULES)
    view = View(graph)
    for layer in graph.layers:
        if layer.type == AFFINE and layer.output.is_image and not (is_uniform(layer) and is_in_island(view, layer)):
            _affine_to_convolution(layer)
    rewrite(graph, QNNPACK_RULES)
    for layer in [layer for layer in graph.layers if layer.type == AFFINE]:
        _affine_to_arithmetic(graph, layer)


def free_batch(layer: Layer) -> None:
    """Make a Reshape that spells out the batch, which is one image here, take any batch."""
    if layer.type != "Reshape" or layer.inputs[0].is_constant:
        return
    old, new = layer.inputs[0].shape, layer.output.shape
    if old[:1] == new[:1] == (1,):
        layer.inputs, layer.arguments = layer.inputs[:1], {"shape": [0, *new[1:]]}


class DropIdentity(Rule):
    """What changes nothing goes: Dropout, copies, a ChannelShuffle of one group.

    Requires that nobody reads its other outputs, and that an input or output of the net keeps its name.
    """

    def pattern(self, view: View, layer: Layer):
        identity = layer.traits.identity or (
            layer.type == "ChannelShuffle" and layer.decoded(ChannelShuffle).group == 1
        )
        return (layer,) if identity else None

    def check(self, view: View, layer: Layer) -> bool:
        fixed = (*view.graph.inputs, *view.graph.outputs)
        named_twice = layer.output in view.graph.outputs and layer.inputs[0] in fixed
        return not named_twice and not any(view.readers(blob) for blob in layer.outputs[1:])

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        if layer.output in graph.outputs:
            graph.rename(layer)
        else:
            graph.bypass(layer)


class SplitToSlices(Rule):
    """Split is one Slice for each part."""

    def pattern(self, view: View, layer: Layer):
        return (layer,) if layer.type == "Split" else None

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        x = layer.inputs[0]
        axis = layer.decoded(Split).along(x.rank)
        slices, start = [], 0
        for part in layer.outputs:
            end = start + part.shape[axis]
            bounds = {"starts": [0] * x.rank, "ends": [-1] * x.rank}
            bounds["starts"][axis], bounds["ends"][axis] = start, end if end < x.shape[axis] else -1
            slices.append(Layer("Slice", [x], [part], bounds, part.name or layer.name))
            start = end
        graph.replace(layer, *slices)


class RowsToMatrix(Rule):
    """FC of the rows of [N, .., K], as attention has them, is an FC of a matrix, which QNNPACK has.

    Then one image makes several rows of a matrix, as a text recognizer's does.
    """

    def pattern(self, view: View, layer: Layer):
        is_row_wise = layer.type in ("FC", "FCTransposed") and layer.arguments.get("axis", 1) != 1
        return (layer,) if is_row_wise else None

    def check(self, view: View, layer: Layer) -> bool:
        x, *parameters = layer.inputs
        return x.rank > 2 and x.shape[0] == 1 and layer.arguments["axis"] % x.rank == x.rank - 1 and all(
            blob.is_constant for blob in parameters)  # fmt: skip

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        x, y = layer.inputs[0], layer.output
        operator = layer.decoded(FC)
        weight = layer.weight.reshape(flattened(layer.weight.shape, operator.axis_w))
        weight = weight if layer.type == "FC" else weight.T
        rows, made = (_flat(blob, f"{y}/{part}") for blob, part in ((x, "rows"), (y, "of_rows")))
        product = Layer("FC", [rows, constant(weight), layer.inputs[2]], [made], name=y.name)
        graph.replace(layer, _reshape(x, rows), product, _reshape(made, y))


def _flat(blob: Blob, name: str) -> Blob:
    """A matrix of the blob's rows."""
    shape = (math.prod(blob.shape[:-1]), blob.shape[-1])
    return Blob((shape, shape), name=name)


def _reshape(x: Blob, y: Blob) -> Layer:
    """Of any number of images."""
    before = constant(np.array(x.shape, np.int64), f"{y}/before")
    return Layer("Reshape", [x], [y, before], {"shape": [-1, *y.shape[1:]]}, y.name)


class SumInPairs(Rule):
    """Add of two activations of one shape is a Sum; a Sum of more than two is a chain of Sums of two."""

    def pattern(self, view: View, layer: Layer):
        return (layer,) if layer.type == "Add" or (layer.type == "Sum" and len(layer.inputs) > 2) else None

    def check(self, view: View, layer: Layer) -> bool:
        return not any(blob.is_constant for blob in layer.inputs) and len({b.shape for b in layer.inputs}) == 1

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        if layer.type == "Add":
            layer.type, layer.arguments = "Sum", {}
            return
        partial = Blob(layer.output.shapes, name=f"{layer.output}/partial/{len(layer.inputs) - 2}")
        graph.layers.insert(graph.layers.index(layer), Layer("Sum", layer.inputs[:2], [partial], name=partial.name))
        layer.inputs = [partial, *layer.inputs[2:]]


class ToAffine(Rule):
    """What scales and shifts each channel of an image or a matrix is an Affine: behind a Concat, one of each part."""

    def pattern(self, view: View, layer: Layer):
        x = affine_input(layer)
        affine = affine_of(layer, 1) if x is not None and x.rank in (2, 4) else None
        if x is None or affine is None:
            return None
        concat = view.sole_writer(x)
        concat = concat if concat is not None and concat.joins_channels else None
        return None if concat is None and layer.type == AFFINE else (layer, x, concat, *affine)

    def rewrite(self, graph: Graph, layer: Layer, x: Blob, concat: Layer | None, scale, shift) -> None:
        if concat is None:
            graph.replace(layer, _affine(x, layer.output, scale, shift))
            return
        start, parts = 0, []
        for position, source in enumerate(concat.inputs):
            channels = slice(start, start + source.shape[1])
            start = channels.stop
            part = Blob(source.shapes, name=f"{layer.output}/of/{position}")
            parts.append(_affine(source, part, scale[channels], shift[channels]))
        concat.inputs = [part.output for part in parts]
        graph.replace(concat, *parts, concat)
        graph.absorb(layer, concat)


def _affine(x: Blob, y: Blob, scale: np.ndarray, shift: np.ndarray) -> Layer:
    return Layer(AFFINE, [x, constant(scale), constant(shift)], [y], name=y.name)


class FoldHardSigmoid(Rule):
    """A hard sigmoid of what one layer with weights makes is a straight line, which the layer takes in, and a clamp."""

    def pattern(self, view: View, layer: Layer):
        before = view.sole_writer(layer.inputs[0]) if layer.type == "HardSigmoid" else None
        return (before, layer) if before is not None and before.is_weighted else None

    def rewrite(self, graph: Graph, before: Layer, layer: Layer) -> None:
        line, channels = layer.decoded(HardSigmoid), before.weight.shape[before.weight_axis]
        before.scale_outputs(np.full(channels, line.alpha), np.full(channels, line.beta))
        graph.absorb(layer, before)
        before.low, before.high = 0.0, 1.0


class DropPoolPads(Rule):
    """An average over all of the image and pads that do not count is global pooling."""

    def pattern(self, view: View, layer: Layer):
        return (layer,) if layer.type == "AveragePool" else None

    def check(self, view: View, layer: Layer) -> bool:
        pool, size = layer.decoded(AveragePool), layer.inputs[0].shape[2:]
        if pool.count_include_pad or pool.window.global_pooling:
            return False
        fit = pool.window.fit(*size)
        covers = all(kernel - pad >= s for kernel, pad, s in zip(fit.kernel, fit.pads[:2], size, strict=True))
        return fit.output == (1, 1) and covers and any(fit.pads)

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        layer.arguments = {"global_pooling": 1}


class FuseClamp(Rule):
    """A ReLU or Clip becomes the clamp of what it follows, through maxima and moved values.

    Requires that nobody reads the values before the clamp.
    """

    def pattern(self, view: View, layer: Layer):
        targets = _clampable(view, layer.inputs[0]) if layer.type in CLAMPS else None
        return (view.writer(layer.inputs[0]), targets, layer) if targets is not None else None

    def rewrite(self, graph: Graph, before: Layer, targets: list[Layer], layer: Layer) -> None:
        low, high = CLAMPS[layer.type](layer)
        for target in targets:
            target.low, target.high = max(target.low, low), min(target.high, high)
        graph.absorb(layer, before)


def _clampable(view: View, blob: Blob) -> list[Layer] | None:
    """The layers whose clamps clamp this blob, and nothing else."""
    layer = view.writer(blob)
    if layer is None or len(view.readers(blob)) > 1:
        return None
    if layer.is_weighted or (layer.type in FORMS and FORMS[layer.type].clamps):
        return [layer]
    if not layer.traits.passes_clamps:
        return None
    found = [_clampable(view, x) for x in layer.inputs]
    return None if any(f is None for f in found) else [target for f in found for target in f or ()]


class MergeSplitConvolution(Rule):
    """Slices of all channels in equal parts, a Conv of each, their Concat: one Conv with groups."""

    def pattern(self, view: View, layer: Layer):
        if not layer.joins_channels:
            return None
        branches = [branch for blob in layer.inputs if (branch := self._branch(view, blob)) is not None]
        if len(branches) < len(layer.inputs):
            return None
        return [cut for cut, _ in branches], [part for _, part in branches], layer

    @staticmethod
    def _branch(view: View, blob: Blob) -> tuple[Layer, Layer] | None:
        """The Slice and the Conv that make the blob, where nobody else reads it."""
        part = view.writer(blob) if len(view.readers(blob)) == 1 else None
        if part is None or part.type != "Conv" or not part.is_weighted:
            return None
        cut = view.writer(part.inputs[0])
        return (cut, part) if cut is not None and cut.type == "Slice" and len(cut.inputs) == 1 else None

    def check(self, view: View, slices: list[Layer], parts: list[Layer], layer: Layer) -> bool:
        alike = len({(part.weight.shape, repr(part.arguments), part.low, part.high) for part in parts}) == 1
        return alike and _cover(slices)

    def rewrite(self, graph: Graph, slices: list[Layer], parts: list[Layer], layer: Layer) -> None:
        first = parts[0]
        weight = constant(np.concatenate([part.weight for part in parts]))
        bias = constant(np.concatenate([part.bias for part in parts]))
        merged = Layer(
            "Conv",
            [slices[0].inputs[0], weight, bias],
            layer.outputs[:1],
            {**first.arguments, "group": first.group * len(parts)},
            layer.name,
            first.low,
            first.high,
        )
        graph.replace(layer, merged)


def _cover(slices: list[Layer]) -> bool:
    """Whether the slices are all channels of one blob, in order."""
    source = slices[0].inputs[0]
    channels, start = source.shape[1], 0
    for cut in slices:
        starts, ends = cut.arguments["starts"], cut.arguments["ends"]
        whole = all(s == 0 and e == -1 for axis, (s, e) in enumerate(zip(starts, ends, strict=True)) if axis != 1)
        if cut.inputs[0] is not source or not whole or len(starts) < 2 or starts[1] != start:
            return False
        start = channels if ends[1] == -1 else ends[1]
    return start == channels


QNNPACK_RULES = [
    DropIdentity(),
    SplitToSlices(),
    RowsToMatrix(),
    SumInPairs(),
    *RULES,
    ToAffine(),
    FoldHardSigmoid(),
    DropPoolPads(),
    FuseClamp(),
    *FUNCTION_RULES,
    MergeSplitConvolution(),
]


def _affine_to_convolution(layer: Layer) -> None:
    """What is left of an Affine on an image is a depthwise 1x1 Conv."""
    channels = len(layer.weight)
    weight, bias = layer.weight.reshape(channels, 1, 1, 1).astype(np.float32), layer.bias.astype(np.float32)
    layer.type = "Conv"
    layer.arguments = {"kernel": 1, "group": channels, "stride": 1, "pad": 0, "order": "NCHW"}
    layer.weight, layer.bias = weight, bias


def _affine_to_arithmetic(graph: Graph, layer: Layer) -> None:
    """What is left of an Affine on a matrix, or in an island, is Mul and Add, of which one may be nothing."""
    x, y = layer.inputs[0], layer.output
    weight, bias = (_short(value, y.rank) for value in (layer.weight, layer.bias))
    parts = [Layer("Mul", [x, constant(weight, f"{y}/scale")], [y], name=y.name)] if (weight != 1).any() else []
    if bias.any() or layer.is_clamped or not parts:
        scaled = Blob(y.shapes, name=f"{y}/scaled") if parts else x
        for part in parts:
            part.outputs, part.name = [scaled], scaled.name
        shift = constant(bias, f"{y}/shift")
        parts.append(Layer("Add", [scaled, shift], [y], name=y.name, low=layer.low, high=layer.high))
    graph.replace(layer, *parts)


def _short(value: np.ndarray, rank: int) -> np.ndarray:
    """One float32 number for each channel as one [1, ..., 1], where all are the same, or as [C] of a matrix."""
    value = value.astype(np.float32)
    return value[:1].reshape([1] * rank) if (value == value[0]).all() else value
