"""From a Caffe2 net to ONNX: the graph that operators' lower() methods write on.

Operators are lowered to the same function: of float operators to the rounding of sums, of Int8 operators to the byte.
In QDQ form (DequantizeLinear, float operator, QuantizeLinear) Int8 operators round elsewhere than QNNPACK does: that is
faster in some runtimes, and near, not equal.
"""

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models.net import Net, Part
from caffe2_models.operators.node import Body, Step, all_nodes, listing, read_by
from caffe2_models.tensors import Int8Tensor, TensorType

OPSET = 17
IR_VERSION = 8  # the oldest that opset 17 goes with

ONNX_TYPES = {
    np.dtype(np.float32): TensorProto.FLOAT,
    np.dtype(np.float64): TensorProto.DOUBLE,
    np.dtype(np.float16): TensorProto.FLOAT16,
    np.dtype(np.uint8): TensorProto.UINT8,
    np.dtype(np.int8): TensorProto.INT8,
    np.dtype(np.uint16): TensorProto.UINT16,
    np.dtype(np.int16): TensorProto.INT16,
    np.dtype(np.int32): TensorProto.INT32,
    np.dtype(np.int64): TensorProto.INT64,
    np.dtype(np.bool_): TensorProto.BOOL,
}


@dataclass(frozen=True)
class Symbol:
    """A blob at one moment: its name in the ONNX graph and its static type."""

    name: str
    type: TensorType

    @property
    def shape(self) -> tuple[int, ...]:
        return self.type.shape


