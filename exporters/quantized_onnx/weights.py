"""Weights that a file has as integers, in the form that QNNPACK takes: uint8, at one scale for a whole weight.

A weight of one scale keeps its integers. One with a scale for each channel is rounded anew, at the scale that errs
least; what that costs is its signal-to-noise ratio.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from exporters.int8.assembly import Weights
from exporters.int8.scales import Quantization, Range
from exporters.int8.weights import SHARES, QuantizedWeight, rounding_error, weight_range
from exporters.layers import Layer

EXACT = math.inf


@dataclass(frozen=True)
class Constant:
    """Integers of one scale and zero point, and the real values that they stand for, float32."""

    integers: np.ndarray
    scale: float
    zero_point: int
    values: np.ndarray


class Constants:
    """A file's quantized constants, found by their values: whatever moved them did not change these."""

    def __init__(self, constants: Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]):
        """constants: (integers, scales, zero points) of each."""
        self._by_size: dict[int, list[Constant]] = {}
        for integers, scale, zero_point in constants:
            if scale.size != 1 or zero_point.size != 1:
                continue
            steps = integers.astype(np.int64) - int(zero_point.reshape(()))
            values = (steps.astype(np.float32) * np.float32(scale.reshape(()))).ravel()
            found = Constant(integers, float(scale.reshape(())), int(zero_point.reshape(())), values)
            self._by_size.setdefault(integers.size, []).append(found)

    def weight(self, values: np.ndarray) -> QuantizedWeight | None:
        """The bytes of a weight, or None where the file has none of these values."""
        for found in self._by_size.get(values.size, []):
            offset = {np.dtype(np.uint8): 0, np.dtype(np.int8): 128}.get(found.integers.dtype)
            if offset is None:
                continue
            quantization = Quantization(found.scale, found.zero_point + offset)
            data = quantization.quantize(values)
            if np.array_equal(quantization.dequantize(data), values):
                return QuantizedWeight(data, quantization)
        return None

    def bias(self, values: np.ndarray) -> np.ndarray:
        """The values, float64, as exact as the file has them."""
        for found in self._by_size.get(values.size, []):
            if found.integers.dtype == np.int32 and np.array_equal(found.values, values):
                return (found.integers.ravel().astype(np.int64) - found.zero_point) * found.scale
        return values.astype(np.float64)


@dataclass(frozen=True)
class WeightCost:
    """What one scale for a layer's whole weight costs: signal over noise in dB, infinite where integers are kept."""

    layer: str
    snr: float

    @property
    def is_exact(self) -> bool:
        return self.snr == EXACT


def quantize_weights(layer: Layer, constants: Constants, finest: float) -> tuple[Weights, WeightCost]:
    """The layer's weights as bytes. finest: the smallest scale that QNNPACK takes."""
    weight, snr = constants.weight(layer.weight), EXACT
    if weight is None or weight.quantization.scale < finest:
        weight = least_error(layer.weight, finest)
        noise = float(np.square(weight.values - layer.weight, dtype=np.float64).sum())
        signal = float(np.square(layer.weight, dtype=np.float64).sum())
        snr = 10 * math.log10(signal / noise) if noise and signal else EXACT
    return Weights(weight, constants.bias(np.asarray(layer.bias))), WeightCost(layer.output.name, snr)


def least_error(weight: np.ndarray, finest: float) -> QuantizedWeight:
    """At the scale that errs least, in the mean square, if each value goes to the nearest step."""
    whole = weight_range(weight)
    extents = [Range(whole.low * share, whole.high * share) for share in SHARES]
    best = min(extents, key=lambda extent: rounding_error(weight, extent))
    quantization = Quantization.of_range(best).at_least(finest)
    return QuantizedWeight(quantization.quantize(weight), quantization)
