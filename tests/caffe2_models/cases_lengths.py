"""Cases of lengths and segments, of padded and packed sequences, and of embedding tables."""

import numpy as np
from cases_elementwise import digits
from cases_indexing import data_of, index_dtype, indices
from operator_cases import Case, any_rank, case, flip, normal


def lengths_of(rng, low=0, count=None, dtype=np.int32) -> np.ndarray:
    return rng.integers(low, 4, int(rng.integers(1, 5)) if count is None else count).astype(dtype)


def inner(rng) -> tuple[int, ...]:
    return any_rank(rng, 0, 3)


@case("LengthsToSegmentIds", "LengthsRangeFill", "LengthsToRanges")
def of_lengths(rng, kind):
    return Case(kind, [lengths_of(rng)])


@case("LengthsToWeights")
def lengths_to_weights(rng, kind):
    return Case(kind, [lengths_of(rng, dtype=index_dtype(rng))], {"power": float(rng.choice([0.5, 1, 0.7]))})


@case("LengthsToOffsets")
def lengths_to_offsets(rng, kind):
    return Case(kind, [lengths_of(rng)], {"include_last_offset": 1} if flip(rng) else {})


@case("LengthsToShape")
def lengths_to_shape(rng, kind):
    return Case(kind, [np.full(int(rng.integers(1, 5)), 3, np.int32)])


@case("SegmentIdsToLengths", "SegmentIdsToRanges")
def of_segment_ids(rng, kind):
    ids = np.sort(rng.integers(0, 5, int(rng.integers(1, 7)))).astype(index_dtype(rng))
    return Case(kind, [ids, normal(rng, 6)] if flip(rng) else [ids], fed=1)


@case("LengthsSplit")
def lengths_split(rng, kind):
    lengths, count = rng.integers(0, 12, 4).astype(np.int32), int(rng.integers(1, 5))
    if flip(rng):
        return Case(kind, [lengths, np.array([count], np.int32)], fed=int(rng.integers(1, 3)))
    return Case(kind, [lengths], {"n_split": count})


@case("LengthsPad")
def lengths_pad(rng, kind):
    lengths = lengths_of(rng)
    data = normal(rng, lengths.sum(), *inner(rng)) * 9
    dtype = rng.choice([np.float32, np.int32, np.int64])
    return Case(kind, [data.astype(dtype), lengths], {"target_length": 4, "padding_value": 2.0}, fed=2)


@case("LengthsTile")
def lengths_tile(rng, kind):
    lengths = lengths_of(rng)
    return Case(kind, [data_of(rng, (lengths.size, *inner(rng))), lengths], fed=2)


@case("LengthsGather")
def lengths_gather(rng, kind):
    lengths = lengths_of(rng)
    where = indices(rng, lengths.size, int(rng.integers(1, 4)))
    return Case(kind, [data_of(rng, (lengths.sum(), *inner(rng))), lengths, where], fed=3)


@case("LengthsTopK")
def lengths_top_k(rng, kind):
    lengths = lengths_of(rng)
    return Case(kind, [digits(rng, lengths.sum(), dtype=np.float32), lengths], {"k": int(rng.integers(1, 5))}, 2, fed=2)


@case("PackSegments")
def pack_segments(rng, kind):
    lengths = lengths_of(rng, 1, dtype=index_dtype(rng))
    arguments = {"max_length": int(rng.choice([5, 2]))} if flip(rng) else {}
    arguments |= {"pad_minf": 1} if flip(rng) else {}
    data = (normal(rng, lengths.sum(), *inner(rng)) * 9).astype(rng.choice([np.float32, np.int32, np.int64]))
    present = flip(rng)
    return Case(kind, [lengths, data], {**arguments, "return_presence_mask": int(present)}, 1 + present, fed=2)


@case("UnpackSegments")
def unpack_segments(rng, kind):
    lengths = lengths_of(rng, dtype=index_dtype(rng))
    data = (normal(rng, lengths.size, 4, *inner(rng)) * 9).astype(rng.choice([np.float32, np.int32, np.int64]))
    return Case(kind, [lengths, data], {"max_length": 4}, fed=2)


@case("PackRNNSequence")
def pack_rnn(rng, kind):
    lengths = lengths_of(rng)
    return Case(kind, [normal(rng, lengths.sum(), 2, *inner(rng)), lengths], fed=2)


