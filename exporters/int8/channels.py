"""Which weights read a layer's output channels: what corrections of one layer must undo in the next."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_models.operators.shaping import ChannelShuffle
from exporters.int8.calibration import Calibration
from exporters.layers import Blob, Graph, Layer


@dataclass(frozen=True)
class Reader:
    """A layer with weights, and which of its input channels are the channels of a blob, int64 [C]."""

    layer: Layer
    channels: np.ndarray

    @property
    def entries(self) -> np.ndarray:
        """Flat indices of the weights that multiply each channel: [C, n]."""
        return entries_by_channel(self.layer)[self.channels]


def entries_by_channel(layer: Layer) -> np.ndarray:
    """Flat indices into the layer's weight, [input channels, weights that multiply it].

    For an FC the channels are the columns of its weight.
    """
    index: np.ndarray = np.arange(layer.weight.size).reshape(layer.weight.shape)
    if layer.type == "FC":
        return index.T
    if layer.type == "ConvTranspose":
        return index.reshape(len(index), -1)
    out, inner, *kernel = index.shape
    grouped = index.reshape(layer.group, out // layer.group, inner, *kernel)
    return grouped.swapaxes(1, 2).reshape(layer.group * inner, -1)


def output_of_entries(layer: Layer) -> np.ndarray:
    """The output channel of each weight, in the shape of the weight."""
    axis = 1 if layer.type == "ConvTranspose" else 0
    shape = [1] * layer.weight.ndim
    shape[axis] = -1
    return np.broadcast_to(np.arange(layer.weight.shape[axis]).reshape(shape), layer.weight.shape)


def find_readers(graph: Graph, blob: Blob) -> list[Reader] | None:
    """All layers with weights that read the blob's channels, or None where others read them too.

    Others are sums, gates, float functions, outputs of the net: those would see a change of a channel.
    """
    consumers = graph.consumers()
    shape = blob.shape
    channels = shape[1] if len(shape) > 1 else 1
    return _find(consumers, blob, np.arange(channels))


def _find(consumers: dict, blob: Blob, channels: np.ndarray) -> list[Reader] | None:
    readers = []
    for layer in consumers.get(blob, [None]):
        found = None if layer is None else _through(consumers, layer, blob, channels)
        if found is None:
            return None
        readers += found
    return readers


def _through(consumers: dict, layer: Layer, blob: Blob, channels: np.ndarray) -> list[Reader] | None:
    shape = blob.shape
    if layer.is_weighted:
        if layer.type == "FC":
            pixels = math.prod(shape[2:])
            return [Reader(layer, channels * pixels + pixel) for pixel in range(pixels)]
        return [Reader(layer, channels)]
    if layer.is_clamped and (layer.low, layer.high) != (0, np.inf):
        return None
    if layer.traits.passes_factors and layer.output.shape[:2] == shape[:2]:
        return _find(consumers, layer.output, channels)
    if layer.type == "ChannelShuffle":
        group = layer.decoded(ChannelShuffle).group
        moved = np.arange(shape[1]).reshape(group, -1).T.ravel()  # output channel i is input channel moved[i]
        return _find(consumers, layer.output, np.argsort(moved)[channels])
    if layer.joins_channels and layer.inputs.count(blob) == 1:
        before = layer.inputs[: layer.inputs.index(blob)]
        offset = sum(name.shape[1] for name in before)
        return _find(consumers, layer.output, channels + offset)
    return None


def importances(graph: Graph, calibration: Calibration) -> dict[Blob, np.ndarray]:
    """How much a squared error of each output channel weighs where it is read next: output blob -> [O].

    Through depthwise layers, which mix nothing, it is passed on to the next layer that mixes channels; there all
    outputs weigh the same.
    """
    result: dict[Blob, np.ndarray] = {}
    for layer in reversed(graph.weighted):
        readers = find_readers(graph, layer.output)
        result[layer.output] = np.ones(len(layer.bias)) if readers is None else (
            _importance(layer, readers, result, calibration))  # fmt: skip
    return result


def _importance(layer: Layer, readers: list[Reader], known: dict, calibration: Calibration) -> np.ndarray:
    total = np.zeros(len(layer.bias))
    for reader in readers:
        total += gains(reader, known)
    values = calibration.samples[layer.output].values if layer.output in calibration.samples else None
    if values is None or not layer.is_clamped:
        return total
    return total * ((values > layer.low) & (values < layer.high)).mean(axis=0)


def gains(reader: Reader, known: dict[Blob, np.ndarray]) -> np.ndarray:
    """What a squared error of each channel that the reader reads becomes behind it, [C]."""
    weight = reader.layer.weight.astype(np.float64).ravel()
    behind = error_weights(reader.layer, known)
    return (weight[reader.entries] ** 2 * behind[output_of_entries(reader.layer).ravel()[reader.entries]]).sum(axis=1)


def error_weights(layer: Layer, known: dict[Blob, np.ndarray]) -> np.ndarray:
    """Of the layer's output channels, [O]: its importance where it is depthwise, else one for each."""
    return known[layer.output] if layer.is_depthwise else np.ones(len(layer.bias))
