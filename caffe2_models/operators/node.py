"""Operators in their places: what a net, and a net that an operator holds, is a list of."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf import text_format

from caffe2_common.errors import LaterError, ModelError, UnsupportedError
from caffe2_models.arguments import Arguments
from caffe2_models.operators.registry import OPERATORS, Operator
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import MAX_BLOB_BYTES, Sizes, TensorType, Value, check_live, form_of

# Blobs up to this size whose inputs are known are computed during shape inference: shapes, bounds, scales.
MAX_KNOWN_ELEMENTS = 1024

MAX_DEPTH = 3  # of step nets within step nets: each is walked several times by the one around it


class Node:
    """One operator of a net, in its place: type, input and output blob names, arguments.

    weights are the floats of a fill, where they stand apart from its proto. `defined` are the blobs that exist
    before it. Of an operator that runs its nets among the blobs around it (`shares_workspace`), inputs and outputs
    are first those declared, then what these nets read and write of the blobs around them.
    """

    def __init__(
        self,
        proto: caffe2_pb2.OperatorDef,
        index: int,
        weights: np.ndarray | None = None,
        defined: Iterable[str] = (),
    ):
        self.proto = proto
        self.weights = weights
        self.index = index
        self.type = proto.type
        self.name = proto.name
        self.engine = proto.engine
        self.inputs = [*proto.input, *(OPERATORS[proto.type].implicit_inputs if proto.type in OPERATORS else ())]
        self.outputs = list(proto.output)
        self.bodies: dict[str, Body] = {}
        self._needs_content = False  # to tell the outputs' types
        self._fitting: tuple[list[tuple], list[TensorType]] | None = None  # inputs that fit, and their outputs' types
        if self.type in OPERATORS and (nets := dict(nets_of(proto))):
            kind, around = OPERATORS[self.type], set(defined)
            for name in [name for name in kind.net_order if name in nets] or nets:
                self.bodies[name] = Body(nets[name], around if kind.shares_workspace else ())
                if kind.shares_workspace:
                    self._reach_out(self.bodies[name], set(defined))
                if kind.loops:
                    around.update(self.bodies[name].writes)

    def _reach_out(self, body: "Body", defined: set[str]) -> None:
        inside = set(self.outputs) - defined if OPERATORS[self.type].loops else set()  # the net before it wrote that
        kept = [name for name in body.writes if name in defined]  # another branch may leave it as it was
        reads = [name for name in dict.fromkeys([*body.reads, *kept]) if name not in inside]
        self.inputs += [name for name in reads if name not in self.inputs]
        self.outputs += [name for name in body.writes if name not in self.outputs]

    @functools.cached_property
    def arguments(self) -> Arguments:
        with self.context():
            return Arguments(self.proto, self.weights, self.bodies)

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
        step = self.step(types)
        return step.inputs, step.outputs

    def step(self, types: Mapping[str, TensorType]) -> "Step":
        """This operator at its moment, given the types of the blobs so far.

        Where the inputs' sizes are not exact, nor are the outputs', and what does not fit is left to the run.
        """
        with self.context():
            inputs = [defined(types, name) for name in self.inputs]
            if self.operator.shares_workspace:
                return self._step_of_bodies(inputs)
            outputs = self._infer(inputs)
            if _follow_from_known(inputs, outputs):
                outputs = [
                    TensorType.of(value) for value in self.compute([t.value for t in inputs]) if value is not None
                ]
            return Step(self, inputs, outputs)

    def _infer(self, inputs: Sequence[TensorType]) -> list[TensorType]:
        operator = self.operator
        operator.check_inputs(*inputs)
        sizes = {x.sizes for x in inputs}
        exact = sizes <= {Sizes.EXACT}
        try:
            results = as_tuple(operator.infer(*inputs)) if Sizes.UNKNOWN not in sizes else None
            if results is not None and operator.workspace(*inputs) > MAX_BLOB_BYTES:
                raise ModelError(f"to compute it would take more than {MAX_BLOB_BYTES >> 20} MiB of its own")
        except LaterError:
            results = None
        except ModelError:
            if exact:
                raise
            results = None
        if results is None:
            return [TensorType.unknown() for _ in self.outputs]
        if len(results) < len(self.outputs):
            raise ModelError(f"{len(self.outputs)} outputs are named, {len(results)} are known")
        return [t if exact else t.loosened() for t in results[: len(self.outputs)]]

    def _step_of_bodies(self, inputs: list[TensorType]) -> "Step":
        """Outputs have the type that all branches agree on: exact, or the larger, or none that is known."""
        operator, known = self.operator, inputs[: len(self.proto.input)]
        operator.check_inputs(*known)
        operator.infer(*known)
        before = dict(zip(self.inputs, inputs, strict=True))
        if operator.loops:
            return self._step_of_rounds(inputs, before)
        branches: list[dict[str, TensorType]] = []
        steps: list[Step] = []
        for body in self.choices(known):
            after = dict(before)
            try:
                steps.extend(body.walk(after) if body is not None else ())
            except ModelError:  # of a branch that may never be taken
                after.update(dict.fromkeys(body.writes if body is not None else (), TensorType.unknown()))
            branches.append(after)
        outputs = [_agreed([branch.get(name) for branch in branches]) for name in self.outputs]
        return Step(self, inputs, outputs, steps)

    def _step_of_rounds(self, inputs: list[TensorType], before: dict[str, TensorType]) -> "Step":
        """Of a loop: its steps are those of one round, and what asks before it.

        Outputs have the type that they have before and after each round; unknown is what a round changes.
        """
        *asking, repeated = self.bodies.values()
        types = self._forget(before)
        steps = [step for body in asking for step in body.walk(types)]
        moments = [types]
        for _ in range(2):  # the second finds out what goes on changing
            types = self._forget(moments[-1])
            try:
                steps += [step for body in (repeated, *asking) for step in body.walk(types) if len(moments) == 1]
            except ModelError:
                if len(moments) == 1:
                    raise
                types = dict.fromkeys(types, TensorType.unknown())
            moments.append(types)
        found = [[self._forget(types).get(name) for types in moments] for name in self.outputs]
        return Step(self, inputs, [_lasting(each) for each in found], steps)

    def _forget(self, types: Mapping[str, TensorType]) -> dict[str, TensorType]:
        """The types, without the content of what is written here."""
        written = frozenset(self.outputs)
        return {name: dataclasses.replace(t, value=None) if name in written else t for name, t in types.items()}

    def choices(self, inputs: Sequence[TensorType]) -> "list[Body | None]":
        """The nets of which one runs; None for doing nothing."""
        known = [x.value for x in inputs if x.value is not None]
        if len(known) == len(inputs):
            return [self.operator.choose(*known)]
        bodies: list[Body | None] = list(self.bodies.values())
        return bodies if len(bodies) > 1 else [*bodies, None]

    def check(self, values: Sequence[Value]) -> list[TensorType]:
        """The types of the outputs of these very inputs, for an operator whose inputs' sizes only a run could tell.

        Where types alone tell them, `compute` refuses what content is wrong, and those of the last inputs are
        remembered. Raises ModelError as `step` does.
        """
        forms = [form_of(value) for value in values]
        remembered = self._fitting
        if remembered is not None and remembered[0] == forms:
            return remembered[1]
        with self.context():
            inputs = [TensorType.of(value) for value in values]
            if not self._needs_content:
                outputs = self._infer([x.with_shape(x.shape) for x in inputs])
                if all(x.is_exact for x in outputs):
                    self._fitting = forms, outputs
                    return outputs
                self._needs_content = True
            return self._infer(inputs)

    def compute(self, values: Sequence[Value]) -> tuple[Value | None, ...]:
        """The operator's outputs, exactly as Caffe2 computes them; None for one that it left unwritten."""
        operator = self.operator
        with self.context(), np.errstate(all="ignore"):
            if not operator.shares_workspace:
                return as_tuple(operator.compute(*values))[: len(self.outputs)]
            blobs = dict(zip(self.inputs, values, strict=True))
            for body in operator.sequence(lambda: blobs[self.inputs[0]]):
                body.run(blobs)
            return tuple(blobs.get(name) for name in self.outputs)

    def __str__(self):
        return f"operator {self.index} ({self.type} -> {listing(self.outputs) or 'nothing'})"


