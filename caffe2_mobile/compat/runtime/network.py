"""A net that was created in a workspace: its operators, made ready once and run on the workspace's blobs.

Operators that only compute go together into segments, which the project's sessions run; those that reach outside
(databases, random numbers, Python functions) stand between them. A segment is planned for the types of what
varies. What does not vary, the parameters, is part of the plan, until a blob tells that it has other content: then it
is among what varies. A blob that a run writes and nobody has asked for is computed when somebody does.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_mobile.compat.runtime.blob import Blob, Pending
from caffe2_mobile.compat.runtime.devices import copy_of, on_cpu
from caffe2_mobile.compat.runtime.effects import EFFECTS, Surroundings
from caffe2_mobile.compat.runtime.errors import (
    FailedOperator,
    enforce_failed,
    failed_run,
    in_enforces_form,
    short_text,
)
from caffe2_mobile.compat.runtime.known import known_operators, refusal
from caffe2_models.net import Net, Node
from caffe2_models.operators import OPERATORS, Operator
from caffe2_models.operators.node import MAX_KNOWN_ELEMENTS
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.session import Bound, Session
from caffe2_models.tensors import Int8Tensor, TensorType, Value

logger = logging.getLogger(__name__)

Blobs = Callable[[str], Blob]

# Sessions take float64 as float32, which Caffe2's operators do not, and strings not at all.
NOT_PLANNED = {np.dtype(np.float64), np.dtype(object)}


class NotPlanned(Exception):
    """Content that sessions do not take is there."""


class Part:
    """Operators that run together, and the blobs that they read and write."""

    reads: list[Blob]
    writes: list[Blob]

    def run(self) -> None:
        raise NotImplementedError


class Outside(Part):
    """One operator that reaches outside."""

    def __init__(self, op: caffe2_pb2.OperatorDef, position: int, workspace: Surroundings):
        self.op, self.position, self.workspace = op, position, workspace
        self.reads = [workspace.create_blob(name) for name in op.input]
        self.writes = [workspace.create_blob(name) for name in op.output]

    def run(self) -> None:
        try:
            EFFECTS[self.op.type](self.workspace, self.op, self.reads, self.writes)
        except (ModelError, RuntimeError) as error:
            raise failed_run(str(error), self.op, self.position) from error


class Segment(Part):
    """Operators that compute, planned as one net."""

    def __init__(self, net: caffe2_pb2.NetDef, position: int, blob: Blobs, wanted: Iterable[str], once: bool):
        """`position` is the first operator's in the whole net; `wanted` are blobs that are read after each run."""
        self.net, self.position = net, position
        self.nodes = Net(net).operators
        self.blobs = {name: blob(name) for node in self.nodes for name in [*node.inputs, *node.outputs]}
        self.taken_as_data = _taken_as_data(self.nodes)
        self.reads = [self.blobs[name] for name in self.taken_as_data]
        self.written = list(dict.fromkeys(name for node in self.nodes for name in node.outputs))
        self.writes = [self.blobs[name] for name in self.written]
        self.wanted = dict.fromkeys(name for name in wanted if name in self.written) or self._leaves()
        self.varying: set[str] = set()
        self.plan: Plan | None = None
        self.results = Results()
        self.has_results_in_place = False  # whether all blobs that it writes hold `results`
        is_light = len(net.op) == 1 or not any(multiplies(op.type) for op in net.op)
        self.by_operator = not self.reads or (once and is_light)

    def run(self) -> None:
        if self.by_operator:
            self._run_operators()
            return
        try:
            if self.plan is None:
                self.plan = self._prepare()
            self.results.run = self.plan.run(self.wanted)
        except NotPlanned:
            self._run_operators()
            return
        except ModelError as error:
            # What its types do not tell (a shape that is computed, a result whose size is not known) a plan cannot
            # have; where an operator is wrong, running them one by one says which, after those that are not.
            logger.info("net %s: run operator by operator, since %s", self.net.name, error)
            self._run_operators()
            self.by_operator = True
            return
        if not self.has_results_in_place:
            for blob in self.writes:
                blob.set(self.results)
                blob.watchers.add(self)
            self.has_results_in_place = True

    def changed(self, blob: Blob) -> None:
        """Somebody gave a blob other content, or the same once more."""
        known = self.plan.constants.get(blob.name) if self.plan is not None else None
        if known is not None and is_same_small(known, blob):
            blob.watchers.add(self)
            return
        self.has_results_in_place = False
        if known is not None:
            self.varying.add(blob.name)
            self.plan = None

    def _leaves(self) -> dict[str, None]:
        """What the segment's own operators do not read."""
        last_read = {name: node.index for node in self.nodes for name in node.inputs}
        last_written = {name: node.index for node in self.nodes for name in node.outputs}
        return {name: None for name in self.written if last_read.get(name, -1) <= last_written[name]}

    def _prepare(self) -> "Plan":
        """A plan for what the workspace holds now."""
        for blob in self.reads:
            if blob.is_pending or (self.taken_as_data[blob.name] and (blob.fed or blob.tensor().dtype.kind == "f")):
                self.varying.add(blob.name)
        constants = {blob.name: blob.tensor() for blob in self.reads if blob.name not in self.varying}
        if any(value.dtype in NOT_PLANNED for value in constants.values()):
            raise NotPlanned
        session = BoundNet(self.net, constants).session()
        for name in constants:
            self.blobs[name].watchers.add(self)
        return Plan(session, constants, [self.blobs[name] for name in self.varying])

    def _run_operators(self) -> None:
        for node in self.nodes:
            try:
                inputs = [self.blobs[name].tensor() for name in node.inputs]
                run_node(node, inputs, [self.blobs[name] for name in node.outputs])
            except (ModelError, RuntimeError) as error:
                raise failed_run(str(error), node.proto, self.position + node.index) from error


