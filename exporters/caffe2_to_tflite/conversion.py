"""The walk over a net that writes a TensorFlow Lite graph."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.preprocessing import Preprocessing
from caffe2_models import Int8Tensor, Net, lowering, origin
from caffe2_models.net import Step
from caffe2_models.operators.registry import Operator
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.tensors import TensorType
from exporters.caffe2_to_tflite import Kind
from exporters.caffe2_to_tflite.graph import NHWC, Graph, Quantization, Tensor, Value
from exporters.caffe2_to_tflite.int8_operators import WRITERS, Blob, Int8Writer, Writes
from exporters.caffe2_to_tflite.metadata import metadata, with_labels
from exporters.caffe2_to_tflite.onnx_nodes import translate


@dataclass(frozen=True)
class Converted:
    """A net written as a graph: its tensors by blob, and what is not proved of its Int8 operators.

    inputs, outputs: of the net. blobs: all, each as its last writer left it. offset: what its bytes are less than the
    net's (128 in int8). inexact: operators that LiteRT's reference kernels may compute otherwise than QNNPACK, and why.
    record: of the net, for the file.
    """

    name: str
    graph: Graph
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    blobs: dict[str, Tensor]
    offset: int
    inexact: dict[str, str]
    preprocessing: Preprocessing | None
    record: bytes

    @property
    def operator_count(self) -> int:
        """Of those that the outputs need."""
        return len(self.graph.live(list(self.outputs.values())))

    def to_bytes(self, labels: Sequence[str] = (), blobs: Sequence[str] = ()) -> bytes:
        """The file, with the classes' names in it; `blobs` are outputs too, behind the net's own."""
        outputs = self.outputs | {name: self.blobs[name] for name in blobs}
        entries = metadata(self.name, self.preprocessing, self.inputs, outputs, labels, self.record)
        model = self.graph.pack(self.name, list(self.inputs.values()), list(outputs.values()), entries)
        return with_labels(model, labels)


def to_tflite(net: Net, shapes: Mapping[str, Sequence[int]], kind: Kind = "float") -> Converted:
    """The net for inputs of these shapes (N, C, H, W, as the net takes them).

    Images go in as N, H, W, C, in float32 as they go into the net. kind: of the bytes of Int8 operators; a net without
    any is "float". Raises UnsupportedError for operators that have
    no form in TensorFlow Lite, all at once, and ModelError as Net.walk does.
    """
    if net.is_quantized != (kind != "float"):
        raise ModelError("an int8 net becomes uint8 or int8, a float net float (quantize it first)")
    return write(net, shapes, kind, WRITERS)


def write(net: Net, shapes: Mapping[str, Sequence[int]], kind: Kind, writers: Mapping[str, Writes]) -> Converted:
    """As `to_tflite`. writers: of operators that do not go over ONNX."""
    writer = _Writer(net, shapes, kind, writers)
    problems = []
    for step in net.walk({name: TensorType(tuple(shape)) for name, shape in shapes.items()}):
        try:
            writer.write(step)
        except UnsupportedError as error:
            text = str(error)
            problems.append(text if text.startswith("operator ") else f"{step.node}: {text}")
            writer.skip(step)
    if problems:
        raise UnsupportedError("; ".join(dict.fromkeys(problems)))
    outputs = writer.finish()
    return Converted(
        name=net.name or "net",
        graph=writer.graph,
        inputs=writer.inputs,
        outputs=outputs,
        blobs=writer.tensors,
        offset=writer.int8.offset,
        inexact=writer.int8.inexact,
        preprocessing=get_preprocessing(net.predict),
        record=origin.record_net(net, shapes),
    )


class _Writer:
    """The state of the walk: each blob's symbol in ONNX and its value here."""

    def __init__(self, net: Net, shapes: Mapping[str, Sequence[int]], kind: Kind, writers: Mapping[str, Writes]):
        self.net, self.graph, self.writers = net, Graph(), writers
        self.onnx = lowering.Graph()
        self.int8 = Int8Writer(self.graph, kind)
        self.symbols = {name: lowering.Symbol(name, TensorType.of(value)) for name, value in net.parameters.items()}
        self.values: dict[str, Value] = {}
        self.tensors: dict[str, Tensor] = {}
        self.inputs: dict[str, Tensor] = {}
        for name, shape in shapes.items():
            order = NHWC if len(shape) == 4 else None
            self.inputs[name] = self.values[name] = self.graph.tensor(name, shape, np.float32, order)
            self.symbols[name] = lowering.Symbol(name, TensorType(tuple(shape)))
        self.pinned = _pinned(net)
        self.keeps_order = writers is not WRITERS
        self.position = 0

    def write(self, step: Step) -> None:
        """One operator."""
        node = step.node
        if node.bodies:
            raise UnsupportedError("a net within the net has no form here in TensorFlow Lite")
        if not step.is_exact:
            raise UnsupportedError("its sizes are known only when the net runs")
        with node.context():
            if all(found.value is not None for found in step.outputs):
                values: list[Value] = [_plain(found) for found in step.outputs]
            elif node.type in self.writers:
                values = [self.write_int8(node.type, node.operator, step)]
            else:
                values = self.write_float(node.operator, step)
        for blob, value, found in zip(node.outputs, values, step.outputs, strict=False):
            self.keep(blob, value, found)

    def write_int8(self, kind: str, operator: Operator, step: Step) -> Tensor:
        output = step.outputs[0]
        self.int8.name, self.int8.pinned = step.node.outputs[0], step.node.outputs[0] in self.pinned
        blobs = []
        for name in step.node.inputs:
            symbol = self.symbols[name]
            value = None if symbol.type.value is not None else self.values[symbol.name]
            blobs.append(Blob(symbol.type, self.operand(value)))
        return self.writers[kind](self.int8, operator, output, *blobs)

    def operand(self, value: Value | None) -> Tensor | None:
        """Int8 operators know no other order than the blob's own; a conversion alone keeps any."""
        if value is None:
            return None
        return value if self.keeps_order and isinstance(value, Tensor) else self.graph.ordered(value)

    def write_float(self, operator: Operator, step: Step) -> list[Value]:
        """By the ONNX nodes that the operator's lowering makes; bytes that are only moved go this way too."""
        if not operator.is_in_onnx():
            raise UnsupportedError("ONNX cannot say what the operator computes")
        since = len(self.onnx.nodes)
        names = operator.lower(self.onnx, *(self.symbols[name] for name in step.node.inputs))
        for node in self.onnx.nodes[since:]:
            inputs = [self.value(name) if name else None for name in node.input]
            for name, value in zip(node.output, translate(self.graph, node, inputs), strict=False):
                self.values[name] = value
        return [self.value(name) for name in (names if isinstance(names, tuple) else (names,))]

    def value(self, name: str) -> Value:
        if name not in self.values:
            self.values[name] = self.onnx.initializers[name]
        return self.values[name]

    def keep(self, blob: str, value: Value, found: TensorType) -> None:
        """The value under its blob's name; Symbols get a name of their own, since blobs are written anew."""
        self.position += 1
        name = f"{blob}@{self.position}"
        self.symbols[blob] = lowering.Symbol(name, found)
        self.values[name] = value
        if isinstance(value, Tensor):
            self.tensors[blob] = value

    def skip(self, step: Step) -> None:
        """Go on behind an operator that is not supported, to find the others."""
        for blob, found in zip(step.node.outputs, step.outputs, strict=False):
            quantization = Quantization(float(found.scale), 0) if found.is_quantized and found.scale else None
            dtype = self.int8.dtype if quantization else np.float32
            shape = found.shape if step.is_exact else (1,)
            self.keep(blob, self.graph.tensor(blob, shape, dtype, None, quantization), found)

    def finish(self) -> dict[str, Tensor]:
        """The outputs, each a tensor of its own under the blob's name."""
        outputs: dict[str, Tensor] = {}
        for blob in self.net.outputs:
            value = self.values[self.symbols[blob].name]
            tensor = self.graph.ordered(value) if isinstance(value, np.ndarray) else value
            if tensor.index in {other.index for other in (*self.inputs.values(), *outputs.values())}:
                tensor = self.graph.add(
                    "RESHAPE", [tensor, self.graph.ints(tensor.stored)], tensor.shape, tensor.dtype, tensor.order
                )
            outputs[blob] = self.tensors[blob] = tensor
        for blob, tensor in (*self.tensors.items(), *self.inputs.items(), *outputs.items()):
            self.graph.rename(tensor, blob)
        return outputs


def _plain(found: TensorType) -> np.ndarray:
    if isinstance(found.value, Int8Tensor):
        return found.value.data
    if found.value is None:
        raise TypeError("a blob without a value")
    return found.value


def _pinned(net: Net) -> set[str]:
    """Blobs whose bytes are joined with others', at one scale."""
    pinned: set[str] = set()
    for node in reversed(net.operators):
        if node.type == "Int8Concat" or (node.type.startswith("Int8") and pinned.intersection(node.outputs)):
            pinned.update(node.inputs)
    return pinned
