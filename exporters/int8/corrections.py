"""Changes of the float graph that leave what it computes, at least on the calibration images, as it is."""

import numpy as np

from exporters.int8.calibration import Calibration
from exporters.int8.channels import Reader, find_readers
from exporters.int8.graph import Graph, Layer

ENOUGH_VALUES = 1000  # of a channel, from which its extremes are taken to be known


def remove_dead_channels(graph: Graph, calibration: Calibration) -> int:
    """Zero the weights around channels that no image brings to life; returns how many channels.

    A channel is dead where its ReLU never lets anything through. Its weights often are outliers, for nothing held
    them back in training, and one outlier spoils the scale that a whole layer's weights share. A depthwise filter on
    a dead channel makes a constant, and is zeroed too.
    """
    removed = 0
    for layer in graph.weighted:
        if layer.low < 0:
            continue
        statistics = calibration.blobs[layer.output]
        dead = np.flatnonzero((statistics.channel_high <= 0) & (statistics.values >= ENOUGH_VALUES))
        readers = find_readers(graph, layer.output)
        if not len(dead):
            continue
        removed += len(dead)
        _zero_outputs(layer, dead)
        for reader in readers or ():
            _zero_inputs(reader, dead)
    return removed


def absorb_biases(graph: Graph, calibration: Calibration) -> int:
    """Shift channels that are never clamped down to zero into the next biases; returns how many channels.

    For a channel that stays above c > 0, relu(y) = relu(y - c) + c. The constant goes into the biases behind, and the
    activation needs less range. Where the readers pad, the border would see another constant: those are left alone.
    """
    absorbed = 0
    for layer in graph.weighted:
        statistics = calibration.blobs[layer.output]
        readers = find_readers(graph, layer.output)
        if layer.low != 0 or not readers or any(_pads(reader.layer) or _is_far(reader, layer) for reader in readers):
            continue
        capped = statistics.channel_high >= layer.high if layer.high < np.inf else np.zeros(len(layer.bias), bool)
        shift = np.where(capped, 0, np.maximum(statistics.channel_low, 0)).astype(np.float64)
        if not shift.any():
            continue
        absorbed += int((shift > 0).sum())
        layer.bias = (layer.bias - shift).astype(np.float32)
        for reader in readers:
            _add_constant(reader, shift)
        samples = calibration.samples[layer.output]
        samples.values = samples.values - shift.astype(np.float32)
        samples.high = samples.high - shift
    return absorbed


def _zero_outputs(layer: Layer, channels: np.ndarray) -> None:
    layer.weight, layer.bias = layer.weight.copy(), layer.bias.copy()
    (layer.weight.swapaxes(0, 1) if layer.type == "ConvTranspose" else layer.weight)[channels] = 0
    layer.bias[channels] = 0


def _zero_inputs(reader: Reader, channels: np.ndarray) -> None:
    weight = reader.layer.weight.copy().ravel()
    weight[reader.entries[channels]] = 0
    reader.layer.weight = weight.reshape(reader.layer.weight.shape)


def _add_constant(reader: Reader, values: np.ndarray) -> None:
    """Add to the reader's bias what constants [C] in its channels contribute."""
    weight = np.zeros(reader.layer.weight.size)
    flat = reader.layer.weight.astype(np.float64).ravel()
    weight[reader.entries] = flat[reader.entries] * values[:, None]
    summed = weight.reshape(reader.layer.weight.shape)
    axes = (0, 2, 3) if reader.layer.type == "ConvTranspose" else tuple(range(1, summed.ndim))
    reader.layer.bias = (reader.layer.bias + summed.sum(axis=axes)).astype(np.float32)


def _pads(layer: Layer) -> bool:
    return layer.type == "ConvTranspose" or (layer.type == "Conv" and any(layer.operator.window.pads)) or (
        layer.type == "Conv" and layer.operator.window.legacy_pad != 0)  # fmt: skip


def _is_far(reader: Reader, layer: Layer) -> bool:
    """Whether something lies between: a pool may pad too."""
    return reader.layer.inputs[0] != layer.output
