"""Which Int8 operator computes a float layer, under which conditions and with which arguments.

The table FORMS is all that the quantizer knows of QNNPACK's operators. `plan` decides which layers of a graph are
computed in int8; the others form islands of float.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from caffe2_models.operators import OPERATORS
from caffe2_models.operators.convolution import ConvTranspose
from caffe2_models.operators.elementwise import LeakyRelu
from caffe2_models.operators.normalization import Softmax
from caffe2_models.operators.pooling import AveragePool
from caffe2_models.operators.registry import OutputScale
from caffe2_models.operators.resizing import ResizeNearest
from caffe2_models.operators.shaping import ChannelShuffle, Slice
from caffe2_models.operators.window import SIDES, Window
from exporters.layers import Blob, Graph, Layer

NO_BEND = 1 - 2.0**-24  # the slope of a leaky ReLU next to 1, which Caffe2 refuses


@dataclass(frozen=True)
class Form:
    """The Int8 operator for a float layer.

    fits(layer) says whether the form computes the layer; arguments(layer) are its own, besides order, Y_scale and
    Y_zero_point. clamps: its requantization, or its ...Relu twin, clamps the output as it is made.
    """

    type: str
    fits: Callable[[Layer], bool] = lambda layer: True
    arguments: Callable[[Layer], dict] = lambda layer: {}
    ordered: bool = True  # carries the argument order="NHWC"
    clamps: bool = False

    @property
    def output(self) -> OutputScale | None:
        return OPERATORS[self.type].output_scale

    @property
    def relu(self) -> str | None:
        """The twin that ends with a ReLU."""
        return f"{self.type}Relu" if f"{self.type}Relu" in OPERATORS else None

    def type_for(self, layer: Layer) -> str:
        """The operator, or its twin; a clamp from zero without a twin is left to the zero point 0."""
        return self.relu if self.relu is not None and layer.low == 0 else self.type


def window_arguments(window: Window, shape: tuple[int, ...]) -> dict:
    """kernel, stride and pad in their shortest spelling; legacy pads are resolved for an image of this shape."""
    if window.global_pooling:
        return {"global_pooling": 1}
    pads = window.fit(*shape[2:]).pads if window.legacy_pad else window.pads
    sides = {"pad": pads[0]} if len(set(pads)) == 1 else dict(zip(SIDES, pads, strict=True))
    dilation = _square("dilation", window.dilation) if window.dilation != (1, 1) else {}
    return {**_square("kernel", window.kernel), **_square("stride", window.stride), **sides, **dilation}


def _square(name: str, pair: tuple[int, ...]) -> dict:
    height, width = pair
    return {name: height} if height == width else {f"{name}_h": height, f"{name}_w": width}


def _convolution_arguments(layer: Layer) -> dict:
    window = window_arguments(layer.window, layer.inputs[0].shape)
    kernel = {name: window.pop(name) for name in list(window) if name.startswith("kernel")}
    return {**kernel, **({"group": layer.group} if layer.group > 1 else {}), **window}


def _pool_arguments(layer: Layer) -> dict:
    arguments = window_arguments(layer.window, layer.inputs[0].shape)
    return {name: value for name, value in arguments.items() if (name, value) != ("pad", 0)}


def _is_image(layer: Layer) -> bool:
    return len(layer.inputs[0].shape) == 4


def _pools(layer: Layer) -> bool:
    """Windows of more than one pixel: QNNPACK refuses others."""
    window, shape = layer.window, layer.inputs[0].shape
    return len(shape) == 4 and window.dilation == (1, 1) and window.fit(*shape[2:]).area > 1


def _averages_whole_windows(layer: Layer) -> bool:
    """QNNPACK divides by the window's whole area, Caffe2 in float by the pixels that lie within the image."""
    if not _pools(layer):
        return False
    pool = layer.decoded(AveragePool)
    return pool.count_include_pad or not any(pool.window.fit(*layer.inputs[0].shape[2:]).pads)


def _adds(layer: Layer) -> bool:
    return len(layer.activations) == len(layer.inputs) == 2 and _is_plain(layer)


def _joins(layer: Layer) -> bool:
    return layer.joins_channels and _is_image(layer) and len(layer.activations) == len(layer.inputs)


def _flattens(layer: Layer) -> bool:
    """Whether the order of the values is the same in NHWC: one pixel, or a matrix already."""
    shape, flat = layer.inputs[0].shape, layer.output.shape
    pixels = math.prod(shape[2:]) if len(shape) == 4 else 1
    return len(shape) in (2, 4) and pixels == 1 and flat == (shape[0], math.prod(shape[1:]))


def _cuts_channels(layer: Layer) -> bool:
    if not len(layer.activations) == len(layer.inputs) == 1 or not _is_image(layer):
        return False
    others = [bound for axis, bound in enumerate(zip(*_bounds(layer), strict=True)) if axis != 1]
    return all(
        start == 0 and end in (-1, extent)
        for (start, end), extent in zip(others, _without_channels(layer.inputs[0].shape), strict=False)
    )


def _bounds(layer: Layer) -> tuple[list[int], list[int]]:
    """(starts, ends)"""
    return layer.decoded(Slice).wanted(layer.inputs[0].rank)


def _without_channels(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[0], *shape[2:])


