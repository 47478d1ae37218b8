"""Operators that move elements without computing: reshapes, transposes, joins, cuts, resizes."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_models.errors import ModelError
from caffe2_models.operators.convolution import image_shape
from caffe2_models.operators.pooling import lower_padding
from caffe2_models.operators.registry import Operator, operator
from caffe2_models.operators.window import MAX_EXTENT, Window
from caffe2_models.tensors import TensorType


def canonical_axis(axis: int, rank: int) -> int:
    """axis counted from the front; raises ModelError outside the rank."""
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} of a blob of {rank} dimensions")
    return axis % rank


def flattened(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """The shape in two dimensions, divided before `axis` (which may equal the rank)."""
    axis = axis if axis == len(shape) else canonical_axis(axis, len(shape))
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def new_shape(old: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Reshape's rule: 0 keeps a dimension, one -1 takes the rest."""
    size = math.prod(old)
    shape = [old[i] if dim == 0 and i < len(old) and size else dim for i, dim in enumerate(wanted)]
    if min(shape, default=0) < -1 or shape.count(-1) > 1:
        raise ModelError(f"shape {list(wanted)} that cannot be")
    known = math.prod(dim for dim in shape if dim != -1)
    if -1 in shape:
        if known == 0 or size % known:
            raise ModelError(f"{list(old)} cannot take the shape {list(wanted)}")
        shape[shape.index(-1)] = size // known
    elif known != size:
        raise ModelError(f"{list(old)} cannot take the shape {list(wanted)}")
    return tuple(shape)


@operator("Reshape")
@dataclass(frozen=True)
class Reshape(Operator):
    """The shape is an argument or a second blob; the second output is the old shape."""

    shape: tuple[int, ...] = ()

    def infer(self, x, shape=None):
        old = TensorType.of(np.array(x.shape, np.int64))
        return x.with_shape(new_shape(x.shape, self._wanted(shape))), old

    def compute(self, x, shape=None):
        wanted = self.shape if shape is None else tuple(shape.tolist())
        return x.reshape(new_shape(x.shape, wanted)), np.array(x.shape, np.int64)

    def lower(self, graph, x, shape=None):
        wanted = new_shape(x.shape, self._wanted(shape and shape.type))
        return graph.add("Reshape", x, graph.ints(wanted)), graph.ints(x.shape)

    def _wanted(self, shape: TensorType | None) -> tuple[int, ...]:
        if shape is None:
            return self.shape
        if shape.value is None:
            raise ModelError("its shape comes from a blob that is known only when the net runs")
        return tuple(int(dim) for dim in shape.value)


@dataclass(frozen=True)
class Reshaping(Operator):
    """Base of operators whose output has the input's elements in the input's order, in self.result(shape)."""

    def infer(self, x):
        return x.with_shape(self.result(x.shape))

    def compute(self, x):
        return x.reshape(self.result(x.shape))

    def lower(self, graph, x):
        return graph.add("Reshape", x, graph.ints(self.result(x.shape)))

    def result(self, shape):
        raise NotImplementedError


@operator("Flatten")
@dataclass(frozen=True)
class Flatten(Reshaping):
    axis: int = 1

    def result(self, shape):
        return flattened(shape, self.axis)

    def lower(self, graph, x):
        return graph.add("Flatten", x, axis=self.axis)


@operator("FlattenToVec")
@dataclass(frozen=True)
class FlattenToVec(Reshaping):
    def result(self, shape):
        return (math.prod(shape),)


@operator("Squeeze")
@dataclass(frozen=True)
class Squeeze(Reshaping):
    dims: tuple[int, ...] = ()

    def result(self, shape):
        axes = {canonical_axis(axis, len(shape)) for axis in self.dims}
        if any(shape[axis] != 1 for axis in axes):
            raise ModelError(f"dimensions {sorted(axes)} of {list(shape)} are not all 1")
        return tuple(dim for axis, dim in enumerate(shape) if axis not in axes)


