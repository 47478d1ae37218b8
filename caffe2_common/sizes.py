"""Heights and widths, and shapes of inputs, as users write them."""

import re
from collections.abc import Sequence

from caffe2_common.errors import ModelError

Size = int | tuple[int, int]  # height and width in pixels; one number is both

Dims = tuple[int | None, ...]  # of an input; None for a dimension that is free


def pair_of(size: Size) -> tuple[int, int]:
    """(height, width)"""
    return (size, size) if isinstance(size, int) else size


def size_of(shape: Sequence[int]) -> Size:
    """Of an image's shape [N, C, H, W]."""
    height, width = shape[2:]
    return height if height == width else (height, width)


def size_text(size: Size) -> str:
    """As a user writes it: 224, or 48x192."""
    height, width = pair_of(size)
    return str(height) if height == width else f"{height}x{width}"


def parse_size(text: str) -> Size:
    """N, or HxW; raises ModelError for anything else, and for what is not above zero."""
    match = re.fullmatch(r"([1-9]\d{0,5})(?:[xX]([1-9]\d{0,5}))?", text)
    if match is None:
        raise ModelError(f"invalid size {text!r}: expected N or HxW, in pixels")
    height, width = int(match[1]), int(match[2] or match[1])
    return height if height == width else (height, width)


def parse_shape(text: str) -> tuple[str, Dims]:
    """NAME=1x3x48x320, where ? stands for a dimension that is free; raises ModelError for anything else."""
    name, equals, dims = text.rpartition("=")
    parts = dims.lower().split("x")
    if not (name and equals and all(part == "?" or re.fullmatch(r"[1-9]\d{0,8}", part) for part in parts)):
        raise ModelError(f"invalid shape {text!r}: expected NAME=1x3x48x320, with ? for a free dimension")
    return name, tuple(None if part == "?" else int(part) for part in parts)