class Plan:
    """A session for a segment: the content of blobs that is part of it, and blobs that it is fed."""

    def __init__(self, session: Session, constants: dict[str, Value], inputs: list[Blob]):
        self.session, self.constants, self.inputs = session, constants, inputs
        self._bound: Bound | None = None  # the session's run for what the last one was fed and asked for
        self._outputs: list[str] = []
        self._types: list[tuple[tuple[int, ...], np.dtype]] = []

    def run(self, wanted: dict[str, None]) -> "Run":
        values = [blob.tensor() for blob in self.inputs]
        feeds = {blob.name: value for blob, value in zip(self.inputs, values, strict=True)}
        types = [(value.shape, value.dtype) for value in values]
        outputs = list(wanted)
        if self._bound is not None and types == self._types and outputs == self._outputs:
            return Run(self.session, feeds, self._bound(feeds), wanted)
        if any(value.dtype in NOT_PLANNED for value in values):
            raise NotPlanned
        results = self.session.run(feeds, outputs)
        has_scales = any(isinstance(value, Int8Tensor) for value in values)  # which are part of what a run is made for
        self._bound = None if has_scales else self.session.bind(feeds, outputs)
        self._types, self._outputs = types, outputs
        return Run(self.session, feeds, results, wanted)


@dataclass(frozen=True)
class Run:
    """One run: what went in, and what has been asked for of what came out."""

    session: Session
    feeds: dict[str, Value]
    values: dict[str, Value]
    wanted: dict[str, None]  # of the runs to come


class Results(Pending):
    """What a segment's last run wrote, in the blobs that it writes."""

    run: Run

    def result(self, name: str) -> Value:
        """Where it was not asked for before the run, the whole net is computed once more, and from now on this blob is
        wanted of every run."""
        run = self.run
        run.wanted[name] = None
        if name not in run.values:
            written = {blob for node in run.session.net.operators for blob in node.outputs}
            try:
                run.values.update(run.session.run(run.feeds, sorted(written - run.values.keys())))
            except ModelError:  # of a net with branches, not every blob is written
                run.values[name] = self._alone(name)
        return run.values[name]

    def _alone(self, name: str) -> Value:
        try:
            return self.run.session.run(self.run.feeds, [name])[name]
        except ModelError as error:
            del self.run.wanted[name]
            raise RuntimeError(str(error)) from error


class BoundNet(Net):
    """A net whose parameters are arrays at hand instead of an init net."""

    def __init__(self, predict: caffe2_pb2.NetDef, parameters: dict[str, Value]):
        super().__init__(predict)
        self.__dict__["parameters"] = parameters
        self.__dict__["parameter_types"] = {name: TensorType.of(value) for name, value in parameters.items()}
        self.__dict__["_filled"] = set(parameters)


