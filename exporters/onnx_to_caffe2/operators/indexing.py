"""Elements chosen by their places, and the places of elements."""

import functools
import math
from collections.abc import Sequence

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.broadcasting import CAST_TYPES, as_type, broadcast
from exporters.onnx_to_caffe2.operators.layout import reshape_to, slice_axis, transposed
from exporters.onnx_to_caffe2.registry import Node, converts

INT64, FLOAT32 = np.dtype(np.int64), np.dtype(np.float32)


@converts("Gather")
def gather(node, x, indices, *, axis=0):
    """Constant indices that follow one another are a slice; a single one drops its dimension."""
    axis %= x.rank
    if not indices.is_constant:
        return node.add("Gather", [x, indices], axis=axis or None, wrap_indices=1 if axis else None)
    if not x.is_fixed(axis) and (indices.value < 0).any():
        raise Unsupported("indices from the end of a dimension of free size")
    wanted = np.where(indices.value < 0, indices.value + x.shape[axis], indices.value)
    row = wanted.ravel()
    if wanted.ndim < 2 and len(row) and (np.diff(row) == 1).all() and x.is_fixed(axis):
        x = slice_axis(node, x, axis, int(row[0]), int(row[-1]) + 1)
        return x if wanted.ndim else node.add("Squeeze", [x], dims=[axis])
    y = node.add("Gather", [x, node.constant(wanted.astype(np.int64))], axis=axis or None)
    return node.add("Squeeze", [y], dims=[axis]) if not wanted.ndim else y


def chosen(node: Node, x: Blob, axis: int, index: int) -> Blob:
    """x at one place of a dimension, which goes."""
    return node.add("Squeeze", [slice_axis(node, x, axis, index, index + 1)], dims=[axis])


@converts("GatherElements")
def gather_elements(node, x, indices, *, axis=0):
    """Along the last dimension that is Caffe2's Gather of each outer position."""
    axis %= x.rank
    indices = _wrapped(node, x, indices, axis)
    for other in range(x.rank):
        if other != axis and x.shape[other] != indices.shape[other]:
            x = slice_axis(node, x, other, 0, indices.fixed_dim(other))
    if x.rank == 1:
        return node.add("Gather", [x, indices])
    order = [*(i for i in range(x.rank) if i != axis), axis]
    x, indices = (transposed(node, blob, order) for blob in (x, indices))
    y = node.add("Gather", [x, indices], axis=x.rank - 1, match_outer=1)
    return transposed(node, y, [int(i) for i in np.argsort(order)])


@converts("ScatterElements", "Scatter")
def scatter_elements(node, x, indices, updates, *, axis=0, reduction="none"):
    """Caffe2 replaces; what ONNX joins with what is there is scattered at places in the whole blob."""
    axis %= x.rank
    indices = _wrapped(node, x, indices, axis)
    others = [i for i in range(x.rank) if i != axis]
    if reduction == "none" and all(x.shape[i] == indices.shape[i] for i in others):
        return node.add("Scatter", [x, indices, updates], axis=axis)
    shape = [x.fixed_dim(i) for i in range(x.rank)]
    grid = np.indices([indices.fixed_dim(i) for i in range(x.rank)])
    strides = _strides(shape)
    places = node.constant(sum(grid[i] * strides[i] for i in others) + np.zeros(grid.shape[1:], np.int64))
    along = _times(node, as_type(node, indices, INT64), int(strides[axis]))
    return _scattered_whole(node, x, _plus(node, along, places), updates, reduction)


@converts("ScatterND")
def scatter_nd(node, x, indices, updates, *, reduction="none"):
    """Places of slices become those of their elements in the whole blob."""
    depth = indices.fixed_dim(indices.rank - 1)
    rest = [x.fixed_dim(i) for i in range(depth, x.rank)]
    count = math.prod(indices.fixed_dim(i) for i in range(indices.rank - 1))
    first = _times(node, _shaped(node, _flat_places(node, x, indices), [count, 1]), math.prod(rest))
    places = _plus(node, first, node.constant(np.arange(math.prod(rest))))
    return _scattered_whole(node, x, places, updates, reduction)


