"""Cases of indexing, masks, one-hot rows, dense and sparse rows, and copies along dimensions."""

import numpy as np
from cases_elementwise import digits, with_gaps
from operator_cases import Case, any_rank, case, dims, flip, normal

DTYPES = [np.float32, np.int32, np.int64, np.bool_]


def index_dtype(rng):
    return rng.choice([np.int32, np.int64])


def indices(rng, extent: int, *shape, dtype=None) -> np.ndarray:
    return rng.integers(0, extent, shape).astype(dtype or index_dtype(rng))


def data_of(rng, shape) -> np.ndarray:
    return (normal(rng, *shape) * 9).astype(rng.choice(DTYPES))


@case("Gather", "BatchGather")
def gather(rng, kind):
    shape = any_rank(rng, 2)
    axis = int(rng.integers(0, len(shape))) if kind == "Gather" else 1
    arguments = {"axis": axis} if axis or flip(rng) else {}
    if axis and flip(rng, 0.4):
        where = indices(rng, shape[axis], *shape[:axis], *any_rank(rng, 0, 2))
        return Case(kind, [data_of(rng, shape), where], {**arguments, "match_outer": 1}, fed=2)
    where = indices(rng, shape[axis], *any_rank(rng, 0, 3))
    if kind == "Gather" and axis == 0 and flip(rng):
        where -= shape[axis] * (rng.random(where.shape) < 0.5).astype(where.dtype)
    elif kind == "Gather" and flip(rng, 0.3):
        arguments["wrap_indices"] = 1
        where = where - where.dtype.type(shape[axis])
    return Case(kind, [data_of(rng, shape), where], arguments, fed=2 if flip(rng) else 1)


@case("ArgMax", "ArgMin")
def arg_extreme(rng, kind):
    shape = any_rank(rng)
    axis = int(rng.integers(-1, len(shape)))
    arguments = {"axis": axis} if flip(rng, 0.8) else {}
    arguments["keepdims"] = int(flip(rng))
    if flip(rng, 0.2):
        shape = tuple(dim * int(flip(rng)) for dim in shape)
    return Case(kind, [digits(rng, *shape, dtype=rng.choice([np.float32, np.int32, np.int64]))], arguments)


@case("Find")
def find(rng, kind):
    dtype = index_dtype(rng)
    numbers, wanted = digits(rng, int(rng.integers(0, 9)), dtype=dtype), digits(rng, *any_rank(rng, 1, 3), dtype=dtype)
    return Case(kind, [numbers, wanted], {"missing_value": -7} if flip(rng) else {}, fed=2)


@case("OneHot")
def one_hot(rng, kind):
    size = int(rng.integers(1, 9))
    where = indices(rng, size, int(rng.integers(1, 9)), dtype=np.int64)
    return Case(kind, [where, np.array([size], np.int64)], fed=1 if flip(rng) else 2)


def columns(rng, low: int) -> tuple[np.ndarray, np.ndarray]:
    """(x [N, D] of digits, lengths [D])"""
    x = digits(rng, *dims(rng, 2, 1, 5))
    return x, rng.integers(low, 4, x.shape[1]).astype(np.int32)


@case("BatchOneHot")
def batch_one_hot(rng, kind):
    x, lengths = columns(rng, 0)
    dtype = index_dtype(rng)
    return Case(kind, [x.astype(dtype), lengths, digits(rng, int(lengths.sum()), dtype=dtype)], fed=3)


@case("BatchBucketOneHot")
def batch_bucket_one_hot(rng, kind):
    x, lengths = columns(rng, 1)
    boundaries = np.concatenate([np.sort(digits(rng, int(n), dtype=np.float32)) for n in lengths])
    return Case(kind, [x.astype(np.float32), lengths, boundaries], fed=3)


