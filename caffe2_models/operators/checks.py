"""What operators ask of their inputs before they compute."""

import math
from typing import overload

import numpy as np

from caffe2_common.errors import LaterError, ModelError
from caffe2_models.tensors import TensorType


def check_rank(blob: TensorType, rank: int, role: str) -> None:
    """Raises ModelError for a blob of another rank."""
    if len(blob.shape) != rank:
        raise ModelError(f"{role} of shape {list(blob.shape)}; {rank} dimensions are expected")


def check_same_type(*blobs: TensorType) -> None:
    """Raises ModelError for blobs of different types."""
    for other in blobs[1:]:
        if other.dtype != blobs[0].dtype:
            raise ModelError(f"operands of different types, {blobs[0].dtype} and {other.dtype}")


def check_same_shape(*blobs: TensorType) -> None:
    """Raises ModelError for blobs of different shapes or types."""
    check_same_type(*blobs)
    for other in blobs[1:]:
        if other.shape != blobs[0].shape:
            raise ModelError(f"{blobs[0]} and {other} differ")


def canonical_axis(axis: int, rank: int) -> int:
    """axis counted from the front; raises ModelError outside the rank."""
    if not -rank <= axis < rank:
        raise ModelError(f"axis {axis} of a blob of {rank} dimensions")
    return axis % rank


def flattened(shape: tuple[int, ...], axis: int) -> tuple[int, int]:
    """The shape in two dimensions, divided before `axis` (which may equal the rank)."""
    axis = axis if axis == len(shape) else canonical_axis(axis, len(shape))
    return math.prod(shape[:axis]), math.prod(shape[axis:])


@overload
def known(blob: TensorType, role: str) -> np.ndarray: ...


@overload
def known(blob: TensorType | None, role: str) -> np.ndarray | None: ...


def known(blob: TensorType | None, role: str) -> np.ndarray | None:
    """The content of an optional input that decides the output's shape; LaterError where a run must tell it."""
    if blob is None:
        return None
    if blob.content is None:
        raise LaterError(f"its {role} come from a blob that is known only when the net runs")
    return blob.content


def check_indices(indices: np.ndarray, extent: int, wraps: bool = False) -> None:
    """Raises ModelError for an index outside [0, extent), or outside [-extent, extent) where negative ones wrap."""
    if indices.size and (indices.min() < (-extent if wraps else 0) or indices.max() >= extent):
        wrong = indices.min() if indices.min() < (-extent if wraps else 0) else indices.max()
        raise ModelError(f"index {wrong} of {extent}")


def check_lengths(lengths: np.ndarray, total: int) -> None:
    """Raises ModelError for lengths that are negative or do not add up to `total`."""
    if (lengths < 0).any() or lengths.sum(dtype=np.int64) != total:
        raise ModelError(f"lengths that add up to {lengths.sum(dtype=np.int64)}, of {total}")
