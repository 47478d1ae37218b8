"""A net's operators as a page shows them: those of nets within operators too, each with what feeds it."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from caffe2_common.errors import ModelError
from caffe2_models.net import Net, Node, Step
from caffe2_models.operators import OPERATORS
from caffe2_models.operators.node import flat
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType
from exporters.int8.report import is_float

MAX_TEXT = 120  # characters of an argument's value
MAX_VALUES = 16  # of an argument that is a list


@dataclass(frozen=True)
class Blob:
    """What an operator reads or writes; shape as text, as `up to 100x4`, empty where nothing is known of it.

    source: the operator that wrote it, by its place among the rows; None for parameters and the net's inputs.
    """

    name: str
    shape: str = ""
    dtype: str = ""
    scale: float | None = None
    zero_point: int | None = None
    is_parameter: bool = False
    source: int | None = None


@dataclass(frozen=True)
class Row:
    """An operator. place: among all rows; label: its index in the net: `12`, or `12/then_net/3` within another's net.

    parent: the place of the operator whose net it belongs to; block: the name of its group, or nothing. macs and
    nbytes (read and written) are None where shapes are not known.
    """

    place: int
    label: str
    type: str
    name: str
    inputs: tuple[Blob, ...]
    outputs: tuple[Blob, ...]
    arguments: str
    engine: str
    macs: int | None
    nbytes: int | None
    parameters: int
    parent: int | None = None
    block: str = ""
    is_exact: bool = True
    is_island: bool = False  # computed in float, in an int8 net

    @property
    def output(self) -> str:
        """The name of what it writes first, or of itself."""
        return self.outputs[0].name if self.outputs else self.name or self.type

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel of its output comes from one channel of its input."""
        return "depthwise" in self.kind

    @property
    def kind(self) -> str:
        """One of the colours of operators: float (in an int8 net), depthwise, conv (and fully connected), rest."""
        if self.is_island:
            return "float"
        if "Conv" not in self.type and "FC" not in self.type:
            return "rest"
        group = re.search(r"\bgroup=(\d+)", self.arguments)
        return "depthwise" if group is not None and int(group[1]) > 1 else "conv"


@dataclass(frozen=True)
class Listing:
    """A net's rows in the order in which they run, those within another before it.

    timed: the places of those that latencies are of, in the order in which net_latency has them; own: the places of
    the net's own operators, in order.
    """

    rows: list[Row]
    timed: list[int]

    @property
    def own(self) -> list[int]:
        return [row.place for row in self.rows if row.parent is None]


def list_operators(net: Net, shapes: Mapping[str, tuple[int, ...]] | None) -> Listing:
    """All operators, also those of the nets that some hold.

    shapes: of the inputs; where None, or where the net has something wrong, types stay unknown.
    """
    steps: list[Step] = []
    try:
        steps = list(net.walk(shapes)) if shapes is not None else []
    except ModelError:
        steps = []  # what is wrong stands among the findings
    known: dict[int, list[Step]] = {}
    _collect(steps, known)
    lister = _Lister(net, known)
    lister.add(net.operators, {}, "", None)
    timed = [lister.places[id(step.node)] for step in flat(steps) if step.within is None]
    return Listing(with_blocks(lister.rows), timed)


def _collect(steps: Sequence[Step], known: dict[int, list[Step]]) -> None:
    for step in steps:
        known.setdefault(id(step.node), []).append(step)
        _collect(step.within or (), known)


class _Lister:
    """Makes the rows, and remembers who wrote what."""

    def __init__(self, net: Net, steps: Mapping[int, list[Step]]):
        self.steps = steps
        self.parameters = _parameter_types(net)
        self.is_int8 = net.is_quantized
        self.rows: list[Row] = []
        self.counted: set[str] = set()
        self.places: dict[int, int] = {}  # id of a node -> its row's place

    def add(self, nodes: Sequence[Node], writers: dict[str, int], prefix: str, parent: int | None) -> None:
        """parent: the place that the operator around them will have."""
        for node in nodes:
            label = f"{prefix}{node.index}"
            own = dict(writers)
            place = len(self.rows) + _inner_count(node)
            for name, body in node.bodies.items():
                inner = own if OPERATORS[node.type].shares_workspace else {}
                self.add(body.nodes, inner, f"{label}/{name}/", place)
            self.places[id(node)] = place
            self.rows.append(self._row(node, label, own if node.bodies else writers, parent))
            writers.update(dict.fromkeys(node.outputs, place))

    def _row(self, node: Node, label: str, writers: Mapping[str, int], parent: int | None) -> Row:
        step = next(iter(self.steps.get(id(node), [])), None)
        inputs: Sequence[TensorType | None] = step.inputs if step is not None else [None] * len(node.inputs)
        outputs: Sequence[TensorType | None] = step.outputs if step is not None else [None] * len(node.outputs)
        parameters = 0
        for name in node.inputs:
            if name in self.parameters and name not in writers and name not in self.counted:
                self.counted.add(name)
                parameters += self.parameters[name].size
        return Row(
            place=len(self.rows),
            label=label,
            type=node.type,
            name=node.name,
            inputs=tuple(self._blob(n, t, writers) for n, t in zip(node.inputs, inputs, strict=True)),
            outputs=tuple(_typed(n, t) for n, t in zip(node.outputs, outputs, strict=True)),
            arguments=arguments_text(node.proto),
            engine=node.engine,
            macs=step.macs if step is not None else None,
            nbytes=step.nbytes if step is not None else None,
            parameters=parameters,
            parent=parent,
            is_exact=step is None or step.is_exact,
            is_island=self.is_int8 and is_float(node.type),
        )

    def _blob(self, name: str, kind: TensorType | None, writers: Mapping[str, int]) -> Blob:
        is_parameter = name in self.parameters and name not in writers
        return _typed(name, kind or self.parameters.get(name), is_parameter, writers.get(name))


