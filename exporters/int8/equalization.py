"""Cross-layer equalization: factors for the channels between two layers that leave the float net as it is.

Multiply a layer's output channel c by t[c] > 0 and divide by it the weights that read it: the net computes
the same, for a ReLU commutes with t. But it quantizes otherwise: with t[c] = sqrt(range after / range
before) the channel fills as much of the weights' range on one side as on the other (Nagel et al. 2019,
data-free quantization).

A clamp elsewhere (ReLU6) does not commute with t. All channels share the value at which uint8 saturates, and it
stays; so a channel that comes near its clamp is left alone, and the others grow at most until they do. How near counts:
of a channel scaled up to what 100 images showed, others are clamped, and the float net is no longer what it was.

Equal ranges are a means, no end: weights from quantization-aware training lie on the steps of their own range and lose
by any other. So factors are taken only where they make the expected error smaller:

    before, of the weights that make the channel:  importance * power of their inputs * rounding error^2
    of the activation itself:                      importance * step^2 / 12
    after, of the weights that read it:            power of the channel * importance of outputs * rounding error^2
"""

import numpy as np

from exporters.int8.calibration import Calibration
from exporters.int8.channels import (
    Reader,
    entries_by_channel,
    error_weights,
    find_readers,
    importances,
    output_of_entries,
)
from exporters.int8.scales import STEPS, Quantization
from exporters.int8.weights import weight_range
from exporters.layers import Blob, Graph, Layer

SWEEPS = 5
MARGIN = 1.5  # between the largest value seen of a channel that is scaled, and its clamp: others are larger
NEEDED_GAIN = 0.9  # the error after, as a share of the error before, from which factors are worth taking


def equalize(graph: Graph, calibration: Calibration) -> tuple[Graph, Calibration, dict[Blob, np.ndarray]]:
    """Scale channels: the graph, what was recorded in step with it, output blob -> factors [O] of layers scaled."""
    graph, calibration = graph.copy(), calibration.copy()
    factors: dict[Blob, np.ndarray] = {}
    for _ in range(SWEEPS):
        known = importances(graph, calibration)
        before = len(factors), sum(np.log(f).std() for f in factors.values())
        for layer in graph.weighted:
            readers = find_readers(graph, layer.output) if layer.output in calibration.samples else None
            if not readers or layer.low > 0 or layer.high <= 0:
                continue
            between = _Between(graph, calibration, layer, readers, known)
            chosen = between.balancing_factors()
            if between.error(chosen) < NEEDED_GAIN * between.error(np.ones_like(chosen)):
                scale_channels(calibration, layer, readers, chosen)
                factors[layer.output] = factors.get(layer.output, 1.0) * chosen
        if before == (len(factors), sum(np.log(f).std() for f in factors.values())):
            break
    return graph, calibration, factors