@case("UnpackRNNSequence")
def unpack_rnn(rng, kind):
    lengths = lengths_of(rng)
    return Case(kind, [normal(rng, 4, lengths.size, 2, *inner(rng)), lengths], fed=2)


@case("ReversePackedSegs")
def reverse_packed(rng, kind):
    lengths = lengths_of(rng, 1, dtype=index_dtype(rng))
    return Case(kind, [normal(rng, 4, lengths.size, 2), lengths], fed=2)


def padding(rng) -> tuple[dict, int, int]:
    """(arguments, rows before, rows behind)"""
    start = int(rng.integers(0, 3))
    if flip(rng):
        return {"padding_width": start}, start, start
    end = int(rng.integers(0, 3))
    return {"padding_width": start, "end_padding_width": end}, start, end


@case("AddPadding")
def add_padding(rng, kind):
    arguments, start, end = padding(rng)
    lengths, shape = lengths_of(rng), inner(rng)
    inputs = [normal(rng, lengths.sum(), *shape), lengths]
    if start + end and flip(rng):
        inputs += [normal(rng, *shape) for _ in range(int(rng.integers(1, 3)))]
    elif flip(rng, 0.3):
        return Case(kind, [normal(rng, 4, *shape)], arguments, 1)
    return Case(kind, inputs, arguments, int(rng.integers(1, 3)), fed=len(inputs))


@case("RemovePadding", "GatherPadding")
def remove_padding(rng, kind):
    arguments, start, end = padding(rng)
    lengths = lengths_of(rng) + np.int32(start + end)
    outputs = 2 if start + end and flip(rng) else 1
    return Case(kind, [normal(rng, lengths.sum(), *inner(rng)), lengths], arguments, outputs, fed=2)


@case("PadEmptySamples")
def pad_empty(rng, kind):
    lengths, count = lengths_of(rng), int(rng.integers(1, 3))
    features = [normal(rng, lengths.sum(), 2).astype(np.float32) for _ in range(count)]
    return Case(kind, [lengths, *features], {}, 1 + count, fed=1 + count)


SEGMENTS = ["LengthsSum", "LengthsMean", "LengthsMax", "LengthsWeightedSum"]
SEGMENTS += [f"{prefix}{order}Segment{name}" for prefix in ("", "Sparse") for order in ("Sorted", "Unsorted")
             for name in ("Sum", "Mean", "WeightedSum")]  # fmt: skip
SEGMENTS += [f"SortedSegmentRange{name}" for name in ("Sum", "Mean", "Max", "LogSumExp", "LogMeanExp")]
SPARSE = [f"SparseLengths{name}" for name in ("Sum", "Mean", "WeightedSum")]


@case(*SEGMENTS, *SPARSE)
def segments(rng, kind):
    lengths = lengths_of(rng, 1 if "Sorted" in kind else 0)
    count, shape, arguments = int(lengths.sum()), inner(rng), {}
    groups = lengths if "Lengths" in kind else np.repeat(np.arange(lengths.size, dtype=np.int32), lengths)
    if "Unsorted" in kind:
        groups = rng.permutation(groups)
        arguments = {"num_segments": 6} if flip(rng) else {}
    data = normal(rng, 6 if kind.startswith("Sparse") else count, *shape)
    if kind in SPARSE and flip(rng, 0.3):
        data = data.astype(np.float16)
    weights = [normal(rng, count)] if "Weighted" in kind else []
    where = [indices(rng, 6, count)] if kind.startswith("Sparse") else []
    inputs = [data, *weights, *where, groups]
    return Case(kind, inputs, arguments, fed=len(inputs))


@case("ReduceFrontWeightedSum")
def reduce_front_weighted(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [normal(rng, *shape), normal(rng, shape[0])], fed=2)


