"""Recurrent layers, step by step: sequences of fixed length become as many copies of the cell, which share weights."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exporters.layers import Blob, Unsupported, constant
from exporters.onnx_to_caffe2.operators.broadcasting import as_type
from exporters.onnx_to_caffe2.operators.indexing import chosen
from exporters.onnx_to_caffe2.operators.layout import transposed
from exporters.onnx_to_caffe2.registry import Node, converts

MAX_STEPS = 1024

State = list[Blob | None]  # what a cell hands on, the hidden values [N, H] first; None for zeros
Weights = list[tuple[Blob, Blob]]  # of the recurrence: matrix [G, H] and bias [G], for gates that are computed together


@dataclass(frozen=True)
class Style:
    """What a node's attributes make of its cell, for one direction.

    functions: of the gates, and of what they let through; clip: of what goes into them; peepholes: of an LSTM's
    input, output and forget gate, [H] each; coupled: its forget gate is 1 - the input gate.
    """

    functions: list[Callable[[Node, Blob], Blob]]
    clip: float | None = None
    peepholes: tuple[Blob, Blob, Blob] | None = None
    coupled: bool = False

    def apply(self, node: Node, index: int, x: Blob) -> Blob:
        if self.clip is not None:
            x = node.add("Clip", [x], min=-self.clip, max=self.clip)
        return self.functions[index](node, x)


# (node, gates of the input [N, G], state, weights, style)
Cell = Callable[[Node, Blob, State, Weights, Style], State]


@converts("LSTM")
def lstm(node, x, w, r, b=None, lengths=None, h=None, c=None, p=None, *, hidden_size, direction="forward",
         activations=None, activation_alpha=None, activation_beta=None, clip=None, input_forget=0,
         layout=0):  # fmt: skip
    functions = _functions(activations or ["Sigmoid", "Tanh", "Tanh"], activation_alpha, activation_beta)
    styles = _styles(functions, 3, clip, p, bool(input_forget))
    return _recurrent(node, x, w, r, b, lengths, [h, c], direction, layout, _lstm_cell, [4], styles)


@converts("GRU")
def gru(node, x, w, r, b=None, lengths=None, h=None, *, hidden_size, direction="forward", activations=None,
        activation_alpha=None, activation_beta=None, clip=None, linear_before_reset=0, layout=0):  # fmt: skip
    functions = _functions(activations or ["Sigmoid", "Tanh"], activation_alpha, activation_beta)
    cell = _gru_cell_linear if linear_before_reset else _gru_cell
    return _recurrent(node, x, w, r, b, lengths, [h], direction, layout, cell, [2, 1], _styles(functions, 2, clip))


@converts("RNN")
def rnn(node, x, w, r, b=None, lengths=None, h=None, *, hidden_size, direction="forward", activations=None,
        activation_alpha=None, activation_beta=None, clip=None, layout=0):  # fmt: skip
    functions = _functions(activations or ["Tanh"], activation_alpha, activation_beta)
    return _recurrent(node, x, w, r, b, lengths, [h], direction, layout, _rnn_cell, [1], _styles(functions, 1, clip))


def _affine(node: Node, x: Blob, alpha: float, beta: float) -> Blob:
    scaled = node.add("Mul", [x, node.constant(np.float32(alpha))])
    return node.add("Add", [scaled, node.constant(np.float32(beta))])


def _scaled_tanh(node: Node, x: Blob, alpha: float, beta: float) -> Blob:
    inner = node.add("Tanh", [node.add("Mul", [x, node.constant(np.float32(beta))])])
    return node.add("Mul", [inner, node.constant(np.float32(alpha))])


# Functions that gates may have: their default alpha and beta, as far as they have them, and what computes them.
FUNCTIONS: dict[str, tuple[tuple[float, ...], Callable[..., Blob]]] = {
    **{name: ((), lambda node, x, name=name: node.add(name, [x]))
       for name in ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus")},
    **{name: ((alpha,), lambda node, x, alpha, name=name: node.add(name, [x], alpha=alpha))
       for name, alpha in (("LeakyRelu", 0.01), ("ThresholdedRelu", 1.0), ("Elu", 1.0))},
    "HardSigmoid": ((0.2, 0.5), lambda node, x, alpha, beta: node.add("HardSigmoid", [x], alpha=alpha, beta=beta)),
    "Affine": ((1.0, 0.0), _affine),
    "ScaledTanh": ((1.0, 1.0), _scaled_tanh),
}  # fmt: skip


def _functions(names, alphas, betas) -> list[Callable[[Node, Blob], Blob]]:
    """By name, with the alphas and betas that are given, each taken by the next function that has one."""
    given = [list(alphas or ()), list(betas or ())]
    functions: list[Callable[[Node, Blob], Blob]] = []
    for name in names:
        name = name.decode() if isinstance(name, bytes) else name
        if name not in FUNCTIONS:
            raise Unsupported(f"Caffe2 has no activation {name}")
        defaults, function = FUNCTIONS[name]
        values = [left.pop(0) if left else default for left, default in zip(given, defaults, strict=False)]
        functions.append(_with_values(function, values))
    return functions


def _with_values(function: Callable[..., Blob], values: list[float]) -> Callable[[Node, Blob], Blob]:
    return lambda node, x: function(node, x, *values)


def _styles(functions: list, count: int, clip, peepholes: Blob | None = None, coupled: bool = False) -> list[Style]:
    """Of each direction; the last one's again where fewer are given."""
    styles = []
    for index in range(2):
        own = functions[index * count : (index + 1) * count] or functions[:count]
        peeps = None
        if peepholes is not None:
            if not peepholes.is_constant:
                raise Unsupported("peepholes that are computed; Caffe2's LSTM units have none")
            parts = np.split(peepholes.value[min(index, len(peepholes.value) - 1)], 3)
            peeps = (constant(parts[0]), constant(parts[1]), constant(parts[2]))
        styles.append(Style(own, clip, peeps, coupled))
    return styles


