"""Cases of arithmetic, comparisons, logic, casts and distances."""

import numpy as np
from operator_cases import Case, any_rank, case, dims, flip, normal


def with_gaps(rng, x: np.ndarray, values=(np.nan,)) -> np.ndarray:
    """x with some of its elements replaced."""
    mask = rng.random(x.shape) < 0.2
    return np.where(mask, rng.choice(values, x.shape), x).astype(x.dtype)


def digits(rng, *shape, dtype=np.int32) -> np.ndarray:
    """Numbers of which many are equal."""
    return rng.integers(-2, 3, shape).astype(dtype)


def broadcast_pair(rng) -> tuple[tuple[int, ...], tuple[int, ...], dict]:
    """Two shapes that broadcast, and the arguments that say how."""
    shape = any_rank(rng, 2)
    form = rng.integers(0, 3)
    if form == 0:
        return shape, shape, {}
    if form == 1:
        return shape, tuple(d if flip(rng) else 1 for d in shape)[int(rng.integers(0, len(shape))) :], {}
    start = int(rng.integers(0, len(shape)))
    return shape, shape[start : int(rng.integers(start + 1, len(shape) + 1))], {"broadcast": 1, "axis": start}


@case("Acos", "Asin")
def inverse(rng, kind):
    return Case(kind, [rng.uniform(-1, 1, any_rank(rng)).astype(np.float32)])


@case("Reciprocal")
def reciprocal(rng, kind):
    x = normal(rng, *any_rank(rng))
    return Case(kind, [np.sign(x) * (np.abs(x) + np.float32(0.05))])


@case("AliasWithName")
def alias(rng, kind):
    return Case(kind, [digits(rng, *any_rank(rng), dtype=np.int64)], {"name": "here", "is_backward": int(flip(rng))})


@case("Logit")
def logit(rng, kind):
    x = rng.uniform(-0.1, 1.1, any_rank(rng)).astype(np.float32)
    return Case(kind, [x], {"eps": float(rng.uniform(1e-4, 0.4))})


@case("ReplaceNaN")
def replace_nan(rng, kind):
    x = with_gaps(rng, normal(rng, *any_rank(rng)), [np.nan, np.inf])
    return Case(kind, [x], {"value": 2.5} if flip(rng) else {})


@case("Scale")
def scale(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))], {"scale": float(rng.normal())} if flip(rng, 0.8) else {})


@case("StumpFunc")
def stump(rng, kind):
    x = with_gaps(rng, digits(rng, *any_rank(rng), dtype=np.float32))
    return Case(kind, [x], {"threshold": float(rng.integers(-2, 3)), "low_value": -1.0, "high_value": 2.0})


@case("ThresholdedRelu")
def thresholded_relu(rng, kind):
    x = digits(rng, *any_rank(rng), dtype=np.float32)
    return Case(kind, [x], {"alpha": float(rng.integers(-2, 3))} if flip(rng) else {})


@case("Mod")
def mod(rng, kind):
    x = rng.integers(-50, 50, any_rank(rng)).astype(rng.choice([np.int32, np.int64]))
    divisor = int(rng.choice([-7, -3, -1, 1, 2, 5, 100]))
    return Case(kind, [x], {"divisor": divisor, "sign_follow_divisor": int(flip(rng))})


@case("Bucketize")
def bucketize(rng, kind):
    boundaries = sorted(float(b) for b in rng.integers(-3, 3, int(rng.integers(1, 6))))
    return Case(kind, [with_gaps(rng, digits(rng, *any_rank(rng), dtype=np.float32))], {"boundaries": boundaries})


@case("EQ", "NE", "LT", "LE", "GT", "GE")
def comparison(rng, kind):
    first, second, arguments = broadcast_pair(rng)
    dtypes = [np.float32, np.int32, np.int64] + ([np.bool_] if kind in ("EQ", "NE") else [])
    a, b = (digits(rng, *shape).astype(dtype) for dtype in [rng.choice(dtypes)] for shape in (first, second))
    if a.dtype == np.float32:
        a = with_gaps(rng, a, [np.nan, np.inf, -0.0])
    return Case(kind, [a, b], arguments, fed=2)


@case("And", "Or", "Xor")
def logic(rng, kind):
    first, second, arguments = broadcast_pair(rng)
    return Case(kind, [rng.random(first) < 0.5, rng.random(second) < 0.5], arguments, fed=2)


@case("BitwiseAnd", "BitwiseOr", "BitwiseXor")
def bitwise(rng, kind):
    first, second, arguments = broadcast_pair(rng)
    dtype = rng.choice([np.int32, np.int64, np.bool_])
    a, b = (rng.integers(-99, 99, shape).astype(dtype) for shape in (first, second))
    return Case(kind, [a, b], arguments, fed=2)


