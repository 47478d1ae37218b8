"""Which real values a blob's 256 steps shall cover, chosen from its statistics."""

from collections.abc import Callable

import numpy as np

from exporters.int8.scales import STEPS, Quantization, Range
from exporters.int8.statistics import Histogram, Statistics

SHARES = np.linspace(1.0, 0.2, 81)  # of either end of the extremes, that searches try
PIXEL_FACTORS = np.linspace(1.0, 1.02, 41)  # of the input's range, that its search tries
SCORE_SHARES = np.linspace(1.0, 0.1, 10)  # of the lowest score, that their search tries
LARGEST_LOSS = 0.005  # squared error of scores, as a share of their squares
NEEDED_GAIN = 0.98  # an error, as a share of the least before, from which a narrower or wider range is taken
KEPT = 0.9999  # of all values, by the percentile

Function = Callable[[np.ndarray], np.ndarray]  # of each value


def minimum_maximum(blob: Statistics) -> Range:
    """All that was seen."""
    return Range(blob.low, blob.high)


def moving_average(blob: Statistics) -> Range:
    """The images' extremes on average, later ones weighing more."""
    return Range(blob.average_low, blob.average_high)


def percentile(blob: Statistics) -> Range:
    """KEPT of all values, as much left out at either end."""
    histogram = blob.histogram
    cumulative = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    first = int(np.searchsorted(cumulative, (1 - KEPT) / 2, side="right"))
    last = int(np.searchsorted(cumulative, (1 + KEPT) / 2, side="left"))
    low, high = histogram.edges[first], histogram.edges[min(last, len(cumulative) - 1) + 1]
    return Range(max(low, blob.low), min(high, blob.high))