def table(rng, kind: str) -> np.ndarray:
    """Quantized rows for an operator with the storage in its name."""
    rows, width = 6, 8 * int(rng.integers(1, 4))
    bits = 8 if "8Bit" in kind else 4 if "4Bit" in kind else 2
    elements = rng.integers(0, 256, (rows, width * bits // 8), dtype=np.uint8)
    parameter = np.float32 if bits == 8 and "HalfScaleBias" not in kind else np.float16
    parameters = np.stack([rng.uniform(0.01, 0.1, rows), rng.normal(0, 1, rows)], axis=1).astype(parameter)
    return np.concatenate([elements, parameters.view(np.uint8)], axis=1)


STORED = ["8BitRowwise", "4BitRowwise", "2BitRowwise"]


@case(*[f"SparseLengths{name}Fused{rows}" for name in ("Sum", "Mean", "WeightedSum") for rows in STORED])
def sparse_fused(rng, kind):
    lengths = lengths_of(rng)
    count = int(lengths.sum())
    weights = [normal(rng, count)] if "Weighted" in kind else []
    inputs = [table(rng, kind), *weights, indices(rng, 6, count), lengths]
    return Case(kind, inputs, fed=len(inputs))


@case(*[f"SparseLengths{name}{rows}Sparse" for name in ("Sum", "Mean", "WeightedSum") for rows in STORED])
def sparse_compressed(rng, kind):
    lengths = lengths_of(rng)
    count = int(lengths.sum())
    weights = [normal(rng, count)] if "Weighted" in kind else []
    if flip(rng, 0.2):
        where, mapping = indices(rng, 6, count), np.zeros(1, np.int32)
    else:
        where, mapping = indices(rng, 8, count), rng.integers(-1, 6, 8).astype(np.int32)
    inputs = [table(rng, kind), *weights, where, lengths, mapping]
    return Case(kind, inputs, fed=len(inputs))


@case("SparseLengthsPositionalWeightedSum")
def sparse_positional(rng, kind):
    lengths = lengths_of(rng)
    inputs = [normal(rng, 6, *inner(rng)), normal(rng, 5), indices(rng, 6, int(lengths.sum())), lengths]
    return Case(kind, inputs, fed=4)


@case(*[f"SparseLengths{name}8BitsRowwise" for name in ("Sum", "Mean", "WeightedSum", "WeightedMean")])
def sparse_rowwise(rng, kind):
    lengths = lengths_of(rng)
    count = int(lengths.sum())
    rows = rng.integers(0, 256, (6, int(rng.integers(1, 9))), dtype=np.uint8)
    weights = [normal(rng, count)] if "Weighted" in kind else []
    inputs = [rows, *weights, indices(rng, 6, count), lengths, normal(rng, 6, 2)]
    return Case(kind, inputs, fed=len(inputs))


@case("FloatToRowwiseQuantized8Bits")
def to_rowwise(rng, kind):
    x = normal(rng, *any_rank(rng))
    x[: int(flip(rng))] = 1.5
    return Case(kind, [x], {}, 2)


@case("Rowwise8BitQuantizedToFloat")
def from_rowwise(rng, kind):
    shape = any_rank(rng)
    return Case(kind, [rng.integers(0, 256, shape, dtype=np.uint8), normal(rng, shape[0], 2)])


QUANTIZING = [f"FloatToFused{bits}BitRowwiseQuantized" for bits in (8, 4, 2)]
QUANTIZING += ["HalfFloatToFused8BitRowwiseQuantized"]
QUANTIZING += [f"HalfToFused{bits}BitRowwiseQuantized" for bits in (4, 2)]
QUANTIZING += [f"{name}ToFused8BitRowwiseQuantizedHalfScaleBias" for name in ("Float", "HalfFloat")]
QUANTIZING += [f"{name}ToFused{bits}BitFakeRowwiseQuantized" for name in ("Float", "Half") for bits in (4, 2)]


@case(*QUANTIZING)
def quantize_rows(rng, kind):
    shape = (int(rng.integers(1, 5)), 8 * int(rng.integers(1, 4)))
    if "Fake" not in kind and flip(rng, 0.3):
        shape = (2, *shape)
    x = normal(rng, *shape, scale=float(rng.choice([1e-3, 1, 50])))
    x[0] = 1.5 if flip(rng, 0.2) else x[0]
    return Case(kind, [x.astype(np.float16 if kind.startswith("Half") else np.float32)])


DECODING = [f"Fused8BitRowwiseQuantized{form}" for form in ("ToFloat", "ToHalfFloat")]
DECODING += [f"Fused8BitRowwiseQuantizedHalfScaleBias{form}" for form in ("ToFloat", "ToHalfFloat")]
DECODING += [f"Fused{bits}BitRowwiseQuantized{form}" for bits in (4, 2) for form in ("ToFloat", "ToHalf")]


@case(*DECODING)
def decode_rows(rng, kind):
    return Case(kind, [table(rng, kind)])


@case("GatherFused8BitRowwise")
def gather_fused(rng, kind):
    return Case(kind, [table(rng, kind), indices(rng, 6, int(rng.integers(1, 6)))], fed=2)