class Body:
    """A net that an operator holds, as an argument: `If`'s branches, a recurrent net's step.

    `defined` are the blobs around it that it sees. reads: those that it reads before it writes them; writes: all
    that it writes.
    """

    def __init__(self, net: caffe2_pb2.NetDef, defined: Iterable[str] = ()):
        self.net = net
        self.nodes = make_nodes(net.op, defined)
        inner = [
            body.depth + (not OPERATORS[node.type].shares_workspace)
            for node in self.nodes
            for body in node.bodies.values()
        ]
        self.depth: int = max(inner, default=0)
        if self.depth > MAX_DEPTH:
            raise ModelError(f"step nets within step nets, more than {MAX_DEPTH} deep")
        written: dict[str, None] = {}
        reads: dict[str, None] = {}
        for node in self.nodes:
            reads.update(dict.fromkeys(name for name in node.inputs if name not in written))
            written.update(dict.fromkeys(node.outputs))
        self.reads, self.writes = list(reads), list(written)

    def walk(self, types: dict[str, TensorType]) -> Iterator["Step"]:
        """Its operators in order at their moments; `types` are the blobs around it, and grow by what it writes."""
        return walk(self.nodes, types)

    def run(self, blobs: dict[str, Value]) -> None:
        """Run it among these blobs, which grow by what it writes. Raises ModelError for what does not fit."""
        for node in self.nodes:
            values = [defined(blobs, name) for name in node.inputs]
            if not node.operator.shares_workspace:
                written = node.check(values)
                check_live(sum(value.nbytes for value in blobs.values()) + sum(t.nbytes for t in written))
            update(blobs, node.outputs, node.compute(values))


