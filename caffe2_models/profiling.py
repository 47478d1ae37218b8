"""What a net costs: operator by operator its work, parameters and memory, and on a runtime its time."""

import dataclasses
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from caffe2_models.build import make_init
from caffe2_models.net import Net, Node, Step, last_uses, peak_bytes
from caffe2_models.operators.node import defined, flat, update
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes import create_session
from caffe2_models.runtimes.caffe2 import Caffe2Session
from caffe2_models.runtimes.session import Session
from caffe2_models.tensors import Sizes, TensorType, Value


@dataclass(frozen=True)
class OperatorCost:
    """One operator; parameters counts those it is the first to read, ms is None where it was not timed.

    sizes: whether the shape is "exact", the largest that it can be ("up to"), or "unknown" before a run.
    """

    index: int
    type: str
    outputs: list[str]
    shape: list[int]
    dtype: str
    scale: float | None
    zero_point: int | None
    macs: int
    parameters: int
    activation_bytes: int
    sizes: str = Sizes.EXACT.value
    ms: float | None = None

    @property
    def shape_text(self) -> str:
        """The shape as in `up to 100x4`, or nothing where it is not known."""
        if self.sizes == Sizes.UNKNOWN.value:
            return "known when it runs"
        text = "x".join(map(str, self.shape))
        return text if self.sizes == Sizes.EXACT.value or not text else f"up to {text}"


@dataclass(frozen=True)
class NetCost:
    """A net's operators, and the whole of it.

    weight_bytes are the parameters'; largest_pair_bytes what the largest operator reads and writes of
    activations; peak_bytes the most that activations take at a time where each goes after its last use.
    ms is the median of whole runs.
    """

    name: str
    operators: list[OperatorCost]
    macs: int
    parameters: int
    weight_bytes: int
    largest_pair_bytes: int
    peak_bytes: int
    ms: float | None = None

    @property
    def is_exact(self) -> bool:
        """Whether the figures are those of every run, and no upper bounds."""
        return all(row.sizes == Sizes.EXACT.value for row in self.operators)

    def to_dict(self) -> dict:
        """As it goes into JSON."""
        return dataclasses.asdict(self)

    def with_times(self, whole: float, operators: Sequence[float]) -> "NetCost":
        """The same with times in ms; operators may be empty."""
        times: Sequence[float | None] = operators or [None] * len(self.operators)
        timed = [dataclasses.replace(row, ms=ms) for row, ms in zip(self.operators, times, strict=True)]
        return dataclasses.replace(self, ms=whole, operators=timed)


def cost(net: Net, inputs: Mapping[str, tuple[int, ...] | TensorType]) -> NetCost:
    """What the net costs on inputs of these shapes, without running it.

    Raises ModelError as Net.walk does.
    """
    steps, rows, pairs = list(net.walk(inputs)), [], []
    read: set[str] = set()
    for step in steps:
        inputs_of = list(zip(step.node.inputs, step.inputs, strict=True))
        weights = {name: t for name, t in inputs_of if name in net.parameter_types}
        pairs.append(sum(t.nbytes for name, t in inputs_of if name not in weights))
        pairs[-1] += sum(t.nbytes for t in step.outputs)
        rows.append(_row(step, sum(t.size for name, t in weights.items() if name not in read), pairs[-1]))
        read.update(weights)
    parameters = [net.parameter_types[name] for name in read]
    return NetCost(
        name=net.name,
        operators=rows,
        macs=sum(row.macs for row in rows),
        parameters=sum(t.size for t in parameters),
        weight_bytes=sum(t.nbytes for t in parameters),
        largest_pair_bytes=max(pairs, default=0),
        peak_bytes=peak_bytes(list(flat(steps)), net.outputs, without=net.parameter_types),
    )