@case("BatchBucketize")
def batch_bucketize(rng, kind):
    x = digits(rng, *dims(rng, 2, 1, 5), dtype=np.float32)
    chosen = indices(rng, x.shape[1], int(rng.integers(1, 4)), dtype=np.int32)
    lengths = rng.integers(1, 4, chosen.size).astype(np.int32)
    boundaries = np.concatenate([np.sort(digits(rng, int(n), dtype=np.float32)) for n in lengths])
    return Case(kind, [x, chosen, boundaries, lengths], fed=4)


@case("SegmentOneHot")
def segment_one_hot(rng, kind):
    lengths, size = rng.integers(0, 4, int(rng.integers(1, 5))).astype(np.int32), int(rng.integers(1, 6))
    where = indices(rng, size, int(lengths.sum()), dtype=np.int64)
    return Case(kind, [lengths, where, np.array([size], np.int64)], fed=3)


@case("ScatterAssign", "ScatterWeightedSum")
def scatter(rng, kind):
    """In place: the output is the first input."""
    shape, dtype = any_rank(rng), np.float32
    where = indices(rng, shape[0], int(rng.integers(0, 5)))
    blocks = [normal(rng, where.size, *shape[1:]) for _ in range(2)]
    if kind == "ScatterAssign":
        dtype = rng.choice([np.float32, np.int32, np.int64])
        inputs = [(normal(rng, *shape) * 9).astype(dtype), where, (blocks[0] * 9).astype(dtype)]
    else:
        inputs = [normal(rng, *shape), normal(rng, 1), where, blocks[0], normal(rng, 1), blocks[1], normal(rng, 1)]
    return Case(kind, inputs, fed=len(inputs), in_place=True)


@case("Scatter")
def scatter_elements(rng, kind):
    shape = list(any_rank(rng, 2))
    axis = int(rng.integers(0, len(shape)))
    data = normal(rng, *shape)
    shape[axis] = int(rng.integers(1, shape[axis] + 1))
    where = np.argsort(rng.random(data.shape), axis=axis).take(range(shape[axis]), axis)  # no two in the same place
    return Case(kind, [data, where.astype(index_dtype(rng)), normal(rng, *shape)], {"axis": axis}, fed=3)


@case("SequenceMask")
def sequence_mask(rng, kind):
    mode = str(rng.choice(["sequence", "window", "upper", "lower", "upperdiag", "lowerdiag"]))
    shape = any_rank(rng, 2)
    axis = int(rng.integers(1, len(shape)))
    arguments = {"mode": mode, "axis": axis} | ({"fill_val": -9.0} if flip(rng) else {})
    rows = int(np.prod(shape[:axis]))
    if axis > 1 and flip(rng):
        arguments["batch"] = int(rng.integers(0, axis - 1))
        rows = int(np.prod(shape[arguments["batch"] + 1 : axis]))
    elif mode == "sequence" and flip(rng, 0.4):
        arguments["repeat_from_axis"] = int(rng.integers(axis, len(shape)))
    if mode not in ("sequence", "window"):
        return Case(kind, [normal(rng, *shape)], arguments)
    arguments |= {"radius": int(rng.integers(0, 3))} if mode == "window" else {}
    return Case(kind, [normal(rng, *shape), rng.integers(0, 6, rows).astype(np.int32)], arguments, fed=2)


@case("BooleanMask")
def boolean_mask(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [data_of(rng, shape), rng.random(shape[0]) < 0.5], outputs=int(rng.integers(1, 3)), fed=2)


@case("BooleanMaskLengths")
def boolean_mask_lengths(rng, kind):
    lengths = rng.integers(0, 4, int(rng.integers(1, 5))).astype(index_dtype(rng))
    return Case(kind, [lengths, rng.random(int(lengths.sum())) < 0.5], fed=2)


@case("BooleanUnmask")
def boolean_unmask(rng, kind):
    first = rng.random(6) < 0.5
    second = ~first | (rng.random(6) < 0.5)
    # Caffe2 takes a mask's next value only where no earlier mask held
    return Case(kind, [first, normal(rng, first.sum()), second, normal(rng, (second & ~first).sum())], fed=4)