@converts("GatherND")
def gather_nd(node, x, indices, *, batch_dims=0):
    """Places of slices, in a blob with one dimension in place of those that are indexed."""
    depth, batch = indices.fixed_dim(indices.rank - 1), [x.fixed_dim(i) for i in range(batch_dims)]
    free = [i for i in range(batch_dims + depth, x.rank) if not x.is_fixed(i)][:1]  # one of them is what is left
    rest = [-1 if i in free else x.fixed_dim(i) for i in range(batch_dims + depth, x.rank)]
    places = _flat_places(node, x, indices, batch_dims)
    if batch:
        extent = math.prod(x.fixed_dim(i) for i in range(batch_dims, batch_dims + depth))
        starts = np.arange(math.prod(batch)).reshape(*batch, *[1] * (indices.rank - 1 - batch_dims)) * extent
        places = _plus(node, places, node.constant(starts))
    count = math.prod(x.fixed_dim(i) for i in range(batch_dims + depth)) if free else -1
    rows = node.add("Reshape", [x], shape=[count, *rest])
    flat = node.add("Gather", [rows, _shaped(node, places, [-1])])
    return reshape_to(node, flat, node.output)


@converts("TensorScatter")
def tensor_scatter(node, x, update, starts=None, *, axis=-2, mode="linear"):
    """The update's rows in place of those of the cache that begin at a start of each of the batch."""
    axis %= x.rank
    shape = [x.fixed_dim(i) for i in range(x.rank)]
    strides = _strides(shape)
    grid = np.indices([update.fixed_dim(i) for i in range(x.rank)])
    others = node.constant(sum(grid[i] * strides[i] for i in range(x.rank) if i != axis))
    along = node.constant(grid[axis])
    if starts is not None:
        along = _plus(node, _shaped(node, starts, [shape[0], *[1] * (x.rank - 1)]), along)
    if mode == "circular":
        turns = node.add("Div", [along, node.constant(np.int64(shape[axis]))])
        along = node.add("Sub", [along, _times(node, turns, shape[axis])])
    return _scattered_whole(node, x, _plus(node, _times(node, along, int(strides[axis])), others), update, "none")


def _scattered_whole(node: Node, x: Blob, places: Blob, updates: Blob, reduction: str) -> Blob:
    """x with updates at places among all its elements, which the reduction joins with what is there."""
    shape = [x.fixed_dim(i) for i in range(x.rank)]
    flat, places, updates = (_shaped(node, blob, [-1]) for blob in (x, places, updates))
    if reduction == "none":
        y = scattered(node, flat, places, updates)
    elif reduction == "add" and not places.is_constant:
        y = node.add("Add", [flat, node.add("UnsortedSegmentSum", [updates, places], num_segments=math.prod(shape))])
    elif reduction not in JOINS:
        raise Unsupported(f"reduction {reduction}")
    elif not places.is_constant:
        raise Unsupported(f"Caffe2's Scatter has no reduction {reduction}, at places that are computed")
    else:
        y = flat
        for chosen in _rounds(places.value):  # places that are there several times, one after the other
            where = node.constant(places.value[chosen])
            ours = node.add("Gather", [updates, node.constant(chosen)]) if len(chosen) < places.value.size else updates
            joined = node.add(JOINS[reduction], [node.add("Gather", [y, where]), ours])
            y = scattered(node, y, where, joined)
    return node.add("Reshape", [y], shape=shape)


JOINS = {"add": "Add", "mul": "Mul", "max": "Max", "min": "Min"}


def scattered(node: Node, x: Blob, places: Blob, updates: Blob) -> Blob:
    """A vector with updates at places."""
    return node.add("Scatter", [x, places, updates], axis=0)


def _rounds(places: np.ndarray) -> list[np.ndarray]:
    """Which of the places to take at a time, so that none is there twice."""
    seen: dict[int, int] = {}
    turn = np.zeros(len(places), np.int64)
    for index, place in enumerate(places.tolist()):
        turn[index] = seen[place] = seen.get(place, -1) + 1
    return [np.flatnonzero(turn == number) for number in range(int(turn.max(initial=0)) + 1)]


