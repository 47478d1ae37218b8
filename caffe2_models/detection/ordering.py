"""The order in which Caffe2 takes scores: that of libstdc++'s std::sort and std::partial_sort, which are not stable.

Where scores are equal, as those of int8 nets often are, which box comes first follows from the algorithm alone.
"""

from collections.abc import Callable

import numpy as np

from caffe2_models import kernels

INSERTION_SIZE = 16  # below it std::sort leaves a range to the final insertion sort


def descending(scores: np.ndarray, count: int | None = None) -> np.ndarray:
    """Indices of the scores, highest first, as std::sort orders them; of the `count` highest, as std::partial_sort.

    No number counts as the lowest (Caffe2's order is then undefined).
    """
    if count is not None and not 0 < count < scores.size:
        count = None
    if (fast := kernels.find("descending")) is not None:
        return fast(scores, -1 if count is None else count)
    keys = np.where(np.isnan(scores), np.float32(-np.inf), scores).astype(np.float32)
    values = keys.tolist()
    order = list(range(len(values)))

    def before(a: int, b: int) -> bool:
        return values[a] > values[b]

    if count is None:
        _sort(order, before)
    else:
        _partial_sort(order, 0, count, len(order), before)
        order = order[:count]
    return np.array(order, np.int32)


Before = Callable[[int, int], bool]


def _sort(items: list[int], before: Before) -> None:
    """std::sort (bits/stl_algo.h)."""
    size = len(items)
    if size:
        _introsort(items, 0, size, 2 * (size.bit_length() - 1), before)
    for i in range(1, size):
        item, hole = items[i], i
        if i < INSERTION_SIZE and before(item, items[0]):
            items[1 : i + 1], items[0] = items[:i], item
            continue
        while before(item, items[hole - 1]):
            items[hole] = items[hole - 1]
            hole -= 1
        items[hole] = item


def _introsort(items: list[int], first: int, last: int, depth: int, before: Before) -> None:
    while last - first > INSERTION_SIZE:
        if depth == 0:
            _partial_sort(items, first, last, last, before)
            return
        depth -= 1
        _median_to_first(items, first, first + 1, first + (last - first) // 2, last - 1, before)
        cut = _partition(items, first + 1, last, items[first], before)
        _introsort(items, cut, last, depth, before)
        last = cut


def _median_to_first(items: list[int], first: int, a: int, b: int, c: int, before: Before) -> None:
    if before(items[a], items[b]):
        median = b if before(items[b], items[c]) else c if before(items[a], items[c]) else a
    else:
        median = a if before(items[a], items[c]) else c if before(items[b], items[c]) else b
    items[first], items[median] = items[median], items[first]


def _partition(items: list[int], first: int, last: int, pivot: int, before: Before) -> int:
    while True:
        while before(items[first], pivot):
            first += 1
        last -= 1
        while before(pivot, items[last]):
            last -= 1
        if first >= last:
            return first
        items[first], items[last] = items[last], items[first]
        first += 1


def _partial_sort(items: list[int], first: int, middle: int, last: int, before: Before) -> None:
    """std::partial_sort: a heap of the first ones, into which better ones go (bits/stl_heap.h)."""
    size = middle - first
    for parent in range((size - 2) // 2, -1, -1):
        _sift(items, first, parent, size, items[first + parent], before)
    for i in range(middle, last):
        if before(items[i], items[first]):
            item, items[i] = items[i], items[first]
            _sift(items, first, 0, size, item, before)
    for end in range(size - 1, 0, -1):
        item, items[first + end] = items[first + end], items[first]
        _sift(items, first, 0, end, item, before)


def _sift(items: list[int], first: int, hole: int, size: int, item: int, before: Before) -> None:
    top, child = hole, hole
    while child < (size - 1) // 2:
        child = 2 * (child + 1)
        if before(items[first + child], items[first + child - 1]):
            child -= 1
        items[first + hole] = items[first + child]
        hole = child
    if size % 2 == 0 and child == (size - 2) // 2:
        child = 2 * (child + 1)
        items[first + hole] = items[first + child - 1]
        hole = child - 1
    parent = (hole - 1) // 2
    while hole > top and before(items[first + parent], item):
        items[first + hole] = items[first + parent]
        hole, parent = parent, (parent - 1) // 2
    items[first + hole] = item
