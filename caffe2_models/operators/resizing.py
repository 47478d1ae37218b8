"""Resizing of images, float32: nearest neighbour and bilinear."""

from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import check_rank, known
from caffe2_models.operators.convolution import image_shape, ordered
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import MAX_EXTENT


@dataclass(frozen=True)
class Resize(Operator):
    """Base: scales are arguments or a second blob [height, width]; the output's size is rounded down."""

    width_scale: float = 1.0
    height_scale: float = 1.0

    order = "NCHW"

    def infer(self, x, scales=None):
        count, channels, *size = image_shape(x, self.order)
        size = self.size(size, known(scales, "scales"))
        return x.with_shape(ordered((count, channels, *size), self.order))

    def scales(self, scales: np.ndarray | None) -> tuple[np.float32, np.float32]:
        """(height, width)"""
        given = np.array((self.height_scale, self.width_scale) if scales is None else scales, np.float32)
        if given.shape != (2,) or not ((given > 0) & (given < MAX_EXTENT)).all():
            raise ModelError(f"invalid scales {given.tolist()}: expected two above 0 and below {MAX_EXTENT}")
        return given[0], given[1]

    def size(self, size: tuple[int, int], scales: np.ndarray | None) -> tuple[int, int]:
        """(height, width) of the output."""
        rows, columns = (
            int(np.float32(extent) * scale) for extent, scale in zip(size, self.scales(scales), strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Nearest(Resize):
    """Output pixel i is input pixel floor(i / scale)."""

    passes_clamps = True
    passes_factors = True

    def compute(self, x, scales=None):
        for axis, positions in self.sources(x.shape, scales):
            x = x.take(positions, axis)
        return x

    def lower(self, graph, x, scales=None):
        sources = list(self.sources(x.shape, scales and scales.type.value))
        size = [len(positions) for _, positions in sources]
        whole = all((p == np.arange(len(p)) // (len(p) / x.shape[axis])).all() for axis, p in sources)
        if self.order == "NCHW" and whole and all(n % extent == 0 for n, extent in zip(size, x.shape[2:], strict=True)):
            return graph.resize(
                x, size, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor"
            )  # fmt: skip  whole scales: nothing is rounded
        for axis, positions in sources:
            x = graph.add("Gather", x, graph.ints(positions), axis=axis)
        return x

    def sources(self, shape, scales):
        """(axis, the input's pixel for each of the output's) of both axes."""
        first = 2 if self.order == "NCHW" else 1
        size = self.size(shape[first : first + 2], scales)
        for axis, count, scale in zip((first, first + 1), size, self.scales(scales), strict=True):
            positions = (np.arange(count).astype(np.float32) / scale).astype(np.int64)
            yield axis, np.minimum(positions, max(shape[axis] - 1, 0))


@operator("ResizeNearest")
@dataclass(frozen=True)
class ResizeNearest(Nearest):
    order: str = "NCHW"

    carries_order = True


@operator("UpsampleBilinear")
@dataclass(frozen=True)
class UpsampleBilinear(Resize):
    """Corners of the output lie on corners of the input; images in NCHW order."""

    carries_order = True

    def compute(self, x, scales=None):
        rows, columns = self.size(x.shape[2:], scales)
        (r0, r1, r), (c0, c1, c) = _neighbours(x.shape[2], rows), _neighbours(x.shape[3], columns)
        upper, lower, one, r = x[:, :, r0], x[:, :, r1], np.float32(1), r[:, None]
        upper = (one - c) * upper[..., c0] + c * upper[..., c1]
        lower = (one - c) * lower[..., c0] + c * lower[..., c1]
        return (one - r) * upper + r * lower

    def lower(self, graph, x, scales=None):
        size = self.size(x.shape[2:], scales and scales.type.value)
        return graph.resize(x, size, mode="linear", coordinate_transformation_mode="align_corners")


def _neighbours(extent: int, count: int):
    """For each of `count` positions: the pixel before it, the one after, and the distance from the first."""
    ratio = np.float32(extent - 1) / np.float32(count - 1) if count > 1 else np.float32(0)
    position = ratio * np.arange(count).astype(np.float32)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, extent - 1), position - before.astype(np.float32)


@operator("ResizeNearest3D")
@dataclass(frozen=True)
class ResizeNearest3D(Operator):
    """[N, C, frames, H, W]: pixels twice in both directions, frames once or twice, which is all that Caffe2 has."""

    temporal_scale: float = 1.0
    height_scale: float = 1.0
    width_scale: float = 1.0
    order: str = "NCHW"

    def infer(self, x):
        check_rank(x, 5, "images")
        if self.temporal_scale not in (1, 2) or (self.height_scale, self.width_scale) != (2, 2) or self.order != "NCHW":
            scales = (self.temporal_scale, self.height_scale, self.width_scale)
            raise ModelError(f"scales {list(scales)}, order {self.order!r}; 1 or 2, 2 and 2, NCHW are expected")
        return x.with_shape(self._size(x.shape))

    def compute(self, x):
        for axis, scale in enumerate(self._scales):
            x = x.repeat(scale, axis)
        return x

    def lower(self, graph, x):
        return graph.add(
            "Resize", x, None, None, graph.ints(self._size(x.shape)),
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip

    @property
    def _scales(self) -> tuple[int, ...]:
        return 1, 1, int(self.temporal_scale), 2, 2

    def _size(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(dim * scale for dim, scale in zip(shape, self._scales, strict=True))