class Graph:
    """An ONNX graph being written.

    Inputs of nodes are Symbols, names, or None for an absent optional input.
    """

    def __init__(self, reserved: Iterable[str] = ()):
        """`reserved` are names that the graph makes for nothing of its own."""
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}
        self._reserved = frozenset(reserved)
        self._counts: Counter[str] = Counter()

    def add(self, op_type: str, *inputs: Symbol | str | None, outputs: int = 1, **attributes):
        """Append a node; returns the name of its output, or a tuple of names where outputs > 1."""
        names = [self._unique(op_type) for _ in range(outputs)]
        attributes = {key: value for key, value in attributes.items() if value is not None}
        references = [self._reference(i) for i in inputs]
        while references and not references[-1]:  # an absent input at the end is left out, not left empty
            references.pop()
        node = helper.make_node(op_type, references, names, name=names[0], **attributes)
        self.nodes.append(node)
        return names[0] if outputs == 1 else tuple(names)

    def constant(self, value, dtype=None, name: str = "constant") -> str:
        """Add an initializer; returns its name."""
        name = self._unique(name)
        self.initializers[name] = np.asarray(value, dtype, order="C")
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A constant int64 vector, as shapes and axes are given."""
        return self.constant(np.array(values, np.int64))

    def dequantize(self, x: Symbol) -> str:
        """The real values of a quantized blob."""
        scale, zero_point = self._quantization(*x.type.quantization(), x.type.dtype)
        return self.add("DequantizeLinear", x, scale, zero_point)

    def dequantize_as(self, x: Symbol | str, scale: float, zero_point: int) -> str:
        """scale * (x - zero_point) of bytes."""
        return self.add("DequantizeLinear", x, *self._quantization(scale, zero_point, np.dtype(np.uint8)))

    def quantize(self, x: str, scale: float, zero_point: int) -> str:
        """uint8 of real values."""
        return self.add("QuantizeLinear", x, *self._quantization(scale, zero_point, np.dtype(np.uint8)))

    def centred(self, x: Symbol | str, zero_point: int) -> str:
        """x - zero_point of bytes, in float32. (Not DequantizeLinear, which runtimes fuse with what follows.)"""
        real = self.cast(x, np.float32)
        return self.add("Sub", real, self.constant(np.float32(zero_point))) if zero_point else real

    def at_least(self, x: str, lowest: int) -> str:
        """Bytes, none below the lowest."""
        return self.add("Clip", x, self.constant(lowest, np.uint8)) if lowest else x

    def cast(self, x: Symbol | str, dtype) -> str:
        return self.add("Cast", x, to=ONNX_TYPES[np.dtype(dtype)])

    def clip(self, x: Symbol | str, lowest: float, highest: float) -> str:
        return self.add("Clip", x, self.constant(np.float32(lowest)), self.constant(np.float32(highest)))

    def pad(self, x: Symbol | str, pads: Sequence[int], value: float = 0.0, mode: str = "constant") -> str:
        """An NCHW image with (top, left, bottom, right) rows and columns around it; negative ones are cut."""
        top, left, bottom, right = pads
        filler = self.constant(np.float32(value)) if mode == "constant" else None
        return self.add("Pad", x, self.ints([0, 0, top, left, 0, 0, bottom, right]), filler, mode=mode)

    def resize(self, x: Symbol, size: Sequence[int], **attributes) -> str:
        """An NCHW image at another (height, width)."""
        return self.add("Resize", x, None, None, self.ints([*x.shape[:2], *size]), **attributes)

    def moments(self, x: Symbol, axes: Sequence[int], epsilon: float, *shape: int) -> tuple[str, str]:
        """(mean, sqrt(variance + epsilon)) over some axes, in the given shape."""
        mean = self.add("ReduceMean", x, axes=axes)
        centred = self.add("Sub", x, mean)
        variance = self.add("ReduceMean", self.add("Mul", centred, centred), axes=axes)
        deviation = self.add("Sqrt", self.add("Add", variance, self.constant(np.float32(epsilon))))
        return tuple(self.add("Reshape", moment, self.ints(shape)) for moment in (mean, deviation))

    def to_nchw(self, x: str, rank: int = 4) -> str:
        """Channels from last to second place."""
        return self.add("Transpose", x, perm=[0, rank - 1, *range(1, rank - 1)])

    def to_nhwc(self, x: str, rank: int = 4) -> str:
        """Channels from second to last place."""
        return self.add("Transpose", x, perm=[0, *range(2, rank), 1])

    @contextlib.contextmanager
    def apart(self) -> Iterator[list[onnx.NodeProto]]:
        """Within this block, nodes are added to a list of their own, which it gives: a graph within the graph."""
        kept, self.nodes = self.nodes, []
        try:
            yield self.nodes
        finally:
            self.nodes = kept

    def lower_body(self, body: Body, symbols: Mapping[str, Symbol]) -> dict[str, Symbol]:
        """Add a net that an operator holds, among these blobs; returns all blobs after it."""
        steps = list(body.walk({name: symbol.type for name, symbol in symbols.items()}))
        return _lower_steps(self, steps, symbols, body.writes, qdq=False)

    def repeat(
        self,
        rounds: str,
        values: Sequence[Symbol],
        add_round: Callable[[str, list[str]], tuple[Sequence[str], Sequence[Symbol]]],
    ) -> tuple[list[str], list[str]]:
        """ONNX's Loop of so many rounds: (the values after the last one, what the rounds list as [rounds, ...]).

        add_round(number, values) adds the nodes of a round, whose number is int64 [1], and gives the values for the
        next, of the same types in the same order, and what it lists.
        """
        truth, number = TensorType((), np.dtype(np.bool_)), TensorType((), np.dtype(np.int64))
        counter, holds = Symbol(self.add_name("round"), number), Symbol(self.add_name("condition"), truth)
        before = [Symbol(self.add_name("before"), value.type.with_shape(value.shape)) for value in values]
        with self.apart() as nodes:
            names, listed = add_round(self.add("Reshape", counter, self.ints([1])), [each.name for each in before])
            after = [Symbol(name, each.type) for name, each in zip(names, before, strict=True)]
            left = [Symbol(self.add("Identity", each), each.type) for each in (holds, *after, *listed)]
        body = helper.make_graph(
            nodes,
            self.add_name("rounds"),
            _value_infos({each.name: each.type for each in (counter, holds, *before)}),
            _value_infos({each.name: each.type for each in left}),
        )
        if len(left) == 1:
            return [], []
        always = self.constant(np.bool_(True))
        results = self.add("Loop", rounds, always, *values, outputs=len(left) - 1, body=body)
        results = list(results) if isinstance(results, tuple) else [results]
        return results[: len(values)], results[len(values) :]

    @staticmethod
    def symbol(name: str, found: TensorType) -> Symbol:
        """A name that nodes have written, as a blob of this type."""
        return Symbol(name, found)

    def add_name(self, name: str) -> str:
        """A name that nothing else has."""
        return self._unique(name)

    def rename(self, old: str, new: str, since: int) -> None:
        """Give the output `old`, written by a node at or after position `since`, its blob's name."""
        for node in self.nodes[since:]:
            for names in (node.input, node.output):
                for position, name in enumerate(names):
                    if name == old:
                        names[position] = new

    def _quantization(self, scale: float, zero_point: int, dtype: np.dtype) -> tuple[str, str]:
        return self.constant(scale, np.float32, "scale"), self.constant(zero_point, dtype, "zero_point")

    def _reference(self, value: Symbol | str | None) -> str:
        if not isinstance(value, Symbol):
            return value or ""
        content = value.type.value
        if content is not None and value.name not in self.initializers:
            data = content.data if isinstance(content, Int8Tensor) else content
            self.initializers[value.name] = np.asarray(data, order="C")
        return value.name

    def _unique(self, name: str) -> str:
        while True:
            self._counts[name] += 1
            candidate = f"{name}/{self._counts[name]}"
            if candidate not in self._reserved:
                return candidate