class Network:
    """All operators of a net, in a workspace.

    Raises RuntimeError, as Caffe2 does, for operators that do not run here, inputs that are not there and outputs
    that nothing makes.
    """

    def __init__(self, proto: caffe2_pb2.NetDef, workspace: Surroundings, once: bool = False):
        """once: it is run from here, and the caller leaves `proto` as it is."""
        self.proto = on_cpu(proto if once else copy_of(proto))
        self.name = proto.name
        _check_sources(self.proto)
        _check_operators(self.proto.op)
        for position, op in enumerate(self.proto.op):
            for name in op.input:
                if not workspace.has_blob(name):
                    text = f"blob != nullptr. op {op.type}: Encountered a non-existing input blob: {name}"
                    raise FailedOperator(in_enforces_form("operator.cc:76", text), position)
            for name in op.output:
                workspace.create_blob(name)
            _fill_implicit_inputs(op, workspace)
        self.parts = self._split(workspace, once)

    def run(self) -> None:
        for part in self.parts:
            part.run()

    def is_of(self, workspace: Surroundings) -> bool:
        """Whether the blobs that it was made with are still those of the workspace."""
        blobs = (blob for part in self.parts for blob in [*part.reads, *part.writes])
        return all(workspace.find_blob(blob.name) is blob for blob in blobs)

    def _split(self, workspace: Surroundings, once: bool) -> list[Part]:
        parts: list[Part] = []
        pending: list[int] = []
        read_outside = {name for op in self.proto.op if op.type in EFFECTS for name in op.input}
        wanted = [*self.proto.external_output, *read_outside]

        def close() -> None:
            if pending:
                net = self.proto
                if len(pending) < len(net.op):
                    net = caffe2_pb2.NetDef(name=self.name, op=[self.proto.op[i] for i in pending])
                parts.append(Segment(net, pending[0], workspace.create_blob, wanted, once))
                pending.clear()

        for position, op in enumerate(self.proto.op):
            if op.type in EFFECTS:
                close()
                parts.append(Outside(op, position, workspace))
            else:
                pending.append(position)
        close()
        return parts


def _fill_implicit_inputs(op: caffe2_pb2.OperatorDef, workspace: Surroundings) -> None:
    """Fill the blobs that an operator reads though no net names them, where they are empty."""
    if op.type in OPERATORS and OPERATORS[op.type].implicit_inputs:
        for fill in Node(op, 0).operator.implicit_fills():
            blob = workspace.create_blob(fill.output[0])
            if blob.content is None:
                EFFECTS[fill.type](workspace, fill, [], [blob])


def run_node(node: Node, inputs: Sequence[Value], outputs: Sequence[Blob]) -> None:
    """Compute one operator, exactly."""
    types = dict(zip(node.inputs, map(TensorType.of, inputs), strict=True))
    node.infer(types)
    for blob, value in zip(outputs, node.compute(list(inputs)), strict=True):
        blob.set(value)


def multiplies(operator: str) -> bool:
    """Whether an operator is one that takes time: a convolution, a matrix product."""
    return OPERATORS[operator].macs is not Operator.macs


def is_same_small(known: Value, blob: Blob) -> bool:
    """Whether a blob contains what it did: of small ones, which say what to do (shapes, axes), this is looked at."""
    content = blob.content if not blob.is_pending else None
    if not isinstance(known, np.ndarray) or not isinstance(content, np.ndarray) or known.size > MAX_KNOWN_ELEMENTS:
        return False
    return known.dtype == content.dtype and np.array_equal(known, content)


def _taken_as_data(nodes: Iterable[Node]) -> dict[str, bool]:
    """What operators read and none before them writes: whether the first that reads it takes it as its data."""
    found: dict[str, bool] = {}
    written: set[str] = set()
    for node in nodes:
        for place, name in enumerate(node.inputs):
            if name not in written:
                found.setdefault(name, place == 0)
        written.update(node.outputs)
    return found


def _check_sources(net: caffe2_pb2.NetDef) -> None:
    """Raises RuntimeError where a net that lists its inputs reads others, or lists outputs that nothing writes."""
    known = set(net.external_input)
    for position, op in enumerate(net.op):
        for name in op.input:
            if name not in known and net.external_input:
                text = (
                    f". op {op.type}: Source for input {name} is unknown for net {net.name}, operator {short_text(op)}"
                )
                raise FailedOperator(in_enforces_form("net.cc:70", text), position)
        known.update(op.output)
    if missing := sorted(set(net.external_output) - known):
        raise enforce_failed(
            "net.cc:90",
            "remaining_output.size() == 0. Some of the blobs are declared as output but never produced by the net "
            f"{net.name}, the first one is {missing[0]}",
        )


def _check_operators(ops: Iterable[caffe2_pb2.OperatorDef]) -> None:
    """Raises RuntimeError that names all operators that do not run here; of one that Caffe2 has not, as Caffe2 does."""
    unknown = [op for op in ops if op.type not in OPERATORS and op.type not in EFFECTS]
    if not unknown:
        return
    reasons = refusal(op.type for op in unknown)
    for op in unknown:
        if op.type not in known_operators():
            raise enforce_failed("operator.cc:274", f"op. {reasons}. Operator def: {short_text(op)}")
    raise RuntimeError(reasons)
