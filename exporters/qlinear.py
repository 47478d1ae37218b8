"""The QLinear form of an int8 net: QLinearConv, where the QDQ form has DequantizeLinear, Conv, QuantizeLinear.

Fully connected layers become convolutions of one pixel. What ONNX has no such operator for (additions,
poolings, transposed convolutions ...) stays in QDQ form.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

# What may stand between the layer and its QuantizeLinear, and its input and its DequantizeLinear: they move
# elements, and so do the same to bytes.
MOVES = ("Transpose", "Flatten")


@dataclass(frozen=True)
class _Layer:
    """A Conv or Gemm between DequantizeLinear and QuantizeLinear, with the moves before and after it."""

    node: onnx.NodeProto
    x: onnx.NodeProto
    weight: onnx.NodeProto
    bias: onnx.NodeProto
    before: list[onnx.NodeProto]
    of_weight: list[onnx.NodeProto]
    after: list[onnx.NodeProto]
    y: onnx.NodeProto


def to_qlinear(model: onnx.ModelProto) -> None:
    """Rewrite a model in QDQ form, in place."""
    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    writers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in node.input)
    readers.update(value.name for value in graph.output)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        layer = _layer(node, writers, readers, constants) if node.op_type == "QuantizeLinear" else None
        nodes += [node] if layer is None else _rewritten(layer, constants)
    live = _live(nodes, {value.name for value in graph.output})
    read = {name for node in live for name in node.input}
    kept = [numpy_helper.from_array(value, name) for name, value in constants.items() if name in read]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(live)
    graph.initializer.extend(kept)


def _layer(quantize: onnx.NodeProto, writers: dict, readers: Counter, constants: dict) -> _Layer | None:
    """The layer whose output a QuantizeLinear quantizes, where QLinearConv can be all of it."""
    after, node = [], writers.get(quantize.input[0])
    while node is not None and readers[node.output[0]] == 1 and node.op_type in (*MOVES, "Relu"):
        # the bytes are clamped at 0, which Relu is where 0 is its byte
        if node.op_type != "Relu":
            after.append(node)
        elif constants[quantize.input[2]] != 0:
            return None
        node = writers.get(node.input[0])
    if node is None or node.op_type not in ("Conv", "Gemm") or readers[node.output[0]] != 1:
        return None
    ends = [_dequantized(name, writers) for name in node.input]
    if len(ends) != 3:
        return None
    (x, before), (weight, of_weight), (bias, _) = ends
    if x is None or weight is None or bias is None:
        return None
    if x.input[0] in constants or any(end.input[0] not in constants for end in (weight, bias)):
        return None
    return _Layer(node, x, weight, bias, before, of_weight, after[::-1], quantize)


def _dequantized(name: str, writers: dict) -> tuple[onnx.NodeProto | None, list[onnx.NodeProto]]:
    """The DequantizeLinear that a value comes from, and the moves since."""
    moves, node = [], writers.get(name)
    while node is not None and node.op_type in (*MOVES, "Reshape"):
        moves.append(node)
        node = writers.get(node.input[0])
    return (node if node is not None and node.op_type == "DequantizeLinear" else None), moves[::-1]


def _rewritten(layer: _Layer, constants: dict[str, np.ndarray]) -> list[onnx.NodeProto]:
    """The nodes in the layer's place; its weight, moved, becomes a constant."""
    name, gemm = layer.node.name, layer.node.op_type == "Gemm"
    weight = constants[layer.weight.input[0]]
    for move in layer.of_weight:
        weight = _moved(move, weight, constants)
    if gemm:
        weight = weight.reshape(*weight.shape, 1, 1)
    constants[f"{name}/weight"], constants[f"{name}/pixel"] = weight, np.array([2, 3])
    nodes: list[onnx.NodeProto] = []
    x = layer.x.input[0]

    def add(kind: str, inputs: list[str], attributes) -> str:
        nodes.append(helper.make_node(kind, inputs, [f"{name}/{len(nodes)}"], name=f"{name}/{len(nodes)}"))
        nodes[-1].attribute.extend(attributes)
        return nodes[-1].output[0]

    for move in layer.before:
        x = add(move.op_type, [x, *move.input[1:]], move.attribute)
    if gemm:
        x = add("Unsqueeze", [x, f"{name}/pixel"], [])
    inputs = [x, *layer.x.input[1:], f"{name}/weight", *layer.weight.input[1:], *layer.y.input[1:]]
    y = add("QLinearConv", [*inputs, layer.bias.input[0]], () if gemm else layer.node.attribute)
    if gemm:
        y = add("Squeeze", [y, f"{name}/pixel"], [])
    for move in layer.after:
        y = add(move.op_type, [y], move.attribute)
    nodes[-1].output[0] = layer.y.output[0]
    return nodes


def _moved(move: onnx.NodeProto, value: np.ndarray, constants: dict[str, np.ndarray]) -> np.ndarray:
    if move.op_type == "Transpose":
        return value.transpose(move.attribute[0].ints)
    return value.reshape([have or value.shape[i] for i, have in enumerate(constants[move.input[1]])])


def _live(nodes: list[onnx.NodeProto], needed: set[str]) -> list[onnx.NodeProto]:
    live = []
    for node in reversed(nodes):
        if not needed.isdisjoint(node.output):
            needed.update(node.input)
            live.append(node)
    return live[::-1]
