"""Measuring operators on this machine, by any of the runtimes or by the real Caffe2."""

import datetime
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.machine import core_numbers
from caffe2_models import Net
from runtime_lut.operators import Case, batches, operator_net, single_net
from runtime_lut.signature import Signature

ENGINES = ("caffe2", "exact", "onnxruntime", "reference")

# Percentiles of a record, in the order of table.PERCENTILES.
RANKS = (0, 10, 50, 90, 100)


@dataclass(frozen=True)
class Settings:
    """How long to measure: rounds until every median has settled, but no fewer and no more than these."""

    warmup: int = 3
    min_rounds: int = 12
    max_rounds: int = 60
    tolerance: float = 0.01  # by which the last quarter of the rounds may still move a median
    threads: int = 1


def pin(core: int | None = None) -> None:
    """Keep this process, and those it starts, on one core: the last one where none is named.

    A system that does not pin processes (macOS, Windows) runs them where it likes, unless a core is named. Raises
    ModelError for that, and for a core that is not this process's.
    """
    if not hasattr(os, "sched_setaffinity"):
        if core is not None:
            raise ModelError(f"core {core}: this system pins no process to a core; leave the core out")
        return
    try:
        os.sched_setaffinity(0, {max(core_numbers()) if core is None else core})
    except (OSError, ValueError):
        raise ModelError(f"core {core}: this process cannot be pinned to it") from None


def measure_cases(cases: list[Case], engine: str, settings: Settings) -> Iterator[tuple[Case, np.ndarray]]:
    """(case, its times in µs round by round), lot by lot. Raises ModelError where the engine is not here."""
    if engine not in ENGINES:
        raise ModelError(f"engine {engine!r} is none of {', '.join(ENGINES)}")
    for lot in batches(cases):
        rounds = settle(_ROUNDS[engine](lot, settings.threads), settings)
        yield from zip(lot, rounds.T, strict=True)


def settle(measure_round: Callable[[], np.ndarray], settings: Settings) -> np.ndarray:
    """Rounds [n, operators] of times in µs, measured until their medians are stable."""
    for _ in range(settings.warmup):
        measure_round()
    rounds = [measure_round() for _ in range(settings.min_rounds)]
    while len(rounds) < settings.max_rounds and not is_stable(np.array(rounds), settings.tolerance):
        rounds.append(measure_round())
    return np.array(rounds)


