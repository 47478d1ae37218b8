"""Values by where they lie among sorted bounds: histograms, percentiles, piecewise linear functions."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_lengths, check_rank
from caffe2_models.operators.registry import FLOAT32, INT32, Operator, operator
from caffe2_models.tensors import TensorType


@operator("Histogram")
@dataclass(frozen=True)
class Histogram(Operator):
    """How many values of all inputs lie between each two neighbouring edges (the lower one included), int64."""

    bin_edges: tuple[float, ...] = ()

    def infer(self, x, *others):
        edges = np.array(self.bin_edges, np.float32)
        if edges.size < 2 or not (np.diff(edges) > 0).all():
            raise ModelError(f"invalid bin_edges {edges.tolist()[:8]}: expected two or more, growing")
        return TensorType((edges.size - 1,), np.int64)

    def compute(self, *inputs):
        edges = np.array(self.bin_edges, np.float32)
        counts = np.zeros(edges.size + 1, np.int64)
        for x in inputs:
            counts += np.bincount(np.searchsorted(edges, x.ravel(), "right"), minlength=counts.size)
        return counts[1:-1]


@operator("Percentile")
@dataclass(frozen=True)
class Percentile(Operator):
    """The percentile of each value x [N, D] among the samples of its column: pairs (value, percentile), sorted.

    lengths [D] tell how many of the pairs belong to each column. Between two samples it is interpolated; below the
    first it is 0, above the last 1.
    """

    dtypes = (FLOAT32, FLOAT32, INT32)

    def infer(self, x, pairs, lengths):
        check_rank(x, 2, "values")
        check_rank(pairs, 2, "samples")
        if pairs.shape[1] != 2 or lengths.size != x.shape[1]:
            raise ModelError(f"samples {list(pairs.shape)}, {lengths.size} lengths for values {list(x.shape)}")
        return x.with_shape(x.shape)

    def compute(self, x, pairs, lengths):
        lengths = lengths.ravel()
        check_lengths(lengths, len(pairs))
        y = np.empty_like(x)
        for column, (end, length) in enumerate(zip(np.cumsum(lengths), lengths, strict=True)):
            y[:, column] = _percentiles(x[:, column], *pairs[end - length : end].T)
        return y


def _percentiles(x: np.ndarray, values: np.ndarray, percentiles: np.ndarray) -> np.ndarray:
    if not values.size:
        return np.ones_like(x)
    place = np.searchsorted(values, np.where(np.isnan(x), np.float32(-np.inf), x))
    above = np.minimum(place, values.size - 1)
    below = np.maximum(above - 1, 0)
    share = (x - values[below]) / (values[above] - values[below])
    between = percentiles[below] + share * (percentiles[above] - percentiles[below])
    inside = np.where(x == values[above], percentiles[above], np.where(place == 0, np.float32(0), between))
    return np.where(place == values.size, np.float32(1), inside)


@operator("PiecewiseLinearTransform")
@dataclass(frozen=True)
class PiecewiseLinearTransform(Operator):
    """slope * x + intercept of the piece that x [N, D] lies in; each column has pieces of its own.

    Beyond its bounds a function stays as it is there. bounds (one more than pieces, for each column), slopes and
    intercepts are arguments or inputs. With `binary` there is one function, of x [N] or [N, 1], or of the second column
    of [N, 2]; the first is then what is missing to 1.
    """

    bounds: tuple[float, ...] = ()
    slopes: tuple[float, ...] = ()
    intercepts: tuple[float, ...] = ()
    binary: bool = False

    def infer(self, x, bounds=None, slopes=None, intercepts=None):
        given = [self.bounds, self.slopes, self.intercepts]
        blobs = [bounds, slopes, intercepts]
        if any(given) != all(given) or any((blob is None) != all(given) for blob in blobs):
            raise ModelError("bounds, slopes and intercepts are expected, as three arguments or three inputs")
        sizes = [len(each) for each in given] if all(given) else [blob.size for blob in blobs]
        groups = sizes[0] - sizes[1]
        if sizes[1] != sizes[2] or groups < 1 or sizes[1] < groups or sizes[1] % groups:
            raise ModelError(f"{sizes[0]} bounds, {sizes[1]} slopes, {sizes[2]} intercepts do not fit each other")
        if all(given) and not (np.diff(self._by_group(np.array(self.bounds, np.float32), groups)) >= 0).all():
            raise ModelError("bounds that are not sorted")
        columns = 1 if self.binary else groups
        if groups != columns or len(x.shape) not in (1, 2) or x.shape[1:] not in _columns(columns, self.binary):
            raise ModelError(f"values {list(x.shape)} for {groups} functions")
        return x.with_shape(x.shape)

    def compute(self, x, bounds=None, slopes=None, intercepts=None):
        given = (self.bounds, self.slopes, self.intercepts)
        blobs = given if bounds is None else (bounds, slopes, intercepts)
        bounds, slopes, intercepts = (np.asarray(blob, np.float32).ravel() for blob in blobs)
        groups = bounds.size - slopes.size
        functions = list(zip(*(self._by_group(each, groups) for each in (bounds, slopes, intercepts)), strict=True))
        if not self.binary:
            return np.stack([_transformed(x[:, j], *each) for j, each in enumerate(functions)], axis=1)
        y = _transformed(x[:, -1] if x.ndim == 2 else x, *functions[0])
        if x.shape[1:] == (2,):
            return np.stack([np.float32(1) - y, y], axis=1)
        return y.reshape(x.shape)

    @staticmethod
    def _by_group(values: np.ndarray, groups: int) -> np.ndarray:
        return values.reshape(groups, -1)


def _columns(count: int, binary: bool) -> list[tuple[int, ...]]:
    """The shapes that a row may have."""
    return [(), (1,), (2,)] if binary else [(count,)]


def _transformed(x: np.ndarray, bounds: np.ndarray, slopes: np.ndarray, intercepts: np.ndarray) -> np.ndarray:
    piece = (np.searchsorted(bounds, x) - 1).clip(0, slopes.size - 1)
    x = np.where(x <= bounds[0], bounds[0], np.where(x >= bounds[-1], bounds[-1], x))
    return slopes[piece] * x + intercepts[piece]
