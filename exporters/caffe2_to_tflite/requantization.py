"""LiteRT's arithmetic of quantized layers, and the scales with which it gives QNNPACK's bytes.

LiteRT's reference kernels multiply the int32 sum by a 31-bit multiplier, made of the quotient of the scales in double
precision, and round as gemmlowp does; QNNPACK has a 24-bit multiplier, made of the quotient in single precision, and
rounds otherwise on ties. Both are monotone functions of the sum, so they are the same one if their steps are. Scales
only describe bytes: among the float32 numbers beside a weight's scale, and beside the output's, there are some with
which the multiplier is QNNPACK's.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from caffe2_models import int8
from caffe2_models.requantization import Steps

SCALES_TRIED = 64  # float32 numbers on either side of a weight's scale
OUTPUT_SCALES_TRIED = 32  # of an output's
PROOFS_TRIED = 24  # pairs of them
FACTORS_TRIED = 64  # by how many ulps factors of float32 sums are too large
ADDED_SCALES_TRIED = 4
CLOSE_BITS = 10  # sums within 2^-10 of a tie decide; they are tried first


def litert_requantize(
    sums: np.ndarray, multiplier: float, zero_point: int, lowest: int = 0, highest: int = 255
) -> np.ndarray:
    """MultiplyByQuantizedMultiplier of the reference kernels, + zero_point, clamped: int64 sums to bytes, as int64."""
    fraction, exponent = np.frexp(multiplier)
    factor = int(np.floor(fraction * 2**31 + 0.5))
    if factor == 1 << 31:
        factor, exponent = factor // 2, exponent + 1
    if exponent < -31:
        factor, exponent = 0, 0
    products = (sums << max(exponent, 0)) * factor
    nudged = products + np.where(products >= 0, 1 << 30, 1 - (1 << 30))
    high = np.sign(nudged) * (np.abs(nudged) >> 31)  # a division that truncates
    shifted = int8.shift_rounding_away(high, max(-exponent, 0), high < 0)
    return np.clip(shifted + zero_point, lowest, highest)


@dataclass(frozen=True)
class AdditionScales:
    """What two bytes, less their zero points, are multiplied with in float32, and the output's scale."""

    factors: tuple[float, float]
    output: float
    exact: bool


@dataclass(frozen=True)
class Scales:
    """Of a layer's weight and output; exact: whether the reference kernels are proved to give QNNPACK's bytes."""

    weight: float
    output: float
    exact: bool


@lru_cache(maxsize=8192)
def find_scales(
    scale: float,
    zero_point: int,
    relu: bool,
    reach: tuple[int, int],
    scales: tuple[float, float, float],
    single: bool,
    pinned: bool,
) -> Scales:
    """For a layer whose sums go from reach[0] to reach[1].

    scale: QNNPACK's, from sums to bytes. scales: of input, weight and output. single: whether the kernel multiplies
    input and weight scale in float32 (uint8) or in float64 (int8). pinned: the output's scale must stay.
    """

    def requantize(sums: np.ndarray) -> np.ndarray:
        return int8.requantize(sums, np.float32(scale), zero_point, relu)

    steps = Steps(requantize, *reach, 1 / scale, zero_point)
    return _nearest_scales(steps, scale, zero_point if relu else 0, scales, single, pinned)


@lru_cache(maxsize=1024)
def find_average(
    area: int,
    zero_points: tuple[int, int],
    relu: bool,
    scales: tuple[float, float],
    x_scale: float,
    single: bool,
    pinned: bool,
) -> Scales:
    """Of weights of 1 with which a depthwise convolution averages windows of `area` pixels; see find_scales.

    scales: the net's, of input and output; x_scale: the input tensor's.
    """
    steps = average_steps(area, zero_points, relu, scales)
    lowest, declared = zero_points[1] if relu else 0, (x_scale, 1 / area, scales[1])
    return _nearest_scales(steps, 1 / steps.slope, lowest, declared, single, pinned)


def average_steps(area: int, zero_points: tuple[int, int], relu: bool, scales: tuple[float, float]) -> Steps:
    """QNNPACK's average as a function of the sum of x - zero_point."""

    def average(sums: np.ndarray) -> np.ndarray:
        return int8.average(sums, area, *scales, zero_points[1], relu)

    multiplier, shift = int8.average_multiplier(area, *scales)
    reach = -area * zero_points[0], area * (255 - zero_points[0])
    return Steps(average, *reach, 2.0**shift / multiplier, zero_points[1])