@case("StumpFuncIndex")
def stump_index(rng, kind):
    return Case(kind, [digits(rng, *any_rank(rng), dtype=np.float32)], {"threshold": 0.0}, 2)


@case("Unique")
def unique(rng, kind):
    x = digits(rng, int(rng.integers(1, 9)), dtype=index_dtype(rng))
    return Case(kind, [x], outputs=int(rng.integers(1, 3)))


@case("GatherRanges", "GatherRangesToDense")
def gather_ranges(rng, kind):
    data, count = data_of(rng, (9,)), int(rng.integers(1, 4))
    if kind == "GatherRanges":
        lengths = rng.integers(0, 4, (int(rng.integers(1, 4)), count))
        starts = rng.integers(0, 10 - lengths)
        return Case(kind, [data, np.stack([starts, lengths], -1).astype(index_dtype(rng))], {}, 2, fed=2)
    widths = rng.integers(1, 4, count)
    lengths = np.where(rng.random((3, count)) < 0.3, 0, widths)
    ranges = np.stack([rng.integers(0, 10 - lengths), lengths], -1).astype(index_dtype(rng))
    keys = [rng.permutation(9).astype(np.int64)] if flip(rng) else []
    return Case(kind, [data, ranges, *keys], {"lengths": widths}, count, fed=2 + len(keys))


@case("SparseToDense")
def sparse_to_dense(rng, kind):
    where = indices(rng, 5, int(rng.integers(1, 6)))
    values = (normal(rng, where.size, *any_rank(rng, 0, 3)) * 9).astype(rng.choice([np.float32, np.int32, np.int64]))
    form = rng.integers(0, 3)
    further = [normal(rng, 6)] if form == 1 else []
    return Case(kind, [where, values, *further], {"output_first_dim": 7} if form == 2 else {}, fed=2 + len(further))


@case("SparseToDenseMask")
def sparse_to_dense_mask(rng, kind):
    shape, count = any_rank(rng, 0, 3), int(rng.integers(1, 6))
    lengths = rng.multinomial(count, [0.5, 0.3, 0.2]).astype(np.int32)
    inputs = [indices(rng, 6, count), normal(rng, count, *shape), normal(rng, *shape)]
    inputs += [lengths] if flip(rng) else []
    mask = [int(v) for v in rng.permutation(8)[: int(rng.integers(1, 5))]]
    present = flip(rng)
    return Case(kind, inputs, {"mask": mask, "return_presence_mask": int(present)}, 1 + present, fed=len(inputs))


@case("BatchSparseToDense")
def batch_sparse_to_dense(rng, kind):
    lengths = rng.integers(0, 3, 4).astype(np.int64)
    where = np.concatenate([rng.permutation(5)[:n] for n in lengths]).astype(np.int64)
    inputs, arguments = [lengths, where, normal(rng, where.size)], {"dense_last_dim": 5}
    if flip(rng):
        inputs, arguments = [*inputs, normal(rng, 1, 5)], {}
    return Case(kind, inputs, arguments | ({"default_value": 2.5} if flip(rng) else {}), fed=len(inputs))


@case("BatchDenseToSparse")
def batch_dense_to_sparse(rng, kind):
    lengths = rng.integers(0, 3, 4).astype(np.int64)
    return Case(kind, [lengths, indices(rng, 5, int(lengths.sum()), dtype=np.int64), normal(rng, 4, 5)], fed=3)


@case("Range")
def number_range(rng, kind):
    dtype = rng.choice([np.float32, np.int32, np.int64])
    start, stop, step = int(rng.integers(-5, 5)), int(rng.integers(-5, 12)), int(rng.choice([-3, -2, -1, 1, 2, 3]))
    bounds = [[stop], [start, stop], [start, stop, step]][int(rng.integers(0, 3))]
    return Case(kind, [np.array(v, dtype) for v in bounds], fed=len(bounds) if flip(rng) else 0)


