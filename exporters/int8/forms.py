"""Which Int8 operator computes a float layer, under which conditions and with which arguments.

The table FORMS is all that the quantizer knows of QNNPACK's operators. `plan` decides which layers of a graph are
computed in int8; the others form islands of float.
"""

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass

from caffe2_models.operators.window import Window
from exporters.int8.graph import Graph, Layer, joins_channels

NO_BEND = 1 - 2.0**-24  # the slope of a leaky ReLU next to 1, which Caffe2 refuses


class Output(enum.Enum):
    """How an operator's output may be quantized."""

    FREE = "any scale and zero point"
    AS_INPUT = "as all of its inputs are"
    PROBABILITY = "scale 1/256, zero point 0"


@dataclass(frozen=True)
class Form:
    """The Int8 operator for a float layer.

    relu: the twin that ends with a ReLU. fits(graph, layer) says whether the form computes the layer;
    arguments(graph, layer) are its own, besides order, Y_scale and Y_zero_point.
    """

    type: str
    output: Output = Output.FREE
    relu: str | None = None
    fits: Callable[[Graph, Layer], bool] = lambda graph, layer: True
    arguments: Callable[[Graph, Layer], dict] = lambda graph, layer: {}
    ordered: bool = True  # carries the argument order="NHWC"

    def type_for(self, layer: Layer) -> str:
        """The operator, or its twin; a clamp from zero without a twin is left to the zero point 0."""
        return self.relu if self.relu is not None and layer.low == 0 else self.type


def window_arguments(window: Window, shape: tuple[int, ...] | None = None) -> dict:
    """kernel, stride and pad in their shortest spelling; legacy pads are resolved for an image of this shape."""
    if window.global_pooling:
        return {"global_pooling": 1}
    pads = window.fit(*shape[2:]).pads if window.legacy_pad else window.pads
    sides = (
        {"pad": pads[0]} if len(set(pads)) == 1 else dict(zip(("pad_t", "pad_l", "pad_b", "pad_r"), pads, strict=True))
    )
    dilation = _square("dilation", window.dilation) if window.dilation != (1, 1) else {}
    return {**_square("kernel", window.kernel), **_square("stride", window.stride), **sides, **dilation}


def _square(name: str, pair: tuple[int, int]) -> dict:
    height, width = pair
    return {name: height} if height == width else {f"{name}_h": height, f"{name}_w": width}


def _convolution_arguments(graph: Graph, layer: Layer) -> dict:
    window = window_arguments(layer.operator.window, graph.shapes[layer.inputs[0]])
    kernel = {name: window.pop(name) for name in list(window) if name.startswith("kernel")}
    return {**kernel, **({"group": layer.group} if layer.group > 1 else {}), **window}


def _pool_arguments(graph: Graph, layer: Layer) -> dict:
    arguments = window_arguments(layer.operator.window, graph.shapes[layer.inputs[0]])
    return {name: value for name, value in arguments.items() if (name, value) != ("pad", 0)}


def _is_image(graph: Graph, layer: Layer) -> bool:
    return len(graph.shapes[layer.inputs[0]]) == 4


def _pools(graph: Graph, layer: Layer) -> bool:
    """Windows of more than one pixel: QNNPACK refuses others."""
    window, shape = layer.operator.window, graph.shapes[layer.inputs[0]]
    return len(shape) == 4 and window.dilation == (1, 1) and window.fit(*shape[2:]).area > 1


def _averages_whole_windows(graph: Graph, layer: Layer) -> bool:
    """QNNPACK divides by the window's whole area, Caffe2 in float by the pixels that lie within the image."""
    if not _pools(graph, layer):
        return False
    fit = layer.operator.window.fit(*graph.shapes[layer.inputs[0]][2:])
    return layer.operator.count_include_pad or not any(fit.pads)


def _adds(graph: Graph, layer: Layer) -> bool:
    return len(graph.activations(layer)) == len(layer.inputs) == 2 and _is_plain(graph, layer)


def _flattens(graph: Graph, layer: Layer) -> bool:
    """Whether the order of the values is the same in NHWC: one pixel, or a matrix already."""
    shape, flat = graph.shapes[layer.inputs[0]], graph.shapes[layer.output]
    pixels = math.prod(shape[2:]) if len(shape) == 4 else 1
    return len(shape) in (2, 4) and pixels == 1 and flat == (shape[0], math.prod(shape[1:]))


def _cuts_channels(graph: Graph, layer: Layer) -> bool:
    bounds = list(zip(layer.operator.starts, layer.operator.ends, strict=True))
    others = [bound for axis, bound in enumerate(bounds) if axis != 1]
    return (
        len(graph.activations(layer)) == len(layer.inputs) == 1
        and _is_image(graph, layer)
        and all(
            start == 0 and end in (-1, extent)
            for (start, end), extent in zip(others, _without_channels(graph.shapes[layer.inputs[0]]), strict=False)
        )
    )


def _without_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:])


