"""What calibration records of a blob, image by image, in memory that does not grow with their number."""

import copy
import dataclasses
import math
from dataclasses import dataclass, field

import numpy as np

BINS = 4096  # of a histogram, on both sides of zero together
SAMPLED = 1 << 16  # values of one image that enter histogram and moments, evenly spaced
SMALLEST_LIMIT = 2.0**-100  # of a histogram
MOMENTUM = 0.9  # of the moving average of the images' extremes


@dataclass
class Histogram:
    """Counts of values in BINS equal bins over -limit...limit; the limit is a power of two, and doubles as needed."""

    limit: float = 0.0
    counts: np.ndarray = field(default_factory=lambda: np.zeros(BINS, np.int64))

    def add(self, values: np.ndarray) -> None:
        """Count float32 values of any shape."""
        largest = float(np.abs(values).max(initial=0))
        if self.limit == 0:
            self.limit = 2.0 ** math.ceil(math.log2(max(largest, SMALLEST_LIMIT)))
        while largest > self.limit:
            self._double()
        scale = np.float32(BINS / 2 / self.limit)
        bins = (values * scale + np.float32(BINS / 2)).astype(np.int32)
        self.counts += np.bincount(np.minimum(bins, BINS - 1).ravel(), minlength=BINS)

    def _double(self) -> None:
        pairs = self.counts.reshape(-1, 2).sum(axis=1)
        self.counts = np.zeros(BINS, np.int64)
        self.counts[BINS // 4 : BINS * 3 // 4] = pairs
        self.limit *= 2

    @property
    def edges(self) -> np.ndarray:
        """The bins' ends, float64 [BINS + 1]."""
        return np.linspace(-self.limit, self.limit, BINS + 1)

    @property
    def centres(self) -> np.ndarray:
        """The bins' middles, float64 [BINS]."""
        return (self.edges[1:] + self.edges[:-1]) / 2


@dataclass
class Statistics:
    """Of one blob [N, C, ...] over all calibration images.

    low, high: extremes; average_low, average_high: moving averages of the images' extremes; channel_low,
    channel_high: extremes of each channel; channel_power: its mean square.
    """

    channels: int
    average_low: float = 0.0
    average_high: float = 0.0
    images: int = 0
    values: int = 0  # seen of each channel
    histogram: Histogram = field(default_factory=Histogram)

    def __post_init__(self):
        self.channel_low = np.full(self.channels, np.inf, np.float32)
        self.channel_high = np.full(self.channels, -np.inf, np.float32)
        self._squares = np.zeros(self.channels)
        self._count = 0

    def add(self, batch: np.ndarray) -> None:
        """Record a batch [N, C, ...], float32."""
        rows = batch.reshape(batch.shape[0], self.channels, -1)
        low, high = rows.min(axis=2), rows.max(axis=2)
        self.values += rows.shape[0] * rows.shape[2]
        self.channel_low = np.minimum(self.channel_low, low.min(axis=0))
        self.channel_high = np.maximum(self.channel_high, high.max(axis=0))
        for image_low, image_high in zip(low.min(axis=1).tolist(), high.max(axis=1).tolist(), strict=True):
            momentum = MOMENTUM if self.images else 0.0
            self.average_low = momentum * self.average_low + (1 - momentum) * image_low
            self.average_high = momentum * self.average_high + (1 - momentum) * image_high
            self.images += 1
        sampled = rows[:, :, :: max(rows[0].size // SAMPLED, 1)]
        self.histogram.add(sampled)
        self._squares += np.einsum("ncp,ncp->c", sampled, sampled, dtype=np.float64)
        self._count += sampled.shape[0] * sampled.shape[2]

    def of_channels(self, channels: slice | np.ndarray) -> "Statistics":
        """What is known of some of the channels alone: the averages and the histogram stay those of all."""
        part = dataclasses.replace(self, channels=len(self._squares[channels]), histogram=copy.copy(self.histogram))
        for name in ("channel_low", "channel_high", "_squares"):
            setattr(part, name, getattr(self, name)[channels].copy())
        part._count = self._count
        return part

    @property
    def low(self) -> float:
        return float(self.channel_low.min())

    @property
    def high(self) -> float:
        return float(self.channel_high.max())

    @property
    def channel_power(self) -> np.ndarray:
        """float64 [C]"""
        return self._squares / max(self._count, 1)

    def scale_channels(self, channels: np.ndarray, factors: np.ndarray) -> None:
        """Make extremes and moments of some channels those of them times factors.

        The histogram, which does not tell channels apart, stays as it was.
        """
        self.channel_low[channels] *= factors.astype(np.float32)
        self.channel_high[channels] = self.channel_high[channels] * factors
        self._squares[channels] *= factors**2
