"""What calibration records of a blob, image by image, in memory that does not grow with their number."""

import math
from dataclasses import dataclass, field

import numpy as np

BINS = 4096  # of a histogram, on both sides of zero together
SAMPLED = 1 << 16  # values of one image that enter the histogram, evenly spaced: enough for tails of 1e-4
MOMENTUM = 0.9  # of the moving average of images' ranges


@dataclass
class Histogram:
    """Counts of values in BINS equal bins over -limit...limit; the limit is a power of two and doubles as needed."""

    limit: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: np.ndarray) -> None:
        largest = float(np.abs(values).max(initial=0))
        if largest > 0 and self.limit == 0:
            self.counts[BINS // 2] = self.counts.sum()  # until now all were zero
            self.counts[: BINS // 2] = self.counts[BINS // 2 + 1 :] = 0
            self.limit = 2.0 ** math.ceil(math.log2(largest))
        while largest > self.limit > 0:
            self._double()
        scale = BINS / 2 / self.limit if self.limit else 0.0
        bins = (values * np.float32(scale) + np.float32(BINS / 2)).astype(np.int32)
        self.counts += np.bincount(np.minimum(bins, BINS - 1).ravel(), minlength=BINS)

    def _double(self) -> None:
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[BINS // 4 : BINS // 4 + BINS // 2] = pairs
        self.limit *= 2

    @property
    def centres(self) -> np.ndarray:
        """The middle of every bin, float64."""
        return (np.arange(BINS) + 0.5 - BINS / 2) * (2 * self.limit / BINS)

    @property
    def edges(self) -> np.ndarray:
        return (np.arange(BINS + 1) - BINS / 2) * (2 * self.limit / BINS)


@dataclass
class Statistics:
    """Of one blob [N, C, ...] over all calibration images.

    low, high: extremes; average_low, average_high: moving averages of the images' extremes; channel_*: [C].
    """

    low: float = math.inf
    high: float = -math.inf
    average_low: float = 0.0
    average_high: float = 0.0
    images: int = 0
    histogram: Histogram = field(default_factory=Histogram)
    channel_low: np.ndarray | None = None
    channel_high: np.ndarray | None = None
    channel_sum: np.ndarray | None = None
    channel_squares: np.ndarray | None = None
    count: int = 0  # values of each channel

    def add(self, batch: np.ndarray) -> None:
        """Record a batch [N, C, ...], float32."""
        rows = batch.reshape(batch.shape[0], batch.shape[1] if batch.ndim > 1 else 1, -1)
        low, high = rows.min(axis=2), rows.max(axis=2)
        self._add_channels(rows, low.min(axis=0), high.max(axis=0))
        for image_low, image_high in zip(low.min(axis=1).tolist(), high.max(axis=1).tolist(), strict=True):
            self._add_range(image_low, image_high)
        step = max(rows[0].size // SAMPLED, 1)
        self.histogram.add(batch.reshape(-1)[::step])

    def _add_range(self, low: float, high: float) -> None:
        momentum = MOMENTUM if self.images else 0.0
        self.average_low = momentum * self.average_low + (1 - momentum) * low
        self.average_high = momentum * self.average_high + (1 - momentum) * high
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.images += 1

    def _add_channels(self, rows: np.ndarray, low: np.ndarray, high: np.ndarray) -> None:
        total = rows.sum(axis=(0, 2), dtype=np.float64)
        squares = np.einsum("ncp,ncp->c", rows, rows).astype(np.float64)
        if self.channel_sum is None:
            self.channel_low, self.channel_high = low, high
            self.channel_sum, self.channel_squares = total, squares
        else:
            self.channel_low = np.minimum(self.channel_low, low)
            self.channel_high = np.maximum(self.channel_high, high)
            self.channel_sum += total
            self.channel_squares += squares
        self.count += rows.shape[0] * rows.shape[2]

    @property
    def channel_mean(self) -> np.ndarray:
        return self.channel_sum / self.count

    @property
    def channel_power(self) -> np.ndarray:
        """Mean square of each channel."""
        return self.channel_squares / self.count
