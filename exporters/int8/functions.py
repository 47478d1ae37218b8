"""Activation functions spelled as chains of arithmetic, such as x * clip(x + 3, 0, 6) / 6, in their shortest form.

QNNPACK multiplies nothing, so that such a function is computed in float; what its constants scale and shift shall stay
there with it, and not become convolutions between whose steps everything is rounded again.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from caffe2_models.operators import Operator
from caffe2_models.operators.elementwise import HardSigmoid
from exporters.int8.forms import FORMS
from exporters.layers import Blob, Graph, Layer, Rule, View, constant
from exporters.layers.graph import AFFINE

Function = Callable[[np.ndarray], np.ndarray]  # of each value

LEAST_SCALE = 2.0**-22  # by which a factor differs from one, at least: a rounding of 1 / 6 to float32
BELOW_ZERO = 1.02  # of where a hard swish becomes zero: where what it reads is clamped


def is_uniform(layer: Layer) -> bool:
    """Whether an Affine has one factor and one shift for all channels."""
    return bool((layer.weight == layer.weight[0]).all() and (layer.bias == layer.bias[0]).all())


def multiplies(layer: Layer | None) -> bool:
    """Whether a layer is the product of two activations."""
    return layer is not None and layer.type == "Mul" and len(layer.activations) == len(layer.inputs) == 2


class DropUnit(Rule):
    """What scales by one and shifts by nothing goes."""

    def pattern(self, view: View, layer: Layer):
        return (layer,) if layer.type == AFFINE and not layer.is_clamped else None

    def check(self, view: View, layer: Layer) -> bool:
        unit = bool((np.abs(layer.weight - 1) <= LEAST_SCALE).all() and not layer.bias.any())
        return unit and layer.output not in view.graph.outputs

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        graph.bypass(layer)


class ScaleProduct(Rule):
    """(a x) * y is a (x * y), for one factor a of all channels. Requires that nobody else reads a x."""

    def pattern(self, view: View, layer: Layer):
        for position, blob in enumerate(layer.inputs) if multiplies(layer) and not layer.is_clamped else ():
            line = view.sole_writer(blob)
            if line is not None and line.type == AFFINE and is_uniform(line) and not line.bias.any():
                return line, layer, position
        return None

    def check(self, view: View, line: Layer, layer: Layer, position: int) -> bool:
        channels = layer.output.shape[1:2]
        return layer.output.rank in (2, 4) and len(channels) == 1

    def rewrite(self, graph: Graph, line: Layer, layer: Layer, position: int) -> None:
        y = layer.output
        product = Blob(y.shapes, name=f"{y}/unscaled")
        factor = np.full(y.shape[1], line.weight[0])
        layer.inputs[position] = line.inputs[0]
        layer.outputs = [product, *layer.outputs[1:]]
        scaled = Layer(AFFINE, [product, constant(factor), constant(np.zeros_like(factor))], [y], name=y.name)
        graph.replace(layer, layer, scaled)


class ClampedLineToHardSigmoid(Rule):
    """clip(a x + b, 0, c), a factor of a product, is c * HardSigmoid(x), with a / c and b / c."""

    def pattern(self, view: View, layer: Layer):
        clamped = layer.type == AFFINE and layer.low == 0 and 0 < layer.high < math.inf
        return (layer,) if clamped and is_uniform(layer) else None

    def check(self, view: View, layer: Layer) -> bool:
        return layer.output.is_image and any(multiplies(reader) for reader in view.readers(layer.output))

    def rewrite(self, graph: Graph, layer: Layer) -> None:
        y, high = layer.output, layer.high
        share = Blob(y.shapes, name=f"{y}/share")
        line = {"alpha": float(layer.weight[0]) / high, "beta": float(layer.bias[0]) / high}
        factor = np.full(len(layer.weight), high)
        graph.replace(
            layer,
            Layer("HardSigmoid", layer.inputs[:1], [share], line, share.name),
            Layer(AFFINE, [share, constant(factor), constant(np.zeros_like(factor))], [y], name=y.name),
        )


class EnlargeFirst(Rule):
    """What is enlarged after a function of each value is enlarged before it: pixels of one byte, and the same values.

    Requires that QNNPACK has the enlargement, but not the function.
    """

    def pattern(self, view: View, layer: Layer):
        function = view.writer(layer.inputs[0]) if layer.type == "ResizeNearest" else None
        if function is None or function.type in FORMS or not function.traits.elementwise:
            return None
        return (function, layer) if len(function.inputs) == 1 and len(layer.inputs) == 1 else None

    def check(self, view: View, function: Layer, layer: Layer) -> bool:
        before = view.writer(function.inputs[0])
        return before is not None and before.type in FORMS and FORMS["ResizeNearest"].fits(layer)

    def rewrite(self, graph: Graph, function: Layer, layer: Layer) -> None:
        y = layer.output
        enlarged = Blob(y.shapes, name=f"{y}/enlarged")
        moved = Layer(layer.type, function.inputs[:1], [enlarged], layer.arguments, enlarged.name)
        after = Layer(function.type, [enlarged], [y], dict(function.arguments), y.name, function.low, function.high)
        graph.replace(layer, moved, after)


class ClampBeforeHardSwish(Rule):
    """x * HardSigmoid(x), of clip(x, low, ..) where it is zero below low: the 256 steps of x end there.

    Requires that nobody reads x for anything else, and that the layer that makes it clamps. By a little more than low:
    zero stays zero though the steps' end may lie half a step off.
    """

    def pattern(self, view: View, layer: Layer):
        for x, gate in (layer.inputs, layer.inputs[::-1]) if multiplies(layer) else ():
            function, source = view.writer(gate), view.writer(x)
            if function is None or source is None or function.type != "HardSigmoid" or function.inputs[0] is not x:
                continue
            line = function.decoded(HardSigmoid)
            if line.alpha > 0 and line.beta > 0:
                return source, -line.beta / line.alpha * BELOW_ZERO, [function, layer]
        return None

    def check(self, view: View, source: Layer, low: float, readers: list[Layer]) -> bool:
        clamps = source.is_weighted or (source.type in FORMS and FORMS[source.type].clamps)
        return clamps and source.low < low and set(view.readers(source.output)) == set(readers)

    def rewrite(self, graph: Graph, source: Layer, low: float, readers: list[Layer]) -> None:
        source.low = low


FUNCTION_RULES = [DropUnit(), ScaleProduct(), ClampedLineToHardSigmoid(), EnlargeFirst(), ClampBeforeHardSwish()]


def is_in_island(view: View, layer: Layer) -> bool:
    """Whether a layer is next to one of arithmetic that is computed in float; activation functions may lie between."""
    before, seen = [view.writer(layer.inputs[0])], {layer}
    after = [*view.readers(layer.output)]
    while before or after:
        backwards = bool(before)
        other = (before or after).pop()
        if other is None or other in seen or not other.traits.elementwise:
            continue
        seen.add(other)
        if other.type not in FORMS:
            return True
        if len(other.inputs) == 1:
            before += [view.writer(other.inputs[0])] if backwards else []
            after += [] if backwards else view.readers(other.output)
    return False


def functions_of_blobs(graph: Graph, choices: list[bool]) -> dict[Blob, Function]:
    """Of each blob of which an island of float reads nothing but one function of each value, that function.

    choices: which layers are int8 (`forms.plan`).
    """
    readers = graph.consumers()
    result: dict[Blob, Function] = {}
    in_float = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if not chosen]
    islands = [layer for layer in in_float if _is_of_values(layer)]
    for blob in readers if islands else ():
        known, layers = {blob}, []
        for layer in islands:
            if known.issuperset(layer.activations):
                known.add(layer.output)
                layers.append(layer)
        ends = [made for made in known if not set(readers.get(made, ())).issubset(layers)]
        if len(ends) == 1 and ends != [blob]:
            result[blob] = functools.partial(_apply, layers, blob, ends[0])
    return result


def _is_of_values(layer: Layer) -> bool:
    """Whether each value of its one output depends on those in its place, and on numbers."""
    constants = [blob for blob in layer.inputs if blob.is_constant]
    return layer.traits.elementwise and len(layer.outputs) == 1 and all(blob.value.size == 1 for blob in constants)


def _apply(layers: list[Layer], source: Blob, end: Blob, values: np.ndarray) -> np.ndarray:
    known = {source: values.ravel().astype(np.float32)}
    for layer in layers:
        inputs = [blob.value.ravel() if blob.is_constant else known[blob] for blob in layer.inputs]
        with np.errstate(over="ignore"):  # of exponentials, whose sigmoid is zero then
            known[layer.output] = np.clip(layer.decoded(Operator).compute(*inputs), layer.low, layer.high)
    return known[end].reshape(values.shape).astype(np.float64)