def _slice_arguments(graph: Graph, layer: Layer) -> dict:
    start, end = layer.operator.starts[1], layer.operator.ends[1]
    return {"starts": [0, 0, 0, start], "ends": [-1, -1, -1, end]}


def _is_row_softmax(graph: Graph, layer: Layer) -> bool:
    shape = graph.shapes[layer.inputs[0]]
    axis = layer.operator.axis % len(shape)
    return axis == 1 and len(shape) in (2, 4) and math.prod(shape[2:]) == 1


def _resizes(graph: Graph, layer: Layer) -> bool:
    return len(layer.inputs) == 1 and _is_image(graph, layer)


def _resize_arguments(graph: Graph, layer: Layer) -> dict:
    return {"width_scale": layer.operator.width_scale, "height_scale": layer.operator.height_scale}


def _is_plain(graph: Graph, layer: Layer) -> bool:
    """An activation function on an image or a matrix."""
    return len(graph.shapes[layer.inputs[0]]) in (2, 4)


FORMS = {
    "Conv": Form("Int8Conv", relu="Int8ConvRelu", fits=lambda g, y: y.is_weighted, arguments=_convolution_arguments),
    "ConvTranspose": Form(
        "Int8ConvTranspose",
        fits=lambda g, y: y.is_weighted,
        arguments=lambda g, y: {**_convolution_arguments(g, y), "adjs": list(y.operator.adj.pixels)},
    ),
    "FC": Form("Int8FC", fits=lambda g, y: y.is_weighted and len(g.shapes[y.inputs[0]]) in (2, 4)),
    "Sum": Form("Int8Sum", relu="Int8SumRelu", fits=_adds),
    "AveragePool": Form(
        "Int8AveragePool", relu="Int8AveragePoolRelu", fits=_averages_whole_windows, arguments=_pool_arguments
    ),
    "MaxPool": Form("Int8MaxPool", Output.AS_INPUT, fits=_pools, arguments=_pool_arguments),
    "Concat": Form("Int8Concat", Output.AS_INPUT, fits=lambda g, y: joins_channels(y) and _is_image(g, y)),
    "ChannelShuffle": Form(
        "Int8ChannelShuffle",
        Output.AS_INPUT,
        fits=lambda g, y: _is_image(g, y) and y.operator.group > 1,
        arguments=lambda g, y: {"kernel": 1, "group": y.operator.group},
    ),
    "Slice": Form("Int8Slice", Output.AS_INPUT, fits=_cuts_channels, arguments=_slice_arguments),
    "ResizeNearest": Form("Int8ResizeNearest", Output.AS_INPUT, fits=_resizes, arguments=_resize_arguments),
    "Flatten": Form("Int8Flatten", Output.AS_INPUT, fits=_flattens, ordered=False),
    "Reshape": Form("Int8Flatten", Output.AS_INPUT, fits=_flattens, ordered=False),
    "Squeeze": Form("Int8Flatten", Output.AS_INPUT, fits=_flattens, ordered=False),
    "Relu": Form("Int8Relu", Output.AS_INPUT, fits=_is_plain),
    "LeakyRelu": Form(
        "Int8LeakyRelu",
        fits=lambda g, y: _is_plain(g, y) and 0 < y.operator.alpha <= NO_BEND,
        arguments=lambda g, y: {"alpha": y.operator.alpha},
    ),
    # A leaky ReLU without a bend changes scale and zero point, whose ends saturate: that is a Clip.
    "Clip": Form("Int8LeakyRelu", fits=_is_plain, arguments=lambda g, y: {"alpha": NO_BEND}),
    "Sigmoid": Form("Int8Sigmoid", Output.PROBABILITY, fits=_is_plain),
    "Softmax": Form("Int8Softmax", Output.PROBABILITY, fits=_is_row_softmax),
}


def plan(graph: Graph) -> list[bool]:
    """For each layer, whether it is computed in int8.

    Layers with weights always are. Others follow their inputs, so that an island of float ends where the next weights
    begin, and a pool at its edge spares the quantization of what it pools; but what only moves values between an
    island and weights moves bytes.
    """
    quantized: set[str] = set()
    consumers = graph.consumers()
    choices = []
    for layer in graph.layers:
        form = FORMS.get(layer.type)
        sources = graph.activations(layer)
        reached = layer.is_weighted or any(name in quantized for name in sources) or _feeds_weights(layer, consumers)
        one_output = not any(name in consumers for name in layer.outputs[1:])
        choice = form is not None and reached and one_output and len(sources) > 0 and form.fits(graph, layer)
        if choice:
            quantized.add(layer.output)
        choices.append(choice)
    return choices


def _feeds_weights(layer: Layer, consumers: dict[str, list[Layer]]) -> bool:
    """Whether the layer only moves values, and only layers with weights read them."""
    readers = consumers.get(layer.output, [])
    moves = layer.type in FORMS and FORMS[layer.type].output is Output.AS_INPUT and layer.type != "MaxPool"
    return moves and bool(readers) and all(reader is not None and reader.is_weighted for reader in readers)
