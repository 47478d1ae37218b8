"""Recurrent layers, step by step: sequences of fixed length become as many copies of the cell, which share weights."""

from collections.abc import Callable

import numpy as np

from exporters.layers import Blob, Unsupported
from exporters.onnx_to_caffe2.operators.indexing import chosen
from exporters.onnx_to_caffe2.registry import Node, converts

MAX_STEPS = 1024

State = list[Blob | None]  # what a cell hands on, the hidden values [N, H] first; None for zeros
Weights = list[tuple[Blob, Blob]]  # of the recurrence: matrix [G, H] and bias [G], for gates that are computed together
Cell = Callable[[Node, Blob, State, Weights], State]  # (node, gates of the input [N, G], state, weights)


@converts("LSTM")
def lstm(node, x, w, r, b=None, lengths=None, h=None, c=None, p=None, *, hidden_size, direction="forward",
         activations=None, activation_alpha=None, activation_beta=None, clip=None, input_forget=0,
         layout=0):  # fmt: skip
    if p is not None or input_forget:
        raise Unsupported("peepholes, or a forget gate that is the input gate's")
    _check(node, lengths, activations, ["Sigmoid", "Tanh", "Tanh"], clip, layout)
    return _recurrent(node, x, w, r, b, [h, c], direction, _lstm_cell, [4])


@converts("GRU")
def gru(node, x, w, r, b=None, lengths=None, h=None, *, hidden_size, direction="forward", activations=None,
        activation_alpha=None, activation_beta=None, clip=None, linear_before_reset=0, layout=0):  # fmt: skip
    _check(node, lengths, activations, ["Sigmoid", "Tanh"], clip, layout)
    return _recurrent(node, x, w, r, b, [h], direction, _gru_cell_linear if linear_before_reset else _gru_cell, [2, 1])


@converts("RNN")
def rnn(node, x, w, r, b=None, lengths=None, h=None, *, hidden_size, direction="forward", activations=None,
        activation_alpha=None, activation_beta=None, clip=None, layout=0):  # fmt: skip
    _check(node, lengths, activations, ["Tanh"], clip, layout)
    return _recurrent(node, x, w, r, b, [h], direction, _rnn_cell, [1])


def _check(node: Node, lengths: Blob | None, activations, usual: list[str], clip, layout: int) -> None:
    if lengths is not None or clip or layout:
        raise Unsupported("lengths of sequences, clipping, or the batch first")
    if activations and [str(name.decode() if isinstance(name, bytes) else name) for name in activations] != usual * (
        len(activations) // len(usual)
    ):
        raise Unsupported(f"activations other than {', '.join(usual)}")


def _recurrent(
    node: Node,
    x: Blob,
    w: Blob,
    r: Blob,
    b: Blob | None,
    initial: State,
    direction: str,
    cell: Cell,
    together: list[int],
) -> list[Blob]:
    """All steps' hidden values [T, D, N, H], and the last state [D, N, H], of every direction.

    together: how many gates each product of the recurrence computes.
    """
    if not (w.is_constant and r.is_constant and (b is None or b.is_constant)):
        raise Unsupported("weights that are computed while the net runs")
    steps = x.fixed_dim(0)
    if steps > MAX_STEPS:
        raise Unsupported(f"{steps} steps, more than {MAX_STEPS}")
    runs = {"forward": [False], "reverse": [True], "bidirectional": [False, True]}[direction]
    hidden, last = [], []
    for index, backwards in enumerate(runs):
        state = [None if blob is None else _of_direction(node, blob, index) for blob in initial]
        bias = np.zeros(2 * w.shape[1], np.float32) if b is None else b.value[index]
        of_input, of_hidden = np.split(bias, 2)
        gates = node.add("FC", [x, node.constant(w.value[index]), node.constant(of_input)], axis=2)
        ends = np.cumsum(together)[:-1] * r.shape[2]
        pairs = zip(np.split(r.value[index], ends), np.split(of_hidden, ends), strict=True)
        weights = [(node.constant(matrix), node.constant(vector)) for matrix, vector in pairs]
        parts = node.add_many("Split", [gates], steps, axis=0, split=[1] * steps) if steps > 1 else [gates]
        made = []
        for part in parts[::-1] if backwards else parts:
            state = cell(node, node.add("Squeeze", [part], dims=[0]), state, weights)
            made.append(node.add("ExpandDims", [state[0]], dims=[0, 1]))
        hidden.append(_joined(node, made[::-1] if backwards else made, 0))
        last.append([node.add("ExpandDims", [blob], dims=[0]) for blob in state])
    results = [_joined(node, hidden, 1), *(_joined(node, list(blobs), 0) for blobs in zip(*last, strict=True))]
    return results[: len(node.outputs)]


