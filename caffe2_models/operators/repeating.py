"""Copies of elements along their dimensions."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, known
from caffe2_models.operators.registry import ANY, INDICES, INT64, NUMBERS, Operator, operator


@operator("Tile")
@dataclass(frozen=True)
class Tile(Operator):
    """`tiles` copies along an axis; both are arguments or, in this order, blobs of one number.

    Where `tiles` is an int64 blob, the argument axis counts as 0, as Caffe2 has it.
    """

    tiles: int | None = None
    axis: int | None = None

    dtypes = (NUMBERS | {"uint8", "float16"}, INDICES)

    def infer(self, x, tiles=None, axis=None):
        for blob in (tiles, axis):
            if blob is not None and blob.shape != (1,):
                raise ModelError(f"a number of shape {list(blob.shape)}")
        times = self._times(len(x.shape), known(tiles, "tiles"), known(axis, "axis"))
        return x.with_shape(tuple(dim * n for dim, n in zip(x.shape, times, strict=True)))

    def compute(self, x, tiles=None, axis=None):
        return np.tile(x, self._times(x.ndim, tiles, axis))

    def lower(self, graph, x, tiles=None, axis=None):
        times = self._times(len(x.shape), tiles and tiles.type.value, axis and axis.type.value)
        return graph.add("Tile", x, graph.ints(times))

    def _times(self, rank: int, tiles: np.ndarray | None, axis: np.ndarray | None) -> tuple[int, ...]:
        count = self.tiles if tiles is None else int(tiles[0])
        place = self.axis if axis is None else int(axis[0])
        if count is None or place is None:
            raise ModelError("tiles or axis is missing")
        if tiles is not None and axis is None and tiles.dtype == np.int64:
            place = 0
        if count < 0:
            raise ModelError(f"{count} tiles")
        times = [1] * rank
        times[canonical_axis(place, rank)] = count
        return tuple(times)


@operator("NumpyTile")
@dataclass(frozen=True)
class NumpyTile(Operator):
    """As many copies along each dimension as the second blob says."""

    dtypes = (ANY, INT64)

    def infer(self, x, repeats):
        if repeats.shape != (len(x.shape),):
            raise ModelError(f"repeats of shape {list(repeats.shape)} for {x}")
        times = known(repeats, "repeats")
        if (times < 0).any():
            raise ModelError(f"repeats {times.tolist()}")
        return x.with_shape(tuple(dim * int(n) for dim, n in zip(x.shape, times, strict=True)))

    def compute(self, x, repeats):
        return np.tile(x, repeats)

    def lower(self, graph, x, repeats):
        return graph.add("Tile", x, repeats)


@operator("Expand")
@dataclass(frozen=True)
class Expand(Operator):
    """Dimensions of 1 as often as the shape (second blob) says; where it says less than 1, the input's own stay."""

    dtypes = (NUMBERS, INT64)

    def infer(self, x, shape):
        wanted = self._wanted(known(shape, "dimensions"))
        try:
            return x.with_shape(np.broadcast_shapes(x.shape, wanted))
        except ValueError:
            raise ModelError(f"{x} does not expand to {list(wanted)}") from None

    def compute(self, x, shape):
        return np.broadcast_to(x, np.broadcast_shapes(x.shape, self._wanted(shape))).copy()

    def lower(self, graph, x, shape):
        return graph.add("Expand", x, graph.ints(self._wanted(shape.type.value)))

    @staticmethod
    def _wanted(shape: np.ndarray) -> tuple[int, ...]:
        return tuple(max(int(dim), 1) for dim in shape.ravel())
