"""The int8 arithmetic of Caffe2 with QNNPACK, exact to the last bit.

A quantized tensor is uint8 data with a float32 scale and a zero point; real = scale * (data - zero_point).
Accumulators are int32 values held in any integer dtype wide enough. Formulas follow QNNPACK
(src/qnnpack/requantization.h, src/requantization/q31-ssse3.c, src/add.c, src/average-pooling.c,
src/sigmoid.c, src/leaky-relu.c, src/softargmax.c) and Caffe2's quantized operators
(caffe2/operators/quantized); all were checked against Caffe2 1.8.1.
"""

import math

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.libm import expf

MIN_REQUANTIZATION_SCALE = 2.0**-32
SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)


def check_quantization(scale: float, zero_point: int) -> None:
    """Raises ModelError for a scale that is no positive normal float32, or a zero point outside uint8."""
    if not SMALLEST_NORMAL <= scale < math.inf:
        raise ModelError(f"a scale of {scale:.6g}; it must be positive and finite")
    if not 0 <= zero_point <= 255:
        raise ModelError(f"a zero point of {zero_point}; it must lie in 0...255")


def float32_bits(value: float | np.floating) -> int:
    """The bit pattern of a float32."""
    return int(np.float32(value).view(np.uint32))


def requantization_scale(x_scale: float, w_scale: float, y_scale: float) -> np.float32:
    """Scale from an accumulator to the output, rounded to float32 as QNNPACK rounds it.

    Raises ModelError outside [2^-32, 1), where QNNPACK refuses to make the operator (at 1 or more) or is not
    meant to work (below).
    """
    with np.errstate(all="ignore"):
        scale = np.float32(np.float32(x_scale) * np.float32(w_scale)) / np.float32(y_scale)
    if not MIN_REQUANTIZATION_SCALE <= scale < 1:
        raise ModelError(
            f"input scale {x_scale:.6g} * weight scale {w_scale:.6g} / output scale {y_scale:.6g} "
            f"= {scale:.6g} is outside [2^-32, 1), which QNNPACK refuses"
        )
    return scale


def saturate(y: np.ndarray, zero_point: int, relu: bool = False) -> np.ndarray:
    """y + zero_point clipped to uint8; with relu nothing falls below zero_point (the real zero)."""
    return np.clip(y + zero_point, zero_point if relu else 0, 255).astype(np.uint8)


def shift_rounding_away(x: np.ndarray, shift: int, negative: np.ndarray) -> np.ndarray:
    """x / 2^shift to the nearest integer, ties away from zero; `negative` marks negative numbers."""
    mask = (1 << shift) - 1
    remainder = (x & mask) - negative
    return (x >> shift) + (remainder > (mask >> 1))


def requantize(acc: np.ndarray, scale: np.float32, zero_point: int, relu: bool = False) -> np.ndarray:
    """Accumulators to uint8: a Q31 multiplication, then a rounding shift (convolution, fully connected)."""
    bits = float32_bits(scale)
    multiplier = ((bits & 0x7FFFFF) | 0x800000) << 7
    shift = 127 + 31 - 32 - (bits >> 23)
    acc = acc.astype(np.int64)
    product = (acc * multiplier + (1 << 30)) >> 31
    return saturate(shift_rounding_away(product, shift, acc < 0), zero_point, relu)


def check_ratio(x_scale: float, y_scale: float, lowest_exponent: int) -> np.float32:
    """x_scale / y_scale in float32; ModelError outside [2^lowest_exponent, 2^8), where QNNPACK refuses."""
    with np.errstate(all="ignore"):
        ratio = np.float32(x_scale) / np.float32(y_scale)
    if not 2.0**lowest_exponent <= ratio < 2.0**8:
        raise ModelError(
            f"input to output scale ratio {ratio:.6g} is outside [2^{lowest_exponent}, 2^8), which QNNPACK refuses"
        )
    return ratio


def add_multipliers(a_scale: float, b_scale: float, y_scale: float) -> tuple[int, int, int]:
    """(multiplier of a, multiplier of b, shift) of a quantized addition.

    Raises ModelError where a ratio of input to output scale is outside [2^-14, 2^8): QNNPACK refuses.
    """
    a, b = check_ratio(a_scale, y_scale, -14), check_ratio(b_scale, y_scale, -14)
    shift = 21 - ((float32_bits(max(a, b)) >> 23) - 127)
    power = np.float32(2.0**shift)
    return int(np.rint(a * power)), int(np.rint(b * power)), shift


def add(a, a_scale, a_zero_point, b, b_scale, b_zero_point, y_scale, y_zero_point, relu=False) -> np.ndarray:
    """Sum of two uint8 tensors of one shape, requantized."""
    a_multiplier, b_multiplier, shift = add_multipliers(a_scale, b_scale, y_scale)
    acc = a_multiplier * (a.astype(np.int64) - a_zero_point)
    acc += b_multiplier * (b.astype(np.int64) - b_zero_point)
    return saturate(shift_rounding_away(acc, shift, acc < 0), y_zero_point, relu)


