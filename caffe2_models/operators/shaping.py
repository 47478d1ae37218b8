"""Operators that move elements without computing: reshapes, transposes, joins, cuts, pads."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.checks import canonical_axis, flattened, known
from caffe2_models.operators.convolution import image_shape
from caffe2_models.operators.registry import ANY, FLOAT32, NUMBERS, InputDtypes, Operator, operator
from caffe2_models.tensors import TensorType

INT64_MAX = np.iinfo(np.int64).max


def new_shape(old: tuple[int, ...], wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Reshape's rule: 0 keeps a dimension, one -1 takes the rest, which of nothing is 0."""
    size = math.prod(old)
    shape = [old[i] if dim == 0 and i < len(old) and size else dim for i, dim in enumerate(wanted)]
    if min(shape, default=0) < -1 or shape.count(-1) > 1:
        raise ModelError(f"invalid shape {list(wanted)}: expected sizes from 0 on, and at most one -1")
    given = math.prod(dim for dim in shape if dim != -1)
    if -1 in shape and given and size % given == 0:
        shape[shape.index(-1)] = size // given
    elif -1 in shape and not given and not size:
        shape[shape.index(-1)] = 0
    elif -1 in shape or given != size:
        raise ModelError(f"{list(old)} cannot take the shape {list(wanted)}")
    return tuple(shape)


@operator("Reshape")
@dataclass(frozen=True)
class Reshape(Operator):
    """The shape is an argument or a second blob; the second output is the old shape, of that blob's type."""

    shape: tuple[int, ...] | None = None

    dtypes: ClassVar[InputDtypes] = ANY
    side_outputs = ("old_shape",)
    passes_factors = True

    def infer(self, x, shape=None):
        wanted = known(shape, "dimensions")
        return x.with_shape(self._result(x.shape, wanted)), TensorType.of(self._old(x.shape, wanted))

    def compute(self, x, shape=None):
        return x.reshape(self._result(x.shape, shape)), self._old(x.shape, shape)

    def lower(self, graph, x, shape=None):
        wanted = shape and shape.type.value
        y = graph.add("Reshape", x, graph.ints(self._result(x.shape, wanted)))
        return y, graph.constant(self._old(x.shape, wanted))

    @staticmethod
    def _old(old: tuple[int, ...], shape: np.ndarray | None) -> np.ndarray:
        return np.array(old, np.int64 if shape is None else shape.dtype)

    def _result(self, old: tuple[int, ...], shape: np.ndarray | None) -> tuple[int, ...]:
        if shape is None and self.shape is not None:
            return new_shape(old, self.shape)
        if shape is None or self.shape is not None:
            raise ModelError("the shape is given once, as an argument or as the second input")
        if shape.dtype not in (np.int32, np.int64) or shape.ndim != 1:
            raise ModelError(f"a shape given as {shape.dtype}{list(shape.shape)}; a vector of integers is expected")
        return new_shape(old, tuple(shape.tolist()))


@dataclass(frozen=True)
class Reshaping(Operator):
    """Base of operators whose output has the input's elements in the input's order, in self.result(shape)."""

    dtypes: ClassVar[InputDtypes] = ANY
    passes_factors = True

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
        if self.axis < 0:
            raise ModelError(f"a negative axis, {self.axis}")
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
        if not self.dims or any(not 0 <= axis < len(shape) or shape[axis] != 1 for axis in self.dims):
            raise ModelError(f"dimensions {list(self.dims)} of {list(shape)}; those to squeeze must be 1")
        return tuple(dim for axis, dim in enumerate(shape) if axis not in self.dims)


@operator("ExpandDims")
@dataclass(frozen=True)
class ExpandDims(Reshaping):
    dims: tuple[int, ...] = ()

    def result(self, shape):
        if not self.dims:
            raise ModelError("argument dims is missing")
        shape = list(shape)
        for axis in sorted(set(self.dims)):
            if not 0 <= axis <= len(shape):
                raise ModelError(f"axis {axis} cannot be inserted into {shape}")
            shape.insert(axis, 1)
        return tuple(shape)


