"""Every form of a quantized ONNX model in one: floats, between QuantizeLinear and DequantizeLinear where bytes were.

ONNX Runtime writes operators on bytes (QLinearConv, QLinearAdd ...), and moves bytes (Transpose, MaxPool ...); others
write QuantizeLinear and DequantizeLinear around float operators. Here the first become the second, each the nodes that
define it. Inputs and outputs of bytes become the real values that these stand for.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from caffe2_common.errors import UnsupportedError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MICROSOFT = "com.microsoft"
QUANTIZED_TYPES = (onnx.TensorProto.UINT8, onnx.TensorProto.INT8)

# Operators that move bytes, or choose among them: the outputs' scale is the input's.
MOVES = {
    *("Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "GatherND", "Identity", "MaxPool", "Pad", "ReduceMax"),
    *("ReduceMin", "Reshape", "Resize", "Slice", "SpaceToDepth", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze"),
}

# Operators that tell where bytes are, not which.
PLACES = {"ArgMax", "ArgMin", "Shape", "Size"}


@dataclass(frozen=True)
class Scale:
    """The tensors that hold a scale and a zero point ("" for 0)."""

    scale: str
    zero_point: str = ""

    @property
    def names(self) -> list[str]:
        return [self.scale, self.zero_point] if self.zero_point else [self.scale]


@dataclass(frozen=True)
class Operand:
    """Bytes that an operator reads, and what they stand for."""

    name: str
    scale: Scale
    axis: int | None = None  # of several scales


@dataclass(frozen=True)
class Call:
    """What an operator on bytes computes: a float operator of operands, its output quantized again.

    addend: of int32, at the product of the first two operands' scales.
    """

    operator: str
    operands: list[Operand]
    output: Scale
    addend: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


Reader = Callable[[onnx.NodeProto, dict[str, Any]], Call]


def _input(node: onnx.NodeProto, index: int) -> str:
    return node.input[index] if index < len(node.input) else ""


def _operand(node: onnx.NodeProto, index: int, axis: int | None = None) -> Operand:
    """The operand, its scale and its zero point, which stand behind each other."""
    return Operand(node.input[index], Scale(node.input[index + 1], _input(node, index + 2)), axis)


def _output(node: onnx.NodeProto, index: int) -> Scale:
    return Scale(_input(node, index), _input(node, index + 1))


def _convolution(node: onnx.NodeProto, attributes: dict[str, Any]) -> Call:
    if attributes.pop("channels_last", 0):
        raise UnsupportedError(f"{node.op_type} {node.name}: channels_last")
    return Call("Conv", [_operand(node, 0), _operand(node, 3, 0)], _output(node, 6), _input(node, 8), attributes)


def _product(node: onnx.NodeProto, attributes: dict[str, Any]) -> Call:
    return Call("MatMul", [_operand(node, 0), _operand(node, 3, -1)], _output(node, 6), attributes=attributes)


def _gemm(node: onnx.NodeProto, attributes: dict[str, Any]) -> Call:
    axis = 0 if attributes.get("transB") else 1
    return Call("Gemm", [_operand(node, 0), _operand(node, 3, axis)], _output(node, 7), _input(node, 6), attributes)


def _pair(operator: str) -> Reader:
    return lambda node, attributes: Call(operator, [_operand(node, 0), _operand(node, 3)], _output(node, 6))


def _single(operator: str) -> Reader:
    def read(node: onnx.NodeProto, attributes: dict[str, Any]) -> Call:
        if attributes.pop("channels_last", 0):
            raise UnsupportedError(f"{node.op_type} {node.name}: channels_last")
        attributes.pop("opset", None)  # of Softmax
        return Call(operator, [_operand(node, 0)], _output(node, 3), attributes=attributes)

    return read


def _concat(node: onnx.NodeProto, attributes: dict[str, Any]) -> Call:
    operands = [_operand(node, index) for index in range(2, len(node.input), 3)]
    return Call("Concat", operands, _output(node, 0), attributes=attributes)


READERS: dict[str, Reader] = {
    "QLinearConv": _convolution,
    "QLinearMatMul": _product,
    "QGemm": _gemm,
    "QLinearAdd": _pair("Add"),
    "QLinearMul": _pair("Mul"),
    "QLinearConcat": _concat,
    "QLinearSigmoid": _single("Sigmoid"),
    "QLinearSoftmax": _single("Softmax"),
    "QLinearLeakyRelu": _single("LeakyRelu"),
    "QLinearAveragePool": _single("AveragePool"),
    "QLinearGlobalAveragePool": _single("GlobalAveragePool"),
    "QLinearReduceMean": _single("ReduceMean"),
}


def is_quantized(model: onnx.ModelProto) -> bool:
    """Whether activations are quantized, at scales that the file holds or computes; weights alone do not count."""
    held = _constants(model.graph)
    return any(
        node.op_type in READERS or (node.op_type == QUANTIZE and node.input[0] not in held) for node in model.graph.node
    )


def is_quantized_anew(model: onnx.ModelProto) -> bool:
    """Whether activations are rounded to steps of a scale that each run computes."""
    return any(node.op_type in ("DynamicQuantizeLinear", "DynamicQuantizeLSTM") for node in model.graph.node)


def to_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with floats between QuantizeLinear and DequantizeLinear, in one graph of ONNX's own operators.

    Raises UnsupportedError for operators on bytes that are not known.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    _constants_to_initializers(copy.graph)
    _Rewriter(copy).rewrite()
    return copy


def without_quantization(model: onnx.ModelProto) -> onnx.ModelProto:
    """The float model: activations are not quantized any more, and weights are what they stand for.

    Bytes that begin at zero clamp, and quantizers leave out the ReLU or Clip in front of them: these keep their range.
    """
    model = to_qdq(model)
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    known = _constants(model.graph)
    nodes = []
    for node in model.graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE) and node.input[0] not in known:
            node = _as_floats(node, model.graph, held)
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def _as_floats(node: onnx.NodeProto, graph: onnx.GraphProto, held: dict[str, np.ndarray]) -> onnx.NodeProto:
    """What a QuantizeLinear or DequantizeLinear does to real values: nothing, or a clamp."""
    scale, zero_point = (held.get(name) for name in (node.input[1], _input(node, 2) or node.input[1]))
    if node.op_type == QUANTIZE and scale is not None and zero_point is not None and zero_point.dtype.kind in "ui":
        limits = np.iinfo(zero_point.dtype)
        if scale.size == zero_point.size == 1 and int(zero_point.reshape(())) == limits.min:
            names = [f"{node.output[0]}/{end}" for end in ("low", "high")]
            high = np.float32(scale.reshape(()) * (limits.max - limits.min))
            for name, value in zip(names, (np.float32(0), high), strict=True):
                graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
            return helper.make_node("Clip", [node.input[0], *names], node.output, name=node.name)
    return helper.make_node("Identity", node.input[:1], node.output, name=node.name)


def _constants_to_initializers(graph: onnx.GraphProto) -> None:
    """Constant nodes become initializers; other names of an initializer, which PyTorch's exports have, are that."""
    own = {tensor.name: tensor.name for tensor in graph.initializer}
    outputs = {value.name for value in graph.output}
    kept = []
    for node in graph.node:
        node.input[:] = [own.get(name, name) for name in node.input]
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            graph.initializer.add().CopyFrom(node.attribute[0].t)
            graph.initializer[-1].name = node.output[0]
        elif node.op_type == "Identity" and node.input[0] in own and node.output[0] not in outputs:
            own[node.output[0]] = own[node.input[0]]
        else:
            kept.append(node)
    del graph.node[:]
    graph.node.extend(kept)


