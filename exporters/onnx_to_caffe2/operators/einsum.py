"""Einsum, as sums, transposes and products of matrices."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.layout import transposed
from exporters.onnx_to_caffe2.registry import Node, converts

Sizes = dict[str, int | None]  # of each label; None for one that depends on the input's shape


@converts("Einsum")
def einsum(node, *inputs, equation):
    """Operand after operand: what is neither wanted nor in another operand is summed first."""
    terms, result = _parse(equation, [x.rank for x in inputs])
    pairs = [_diagonal(node, x, term) for x, term in zip(inputs, terms, strict=True)]
    inputs, terms = [x for x, _ in pairs], [term for _, term in pairs]
    y, labels = inputs[0], terms[0]
    for index, (x, others) in enumerate(zip(inputs[1:], terms[1:], strict=True)):
        later = "".join(terms[index + 2 :]) + result
        y, labels = _sum(node, y, labels, later + others)
        x, others = _sum(node, x, others, later + labels)
        y, labels = _product(node, (y, x), (labels, others), later)
    y, labels = _sum(node, y, labels, result)
    return _ordered(node, y, [labels.index(label) for label in result])


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """The operands' labels and the result's; an ellipsis becomes capital letters that are not used."""
    left, arrow, result = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if len(terms) != len(ranks):
        raise Unsupported(f"{len(terms)} operands in {equation!r}, where {len(ranks)} are given")
    counts = [rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True)]
    free = [letter for letter in map(chr, range(ord("A"), ord("Z") + 1)) if letter not in equation]
    spread = "".join(free[: max(0, *counts)])
    expanded = [t.replace("...", spread[len(spread) - count :]) for t, count in zip(terms, counts, strict=True)]
    if any(len(term) != rank for term, rank in zip(expanded, ranks, strict=True)):
        raise Unsupported(f"{equation!r} does not fit operands of {', '.join(map(str, ranks))} dimensions")
    every = "".join(expanded)
    once = "".join(sorted(label for label in set(every) - set(spread) if every.count(label) == 1))
    return expanded, result.replace("...", spread) if arrow else spread + once


def _diagonal(node: Node, x: Blob, labels: str) -> tuple[Blob, str]:
    """What a label that stands twice takes: every (n + 1)th of the n * n elements of its two dimensions."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            rest = [axis for axis in range(x.rank) if axis not in (first, second)]
            size = x.fixed_dim(first)
            moved = transposed(node, x, [*rest, first, second])
            square = node.add("Reshape", [moved], shape=[*[0] * len(rest), size * size])
            x = node.add("Gather", [square, node.constant(np.arange(size) * (size + 1))], axis=len(rest) or None)
            labels = "".join(labels[axis] for axis in rest) + label
    return x, labels


def _sum(node: Node, x: Blob, labels: str, wanted: str) -> tuple[Blob, str]:
    axes = [axis for axis, label in enumerate(labels) if label not in wanted]
    if not axes:
        return x, labels
    kept = "".join(label for label in labels if label in wanted)
    return node.add("ReduceSum", [x], axes=axes, keepdims=0), kept


def _product(node: Node, operands: tuple[Blob, Blob], terms: tuple[str, str], wanted: str) -> tuple[Blob, str]:
    """Both as [batch, rows, inner] and [batch, inner, columns]."""
    a, b = terms
    shared = [label for label in a if label in b]
    batch, inner = [x for x in shared if x in wanted], [x for x in shared if x not in wanted]
    rows, columns = [label for label in a if label not in b], [label for label in b if label not in a]
    sizes = _sizes(operands, terms)
    sides = []
    for blob, labels, parts in zip(operands, terms, ((batch, rows, inner), (batch, inner, columns)), strict=True):
        moved = _ordered(node, blob, [labels.index(label) for label in itertools.chain(*parts)])
        sides.append(_reshaped(node, moved, [_extent(sizes, part) for part in parts]))
    labels = "".join(batch + rows + columns)
    return _reshaped(node, node.add("BatchMatMul", sides), [_extent(sizes, label) for label in labels]), labels


def _sizes(operands: tuple[Blob, Blob], terms: tuple[str, str]) -> Sizes:
    """Raises Unsupported for operands that broadcast along a dimension that they share."""
    sizes: Sizes = {}
    for x, labels in zip(operands, terms, strict=True):
        for axis, label in enumerate(labels):
            size = x.shape[axis] if x.is_fixed(axis) else None
            if sizes.setdefault(label, size) != size:
                raise Unsupported(f"operands that are {sizes[label]} and {size} along one dimension")
    return sizes


def _extent(sizes: Sizes, labels: Sequence[str]) -> int:
    """Of a dimension that these become, -1 where it depends on the input's shape."""
    extents = [sizes[label] for label in labels]
    return -1 if None in extents else math.prod(extent for extent in extents if extent is not None)


def _ordered(node: Node, x: Blob, axes: Sequence[int]) -> Blob:
    if list(axes) == sorted(axes):
        return x
    return node.constant(x.value.transpose(axes)) if x.is_constant else node.add("Transpose", [x], axes=list(axes))


def _reshaped(node: Node, x: Blob, shape: list[int]) -> Blob:
    if len(shape) == x.rank and all(want in (-1, have) for want, have in zip(shape, x.shape, strict=True)):
        return x
    if shape.count(-1) > 1:
        raise Unsupported("several dimensions that depend on the input's shape; fix it with --img-size")
    return node.constant(x.value.reshape(shape)) if x.is_constant else node.add("Reshape", [x], shape=shape)