def _row(step: Step, parameters: int, activation_bytes: int) -> OperatorCost:
    node, first = step.node, step.outputs[0] if step.outputs else TensorType((0,))
    return OperatorCost(
        index=node.index,
        type=node.type,
        outputs=node.outputs,
        shape=list(first.shape),
        dtype=first.dtype.name,
        scale=first.scale,
        zero_point=first.zero_point,
        macs=step.macs,
        parameters=parameters,
        activation_bytes=activation_bytes,
        sizes=first.sizes.value,
    )


def random_feeds(inputs: Mapping[str, tuple[int, ...] | TensorType], seed: int = 0) -> dict[str, np.ndarray]:
    """Standard normal values of these shapes, float32; of whole numbers 0 and 1, which are places in anything."""
    rng = np.random.default_rng(seed)
    types = {name: given if isinstance(given, TensorType) else TensorType(given) for name, given in inputs.items()}
    return {
        name: (rng.normal(0, 1, kind.shape) if kind.dtype.kind == "f" else rng.integers(0, 2, kind.shape)).astype(
            kind.dtype
        )
        for name, kind in types.items()
    }


def feeds_for(net: Net, shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, np.ndarray]:
    """The same of the types that the net takes; a detector is told its image's size."""
    feeds = random_feeds(net.input_types(shapes), seed)
    tell_image_size(net, feeds)
    return feeds


def tell_image_size(net: Net, feeds: Mapping[str, np.ndarray]) -> None:
    """Put the size of the images that are fed, and a scale of 1, into what a detector reads them from."""
    image = next((array.shape for array in feeds.values() if array.ndim == 4), (1, 1, 1, 1))
    for name in net.image_infos.intersection(feeds):
        feeds[name][..., :] = (*image[2:], 1)


def time_net(session: Session, feeds: Mapping[str, Value], runs: int, warmup: int = 1) -> float:
    """Median ms of a whole run."""
    return median_ms(lambda: session.run(feeds), runs, warmup)


def time_operators(session: Session, feeds: Mapping[str, Value], runs: int, warmup: int = 1) -> list[float]:
    """Median ms of each operator.

    Caffe2 and the reference time their operators within the net. The other runtimes fuse them, so there each
    operator runs as a net of its own: what it takes alone, which may be more than its share of the whole.
    """
    if isinstance(session, Caffe2Session):
        return session.benchmark(dict(feeds), warmup, runs)[1:]
    return [
        median_ms(_operator_call(session, node, values), runs, warmup) for node, values in _moments(session.net, feeds)
    ]


def _operator_call(session: Session, node: Node, values: list[Value]) -> Callable[[], object]:
    """What runs one operator on its inputs in the runtime of the session."""
    if session.backend == "reference":
        return lambda: node.compute(values)
    inputs = dict(zip(node.inputs, values, strict=True))
    parameters = {name: value for name, value in inputs.items() if name in session.net.parameters}
    feeds = {name: value for name, value in inputs.items() if name not in parameters}
    predict = caffe2_pb2.NetDef(op=[node.proto], external_input=list(inputs))
    alone = create_session(Net(predict, make_init(parameters)), session.backend, session.threads, approximate=True)
    written = None
    if node.operator.shares_workspace:  # a branch leaves unwritten what the other writes
        written = [name for name, value in zip(node.outputs, node.compute(values), strict=True) if value is not None]
    return lambda: alone.run(feeds, written)


def _moments(net: Net, feeds: Mapping[str, Value]) -> Iterator[tuple[Node, list[Value]]]:
    """Every operator with its inputs at its moment of a run."""
    blobs = {**net.parameters, **feeds}
    dead_after = last_uses(net.operators, ())
    for node in net.operators:
        values = [defined(blobs, name) for name in node.inputs]
        yield node, values
        update(blobs, node.outputs, node.compute(values))
        for name in dead_after[node.index]:
            blobs.pop(name, None)


def median_ms(call: Callable[[], object], runs: int, warmup: int) -> float:
    """Of so many calls behind the warm-up."""
    for _ in range(warmup):
        call()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)
