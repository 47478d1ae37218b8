"""Which real values a blob's 256 steps shall cover, chosen from its statistics."""

from collections.abc import Callable

import numpy as np

from exporters.int8.scales import STEPS, Range
from exporters.int8.statistics import Histogram, Statistics

SHARES = np.linspace(1.0, 0.2, 81)  # of either end of the extremes, that searches try
KEPT = 0.9999  # of all values, by the percentile


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


def mean_square_error(blob: Statistics) -> Range:
    """The least expected squared error of rounding within and clipping outside."""
    seen = blob.histogram.counts > 0
    values, counts = blob.histogram.centres[seen], blob.histogram.counts[seen]

    def error(extent: Range) -> float:
        outside = np.maximum(values - extent.high, 0) + np.maximum(extent.low - values, 0)
        step = (extent.high - extent.low) / STEPS
        return counts[outside == 0].sum() * step**2 / 12 + (counts * outside**2).sum()

    return _search(blob, error)


def kullback_leibler(blob: Statistics) -> Range:
    """The steps that keep most of the histogram's information (as TensorRT calibrates)."""
    return _search(blob, lambda extent: _divergence(blob.histogram, extent))


METHODS: dict[str, Callable[[Statistics], Range]] = {
    "minmax": minimum_maximum,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mean_square_error,
    "kl": kullback_leibler,
}


def _search(blob: Statistics, error: Callable[[Range], float]) -> Range:
    """The best of the ranges that shrink from the extremes, one end after the other."""
    low, high = min(blob.low, 0.0), max(blob.high, 0.0)
    best = Range(low, high)
    for _ in range(2):
        best = min([Range(best.low, high * share) for share in SHARES], key=error) if high > 0 else best
        best = min([Range(low * share, best.high) for share in SHARES], key=error) if low < 0 else best
    return best


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
