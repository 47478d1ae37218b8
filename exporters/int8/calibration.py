"""Running the float graph over calibration images, and choosing ranges from what it shows."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import numpy as np

from caffe2_models.command import progress
from exporters.int8.graph import Graph
from exporters.int8.scales import Range
from exporters.int8.statistics import Histogram, Statistics

BATCH_BYTES = 1 << 28  # of all blobs of a batch


class Images(Protocol):
    """Calibration images: float32 [channels, height, width] each, as often as one likes."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[np.ndarray]: ...


def batches(images: Iterable[np.ndarray], size: int) -> Iterator[np.ndarray]:
    """[N, C, H, W], N = size but for the last."""
    pending = []
    for image in images:
        pending.append(image)
        if len(pending) == size:
            yield np.stack(pending)
            pending = []
    if pending:
        yield np.stack(pending)


def run(
    graph: Graph, images: Images, blobs: list[str], threads: int | None, what: str
) -> Iterator[dict[str, np.ndarray]]:
    """The float graph over all images: blob -> [N, ...] for each batch."""
    session = graph.to_net().session("onnxruntime", threads)
    bytes_per_image = 4 * sum(int(np.prod(shape)) for shape in graph.shapes.values()) * 2
    size = int(np.clip(BATCH_BYTES // max(bytes_per_image, 1), 1, 8))
    with progress(total=len(images), desc=what, unit="image") as bar:
        for batch in batches(images, size):
            yield session.run({graph.inputs[0]: batch}, outputs=blobs)
            bar.update(len(batch))


def collect(
    graph: Graph, images: Images, threads: int | None = None, what: str = "calibration"
) -> dict[str, Statistics]:
    """Statistics of every activation, and of what comes before each clamp."""
    blobs = list(graph.inputs)
    for layer in graph.layers:
        blobs += dict.fromkeys([layer.before_clamp, layer.output])
    statistics = {name: Statistics() for name in blobs}
    for values in run(graph, images, blobs, threads, what):
        for name, value in values.items():
            statistics[name].add(value)
    return statistics


def minimum_maximum(blob: Statistics) -> Range:
    return Range(blob.low, blob.high)


def moving_average(blob: Statistics) -> Range:
    """Of the images' extremes, the later ones weighing more."""
    return Range(blob.average_low, blob.average_high)


def percentile(blob: Statistics, share: float = 0.9999) -> Range:
    """What holds this share of all values, as much left out at either end."""
    histogram = blob.histogram
    cumulative = np.cumsum(histogram.counts) / max(histogram.counts.sum(), 1)
    left_out = (1 - share) / 2
    first = int(np.searchsorted(cumulative, left_out, side="right"))
    last = int(np.searchsorted(cumulative, 1 - left_out, side="left"))
    edges = histogram.edges
    return _within(blob, Range(edges[first], edges[min(last, len(edges) - 2) + 1]))


def mean_square_error(blob: Statistics) -> Range:
    """The range with the least expected squared error, of rounding within and of clipping outside it."""
    histogram = blob.histogram
    seen = histogram.counts > 0
    values, weights = histogram.centres[seen], histogram.counts[seen]

    def error(extent: Range) -> float:
        step = max(extent.high - extent.low, 1e-30) / 255
        outside = np.maximum(values - extent.high, 0) + np.maximum(extent.low - values, 0)
        inside = weights[outside == 0].sum()
        return inside * step**2 / 12 + (weights * outside**2).sum()

    return _search(blob, error)


def kullback_leibler(blob: Statistics) -> Range:
    """The range whose 256 steps keep most of the histogram's information (as TensorRT calibrates)."""
    histogram = blob.histogram

    def error(extent: Range) -> float:
        return _divergence(histogram, extent)

    return _search(blob, error)


METHODS: dict[str, Callable[[Statistics], Range]] = {
    "minmax": minimum_maximum,
    "moving-average": moving_average,
    "percentile": percentile,
    "mse": mean_square_error,
    "kl": kullback_leibler,
}


def _within(blob: Statistics, extent: Range) -> Range:
    return Range(max(extent.low, blob.low), min(extent.high, blob.high))


def _search(blob: Statistics, error: Callable[[Range], float]) -> Range:
    """The best of ranges that shrink from the extremes, either end by itself."""
    best = Range(min(blob.low, 0.0), max(blob.high, 0.0))
    for _ in range(2):
        highs = [Range(best.low, max(blob.high, 0.0) * share) for share in SHARES]
        best = min(highs, key=error) if blob.high > 0 else best
        lows = [Range(min(blob.low, 0.0) * share, best.high) for share in SHARES]
        best = min(lows, key=error) if blob.low < 0 else best
    return best


SHARES = np.linspace(1.0, 0.2, 81)


def _divergence(histogram: Histogram, extent: Range) -> float:
    """Kullback-Leibler divergence of the histogram from its own clipped to the range and put into 256 steps."""
    edges, counts = histogram.edges, histogram.counts.astype(np.float64)
    centres = histogram.centres
    step = (extent.high - extent.low) / 255
    if not step > 0:
        return np.inf
    clipped = np.clip(centres, extent.low, extent.high)
    bins = np.clip(np.rint((clipped - extent.low) / step), 0, 255).astype(int)
    inside = (edges[1:] > extent.low) & (edges[:-1] < extent.high)
    reference = np.where(inside, counts, 0.0)
    first, last = np.flatnonzero(inside)[[0, -1]]
    reference[first] += counts[:first].sum()
    reference[last] += counts[last + 1 :].sum()
    filled = inside & (counts > 0)
    totals = np.bincount(bins[inside], weights=counts[inside], minlength=256)
    members = np.bincount(bins[filled], minlength=256)
    model = np.where(filled, totals[bins] / np.maximum(members[bins], 1), 0.0)
    p, q = reference / reference.sum(), model / max(model.sum(), 1e-30)
    both = p > 0
    return float((p[both] * np.log(p[both] / np.maximum(q[both], 1e-12))).sum())