@dataclass(frozen=True)
class Lowered:
    """A net lowered to an ONNX graph: its inputs' types, and the symbol of each requested output."""

    graph: Graph
    inputs: Mapping[str, TensorType]
    outputs: dict[str, Symbol]
    name: str

    @property
    def output_names(self) -> dict[str, str]:
        """Blob -> name in the ONNX graph."""
        return {blob: symbol.name for blob, symbol in self.outputs.items()}

    def weights(self) -> dict[str, np.ndarray]:
        """The initializers that nodes read, by name."""
        read = set(_reads(self.graph.nodes))
        return {name: array for name, array in self.graph.initializers.items() if name in read}

    def to_model(self, outside: Collection[str] = ()) -> onnx.ModelProto:
        """The whole as a model; of the weights named in `outside` only name, type and shape."""
        outputs = {symbol.name: symbol.type for symbol in self.outputs.values()}
        model = helper.make_model(
            helper.make_graph(self.graph.nodes, self.name, _value_infos(self.inputs), _value_infos(outputs)),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="caffe2-mobile",
        )
        for name, array in self.weights().items():
            tensor = model.graph.initializer.add(
                name=name, data_type=ONNX_TYPES[array.dtype], dims=array.shape
            )  # in place: a large weight is not copied twice
            if name in outside:
                tensor.data_location = TensorProto.EXTERNAL
                tensor.external_data.add(key="location", value="memory")
            else:
                tensor.raw_data = array.tobytes()
        return model


def lower_net(
    net: Net, input_types: Mapping[str, TensorType], outputs: Sequence[str] | None = None, qdq: bool = False
) -> tuple[onnx.ModelProto, dict[str, str]]:
    """The net as an ONNX model for inputs of these types, and the ONNX name of each requested output.

    qdq: Int8 operators in QDQ form. The graph keeps the blobs' names: a blob written several times has it for its
    last writer.
    Raises UnsupportedError or ModelError as Net.walk does.
    """
    lowered = lower(net, input_types, outputs, qdq)
    return lowered.to_model(), lowered.output_names


