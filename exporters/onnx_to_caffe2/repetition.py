"""Constants whose size follows an input's: one row that is repeated for as many images, or tokens, as there are."""

import numpy as np

from caffe2_common.dtypes import CODE_OF_NUMPY
from exporters.layers import Blob, Graph, Unsupported, constant

SUMS = ("float32", "int32", "int64")  # that Caffe2 adds


def repeated_row(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray | None:
    """What a constant repeats along the dimensions whose size differs at the two sizes, these being 1 in it.

    None where it repeats nothing.
    """
    if first is None or second is None or first.ndim != second.ndim:
        return None
    place = tuple(slice(None if a == b else 1) for a, b in zip(first.shape, second.shape, strict=True))
    row = first[place]
    same = all(np.array_equal(np.broadcast_to(row, x.shape), x, equal_nan=x.dtype.kind == "f") for x in (first, second))
    return row if same and row.size else None


def repeat(graph: Graph, blob: Blob) -> Blob:
    """The blob made while the net runs: its row, added to zeros that are as many as the input has.

    Raises Unsupported where it is no repeated row, or its size is no input's.
    """
    if blob.row is None:
        raise Unsupported("computes with the input's shape; fix it with --img-size or --shape")
    kind = blob.row.dtype.name
    summed = kind if kind in SUMS else "float32"
    whole = constant(blob.row.astype(summed))
    for axis in range(blob.rank):
        if not blob.is_fixed(axis):
            zeros = _cast(graph, _zeros(graph, blob, axis), summed)
            whole = graph.add("Add", [zeros, whole], blob.name, 1, {}).output
    return _cast(graph, whole, kind)


def _zeros(graph: Graph, blob: Blob, axis: int) -> Blob:
    """float32 zeros, as many along this axis as the input has that it follows, one along each other."""
    sizes = [shape[axis] for shape in blob.shapes]
    found = [(x, i) for x in graph.inputs for i in range(x.rank) if [shape[i] for shape in x.shapes] == sizes]
    if len({i for _, i in found}) != 1:
        raise Unsupported("computes with the input's shape; fix it with --img-size or --shape")
    x, along = found[0]
    for i in range(x.rank):
        if i != along:
            ends = [1 if j == i else -1 for j in range(x.rank)]
            x = graph.add("Slice", [x], blob.name, 1, {"starts": [0] * x.rank, "ends": ends}).output
    shape = [-1 if i == axis else 1 for i in range(blob.rank)]
    x = graph.add("Reshape", [x], blob.name, 1, {"shape": shape}).output
    return graph.add("ConstantFill", [x], blob.name, 1, {}).output


def _cast(graph: Graph, x: Blob, kind: str) -> Blob:
    return x if x.dtype.name == kind else graph.add("Cast", [x], x.name, 1, {"to": CODE_OF_NUMPY[kind]}).output
