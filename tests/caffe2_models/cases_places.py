"""Cases of windows as columns, of values among sorted bounds, of grids over images, of lists shared out."""

import numpy as np
from cases_elementwise import digits
from cases_indexing import index_dtype
from cases_lengths import lengths_of
from operator_cases import Case, any_rank, case, dims, flip, normal


def columns_case(rng) -> tuple[tuple[int, ...], tuple[int, ...], dict]:
    """(shape of an image, shape of its columns, arguments)"""
    order, kernel = str(rng.choice(["NCHW", "NHWC"])), tuple(int(k) for k in rng.integers(1, 4, 2))
    stride, pad, dilation = int(rng.integers(1, 3)), int(rng.integers(0, 3)), int(rng.integers(1, 3))
    count, channels = dims(rng, 2, 1, 4)
    size = [dilation * (k - 1) + 1 + int(rng.integers(0, 5)) for k in kernel]
    places = [(n + 2 * pad - dilation * (k - 1) - 1) // stride + 1 for n, k in zip(size, kernel, strict=True)]
    arguments = {"kernel_h": kernel[0], "kernel_w": kernel[1], "stride": stride, "pad": pad, "dilation": dilation}
    taps = kernel[0] * kernel[1] * channels
    if order == "NCHW":
        return (count, channels, *size), (count, taps, *places), {**arguments, "order": order}
    return (count, *size, channels), (count, *places, taps), {**arguments, "order": order}


@case("Im2Col")
def im2col(rng, kind):
    image, _, arguments = columns_case(rng)
    return Case(kind, [normal(rng, *image)], arguments)


@case("Col2Im")
def col2im(rng, kind):
    image, columns, arguments = columns_case(rng)
    return Case(kind, [normal(rng, *columns), normal(rng, *image)], arguments, fed=2)


@case("Histogram")
def histogram(rng, kind):
    edges = np.unique(digits(rng, int(rng.integers(2, 7)), dtype=np.float32))
    edges = np.append(edges, edges[-1] + 1).tolist()
    inputs = [digits(rng, *any_rank(rng), dtype=np.float32) for _ in range(int(rng.integers(1, 3)))]
    return Case(kind, inputs, {"bin_edges": edges}, fed=len(inputs))


@case("Percentile")
def percentile(rng, kind):
    rows, columns = dims(rng, 2, 1, 5)
    lengths = rng.integers(0, 5, columns).astype(np.int32)
    samples = [np.sort(rng.choice(12, n, replace=False)) for n in lengths]
    pairs = np.stack([np.concatenate([np.zeros(0), *samples]), rng.random(lengths.sum())], axis=1)
    x = rng.integers(-2, 14, (rows, columns)) + rng.choice([0, 0.25], (rows, columns))
    return Case(kind, [x.astype(np.float32), pairs.astype(np.float32), lengths], fed=int(rng.integers(1, 4)))


@case("PiecewiseLinearTransform")
def piecewise_linear(rng, kind):
    binary, pieces = flip(rng), int(rng.integers(1, 5))
    columns = 1 if binary else int(rng.integers(1, 4))
    bounds = np.sort(normal(rng, columns, pieces + 1), axis=1)
    functions = [bounds.ravel(), normal(rng, columns * pieces), normal(rng, columns * pieces)]
    rows = int(rng.integers(1, 8))
    shape = [(rows,), (rows, 1), (rows, 2)][int(rng.integers(3))] if binary else (rows, columns)
    x = normal(rng, *shape, scale=2)
    if flip(rng):
        return Case(kind, [x, *functions], {"binary": int(binary)})
    names = ("bounds", "slopes", "intercepts")
    arguments = {name: values.tolist() for name, values in zip(names, functions, strict=True)}
    return Case(kind, [x], {**arguments, "binary": int(binary)})


@case("RMACRegions")
def rmac_regions(rng, kind):
    arguments = {"scales": int(rng.integers(1, 5)), "overlap": float(rng.choice([0.4, 0.25]))} if flip(rng) else {}
    return Case(kind, [normal(rng, *dims(rng, 2, 1, 3), *dims(rng, 2, 1, 20))], arguments)


@case("IntegralImage")
def integral_image(rng, kind):
    return Case(kind, [normal(rng, *dims(rng, 4))])


@case("Partition")
def partition(rng, kind):
    parts, shape = int(rng.integers(1, 4)), any_rank(rng, 1, 3)
    ids = rng.integers(-9, 20, shape).astype(index_dtype(rng))
    others = [normal(rng, *shape, *dims(rng, int(rng.integers(0, 2)))) for _ in range(int(rng.integers(0, 3)))]
    inputs = [ids, *others]
    arguments = {"pack_first_input": 1} if flip(rng) else {}
    return Case(kind, inputs, arguments, parts * len(inputs), fed=len(inputs))


@case("LengthsPartition")
def lengths_partition(rng, kind):
    parts, lengths = int(rng.integers(1, 4)), lengths_of(rng)
    ids = rng.integers(-9, 20, lengths.sum()).astype(index_dtype(rng))
    inputs = [lengths, ids, normal(rng, ids.size, 2)] if flip(rng) else [lengths, ids]
    arguments = {"pack_first_input": 1} if flip(rng) else {}
    return Case(kind, inputs, arguments, parts * len(inputs), fed=len(inputs))


@case("MergeIdLists")
def merge_id_lists(rng, kind):
    dtype, count, inputs = index_dtype(rng), int(rng.integers(1, 5)), []
    for _ in range(int(rng.integers(1, 4))):
        lengths = lengths_of(rng, count=count)
        inputs += [lengths, rng.integers(0, 6, lengths.sum()).astype(dtype)]
    return Case(kind, inputs, outputs=2, fed=len(inputs))
