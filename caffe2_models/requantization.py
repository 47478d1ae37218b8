"""Requantization in ONNX, exact: what one QuantizeLinear makes of an accumulator, proved to be what QNNPACK makes.

A requantization is a monotone function from integers to bytes, so its steps are all of it: the smallest integers
that give at least byte k. Any other monotone function that agrees with it at every step, and just before, is the
same function. QuantizeLinear divides by a float32 scale and rounds ties to even; QNNPACK multiplies in fixed point
and rounds ties away from zero. But scale, zero point and an offset of the accumulator may be chosen: the steps of

    QuantizeLinear(accumulator + offset, scale, zero_point)

are the digital line that passes between the given ones, and of the float32 scales beside the true one, with the 256
zero points, nearly always some do to the last bit. Where both signs count, the offset is away from zero (QNNPACK
rounds a half up above zero, down below). Where accumulators are so large that float32 hardly tells them apart,
a division before rounds them otherwise, and some divisor will do. What no choice fits is written in float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from caffe2_models import int8

EXACT_IN_FLOAT32 = 1 << 24  # integers up to this size are float32 numbers, and sums of them are exact

SCALES_TRIED = 16  # float32 numbers on either side of the true scale
PARTS_TRIED = [0.5 + sign * part / 10 for part in range(5) for sign in (1, -1)][1:]  # of what offsets may be
MOST_TRIED = 256  # pairs of scale and zero point, for each divisor
DIVISORS = [1 + i / 64 for i in range(64)]
FRACTION_BITS = 6  # of offsets, at most

# Of additions: what the scales are multiples of, and by how much they are too large.
UNITS = [1 + i / 32 for i in range(32)]
EXCESSES = [2.0**-bits for bits in range(24, 15, -1)]
CLOSE_BITS = 10  # sums within 2^-10 of a tie decide; they are tried first

ByteFunction = Callable[[np.ndarray], np.ndarray]  # int64 accumulators -> uint8, monotone


@dataclass(frozen=True, eq=False)
class Steps:
    """A monotone byte function of the integers low...high.

    slope: accumulators from one step to the next, on the average (1 / scale). middle: the byte of accumulator 0.
    """

    function: ByteFunction
    low: int
    high: int
    slope: float
    middle: int

    @cached_property
    def lowest(self) -> int:
        """The smallest byte."""
        return int(self.function(np.array([self.low], np.int64))[0])

    @cached_property
    def bytes(self) -> np.ndarray:
        """int64 [n]: those that begin at a step."""
        return np.arange(self.lowest + 1, int(self.function(np.array([self.high], np.int64))[0]) + 1)

    @cached_property
    def starts(self) -> np.ndarray:
        """int64 [n]: for each of `bytes` the smallest accumulator that gives it or more."""
        below, reached = np.full(self.bytes.shape, self.low), np.full(self.bytes.shape, self.high)
        while np.any(reached - below > 1):
            centre = (below + reached) >> 1
            enough = self.function(centre) >= self.bytes
            below, reached = np.where(enough, below, centre), np.where(enough, centre, reached)
        return reached

    def away(self, slope: float) -> Iterator[tuple[float, float]]:
        """Offsets (below zero, above zero) by which |accumulators| reach slope * (distance - 1/2) at each step.

        distance: how many bytes from the middle a step leads. Those in the middle of what is allowed come first.
        """
        above = self.bytes > self.middle
        distance = np.where(above, self.bytes - self.middle, self.middle - self.bytes + 1)
        missing = slope * (distance - 0.5) - np.where(above, self.starts, 1 - self.starts)
        sides = [missing[side] if side.any() else np.zeros(1) for side in (~above, above)]
        least = np.array([max(side.max(), 0.0) for side in sides])
        most = np.array([side.min() + 1 for side in sides])
        if np.all(least < most):
            for part in PARTS_TRIED:
                below_zero, above_zero = least + part * (most - least)
                yield float(below_zero), float(above_zero)

    @cached_property
    def _proof(self) -> tuple[np.ndarray, np.ndarray]:
        points = np.unique(np.concatenate([[self.low, self.high], self.starts - 1, self.starts]))
        return points, self.function(points)

    def is_same(self, other: ByteFunction) -> bool:
        """Whether another monotone function is this one: if it agrees at every step, just before, and at the ends."""
        points, want = self._proof
        return bool(np.array_equal(other(points), want))


@dataclass(frozen=True)
class Rounding:
    """QuantizeLinear((accumulator + offset) / divisor, scale, zero_point), not below lowest.

    Or with an offset away from zero, (below, above) it, of which +-1 has no more than 1.
    """

    scale: float
    zero_point: int
    offset: float = 0.0
    away: tuple[float, float] | None = None
    lowest: int = 0
    divisor: float = 1.0

    def __call__(self, accumulators: np.ndarray) -> np.ndarray:
        """The bytes of integers as ONNX defines them, in float32 arithmetic."""
        x = (accumulators + self.offset).astype(np.float32)
        if self.away is not None:
            below, above = np.float32(self.away[0]), np.float32(self.away[1])
            x = x + np.clip(x, -below, above)
        return np.clip(
            np.rint(x / np.float32(self.divisor) / np.float32(self.scale)) + self.zero_point, self.lowest, 255
        ).astype(np.uint8)

    def lower(self, graph, x: str) -> str:
        """The bytes of float32 accumulators to which the offset has been added."""
        if (
            self.away is not None
        ):  # of integers, Clip makes it with its sign; ONNX Runtime's Shrink takes thrice as long
            x = graph.add("Add", x, graph.clip(x, -self.away[0], self.away[1]))
        if self.divisor != 1:  # no Mul, which runtimes take into the weights of a layer before it
            x = graph.add("Div", x, graph.constant(np.float32(self.divisor)))
        return graph.at_least(graph.quantize(x, self.scale, self.zero_point), self.lowest)


@dataclass(frozen=True)
class WideRounding:
    """The same in float64: Round((accumulator + offset away from zero) * scale) + zero_point."""

    scale: float
    zero_point: int
    away: tuple[float, float]
    lowest: int
    offset: float = 0.0  # none is needed

    def __call__(self, accumulators: np.ndarray) -> np.ndarray:
        """The bytes of integers as ONNX defines them, in float64 arithmetic."""
        x = accumulators.astype(np.float64)
        x = x + np.clip(x, -self.away[0], self.away[1])
        return np.clip(np.rint(x * self.scale) + self.zero_point, self.lowest, 255).astype(np.uint8)

    def lower(self, graph, x: str) -> str:
        """The bytes of accumulators of any type that holds them."""

        def constant(value: float) -> str:
            return graph.constant(value, np.float64)

        x = graph.cast(x, np.float64)
        x = graph.add("Add", x, graph.add("Clip", x, constant(-self.away[0]), constant(self.away[1])))
        y = graph.add("Round", graph.add("Mul", x, constant(self.scale)))
        y = graph.add("Add", y, constant(self.zero_point))
        return graph.cast(graph.add("Clip", y, constant(self.lowest), constant(255)), np.uint8)


def find_rounding(steps: Steps, largest: int, exact: int = EXACT_IN_FLOAT32) -> Rounding | WideRounding:
    """The cheapest form that is proved to be these steps.

    largest bounds the absolute accumulators and the sums on the way to them. exact: up to where such sums are exact,
    with an offset among them: 2^24 in float32, 2^31 in int32. Raises ArithmeticError where nothing is proved; float64
    has always been enough.
    """
    for candidate in _candidates(steps, largest, exact):
        if steps.is_same(candidate):
            return candidate
    raise ArithmeticError(f"no rounding in float64 has the steps of {steps}")


def _candidates(steps: Steps, largest: int, exact: int) -> Iterator[Rounding | WideRounding]:
    """The cheapest first."""
    for divisor in DIVISORS:
        yield from _plain(steps, largest, exact, divisor)
        yield from _symmetric(steps, divisor)
    yield from _wide(steps)


def _plain(steps: Steps, largest: int, exact: int, divisor: float) -> Iterator[Rounding]:
    """QuantizeLinear alone: acc + offset >= scale * (byte - zero_point - 1/2) from each step on, and not before.

    Offsets that are farthest from crossing a step come first.
    """
    if largest > exact:
        return
    if not steps.bytes.size:
        yield Rounding(4.0 * (largest + 1), steps.lowest)
        return
    scales = _neighbours(steps.slope / divisor)[:, None]
    lines = scales * divisor * (steps.bytes - 0.5) - steps.starts
    shifts = scales * divisor * np.arange(256)  # [scales, zero points]
    least = lines.max(axis=1, keepdims=True) - shifts
    most = lines.min(axis=1, keepdims=True) + 1 - shifts
    centre = (least + most) / 2
    finest = FRACTION_BITS if exact == EXACT_IN_FLOAT32 else 0
    bits = np.minimum(np.floor(np.log2(exact / (largest + np.abs(centre) + 1))), finest)
    offsets = np.round(np.ldexp(centre, bits.astype(int))) / np.exp2(bits)
    margins = np.where(bits < 0, 0, np.minimum(offsets - least, most - offsets))
    rows, zero_points = np.nonzero(margins > 0)
    order = np.argsort(-margins[rows, zero_points], kind="stable")[:MOST_TRIED]
    for row, zero_point in zip(rows[order], zero_points[order], strict=True):
        offset = float(offsets[row, zero_point])
        yield Rounding(float(scales[row, 0]), int(zero_point), offset, lowest=steps.lowest, divisor=divisor)


def _symmetric(steps: Steps, divisor: float) -> Iterator[Rounding]:
    """With an offset away from zero: |acc| + away >= scale * (distance - 1/2) from each step on, and not before."""
    for scale in _neighbours(steps.slope / divisor):
        for away in steps.away(scale * divisor):
            yield Rounding(float(scale), steps.middle, away=away, lowest=steps.lowest, divisor=divisor)


def _wide(steps: Steps) -> Iterator[WideRounding]:
    for away in steps.away(steps.slope):
        yield WideRounding(1 / steps.slope, steps.middle, away, steps.lowest)


def _neighbours(slope: float) -> np.ndarray:
    """float64 [n]: the float32 numbers around one, the nearest first."""
    bits = np.float32(slope).view(np.int32)
    return (
        (bits + np.array(sorted(range(-SCALES_TRIED, SCALES_TRIED + 1), key=abs)))
        .astype(np.int32)
        .view(np.float32)
        .astype(np.float64)
    )


@dataclass(frozen=True)
class Addition:
    """Two bytes added as reals, a_scale * (a - a_zero_point) + b_scale * (b - b_zero_point), and quantized."""

    scales: tuple[float, float]
    zero_points: tuple[int, int]
    scale: float
    zero_point: int

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """The bytes as ONNX defines them, in float32 arithmetic."""
        x, y = (
            np.float32(scale) * (data.astype(np.float32) - np.float32(zero_point))
            for data, scale, zero_point in zip((a, b), self.scales, self.zero_points, strict=True)
        )
        return np.clip(np.rint((x + y) / np.float32(self.scale)) + self.zero_point, 0, 255).astype(np.uint8)

    def lower(self, graph, a, b) -> str:
        """Sum, not Add: runtimes make another operator of Add between DequantizeLinear and QuantizeLinear."""
        terms = zip((a, b), self.scales, self.zero_points, strict=True)
        return graph.quantize(
            graph.add("Sum", *(graph.dequantize_as(*term) for term in terms)), self.scale, self.zero_point
        )


@dataclass(frozen=True)
class WideAddition:
    """The same with int multipliers, exact in float64."""

    multipliers: tuple[int, int]
    zero_points: tuple[int, int]
    rounding: WideRounding

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        terms = zip((a, b), self.multipliers, self.zero_points, strict=True)
        x, y = (factor * (data.astype(np.int64) - zero_point) for data, factor, zero_point in terms)
        return self.rounding(x + y)

    def lower(self, graph, a, b) -> str:
        terms = [
            graph.add("Mul", graph.cast(graph.centred(x, zero_point), np.float64), graph.constant(factor, np.float64))
            for x, factor, zero_point in zip((a, b), self.multipliers, self.zero_points, strict=True)
        ]
        return self.rounding.lower(graph, graph.add("Add", *terms))


@lru_cache(maxsize=1024)
def find_addition(
    multipliers: tuple[int, int, int], zero_points: tuple[int, int], zero_point: int
) -> Addition | WideAddition:
    """The cheapest form, proved on all pairs of bytes, of int8.add with these multipliers and shift.

    Sums that lie on a tie, or beside it, must fall on QNNPACK's side of it: away from zero. Scales a little too large
    push them there; by how much, and what the three scales are multiples of, is tried.
    """
    *factors, shift = multipliers
    every = np.arange(256)
    a, b = every[:, None], every
    accumulators = factors[0] * (a - zero_points[0]) + factors[1] * (b - zero_points[1])
    want = int8.saturate(int8.shift_rounding_away(accumulators, shift, accumulators < 0), zero_point)
    remainder = np.abs((np.abs(accumulators) & ((1 << shift) - 1)) - (1 << shift - 1))
    close = np.nonzero(remainder < 1 << max(shift - CLOSE_BITS, 0))
    for unit in UNITS:
        for excess in EXCESSES:
            scales = [float(np.float32(factor / (1 << shift) * unit * (1 + excess))) for factor in factors]
            candidate = Addition((scales[0], scales[1]), zero_points, float(np.float32(unit)), zero_point)
            if np.array_equal(candidate(close[0], close[1]), want[close]) and np.array_equal(candidate(a, b), want):
                return candidate

    def requantize(sums: np.ndarray) -> np.ndarray:
        return int8.saturate(int8.shift_rounding_away(sums, shift, sums < 0), zero_point)

    steps = Steps(requantize, int(accumulators.min()), int(accumulators.max()), 2.0**shift, zero_point)
    rounding = next(form for form in _wide(steps) if steps.is_same(form))
    return WideAddition((factors[0], factors[1]), zero_points, rounding)