def scale_channels(calibration: Calibration, layer: Layer, readers: list[Reader], factors: np.ndarray) -> None:
    """Multiply the layer's channels, divide the weights that read them, and keep in step what was recorded."""
    along = [1] * layer.weight.ndim
    along[1 if layer.type == "ConvTranspose" else 0] = -1
    layer.weight = (layer.weight * factors.reshape(along)).astype(np.float32)
    layer.bias = (layer.bias * factors).astype(np.float32)
    for reader in readers:
        weight = reader.layer.weight.astype(np.float64).ravel()
        weight[reader.entries] /= factors[:, None]
        reader.layer.weight = weight.reshape(reader.layer.weight.shape).astype(np.float32)
    samples = calibration.samples[layer.output]
    samples.values = samples.values * factors.astype(np.float32)
    samples.high = samples.high * factors
    seen = {layer.output: np.arange(len(factors))}
    for reader in readers:
        blob = reader.layer.inputs[0]
        pixels = len(entries_by_channel(reader.layer)) // calibration.blobs[blob].channels
        seen.setdefault(blob, reader.channels // pixels)
    for blob, channels in seen.items():
        calibration.blobs[blob].scale_channels(channels, factors)


class _Side:
    """The weights on one side of the channels, [C, n], and what an error of each weighs.

    A weight's squared error counts `power` of what it multiplies times `importance` of what it makes.
    """

    def __init__(self, layer: Layer, entries: np.ndarray, power: np.ndarray, importance: np.ndarray):
        self.layer, self.entries = layer, entries
        self.values = layer.weight.astype(np.float64).ravel()[entries]
        self.worth = power * importance

    @property
    def filling(self) -> np.ndarray:
        """The share of the layer's largest weight that each channel has, [C]."""
        return np.abs(self.values).max(axis=1) / max(np.abs(self.layer.weight).max(initial=0), 1e-30)

    def error(self, factors: np.ndarray) -> float:
        """Of rounding the weights times factors [C] to the nearest of the steps that cover them all."""
        weight = self.layer.weight.astype(np.float64).ravel()
        weight[self.entries] = scaled = self.values * factors[:, None]
        quantization = Quantization.of_range(weight_range(weight))
        rounded = quantization.dequantize(quantization.quantize(scaled))
        return float((self.worth * ((rounded - scaled) / factors[:, None]) ** 2).sum())


class _Between:
    """The channels between a layer and its readers."""

    def __init__(
        self,
        graph: Graph,
        calibration: Calibration,
        layer: Layer,
        readers: list[Reader],
        known: dict[Blob, np.ndarray],
    ):
        self.layer, self.importance = layer, known[layer.output]
        self.statistics = calibration.blobs[layer.output]
        entries: np.ndarray = np.arange(layer.weight.size).reshape(layer.weight.shape)
        entries = entries.swapaxes(0, 1) if layer.type == "ConvTranspose" else entries
        entries = entries.reshape(len(layer.bias), -1)
        power = _power_of_entries(layer, calibration.blobs[layer.inputs[0]].channel_power)
        self.before = _Side(layer, entries, power[entries], self.importance[:, None])
        power = self.statistics.channel_power[:, None]
        self.after = [
            _Side(reader.layer, reader.entries, power, _importance_of_entries(reader, known)) for reader in readers
        ]

    def balancing_factors(self) -> np.ndarray:
        """[C], with which each channel fills as much of the weights' range before as after, as far as clamps allow."""
        before = self.before.filling
        after = np.max([side.filling for side in self.after], axis=0)
        live = (before > 0) & (after > 0)
        factors = np.ones(len(before))
        factors[live] = np.sqrt(after[live] / before[live])
        for end, seen in (
            (self.layer.high, self.statistics.channel_high),
            (-self.layer.low, -self.statistics.channel_low),
        ):
            if 0 < end < np.inf:
                largest = np.maximum(seen, 1e-30)
                factors = np.minimum(factors, np.maximum(end / (MARGIN * largest), 1.0))
                factors[(largest >= end) | ((factors < 1) & (largest * MARGIN >= end))] = 1.0
        return factors

    def error(self, factors: np.ndarray) -> float:
        """Expected with these factors [C] and weights rounded to the nearest step."""
        high = min((self.statistics.channel_high * factors).max(), self.layer.high)
        step = (high - min((self.statistics.channel_low * factors).min(), 0)) / STEPS
        activation = (self.importance * (step / factors) ** 2).sum() / 12
        return self.before.error(factors) + activation + sum(side.error(1 / factors) for side in self.after)


def _importance_of_entries(reader: Reader, known: dict[Blob, np.ndarray]) -> np.ndarray:
    return error_weights(reader.layer, known)[output_of_entries(reader.layer).ravel()[reader.entries]]


def _power_of_entries(layer: Layer, power: np.ndarray) -> np.ndarray:
    """The mean square of what each weight multiplies, flat."""
    entries = entries_by_channel(layer)
    result = np.empty(layer.weight.size)
    result[entries] = np.repeat(power, len(entries) // len(power))[:, None]
    return result
