"""The latency of a net: each operator's time from a table, or estimated, and where each figure comes from."""

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from caffe2_models.net import Net, Step
from caffe2_models.operators.node import flat
from caffe2_models.tensors import TensorType
from runtime_lut.cost import step_workload
from runtime_lut.estimate import ESTIMATED, INTERPOLATED, Estimator, interval
from runtime_lut.signature import Signature
from runtime_lut.table import Table

# Where an operator's time comes from. Only the first two were measured: they alone count as found.
EXACT = "exact"  # the table holds this operator
SUBSTITUTED = "substituted"  # the table holds it under the type that stands in (Int8ConvRelu for Int8Conv)
MISSING = "missing"  # nothing is known; it is not in any total
PROVENANCES = (EXACT, SUBSTITUTED, INTERPOLATED, ESTIMATED, MISSING)
FOUND = (EXACT, SUBSTITUTED)


@dataclass(frozen=True)
class Layer:
    """One operator of a net and its time in µs (None where it is missing)."""

    index: int
    output: str  # name of the first output
    op_type: str
    input_shapes: tuple[tuple[int, ...], ...]
    arguments: str
    macs: int
    nbytes: int
    provenance: str
    time_us: float | None
    records_us: tuple[float, ...] = ()  # medians of all records, where the table holds it
    p10_us: float | None = None
    p90_us: float | None = None
    source_type: str | None = None  # the type that stands in, where substituted
    spread: float = 0.0  # of an estimate: standard deviation of its logarithm
    nearest: str | None = None  # the most similar record, where missing

    @property
    def interval_us(self) -> tuple[float, float] | None:
        """The range of an estimate that holds the true time nine times out of ten."""
        return interval(self.time_us, self.spread) if self.time_us is not None and self.spread else None


@dataclass(frozen=True)
class NetLatency:
    """A net's operators with their times on a device."""

    model: str
    device: str
    layers: tuple[Layer, ...]
    source: str  # the table, or what the estimates were fitted from
    deviation_us: float = 0.0  # standard deviation of the estimated part
    is_exact: bool = True  # False: sizes that only a run tells count with the largest they can have

    @property
    def total_us(self) -> float:
        """Sum over the operators whose time is known, in their order."""
        return functools.reduce(lambda total, layer: total + (layer.time_us or 0), self.layers, 0.0)

    @property
    def all_found(self) -> bool:
        """Whether the table holds every operator (or what stands in for it)."""
        return all(layer.provenance in FOUND for layer in self.layers)

    @property
    def missing(self) -> list[Layer]:
        return [layer for layer in self.layers if layer.provenance == MISSING]

    @property
    def estimated_us(self) -> float:
        """The part of the total that was not measured."""
        return sum(layer.time_us or 0.0 for layer in self.layers if layer.spread)

    @property
    def interval_us(self) -> tuple[float, float] | None:
        """The range of the total that holds the true sum nine times out of ten, where parts of it are
        estimated.
        """
        if not self.estimated_us:
            return None
        return interval(self.total_us, self.deviation_us / self.total_us)

    @property
    def provenance(self) -> dict[str, int]:
        """How many operators have their time from where."""
        counts = Counter(layer.provenance for layer in self.layers)
        return {name: counts[name] for name in PROVENANCES if counts[name]}

    def by_type(self) -> list[tuple[str, int, float]]:
        """(operator type, operators, µs), the dearest first."""
        groups: dict[str, list[float]] = {}
        for layer in self.layers:
            groups.setdefault(layer.op_type, []).append(layer.time_us or 0.0)
        rows = [(op_type, len(times), sum(times)) for op_type, times in groups.items()]
        return sorted(rows, key=lambda row: -row[2])

    def top(self, count: int) -> list[Layer]:
        """The slowest operators."""
        return sorted(self.layers, key=lambda layer: -(layer.time_us or 0.0))[:count]

    def to_dict(self) -> dict:
        """All of it as JSON values; times in µs."""
        return {
            "model": self.model,
            "device": self.device,
            "latency_us": self.total_us,
            "interval_us": self.interval_us,
            "is_exact": self.is_exact,
            "all_found": self.all_found,
            "provenance": self.provenance,
            "source": self.source,
            "macs": sum(layer.macs for layer in self.layers),
            "operators": [asdict(layer) | {"interval_us": layer.interval_us} for layer in self.layers],
        }


def net_latency(
    net: Net,
    input_shapes: Mapping[str, tuple[int, ...] | TensorType] | None = None,
    table: Table | None = None,
    estimator: Estimator | None = None,
    model: str = "",
) -> NetLatency:
    """Look a net's operators up in a table; what it lacks is estimated, where an estimator is given.

    input_shapes: of the net's inputs (its own recorded ones where None). Raises ModelError for shapes that
    do not fit or an operator that is not supported.
    """
    steps = [step for step in flat(net.walk(input_shapes or net.input_shapes())) if step.within is None]
    layers = tuple(step_layer(step, table, estimator) for step in steps)
    origin = table or estimator
    deviation = 0.0
    if estimator is not None:
        guesses = [(layer.time_us or 0.0, layer.spread) for layer in layers if layer.spread]
        deviation = estimator.deviation_us("int8" if net.is_quantized else "fp32", guesses)
    return NetLatency(
        model=model or net.name,
        device=origin.device if origin is not None else "",
        layers=layers,
        source=origin.source if origin is not None else "",
        deviation_us=deviation,
        is_exact=all(step.is_exact for step in steps),
    )


def step_layer(step: Step, table: Table | None = None, estimator: Estimator | None = None) -> Layer:
    """One operator's time, at its own moment of the net."""
    signature = Signature.of_step(step)
    outputs = step.node.outputs
    layer = functools.partial(
        Layer,
        index=step.node.index,
        output=outputs[0] if outputs else "",
        op_type=signature.op_type,
        input_shapes=signature.shapes,
        arguments=signature.arguments,
        macs=step.macs,
        nbytes=step.nbytes,
    )
    match = table.find(signature) if table is not None else None
    if match is not None:
        same = match.signature.op_type == signature.op_type
        return layer(
            provenance=EXACT if same else SUBSTITUTED,
            time_us=match.time_us,
            records_us=tuple(match.medians),
            p10_us=match.percentile("p10"),
            p90_us=match.percentile("p90"),
            source_type=None if same else match.signature.op_type,
        )
    if any(t.is_unknown for t in [*step.inputs, *step.outputs]):
        return layer(provenance=MISSING, time_us=None, nearest="its sizes are known only when the net runs")
    if estimator is not None:
        estimate = estimator.estimate(step_workload(step))
        return layer(provenance=estimate.provenance, time_us=estimate.time_us, spread=estimate.spread)
    nearest = nearest_record(table, signature) if table is not None else None
    return layer(provenance=MISSING, time_us=None, nearest=nearest)


def nearest_record(table: Table, signature: Signature) -> str | None:
    """The table's operator most like one that it lacks, as text; None where it has none of its type."""
    found = table.nearest(signature)
    if found is None:
        return None
    record, time_us = found
    other = Signature.of_record(record)
    text = f"{other.op_type} with input {[list(shape) for shape in other.shapes]}: {time_us:.1f}"
    differing = [name for name in ("arguments", "dtypes") if getattr(other, name) != getattr(signature, name)]
    return text + (f" ({' and '.join(differing)} differ)" if differing else "")
