"""A Caffe2 net: its graph, its parameters, what is known of every blob before anything runs."""

import functools
import os
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_models.arguments import Arguments
from caffe2_models.files import MAX_OPERATORS, find_pair, read_init, read_net, with_weights, write_net
from caffe2_models.operators import OPERATORS, Operator
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import MAX_BLOB_BYTES, TensorType, Value

# Fills without content: where an init net ends with one for the input, it stands in for the user's data.
STAND_IN_FILLS = {"ConstantFill", "GaussianFill", "UniformFill", "XavierFill", "MSRAFill"}

# Blobs up to this size whose inputs are known are computed during shape inference: shapes, bounds, scales.
MAX_KNOWN_ELEMENTS = 1024

MAX_NAME = 1024


class Node:
    """One operator of a net, in its place: type, input and output blob names, arguments.

    weights are the floats of a fill, where they stand apart from its proto.
    """

    def __init__(self, proto: caffe2_pb2.OperatorDef, index: int, weights: np.ndarray | None = None):
        self.proto = proto
        self.weights = weights
        self.index = index
        self.type = proto.type
        self.inputs = [*proto.input, *(OPERATORS[proto.type].implicit_inputs if proto.type in OPERATORS else ())]
        self.outputs = list(proto.output)
        self.name = proto.name
        self.engine = proto.engine

    @functools.cached_property
    def arguments(self) -> Arguments:
        with self.context():
            return Arguments(self.proto, self.weights)

    @functools.cached_property
    def operator(self) -> Operator:
        """The operator's meaning. Raises UnsupportedError where it is not in the table."""
        if self.type not in OPERATORS:
            raise UnsupportedError(f"{self}: operator {self.type} is not supported")
        with self.context():
            return OPERATORS[self.type].decode(self.arguments)

    def context(self) -> "_NamedErrors":
        """Within this block, a ModelError is given this operator's name; any other error passes as it is."""
        return _NamedErrors(self)

    def infer(self, types: Mapping[str, TensorType]) -> tuple[list[TensorType], list[TensorType]]:
        """(types of the inputs, types of the outputs), given the blobs so far."""
        operator = self.operator
        with self.context():
            inputs = [_defined(types, name) for name in self.inputs]
            operator.check_inputs(*inputs)
            outputs = _as_tuple(operator.infer(*inputs))
            if len(outputs) < len(self.outputs):
                raise ModelError(f"{len(self.outputs)} outputs are named, {len(outputs)} are known")
            if operator.workspace(*inputs) > MAX_BLOB_BYTES:
                raise ModelError(f"to compute it would take more than {MAX_BLOB_BYTES >> 20} MiB of its own")
            outputs = list(outputs[: len(self.outputs)])
            if _follow_from_known(inputs, outputs):
                outputs = [TensorType.of(value) for value in self.compute([t.value for t in inputs])]
            return inputs, outputs

    def compute(self, values: list[Value]) -> tuple[Value, ...]:
        """The operator's outputs, exactly as Caffe2 computes them."""
        operator = self.operator
        with self.context(), np.errstate(all="ignore"):
            return _as_tuple(operator.compute(*values))[: len(self.outputs)]

    def __str__(self):
        return f"operator {self.index} ({self.type} -> {listing(self.outputs) or 'nothing'})"


class _NamedErrors:
    """Puts an operator's name before the text of a ModelError."""

    def __init__(self, node: Node):
        self.node = node

    def __enter__(self) -> "_NamedErrors":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, ModelError) and not str(error).startswith(str(self.node)):
            raise type(error)(f"{self.node}: {error}") from None


@dataclass(frozen=True)
class Step:
    """One operator at its own moment of a run: the types that it reads and writes then.

    macs counts multiply-accumulates.
    """

    node: Node
    inputs: list[TensorType]
    outputs: list[TensorType]

    @property
    def macs(self) -> int:
        with self.node.context():
            return int(self.node.operator.macs(*self.inputs))

    @property
    def nbytes(self) -> int:
        """Bytes read and written."""
        return sum(t.nbytes for t in self.inputs) + sum(t.nbytes for t in self.outputs)

    @property
    def workspace(self) -> int:
        """Bytes that its computation takes for itself (numpy's, in `reference`)."""
        return self.node.operator.workspace(*self.inputs)