@case("Not")
def negation(rng, kind):
    return Case(kind, [rng.random(any_rank(rng)) < 0.5])


@case("IsNaN")
def is_nan(rng, kind):
    return Case(kind, [with_gaps(rng, normal(rng, *any_rank(rng)), [np.nan, np.inf])])


@case("IsMemberOf")
def is_member(rng, kind):
    x = digits(rng, *any_rank(rng), dtype=rng.choice([np.int32, np.int64, np.bool_]))
    dtype = {"int32": 2, "int64": 10, "bool": 5}[x.dtype.name]
    return Case(
        kind, [x], {"value": [int(v) for v in rng.integers(0, 2, 2)], **({"dtype": dtype} if flip(rng) else {})}
    )


@case("Where", "Conditional")
def where(rng, kind):
    shape = any_rank(rng)
    dtype = rng.choice([np.float32, np.int32, np.int64, np.bool_])
    a, b = digits(rng, *shape, dtype=dtype), digits(rng, *shape, dtype=dtype)
    by_rows = kind == "Conditional" or flip(rng)
    condition = rng.random(shape[:1] if by_rows else shape) < 0.5
    return Case(kind, [condition, a, b], {"broadcast_on_rows": 1} if by_rows else {}, fed=3)


@case("HasElements")
def has_elements(rng, kind):
    count = int(rng.integers(1, 4))
    return Case(kind, [normal(rng, int(rng.integers(0, 2)), 3) for _ in range(count)], fed=count)


@case("EnforceFinite", "ZeroGradient")
def without_output(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))], outputs=0)


@case("NanCheck")
def nan_check(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng))])


@case("FloatToHalf")
def float_to_half(rng, kind):
    x = with_gaps(rng, normal(rng, *any_rank(rng), scale=50), [65519, 65520, -1e6, 5e-8, np.inf])
    return Case(kind, [x], {"clip": int(flip(rng))} if flip(rng) else {})


@case("HalfToFloat")
def half_to_float(rng, kind):
    return Case(kind, [normal(rng, *any_rank(rng)).astype(np.float16)])


@case("Mean", "SumRelu")
def mean(rng, kind):
    shape, count = any_rank(rng), int(rng.integers(1, 5))
    return Case(kind, [normal(rng, *shape) for _ in range(count)], fed=count)


@case("WeightedSum")
def weighted_sum(rng, kind):
    shape, count = any_rank(rng), int(rng.integers(1, 4))
    inputs = [array for _ in range(count) for array in (normal(rng, *shape), normal(rng, 1))]
    return Case(kind, inputs, fed=2 * count)


@case("RowMul")
def row_mul(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [normal(rng, *shape), normal(rng, shape[0])], fed=2)


@case("SquareRootDivide")
def square_root_divide(rng, kind):
    shape = any_rank(rng)
    scale = rng.integers(0, 5, shape[0]).astype(rng.choice([np.float32, np.int32, np.int64]))
    return Case(kind, [normal(rng, *shape), scale], fed=2)


@case("ElementwiseLinear")
def elementwise_linear(rng, kind):
    shape = any_rank(rng, 2)
    axis = int(rng.integers(0, len(shape)))
    width = int(np.prod(shape[axis:]))
    return Case(
        kind, [normal(rng, *shape), normal(rng, width), normal(rng, width)], {"axis": axis} if axis != 1 else {}
    )


@case("Glu")
def glu(rng, kind):
    shape = list(any_rank(rng))
    dim = int(rng.integers(-1, len(shape)))
    shape[dim] = 2 * int(rng.integers(1, 4))
    return Case(kind, [normal(rng, *shape)], {"dim": dim} if dim != -1 else {})


@case("MakeTwoClass")
def make_two_class(rng, kind):
    return Case(kind, [rng.random(any_rank(rng), np.float32)])


@case("BatchBoxCox")
def box_cox(rng, kind):
    rows, columns = dims(rng, 2)
    lambda1 = np.where(rng.random(columns) < 0.4, 0, rng.uniform(0.2, 2, columns)).astype(np.float32)
    return Case(kind, [rng.uniform(0, 5, (rows, columns)).astype(np.float32), lambda1, rng.random(columns, np.float32)])


@case("DotProduct", "SquaredL2Distance", "L1Distance", "CosineSimilarity")
def distance(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [normal(rng, *shape), normal(rng, *shape)], fed=2)


@case("DotProductWithPadding")
def dot_product_with_padding(rng, kind):
    rows, width = int(rng.integers(1, 5)), int(rng.integers(1, 5))
    replicate = flip(rng)
    other = width * int(rng.integers(1, 4)) if replicate else int(rng.integers(1, 9))
    inputs = [normal(rng, rows, width), normal(rng, rows, other)]
    return Case(kind, inputs[:: 1 if flip(rng) else -1], {"replicate": 1} if replicate else {"pad_value": 0.5}, fed=2)