def lower(
    net: Net | Part,
    input_types: Mapping[str, TensorType],
    outputs: Sequence[str] | None = None,
    qdq: bool = False,
    count: int | None = None,
) -> Lowered:
    """The net as a graph; see lower_net. count: of what only a run counts; without one, that is refused."""
    absent = sorted({node.type for node in all_nodes(net.operators) if not node.operator.is_in_onnx()})
    if absent:
        raise UnsupportedError(f"{', '.join(absent)}: ONNX cannot say what the operator computes")
    symbols = {name: Symbol(name, TensorType.of(value)) for name, value in net.parameters.items()}
    symbols |= {name: Symbol(name, given) for name, given in input_types.items()}
    writers = Counter(name for node in net.operators for name in node.outputs)
    graph = Graph(reserved=[*symbols, *writers])
    taken = set(symbols)
    wanted = net.outputs if outputs is None else outputs
    for position, step in enumerate(net.walk(input_types, count)):
        node, since = step.node, len(graph.nodes)
        needed = {*wanted, *read_by(net.operators[position + 1 :])} if step.within is not None else set()
        written = _lower_step(graph, step, symbols, needed, qdq)
        for blob in node.outputs:
            writers[blob] -= 1
            if blob not in written:
                continue
            name, found = written[blob].name, written[blob].type
            if any(name in added.output for added in graph.nodes[since:]):
                final = writers[blob] == 0 and blob not in taken
                new = blob if final else f"{blob}/before/{writers[blob] + 1}"
                graph.rename(name, new, since)
                taken.add(new)
                name = new
            symbols[blob] = Symbol(name, found)
    return Lowered(graph, input_types, {blob: _output(graph, symbols, blob) for blob in wanted}, net.name or "net")


def _lower_step(
    graph: Graph, step: Step, symbols: Mapping[str, Symbol], needed: Collection[str], qdq: bool
) -> dict[str, Symbol]:
    """What an operator writes; of one that runs a net among the blobs around it, what others need of that."""
    node = step.node
    with node.context():
        if step.within is not None:
            lower_nets = _lower_rounds if node.operator.loops else _lower_branches
            return lower_nets(graph, step, symbols, needed, qdq)
        if not step.is_exact:
            raise UnsupportedError("its sizes are known only when the net runs, which ONNX is not told")
        if all(found.value is not None for found in step.outputs):
            names = tuple(graph.constant(found.value) for found in step.outputs)
        else:
            to_onnx = node.operator.lower_qdq if qdq else node.operator.lower
            names = to_onnx(graph, *(symbols[name] for name in node.inputs))
    names = names if isinstance(names, tuple) else (names,)
    written = zip(node.outputs, names, step.outputs, strict=False)
    return {blob: Symbol(name, found) for blob, name, found in written}


def _lower_branches(
    graph: Graph, step: Step, symbols: Mapping[str, Symbol], needed: Collection[str], qdq: bool
) -> dict[str, Symbol]:
    """One of several nets as ONNX's If, whose branches see the names around them; where it is known which, that one."""
    node, condition = step.node, symbols[step.node.inputs[0]]
    results = {name: found for name, found in zip(node.outputs, step.outputs, strict=True) if name in needed}
    bodies = node.choices([condition.type])
    if unsized := [name for name, found in results.items() if not found.is_exact]:
        raise UnsupportedError(f"its nets leave {listing(unsized)} in different forms, which ONNX is not told")
    if len(step.within or ()) != sum(len(body.nodes) for body in bodies if body is not None):
        raise UnsupportedError("one of its nets cannot run")
    rest, branches = list(step.within or ()), []
    for body in bodies:
        size = len(body.nodes) if body is not None else 0
        steps, rest = rest[:size], rest[size:]
        with graph.apart() as nodes:
            after = _lower_steps(graph, steps, symbols, results, qdq)
            found = {name: Symbol(graph.add("Identity", after[name]), results[name]) for name in results}
        branches.append((nodes, found))
    if len(branches) == 1:
        nodes, found = branches[0]
        graph.nodes += nodes
        return found
    if not results:
        return {}
    graphs = [
        helper.make_graph(nodes, graph.add_name("branch"), [], _value_infos({s.name: s.type for s in found.values()}))
        for nodes, found in branches
    ]
    holds = graph.add("Reshape", condition, graph.ints([]))
    names = graph.add("If", holds, outputs=len(results), then_branch=graphs[0], else_branch=graphs[1])
    names = names if isinstance(names, tuple) else (names,)
    return {blob: Symbol(name, results[blob]) for blob, name in zip(results, names, strict=True)}


