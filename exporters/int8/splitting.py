"""Dead channels put to use: each becomes a copy of a channel whose rounding costs most, and halves its steps.

A channel that its ReLU never lets through is a free place. Let n channels compute the same y, each shifted by another
part of a step: their mean is rounded to steps n times as fine, for where one copy rounds down, another rounds up. What
reads them shares its weights out among the copies. The net computes what it did, at no cost: it has no more channels.

The copies go from a layer that mixes channels through the depthwise ones behind it to the next that mix. (Outlier
channel splitting, Zhao et al. 2019, arXiv:1901.09504, halves weights or activations and adds channels; this one halves
the steps in place of the values.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporters.int8.calibration import Calibration
from exporters.int8.channels import Reader, find_readers, importances
from exporters.int8.corrections import ENOUGH_VALUES, add_constants, pads
from exporters.int8.scales import Quantization
from exporters.int8.weights import native_range
from exporters.layers import Blob, Graph, Layer

Copies = Mapping[int, list[int]]  # channel -> the places of its copies

DEVIATIONS = 4.0  # below zero, by which a dead channel's values must stay on average: other images bring none to life


@dataclass(frozen=True)
class Chain:
    """A layer that mixes channels, the depthwise ones that alone read it one after the other, and their readers."""

    layers: list[Layer]
    readers: list[Reader]

    @property
    def output(self) -> Blob:
        return self.layers[-1].output

    @property
    def channels(self) -> int:
        return len(self.layers[0].bias)

    def fill(self, copies: Copies, calibration: Calibration, steps: Mapping[Blob, Quantization]) -> None:
        """Make copies where they shall be; the readers' biases take in what was there, and their weights are shared."""
        taken = np.zeros(self.channels, bool)
        taken[[place for places in copies.values() for place in places]] = True
        constants = np.where(taken, calibration.blobs[self.output].channel_high.astype(np.float64), 0)
        for reader in self.readers:
            add_constants(reader, constants)
            _share_out(reader, copies)
        for channel, places in copies.items():
            _copy(self, calibration, steps, [channel, *places])


def split_channels(
    graph: Graph, calibration: Calibration, steps: Mapping[Blob, Quantization]
) -> tuple[Graph, Calibration, int]:
    """The graph, the calibration with samples in step, how many dead channels have become copies."""
    graph, calibration, used = graph.copy(), calibration.copy(), 0
    known = importances(graph, calibration)
    for chain in find_chains(graph, calibration):
        costs = np.sum([known[part.output] * steps[part.output].scale ** 2 for part in chain.layers], axis=0)
        copies = allot(costs, free_places(chain, calibration))
        chain.fill(copies, calibration, steps)
        used += sum(map(len, copies.values()))
    return graph, calibration, used


def find_chains(graph: Graph, calibration: Calibration) -> list[Chain]:
    """All of the graph, in order."""
    found = [_chain_from(graph, layer, calibration) for layer in graph.weighted]
    return [chain for chain in found if chain is not None]


def _chain_from(graph: Graph, layer: Layer, calibration: Calibration) -> Chain | None:
    """The chain that begins with this layer, where its channels can be copied."""
    if layer.type not in ("Conv", "FC") or layer.group > 1 or layer.low not in (0, -math.inf):
        return None
    layers, readers = [layer], find_readers(graph, layer.output)
    while readers and len(readers) == 1 and _follows(readers[0].layer, layers[-1]):
        layers.append(readers[0].layer)
        readers = find_readers(graph, layers[-1].output)
    if not readers or any(reader.layer.group > 1 or reader.layer.type == "ConvTranspose" for reader in readers):
        return None
    return Chain(layers, readers) if all(part.output in calibration.samples for part in layers) else None


def _follows(layer: Layer, before: Layer) -> bool:
    return layer.is_depthwise and layer.inputs[0] is before.output and len(layer.bias) == len(before.bias)


def free_places(chain: Chain, calibration: Calibration) -> list[int]:
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


def allot(costs: np.ndarray, free: list[int]) -> dict[int, list[int]]:
    """Channel -> the free places that it gets, one after the other to whoever gains most.

    costs: of each channel's rounding, [C].
    """
    left = costs.astype(np.float64)
    left[free] = 0
    copies: dict[int, list[int]] = {}
    for place in free:
        gains = gains_of_copies(left, np.array([1 + len(copies.get(channel, ())) for channel in range(len(left))]))
        best = int(gains.argmax())
        if gains[best] > 0:
            copies.setdefault(best, []).append(place)
    return copies


def gains_of_copies(costs: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """What one place more of each channel gains, [C]: n copies cost 1 / n^2. counts: places that it has."""
    return costs * (1 / counts**2 - 1 / (counts + 1) ** 2)


def _share_out(reader: Reader, copies: Copies) -> None:
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


def _copy(chain: Chain, calibration: Calibration, steps: Mapping[Blob, Quantization], channels: list[int]) -> None:
    """Make all these channels what the first is, shifted by equal parts of a step about what it was."""
    parts = (np.arange(len(channels)) + 0.5) / len(channels) - 0.5
    incoming = np.zeros(len(channels))  # the shifts of what a layer reads
    for layer in chain.layers:
        shifts = parts * steps[layer.output].scale
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