def _of_direction(node: Node, blob: Blob, index: int) -> Blob | None:
    if blob.is_zero:
        return None
    if blob.is_constant:
        return node.constant(blob.value[index])
    return chosen(node, blob, 0, index)


def _joined(node: Node, blobs: list[Blob], axis: int) -> Blob:
    return node.add_many("Concat", blobs, 1, axis=axis)[0] if len(blobs) > 1 else blobs[0]


def _recurrence(node: Node, h: Blob | None, weights: tuple[Blob, Blob]) -> Blob:
    """R h + bias, [N, G] or, where h is zero, [G]."""
    return weights[1] if h is None else node.add("FC", [h, *weights])


def _times(node: Node, a: Blob, b: Blob | None) -> Blob | None:
    return None if b is None else node.add("Mul", [a, b])


def _plus(node: Node, a: Blob, b: Blob | None) -> Blob:
    return a if b is None else node.add("Add", [a, b])


def _lstm_cell(node: Node, gates: Blob, state: State, weights: Weights) -> State:
    """ONNX's order of the gates: input, output, forget, cell."""
    h, c = state
    total = node.add("Add", [gates, _recurrence(node, h, weights[0])])
    i, o, f, g = node.add_many("Split", [total], 4, axis=1, split=[gates.shape[1] // 4] * 4)
    i, o, f = (node.add("Sigmoid", [gate]) for gate in (i, o, f))
    c = _plus(node, node.add("Mul", [i, node.add("Tanh", [g])]), _times(node, f, c))
    return [node.add("Mul", [o, node.add("Tanh", [c])]), c]


def _gru_cell(node: Node, gates: Blob, state: State, weights: Weights) -> State:
    """ONNX's order of the gates: update, reset, hidden; the reset is before the recurrence."""
    z, reset, x = _gru_gates(node, gates, state[0], weights[0])
    recurrence = _recurrence(node, _times(node, reset, state[0]), weights[1])
    return [_gru_mix(node, z, node.add("Tanh", [node.add("Add", [x, recurrence])]), state[0])]


def _gru_cell_linear(node: Node, gates: Blob, state: State, weights: Weights) -> State:
    """As torch has it: the reset is behind the recurrence."""
    z, reset, x = _gru_gates(node, gates, state[0], weights[0])
    recurrence = node.add("Mul", [reset, _recurrence(node, state[0], weights[1])])
    return [_gru_mix(node, z, node.add("Tanh", [node.add("Add", [x, recurrence])]), state[0])]


def _gru_gates(node: Node, gates: Blob, h: Blob | None, weights: tuple[Blob, Blob]) -> list[Blob]:
    """(update, reset, the input's part of the candidate)"""
    size = gates.shape[1] // 3
    both, x = node.add_many("Split", [gates], 2, axis=1, split=[2 * size, size])
    both = node.add("Sigmoid", [node.add("Add", [both, _recurrence(node, h, weights)])])
    return [*node.add_many("Split", [both], 2, axis=1, split=[size] * 2), x]


def _gru_mix(node: Node, z: Blob, candidate: Blob, h: Blob | None) -> Blob:
    """(1 - z) * candidate + z * h"""
    rest = node.add("Sub", [candidate, node.add("Mul", [z, candidate])])
    return _plus(node, rest, _times(node, z, h))


def _rnn_cell(node: Node, gates: Blob, state: State, weights: Weights) -> State:
    return [node.add("Tanh", [node.add("Add", [gates, _recurrence(node, state[0], weights[0])])])]
