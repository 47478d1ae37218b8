"""What images show of the blobs of a net: ranges, histograms, channels that never fire."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from caffe2_models import Int8Tensor, Net
from exporters.int8.batching import batches
from exporters.int8.statistics import Statistics

BATCH = 2
BARS = 64  # of a histogram
STEPS = 256  # of an int8 blob
ENOUGH_VALUES = 1000  # of a channel, from which it is taken to be dead where it never fires


@dataclass(frozen=True)
class Activation:
    """A blob on some images. low, high: what was seen; covered: what the 256 steps of an int8 blob reach.

    at_lowest, at_highest: the shares of its values at the first and last step. counts: of values in equal bins from
    bins[0] to bins[1]. channels that are dead never leave zero.
    """

    low: float
    high: float
    counts: list[int]
    bins: tuple[float, float]
    channels: int
    dead_channels: int
    covered: tuple[float, float] | None = None
    at_lowest: float | None = None
    at_highest: float | None = None

    @property
    def clamped(self) -> float | None:
        """The share at the last step, and at the first one unless that is zero, as behind a ReLU."""
        if self.covered is None:
            return None
        return (self.at_highest or 0.0) + ((self.at_lowest or 0.0) if self.covered[0] < 0 else 0.0)


class _Watch:
    """Statistics of one blob."""

    def __init__(self) -> None:
        self.statistics: Statistics | None = None
        self.covered: tuple[float, float] | None = None
        self.steps = np.zeros(STEPS, np.int64)  # how often an int8 blob has each value

    def add(self, value: np.ndarray | Int8Tensor) -> None:
        real = np.asarray(value.dequantize() if isinstance(value, Int8Tensor) else value, np.float32)
        if isinstance(value, Int8Tensor):
            real = real.transpose(0, 3, 1, 2) if real.ndim == 4 else real
            self.covered = value.scale * (0 - value.zero_point), value.scale * (255 - value.zero_point)
            self.steps += np.bincount(value.data.ravel(), minlength=STEPS)
        if self.statistics is None:
            self.statistics = Statistics(real.shape[1] if real.ndim > 1 else 1)
        self.statistics.add(real)

    def result(self) -> Activation:
        assert self.statistics is not None, "a blob that was watched has been seen"
        seen = self.statistics
        low, high = self.covered or (min(seen.low, 0.0), max(seen.high, 0.0))
        dead = (seen.channel_low == 0) & (seen.channel_high == 0) & (seen.values >= ENOUGH_VALUES)
        ends = (self.steps[[0, -1]] / max(self.steps.sum(), 1)).tolist()
        return Activation(
            low=seen.low,
            high=seen.high,
            counts=self.steps.reshape(BARS, -1).sum(axis=1).tolist() if self.covered else _rebinned(seen, low, high),
            bins=(low, high),
            channels=seen.channels,
            dead_channels=int(dead.sum()),
            covered=self.covered,
            at_lowest=ends[0] if self.covered else None,
            at_highest=ends[1] if self.covered else None,
        )


def observe(net: Net, images: Iterable[np.ndarray], count: int, threads: int | None = None) -> dict[str, Activation]:
    """Every blob that the net's own operators write once, of the first `count` images.

    Blobs of no images, or of no float or int8 values, are left out. Raises ModelError for images that do not fit.
    """
    written: dict[str, int] = {}
    for node in net.operators:
        for name in node.outputs:
            written[name] = written.get(name, 0) + 1
    names = [name for name, times in written.items() if times == 1]
    session = net.session("auto", threads)
    watches: dict[str, _Watch] = {}
    for batch in batches(itertools.islice(images, count), BATCH):
        values = session.run({net.inputs[0]: batch}, outputs=names)
        for name, value in values.items():
            if _is_activation(value, len(batch)):
                watches.setdefault(name, _Watch()).add(value)
    return {name: watch.result() for name, watch in watches.items()}


def _is_activation(value: np.ndarray | Int8Tensor, images: int) -> bool:
    if not value.shape or value.shape[0] != images or not np.prod(value.shape):
        return False
    return isinstance(value, Int8Tensor) or (value.dtype == np.float32 and bool(np.isfinite(value).all()))


def _rebinned(statistics: Statistics, low: float, high: float) -> list[int]:
    """Its histogram in BARS bins from low to high; values beyond go into the outermost."""
    histogram = statistics.histogram
    seen = histogram.counts > 0
    width = (high - low) / BARS or 1.0
    places = np.clip((histogram.centres[seen] - low) / width, 0, BARS - 1).astype(int)
    return np.bincount(places, weights=histogram.counts[seen], minlength=BARS).astype(int).tolist()