class Net:
    """A predict net and the init net that fills its parameters.

    weights, as read_init gives them, are the values of those fills of `init` that stand apart from it.
    """

    def __init__(
        self,
        predict: caffe2_pb2.NetDef,
        init: caffe2_pb2.NetDef | None = None,
        weights: Mapping[int, np.ndarray] | None = None,
    ):
        self.predict = predict
        self._init = init if init is not None else caffe2_pb2.NetDef()
        self._weights = weights or {}
        check_names(self.predict)
        check_names(self._init)
        self.operators = [Node(op, index) for index, op in enumerate(predict.op)]
        self.init_operators = [Node(op, index, self._weights.get(index)) for index, op in enumerate(self._init.op)]
        self.init_operators += implicit_fills(self.operators, {name for op in self._init.op for name in op.output})

    @property
    def init(self) -> caffe2_pb2.NetDef:
        """The init net, whole; of a net that was read from files, a copy."""
        return with_weights(self._init, self._weights) if self._weights else self._init

    @property
    def name(self) -> str:
        return self.predict.name

    @functools.cached_property
    def inputs(self) -> list[str]:
        """The blobs a user feeds: external inputs that are read, and that init fills as stand-ins at most.

        Where the file names no external inputs, they are the blobs that are read before anything writes them.
        """
        listed = [name for name in self.predict.external_input if name in self._read]
        wanted = dict.fromkeys(listed if self.predict.external_input else self._undefined)
        return [name for name in wanted if name not in self._filled] or self._stand_ins

    @functools.cached_property
    def outputs(self) -> list[str]:
        """The external outputs or, where the file names none, the blobs that no operator reads."""
        if self.predict.external_output:
            return list(dict.fromkeys(self.predict.external_output))
        written = dict.fromkeys(node.outputs[0] for node in self.operators if node.outputs)
        return [name for name in written if name not in self._read]

    @functools.cached_property
    def parameters(self) -> dict[str, Value]:
        """What the init net computes, without stand-ins for the input."""
        values: dict[str, Value] = {}
        self.parameter_types  # noqa: B018  every declared size is checked before memory is taken
        for node in self.init_operators:
            if set(node.outputs) & set(self.inputs):
                continue
            with node.context():
                arguments = [_defined(values, name) for name in node.inputs]
            values.update(zip(node.outputs, node.compute(arguments), strict=True))
        return values

    @functools.cached_property
    def parameter_types(self) -> dict[str, TensorType]:
        """Types of the parameters, from the init net alone, without filling them."""
        types: dict[str, TensorType] = {}
        self._require_supported(self.init_operators)
        for node in self.init_operators:
            types.update(zip(node.outputs, node.infer(types)[1], strict=True))
            if sum(t.nbytes for t in types.values()) > MAX_BLOB_BYTES:
                raise ModelError(f"the parameters would take more than {MAX_BLOB_BYTES >> 20} MiB")
        return {name: t for name, t in types.items() if name not in self.inputs}

    def input_shapes(self, size: int | None = None, batch: int = 1) -> dict[str, tuple[int, ...]]:
        """The net's own input shapes, from its recorded preprocessing or its stand-in fills (NCHW).

        Raises ModelError where neither `size` nor the files tell them.
        """
        if size is None and (recorded := get_preprocessing(self.predict)) is not None:
            size = recorded.size
        stand_ins = {
            name: node.infer({})[1][0].shape
            for node in self.init_operators
            for name in node.outputs
            if name in self.inputs and not node.inputs
        }
        shapes = {}
        for name in self.inputs:
            if len(stand_ins.get(name, ())) > 1 and size is None:
                shapes[name] = (batch, *stand_ins[name][1:])
            elif size is not None and len(self.inputs) == 1:
                shapes[name] = (batch, self._input_channels(name), size, size)
            else:
                raise ModelError(f"the shape of input {name} is not recorded in the net; give it, or an image size")
        return shapes

    def walk(self, input_shapes: Mapping[str, tuple[int, ...] | TensorType]) -> Iterator[Step]:
        """Every operator in order with the types of its inputs and outputs at that moment; nothing is run.

        Raises UnsupportedError (all operators it does not know at once) or ModelError.
        """
        self._require_supported(self.operators)
        types = dict(self.parameter_types)
        missing = [name for name in self.inputs if name not in input_shapes]
        if missing:
            raise ModelError(f"no shape for {listing(missing)} (is the init net the right one?)")
        for name, given in input_shapes.items():
            if name not in types and name not in [*self.inputs, *self.predict.external_input]:
                raise ModelError(f"{name} is no input; the net's inputs are {listing(self.inputs)}")
            types[name] = given if isinstance(given, TensorType) else TensorType(tuple(given))
        for node in self.operators:
            inputs, outputs = node.infer(types)
            types.update(zip(node.outputs, outputs, strict=True))
            yield Step(node, inputs, outputs)

    def infer_types(self, input_shapes: Mapping[str, tuple[int, ...] | TensorType]) -> dict[str, TensorType]:
        """The type of every blob after a run (of its last writer), without running anything."""
        types = dict(self.parameter_types)
        for name, given in input_shapes.items():
            types[name] = given if isinstance(given, TensorType) else TensorType(tuple(given))
        for step in self.walk(input_shapes):
            types.update(zip(step.node.outputs, step.outputs, strict=True))
        return types

    def infer_shapes(self, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """blob -> (shape, dtype) after a run, without running anything; quantized blobs are uint8."""
        return {name: (t.shape, t.dtype) for name, t in self.infer_types(input_shapes).items()}

    def session(self, backend: str = "auto", threads: int | None = None, approximate: bool = False):
        """What runs the net: see caffe2_models.runtimes."""
        from caffe2_models.runtimes import create_session

        return create_session(self, backend, threads, approximate)

    @property
    def is_quantized(self) -> bool:
        return any(node.type.startswith("Int8") for node in self.operators)

    def save(self, prefix: str | os.PathLike) -> None:
        """Write PREFIX.init.pb and PREFIX.predict.pb."""
        write_net(f"{os.fspath(prefix)}.init.pb", self.init)
        write_net(f"{os.fspath(prefix)}.predict.pb", self.predict)

    @functools.cached_property
    def _filled(self) -> set[str]:
        return {name for node in self.init_operators for name in node.outputs}

    @functools.cached_property
    def _read(self) -> set[str]:
        return {name for node in self.operators for name in node.inputs}

    @functools.cached_property
    def _undefined(self) -> list[str]:
        """Blobs that an operator reads though nothing before it, nor init, writes them."""
        defined, undefined = set(self._filled), {}
        for node in self.operators:
            undefined.update(dict.fromkeys(name for name in node.inputs if name not in defined))
            defined.update(node.outputs)
        return list(undefined)

    @functools.cached_property
    def _stand_ins(self) -> list[str]:
        fills = {name for node in self.init_operators if node.type in STAND_IN_FILLS for name in node.outputs}
        for node in self.operators:
            if node.inputs and node.inputs[0] in fills:
                return [node.inputs[0]]
        return []

    def _input_channels(self, name: str) -> int:
        """Channels of an image input: what the first convolution that sees it reads, else 3."""
        reached = {name}
        for node in self.operators:
            if node.inputs and node.inputs[0] in reached:
                if node.type in ("Conv", "Int8Conv", "Int8ConvRelu") and node.inputs[1] in self.parameter_types:
                    shape = self.parameter_types[node.inputs[1]].shape
                    channels = shape[-1] if node.arguments.get_str("order") == "NHWC" else shape[1]
                    return channels * (node.arguments.get_int("group") or 1)
                reached.update(node.outputs)
        return 3

    def require_supported(self) -> None:
        """Raises UnsupportedError that lists all operators of both nets that are not in the table."""
        self._require_supported([*self.init_operators, *self.operators])

    def _require_supported(self, nodes: list[Node]) -> None:
        unknown = sorted({node.type or "(no type)" for node in nodes if node.type not in OPERATORS})
        if unknown:
            raise UnsupportedError(
                f"{self.name or 'net'}: operators that are not supported: {listing(unknown, len(unknown))}"
            )


def load_net(path: str | os.PathLike, init_path: str | os.PathLike | None = None) -> Net:
    """Read a net: a model folder, or a predict file (.pb, .pbtxt) with or without its init file.

    Raises ModelError, in one line that names the file.
    """
    path = Path(path)
    if path.is_dir():
        path, found = find_pair(path)
        init_path = init_path if init_path is not None else found
    return Net(read_net(path), *(read_init(init_path) if init_path is not None else ()))


def check_names(net: caffe2_pb2.NetDef) -> None:
    """Raises ModelError for more operators or longer names than any net has, and names that are no text."""
    if len(net.op) > MAX_OPERATORS:
        raise ModelError(f"{len(net.op)} operators, more than {MAX_OPERATORS}")
    names = [net.name, *net.external_input, *net.external_output]
    try:
        for op in net.op:
            names += (op.type, op.name, op.engine, *op.input, *op.output, *(argument.name for argument in op.arg))
        are_text = all(isinstance(name, str) for name in names)
    except UnicodeDecodeError:
        are_text = False
    if not are_text:  # what is not UTF-8 comes from protobuf as bytes, or as an error, as its version has it
        raise ModelError("a name that is no text")
    longest = max(names, key=len)
    if len(longest) > MAX_NAME:
        raise ModelError(f"a name of {len(longest)} characters, {longest[:40]}..., above {MAX_NAME}")


def implicit_fills(nodes: Iterable[Node], filled: set[str]) -> list[Node]:
    """Operators that make the blobs which operators read though no net names them, where nothing fills those."""
    fills: dict[str, Node] = {}
    for node in nodes:
        if node.inputs[len(node.proto.input) :]:
            for op in node.operator.implicit_fills():
                if op.output[0] not in filled:
                    fills.setdefault(op.output[0], Node(op, len(fills)))
    return list(fills.values())


def last_uses(nodes: list[Node], kept: Iterable[str]) -> list[list[str]]:
    """For each operator, the blobs that nobody needs once it has run."""
    seen = set(kept)
    dead: list[list[str]] = [[] for _ in nodes]
    for node in reversed(nodes):
        names = dict.fromkeys([*node.inputs, *node.outputs])
        dead[node.index] = [name for name in names if name not in seen]
        seen.update(names)
    return dead


def peak_bytes(
    steps: list[Step], kept: Iterable[str] = (), without: Container[str] = (), with_workspace: bool = False
) -> int:
    """The most that blobs take at a time, in bytes, where each goes after its last use but for those to keep.

    Blobs in `without`, say parameters, do not count; what operators take for themselves does with_workspace.
    """
    dead_after = last_uses([step.node for step in steps], kept)
    live: dict[str, int] = {}
    peak = 0
    for step, dead in zip(steps, dead_after, strict=True):
        for names, types in ((step.node.inputs, step.inputs), (step.node.outputs, step.outputs)):
            live.update((n, t.nbytes) for n, t in zip(names, types, strict=True) if n not in without)
        peak = max(peak, sum(live.values()) + (step.workspace if with_workspace else 0))
        for name in dead:
            live.pop(name, None)
    return peak


def listing(names: list[str], limit: int = 8) -> str:
    """Names for an error message: not all of a hundred, nor all of a long one."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(name if len(name) <= 100 else f"{name[:100]}..." for name in names[:limit]) + rest


def _defined(blobs: Mapping, name: str):
    if name not in blobs:
        raise ModelError(f"blob {listing([name])} is read before anything writes it (is the init net the right one?)")
    return blobs[name]


def _as_tuple(results) -> tuple:
    return results if isinstance(results, tuple) else (results,)


def _follow_from_known(inputs: list[TensorType], outputs: list[TensorType]) -> bool:
    """Small blobs computed from known content, as converters write for Reshape, Slice and the like."""
    return all(t.value is not None for t in inputs) and all(
        t.size <= MAX_KNOWN_ELEMENTS and not t.is_quantized for t in [*inputs, *outputs]
    )
