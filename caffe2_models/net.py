"""A Caffe2 net: its graph, its parameters, what is known of every blob before anything runs."""

import functools
import os
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError, UnsupportedError
from caffe2_common.sizes import Size, pair_of
from caffe2_models.files import MAX_OPERATORS, find_pair, read_init, read_net, with_weights, write_net
from caffe2_models.operators import OPERATORS, traits_of
from caffe2_models.operators.node import Node, Step, all_nodes, defined, listing, make_nodes, update, walk
from caffe2_models.operators.registry import Layer
from caffe2_models.preprocessing import get_input_dims, get_input_dtypes, get_preprocessing
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import FLOAT32, MAX_BLOB_BYTES, TensorType, Value

MAX_NAME = 1024


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
        self.init_operators = make_nodes(self._init.op, weights=self._weights)
        given = {*predict.external_input, *(name for node in self.init_operators for name in node.outputs)}
        self.operators = make_nodes(predict.op, given)
        self.init_operators += implicit_fills(self.operators, {name for op in self._init.op for name in op.output})

    @property
    def init(self) -> caffe2_pb2.NetDef:
        """The init net, whole; of a net that was read from files, a copy."""
        return with_weights(self._init, self._weights) if self._weights else self._init

    @property
    def name(self) -> str:
        """As the predict net's file has it; may be empty."""
        return self.predict.name

    @functools.cached_property
    def inputs(self) -> list[str]:
        """The blobs a user feeds: external inputs that are read and not filled; where all are, those with stand-ins.

        Where the file names no external inputs, they are the blobs that are read before anything writes them.
        """
        listed = [name for name in self.predict.external_input if name in self._read]
        wanted = dict.fromkeys(listed if self.predict.external_input else self._undefined)
        unfilled = [name for name in wanted if name not in self._filled]
        return unfilled or [name for name in wanted if name in self._placeholders] or self._stand_ins

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
                arguments = [defined(values, name) for name in node.inputs]
            update(values, node.outputs, node.compute(arguments))
        return values

    @functools.cached_property
    def parameter_types(self) -> dict[str, TensorType]:
        """Types of the parameters, from the init net alone, without filling them."""
        types: dict[str, TensorType] = {}
        self._require_supported(self.init_operators)
        total, sizes = 0, dict[str, int]()
        for step in walk(self.init_operators, types):
            for name, written in zip(step.node.outputs, step.outputs, strict=True):
                total += written.nbytes - sizes.get(name, 0)
                sizes[name] = written.nbytes
            if total > MAX_BLOB_BYTES:
                raise ModelError(f"the parameters would take more than {MAX_BLOB_BYTES >> 20} MiB")
        return {name: t for name, t in types.items() if name not in self.inputs}

    def input_shapes(
        self, size: Size | None = None, batch: int = 1, given: Mapping[str, tuple[int, ...]] | None = None
    ) -> dict[str, tuple[int, ...]]:
        """The net's own input shapes: those it records, of its recorded preprocessing, or its stand-in fills (NCHW).

        size: height and width of the one input beside image_infos. given: shapes that are told, of which size and batch
        change nothing. Raises ModelError where neither these nor the files tell a shape, and for one given of no input.
        """
        self.require_inputs(given or ())
        dims, preprocessing = get_input_dims(self.predict), get_preprocessing(self.predict)
        stand_ins = {
            name: node.infer({})[1][0].shape
            for node in self.init_operators
            for name in node.outputs
            if name in self.inputs and name not in self._placeholders and not node.inputs
        }
        told = size if size is not None or preprocessing is None else preprocessing.size
        sides = dict(zip((2, 3), pair_of(told), strict=True)) if told is not None else {}
        shapes = {name: tuple(shape) for name, shape in (given or {}).items()}
        for name in self.inputs:
            if name in shapes:
                continue
            own, stand_in = dims.get(name), stand_ins.get(name, ())
            if own is not None:
                fixed = {axis: dim for axis, dim in enumerate(own) if dim is not None}
                images = sides if len(own) == 4 else {}
                known = {0: batch} | (fixed | images if size is not None else images | fixed)
            elif len(stand_in) > 1 and told is None:
                known = dict(enumerate((batch, *stand_in[1:])))
            elif name in self.image_infos:
                known = {0: batch, 1: 3}
            elif sides and self.image_infos.issuperset(set(self.inputs) - {name}):
                known = {0: batch, 1: self._input_channels(name)} | sides
            else:
                known = {}
            if not known or any(axis not in known for axis in range(len(own or known))):
                raise ModelError(
                    f"the shape of input {name} is not recorded in the net; give it ({name}=1x3x224x224, say), "
                    "or an image size"
                )
            shapes[name] = tuple(known[axis] for axis in range(len(known)))
        return shapes

    @functools.cached_property
    def image_infos(self) -> frozenset[str]:
        """The inputs that detectors' operators read (height, width, scale) of each image from, [images, 3]."""
        places = [(node, traits_of(node.type).image_info) for node in self.operators]
        found = {node.inputs[place] for node, place in places if place is not None and place < len(node.inputs)}
        return frozenset(found.intersection(self.inputs))

    def require_inputs(self, names: Iterable[str]) -> None:
        """Raises ModelError for a name that is neither an input of the net nor a parameter."""
        for name in names:
            if name not in self._filled and name not in [*self.inputs, *self.predict.external_input]:
                raise ModelError(f"{name} is no input; the net's inputs are {listing(self.inputs)}")

    def input_types(self, shapes: Mapping[str, Sequence[int] | TensorType]) -> dict[str, TensorType]:
        """Of inputs of these shapes, with the element types that the net records.

        Where it does not, they are float32, or else what the first operator that reads one takes.
        """
        dtypes = self._taken_dtypes | get_input_dtypes(self.predict)
        return {
            name: given if isinstance(given, TensorType) else TensorType(tuple(given), dtypes.get(name, FLOAT32))
            for name, given in shapes.items()
        }

    def walk(
        self, input_shapes: Mapping[str, tuple[int, ...] | TensorType], count: int | None = None
    ) -> Iterator[Step]:
        """Every operator in order with the types of its inputs and outputs at that moment; nothing is run.

        count: how many there are of what only a run counts (boxes that are kept, say); None: nobody knows.
        Those of the nets that an operator holds stand in its step (`flat` lists all).
        Raises UnsupportedError (all operators it does not know at once) or ModelError.
        """
        self._require_supported(self.operators)
        types = dict(self.parameter_types)
        missing = [name for name in self.inputs if name not in input_shapes]
        if missing:
            raise ModelError(f"no shape for {listing(missing)} (is the init net the right one?)")
        self.require_inputs(input_shapes)
        types.update(self.input_types(input_shapes))
        return walk(self.operators, types, count)

    def infer_types(self, input_shapes: Mapping[str, tuple[int, ...] | TensorType]) -> dict[str, TensorType]:
        """The type of every blob after a run (of its last writer), without running anything."""
        types = dict(self.parameter_types) | self.input_types(input_shapes)
        for step in self.walk(input_shapes):
            types.update(zip(step.node.outputs, step.outputs, strict=True))
        return types

    def infer_shapes(self, input_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
        """blob -> (shape, dtype) after a run, without running anything; quantized blobs are uint8.

        Of blobs whose sizes only a run tells, the largest that they can have; those without such a bound are left
        out. `infer_types` says which is which.
        """
        types = self.infer_types(input_shapes)
        return {name: (t.shape, t.dtype) for name, t in types.items() if not t.is_unknown}

    def session(self, backend: str = "auto", threads: int | None = None, approximate: bool = False):
        """What runs the net: see caffe2_models.runtimes."""
        from caffe2_models.runtimes import create_session

        return create_session(self, backend, threads, approximate)

    @property
    def is_quantized(self) -> bool:
        """Whether any of its operators, or of those in nets that they hold, is an Int8 one."""
        return any(node.type.startswith("Int8") for node in all_nodes(self.operators))

    def save(self, prefix: str | os.PathLike) -> None:
        """Write PREFIX.init.pb and PREFIX.predict.pb."""
        init = self.init
        if not init.ListFields():  # an empty file would look cut off; ByteSize would serialize all weights to know
            init = caffe2_pb2.NetDef(name=f"{self.predict.name}_init")
        write_net(f"{os.fspath(prefix)}.init.pb", init)
        write_net(f"{os.fspath(prefix)}.predict.pb", self.predict)

    @functools.cached_property
    def _filled(self) -> set[str]:
        return {name for node in self.init_operators for name in node.outputs}

    @functools.cached_property
    def _read(self) -> set[str]:
        return {name for node in self.operators for name in node.inputs}

    @functools.cached_property
    def _taken_dtypes(self) -> dict[str, np.dtype]:
        return taken_dtypes(self.operators)

    @functools.cached_property
    def _undefined(self) -> list[str]:
        """Blobs that an operator reads though nothing before it, nor init, writes them."""
        written, undefined = set(self._filled), {}
        for node in self.operators:
            undefined.update(dict.fromkeys(name for name in node.inputs if name not in written))
            written.update(node.outputs)
        return list(undefined)

    @functools.cached_property
    def _placeholders(self) -> set[str]:
        """Declared inputs that the init net fills with a single zero, so that the blob exists.

        mobile_exporter writes [[0]], Caffe's converter [0]; where the first operator to read one takes a parameter
        in its place, or another than its first input of a plain [0], it is none. Nor is an integer there, which is
        the index or the length that it seems.
        """
        places: dict[str, tuple[Node, int]] = {}
        for node in reversed(self.operators):
            places.update((name, (node, position)) for position, name in reversed(list(enumerate(node.inputs))))
        found, declared = set(), set(self.predict.external_input)
        for fill in self.init_operators:
            name = fill.outputs[0] if fill.outputs else ""
            if name not in declared or name not in places or not _is_single_zero(fill):
                continue
            reader, position = places[name]
            roles = OPERATORS[reader.type].parameters if reader.type in OPERATORS else ()
            if position == 0 or (position > len(roles) and fill.type == "GivenTensorFill"):
                found.add(name)
        return found

    @functools.cached_property
    def _stand_ins(self) -> list[str]:
        """Where every input is filled: the first that an operator begins with and that is filled without content."""
        fills = {name for node in self.init_operators if traits_of(node.type).stands_in for name in node.outputs}
        for node in self.operators:
            if node.inputs and node.inputs[0] in fills:
                return [node.inputs[0]]
        return []

    def _input_channels(self, name: str) -> int:
        """Channels of an image input: what the first convolution that sees it reads, else 3."""
        reached = {name}
        for node in self.operators:
            if node.inputs and node.inputs[0] in reached:
                convolves = traits_of(node.type).layer is Layer.CONVOLUTION
                if convolves and node.inputs[1] in self.parameter_types:
                    shape = self.parameter_types[node.inputs[1]].shape
                    channels = shape[-1] if node.arguments.get_str("order") == "NHWC" else shape[1]
                    return channels * (node.arguments.get_int("group") or 1)
                reached.update(node.outputs)
        return 3

    def require_supported(self) -> None:
        """Raises UnsupportedError that lists all operators of both nets that are not in the table."""
        self._require_supported([*self.init_operators, *self.operators])

    def _require_supported(self, nodes: list[Node]) -> None:
        unknown = sorted({node.type or "(no type)" for node in all_nodes(nodes) if node.type not in OPERATORS})
        if unknown:
            raise UnsupportedError(
                f"{self.name or 'net'}: operators that are not supported: {listing(unknown, len(unknown))}"
            )


class Part:
    """Some operators of a net in a row, with its parameters: what a runtime compiles at a time.

    reads: the blobs that they read before they write them; writes: all that they write.
    """

    def __init__(self, net: Net, operators: Sequence[Node]):
        self.name = net.name
        self.operators = list(operators)
        self.parameters = net.parameters
        self.parameter_types = net.parameter_types
        reads: dict[str, None] = {}
        writes: dict[str, None] = {}
        for node in self.operators:
            reads.update(dict.fromkeys(name for name in node.inputs if name not in writes))
            writes.update(dict.fromkeys(node.outputs))
        self.reads, self.writes = list(reads), list(writes)
        self.outputs = self.writes

    def walk(self, input_types: Mapping[str, TensorType], count: int | None = None) -> Iterator[Step]:
        """Its operators at their moments, given the types of the blobs that it reads; parameters aside."""
        return walk(self.operators, {**self.parameter_types, **input_types}, count)


def load_net(path: str | os.PathLike, init_path: str | os.PathLike | None = None) -> Net:
    """Read a net: a model folder, or a predict file (.pb, .pbtxt) with or without its init file.

    Raises ModelError, in one line that names the file.
    """
    path = Path(path)
    if path.is_dir():
        path, found = find_pair(path)
        init_path = init_path if init_path is not None else found
    return Net(read_net(path), *(read_init(init_path) if init_path is not None else ()))


def _is_single_zero(fill: Node) -> bool:
    """Whether a fill makes a single 0, as exporters do so that a blob exists: [[0]], or [0] without content."""
    if fill.type not in OPERATORS or fill.inputs:
        return False
    try:
        made = fill.step({}).outputs[0].value
    except ModelError:
        return False  # said where the parameters are read
    shapes = ((1, 1),) if fill.type.startswith("GivenTensor") else ((1,), (1, 1))
    if not isinstance(made, np.ndarray) or made.dtype != np.float32:
        return False
    return made.shape in shapes and not np.any(made)


def check_names(net: caffe2_pb2.NetDef) -> None:
    """Raises ModelError for more operators or longer names than any net has, and names that are no text."""
    if len(net.op) > MAX_OPERATORS:
        raise ModelError(f"{len(net.op)} operators, more than {MAX_OPERATORS}")
    names = [net.name, *net.external_input, *net.external_output]
    try:
        for op in net.op:
            names += (op.type, op.name, op.engine, *op.input, *op.output, *(argument.name for argument in op.arg))
            for argument in op.arg:
                if argument.HasField("n"):
                    check_names(argument.n)
        are_text = all(isinstance(name, str) for name in names)
    except UnicodeDecodeError:
        are_text = False
    if not are_text:  # what is not UTF-8 comes from protobuf as bytes, or as an error, as its version has it
        raise ModelError("a name that is no text")
    longest = max(names, key=len)
    if len(longest) > MAX_NAME:
        raise ModelError(f"a name of {len(longest)} characters, {longest[:40]}..., above {MAX_NAME}")


def taken_dtypes(nodes: Sequence[Node]) -> dict[str, np.dtype]:
    """Of blobs that operators read, what the first that reads one takes, itself or in a net that it holds."""
    found: dict[str, np.dtype] = {}
    for node in reversed(nodes):
        traits = traits_of(node.type)
        for position, name in enumerate(node.inputs):
            taken = None if traits.takes_quantized else traits.takes(position)
            found[name] = FLOAT32 if taken is None or FLOAT32.name in taken else np.dtype(min(taken))
        for body in node.bodies.values():
            inside = taken_dtypes(body.nodes)
            found |= {name: inside[name] for name in node.inputs if name in inside}
    return found


def implicit_fills(nodes: Iterable[Node], filled: set[str]) -> list[Node]:
    """Operators that make the blobs which operators read though no net names them, where nothing fills those."""
    fills: dict[str, Node] = {}
    for node in all_nodes(nodes):
        if node.type in OPERATORS and OPERATORS[node.type].implicit_inputs:
            for op in node.operator.implicit_fills():
                if op.output[0] not in filled:
                    fills.setdefault(op.output[0], Node(op, len(fills)))
    return list(fills.values())


def last_uses(nodes: list[Node], kept: Iterable[str]) -> list[list[str]]:
    """For each operator, the blobs that nobody needs once it has run."""
    return last_uses_of([(*node.inputs, *node.outputs) for node in nodes], kept)


def last_uses_of(touched: Sequence[Sequence[str]], kept: Iterable[str]) -> list[list[str]]:
    """The same for what each operator reads and writes."""
    seen = set(kept)
    dead: list[list[str]] = []
    for names in reversed(touched):
        dead.append([name for name in dict.fromkeys(names) if name not in seen])
        seen.update(names)
    return dead[::-1]


def peak_bytes(
    steps: list[Step],
    kept: Iterable[str] = (),
    without: Container[str] = (),
    with_workspace: bool = False,
    only_exact: bool = False,
) -> int:
    """The most that blobs take at a time, in bytes, where each goes after its last use but for those to keep.

    Blobs in `without`, say parameters, do not count; what operators take for themselves does with_workspace.
    A blob whose size only a run tells counts with the largest it can have, or not at all with only_exact.
    """
    dead_after = last_uses([step.node for step in steps], kept)
    live: dict[str, int] = {}
    peak = 0
    for step, dead in zip(steps, dead_after, strict=True):
        for names, types in ((step.node.inputs, step.inputs), (step.node.outputs, step.outputs)):
            sizes = [t.nbytes if t.is_exact or not only_exact else 0 for t in types]
            live.update((n, size) for n, size in zip(names, sizes, strict=True) if n not in without)
        peak = max(peak, sum(live.values()) + (step.workspace if with_workspace else 0))
        for name in dead:
            live.pop(name, None)
    return peak
