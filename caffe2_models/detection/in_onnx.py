"""What detectors' operators have in common as nodes of an ONNX graph (caffe2_models.lowering)."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import UnsupportedError
from caffe2_models.detection.boxes import MAX_LOG_SCALE

NOTHING = np.float32(-np.inf)  # a score that is never taken
LOWEST = float(np.finfo(np.float32).min)  # what is above it may be taken


def span(graph, x, axis: int, start: int, count: int) -> str:
    """Some in a row along an axis."""
    return graph.add("Slice", x, graph.ints([start]), graph.ints([start + count]), graph.ints([axis]))


def column(graph, x, index: int) -> str:
    """One column of a matrix, as a vector."""
    return graph.add("Gather", x, graph.constant(index, np.int64), axis=1)


def length(graph, x) -> str:
    """How many elements a blob has, int64 []."""
    return graph.add("Size", x)


def counting(graph, count: str) -> str:
    """0, 1, 2 ... up to `count`, int64."""
    zero, one = graph.constant(0, np.int64), graph.constant(1, np.int64)
    return graph.add("Range", zero, count, one)


def as_column(graph, x) -> str:
    """A vector as a matrix of one column."""
    return graph.add("Unsqueeze", x, graph.ints([1]))


def stable_order(graph, keys: str) -> str:
    """Indices of keys [D], the lowest first; of equal ones the first."""
    return graph.add("TopK", keys, graph.add("Shape", keys), outputs=2, axis=0, largest=0)[1]


def occurrences(graph, keys: str, values: str) -> str:
    """How often each of the values [V] stands among keys [D], int64 [V]."""
    equal = graph.cast(graph.add("Equal", as_column(graph, values), keys), np.int64)
    return graph.add("ReduceSum", equal, graph.ints([1]), keepdims=0)


def suppress(graph, boxes: str, scores: str, threshold: float, least: float, limit: int, plus_one: bool) -> str:
    """NonMaxSuppression of boxes [B, R, 4] by scores [B, C, R]: (b, c, row) of those that stay, int64 [D, 3].

    At most `limit` of each b and c, where it is above 0. With sides of x2 - x1 + 1 pixels a box overlaps others as
    one does whose right and lower edges lie one further.
    """
    if not threshold >= 0:
        raise UnsupportedError(f"suppression at an overlap of {threshold:.6g}, which ONNX's does not know")
    if plus_one:
        boxes = graph.add("Add", boxes, graph.constant(np.array([0, 0, 1, 1], np.float32)))
    else:
        scores = _best_without_area(graph, boxes, scores)
    return graph.add(
        "NonMaxSuppression",
        *(boxes, scores, graph.constant(limit if limit > 0 else 1 << 62, np.int64)),
        *(graph.constant(np.float32(min(threshold, 1))), graph.constant(np.float32(least))),
    )


def _best_without_area(graph, boxes: str, scores: str) -> str:
    """The scores, nothing for boxes without area but the best: they overlap by 0 / 0, which Caffe2 takes for too much.

    (What has an area they overlap by 0; in ONNX they do each other, too.)
    """
    low, high = halves(graph, boxes)
    flat = graph.add("ReduceMin", lengths(graph, low, high, plus_one=False), axes=[2], keepdims=0)
    flat = as_column(graph, graph.add("Equal", flat, graph.constant(np.float32(0))))
    rows = graph.add("Shape", scores, start=2, end=3)
    nothing = graph.constant(NOTHING)
    one = graph.add("Min", rows, graph.ints([1]))
    best = graph.add("TopK", graph.add("Where", flat, scores, nothing), one, outputs=2, axis=2)[1]
    others = graph.add("Not", graph.add("Equal", best, counting(graph, graph.add("Squeeze", rows))))
    return graph.add("Where", graph.add("And", flat, others), nothing, scores)


@dataclass(frozen=True)
class Images:
    """Which of R rows are those of which image: the first so many of the first, then those of the next."""

    starts: str  # int64 [images]
    ends: str

    @classmethod
    def of(cls, graph, counts) -> "Images":
        """From the number of each image's rows, of any type of numbers."""
        counts = graph.cast(counts, np.int64)
        ends = graph.add("CumSum", counts, graph.constant(0, np.int64))
        return cls(graph.add("Sub", ends, counts), ends)

    def numbers(self, graph) -> str:
        """0 up to the number of images, int64."""
        return counting(graph, length(graph, self.ends))

    def owners(self, graph, count: str) -> str:
        """The image of each of so many rows, int64."""
        before = graph.add("LessOrEqual", as_column(graph, self.ends), counting(graph, count))
        return graph.add("ReduceSum", graph.cast(before, np.int64), graph.ints([0]), keepdims=0)

    def masked(self, graph, scores: str) -> str:
        """Scores [C, R] as [C, images, R], nothing where the row is another image's."""
        rows = counting(graph, graph.add("Squeeze", graph.add("Shape", scores, start=1, end=2)))
        within = graph.add(
            "And",
            graph.add("GreaterOrEqual", rows, as_column(graph, self.starts)),
            graph.add("Less", rows, as_column(graph, self.ends)),
        )
        return graph.add("Where", within, as_column(graph, scores), graph.constant(NOTHING))