def _slice_arguments(layer: Layer) -> dict:
    starts, ends = _bounds(layer)
    return {"starts": [0, 0, 0, starts[1]], "ends": [-1, -1, -1, ends[1]]}


def _is_row_softmax(layer: Layer) -> bool:
    shape = layer.inputs[0].shape
    axis = layer.decoded(Softmax).axis % len(shape)
    return axis == 1 and len(shape) in (2, 4) and math.prod(shape[2:]) == 1


def _resizes(layer: Layer) -> bool:
    return len(layer.inputs) == 1 and _is_image(layer)


def _resize_arguments(layer: Layer) -> dict:
    resize = layer.decoded(ResizeNearest)
    return {"width_scale": resize.width_scale, "height_scale": resize.height_scale}


def _is_plain(layer: Layer) -> bool:
    """An activation function on an image or a matrix."""
    return len(layer.inputs[0].shape) in (2, 4)


FORMS = {
    "Conv": Form("Int8Conv", fits=lambda y: y.is_weighted, arguments=_convolution_arguments, clamps=True),
    "ConvTranspose": Form(
        "Int8ConvTranspose",
        fits=lambda y: y.is_weighted,
        arguments=lambda y: {**_convolution_arguments(y), "adjs": list(y.decoded(ConvTranspose).adj.pixels)},
        clamps=True,
    ),
    "FC": Form("Int8FC", fits=lambda y: y.is_weighted and len(y.inputs[0].shape) in (2, 4), clamps=True),
    "Sum": Form("Int8Sum", fits=_adds, clamps=True),
    "AveragePool": Form("Int8AveragePool", fits=_averages_whole_windows, arguments=_pool_arguments, clamps=True),
    "MaxPool": Form("Int8MaxPool", fits=_pools, arguments=_pool_arguments),
    "Concat": Form("Int8Concat", fits=_joins),
    "ChannelShuffle": Form(
        "Int8ChannelShuffle",
        fits=lambda y: _is_image(y) and y.decoded(ChannelShuffle).group > 1,
        arguments=lambda y: {"kernel": 1, "group": y.decoded(ChannelShuffle).group},
    ),
    "Slice": Form("Int8Slice", fits=_cuts_channels, arguments=_slice_arguments),
    "ResizeNearest": Form("Int8ResizeNearest", fits=_resizes, arguments=_resize_arguments),
    "Flatten": Form("Int8Flatten", fits=_flattens, ordered=False),
    "Reshape": Form("Int8Flatten", fits=_flattens, ordered=False),
    "Squeeze": Form("Int8Flatten", fits=_flattens, ordered=False),
    "Relu": Form("Int8Relu", fits=_is_plain),
    "LeakyRelu": Form(
        "Int8LeakyRelu",
        fits=lambda y: _is_plain(y) and 0 < y.decoded(LeakyRelu).alpha <= NO_BEND,
        arguments=lambda y: {"alpha": y.decoded(LeakyRelu).alpha},
    ),
    # A leaky ReLU without a bend changes scale and zero point, whose ends saturate: that is a Clip.
    "Clip": Form("Int8LeakyRelu", fits=_is_plain, arguments=lambda y: {"alpha": NO_BEND}),
    "Sigmoid": Form("Int8Sigmoid", fits=_is_plain),
    "Softmax": Form("Int8Softmax", fits=_is_row_softmax),
}


def plan(graph: Graph) -> list[bool]:
    """For each layer, whether it is computed in int8.

    Layers with weights always are. Others follow their inputs, so that an island of float ends where the next weights
    begin, and a pool at its edge spares the quantization of what it pools; but what only moves values between an
    island and weights moves bytes. A Concat that no weights follow joins real values: its parts, boxes and scores say,
    keep ranges of their own.
    """
    quantized: set[Blob] = set()
    consumers = graph.consumers()
    used = lead_to_weights(graph)
    choices = []
    for layer in graph.layers:
        form = FORMS.get(layer.type)
        sources = layer.activations
        reached = layer.is_weighted or any(blob in quantized for blob in sources) or _feeds_weights(layer, consumers)
        one_output = not any(blob in consumers for blob in layer.outputs[1:])
        choice = form is not None and reached and one_output and len(sources) > 0 and form.fits(layer)
        choice = choice and (layer.type != "Concat" or layer.output in used)
        if choice:
            quantized.add(layer.output)
        choices.append(choice)
    return choices


def lead_to_weights(graph: Graph) -> set[Blob]:
    """The blobs on which a layer with weights depends."""
    blobs: set[Blob] = set()
    for layer in reversed(graph.layers):
        if layer.is_weighted or not blobs.isdisjoint(layer.outputs):
            blobs.update(layer.activations)
    return blobs


def _feeds_weights(layer: Layer, consumers: dict[Blob, list[Layer | None]]) -> bool:
    """Whether the layer only moves values, and only layers with weights read them, or others that move them there.

    A mean is no value that was there; a maximum is.
    """
    form = FORMS.get(layer.type)
    moves = form is not None and form.output is OutputScale.AS_INPUT and form.fits(layer)
    readers = consumers.get(layer.output, [])
    return (
        moves
        and bool(readers)
        and all(reader is not None and (reader.is_weighted or _feeds_weights(reader, consumers)) for reader in readers)
    )
