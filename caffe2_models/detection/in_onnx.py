"""What detectors' operators have in common as nodes of an ONNX graph (caffe2_models.lowering)."""

from dataclasses import dataclass

import numpy as np

NOTHING = np.float32(-np.inf)  # a score that is never taken
LOWEST = float(np.finfo(np.float32).min)


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
    if plus_one:
        boxes = graph.add("Add", boxes, graph.constant(np.array([0, 0, 1, 1], np.float32)))
    return graph.add(
        "NonMaxSuppression",
        *(boxes, scores, graph.constant(limit if limit > 0 else 1 << 62, np.int64)),
        *(graph.constant(np.float32(min(threshold, 1))), graph.constant(np.float32(least))),
    )


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

    def masked(self, graph, scores: str) -> str:
        """Scores [C, R] as [C, images, R], nothing where the row is another image's."""
        rows = counting(graph, graph.add("Squeeze", graph.add("Shape", scores, start=1, end=2)))
        within = graph.add(
            "And",
            graph.add("GreaterOrEqual", rows, as_column(graph, self.starts)),
            graph.add("Less", rows, as_column(graph, self.ends)),
        )
        return graph.add("Where", within, as_column(graph, scores), graph.constant(NOTHING))


def best(graph, scores: str, limit: int, image: str, images: Images | None) -> str:
    """Indices of the `limit` highest scores [D], highest first, of equal ones the first; so many of each image."""
    count = graph.add("Min", graph.add("Shape", scores), graph.ints([limit]))
    if images is None:
        return graph.add("TopK", scores, count, outputs=2)[1]
    own = graph.add("Equal", as_column(graph, images.numbers(graph)), image)
    each = graph.add("Where", own, scores, graph.constant(NOTHING))
    found, index = graph.add("TopK", each, count, outputs=2, axis=1)
    is_own = graph.add("Greater", found, graph.constant(NOTHING))
    return graph.add("Compress", index, graph.add("Reshape", is_own, graph.ints([-1])))