def _constants(graph: onnx.GraphProto) -> set[str]:
    """The tensors that are known before the net runs, as far as they are weights, quantized or not."""
    names = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" or (node.input and names.issuperset(filter(None, node.input))):
            names.update(node.output)
    return names


class _Rewriter:
    """The walk over a graph's nodes. `bytes` are the activations of bytes so far, with their scales."""

    def __init__(self, model: onnx.ModelProto):
        self.graph = model.graph
        self.initializers = {tensor.name: tensor for tensor in model.graph.initializer}
        self.constants = _constants(model.graph)
        self.bytes: dict[str, Scale] = {}
        self.nodes: list[onnx.NodeProto] = []

    def rewrite(self) -> None:
        """In place."""
        self._open_inputs()
        for node in self.graph.node:
            if node.op_type == "Cast" and _attributes(node)["to"] == self._element_of(node.input[0]):
                node.op_type = "Identity"
                del node.attribute[:]
            if node.domain == MICROSOFT and node.op_type in (QUANTIZE, DEQUANTIZE):
                node.domain = ""
            if node.op_type in READERS:
                self._expand(node, READERS[node.op_type](node, _attributes(node)))
            elif node.op_type != DEQUANTIZE and any(name in self.bytes for name in node.input):
                self._wrap(node)
            else:
                self._keep(node)
                if node.op_type == QUANTIZE and node.input[0] not in self.constants:
                    self.bytes[node.output[0]] = _scale_of(node)
        self._close_outputs()
        del self.graph.node[:], self.graph.value_info[:]
        self.graph.node.extend(self.nodes)

    def _element_of(self, name: str) -> int | None:
        """The type of an activation of bytes, which PyTorch's exports cast to what it is."""
        if name not in self.bytes:
            return None
        zero_point = self.bytes[name].zero_point
        return self.initializers[zero_point].data_type if zero_point in self.initializers else onnx.TensorProto.UINT8

    def _open_inputs(self) -> None:
        """Inputs of bytes are fed as real values, and quantized here."""
        for value in self.graph.input:
            if value.type.tensor_type.elem_type not in QUANTIZED_TYPES or value.name in self.initializers:
                continue
            scale = self._scale_read(value.name)
            if scale is None:
                continue
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            opened = f"{value.name}/bytes"
            for node in self.graph.node:
                node.input[:] = [opened if name == value.name else name for name in node.input]
            self._quantize(value.name, opened, scale)

    def _scale_read(self, name: str) -> Scale | None:
        """What the bytes of an input stand for, as the first that computes with them says."""
        moved = {name}
        for node in self.graph.node:
            if node.op_type == DEQUANTIZE and node.input[0] in moved:
                return _scale_of(node)
            if node.op_type in READERS:
                operands = READERS[node.op_type](node, _attributes(node)).operands
                if found := [operand.scale for operand in operands if operand.name in moved]:
                    return found[0]
            if node.op_type in MOVES and node.input[0] in moved:
                moved.update(node.output)
        return None

    def _close_outputs(self) -> None:
        """Outputs of bytes are given as real values."""
        for value in self.graph.output:
            if value.name not in self.bytes:
                continue
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            closed = f"{value.name}/bytes"
            for node in self.nodes:
                node.input[:] = [closed if name == value.name else name for name in node.input]
                node.output[:] = [closed if name == value.name else name for name in node.output]
            self._add(DEQUANTIZE, [closed, *self.bytes[value.name].names], value.name)

    def _keep(self, node: onnx.NodeProto) -> None:
        self.nodes.append(node)

    def _add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def _expand(self, node: onnx.NodeProto, call: Call) -> None:
        output = node.output[0]
        inputs = [self._real(operand, f"{output}/{index}") for index, operand in enumerate(call.operands)]
        if call.addend:
            inputs.append(self._real_addend(call, output))
        made = self._add(call.operator, inputs, f"{output}/real", **call.attributes)
        self._quantize(made, output, call.output)

    def _real(self, operand: Operand, name: str) -> str:
        """The operand's real values."""
        axis = {} if operand.axis is None else {"axis": self._axis(operand)}
        return self._add(DEQUANTIZE, [operand.name, *operand.scale.names], name, **axis)

    def _axis(self, operand: Operand) -> int:
        """Counted from the front: ONNX Runtime's matrices have scales for the last dimension."""
        axis = operand.axis or 0
        rank = len(self.initializers[operand.name].dims) if operand.name in self.initializers else 2
        return axis % rank

    def _quantize(self, source: str, output: str, scale: Scale) -> str:
        self._add(QUANTIZE, [source, *scale.names], output)
        self.bytes[output] = scale
        return output

    def _real_addend(self, call: Call, output: str) -> str:
        """A bias of int32, in real values."""
        x, weight = (self._array(operand.scale.scale) for operand in call.operands)
        scale = np.atleast_1d(x.reshape(()) * weight).astype(np.float32)
        scale = scale.reshape(()) if scale.size == 1 else scale
        name = f"{output}/bias_scale"
        self.graph.initializer.append(numpy_helper.from_array(scale, name))
        return self._add(DEQUANTIZE, [call.addend, name], f"{output}/bias", axis=0)

    def _array(self, name: str) -> np.ndarray:
        if name not in self.initializers:
            raise UnsupportedError(
                f"{name}: a scale that is computed while the net runs; Caffe2's scales are constants"
            )
        return numpy_helper.to_array(self.initializers[name])

    def _wrap(self, node: onnx.NodeProto) -> None:
        """A float operator in the place of one on bytes, with real values on both sides."""
        scales = [self.bytes[name] for name in node.input if name in self.bytes]
        if node.op_type not in MOVES | PLACES:
            raise UnsupportedError(f"{node.op_type} {node.name}: computes with bytes")
        for index, name in enumerate(node.input):
            if name in self.bytes:
                node.input[index] = self._real(Operand(name, self.bytes[name]), f"{node.output[0]}/{index}")
        outputs = list(node.output)
        if node.op_type in MOVES:
            node.output[:] = [f"{name}/real" for name in outputs]
        self._keep(node)
        for real, name in zip(node.output, outputs, strict=True):
            if real != name:
                self._quantize(real, name, scales[0])


def _scale_of(node: onnx.NodeProto) -> Scale:
    return Scale(node.input[1], _input(node, 2))


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def dequantized(model: onnx.ModelProto) -> Iterable[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(integers, scales, zero points) of every constant whose DequantizeLinear a model in QDQ form has."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Identity" and node.input[0] in held:
            held[node.output[0]] = held[node.input[0]]
        if node.op_type not in (QUANTIZE, DEQUANTIZE) or not all(name in held for name in node.input if name):
            continue
        scale = held[node.input[1]]
        zero_point = held[node.input[2]] if _input(node, 2) else np.zeros(scale.shape, np.uint8)
        if node.op_type == DEQUANTIZE:
            yield held[node.input[0]], scale, zero_point
        elif scale.size == 1 and zero_point.dtype in (np.uint8, np.int8):
            limits = np.iinfo(zero_point.dtype)
            steps = np.rint(held[node.input[0]] / scale) + zero_point.astype(np.int32)
            held[node.output[0]] = np.clip(steps, limits.min, limits.max).astype(zero_point.dtype)
