"""Blobs brought to one shape, where Caffe2's operator does not broadcast itself."""

import functools
from collections.abc import Callable

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.layers.graph import Shapes
from exporters.onnx_to_caffe2.registry import Node


def joint_shapes(*blobs: Blob) -> Shapes:
    """The shapes that blobs broadcast to. Raises Unsupported where they do not."""
    try:
        first, second = (np.broadcast_shapes(*(blob.shapes[variant] for blob in blobs)) for variant in (0, 1))
    except ValueError:
        raise Unsupported("shapes that do not broadcast") from None
    return first, second


def broadcast(node: Node, blobs: list[Blob], shapes: Shapes | None = None) -> list[Blob]:
    """All blobs in the shapes that they broadcast to, or in given ones that are larger.

    Numbers and other constants are repeated here, where the shape is fixed. Else they are added to zeros of the shape.
    """
    wanted = joint_shapes(*blobs) if shapes is None else shapes
    needs_zeros = [blob for blob in blobs if blob.shapes != wanted and not _repeats(blob, wanted)]
    zeros = _zeros(node, blobs, wanted) if needs_zeros else None
    return [_expanded(node, blob, wanted, zeros if blob in needs_zeros else None) for blob in blobs]


def _repeats(blob: Blob, wanted: Shapes) -> bool:
    """Whether only dimensions of fixed size have to be repeated."""
    first, second = ((1,) * (len(wanted[0]) - blob.rank) + shape for shape in blob.shapes)
    dims = zip(first, second, *wanted, strict=True)
    return all((a, b) == (c, d) or c == d for a, b, c, d in dims)


def _expanded(node: Node, blob: Blob, wanted: Shapes, zeros: Blob | None) -> Blob:
    if blob.shapes == wanted:
        return blob
    if zeros is None and blob.is_constant and wanted[0] == wanted[1]:
        return node.constant(np.broadcast_to(blob.value, wanted[0]))
    if zeros is None:
        return _repeated(node, blob, wanted[0])
    if blob.dtype == np.bool_:
        whole = node.add("Add", [zeros, as_type(node, blob, np.dtype(np.float32))])
        return node.add("GT", [whole, node.constant(np.float32(0.5))])
    return node.add("Add", [as_type(node, zeros, blob.dtype), blob])


def _repeated(node: Node, x: Blob, shape: tuple[int, ...]) -> Blob:
    """x with its dimensions of 1 repeated to these; the others are as they are."""
    if x.rank < len(shape):
        x = node.add("ExpandDims", [x], dims=list(range(len(shape) - x.rank)))
    if x.dtype.name not in ("float32", "int32", "int64"):
        return as_type(node, _repeated(node, as_type(node, x, np.dtype(np.int32)), shape), x.dtype)
    for axis, dim in enumerate(shape):
        if x.shape[axis] == 1 != dim:
            x = node.add("Tile", [x], tiles=dim, axis=axis)
    return x


def _zeros(node: Node, blobs: list[Blob], wanted: Shapes) -> Blob:
    """float32 zeros in shapes that are not fixed, from the blobs that have them."""
    parts = [
        node.constant(np.zeros(blob.shape, np.float32)) if blob.is_constant else node.add("ConstantFill", [blob])
        for blob in blobs
        if blob.known_shapes is not None and blob.shape != (1,) * blob.rank
    ]
    zeros = next((part for part in parts if part.known_shapes == wanted), None)
    if zeros is not None:
        return zeros
    zeros, *others = sorted(parts, key=lambda part: part.is_constant)
    for part in others:
        zeros = node.add("Add", [zeros, part])
    if zeros.known_shapes != wanted:
        raise Unsupported("a shape that depends on the input's; fix it with --img-size")
    return zeros


def widened(convert: Callable) -> Callable:
    """A conversion of arithmetic, for whole numbers of 8 and 16 bits too: Caffe2 computes with those of 32 and more."""

    @functools.wraps(convert)
    def wrapper(node: Node, *blobs: Blob | None, **attributes):
        narrow = next((x.dtype for x in blobs if x is not None and x.dtype.name in NARROW), None)
        if narrow is None:
            return convert(node, *blobs, **attributes)
        wide = [x if x is None or x.dtype != narrow else as_type(node, x, INT32) for x in blobs]
        return as_type(node, convert(node, *wide, **attributes), narrow)

    return wrapper


NARROW = ("int8", "uint8", "int16", "uint16")
INT32 = np.dtype(np.int32)


def as_type(node: Node, x: Blob, dtype: np.dtype) -> Blob:
    """x in another element type."""
    if x.dtype == dtype:
        return x
    if x.dtype.kind == "O":
        raise Unsupported("Caffe2 has no Cast of strings to numbers")
    if x.is_constant:
        return node.constant(x.value.astype(dtype))
    if dtype.name not in CAST_TYPES:
        raise Unsupported(f"Caffe2 has no Cast to {dtype}")
    return node.add("Cast", [x], to=CAST_TYPES[dtype.name])


# TensorProto.DataType of the types that Caffe2's Cast makes.
CAST_TYPES = {
    "float32": 1,
    "int32": 2,
    "bool": 5,
    "uint8": 6,
    "int8": 7,
    "uint16": 8,
    "int16": 9,
    "int64": 10,
}