@operator("ExpandDims")
@dataclass(frozen=True)
class ExpandDims(Reshaping):
    dims: tuple[int, ...] = ()

    def result(self, shape):
        shape = list(shape)
        for axis in sorted(set(self.dims)):
            if not 0 <= axis <= len(shape):
                raise ModelError(f"axis {axis} cannot be inserted into {shape}")
            shape.insert(axis, 1)
        return tuple(shape)


@operator("Transpose")
@dataclass(frozen=True)
class Transpose(Operator):
    """A permutation of the axes; reversed where none is given."""

    axes: tuple[int, ...] = ()

    def infer(self, x):
        return x.with_shape(tuple(x.shape[axis] for axis in self._axes(len(x.shape))))

    def compute(self, x):
        return np.ascontiguousarray(x.transpose(self._axes(x.ndim)))

    def lower(self, graph, x):
        return graph.add("Transpose", x, perm=self._axes(len(x.shape)))

    def _axes(self, rank):
        axes = self.axes or tuple(reversed(range(rank)))
        if sorted(axes) != list(range(rank)):
            raise ModelError(f"axes {list(axes)} do not permute {rank} dimensions")
        return axes


@operator("NCHW2NHWC")
@dataclass(frozen=True)
class NCHW2NHWC(Transpose):
    def _axes(self, rank):
        return (0, *range(2, rank), 1)


@operator("NHWC2NCHW")
@dataclass(frozen=True)
class NHWC2NCHW(Transpose):
    def _axes(self, rank):
        return (0, rank - 1, *range(1, rank - 1))


@operator("ChannelShuffle")
@dataclass(frozen=True)
class ChannelShuffle(Operator):
    """Channels in `group` rows, read by columns."""

    group: int = 1
    order: str = "NCHW"

    def infer(self, x):
        if self.group < 1 or image_shape(x, self.order)[1] % self.group:
            raise ModelError(f"channels of {list(x.shape)} do not divide into {self.group} groups")
        return x.with_shape(x.shape)

    def compute(self, x):
        rows, order = self._permutation(x.shape)
        return np.ascontiguousarray(x.reshape(rows).transpose(order)).reshape(x.shape)

    def lower(self, graph, x):
        rows, order = self._permutation(x.shape)
        y = graph.add("Transpose", graph.add("Reshape", x, graph.ints(rows)), perm=order)
        return graph.add("Reshape", y, graph.ints(x.shape))

    def _permutation(self, shape):
        if self.order == "NHWC":
            return (*shape[:-1], self.group, shape[-1] // self.group), (0, 1, 2, 4, 3)
        return (shape[0], self.group, shape[1] // self.group, *shape[2:]), (0, 2, 1, 3, 4)


@operator("Concat", "DepthConcat", "Append")
@dataclass(frozen=True)
class Concat(Operator):
    """Joins blobs along `axis` (the channels where none is given), or along a new axis; the second output holds
    each input's extent there."""

    axis: int | None = None
    order: str = "NCHW"
    add_axis: bool = False

    def infer(self, *inputs):
        first, axis = inputs[0], self._axis(len(inputs[0].shape))
        for other in inputs[1:]:
            same = [a == b or (i == axis and not self.add_axis)
                    for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=False))]  # fmt: skip
            if len(other.shape) != len(first.shape) or not all(same) or other.dtype != first.dtype:
                raise ModelError(f"{list(first.shape)} and {list(other.shape)} do not join along axis {axis}")
        extents = np.array([1 if self.add_axis else x.shape[axis] for x in inputs], np.int32)
        rest = first.shape[axis:] if self.add_axis else first.shape[axis + 1 :]
        return first.with_shape((*first.shape[:axis], int(extents.sum()), *rest)), TensorType.of(extents)

    def compute(self, *inputs):
        axis = self._axis(inputs[0].ndim)
        extents = np.array([1 if self.add_axis else x.shape[axis] for x in inputs], np.int32)
        return (np.stack if self.add_axis else np.concatenate)(inputs, axis=axis), extents

    def lower(self, graph, *inputs):
        axis = self._axis(len(inputs[0].shape))
        parts = [graph.add("Unsqueeze", x, graph.ints([axis])) for x in inputs] if self.add_axis else inputs
        extents = [1 if self.add_axis else x.shape[axis] for x in inputs]
        return graph.add("Concat", *parts, axis=axis), graph.constant(extents, np.int32)

    def _axis(self, rank):
        axis = self.axis if self.axis is not None else (1 if self.order == "NCHW" else rank - 1)
        return canonical_axis(axis, rank + self.add_axis)