def _recurrent(
    node: Node,
    x: Blob,
    w: Blob,
    r: Blob,
    b: Blob | None,
    lengths: Blob | None,
    initial: State,
    direction: str,
    layout: int,
    cell: Cell,
    together: list[int],
    styles: list[Style],
) -> list[Blob]:
    """All steps' hidden values [T, D, N, H], and the last state [D, N, H], of every direction.

    together: how many gates each product of the recurrence computes.
    """
    if not (w.is_constant and r.is_constant and (b is None or b.is_constant)):
        raise Unsupported("weights that are computed; Caffe2's RecurrentNetwork shares what its net does not change")
    if layout:  # the batch first, also in the state
        x = node.add("Transpose", [x], axes=[1, 0, 2])
        initial = [None if blob is None else transposed(node, blob, [1, 0, 2]) for blob in initial]
    steps = x.fixed_dim(0)
    masks = _masks(node, lengths, steps)
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
        for number in range(steps)[::-1] if backwards else range(steps):
            before, mask = state, masks[number]
            state = cell(node, node.add("Squeeze", [parts[number]], dims=[0]), state, weights, styles[index])
            y = state[0]
            if mask is not None:
                state = [_mixed(node, mask, new, old) for new, old in zip(state, before, strict=True)]
                y = node.add("Mul", [y, mask])
            made.append(node.add("ExpandDims", [y], dims=[0, 1]))
        hidden.append(_joined(node, made[::-1] if backwards else made, 0))
        last.append([node.add("ExpandDims", [blob], dims=[0]) for blob in state])
    results = [_joined(node, hidden, 1), *(_joined(node, list(blobs), 0) for blobs in zip(*last, strict=True))]
    if layout:
        results = [node.add("Transpose", [y], axes=[2, 0, 1, 3] if y.rank == 4 else [1, 0, 2]) for y in results]
    return results[: len(node.outputs)]


