"""Depthwise layers whose channels have weights of very different scales, as several layers of channels that are alike.

QNNPACK has one scale for a whole weight. In a layer with a filter for each channel, which gives every channel a range
of its own, that leaves small ones a few steps. Here the channels are sorted by their largest weight and cut where that
costs least; each part has its own scale. The layer before makes the parts each by itself, and the one behind reads them
joined, its weights in their order, so that nothing has to be cut or sorted while the net runs.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from exporters.layers import Blob, Graph, Layer, constant
from exporters.quantized_onnx.scales import Quantizations
from exporters.quantized_onnx.weights import Constants, least_error

MOST_PARTS = 8
NOISE = 2e-4  # to signal, of a channel's weights in the mean: about twice that of a scale for each channel


@dataclasses.dataclass(frozen=True)
class Parts:
    """A depthwise layer and its neighbours, which alone read and make what is between them."""

    before: Layer
    layer: Layer
    after: Layer


def split_depthwise(graph: Graph, found: Quantizations, constants: Constants) -> dict[str, int]:
    """Put such layers in parts, in place: as few as leave little noise. The numbers of parts, by the layers' names.

    Layers whose weights the file has at one scale stay whole.
    """
    counts = {}
    for parts in list(_candidates(graph, found)):
        if constants.weight(parts.layer.weight) is None and len(channels := like_channels(parts.layer.weight)) > 1:
            _split(graph, found, parts, channels)
            counts[parts.layer.name] = len(channels)
    return counts


def like_channels(weight: np.ndarray) -> list[np.ndarray]:
    """The channels of each part, in as few as leave little noise. weight: [C, 1, kh, kw]."""
    for count in range(1, MOST_PARTS):
        parts = cut(np.abs(weight).reshape(len(weight), -1).max(axis=1), count)
        if _noise(weight, parts) <= NOISE:
            return parts
    return cut(np.abs(weight).reshape(len(weight), -1).max(axis=1), MOST_PARTS)


def cut(largest: np.ndarray, count: int) -> list[np.ndarray]:
    """Channels sorted by their largest weight, in at most so many parts that differ least within.

    A part's steps are as its largest weight, so that a channel's noise to signal is as (that / its own largest)
    squared: the sum over all channels is least.
    """
    order = np.argsort(largest, kind="stable")
    squares = np.maximum(largest[order].astype(np.float64), 1e-30) ** 2
    sums = np.concatenate([[0.0], np.cumsum(1 / squares)])
    size = len(order)
    best = np.concatenate([[0.0], np.full(size, np.inf)])  # of the first n channels, in the parts so far
    starts = []
    for _ in range(min(count, size)):
        costs = [best[:end] + squares[end - 1] * (sums[end] - sums[:end]) for end in range(1, size + 1)]
        starts.append([int(np.argmin(cost)) for cost in costs])
        best = np.concatenate([[np.inf], [cost.min() for cost in costs]])
    parts, end = [], size
    for start in reversed(starts):
        parts.append(np.sort(order[start[end - 1] : end]))
        end = start[end - 1]
    return parts[::-1]


def _noise(weight: np.ndarray, parts: Sequence[np.ndarray]) -> float:
    """Noise to signal of a channel's weights, in the mean."""
    noise = np.zeros(len(weight))
    for channels in parts:
        own = weight[channels]
        gap = least_error(own, 0.0).values - own
        sums = [np.square(x, dtype=np.float64).sum(axis=(1, 2, 3)) for x in (gap, own)]
        noise[channels] = sums[0] / np.maximum(sums[1], 1e-30)
    return float(noise.mean())


def _candidates(graph: Graph, found: Quantizations) -> Iterator[Parts]:
    """The depthwise layers between convolutions that read all channels, with bytes between them."""
    producers, consumers = graph.producers(), graph.consumers()
    copied = {blob for _, blob in found.copies}
    for layer in graph.layers:
        if not (layer.is_weighted and layer.is_depthwise and len(layer.bias) == layer.group):
            continue
        before, readers = producers.get(layer.inputs[0]), consumers.get(layer.output, [])
        after = readers[0] if len(readers) == 1 else None
        if before is None or after is None or consumers[before.output] != [layer]:
            continue
        dense = all(each.type == "Conv" and each.is_weighted and each.group == 1 for each in (before, after))
        between = {before.output, layer.output}
        if dense and after.inputs[0] is layer.output and between <= found.blobs.keys() - found.real - copied:
            yield Parts(before, layer, after)


def _split(graph: Graph, found: Quantizations, parts: Parts, channels: Sequence[np.ndarray]) -> None:
    before, layer, after = parts.before, parts.layer, parts.after
    made: list[Layer] = []
    for number, chosen in enumerate(channels):
        first = _part(before, before.inputs[0], chosen, number)
        second = _part(layer, first.output, chosen, number)
        second.arguments["group"] = len(chosen)
        made += [first, second]
        for own, whole in ((first, before), (second, layer)):
            found.blobs[own.output] = found.blobs[whole.output]
    joined = Layer("Concat", [y.output for y in made[1::2]], [layer.output], {"axis": 1}, f"{layer.name}_parts")
    after.inputs[1] = constant(after.weight[:, np.concatenate(channels)])
    graph.layers.remove(before)
    graph.replace(layer, *made, joined)


def _part(layer: Layer, x: Blob, channels: np.ndarray, number: int) -> Layer:
    """The layer that makes some of the channels, of x."""
    first, second = ((shape[0], len(channels), *shape[2:]) for shape in layer.output.shapes)
    y = Blob((first, second), name=f"{layer.output}_part_{number}")
    inputs = [x, constant(layer.weight[channels]), constant(layer.bias[channels])]
    return dataclasses.replace(layer, inputs=inputs, outputs=[y], arguments={**layer.arguments}, name=y.name)
