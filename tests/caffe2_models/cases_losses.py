"""Cases of losses and accuracy, of decoding and of what lengths divide."""

import numpy as np
from cases_elementwise import digits
from operator_cases import Case, any_rank, case, dims, flip, normal


def shares(rng, *shape) -> np.ndarray:
    """Rows of positive numbers that add up to 1."""
    x = rng.random(shape) + 0.05
    return (x / x.sum(axis=-1, keepdims=True)).astype(np.float32)


@case("Accuracy")
def accuracy(rng, kind):
    rows, classes = dims(rng, 2)
    labels = rng.integers(0, classes, rows).astype(np.int32)
    return Case(kind, [digits(rng, rows, classes, dtype=np.float32), labels], {"top_k": 2} if flip(rng) else {}, fed=2)


@case("LabelCrossEntropy")
def label_cross_entropy(rng, kind):
    shape = any_rank(rng)
    rows = shape[0] if len(shape) > 1 else 1
    x = np.where(rng.random(shape) < 0.1, 0, rng.random(shape)).astype(np.float32)
    classes = int(np.prod(shape)) // rows
    labels = rng.integers(0, classes, (rows, 1) if flip(rng) else rows).astype(np.int32)
    return Case(kind, [x, labels], fed=2)


@case("CrossEntropy")
def cross_entropy(rng, kind):
    rows, classes = dims(rng, 2)
    x = np.where(rng.random((rows, classes)) < 0.1, 0, rng.random((rows, classes))).astype(np.float32)
    return Case(kind, [x, shares(rng, rows, classes)], fed=2)


@case("SigmoidCrossEntropyWithLogits", "WeightedSigmoidCrossEntropyWithLogits")
def sigmoid_cross_entropy(rng, kind):
    shape = any_rank(rng, 0)
    blobs = [normal(rng, *shape), rng.random(shape).astype(np.float32)]
    if kind.startswith("Weighted"):
        return Case(kind, [*blobs, rng.random(shape).astype(np.float32)], fed=3)
    form = str(rng.choice(["", "log_D_trick", "unjoined_lr_loss"]))
    return Case(kind, blobs, {form: 1} if form else {}, fed=2)


@case("SoftmaxWithLoss")
def softmax_with_loss(rng, kind):
    shape = any_rank(rng, 2)
    axis = int(rng.integers(1, len(shape)))
    rows, classes = shape[:axis], shape[axis:]
    arguments = {"axis": axis, **({"scale": 2.5} if flip(rng) else {})}
    if flip(rng):
        count = int(np.prod(classes))
        labels, arguments["label_prob"] = shares(rng, *rows, count).reshape(shape), 1
    else:
        labels = rng.integers(0, int(np.prod(classes)), (*rows, 1) if flip(rng) else rows).astype(np.int32)
    weights = [rng.random(rows).astype(np.float32)] if flip(rng) else []
    return Case(kind, [normal(rng, *shape), labels, *weights], arguments, outputs=2, fed=2 + len(weights))


@case("FlexibleTopK")
def flexible_top_k(rng, kind):
    shape = any_rank(rng)
    counts = rng.integers(1, shape[-1] + 1, (*shape[:-1], 1))
    x = digits(rng, *shape, dtype=np.float32) if flip(rng) else normal(rng, *shape)
    return Case(kind, [x, counts], outputs=2, fed=2 if flip(rng) else 1)


@case("CTCGreedyDecoder")
def ctc_greedy_decoder(rng, kind):
    steps, count, classes = dims(rng, 3)
    blobs = [digits(rng, steps, count, classes, dtype=np.float32)]
    if flip(rng):
        blobs.append(rng.integers(0, steps + 1, count).astype(np.int32))
    return Case(kind, blobs, {"merge_repeated": int(flip(rng))} if flip(rng) else {}, outputs=2, fed=len(blobs))


@case("SplitByLengths")
def split_by_lengths(rng, kind):
    count, each, times = (int(rng.integers(1, 4)) for _ in range(3))
    lengths = rng.integers(0, 4, count * each).astype(np.int32)
    arguments = {"use_scaling_lengths": 1} if flip(rng) else {}
    extent = int(lengths.sum()) * (times if arguments else 1)
    shape = list(any_rank(rng, 2))
    axis = int(rng.integers(0, len(shape)))
    shape[axis] = extent
    if axis != 1 or flip(rng):
        arguments["axis"] = axis - (len(shape) if flip(rng) else 0)
    return Case(kind, [normal(rng, *shape), lengths], arguments, outputs=count, fed=2 if flip(rng) else 1)