@dataclass(frozen=True)
class OutputCount:
    """How many outputs the operator names."""

    count: int

    @classmethod
    def decode(cls, arguments):
        return cls(arguments.output_count)


@operator("Split")
@dataclass(frozen=True)
class Split(Operator):
    """Cuts along `axis` into the parts that `split` (argument or second blob) gives, or equal ones; as many parts
    as the operator has outputs."""

    outputs: OutputCount = OutputCount(1)
    axis: int | None = None
    order: str = "NCHW"
    split: tuple[int, ...] = ()

    def infer(self, x, split=None):
        if split is not None and split.value is None:
            raise ModelError("its split comes from a blob that is known only when the net runs")
        axis = self._axis(len(x.shape))
        sizes = self._sizes(x.shape[axis], None if split is None else split.value)
        return tuple(x.with_shape((*x.shape[:axis], size, *x.shape[axis + 1 :])) for size in sizes)

    def compute(self, x, split=None):
        axis = self._axis(x.ndim)
        cuts = np.cumsum(self._sizes(x.shape[axis], split))[:-1]
        return tuple(np.ascontiguousarray(part) for part in np.split(x, cuts, axis))

    def lower(self, graph, x, split=None):
        axis = self._axis(len(x.shape))
        sizes = self._sizes(x.shape[axis], None if split is None else split.type.value)
        names = graph.add("Split", x, graph.ints(sizes), axis=axis, outputs=len(sizes))
        return names if isinstance(names, tuple) else (names,)

    def _axis(self, rank):
        axis = self.axis if self.axis is not None else (1 if self.order == "NCHW" else rank - 1)
        return canonical_axis(axis, rank)

    def _sizes(self, extent, split) -> list[int]:
        sizes = [int(size) for size in (self.split if split is None else split)]
        if not sizes and extent % self.outputs.count == 0:
            sizes = [extent // self.outputs.count] * self.outputs.count
        if len(sizes) != self.outputs.count or sum(sizes) != extent or min(sizes) < 0:
            raise ModelError(f"{extent} does not divide into {sizes or self.outputs.count} parts")
        return sizes


@operator("Slice")
@dataclass(frozen=True)
class Slice(Operator):
    """starts and ends (arguments or blobs) for the leading axes; -1 is the end, -2 one before it."""

    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()

    def infer(self, x, starts=None, ends=None):
        for given in (starts, ends):
            if given is not None and given.value is None:
                raise ModelError("its bounds come from blobs that are known only when the net runs")
        bounds = self._bounds(x.shape, starts and starts.value, ends and ends.value)
        return x.with_shape(tuple(end - start for start, end in bounds))

    def compute(self, x, starts=None, ends=None):
        return np.ascontiguousarray(x[tuple(slice(*bound) for bound in self._bounds(x.shape, starts, ends))])

    def lower(self, graph, x, starts=None, ends=None):
        bounds = self._bounds(x.shape, starts and starts.type.value, ends and ends.type.value)
        return graph.add("Slice", x, graph.ints([a for a, _ in bounds]), graph.ints([b for _, b in bounds]))

    def _bounds(self, shape, starts, ends) -> list[tuple[int, int]]:
        starts = self.starts if starts is None else [int(v) for v in starts]
        ends = self.ends if ends is None else [int(v) for v in ends]
        if len(starts) != len(ends) or len(starts) > len(shape):
            raise ModelError(f"{len(starts)} starts and {len(ends)} ends for {len(shape)} dimensions")
        bounds = []
        for i, extent in enumerate(shape):
            bound = [min(v + extent + 1 if v < 0 else v, extent) for v in (starts[i], ends[i])] if i < len(starts) else [
                0, extent]  # fmt: skip
            if not 0 <= bound[0] <= bound[1]:
                raise ModelError(f"a slice from {starts[i]} to {ends[i]} of {extent}")
            bounds.append(tuple(bound))
        return bounds


@operator("Tile")
@dataclass(frozen=True)
class Tile(Operator):
    tiles: int = 1
    axis: int = 0

    def infer(self, x):
        return x.with_shape(
            tuple(dim * times for dim, times in zip(x.shape, self._times(len(x.shape)), strict=True))
        )

    def compute(self, x):
        return np.tile(x, self._times(x.ndim))

    def lower(self, graph, x):
        return graph.add("Tile", x, graph.ints(self._times(len(x.shape))))

    def _times(self, rank):
        if self.tiles < 0:
            raise ModelError(f"{self.tiles} tiles")
        times = [1] * rank
        times[canonical_axis(self.axis, rank)] = self.tiles
        return tuple(times)


@operator("Shape")
@dataclass(frozen=True)
class Shape(Operator):
    axes: tuple[int, ...] = ()

    def infer(self, x):
        return TensorType.of(self._dims(x.shape))

    def compute(self, x):
        return self._dims(x.shape)

    def lower(self, graph, x):
        return graph.constant(self._dims(x.shape))

    def _dims(self, shape):
        return np.array(
            [shape[canonical_axis(axis, len(shape))] for axis in self.axes] if self.axes else shape, np.int64
        )


@dataclass(frozen=True)
class Padding(Window):
    """A window's pads alone; negative ones crop."""

    def check(self):
        if max(map(abs, self.pads)) > MAX_EXTENT:
            raise ModelError(f"pads {list(self.pads)} that cannot be")


@operator("PadImage")
@dataclass(frozen=True)
class PadImage(Operator):
    """Padding with `value`, by reflection or by the edge pixels."""

    window: Padding = Padding()
    mode: str = "constant"
    value: float = 0.0
    order: str = "NCHW"

    def infer(self, x):
        count, channels, height, width = image_shape(x, self.order)
        top, left, bottom, right = self.window.pads
        if self.mode not in ("constant", "reflect", "edge"):
            raise ModelError(f"padding mode {self.mode!r} is none of constant, reflect, edge")
        if self.mode == "reflect" and (max(top, bottom) >= height or max(left, right) >= width):
            raise ModelError(f"reflection by {self.window.pads} of {height} x {width} pixels")
        if height + top + bottom < 1 or width + left + right < 1:
            raise ModelError(f"pads {self.window.pads} leave nothing of {height} x {width} pixels")
        size = (height + top + bottom, width + left + right)
        return x.with_shape((count, channels, *size) if self.order == "NCHW" else (count, *size, channels))

    def compute(self, x):
        top, left, bottom, right = self.window.pads
        sides = [(0, 0), (0, 0), (top, bottom), (left, right)]
        if self.order == "NHWC":
            sides = [sides[0], sides[2], sides[3], sides[1]]
        if self.mode == "constant":
            return np.pad(x, sides, constant_values=np.float32(self.value))
        return np.pad(x, sides, mode=self.mode)

    def lower(self, graph, x):
        image = x if self.order == "NCHW" else graph.to_nchw(x)
        y = lower_padding(graph, image, self.window.pads, self.value, self.mode)
        return y if self.order == "NCHW" else graph.to_nhwc(y)


@operator("ResizeNearest")
@dataclass(frozen=True)
class ResizeNearest(Operator):
    """Output pixel i is input pixel floor(i / scale); scales are arguments or a second blob [height, width]."""

    width_scale: float = 1.0
    height_scale: float = 1.0
    order: str = "NCHW"

    def infer(self, x, scales=None):
        count, channels, height, width = image_shape(x, self.order)
        rows, columns = self._size(height, width, _known(scales))
        return x.with_shape(
            (count, channels, rows, columns) if self.order == "NCHW" else (count, rows, columns, channels)
        )

    def compute(self, x, scales=None):
        axis = 2 if self.order == "NCHW" else 1
        rows, columns = self._sources(*x.shape[axis : axis + 2], scales)
        return np.ascontiguousarray(x.take(rows, axis).take(columns, axis + 1))

    def lower(self, graph, x, scales=None):
        axis = 2 if self.order == "NCHW" else 1
        rows, columns = self._sources(
            *x.shape[axis : axis + 2], None if scales is None else scales.type.value
        )
        if (
            axis == 2 and len(rows) % x.shape[2] == 0 and len(columns) % x.shape[3] == 0
        ):  # whole scales: no rounding
            return graph.add("Resize", x, None, None, graph.ints([*x.shape[:2], len(rows), len(columns)]), mode="nearest",
                             coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
        return graph.add(
            "Gather", graph.add("Gather", x, graph.ints(rows), axis=axis), graph.ints(columns), axis=axis + 1
        )

    def _scales(self, scales):
        height, width = (
            (self.height_scale, self.width_scale) if scales is None else (float(v) for v in scales)
        )
        if not (0 < height < 1e6 and 0 < width < 1e6):
            raise ModelError(f"scales {height}, {width} that cannot be")
        return np.float32(height), np.float32(width)

    def _size(self, height, width, scales):
        height_scale, width_scale = self._scales(scales)
        return int(np.float32(height) * height_scale), int(np.float32(width) * width_scale)

    def _sources(self, height, width, scales):
        rows, columns = self._size(height, width, scales)
        return tuple(np.minimum((np.arange(n).astype(np.float32) / scale).astype(np.int64), extent - 1) for n, scale, extent
                     in zip((rows, columns), self._scales(scales), (height, width), strict=True))  # fmt: skip


@operator("UpsampleBilinear")
@dataclass(frozen=True)
class UpsampleBilinear(ResizeNearest):
    """Corners of the output lie on corners of the input; NCHW."""

    def compute(self, x, scales=None):
        height, width = x.shape[2:]
        rows, columns = self._size(height, width, scales)
        (r0, r1, r), (c0, c1, c) = _neighbours(height, rows), _neighbours(width, columns)
        upper, lower = x[:, :, r0], x[:, :, r1]
        one = np.float32(1)
        return (one - r)[:, None] * ((one - c) * upper[..., c0] + c * upper[..., c1]) + r[:, None] * (
            (one - c) * lower[..., c0] + c * lower[..., c1]
        )

    def lower(self, graph, x, scales=None):
        size = self._size(*x.shape[2:], None if scales is None else scales.type.value)
        return graph.add("Resize", x, None, None, graph.ints([*x.shape[:2], *size]), mode="linear",
                         coordinate_transformation_mode="align_corners")  # fmt: skip


def _neighbours(extent: int, count: int):
    """For each of `count` positions: the pixel before it, the one after, and the distance from the first."""
    ratio = np.float32(extent - 1) / np.float32(count - 1) if count > 1 else np.float32(0)
    position = ratio * np.arange(count).astype(np.float32)
    before = position.astype(np.int64)
    return before, np.minimum(before + 1, extent - 1), position - before.astype(np.float32)


def _known(scales: TensorType | None):
    if scales is not None and scales.value is None:
        raise ModelError("its scales come from a blob that is known only when the net runs")
    return None if scales is None else scales.value
