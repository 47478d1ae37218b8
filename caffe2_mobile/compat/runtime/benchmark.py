"""BenchmarkNet: the lines that Caffe2 prints, with the times that a net takes here."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from caffe2_mobile.compat.runtime.blob import Blob
from caffe2_mobile.compat.runtime.network import Network, Outside, Part, Segment, run_node
from caffe2_models.profiling import time_operators
from caffe2_models.proto import caffe2_pb2
from caffe2_models.tensors import TensorType, Value


@dataclass(frozen=True)
class Cost:
    """One operator: its time, and of those that multiply what they compute, read and write."""

    op: caffe2_pb2.OperatorDef
    ms: float
    flops: int = 0
    bytes_read: int = 0
    bytes_written: int = 0
    parameter_bytes: int = 0

    @property
    def name(self) -> str:
        return self.op.name or (self.op.output[0] if self.op.output else "NO_OUTPUT")


def benchmark(network: Network, warmup_runs: int, main_runs: int, run_individual: bool) -> list[float]:
    """Milliseconds of the whole net, then of each operator, zeros where those are not asked for.

    The whole is timed as it runs. Operators that are fused there are timed alone, so that their sum may be more.
    """
    if warmup_runs < 0 or main_runs < 0:
        raise RuntimeError("warmup_runs and main_runs: at least 0 is expected")
    print("Starting benchmark.")
    print("Running warmup runs.")
    for _ in range(warmup_runs):
        network.run()
    print("Main runs.")
    whole = _mean_ms(network.run, main_runs)
    per_second = 1000 / whole if whole else 0.0
    print(f"Main run finished. Milliseconds per iter: {whole:g}. Iters per second: {per_second:g}")
    if not run_individual:
        return [whole, *[0.0] * len(network.proto.op)]
    network.run()
    costs = [cost for part in network.parts for cost in _costs(part, main_runs)]
    _report(costs)
    return [whole, *(cost.ms for cost in costs)]


def _costs(part: Part, runs: int) -> list[Cost]:
    if isinstance(part, Outside):
        return [Cost(part.op, _mean_ms(part.run, min(runs, 1)))]
    assert isinstance(part, Segment)
    values: dict[str, Value] = {blob.name: blob.tensor() for blob in part.reads}
    inputs = set(values)
    costs = []
    for node in part.nodes:
        read = [values[name] for name in node.inputs]
        types = [TensorType.of(value) for value in read]
        written = [Blob(name) for name in node.outputs]
        ms = _mean_ms(functools.partial(run_node, node, read, written), 1)
        values.update((blob.name, blob.tensor()) for blob in written)
        cost = Cost(node.proto, ms)
        if macs := node.operator.macs(*types):
            weights = sum(t.nbytes for name, t in zip(node.inputs[1:], types[1:], strict=True) if name in inputs)
            results = sum(TensorType.of(blob.tensor()).nbytes for blob in written)
            cost = Cost(node.proto, ms, 2 * macs, sum(t.nbytes for t in types), results, weights)
        costs.append(cost)
    if part.plan is None:
        return costs
    feeds = {blob.name: blob.tensor() for blob in part.plan.inputs}
    times = time_operators(part.plan.session, feeds, max(runs, 1))
    return [replace(cost, ms=ms) for cost, ms in zip(costs, times, strict=True)]


def _report(costs: list[Cost]) -> None:
    for index, cost in enumerate(costs):
        line = f"Operator #{index} ({cost.name}, {cost.op.type}) {cost.ms:g} ms/iter"
        if cost.flops:
            gflop = cost.flops / 1e9
            line += f" ({gflop:f} GFLOP, {gflop / (cost.ms / 1000) if cost.ms else 0.0:f} GFLOPS)"
            line += f" ({cost.bytes_written / 1e6:f} MB) ({cost.parameter_bytes / 1e6:f} MB)"
        print(line)
    _table("Time per operator type:", "ms", costs, lambda cost: cost.ms)
    _table("FLOP per operator type:", "GFLOP", costs, lambda cost: cost.flops / 1e9)
    _table("Feature Memory Read per operator type:", "MB", costs, lambda cost: cost.bytes_read / 1e6)
    _table("Feature Memory Written per operator type:", "MB", costs, lambda cost: cost.bytes_written / 1e6)
    _table("Parameter Memory per operator type:", "MB", costs, lambda cost: cost.parameter_bytes / 1e6)


def _table(title: str, unit: str, costs: list[Cost], amount: Callable[[Cost], float]) -> None:
    """Sums by operator type, the largest first, each with its share."""
    sums: dict[str, float] = defaultdict(float)
    for cost in costs:
        sums[cost.op.type] += amount(cost)
    sums = {name: value for name, value in sums.items() if value}
    total = sum(sums.values())
    print(title)
    for name, value in sorted(sums.items(), key=lambda item: -item[1]):
        print(f"{value:15.6g} {unit}. {100 * value / total:10.6g}%. {name}")
    print(f"{total:15.6g} {unit} in Total")


def _mean_ms(call: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return float(1000 * np.mean(times)) if times else 0.0
