"""Cases of reductions and of the rarer normalizations."""

import numpy as np
from operator_cases import Case, any_rank, case, dims, flip, image, normal


@case("ReduceFrontSum", "ReduceBackSum", "ReduceFrontMean", "ReduceBackMean", "ReduceFrontMax", "ReduceBackMax")
def reduce_side(rng, kind):
    dtype = np.float32 if "Max" in kind else rng.choice([np.float32, np.float32, np.int32, np.int64])
    shape = any_rank(rng, 2)
    x = (normal(rng, *shape) * 20).astype(dtype)
    if flip(rng, 0.4):
        front = "Front" in kind
        count = int(np.prod(shape[1:] if front else shape[:-1]))
        lengths = rng.integers(int(dtype != np.float32), (shape[0] if front else shape[-1]) + 1, count).astype(np.int32)
        return Case(kind, [x, lengths], fed=2)
    return Case(kind, [x], {"num_reduce_dim": int(rng.integers(0, len(shape) + 1))} if flip(rng) else {})


@case("ReduceTailSum")
def reduce_tail(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))])


@case("RowwiseMax", "ColwiseMax")
def matrix_max(rng, kind):
    return Case(kind, [normal(rng, *dims(rng, 3))])


@case("SumElements", "SumSqrElements", "AveragedLoss")
def total(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))], {"average": int(flip(rng))} if "Loss" not in kind else {})


@case("SumElementsInt")
def total_of_integers(rng, kind):
    return Case(kind, [rng.integers(-99, 99, any_rank(rng)).astype(np.int32)])


@case("LpNorm")
def lp_norm(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))], {"p": int(rng.integers(1, 3)), "average": int(flip(rng))})


@case("Moments")
def moments(rng, kind):
    shape = any_rank(rng)
    axes = [int(a) for a in rng.permutation(len(shape))[: int(rng.integers(1, len(shape) + 1))]]
    return Case(kind, [normal(rng, *shape)], {"axes": axes, "keepdims": int(flip(rng))} if flip(rng, 0.8) else {}, 2)


@case("BatchMoments")
def batch_moments(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng, 2))], {"order": "NHWC"} if flip(rng) else {}, 2)


@case("SumReduceLike")
def sum_reduce_like(rng, kind):
    shape = any_rank(rng)
    start = int(rng.integers(0, len(shape)))
    stop = int(rng.integers(start + 1, len(shape) + 1))
    other = shape[start:stop]
    arguments = {} if stop == len(shape) and flip(rng) else {"axis": start}
    return Case(kind, [normal(rng, *shape), normal(rng, *other)], arguments, fed=2)


@case("GroupNorm")
def group_norm(rng, kind):
    order, group = "NHWC" if flip(rng, 0.3) else "NCHW", int(rng.integers(1, 4))
    channels = group * int(rng.integers(1, 4))
    x = normal(rng, *image(rng, channels, 3, order))
    if order == "NCHW" and flip(rng, 0.3):
        x = x[:, :, None]
    arguments = {"group": group, "order": order, "is_test": int(flip(rng))} | ({"epsilon": 1e-3} if flip(rng) else {})
    return Case(kind, [x, normal(rng, channels), normal(rng, channels)], arguments, 3)


@case("RMSNorm")
def rms_norm(rng, kind):
    shape = any_rank(rng, 2)
    axis = int(rng.integers(1, len(shape)))
    vectors = [normal(rng, *shape[axis:]), normal(rng, *shape[axis:])]
    return Case(kind, [normal(rng, *shape) + 1, *vectors], {"axis": axis, "eps": float(rng.choice([0, 1e-3]))}, 2)


@case("NormalizeL1")
def normalize_l1(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [normal(rng, *shape)], {"axis": int(rng.integers(-len(shape), len(shape)))} if flip(rng) else {})


@case("NormalizePlanarYUV")
def normalize_planar_yuv(rng, kind):
    x = normal(rng, *dims(rng, 4))
    mean, deviation = normal(rng, 1, x.shape[1]), rng.uniform(0.5, 2, (1, x.shape[1])).astype(np.float32)
    return Case(kind, [x, mean, deviation])