def check_average_ratio(x_scale: float, y_scale: float) -> None:
    """Raises ModelError where x_scale / y_scale is outside [2^-8, 2^8): QNNPACK refuses to average."""
    check_ratio(x_scale, y_scale, -8)


def average_multiplier(area: int, x_scale: float, y_scale: float) -> tuple[int, int]:
    """(multiplier, shift) from a window's sum to its mean."""
    bits = float32_bits(np.float32(x_scale) / np.float32(np.float32(y_scale) * np.float32(area)))
    return (bits & 0x7FFFFF) | 0x800000, 127 + 23 - (bits >> 23)


def average(
    acc: np.ndarray, area: int, x_scale: float, y_scale: float, y_zero_point: int, relu: bool = False
) -> np.ndarray:
    """Window sums of (x - x_zero_point), `area` elements each, to uint8 means."""
    multiplier, shift = average_multiplier(area, x_scale, y_scale)
    acc = acc.astype(np.int64)
    mean = (acc * multiplier - (acc < 0) + (1 << (shift - 1))) >> shift
    return saturate(mean, y_zero_point, relu)


def quantize(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """float32 to uint8, ties to even.

    What is no number, or beyond int32 when divided by the scale, becomes 0: Caffe2 on x86 converts it to the
    smallest int32.
    """
    steps = np.rint(x.astype(np.float32) / np.float32(scale))
    steps = np.where(np.abs(steps) < np.float32(2**31), steps, np.float32(-(2**31)))
    return np.clip(steps + np.float32(zero_point), 0, 255).astype(np.uint8)


def dequantize(q: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """uint8 (or int32) to float32."""
    return np.float32(scale) * (q.astype(np.int32) - np.int32(zero_point)).astype(np.float32)


def sigmoid_table(x_scale: float, x_zero_point: int) -> np.ndarray:
    """uint8[256]: Int8Sigmoid of every input byte; its output has scale 1/256 and zero point 0."""
    x = np.float32(x_scale) * (np.arange(256) - x_zero_point).astype(np.float32)
    return np.clip(np.rint(np.float32(256) / (np.float32(1) + expf(-x))), 0, 255).astype(np.uint8)


def leaky_relu_table(x_scale, x_zero_point: int, y_scale, y_zero_point: int, alpha: float) -> np.ndarray:
    """uint8[256]: Int8LeakyRelu of every input byte.

    Raises ModelError where x_scale / y_scale is outside [2^-8, 2^8): QNNPACK refuses.
    """
    x = check_ratio(x_scale, y_scale, -8) * (np.arange(256) - x_zero_point).astype(np.float32)
    y = np.where(x < 0, x * np.float32(alpha), x)
    return np.clip(np.rint(y) + y_zero_point, 0, 255).astype(np.uint8)


def softmax_table(x_scale: float, channels: int) -> np.ndarray:
    """int64[256]: e to the power of how far an input lies below the largest (entry 255), in fixed point."""
    largest, scale = min(0xFFFFFFFF / channels, 8388607.0), float(np.float32(x_scale))
    return np.array([round(largest * math.exp((i - 255) * scale)) for i in range(256)], np.int64)


def softmax(x: np.ndarray, x_scale: float) -> np.ndarray:
    """uint8 softmax over the last axis; the output has scale 1/256 and zero point 0.

    The sum is uint32 and wraps: in a long row of equal inputs it may pass 2^32.
    """
    table = softmax_table(x_scale, x.shape[-1])
    values = table[x.astype(np.int64) + (255 - x.max(axis=-1, keepdims=True).astype(np.int64))]
    total = np.maximum(values.sum(axis=-1, keepdims=True) & 0xFFFFFFFF, 1)
    return np.minimum((256 * values + (total >> 1)) // total, 255).astype(np.uint8)


def gemmlowp_multiplier(real: float) -> tuple[int, int]:
    """(multiplier, shift) such that real = multiplier / 2^(31 + shift) (caffe2/operators/quantized/int8_utils.h).

    Raises ModelError outside (0, 1), where Caffe2 aborts.
    """
    if not 0 < real < 1:
        raise ModelError(f"a multiplier of {real:.6g} from input to output, which must lie between 0 and 1")
    fraction, exponent = math.frexp(real)
    multiplier, shift = int(np.rint(np.float32(fraction * 2.0**31))), -exponent  # Caffe2 rounds as float32
    return (multiplier // 2, shift - 1) if multiplier == 1 << 31 else (multiplier, shift)


def multiply_gemmlowp(acc: np.ndarray, multiplier: int, shift: int) -> np.ndarray:
    """int32 accumulators times multiplier / 2^(31 + shift), rounded twice, ties away from zero."""
    product = acc.astype(np.int64) * multiplier
    nudged = product + np.where(product >= 0, 1 << 30, 1 - (1 << 30))
    high = np.where(nudged >= 0, nudged >> 31, -(-nudged >> 31))
    return shift_rounding_away(high, min(shift, 62), high < 0)