def best(graph, scores: str, limit: int, image: str | None = None, images: Images | None = None) -> str:
    """Indices of the `limit` highest scores [D], highest first, of equal ones the first; so many of each image."""
    count = graph.add("Min", graph.add("Shape", scores), graph.ints([limit]))
    if images is None:
        return graph.add("TopK", scores, count, outputs=2)[1]
    own = graph.add("Equal", as_column(graph, images.numbers(graph)), image)
    each = graph.add("Where", own, scores, graph.constant(NOTHING))
    found, index = graph.add("TopK", each, count, outputs=2, axis=1)
    is_own = graph.add("Greater", found, graph.constant(NOTHING))
    return graph.add("Compress", index, graph.add("Reshape", is_own, graph.ints([-1])))


def halves(graph, boxes: str) -> tuple[str, str]:
    """(x1, y1) and (x2, y2) of boxes [..., 4], each [..., 2]; of deltas, shifts and scales."""
    return graph.add("Split", boxes, graph.ints([2, 2]), outputs=2, axis=-1)


def lengths(graph, low: str, high: str, plus_one: bool) -> str:
    """Widths and heights of boxes, from their corners."""
    sides = graph.add("Sub", high, low)
    return graph.add("Add", sides, graph.constant(np.float32(1))) if plus_one else sides


def transform(graph, boxes: str, deltas: str, weights: tuple[float, ...], plus_one: bool) -> tuple[str, str]:
    """The corners (low, high) of upright boxes [..., 4] moved by deltas [..., 4], as boxes.transform makes them."""
    if weights != (1.0,) * 4:
        deltas = graph.add("Div", deltas, graph.constant(np.array(weights, np.float32)))
    (low, high), (shift, growth) = halves(graph, boxes), halves(graph, deltas)
    sides, half = lengths(graph, low, high, plus_one), graph.constant(np.float32(0.5))
    center = graph.add("Add", low, graph.add("Mul", half, sides))
    center = graph.add("Add", graph.add("Mul", shift, sides), center)
    factor = graph.add("Exp", graph.add("Min", growth, graph.constant(MAX_LOG_SCALE)))
    reach = graph.add("Mul", half, graph.add("Mul", factor, sides))
    low, high = graph.add("Sub", center, reach), graph.add("Add", center, reach)
    return low, graph.add("Sub", high, graph.constant(np.float32(1))) if plus_one else high


def clip(graph, corners: tuple[str, str], size: str, plus_one: bool) -> tuple[str, str]:
    """Corners (low, high) [..., 2] within images of whole (width, height) [..., 2], int64."""
    most = graph.cast(graph.add("Sub", size, graph.constant(int(plus_one), np.int64)), np.float32)
    zero = graph.constant(np.float32(0))
    low, high = (graph.add("Max", graph.add("Min", each, most), zero) for each in corners)
    return low, high
