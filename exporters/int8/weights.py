"""Quantized weights: one scale and zero point for a layer's whole weight, and the rounding of its values.

A row w of weights, quantized to v, errs by (w - v) H (w - v)' on average, H being the covariance of the inputs that it
multiplies (a shift of the mean is the bias's to mend). Ranges and roundings are chosen to keep that small.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from exporters.int8.scales import STEPS, Quantization, Range
from exporters.layers import Layer

DAMPING = 0.01  # of the mean variance, added to every variance: inputs that hardly vary still count
SHARES = np.linspace(1.0, 0.4, 25)  # of the weight's range, that the search for the best one tries
MOST_INPUTS = 2048  # of a row, whose errors are seen together: covariances grow with the square
OFF_LATTICE = 0.02  # of a step, by which weights that lie on steps may be off

COLUMNS = 64  # rounded before what they leave is spread over all that follow


@dataclass(frozen=True)
class QuantizedWeight:
    """data: uint8, in the shape of the layer's weight."""

    data: np.ndarray
    quantization: Quantization

    @property
    def values(self) -> np.ndarray:
        """The real values, float32."""
        return self.quantization.dequantize(self.data)

    @property
    def scale(self) -> float:
        return self.quantization.scale


def weight_range(weight: np.ndarray) -> Range:
    return Range(float(weight.min(initial=0)), float(weight.max(initial=0)))


def native_range(weight: np.ndarray) -> Range:
    """The range whose 256 steps the weights lie on, where they do (quantization-aware training); else all of theirs.

    The outermost steps may be without a weight: the range alone does not tell the step.
    """
    values = np.unique(weight.astype(np.float64))
    if not 2 < len(values) <= STEPS + 1:
        return weight_range(weight)
    step = float(np.diff(values).min())
    steps = np.rint(values / step)
    step = float(values @ steps / (steps @ steps))
    steps = np.rint(values / step)
    low, high = min(steps[0], 0.0), max(steps[-1], 0.0)
    if high - low > STEPS or np.abs(values / step - steps).max() > OFF_LATTICE:
        return weight_range(weight)
    return Range(low * step, (low + STEPS) * step)


def rounding_error(weight: np.ndarray, extent: Range) -> float:
    """Mean square, of each value to the nearest of the steps that cover the range."""
    quantization = Quantization.of_range(extent)
    return float(np.square(quantization.dequantize(quantization.quantize(weight)) - weight).mean())


def round_to_nearest(layer: Layer, finest: float) -> QuantizedWeight:
    """The weight's whole range, each value to the nearest step. finest: the smallest scale."""
    quantization = Quantization.of_range(weight_range(layer.weight)).at_least(finest)
    return QuantizedWeight(quantization.quantize(layer.weight), quantization)