def _lower_rounds(
    graph: Graph, step: Step, symbols: Mapping[str, Symbol], needed: Collection[str], qdq: bool
) -> dict[str, Symbol]:
    """A loop as ONNX's Loop: what it writes and reads again, or others read, is handed from round to round."""
    node, steps, condition = step.node, list(step.within or ()), step.node.inputs[0]
    *asking, repeated = node.bodies.values()
    first = len(steps) - len(repeated.nodes) - sum(len(body.nodes) for body in asking)
    reads = {condition, *needed}.union(*(body.reads for body in node.bodies.values()))
    handed = {name: t for name, t in zip(node.outputs, step.outputs, strict=True) if name in reads}
    if unsized := [name for name, found in handed.items() if not found.is_exact]:
        raise UnsupportedError(f"its rounds leave {listing(unsized)} in different forms, which ONNX is not told")
    before = _lower_steps(graph, steps[:first], symbols, reads, qdq)
    zeros = {name: np.zeros(found.shape, found.dtype) for name, found in handed.items() if name not in before}
    initial = [before[name] if name in before else graph.constant(zeros[name]) for name in handed]
    with graph.apart() as nodes:
        inside = {name: Symbol(graph.add_name(name), found) for name, found in handed.items()}
        after = _lower_steps(graph, steps[first:], {**before, **inside}, reads, qdq)
        holds = Symbol(graph.add("Reshape", after[condition], graph.ints([])), TensorType((), np.dtype(np.bool_)))
        left = {name: Symbol(graph.add("Identity", after[name]), found) for name, found in handed.items()}
    counter, held = graph.add_name("round"), graph.add_name("condition")
    once = {counter: TensorType((), np.dtype(np.int64)), held: holds.type}
    body = helper.make_graph(
        nodes,
        graph.add_name("rounds"),
        _value_infos({**once, **{symbol.name: symbol.type for symbol in inside.values()}}),
        _value_infos({symbol.name: symbol.type for symbol in (holds, *left.values())}),
    )
    starts = graph.add("Reshape", before[condition], graph.ints([]))
    names = graph.add("Loop", None, starts, *initial, outputs=len(handed), body=body) if handed else ()
    names = names if isinstance(names, tuple) else (names,)
    return {blob: Symbol(name, handed[blob]) for blob, name in zip(handed, names, strict=True)}


def _lower_steps(
    graph: Graph, steps: Sequence[Step], around: Mapping[str, Symbol], results: Collection[str], qdq: bool
) -> dict[str, Symbol]:
    """All blobs after these operators, those around them included."""
    symbols = dict(around)
    for position, step in enumerate(steps):
        needed = {*results, *read_by([later.node for later in steps[position + 1 :]])}
        symbols |= _lower_step(graph, step, symbols, needed, qdq)
    return symbols


def _reads(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """Names that nodes read, and those in graphs that they hold."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _reads(attribute.g.node)


def _output(graph: Graph, symbols: Mapping[str, Symbol], blob: str) -> Symbol:
    """The symbol of a requested output: what a node writes."""
    if blob not in symbols:
        raise ModelError(f"no blob {blob} in the net")
    symbol = symbols[blob]
    written = any(symbol.name in node.output for node in graph.nodes)
    return symbol if written else Symbol(graph.add("Identity", symbol), symbol.type)


def _value_infos(types: Mapping[str, TensorType]) -> list[onnx.ValueInfoProto]:
    return [helper.make_tensor_value_info(name, ONNX_TYPES[t.dtype], t.shape) for name, t in types.items()]