def inputs_of(net: Net) -> list[str]:
    """What a user feeds; of a graph without its init net, whose parameters nothing fills, what operators begin with."""
    first = {node.inputs[0] for node in net.operators if node.inputs}
    return [name for name in net.inputs if net.init_operators or name in first]


def _parameter_types(net: Net) -> Mapping[str, TensorType]:
    try:
        return net.parameter_types
    except ModelError:
        return {}


def _inner_count(node: Node) -> int:
    """Operators in the nets that it holds."""
    return sum(1 + _inner_count(inner) for body in node.bodies.values() for inner in body.nodes)


def _typed(name: str, kind: TensorType | None, is_parameter: bool = False, source: int | None = None) -> Blob:
    if kind is None or kind.is_unknown:
        return Blob(name, "known when it runs" if kind is not None else "", is_parameter=is_parameter, source=source)
    shape = "x".join(map(str, kind.shape)) or "scalar"
    return Blob(
        name,
        shape if kind.is_exact else f"up to {shape}",
        kind.dtype.name,
        kind.scale,
        kind.zero_point,
        is_parameter,
        source,
    )


def arguments_text(proto: caffe2_pb2.OperatorDef) -> str:
    """The operator's arguments as `kernel=3 pads=[1, 1, 1, 1]`; scales and zero points stand with the blobs."""
    return " ".join(f"{argument.name}={_value(argument)}" for argument in proto.arg)[: 8 * MAX_TEXT]


def _value(argument: caffe2_pb2.Argument) -> str:
    for field in ("f", "i"):
        if argument.HasField(field):
            return f"{getattr(argument, field):g}" if field == "f" else str(argument.i)
    if argument.HasField("s"):
        return argument.s[:MAX_TEXT].decode("utf-8", "replace")
    if argument.HasField("n"):
        return f"net of {len(argument.n.op)} operators"
    for values in (argument.floats, argument.ints, argument.strings):
        if len(values):
            listed = ", ".join(
                v[:MAX_TEXT].decode("utf-8", "replace") if isinstance(v, bytes) else f"{v:g}"
                for v in values[:MAX_VALUES]
            )
            return f"[{listed}{', ...' if len(values) > MAX_VALUES else ''}]"
    return "[]"


# ---- blocks


VERSION = re.compile(r"^v\d+/")  # what converters put before names that they write anew
MOST_NAMED = 0.6  # of the operators, from which names tell the blocks


def stem(name: str) -> str:
    """The block in a blob's name: up to the last number that stands alone and is followed by something; or nothing.

    >>> stem("blocks.1.0.conv_pw"), stem("v1/fbn2_2_dw1_conv_int8"), stem("res2_0_branch2a"), stem("pool5")
    ('blocks.1.0', 'fbn2_2', 'res2_0', '')
    """
    tokens = re.split(r"([./_])", VERSION.sub("", name).removesuffix("_int8"))
    last = max((place for place, token in enumerate(tokens[:-1]) if token.isdigit() and place), default=None)
    return "".join(tokens[: last + 1]) if last is not None else ""


def with_blocks(rows: Sequence[Row]) -> list[Row]:
    """The rows with the names of their blocks: as blobs' names tell them, else as branches part and join."""
    own = [place for place, row in enumerate(rows) if row.parent is None]
    names = [stem(rows[place].output) for place in own]
    names = [_completed(rows[place].output, name, names) for place, name in zip(own, names, strict=True)]
    names = _only_runs(names)
    if sum(map(bool, names)) < MOST_NAMED * len(names):
        names = _by_branches([rows[place] for place in own])
    blocks = dict(zip(own, names, strict=True))
    by_place = {row.place: row for row in rows}
    return [dataclasses.replace(row, block=blocks.get(row.place) or _of_parent(row, by_place)) for row in rows]


def _of_parent(row: Row, rows: Mapping[int, Row]) -> str:
    """Operators of a net that an operator holds are a block of their own."""
    if row.parent is None:
        return ""
    around = rows[row.parent]
    return f"{around.type} {row.label.rpartition('/')[0]}"


def _completed(name: str, found: str, names: Sequence[str]) -> str:
    """The last operator of a block is often named as the block itself."""
    whole = VERSION.sub("", name).removesuffix("_int8")
    return whole if whole in names else found


def _only_runs(names: list[str]) -> list[str]:
    """Without names that no neighbour shares."""
    return [
        name if name and name in (names[k - 1 : k] + names[k + 1 : k + 2] if k else names[1:2]) else ""
        for k, name in enumerate(names)
    ]


def _by_branches(rows: Sequence[Row]) -> list[str]:
    """From where branches part to where they join: between places where one blob alone goes on."""
    position = {row.place: index for index, row in enumerate(rows)}
    last = list(range(len(rows)))  # where what each writes is read last
    for index, row in enumerate(rows):
        for blob in row.inputs:
            if blob.source in position:
                last[position[blob.source]] = index
    change = [0] * (len(rows) + 1)  # of the number of blobs that go on
    for index, end in enumerate(last):
        change[index] += end > index
        change[end] -= end > index
    names, start, live, number = [""] * len(rows), -1, 0, 0
    for index in range(len(rows)):
        live += change[index]
        if live <= 1:
            if index - start >= 3:
                number += 1
                names[start + 1 : index + 1] = [f"block {number}"] * (index - start)
            start = index
    return names