def require_channels(rank: int) -> None:
    """Raises ModelError for a blob of too few dimensions to have one for channels."""
    if rank < 2:
        raise ModelError(f"a blob of {rank} dimensions has no channels")


@operator("Transpose")
@dataclass(frozen=True)
class Transpose(Operator):
    """A permutation of the axes; reversed where none is given."""

    axes: tuple[int, ...] = ()

    dtypes: ClassVar[InputDtypes] = NUMBERS

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
    """Channels from second to last place."""

    dtypes = FLOAT32

    def _axes(self, rank):
        require_channels(rank)
        return (0, *range(2, rank), 1)


@operator("NHWC2NCHW")
@dataclass(frozen=True)
class NHWC2NCHW(Transpose):
    """Channels from last to second place."""

    dtypes = FLOAT32

    def _axes(self, rank):
        require_channels(rank)
        return (0, rank - 1, *range(1, rank - 1))


@operator("ChannelShuffle")
@dataclass(frozen=True)
class ChannelShuffle(Operator):
    """Channels in `group` rows, read by columns."""

    group: int = 1
    order: str = "NCHW"

    idle_arguments = frozenset({"kernel"})
    passes_clamps = True

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


@dataclass(frozen=True)
class Joint(Operator):
    """Base of Concat and Split: along `axis` or, by `order`, along the channels (one of them is given)."""

    axis: int | None = None
    order: str | None = None

    dtypes: ClassVar[InputDtypes] = ANY

    def along(self, rank: int) -> int:
        """The axis, counted from the front, of a blob of this rank; raises ModelError where it has none."""
        if self.axis is not None and self.order is not None:
            raise ModelError("axis and order are both given")
        if self.axis is not None:
            return canonical_axis(self.axis, rank)
        if self.order not in (None, "NCHW", "NHWC"):
            raise ModelError(f"order {self.order!r} is neither NCHW nor NHWC")
        return canonical_axis(3 if self.order == "NHWC" else 1, rank)


@operator("Concat", "DepthConcat")
@dataclass(frozen=True)
class Concat(Joint):
    """Joins blobs along an axis, or along a new one with add_axis; output 2 holds each input's extent."""

    add_axis: bool = False

    side_outputs = ("split_info",)
    passes_clamps = True

    def infer(self, first, *others):
        inputs = (first, *others)
        if any(len(x.shape) != len(first.shape) for x in inputs):
            raise ModelError(f"blobs of {sorted({len(x.shape) for x in inputs})} dimensions do not join")
        axis, extents = self._extents([x.shape for x in inputs])
        kept = [dim for i, dim in enumerate(first.shape) if i != axis or self._stacks]
        for other in others:
            rest = [dim for i, dim in enumerate(other.shape) if i != axis or self._stacks]
            if rest != kept or other.dtype != first.dtype:
                raise ModelError(f"{first} and {other} do not join along axis {axis}")
        kept.insert(axis, int(extents.sum()))
        return first.with_shape(tuple(kept)), TensorType.of(extents)

    def compute(self, *inputs):
        axis, extents = self._extents([x.shape for x in inputs])
        return (np.stack if self._stacks else np.concatenate)(inputs, axis=axis), extents

    def lower(self, graph, *inputs):
        axis, extents = self._extents([x.shape for x in inputs])
        parts = [graph.add("Unsqueeze", x, graph.ints([axis])) for x in inputs] if self._stacks else inputs
        return graph.add("Concat", *parts, axis=axis), graph.constant(extents)

    @property
    def _stacks(self) -> bool:
        return self.add_axis and self.axis is not None

    def _extents(self, shapes: list[tuple[int, ...]]) -> tuple[int, np.ndarray]:
        """(the axis, int32 extents of the inputs along it)"""
        axis = self.along(len(shapes[0]) + self._stacks)
        extents = [1 if self._stacks else shape[axis] for shape in shapes]
        return axis, np.array(extents, np.int32)