@dataclass(frozen=True)
class Step:
    """One operator at its own moment of a run: the types that it reads and writes then.

    macs counts multiply-accumulates, with those of the nets that it holds: at most so many, where sizes are not
    exact. within are the steps of these nets, where it is an operator that runs one of them.
    """

    node: Node
    inputs: list[TensorType]
    outputs: list[TensorType]
    within: list["Step"] | None = None

    @property
    def is_exact(self) -> bool:
        """Whether all that it reads and writes has the size that stands here."""
        return self.within is None and all(t.is_exact for t in [*self.inputs, *self.outputs])

    def counting(self, count: int) -> "Step":
        """The same, where there are so many of what only a run counts: that is the outputs' first dimension."""
        counted = self.node.operator.lists_numbers and len(self.outputs) == 1
        outputs = [
            TensorType((count,), self.inputs[0].dtype) if t.is_unknown and counted else
            t if t.is_exact or t.is_unknown else TensorType((count, *t.shape[1:]), t.dtype)
            for t in self.outputs
        ]  # fmt: skip
        return dataclasses.replace(self, outputs=outputs)

    @property
    def macs(self) -> int:
        if self.within is not None:
            return sum(step.macs for step in self.within)
        if any(t.is_unknown for t in self.inputs):
            return 0
        with self.node.context():
            return int(self.node.operator.macs(*self.inputs))

    @property
    def nbytes(self) -> int:
        """Bytes read and written."""
        return sum(t.nbytes for t in self.inputs) + sum(t.nbytes for t in self.outputs)

    @property
    def workspace(self) -> int:
        """Bytes that its computation takes for itself (numpy's, in `reference`)."""
        return self.node.operator.workspace(*self.inputs) if self.is_exact else 0


class _NamedErrors:
    """Puts an operator's name before the text of a ModelError."""

    def __init__(self, node: Node):
        self.node = node

    def __enter__(self) -> "_NamedErrors":
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, ModelError) and not str(error).startswith(str(self.node)):
            raise type(error)(f"{self.node}: {error}") from None


def nets_of(proto: caffe2_pb2.OperatorDef) -> Iterator[tuple[str, caffe2_pb2.NetDef]]:
    """(name, net) of an operator's arguments that are nets; old files have some of them as text.

    Raises ModelError for a text that is none.
    """
    for argument in proto.arg:
        if argument.HasField("n"):
            yield argument.name, argument.n
        elif argument.name in OPERATORS[proto.type].nets_as_text and argument.HasField("s"):
            try:
                yield argument.name, text_format.Parse(argument.s, caffe2_pb2.NetDef())
            except (text_format.ParseError, UnicodeDecodeError, RecursionError) as error:
                raise ModelError(f"argument {argument.name} of {proto.type} is no net ({error})") from None