def averages_alike(area: int, zero_point: int, relu: bool, offset: int) -> bool:
    """Whether AVERAGE_POOL_2D, which divides the sum of bytes, gives QNNPACK's bytes at equal scales.

    offset: what the tensor's bytes are less than uint8 ones, 0 or 128.
    """
    steps = average_steps(area, (zero_point, zero_point), relu, (1.0, 1.0))

    def divide(sums: np.ndarray) -> np.ndarray:
        total = sums + area * (zero_point - offset)
        rounded = np.sign(total) * ((np.abs(total) + area // 2) // area)
        return np.clip(rounded + offset, zero_point if relu else 0, 255).astype(np.uint8)

    return steps.is_same(divide)


@lru_cache(maxsize=1024)
def find_mean(
    area: int, zero_points: tuple[int, int], relu: bool, scales: tuple[float, float], pinned: bool
) -> AdditionScales:
    """The factor with which MUL and QUANTIZE in float32 give QNNPACK's average of each sum of x - zero_point.

    Proved on all sums, for both of LiteRT's ways to quantize (see find_addition).
    """
    steps = average_steps(area, zero_points, relu, scales)
    sums = np.arange(steps.low, steps.high + 1)
    want, lowest = steps.function(sums), zero_points[1] if relu else 0
    for step, output in itertools.product(range(FACTORS_TRIED), _neighbours(np.float32(scales[1]), 0 if pinned else 2)):
        factor = np.float32(float(output) / steps.slope * (1 + 2.0**-24 * step))
        if all(
            np.array_equal(np.maximum(found, lowest), want)
            for found in quantized(factor * sums.astype(np.float32), output, zero_points[1])
        ):
            return AdditionScales((float(factor), 0.0), float(output), True)
    return AdditionScales((scales[1] / steps.slope, 0.0), scales[1], False)


def real_sum(factors: Sequence[np.float32], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return factors[0] * a.astype(np.float32) + factors[1] * b.astype(np.float32)


def quantized(real: np.ndarray, scale: np.float32, zero_point: int) -> tuple[np.ndarray, np.ndarray]:
    """Bytes of float32 numbers, as LiteRT's own kernels quantize them, and as XNNPACK does."""
    quotient = real / scale
    away = np.trunc(quotient.astype(np.float64) + np.copysign(0.5, quotient))
    even = np.rint(real * (np.float32(1) / scale))

    def clipped(steps: np.ndarray) -> np.ndarray:
        return np.clip(steps + zero_point, 0, 255).astype(np.uint8)

    return clipped(away), clipped(even)


def _nearest_scales(
    steps: Steps, wanted: float, lowest: int, scales: tuple[float, float, float], single: bool, pinned: bool
) -> Scales:
    """The scales beside these with which the multiplier comes nearest to the wanted one, and gives these steps."""
    x_scale, weight, output = map(np.float32, scales)
    weights = _neighbours(weight, SCALES_TRIED)
    outputs = _neighbours(output, 0 if pinned else OUTPUT_SCALES_TRIED)
    products = (x_scale * weights).astype(np.float64) if single else np.float64(x_scale) * weights.astype(np.float64)
    multipliers = products[:, None] / outputs.astype(np.float64)
    nearest = np.argsort(np.abs(multipliers - wanted), axis=None, kind="stable")[:PROOFS_TRIED]
    for row, column in zip(*np.unravel_index(nearest, multipliers.shape), strict=True):
        multiplier = float(multipliers[row, column])
        rounding = partial(litert_requantize, multiplier=multiplier, zero_point=steps.middle, lowest=lowest)
        if steps.is_same(rounding):
            return Scales(float(weights[row]), float(outputs[column]), True)
    return Scales(float(weight), float(output), False)


def _neighbours(scale: np.float32, count: int) -> np.ndarray:
    bits = int(np.float32(scale).view(np.int32)) + np.arange(-count, count + 1)
    return bits.astype(np.int32).view(np.float32)


@lru_cache(maxsize=1024)
def find_addition(
    multipliers: tuple[int, int, int], zero_points: tuple[int, int], zero_point: int, scale: float, pinned: bool
) -> AdditionScales:
    """Factors with which MUL, MUL, ADD and QUANTIZE in float32 give QNNPACK's bytes, proved on all pairs.

    For QUANTIZE that divides by the scale and rounds ties away from zero (LiteRT's own kernels), and, where factors are
    found for both, that multiplies by the reciprocal and rounds them to even (XNNPACK).
    """
    *factors, shift = multipliers
    every = np.arange(256)
    a, b = every[:, None] - zero_points[0], every - zero_points[1]
    sums = factors[0] * a + factors[1] * b
    want = int8.saturate(int8.shift_rounding_away(sums, shift, sums < 0), zero_point)
    remainder = np.abs((np.abs(sums) & ((1 << shift) - 1)) - (1 << shift - 1))
    close = np.nonzero(remainder < 1 << max(shift - CLOSE_BITS, 0))
    outputs = _neighbours(np.float32(scale), 0 if pinned else ADDED_SCALES_TRIED)
    for kernels, ulps, output in itertools.product((2, 1), range(FACTORS_TRIED), outputs):
        chosen = [np.float32(factor / (1 << shift) * float(output) * (1 + 2.0**-24 * ulps)) for factor in factors]
        if all(
            np.array_equal(found, wanted)
            for x, y, wanted in ((a[close[0], 0], b[close[1]], want[close]), (a, b, want))
            for found in quantized(real_sum(chosen, x, y), output, zero_point)[:kernels]
        ):
            return AdditionScales((float(chosen[0]), float(chosen[1])), float(output), True)
    plain = [factor / (1 << shift) * scale for factor in factors]
    return AdditionScales((plain[0], plain[1]), scale, False)
