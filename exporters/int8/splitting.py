"""Dead channels put to use: each becomes a copy of a channel whose rounding costs most, and halves its steps.

A channel that its ReLU never lets through is a free place. Let n channels compute the same y, each shifted by another
part of a step: their mean is rounded to steps n times as fine, for where one copy rounds down, another rounds up. What
reads them shares its weights out among the copies. The net computes what it did, at no cost: it has no more channels.

The copies go from a layer that mixes channels through the depthwise ones behind it to the next that mix. (Outlier
channel splitting, Zhao et al. 2019, arXiv:1901.09504, halves weights or activations and adds channels; this one halves
the steps in place of the values.)
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporters.int8.calibration import Calibration
from exporters.int8.channels import Reader, find_readers, importances
from exporters.int8.corrections import ENOUGH_VALUES, add_constants, pads
from exporters.int8.scales import Quantization
from exporters.int8.weights import native_range
from exporters.layers import Blob, Graph, Layer

DEVIATIONS = 4.0  # below zero, by which a dead channel's values must stay on average: other images bring none to life


@dataclass(frozen=True)
class _Chain:
    """A layer that mixes channels, the depthwise ones that alone read it one after the other, and their readers."""

    layers: list[Layer]
    readers: list[Reader]

    @property
    def output(self) -> Blob:
        return self.layers[-1].output


def split_channels(
    graph: Graph, calibration: Calibration, steps: Mapping[Blob, float]
) -> tuple[Graph, Calibration, int]:
    """The graph, the calibration with samples in step, how many dead channels have become copies.

    steps: the scale of each blob.
    """
    graph, calibration, used = graph.copy(), calibration.copy(), 0
    known = importances(graph, calibration)
    for layer in graph.weighted:
        chain = _chain_from(graph, layer, calibration)
        free = _free_places(chain, calibration) if chain is not None else []
        if chain is None or not free:
            continue
        costs = np.sum([known[part.output] * steps[part.output] ** 2 for part in chain.layers], axis=0)
        copies = _allot(costs, free)
        constants = calibration.blobs[chain.output].channel_high.astype(np.float64)
        taken = np.zeros(len(costs), bool)
        taken[[place for places in copies.values() for place in places]] = True
        for reader in chain.readers:
            add_constants(reader, np.where(taken, constants, 0))
            _share_out(reader, copies)
        for channel, places in copies.items():
            _copy(chain, calibration, steps, [channel, *places])
        used += int(taken.sum())
    return graph, calibration, used


def _chain_from(graph: Graph, layer: Layer, calibration: Calibration) -> _Chain | None:
    """The chain that begins with this layer, where its channels can be copied."""
    if layer.type not in ("Conv", "FC") or layer.group > 1 or layer.low != 0:
        return None
    layers, readers = [layer], find_readers(graph, layer.output)
    while readers and len(readers) == 1 and _follows(readers[0].layer, layers[-1]):
        layers.append(readers[0].layer)
        readers = find_readers(graph, layers[-1].output)
    if not readers or any(reader.layer.group > 1 or reader.layer.type == "ConvTranspose" for reader in readers):
        return None
    return _Chain(layers, readers) if all(part.output in calibration.samples for part in layers) else None


def _follows(layer: Layer, before: Layer) -> bool:
    return layer.is_depthwise and layer.inputs[0] is before.output and len(layer.bias) == len(before.bias)


def _free_places(chain: _Chain, calibration: Calibration) -> list[int]:
    """Channels that carry nothing but a constant, which the readers' biases can take in."""
    dead = np.zeros(len(chain.layers[0].bias), bool)
    for layer in chain.layers:
        dead |= _never_lives(layer, calibration)
    end = calibration.blobs[chain.output]
    dead &= end.channel_high == end.channel_low
    if any(pads(reader.layer) or reader.layer.inputs[0] is not chain.output for reader in chain.readers):
        dead &= end.channel_high == 0
    return np.flatnonzero(dead).tolist()


def _never_lives(layer: Layer, calibration: Calibration) -> np.ndarray:
    """bool [C]: what its ReLU never let through, nor would if the values spread wider."""
    statistics, values = calibration.blobs[layer.output], calibration.samples[layer.output].values
    if layer.low != 0 or statistics.values < ENOUGH_VALUES:
        return np.zeros(len(layer.bias), bool)
    return (statistics.channel_high <= 0) & (values.mean(axis=0) + DEVIATIONS * values.std(axis=0) < 0)


def _allot(costs: np.ndarray, free: list[int]) -> dict[int, list[int]]:
    """Channel -> the free places that it gets, one after the other to whoever gains most: n copies cost 1 / n^2."""
    left = costs.astype(np.float64)
    left[free] = 0
    copies: dict[int, list[int]] = {}
    for place in free:
        counts = np.array([1 + len(copies.get(channel, ())) for channel in range(len(left))])
        gains = left * (1 / counts**2 - 1 / (counts + 1) ** 2)
        best = int(gains.argmax())
        if gains[best] > 0:
            copies.setdefault(best, []).append(place)
    return copies


def _share_out(reader: Reader, copies: Mapping[int, list[int]]) -> None:
    """Give each copy of a channel its part of the weights, all but the last in whole steps."""
    step = Quantization.of_range(native_range(reader.layer.weight)).scale
    weight = reader.layer.weight.astype(np.float64).ravel()
    entries = reader.entries
    for channel, places in copies.items():
        left = weight[entries[channel]]
        for number, place in enumerate(places):
            part = np.floor(left / (len(places) + 1 - number) / step + 0.5) * step
            weight[entries[place]] = part
            left = left - part
        weight[entries[channel]] = left
    reader.layer.weight = weight.reshape(reader.layer.weight.shape).astype(np.float32)


def _copy(chain: _Chain, calibration: Calibration, steps: Mapping[Blob, float], channels: list[int]) -> None:
    """Make all these channels what the first is, shifted by equal parts of a step about what it was."""
    parts = (np.arange(len(channels)) + 0.5) / len(channels) - 0.5
    incoming = np.zeros(len(channels))  # the shifts of what a layer reads
    for layer in chain.layers:
        shifts = parts * steps[layer.output]
        weight, bias = layer.weight.copy(), layer.bias.astype(np.float64)
        weight[channels] = weight[channels[0]]
        bias[channels] = bias[channels[0]] + shifts - incoming * float(weight[channels[0]].sum())
        layer.weight, layer.bias = weight, bias.astype(np.float32)
        samples = calibration.samples[layer.output]
        values, high = samples.values.copy(), samples.high.copy()
        values[:, channels] = values[:, channels[:1]] + shifts.astype(np.float32)
        high[channels] = high[channels[0]]
        samples.values, samples.high = values, high
        incoming = shifts