def mean_square_error(blob: Statistics, function: Function | None = None) -> Range:
    """The least expected squared error of rounding within and clipping outside, of the values or of a function of each.

    A swish hardly tells large negative values apart, and finer steps are worth more than their ends.
    """
    seen = blob.histogram.counts > 0
    values, counts = blob.histogram.centres[seen], blob.histogram.counts[seen]
    made = values if function is None else function(values)
    slopes = np.gradient(made, values) if function is not None and len(values) > 1 else np.ones(len(values))
    moments = np.zeros(
        (3, len(values) + 1)
    )  # numbers, sums and sums of squares of what is made of the values before each
    np.cumsum(counts * made ** np.arange(3)[:, None], axis=1, out=moments[:, 1:])
    steepness = np.concatenate([[0.0], np.cumsum(counts * slopes**2)])

    def distance(part: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The summed squared distance of what is made of values with these moments from that of ends of ranges."""
        end = end if function is None else function(end)
        return part[2] - 2 * end * part[1] + end**2 * part[0]

    def errors(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        first, last = np.searchsorted(values, low), np.searchsorted(values, high, "right")
        rounded = (steepness[last] - steepness[first]) * ((high - low) / STEPS) ** 2 / 12
        return rounded + distance(moments[:, first], low) + distance(moments[:, -1:] - moments[:, last], high)

    return _search(blob, errors)


def kullback_leibler(blob: Statistics) -> Range:
    """The steps that keep most of the histogram's information (as TensorRT calibrates)."""

    def divergences(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.array([_divergence(blob.histogram, Range(*ends)) for ends in np.broadcast(low, high)])

    return _search(blob, divergences)


METHODS: dict[str, Callable[[Statistics], Range]] = {
    "minmax": minimum_maximum,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mean_square_error,
    "kl": kullback_leibler,
}


def with_room(extent: Range, clamp: Range, images: int) -> Range:
    """The range made wider for what these few images did not show, but not beyond the clamp of the values.

    The share, one in the root of their number, is that by which an average of so many is uncertain.
    """
    factor = 1 + images**-0.5
    low, high = max(extent.low * factor, clamp.low), min(extent.high * factor, clamp.high)
    return extent | Range(low, high)


def of_pixels(values: np.ndarray) -> Range:
    """The range with the least squared error of these values [n], as they are.

    Pixels of 8 bits, normalized, lie on steps of their own; where zero is half way between two of them, as with a mean
    of 0.5, their own range puts each half way between two of the 256 steps.
    """
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    best, least = Range(low, high), np.inf
    for factor in PIXEL_FACTORS:
        quantization = Quantization.of_range(Range(low * factor, high * factor))
        error = quantization.dequantize(quantization.quantize(values)) - values
        if (mean_square := float(error @ error)) < NEEDED_GAIN * least:
            best, least = quantization.range, mean_square
    return best


def of_scores(scores: np.ndarray) -> Range:
    """The range with which probabilities diverge least from those of these scores [n, C], before a softmax.

    What is far below the largest score is no probable answer wherever it is clipped to, and leaves finer steps to
    those that compete. But the scores stay what they are, all in all: no range errs by more than LARGEST_LOSS.
    """
    whole = whole_of_scores(scores)
    best, least = whole, np.inf
    for share in SCORE_SHARES:
        quantization = Quantization.of_range(Range(whole.low * share, whole.high))
        rounded = quantization.dequantize(quantization.quantize(scores))
        divergence = divergence_of_scores(scores, rounded)
        loss = np.square(rounded - scores).sum() / np.square(scores).sum(initial=1e-30)
        if loss <= LARGEST_LOSS and divergence < NEEDED_GAIN * least:
            best, least = quantization.range, divergence
    return best


def whole_of_scores(scores: np.ndarray) -> Range:
    """All of these scores [n, C], with room for larger ones: two that are clipped to the high end would tie."""
    return Range(float(scores.min(initial=0)), float(scores.max(initial=0)) * (1 + len(scores) ** -0.5))


def divergence_of_scores(scores: np.ndarray, others: np.ndarray) -> float:
    """Kullback-Leibler, of the probabilities that scores [n, C] stand for from those of others; nats, summed."""
    exact = log_probabilities(scores)
    return float((np.exp(exact) * (exact - log_probabilities(others))).sum())


def log_probabilities(scores: np.ndarray) -> np.ndarray:
    """float64, of scores [N, C] before a softmax."""
    shifted = scores.astype(np.float64) - scores.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def _search(blob: Statistics, errors: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Range:
    """The best of the ranges that shrink from the extremes, one end after the other.

    errors: of ranges from low [n] to high [n], of which one may be [1].
    """
    lows, highs = min(blob.low, 0.0) * SHARES, max(blob.high, 0.0) * SHARES
    low, high = lows[:1], highs[:1]
    for _ in range(2):
        high = highs[[np.argmin(errors(low, highs))]] if high[0] > 0 else high
        low = lows[[np.argmin(errors(lows, high))]] if low[0] < 0 else low
    return Range(float(low[0]), float(high[0]))


def _divergence(histogram: Histogram, extent: Range) -> float:
    """Kullback-Leibler divergence of the histogram, clipped to the range, from its own form in 256 steps."""
    step = (extent.high - extent.low) / STEPS
    inside = (histogram.edges[1:] > extent.low) & (histogram.edges[:-1] < extent.high)
    if not step > 0 or not inside.any():
        return np.inf
    counts = histogram.counts.astype(np.float64)
    first, last = np.flatnonzero(inside)[[0, -1]]
    reference = np.where(inside, counts, 0.0)
    reference[first] += counts[:first].sum()
    reference[last] += counts[last + 1 :].sum()
    steps = np.clip(np.rint((histogram.centres - extent.low) / step), 0, STEPS).astype(np.int64)
    filled = inside & (counts > 0)
    totals = np.bincount(steps[inside], weights=counts[inside], minlength=STEPS + 1)
    members = np.bincount(steps[filled], minlength=STEPS + 1)
    model = np.where(filled, totals[steps] / np.maximum(members[steps], 1), 0.0)
    p, q = reference / reference.sum(), model / max(model.sum(), 1e-30)
    return float((p[p > 0] * np.log(p[p > 0] / np.maximum(q[p > 0], 1e-12))).sum())
