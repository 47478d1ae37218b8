"""Symmetric weights with a scale for each output channel, as runtimes other than QNNPACK take them."""

from dataclasses import dataclass

import numpy as np

from exporters.int8.weights import compensated, mean_errors, split_rows
from exporters.layers import Layer

MOST = 127  # steps to either side of zero
ZERO = 128  # of bytes that stand for them, where rounding asks for bytes
SHARES = np.linspace(1.0, 0.4, 25)  # of a channel's largest weight, that the search for the best scale tries


@dataclass(frozen=True)
class ChannelWeight:
    """int8 data in the shape of the layer's weight, float32 scales [O] along its axis: real = scale * data."""

    data: np.ndarray
    scales: np.ndarray
    axis: int

    @property
    def values(self) -> np.ndarray:
        """The real values, float32."""
        along = [1] * self.data.ndim
        along[self.axis] = -1
        return self.data.astype(np.float32) * self.scales.reshape(along)

    @property
    def scale(self) -> float:
        """The coarsest."""
        return float(self.scales.max())


@dataclass(frozen=True)
class RowSteps:
    """The steps of rows [..., R], each of its own scale; bytes are ZERO more than the steps."""

    scales: np.ndarray

    def quantize(self, x: np.ndarray) -> np.ndarray:
        return (np.clip(np.rint(x / self.scales), -MOST, MOST) + ZERO).astype(np.uint8)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        return (q.astype(np.float32) - ZERO) * self.scales.astype(np.float32)


def scales_of(layer: Layer, finest: np.ndarray, coarsest: float = np.inf) -> np.ndarray:
    """That each channel's largest weight asks for, [O]. finest, coarsest: what is allowed; weights beyond saturate."""
    largest = np.abs(layer.rows).max(axis=1)
    return np.clip(largest / MOST, finest, coarsest).astype(np.float32)


def round_channels(layer: Layer, finest: np.ndarray, coarsest: float = np.inf) -> ChannelWeight:
    """The weight's whole range, each value to the nearest step."""
    return round_to_scales(layer, scales_of(layer, finest, coarsest))


def round_to_scales(layer: Layer, scales: np.ndarray) -> ChannelWeight:
    """Each value to the nearest step of its channel, of scales [O]."""
    rows = RowSteps(scales[:, None]).quantize(layer.rows).astype(np.int16) - ZERO
    shape = layer.weight.swapaxes(0, layer.weight_axis).shape
    data = rows.astype(np.int8).reshape(shape).swapaxes(0, layer.weight_axis)
    return ChannelWeight(np.ascontiguousarray(data), scales, layer.weight_axis)


def best_scales(
    layer: Layer, covariance: np.ndarray, finest: np.ndarray, grid: float, coarsest: float = np.inf
) -> np.ndarray:
    """For each channel, of shrinking scales the one with the least expected error of nearest rounding, [O].

    covariance: [G * B, K / B, K / B], of the layer's inputs. grid: a scale that is tried too: the steps that weights
    from quantization-aware training lie on.
    """
    rows, blocks = split_rows(layer.rows, layer.group, covariance), len(covariance) // layer.group
    whole = scales_of(layer, finest, coarsest)
    tried = [np.full_like(whole, min(grid, coarsest)), *(whole * np.float32(share) for share in SHARES)]
    candidates = [np.maximum(scales, finest).astype(np.float32) for scales in tried]

    def errors(scales: np.ndarray) -> np.ndarray:
        steps = RowSteps(_split_scales(scales, layer.group, blocks)[..., None])
        difference = steps.dequantize(steps.quantize(rows)) - rows
        return mean_errors(difference, covariance).reshape(layer.group, blocks, -1).sum(axis=1).ravel()

    found = np.argmin([errors(scales) for scales in candidates], axis=0)
    return np.stack(candidates)[found, np.arange(len(found))]


def round_channels_with_compensation(layer: Layer, covariance: np.ndarray, scales: np.ndarray) -> ChannelWeight:
    """As `compensated`, each channel in steps of its own scale [O]."""
    blocks = len(covariance) // layer.group
    rounded = compensated(layer, covariance, RowSteps(_split_scales(scales, layer.group, blocks)))
    return ChannelWeight((rounded.astype(np.int16) - ZERO).astype(np.int8), scales, layer.weight_axis)


def _split_scales(scales: np.ndarray, group: int, blocks: int) -> np.ndarray:
    """[O] as [G * B, O / G], as `split_rows` splits the rows."""
    return np.repeat(scales.reshape(group, -1), blocks, axis=0)