@dataclass(frozen=True)
class OutputCount:
    """How many outputs the operator names."""

    count: int

    @classmethod
    def decode(cls, arguments: Arguments) -> "OutputCount":
        return cls(len(arguments.outputs))


@operator("Split", "DepthSplit")
@dataclass(frozen=True, kw_only=True)
class Split(Joint):
    """Cuts along an axis into the parts that `split` (argument or second blob) gives, or equal ones; as many
    parts as the operator has outputs. With add_axis, where `axis` is given, each is one slice without that axis.
    """

    outputs: OutputCount
    split: tuple[int, ...] = ()
    add_axis: bool = False

    def infer(self, x, split=None):
        axis, sizes = self._cuts(x.shape, known(split, "split"))
        return tuple(x.with_shape(self._part(x.shape, axis, size)) for size in sizes)

    def compute(self, x, split=None):
        axis, sizes = self._cuts(x.shape, split)
        parts = map(np.ascontiguousarray, np.split(x, np.cumsum(sizes)[:-1], axis))
        return tuple(part.reshape(self._part(x.shape, axis, part.shape[axis])) for part in parts)

    def lower(self, graph, x, split=None):
        axis, sizes = self._cuts(x.shape, split and split.type.value)
        names = graph.add("Split", x, graph.ints(sizes), axis=axis, outputs=len(sizes))
        names = names if isinstance(names, tuple) else (names,)
        return tuple(graph.add("Squeeze", name, graph.ints([axis])) for name in names) if self._slices else names

    @property
    def _slices(self) -> bool:
        return self.add_axis and self.axis is not None

    def _part(self, shape: tuple[int, ...], axis: int, size: int) -> tuple[int, ...]:
        return (*shape[:axis], *(() if self._slices else (size,)), *shape[axis + 1 :])

    def _cuts(self, shape, split: np.ndarray | None) -> tuple[int, list[int]]:
        """(the axis, the extents of the parts along it)"""
        axis = self.along(len(shape))
        if split is not None and (self.split or split.dtype != np.int32):
            raise ModelError("split is given twice, or not as int32")
        sizes = [int(size) for size in (self.split if split is None else split.ravel())]
        if not sizes and self.outputs.count and shape[axis] % self.outputs.count == 0:
            sizes = [shape[axis] // self.outputs.count] * self.outputs.count
        if len(sizes) != self.outputs.count or sum(sizes) != shape[axis] or min(sizes, default=0) < 0:
            raise ModelError(f"{shape[axis]} does not divide into {sizes or self.outputs.count} parts")
        if self._slices and set(sizes) != {1}:
            raise ModelError(f"parts of {sizes}; with add_axis each is one slice")
        return axis, sizes


@operator("Slice")
@dataclass(frozen=True)
class Slice(Operator):
    """Cuts one dimension; starts and ends (arguments or blobs) are for the leading axes.

    -1 is the end, -2 one before it.
    """

    starts: tuple[int, ...] | None = None
    ends: tuple[int, ...] | None = None

    dtypes: ClassVar[InputDtypes] = ANY

    def infer(self, x, starts=None, ends=None):
        bounds = self._bounds(x.shape, known(starts, "starts"), known(ends, "ends"))
        return x.with_shape(tuple(end - start for start, end in bounds))

    def compute(self, x, starts=None, ends=None):
        return np.ascontiguousarray(x[tuple(slice(*bound) for bound in self._bounds(x.shape, starts, ends))])

    def lower(self, graph, x, starts=None, ends=None):
        """The bounds as they are given, so that the graph fits any size: in ONNX -1 is one before the end."""
        bounds = self.wanted(len(x.shape), starts and starts.type.value, ends and ends.type.value)
        sides = ([v if v >= 0 else v + 1 or INT64_MAX for v in side] for side in bounds)
        return graph.add("Slice", x, *map(graph.ints, sides), graph.ints(range(len(bounds[0]))))

    def _bounds(self, shape, first: np.ndarray | None, behind: np.ndarray | None) -> list[tuple[int, int]]:
        """(start, end) along every axis."""
        starts, ends = self.wanted(len(shape), first, behind)
        if len(starts) != len(ends) or len(starts) > len(shape):
            raise ModelError(f"{len(starts)} starts and {len(ends)} ends for {len(shape)} dimensions")
        bounds = [(0, extent) for extent in shape]
        for axis, extent in enumerate(shape[: len(starts)]):
            start, end = (min(v + extent + 1 if v < 0 else v, extent) for v in (starts[axis], ends[axis]))
            if not 0 <= start <= end and extent:
                raise ModelError(f"a slice from {starts[axis]} to {ends[axis]} of {extent}")
            bounds[axis] = (start, end) if extent else (0, 0)
        if math.prod(shape) and sum(bound != (0, extent) for bound, extent in zip(bounds, shape, strict=True)) > 1:
            raise ModelError(f"a slice of {list(shape)} along several dimensions; Caffe2 cuts one at a time")
        return bounds

    def wanted(self, rank: int, starts=None, ends=None) -> tuple[list[int], list[int]]:
        """starts and ends as they are given, in the arguments or as blobs."""
        if (starts is None) != (ends is None):
            raise ModelError("starts and ends go together")
        if starts is not None:
            if starts.ndim != 1 or ends.ndim != 1:
                raise ModelError(f"starts of shape {list(starts.shape)}, ends of shape {list(ends.shape)}")
            return [int(v) for v in starts], [int(v) for v in ends]
        if self.starts is None or self.ends is None:
            raise ModelError("starts and ends are missing")
        return list(self.starts), list(self.ends)


@operator("Shape")
@dataclass(frozen=True)
class Shape(Operator):
    """The dimensions, int64; those of `axes` where they are given."""

    axes: tuple[int, ...] = ()

    dtypes: ClassVar[InputDtypes] = ANY

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


@operator("Size")
@dataclass(frozen=True)
class Size(Operator):
    """How many elements the input has, int64 of no dimensions."""

    dtypes: ClassVar[InputDtypes] = ANY

    def infer(self, x):
        return TensorType.of(self._size(x.shape))

    def compute(self, x):
        return self._size(x.shape)

    def lower(self, graph, x):
        return graph.constant(self._size(x.shape))

    @staticmethod
    def _size(shape: tuple[int, ...]) -> np.ndarray:
        return np.array(math.prod(shape), np.int64)


@operator("ResizeLike")
@dataclass(frozen=True)
class ResizeLike(Operator):
    """The first blob's elements in the second's shape."""

    dtypes: ClassVar[InputDtypes] = ANY

    def infer(self, x, like):
        if x.size != like.size:
            raise ModelError(f"{x} does not take the shape of {like}")
        return x.with_shape(like.shape)

    def compute(self, x, like):
        return x.reshape(like.shape)

    def lower(self, graph, x, like):
        return graph.add("Reshape", x, graph.ints(like.shape))


@operator("PrependDim")
@dataclass(frozen=True)
class PrependDim(Reshaping):
    """The first dimension in dim_size parts, which become a dimension before it."""

    dim_size: int = 0

    def result(self, shape):
        if self.dim_size < 1 or not shape or shape[0] % self.dim_size:
            raise ModelError(f"{list(shape)} does not divide into {self.dim_size} parts")
        return (self.dim_size, shape[0] // self.dim_size, *shape[1:])


@operator("MergeDim")
@dataclass(frozen=True)
class MergeDim(Reshaping):
    """The first two dimensions as one."""

    def result(self, shape):
        if len(shape) < 2:
            raise ModelError(f"{list(shape)} has no two dimensions to merge")
        return (shape[0] * shape[1], *shape[2:])