def make_nodes(
    protos: Iterable[caffe2_pb2.OperatorDef],
    defined: Iterable[str] = (),
    weights: Mapping[int, np.ndarray] | None = None,
) -> list[Node]:
    """The operators of a net in their places, where the `defined` blobs exist already."""
    seen, nodes = set(defined), []
    for index, proto in enumerate(protos):
        nodes.append(Node(proto, index, (weights or {}).get(index), seen))
        seen.update(nodes[-1].outputs)
    return nodes


def walk(nodes: Iterable[Node], types: dict[str, TensorType], count: int | None = None) -> Iterator[Step]:
    """Every operator at its moment, nothing run; `types`, the blobs so far, grow by what they write.

    count: how many there are of what only a run counts; None: nobody knows.
    """
    for node in nodes:
        step = node.step(types) if count is None else node.step(types).counting(count)
        types.update(zip(node.outputs, step.outputs, strict=True))
        yield step


def flat(steps: Iterable[Step]) -> Iterator[Step]:
    """All steps, those within others before them."""
    for step in steps:
        yield from flat(step.within or ())
        yield step


def all_nodes(nodes: Iterable[Node]) -> Iterator[Node]:
    """All operators, with those of the nets that they hold."""
    for node in nodes:
        yield node
        for body in node.bodies.values():
            yield from all_nodes(body.nodes)


def read_by(nodes: Iterable[Node]) -> frozenset[str]:
    """The blobs that operators read."""
    return frozenset(name for node in nodes for name in node.inputs)


def defined(blobs: Mapping, name: str):
    """The blob, or its type; ModelError where nothing has written it."""
    if name not in blobs:
        raise ModelError(f"blob {listing([name])} is read before anything writes it (is the init net the right one?)")
    return blobs[name]


def update(blobs: dict[str, Value], names: Iterable[str], values: Iterable[Value | None]) -> None:
    """Write an operator's outputs, but for those that it left unwritten."""
    for name, value in zip(names, values, strict=True):
        if value is not None:
            blobs[name] = value


def listing(names: Sequence[str], limit: int = 8) -> str:
    """Names for an error message: not all of a hundred, nor all of a long one."""
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(name if len(name) <= 100 else f"{name[:100]}..." for name in names[:limit]) + rest


def as_tuple(results) -> tuple:
    return results if isinstance(results, tuple) else (results,)


def _follow_from_known(inputs: list[TensorType], outputs: list[TensorType]) -> bool:
    """Small blobs computed from known content, as converters write for Reshape, Slice and the like."""
    return all(t.value is not None for t in inputs) and all(
        t.size <= MAX_KNOWN_ELEMENTS and not t.is_quantized for t in [*inputs, *outputs]
    )


def _lasting(found: Sequence[TensorType | None]) -> TensorType:
    """The one type of a blob at all moments from the first on at which it exists; unknown where there is none."""
    there = [t for t in found if t is not None]
    forms = {(t.shape, t.dtype, t.scale, t.zero_point, t.is_exact) for t in there}
    return there[0] if len(forms) == 1 and there[0].is_exact else TensorType.unknown()


def _agreed(found: Sequence[TensorType | None]) -> TensorType:
    """One type for a blob of which each branch has its own; None where a branch leaves it unwritten."""
    types = [t for t in found if t is not None and not t.is_unknown]
    kinds = {(t.dtype, len(t.shape), t.scale, t.zero_point) for t in types}
    if len(types) < len(found) or len(kinds) > 1:
        return TensorType.unknown()
    first, *others = types
    if all(t is first for t in others):
        return first
    if all(t.is_exact and t.shape == first.shape for t in types):
        return first.with_shape(first.shape)
    shape = tuple(max(dims) for dims in zip(*(t.shape for t in types), strict=True))
    return first.with_shape(shape).loosened()
