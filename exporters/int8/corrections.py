"""Changes of the float graph that leave what it computes, at least on the calibration images, as it is."""

import numpy as np

from exporters.int8.calibration import Calibration
from exporters.int8.channels import Reader, find_readers
from exporters.int8.weights import rounding_error, weight_range
from exporters.layers import Graph, Layer

NEEDED_GAIN = 0.9  # the rounding error without dead channels, as a share of that with them, from which they are removed
ENOUGH_VALUES = 1000  # of a channel, from which its extremes are taken to be known


def remove_dead_channels(graph: Graph, calibration: Calibration) -> tuple[Graph, Calibration, int]:
    """Zero weights around channels that no image brings to life, if they are in the way.

    A channel is dead where its ReLU never lets anything through. Its weights often are outliers, for nothing held
    them back in training, and one outlier spoils the scale that a whole layer's weights share. Those that are none
    stay: another image may bring them to life. Returned: the graph, the calibration as it was, how many channels.
    """
    graph, removed = graph.copy(), 0
    for layer in graph.weighted:
        if layer.low < 0:
            continue
        statistics = calibration.blobs[layer.output]
        dead = np.flatnonzero((statistics.channel_high <= 0) & (statistics.values >= ENOUGH_VALUES))
        if not len(dead):
            continue
        zeroed = [_zero_outputs(layer, dead)]
        zeroed += [_zero_inputs(reader, dead) for reader in find_readers(graph, layer.output) or ()]
        removed += len(set().union(*zeroed))
    return graph, calibration, removed


def absorb_biases(graph: Graph, calibration: Calibration) -> tuple[Graph, Calibration, int]:
    """Shift channels that are never clamped down to zero into the next biases.

    Returned: the graph, the calibration with samples in step (blobs are to be calibrated anew), how many channels.

    For a channel that stays above c > 0, relu(y) = relu(y - c) + c. The constant goes into the biases behind, and the
    activation needs less range. Where the readers pad, the border would see another constant: those are left alone.
    """
    graph, calibration, absorbed = graph.copy(), calibration.copy(), 0
    for layer in graph.weighted:
        statistics = calibration.blobs[layer.output]
        readers = find_readers(graph, layer.output)
        if layer.low != 0 or statistics.values < ENOUGH_VALUES or not readers:
            continue
        if any(pads(reader.layer) or _is_far(reader, layer) for reader in readers):
            continue
        capped = statistics.channel_high >= layer.high if layer.high < np.inf else np.zeros(len(layer.bias), bool)
        shift = np.where(capped, 0, np.maximum(statistics.channel_low, 0)).astype(np.float64)
        if not shift.any():
            continue
        absorbed += int((shift > 0).sum())
        layer.bias = (layer.bias - shift).astype(np.float32)
        for reader in readers:
            add_constants(reader, shift)
        samples = calibration.samples[layer.output]
        samples.values = samples.values - shift.astype(np.float32)
        samples.high = samples.high - shift
    return graph, calibration, absorbed


def _zero_outputs(layer: Layer, dead: np.ndarray) -> set[int]:
    """Returns which of the channels."""
    rows: np.ndarray = np.arange(layer.weight.size).reshape(layer.weight.shape)
    rows = (rows.swapaxes(0, 1) if layer.type == "ConvTranspose" else rows).reshape(len(layer.bias), -1)
    channels = dead[_in_the_way(layer.weight, rows[dead])]
    layer.weight, layer.bias = _zeroed(layer.weight, rows[channels]), _zeroed(layer.bias, channels)
    return set(channels.tolist())


def _zero_inputs(reader: Reader, dead: np.ndarray) -> set[int]:
    """Returns which of the channels."""
    channels = dead[_in_the_way(reader.layer.weight, reader.entries[dead])]
    reader.layer.weight = _zeroed(reader.layer.weight, reader.entries[channels])
    return set(channels.tolist())


def _in_the_way(weight: np.ndarray, entries: np.ndarray) -> np.ndarray:
    """Of channels with these weights [C, n] (flat indices) those that are outliers, where the other weights would be
    rounded better without: bool [C].

    Weights from quantization-aware training are not: they lie on the steps of the whole range.
    """
    flat = weight.ravel()
    others = np.delete(flat, entries.ravel())
    extent, own = weight_range(others), flat[entries]
    outside = ((own < extent.low) | (own > extent.high)).any(axis=1)
    needed = rounding_error(others, extent) < NEEDED_GAIN * rounding_error(others, weight_range(flat))
    return outside & needed


def _zeroed(array: np.ndarray, entries: np.ndarray) -> np.ndarray:
    flat = array.ravel().copy()
    flat[entries] = 0
    return flat.reshape(array.shape)


def add_constants(reader: Reader, values: np.ndarray) -> None:
    """Add to the reader's bias what constants [C] in its channels contribute."""
    weight = np.zeros(reader.layer.weight.size)
    flat = reader.layer.weight.astype(np.float64).ravel()
    weight[reader.entries] = flat[reader.entries] * values[:, None]
    summed = weight.reshape(reader.layer.weight.shape)
    axes = (0, 2, 3) if reader.layer.type == "ConvTranspose" else tuple(range(1, summed.ndim))
    reader.layer.bias = (reader.layer.bias + summed.sum(axis=axes)).astype(np.float32)


def pads(layer: Layer) -> bool:
    return layer.type == "ConvTranspose" or (layer.type == "Conv" and any(layer.window.pads)) or (
        layer.type == "Conv" and layer.window.legacy_pad != 0)  # fmt: skip


def _is_far(reader: Reader, layer: Layer) -> bool:
    """Whether something lies between: a pool may pad too."""
    return reader.layer.inputs[0] != layer.output