def split_inputs(inputs: np.ndarray) -> np.ndarray:
    """[G, S, K] as [G * B, S, K / B], with the fewest blocks B that leave at most MOST_INPUTS in one."""
    groups, samples, size = inputs.shape
    blocks = next(count for count in range(1, size + 1) if size % count == 0 and size // count <= MOST_INPUTS)
    blocked = inputs.reshape(groups, samples, blocks, size // blocks).swapaxes(1, 2)
    return blocked.reshape(groups * blocks, samples, size // blocks)


def split_rows(rows: np.ndarray, group: int, covariance: np.ndarray) -> np.ndarray:
    """The rows [O, K] of a layer with this many groups as [G * B, O / G, K / B], as `split_inputs` splits them."""
    blocks, size = len(covariance) // group, covariance.shape[1]
    return rows.reshape(group, -1, blocks, size).swapaxes(1, 2).reshape(len(covariance), -1, size)


def join_rows(split: np.ndarray, group: int) -> np.ndarray:
    """What `split_rows` split, as [O, K]."""
    blocks, each, size = len(split) // group, *split.shape[1:]
    return split.reshape(group, blocks, each, size).swapaxes(1, 2).reshape(group * each, blocks * size)


def estimate_covariance(inputs: np.ndarray) -> np.ndarray:
    """Covariance [G, K, K], float64, of inputs [G, S, K]; always regular.

    The fewer the samples, the more it is drawn to its diagonal: what K inputs have in common shows in more than K
    samples only.
    """
    _, samples, size = inputs.shape
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    covariance = (centred.swapaxes(1, 2) @ centred).astype(np.float64) / samples
    variances = np.einsum("gkk->gk", covariance)
    covariance *= samples / (samples + size)
    ridge = DAMPING * variances.mean(axis=1, keepdims=True)
    diagonal = variances + np.where(ridge > 0, ridge, 1.0)
    np.einsum("gkk->gk", covariance)[...] = diagonal
    return covariance


def mean_errors(difference: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Mean squared error [G, R] of rows that are off by `difference` [G, R, K]."""
    return np.einsum("grk,grk->gr", difference @ covariance, difference)


def best_range(
    layer: Layer, covariance: np.ndarray, importance: np.ndarray, limit: Range, finest: float, coarsest: float
) -> Quantization:
    """Of shrinking ranges, and of `limit`, the steps with the least error of nearest rounding.

    importance: of each output channel's error, [O]. `limit` is tried too: the range on whose steps weights from
    quantization-aware training lie. finest, coarsest: the scale's limits; the weight's own range keeps
    to the latter.
    """
    rows = split_rows(layer.rows, layer.group, covariance)
    own = weight_range(layer.weight)
    extents = [limit, *(Range(own.low * share, own.high * share) for share in SHARES)]
    candidates = [Quantization.of_range(extent).at_least(finest) for extent in extents]
    if candidates[0].scale > coarsest:
        candidates = candidates[1:]
    weights = np.repeat(importance.reshape(layer.group, -1), len(covariance) // layer.group, axis=0)

    def error(quantization: Quantization) -> float:
        difference = quantization.dequantize(quantization.quantize(rows)) - rows
        return float((weights * mean_errors(difference, covariance)).sum())

    return min(candidates, key=error)


class Steps(Protocol):
    """What values are rounded to."""

    def quantize(self, x: np.ndarray) -> np.ndarray: ...

    def dequantize(self, q: np.ndarray) -> np.ndarray: ...


def round_with_compensation(layer: Layer, covariance: np.ndarray, quantization: Quantization) -> QuantizedWeight:
    """As `compensated`, all in the same steps."""
    return QuantizedWeight(compensated(layer, covariance, quantization), quantization)


def compensated(layer: Layer, covariance: np.ndarray, quantization: Steps) -> np.ndarray:
    """Round weight after weight, and spread each one's error over those that are still free: bytes, as the weight.

    Optimal brain quantization in the order and with the Cholesky factor of GPTQ (Frantar et al. 2022), for all groups
    [G, K, K] at once, COLUMNS by COLUMNS.
    """
    size = covariance.shape[1]
    order = np.argsort(-np.einsum("gkk->gk", covariance), axis=1)
    index = np.arange(len(covariance))[:, None]
    upper = _inverse_factor(covariance[index[:, :, None], order[:, :, None], order[:, None, :]])
    upper = upper.astype(np.float32)
    rows = split_rows(layer.rows, layer.group, covariance)
    left = np.take_along_axis(rows, order[:, None, :], axis=2).astype(np.float32)
    data = np.empty(rows.shape, np.uint8)
    for start in range(0, size, COLUMNS):
        stop = min(start + COLUMNS, size)
        errors = np.empty((*rows.shape[:2], stop - start), np.float32)
        for k in range(start, stop):
            column = left[:, :, k]
            data[:, :, k] = quantization.quantize(column)
            errors[:, :, k - start] = error = (column - quantization.dequantize(data[:, :, k])) / upper[:, k, k, None]
            left[:, :, k + 1 : stop] -= error[:, :, None] * upper[:, None, k, k + 1 : stop]
        left[:, :, stop:] -= errors @ upper[:, start:stop, stop:]
    back = np.argsort(order, axis=1)
    data = np.take_along_axis(data, back[:, None, :], axis=2)
    return join_rows(data, layer.group).reshape(layer.weight.shape)


def _inverse_factor(covariance: np.ndarray) -> np.ndarray:
    """Upper triangular U [G, K, K] with U'U = covariance^-1."""
    inverse = np.linalg.inv(covariance)
    return np.linalg.cholesky((inverse + inverse.swapaxes(1, 2)) / 2).swapaxes(1, 2)