def _flat_places(node: Node, x: Blob, indices: Blob, first: int = 0) -> Blob:
    """Indices [..., depth] of the dimensions from `first` on as places among all of them together, [...].

    Of a first dimension of free size they must be counted from its beginning, where they are computed.
    """
    depth = indices.fixed_dim(indices.rank - 1)
    axes = range(first, first + depth)
    strides = [math.prod(x.fixed_dim(i) for i in axes[n + 1 :]) for n in range(depth)]
    if indices.is_constant:
        sizes = [x.fixed_dim(i) if (indices.value < 0).any() else x.shape[i] for i in axes]
        wrapped = np.where(indices.value < 0, indices.value + np.array(sizes), indices.value)
        return node.constant((wrapped * np.array(strides)).sum(axis=-1))
    parts = []
    for n, axis in enumerate(axes):
        part = node.add("Squeeze", [slice_axis(node, indices, indices.rank - 1, n, n + 1)], dims=[indices.rank - 1])
        if x.is_fixed(axis):
            negative = as_type(node, node.add("LT", [part, node.constant(part.dtype.type(0))]), part.dtype)
            part = node.add("Add", [part, _times(node, negative, x.shape[axis])])
        parts.append(_times(node, part, strides[n]))
    return functools.reduce(lambda a, b: node.add("Add", [a, b]), parts)


def _strides(shape: Sequence[int]) -> np.ndarray:
    """How many elements further the next of each dimension is."""
    return np.array([math.prod(shape[i + 1 :]) for i in range(len(shape))], np.int64)


def _times(node: Node, x: Blob, factor: int) -> Blob:
    if factor == 1:
        return x
    return node.constant(x.value * factor) if x.is_constant else (
        node.add("Mul", [x, node.constant(x.dtype.type(factor))]))  # fmt: skip


def _plus(node: Node, a: Blob, b: Blob) -> Blob:
    return node.constant(a.value + b.value) if a.is_constant and b.is_constant else node.add("Add", [a, b])


def _shaped(node: Node, x: Blob, shape: list[int]) -> Blob:
    return node.constant(x.value.reshape(shape)) if x.is_constant else node.add("Reshape", [x], shape=shape)


def looked_up(node: Node, table: np.ndarray, places: Blob) -> Blob:
    """What a table has at places of any shape."""
    return node.add("Gather", [node.constant(table), places])


@converts("Compress")
def compress(node, x, condition, *, axis=None):
    """What holds is gathered, where it is known, and else masked."""
    if axis is None:
        x, axis = node.add("Reshape", [x], shape=[-1]), 0
    axis %= x.rank
    if condition.is_constant:
        return node.add("Gather", [x, node.constant(np.flatnonzero(condition.value))], axis=axis or None)
    x = slice_axis(node, x, axis, 0, condition.fixed_dim(0)) if condition.is_fixed(0) else x
    order = [axis, *(i for i in range(x.rank) if i != axis)]
    kept = node.add_many("BooleanMask", [transposed(node, x, order), condition], 2)[0]
    return transposed(node, kept, [int(i) for i in np.argsort(order)])


@converts("NonZero")
def non_zero(node, x):
    """BooleanMask's second output are places among all elements; of these, those in each dimension."""
    flat = as_type(node, node.add("Reshape", [x], shape=[-1]), np.dtype(np.bool_))
    places = node.add_many("BooleanMask", [flat, flat], 2)[1]
    places.dtype = INT64
    rows = []
    for axis in range(x.rank):
        stride = math.prod(x.fixed_dim(i) for i in range(axis + 1, x.rank))
        row = _divided(node, places, stride)
        if axis:
            size = x.fixed_dim(axis)
            row = node.add("Sub", [row, node.add("Mul", [_divided(node, row, size), node.constant(np.int64(size))])])
        rows.append(node.add("ExpandDims", [row], dims=[0]))
    return node.add_many("Concat", rows, 1, axis=0)[0] if len(rows) > 1 else rows[0]


def _divided(node: Node, places: Blob, by: int) -> Blob:
    return places if by == 1 else node.add("Div", [places, node.constant(np.int64(by))])


@converts("Unique")
def unique(node, x, *, sorted=1, axis=None):
    if axis is not None or x.dtype not in (np.int32, np.int64) or not sorted or len(node.outputs) != 1:
        raise Unsupported("Caffe2's Unique takes whole numbers, has no axis, sorts, and gives no counts")
    return node.add_many("Unique", [node.add("Reshape", [x], shape=[-1])], 2)[0]


@converts("Range")
def range_(node, start, limit, delta):
    if start.dtype != FLOAT32 and not (delta.is_constant and (delta.value > 0).all()):
        raise Unsupported("Caffe2's Range of whole numbers leaves the last out, where its step is not above 0")
    return node.add("Range", [node.add("Reshape", [x], shape=[1]) for x in (start, limit, delta)])