@case("TopK")
def top_k(rng, kind):
    shape = any_rank(rng)
    x = digits(rng, *shape, dtype=np.float32) if flip(rng) else normal(rng, *shape)
    if flip(rng, 0.2):
        x = with_gaps(rng, x, [np.inf, -np.inf])
    k, axis = int(rng.integers(1, 7)), int(rng.integers(-1, len(shape)))
    outputs = int(rng.integers(2, 4))
    if flip(rng, 0.3):
        arguments = {"axis": axis} | ({"k": 2} if flip(rng, 0.3) else {})
        return Case(kind, [x, np.array([k], np.int64)], arguments, outputs, fed=int(rng.integers(1, 3)))
    return Case(kind, [x], {"k": k, "axis": axis}, outputs)


@case("Tile")
def tile(rng, kind):
    shape = any_rank(rng)
    tiles, axis = int(rng.integers(1, 4)), int(rng.integers(-len(shape), len(shape)))
    form = rng.integers(0, 4)
    if form == 0:
        dtype = index_dtype(rng)
        return Case(kind, [normal(rng, *shape), np.array([tiles], dtype)], {"axis": axis}, fed=int(rng.integers(1, 3)))
    if form == 1:
        numbers = [np.array([v], index_dtype(rng)) for v in (tiles, axis)]
        return Case(kind, [normal(rng, *shape), *numbers], {}, fed=3)
    x = (normal(rng, *shape) * 9).astype(rng.choice([np.float32, np.float32, np.int32, np.int64, np.uint8]))
    return Case(kind, [x], {"tiles": tiles, "axis": axis})


@case("NumpyTile")
def numpy_tile(rng, kind):
    shape = any_rank(rng, 1, 4)
    repeats = rng.integers(0 if flip(rng, 0.1) else 1, 4, len(shape)).astype(np.int64)
    return Case(kind, [data_of(rng, shape), repeats], fed=int(rng.integers(1, 3)))


@case("Expand")
def expand(rng, kind):
    shape = tuple(d if flip(rng) else 1 for d in any_rank(rng))
    wanted = [d if d > 1 and flip(rng) else int(rng.integers(1, 4)) if d == 1 else -1 for d in shape]
    wanted = wanted[int(rng.integers(0, len(wanted))) :] if flip(rng, 0.3) else [2, *wanted][int(flip(rng)) :]
    x = (normal(rng, *shape) * 9).astype(rng.choice([np.float32, np.int32, np.int64]))
    return Case(kind, [x, np.array(wanted, np.int64)], fed=int(rng.integers(1, 3)))


@case("Size")
def size(rng, kind):
    return Case(kind, [data_of(rng, any_rank(rng, 0))])


@case("ResizeLike")
def resize_like(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [data_of(rng, shape), normal(rng, *shape[::-1])], fed=2)


@case("PrependDim")
def prepend_dim(rng, kind):
    shape, parts = any_rank(rng), int(rng.integers(1, 4))
    return Case(kind, [data_of(rng, (shape[0] * parts, *shape[1:]))], {"dim_size": parts})


@case("MergeDim")
def merge_dim(rng, kind):
    return Case(kind, [data_of(rng, any_rank(rng, 2))])


@case("SpaceToBatch", "BatchToSpace")
def space_batch(rng, kind):
    block, (count, channels, rows, columns) = int(rng.integers(1, 4)), dims(rng, 4, 1, 4)
    pads = {"pad": int(rng.integers(0, 2)) * block} if flip(rng) else {}
    if kind == "BatchToSpace":
        pads = {"pad": int(rng.integers(0, 2))} if min(rows, columns) * block > 2 and flip(rng) else {}
        return Case(kind, [normal(rng, count * block**2, channels, rows, columns)], {"block_size": block, **pads})
    return Case(kind, [normal(rng, count, channels, rows * block, columns * block)], {"block_size": block, **pads})


@case("ResizeNearest3D")
def resize_nearest_3d(rng, kind):
    scales = {"temporal_scale": float(rng.integers(1, 3)), "height_scale": 2.0, "width_scale": 2.0}
    return Case(kind, [normal(rng, *dims(rng, 5, 1, 4))], scales)