def is_stable(rounds: np.ndarray, tolerance: float) -> bool:
    """Whether the last quarter of the rounds moved no median by more than the tolerance (or 0.05 µs)."""
    before = np.median(rounds[: len(rounds) * 3 // 4], axis=0)
    moved = np.abs(np.median(rounds, axis=0) - before)
    return bool(np.all(moved <= np.maximum(tolerance * before, 0.05)))


def percentiles(times_us: np.ndarray) -> list[float]:
    """What a record holds of an operator's times."""
    return [float(value) for value in np.percentile(times_us, RANKS)]


def measure_net(net: Net, shapes: dict, engine: str, settings: Settings) -> np.ndarray:
    """Times of the whole net in µs, round by round, to hold against the sum over its operators."""
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    session = net.session(engine, settings.threads)
    if engine == "caffe2":
        return settle(lambda: 1000 * np.array(session.benchmark(feeds, 0, 1)[:1]), settings)[:, 0]
    return settle(lambda: np.array([_time(lambda: session.run(feeds))]), settings)[:, 0]


def sum_of_operators(net: Net, shapes: dict, times_us: dict[bytes, float]) -> float:
    """What the times of its operators (by Signature.key) say of the whole net, in µs."""
    return sum(times_us[Signature.of_step(step).key] for step in net.walk(shapes))


def _caffe2_round(cases: list[Case], threads: int) -> Callable[[], np.ndarray]:
    """All cases as one net in Caffe2, each timed by Caffe2's own benchmark."""
    from caffe2_models.runtimes.caffe2 import Caffe2Session

    net = operator_net(cases, producers=True)
    session = Caffe2Session(net, threads)
    wanted = [index for index, op in enumerate(net.predict.op) if op.name.startswith("op")]
    return lambda: 1000 * np.array(session.benchmark({}, 0, 1)[1:])[wanted]


def _exact_round(cases: list[Case], threads: int) -> Callable[[], np.ndarray]:
    """Each case as a plan of the exact runtime: its kernels alone, or its whole run where it has none."""
    from caffe2_models import kernels
    from caffe2_models.kernels.graph import Graph
    from caffe2_models.kernels.plan import Plan
    from caffe2_models.runtimes.session import input_types

    pool, instruction_set = kernels.ThreadPool(threads), kernels.chosen_instruction_set()

    def prepare(case: Case) -> Callable:
        net, feeds = single_net(case)
        graph = Graph(net, input_types(feeds), net.outputs)
        plan = Plan(graph, lambda arena_bytes: kernels.Program(instruction_set, pool, arena_bytes))
        plan.run(feeds)  # puts the feeds in their places
        (segment,) = plan.segments
        if isinstance(segment, range):
            return lambda: plan.program.run(segment.start, segment.stop)
        return lambda: plan.run(feeds)

    return _round_of([prepare(case) for case in cases])


def _reference_round(cases: list[Case], threads: int) -> Callable[[], np.ndarray]:
    """Each case by its own compute()."""

    def prepare(case: Case) -> Callable:
        net, feeds = single_net(case)
        values = {**net.parameters, **feeds}
        inputs = [values[name] for name in case.op.input]
        return lambda: net.operators[0].compute(inputs)

    return _round_of([prepare(case) for case in cases])


def _round_of(runs: list[Callable]) -> Callable[[], np.ndarray]:
    """All cases one after the other, so that each finds the caches as the others left them."""
    return lambda: np.array([_time(run) for run in runs])


def _onnxruntime_round(cases: list[Case], threads: int) -> Callable[[], np.ndarray]:
    """Each case as a model of ONNX Runtime, by its own profiler."""
    int8 = sorted({case.op.type for case in cases if case.op.type.startswith("Int8")})
    if int8:
        raise ModelError(f"ONNX Runtime does not compute {', '.join(int8)} as Caffe2 does; measure with exact")
    samplers = [_profile(case, threads) for case in cases]
    return lambda: np.array([next(sampler) for sampler in samplers])


PROFILED_RUNS = 12


def _profile(case: Case, threads: int) -> Iterator[float]:
    """Times of a case's nodes in µs; reordering to and from blocked layouts, which a net does seldom, is
    left out.
    """
    import onnxruntime

    from caffe2_models.lowering import lower_net
    from caffe2_models.runtimes.onnx_runtime import open_session
    from caffe2_models.runtimes.session import input_types

    net, feeds = single_net(case)
    model, _ = lower_net(net, input_types(feeds), net.outputs)
    content = model.SerializeToString()
    while True:
        with tempfile.TemporaryDirectory() as folder:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            options.log_severity_level = 3
            options.enable_profiling = True
            options.profile_file_prefix = f"{folder}/profile"
            session = open_session(content, options)
            for _ in range(PROFILED_RUNS):
                session.run(None, feeds)
            events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        nodes = [e for e in events if e["cat"] == "Node" and e["name"].endswith("_kernel_time")]
        times = [0.0 if e["args"]["op_name"].startswith("Reorder") else float(e["dur"]) for e in nodes]
        yield from np.reshape(times, (PROFILED_RUNS, -1)).sum(axis=1).tolist()


_ROUNDS = {
    "caffe2": _caffe2_round,
    "exact": _exact_round,
    "onnxruntime": _onnxruntime_round,
    "reference": _reference_round,
}


def _time(run: Callable) -> float:
    """µs"""
    start = time.perf_counter()
    run()
    return 1e6 * (time.perf_counter() - start)


def machine() -> dict[str, str]:
    """What a record says of where it was measured."""
    return {"cpu": cpu_name(), "date": datetime.date.today().isoformat()}


def cpu_name() -> str:
    """The processor's own name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith(("model name", "Hardware"))]
    return names[0] if names else platform.processor() or platform.machine()