@converts("ReverseSequence")
def reverse_sequence(node, x, lengths, *, batch_axis=1, time_axis=0):
    """Caffe2's has the time first, then the sequences, and then one dimension."""
    order = [time_axis, batch_axis, *range(2, x.rank)]
    rest = [x.fixed_dim(i) for i in range(2, x.rank)]
    steps = transposed(node, x, order)
    packed = node.add("Reshape", [steps], shape=[0, 0, math.prod(rest)])
    turned = node.add("ReversePackedSegs", [packed, as_type(node, lengths, np.dtype(np.int32))])
    return transposed(node, node.add("Reshape", [turned], shape=[0, 0, *rest]), order)


@converts("NonMaxSuppression", constants={2: "limit", 3: "iou", 4: "threshold"})
def non_max_suppression(node, boxes, scores, *, limit=0, iou=0.0, threshold=None, center_point_box=0):
    """For each image and class one BoxWithNMSLimit, whose fifth output are the rows that stay."""
    limit, iou = (float(np.reshape(value, ())) for value in (limit, iou))
    least = float(np.finfo(np.float32).min) if threshold is None else float(np.reshape(threshold, ()))
    images, classes = scores.fixed_dim(0), scores.fixed_dim(1)
    if images * classes > MAX_SUPPRESSIONS or limit < 1:
        raise Unsupported(f"{images * classes} suppressions, of {int(limit)} boxes each")
    first, second = (slice_axis(node, boxes, 2, start, start + 2) for start in (0, 2))
    if center_point_box:
        half = node.add("Mul", [second, node.constant(np.float32(0.5))])
        low, high = (node.add(kind, [first, half]) for kind in ("Sub", "Add"))
    else:
        low, high = (node.add(kind, [first, second]) for kind in ("Min", "Max"))
    corners = node.add("Concat", [low, high], axis=2)
    parts = []
    for image in range(images):
        of_image, its_scores = chosen(node, corners, 0, image), chosen(node, scores, 0, image)
        for number in range(classes):
            column = node.add("Transpose", [slice_axis(node, its_scores, 0, number, number + 1)], axes=[1, 0])
            both = node.add("Concat", [column, column], axis=1)  # the first is the background's
            *_, rows, _ = node.add_many(
                "BoxWithNMSLimit", [both, of_image], 6, score_thresh=least, nms=iou,
                detections_per_im=int(min(limit, 1 << 30)), cls_agnostic_bbox_reg=1, legacy_plus_one=0)  # fmt: skip
            place = node.add("ExpandDims", [node.add("Cast", [rows], to=CAST_TYPES["int64"])], dims=[1])
            zeros = node.add("Mul", [place, node.constant(np.int64(0))])
            owners = [node.add("Add", [zeros, node.constant(np.int64(n))]) if n else zeros for n in (image, number)]
            parts.append(node.add_many("Concat", [*owners, place], 1, axis=1)[0])
    return node.add_many("Concat", parts, 1, axis=0)[0] if len(parts) > 1 else parts[0]


MAX_SUPPRESSIONS = 1024


@converts("CumSum", "CumProd", constants={1: "axis"})
def cumulative(node, x, *, axis, exclusive=0, reverse=0):
    """Sums of floats are a product with a triangle of ones; all else goes step by step."""
    axis = int(np.reshape(axis, ())) % x.rank
    count = x.fixed_dim(axis)
    if node.type == "CumSum" and x.dtype == FLOAT32:
        triangle = np.tri(count, k=-1 if exclusive else 0, dtype=np.float32)
        order = [*(i for i in range(x.rank) if i != axis), axis]
        moved = transposed(
            node, x if x.rank > 1 else node.add("ExpandDims", [x], dims=[0]), order if x.rank > 1 else [0, 1]
        )
        matrix, zeros = (
            node.constant(triangle[::-1, ::-1] if reverse else triangle),
            node.constant(np.zeros(count, np.float32)),
        )
        y = node.add("FC", [moved, matrix, zeros], axis=moved.rank - 1 if moved.rank != 2 else None)
        return (
            transposed(node, y, [int(i) for i in np.argsort(order)])
            if x.rank > 1
            else node.add("Squeeze", [y], dims=[0])
        )
    if count > MAX_TERMS:
        raise Unsupported(f"Caffe2 has no {node.type}, and {count} steps are more than {MAX_TERMS}")
    parts = node.add_many("Split", [x], count, axis=axis, split=[1] * count) if count > 1 else [x]
    parts = parts[::-1] if reverse else parts
    kind, neutral = ("Add", 0) if node.type == "CumSum" else ("Mul", 1)
    done = [parts[0]]
    for part in parts[1:]:
        done.append(node.add(kind, [done[-1], part]))
    if exclusive:
        nothing = node.add(
            "Add", [node.add("Mul", [parts[0], node.constant(x.dtype.type(0))]), node.constant(x.dtype.type(neutral))]
        )
        done = [nothing, *done[:-1]]
    done = done[::-1] if reverse else done
    return node.add_many("Concat", done, 1, axis=axis)[0] if count > 1 else done[0]


