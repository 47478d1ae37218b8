"""Quantized weights: one scale and zero point for a layer's whole weight."""

from dataclasses import dataclass

import numpy as np

from exporters.int8.graph import Layer
from exporters.int8.scales import MAX_BIAS, Quantization, Range


@dataclass(frozen=True)
class QuantizedWeight:
    """data: uint8, in the shape of the layer's weight."""

    data: np.ndarray
    quantization: Quantization

    @property
    def values(self) -> np.ndarray:
        """The real values, float32."""
        return self.quantization.dequantize(self.data)


def smallest_scale(layer: Layer, input_scale: float) -> float:
    """The weight scale below which the layer's bias would leave int32."""
    return float(np.abs(layer.bias).max(initial=0)) / (input_scale * MAX_BIAS)


def weight_quantization(layer: Layer, extent: Range, input_scale: float) -> Quantization:
    """Steps that cover a range, no finer than the bias allows."""
    return Quantization.of_range(extent).at_least(smallest_scale(layer, input_scale))


def round_to_nearest(layer: Layer, input_scale: float) -> QuantizedWeight:
    """The weight over its whole range, each value to the nearest step."""
    extent = Range(float(layer.weight.min(initial=0)), float(layer.weight.max(initial=0)))
    quantization = weight_quantization(layer, extent, input_scale)
    return QuantizedWeight(quantization.quantize(layer.weight), quantization)
