"""The largest of what windows see, where some of it is no number: in the order in which Caffe2 compares.

In NHWC order the lowest float comes first, and what is no number is never larger. In NCHW order Eigen compares
(Redux.h, with vectors of four floats): what is no number stays where it comes first of those that are compared with
one another, and is passed over elsewhere. Which ones these are depends on vectors, and so on where in memory a channel
begins: Caffe2's blobs do so at a whole vector.
"""

from collections.abc import Sequence

import numpy as np

from caffe2_models.operators.window import Fit

LANES = 4
LOWEST = np.finfo(np.float32).min

Span = tuple[int, int]


def larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """std::max: the first where either is no number."""
    return np.where(a < b, b, a)


def largest_lane(lanes: Sequence[np.ndarray]) -> np.ndarray:
    """Of four lanes, crosswise; the processor's maximum is the second where either is no number."""
    a, b = (np.where(lanes[i] > lanes[i + 2], lanes[i], lanes[i + 2]) for i in (0, 1))
    return np.where(a > b, a, b)


def largest_of(values: Sequence[np.ndarray] | np.ndarray, begin: np.ndarray | None = None) -> np.ndarray:
    """Of arrays in this order."""
    result, rest = (values[0], values[1:]) if begin is None else (begin, values)
    for value in rest:
        result = larger(result, value)
    return result


def largest_of_block(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Of rows of as many arrays: four columns at a time, then what columns are left."""
    whole = len(rows[0]) // LANES * LANES
    left = [value for row in rows for value in row[whole:]]
    if not whole:
        return largest_of(left)
    lanes = [[row[i] for row in rows for i in range(lane, whole, LANES)] for lane in range(LANES)]
    return largest_of(left, largest_lane([largest_of(lane) for lane in lanes]))


def largest_of_run(values: np.ndarray, place: int) -> np.ndarray:
    """Of values [N, ...] in memory, of which the first has this place in a vector: two vectors at a time.

    What lies before the first whole vector, and behind the last, comes last.
    """
    start = min(-place % LANES, len(values))
    count = (len(values) - start) // LANES
    if not count:
        return largest_of(values)
    stop = start + count * LANES
    vectors = values[start:stop].reshape(count, LANES, *values.shape[1:])
    even = count - count % 2
    result = vectors[0]
    if even:
        result = larger(largest_of(vectors[:even:2]), largest_of(vectors[1:even:2]))
    if count > max(even, 1):
        result = larger(result, vectors[-1])
    return largest_of([*values[:start], *values[stop:]], largest_lane(result))


def spans(fit: Fit, axis: int, extent: int) -> list[Span]:
    """What of an axis each window covers."""
    starts = [i * fit.stride[axis] - fit.pads[axis] for i in range(fit.output[axis])]
    return [(max(start, 0), min(start + fit.kernel[axis], extent)) for start in starts]


def largest_in_runs(x: np.ndarray, along: list[Span]) -> np.ndarray:
    """Of windows over the rows of x [N, W], which lie one after another: [N, windows]."""
    y = np.empty((len(x), len(along)), x.dtype)
    for i, (begin, end) in enumerate(along):
        places = (np.arange(len(x)) * x.shape[1] + begin) % LANES
        for place in np.unique(places):
            rows = places == place
            y[rows, i] = largest_of_run(x[rows, begin:end].T, int(place))
    return y


def largest_in_planes(x: np.ndarray, down: list[Span], across: list[Span]) -> np.ndarray:
    """Of windows over planes x [..., H, W]."""
    y = np.empty((*x.shape[:-2], len(down), len(across)), x.dtype)
    extents = np.array([end - begin for begin, end in across])
    for extent in np.unique(extents):
        at = np.flatnonzero(extents == extent)
        first = np.array([across[i][0] for i in at])
        columns = [x[..., first + j] for j in range(extent)]
        for i, (top, bottom) in enumerate(down):
            y[..., i, at] = largest_of_block([[c[..., row, :] for c in columns] for row in range(top, bottom)])
    return y


def largest_in_line(x: np.ndarray, fit: Fit) -> np.ndarray:
    """Of windows over x [N, C, W] whose channels lie side by side in memory, which are compared one by one."""
    seen = [[x[..., i] for i in range(begin, end)] for begin, end in spans(fit, 0, x.shape[2])]
    return np.stack([largest_of(values) for values in seen], axis=2)


def largest_in_nchw(x: np.ndarray, fit: Fit, is_global: bool) -> np.ndarray:
    """Of windows over images x [N, C, *size]."""
    size = x.shape[2:]
    if is_global or len(size) == 1:
        count = int(np.prod(size))
        runs = np.ascontiguousarray(x).reshape(-1, count)
        y = largest_in_runs(runs, [(0, count)] if is_global else spans(fit, 0, count))
        return y.reshape(*x.shape[:2], *fit.output)
    *deep, down, across = (spans(fit, axis, extent) for axis, extent in enumerate(size))
    planes = largest_in_planes(x, down, across)
    if not deep:
        return planes
    lowest = np.full((*x.shape[:2], *fit.output[1:]), LOWEST)
    seen = [[planes[:, :, z] for z in range(begin, end)] for begin, end in deep[0]]
    return np.stack([largest_of(each, lowest) for each in seen], axis=2)