MAX_TERMS = 256


@converts("Trilu", constants={1: "diagonal"})
def triangle(node, x, *, diagonal=0, upper=1):
    rows, columns = x.fixed_dim(x.rank - 2), x.fixed_dim(x.rank - 1)
    lower = np.tri(rows, columns, k=int(np.reshape(diagonal, ())) - bool(upper), dtype=np.bool_)
    kept = node.constant(~lower if upper else lower)
    return node.add("Where", broadcast(node, [kept, x, node.constant(x.dtype.type(0))]))


@converts("EyeLike")
def eye_like(node, x, *, dtype=None, k=0):
    rows, columns = x.fixed_dim(0), x.fixed_dim(1)
    return node.constant(np.eye(rows, columns, k, node.output.dtype))


def _wrapped(node: Node, x: Blob, indices: Blob, axis: int) -> Blob:
    """Constant indices counted from the beginning; those that are computed must be."""
    if not indices.is_constant:
        return indices
    negative = indices.value < 0
    if negative.any():
        return node.constant(np.where(negative, indices.value + x.fixed_dim(axis), indices.value))
    return indices


@converts("ArgMax", "ArgMin")
def arg_extreme(node, x, *, axis=0, keepdims=1, select_last_index=0):
    """Of equal elements Caffe2 finds the first; the last is the first from the end."""
    axis %= x.rank
    if not select_last_index:
        return node.add(node.type, [x], axis=axis, keepdims=keepdims)
    last = x.fixed_dim(axis) - 1
    backwards = node.add("Gather", [x, node.constant(np.arange(last, -1, -1))], axis=axis or None)
    found = node.add(node.type, [backwards], axis=axis, keepdims=keepdims)
    return node.add("Sub", [node.constant(np.int64(last)), found])


@converts("TopK", constants={1: "k"})
def top_k(node, x, *, k, axis=-1, largest=1, sorted=1):
    axis %= x.rank
    source = x if largest else node.add("Negative", [x])
    values, places, _ = node.add_many("TopK", [source], 3, k=int(np.reshape(k, ())), axis=axis)
    return values if largest else node.add("Negative", [values]), places


@converts("Hardmax")
def hardmax(node, x, *, axis=None):
    if node.opset < 13:
        axis = (1 if axis is None else axis) % x.rank
        if axis != x.rank - 1:
            raise Unsupported("one distribution over several dimensions")
    axis = (-1 if axis is None else axis) % x.rank
    largest = node.add("ArgMax", [x], axis=axis, keepdims=1)
    return as_type(node, node.add("EQ", [largest, node.constant(_places(x, axis))]), x.dtype)


def _places(x: Blob, axis: int) -> np.ndarray:
    """0, 1 ... along one dimension, in the rank of x."""
    return np.arange(x.fixed_dim(axis)).reshape([-1 if i == axis else 1 for i in range(x.rank)])


@converts("OneHot", constants={1: "depth"})
def one_hot(node, indices, values, *, depth, axis=-1):
    count = int(np.reshape(depth, ()))
    axis %= indices.rank + 1
    off, on = (float(value) for value in _constant(values))
    indices = as_type(node, indices, INT64)
    expanded = node.add("ExpandDims", [indices], dims=[axis])
    along = [-1 if i == axis else 1 for i in range(expanded.rank)]
    places = np.arange(count).reshape(along)
    hits = (node.add("EQ", [expanded, node.constant(places + shift)]) for shift in (0, -count))
    hot = as_type(node, node.add("Or", list(hits)), FLOAT32)
    scaled = node.add("Mul", [hot, node.constant(np.float32(on - off))])
    return as_type(node, node.add("Add", [scaled, node.constant(np.float32(off))]), values.dtype)


def _constant(blob: Blob) -> np.ndarray:
    if not blob.is_constant:
        raise Unsupported("values that are computed while the net runs")
    return blob.value.ravel()