def _masks(node: Node, lengths: Blob | None, steps: int) -> list[Blob | None]:
    """For each step [N, 1]: 1 where the sequence is not yet at its end, 0 behind it; None where all go on."""
    if lengths is None or (lengths.is_constant and (lengths.value >= steps).all()):
        return [None] * steps
    column = node.constant(lengths.value[:, None]) if lengths.is_constant else (
        node.add("ExpandDims", [lengths], dims=[1]))  # fmt: skip
    return [
        as_type(node, node.add("GT", [column, node.constant(lengths.dtype.type(step))]), np.dtype(np.float32))
        for step in range(steps)
    ]


def _mixed(node: Node, mask: Blob, new: Blob | None, old: Blob | None) -> Blob | None:
    """new where the mask is 1, old where it is 0"""
    if new is None:
        return None
    if old is None:
        return node.add("Mul", [new, mask])
    return node.add("Add", [old, node.add("Mul", [node.add("Sub", [new, old]), mask])])


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


def _lstm_cell(node: Node, gates: Blob, state: State, weights: Weights, style: Style) -> State:
    """ONNX's order of the gates: input, output, forget, cell."""
    h, c = state
    total = node.add("Add", [gates, _recurrence(node, h, weights[0])])
    i, o, f, g = node.add_many("Split", [total], 4, axis=1, split=[gates.shape[1] // 4] * 4)
    of_i, of_o, of_f = style.peepholes or (None, None, None)
    i = style.apply(node, 0, _peeped(node, i, of_i, c))
    if style.coupled:
        f = node.add("Sub", [node.constant(np.float32(1)), i])
    else:
        f = style.apply(node, 0, _peeped(node, f, of_f, c))
    c = _plus(node, node.add("Mul", [i, style.apply(node, 1, g)]), _times(node, f, c))
    o = style.apply(node, 0, _peeped(node, o, of_o, c))
    return [node.add("Mul", [o, style.functions[2](node, c)]), c]


def _peeped(node: Node, gate: Blob, weight: Blob | None, c: Blob | None) -> Blob:
    return gate if weight is None or c is None else node.add("Add", [gate, node.add("Mul", [c, weight])])


def _gru_cell(node: Node, gates: Blob, state: State, weights: Weights, style: Style) -> State:
    """ONNX's order of the gates: update, reset, hidden; the reset is before the recurrence."""
    z, reset, x = _gru_gates(node, gates, state[0], weights[0], style)
    recurrence = _recurrence(node, _times(node, reset, state[0]), weights[1])
    return [_gru_mix(node, z, style.apply(node, 1, node.add("Add", [x, recurrence])), state[0])]


def _gru_cell_linear(node: Node, gates: Blob, state: State, weights: Weights, style: Style) -> State:
    """As torch has it: the reset is behind the recurrence."""
    z, reset, x = _gru_gates(node, gates, state[0], weights[0], style)
    recurrence = node.add("Mul", [reset, _recurrence(node, state[0], weights[1])])
    return [_gru_mix(node, z, style.apply(node, 1, node.add("Add", [x, recurrence])), state[0])]


def _gru_gates(node: Node, gates: Blob, h: Blob | None, weights: tuple[Blob, Blob], style: Style) -> list[Blob]:
    """(update, reset, the input's part of the candidate)"""
    size = gates.shape[1] // 3
    both, x = node.add_many("Split", [gates], 2, axis=1, split=[2 * size, size])
    both = style.apply(node, 0, node.add("Add", [both, _recurrence(node, h, weights)]))
    return [*node.add_many("Split", [both], 2, axis=1, split=[size] * 2), x]


def _gru_mix(node: Node, z: Blob, candidate: Blob, h: Blob | None) -> Blob:
    """(1 - z) * candidate + z * h"""
    rest = node.add("Sub", [candidate, node.add("Mul", [z, candidate])])
    return _plus(node, rest, _times(node, z, h))


def _rnn_cell(node: Node, gates: Blob, state: State, weights: Weights, style: Style) -> State:
    return [style.apply(node, 0, node.add("Add", [gates, _recurrence(node, state[0], weights[0])]))]
