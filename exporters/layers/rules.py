"""The rules by which a graph takes the form of the published nets, one operator for each layer.

Conversion from ONNX and quantization share them; what only QNNPACK needs is in exporters.int8.preparation.
"""

import math

import numpy as np

from caffe2_models.operators.arithmetic import Binary
from caffe2_models.operators.normalization import SpatialBN
from caffe2_models.operators.window import SIDES
from exporters.layers.graph import AFFINE, FLOAT32, Blob, Graph, Layer
from exporters.layers.rewriting import Rule, View

ARITHMETIC = ("Mul", "Div", "Add", "Sub")
FLATTENING = ("Flatten", "Reshape", "Squeeze")


def batch_norm_factors(scale, bias, mean, variance, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """(factor, shift), float64 [C]: scale * (x - mean) / sqrt(variance + epsilon) + bias = factor * x + shift."""
    scale, bias, mean, variance = (np.asarray(v, np.float64) for v in (scale, bias, mean, variance))
    factor = scale / np.sqrt(variance + epsilon)
    return factor, bias - factor * mean


def affine_input(layer: Layer) -> Blob | None:
    """The one activation of a layer that may be scale * x + shift, or None."""
    if layer.type not in (*ARITHMETIC, "SpatialBN", "AffineChannel", AFFINE) or len(layer.activations) != 1:
        return None
    if layer.output.dtype != FLOAT32:  # whole numbers are divided otherwise, and stay whole
        return None
    (x,) = layer.activations
    commutes = layer.type in ("Mul", "Add") and not layer.arguments.get("broadcast")
    same_shape = x.known_shapes is not None and x.known_shapes == layer.output.known_shapes
    return x if same_shape and (layer.inputs[0] is x or (commutes and len(layer.inputs) == 2)) else None


def affine_of(layer: Layer, axis: int) -> tuple[np.ndarray, np.ndarray] | None:
    """(scale, shift), float64 [C], where the layer computes scale * x + shift for each channel, its input's `axis`."""
    x = affine_input(layer)
    if x is None:
        return None
    values = [blob.value for blob in layer.inputs if blob is not x]
    if layer.type in ("SpatialBN", "AffineChannel", AFFINE) and axis != 1:
        return None
    if layer.type == "SpatialBN":
        scale, bias, mean, variance = values
        return batch_norm_factors(scale, bias, mean, variance, layer.decoded(SpatialBN).epsilon)
    if layer.type in ("AffineChannel", AFFINE):
        scale, shift = values
        return scale.astype(np.float64), shift.astype(np.float64)
    (value,) = values
    if layer.arguments.get("broadcast"):
        value = value.reshape(layer.decoded(Binary).aligned(x.shape, value.shape))
    each = _per_channel(value.astype(np.float64), x, axis)
    if each is None:
        return None
    one, zero = np.ones_like(each), np.zeros_like(each)
    with np.errstate(divide="ignore"):
        return {"Mul": (each, zero), "Div": (one / each, zero), "Add": (one, each), "Sub": (one, -each)}[layer.type]


def _per_channel(value: np.ndarray, x: Blob, axis: int) -> np.ndarray | None:
    """A value that broadcasts over x as one number for each channel [C], or None."""
    if value.ndim > x.rank:
        return None
    full = value.reshape((1,) * (x.rank - value.ndim) + value.shape)
    if full.size != full.shape[axis] or full.size not in (1, x.shape[axis]):
        return None
    return np.broadcast_to(full.ravel(), (x.shape[axis],))


class FoldPadding(Rule):
    """PadImage(zeros) -> Conv is a Conv with more padding (SAME padding of TensorFlow models)."""

    def pattern(self, view: View, layer: Layer):
        pad = view.writer(layer.inputs[0]) if layer.type == "Conv" else None
        return (pad, layer) if pad is not None and pad.type == "PadImage" else None

    def check(self, view: View, pad: Layer, layer: Layer) -> bool:
        filled = pad.arguments.get("mode", "constant") not in ("constant", b"constant") or pad.arguments.get("value")
        sides = [*_pads(pad), *_pads(layer)]
        return not filled and min(sides) >= 0 and "legacy_pad" not in layer.arguments and "pads" not in (
            layer.arguments.keys() | pad.arguments.keys())  # fmt: skip

    def rewrite(self, graph: Graph, pad: Layer, layer: Layer) -> None:
        sides = [have + more for have, more in zip(_pads(layer), _pads(pad), strict=True)]
        layer.arguments = _with_pads(layer.arguments, sides)
        layer.inputs[0] = pad.inputs[0]


class FoldAffine(Rule):
    """A layer with weights, then BatchNorm or arithmetic with a constant for each channel: the layer alone.

    Requires that nobody else reads the layer's output. y = scale * (w x + b) + shift, in float64.
    """

    def pattern(self, view: View, layer: Layer):
        x = affine_input(layer)
        before = view.sole_writer(x) if x is not None else None
        if before is None or not before.has_constant_weights:
            return None
        affine = affine_of(layer, before.channel_axis)
        return None if affine is None else (before, layer, *affine)

    def rewrite(self, graph: Graph, before: Layer, layer: Layer, scale: np.ndarray, shift: np.ndarray) -> None:
        before.scale_outputs(scale, shift)
        graph.absorb(layer, before)


class FoldAffineBehindConcat(Rule):
    """Layers with weights, their Concat along the channels, then BatchNorm or the like: each layer takes its share.

    Requires that nobody else reads the layers' outputs or the Concat's.
    """

    def pattern(self, view: View, layer: Layer):
        x = affine_input(layer)
        concat = view.sole_writer(x) if x is not None else None
        if concat is None or not concat.joins_channels:
            return None
        affine = affine_of(layer, 1)
        return None if affine is None else (concat, [view.sole_writer(part) for part in concat.inputs], layer, *affine)

    def check(self, view: View, concat: Layer, branches: list[Layer | None], *rest) -> bool:
        return all(
            branch is not None and branch.has_constant_weights and branch.channel_axis == 1 for branch in branches
        )

    def rewrite(self, graph: Graph, concat: Layer, branches: list[Layer], layer: Layer, scale, shift) -> None:
        start = 0
        for branch in branches:
            channels = slice(start, start + branch.output.shape[1])
            branch.scale_outputs(scale[channels], shift[channels])
            start = channels.stop
        graph.absorb(layer, concat)


class FuseSwish(Rule):
    """x * Sigmoid(x) is Swish(x)."""

    def pattern(self, view: View, layer: Layer):
        for x, gate in (layer.inputs, layer.inputs[::-1]) if layer.type == "Mul" and len(layer.inputs) == 2 else ():
            source = view.writer(gate)
            if source is not None and source.type == "Sigmoid" and source.inputs[0] is x:
                return layer, x
        return None

    def rewrite(self, graph: Graph, layer: Layer, x: Blob) -> None:
        layer.type, layer.inputs, layer.arguments = "Swish", [x], {}


class FuseChannelShuffle(Rule):
    """[N, g, C/g, H, W] -> transpose of g and C/g -> [N, C, H, W] is ChannelShuffle."""

    def pattern(self, view: View, layer: Layer):
        swap = view.writer(layer.inputs[0]) if layer.type == "Reshape" else None
        if swap is None or swap.type != "Transpose":
            return None
        split = view.writer(swap.inputs[0])
        return (split, swap, layer) if split is not None and split.type == "Reshape" else None

    def check(self, view: View, split: Layer, swap: Layer, layer: Layer) -> bool:
        x, rows = split.inputs[0], swap.inputs[0]
        if x.known_shapes is None or rows.known_shapes is None:
            return False
        if x.known_shapes != layer.output.known_shapes or x.rank != 4:
            return False
        swapped = swap.arguments.get("axes") == [0, 2, 1, *range(3, rows.rank)]
        keeps_channels = rows.rank > 3 and math.prod(rows.shape[1:3]) == x.shape[1] and rows.shape[0] == x.shape[0]
        return swapped and keeps_channels and rows.shape[3:] in (x.shape[2:], (x.shape[2] * x.shape[3],))

    def rewrite(self, graph: Graph, split: Layer, swap: Layer, layer: Layer) -> None:
        group = swap.inputs[0].shape[1]
        layer.type, layer.inputs = "ChannelShuffle", split.inputs[:1]
        layer.outputs, layer.arguments = layer.outputs[:1], {"kernel": 1, "group": group}


class DropFlattening(Rule):
    """FC flattens its input itself. Requires that the flattening keeps the images of a batch apart."""

    def pattern(self, view: View, layer: Layer):
        before = view.writer(layer.inputs[0]) if layer.type == "FC" and layer.arguments.get("axis", 1) == 1 else None
        return (before, layer) if before is not None and before.type in FLATTENING else None

    def check(self, view: View, before: Layer, layer: Layer) -> bool:
        old, new = before.inputs[0].known_shapes, before.output.known_shapes
        if old is None or new is None or len(new[0]) != 2 or len(old[0]) not in (2, 4):
            return False
        return all(a[0] == b[0] for a, b in zip(old, new, strict=True))

    def rewrite(self, graph: Graph, before: Layer, layer: Layer) -> None:
        layer.inputs[0] = before.inputs[0]


RULES = [
    FoldPadding(),
    FoldAffineBehindConcat(),
    FoldAffine(),
    FuseSwish(),
    FuseChannelShuffle(),
    DropFlattening(),
]


def _pads(layer: Layer) -> list[int]:
    every = layer.arguments.get("pad", 0)
    return [layer.arguments.get(side, every) for side in SIDES]


def _with_pads(arguments: dict, sides: list[int]) -> dict:
    """The arguments with other padding in its place."""
    new = {"pad": sides[0]} if len(set(sides)) == 1 else dict(zip(SIDES, sides, strict=True))
    result: dict = {}
    for key, value in arguments.items():
        result |= new if key.startswith("pad") else {key: value}
    return result if result.keys() & new.keys() else result | new
