"""The time of a net here, as a whole and, of a Caffe2 net, operator by operator."""

import json
import os
from dataclasses import dataclass
from typing import Any

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_mobile.api.inspect import MIB, InputOptions, Shapes
from caffe2_mobile.api.nets import Source, open_file, open_net
from caffe2_mobile.api.options import require_one_of, require_positive
from caffe2_models.model_files import ModelFile
from caffe2_models.profiling import NetCost, cost, feeds_for, median_ms, random_feeds, time_net, time_operators
from caffe2_models.runtimes import BACKENDS, KERNELS, missing_kernels


@dataclass(frozen=True, kw_only=True)
class BenchmarkOptions(InputOptions):
    """How to time: the runtime, its threads, medians of so many runs after the warm-up.

    kernels: LiteRT's set, of .tflite files. approximate: let onnxruntime run int8 nets in QDQ form. whole_only: no
    times of operators.
    """

    backend: str = "auto"
    threads: int = 1
    runs: int = 20
    warmup: int = 2
    approximate: bool = False
    whole_only: bool = False
    kernels: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "threads", "runs")
        require_one_of("backend", self.backend, BACKENDS)
        if self.kernels is not None:
            require_one_of("kernels", self.kernels, KERNELS)
        if self.warmup < 0:
            raise ModelError(f"invalid warmup {self.warmup}: expected 0 or more runs")


@dataclass(frozen=True)
class BenchmarkResult:
    """A net's cost with its times in ms, on a runtime with so many threads.

    is_approximate: the runtime ran an int8 net in QDQ form. has_operators: operators were timed too. note: what the
    user should know of the runtime.
    """

    cost: NetCost
    backend: str
    threads: int
    inputs: Shapes
    is_approximate: bool = False
    has_operators: bool = True
    note: str | None = None

    @property
    def ms(self) -> float:
        """Median of whole runs, ms."""
        return self.cost.ms or 0.0

    def __str__(self) -> str:
        return self.to_text()

    def to_text(self, top: int | None = None) -> str:
        """A line for each operator in order, or for the slowest ones, slowest first; then the whole."""
        lines = [*self._operator_lines(top), ""] if self.has_operators else []
        return "\n".join([*lines, *self._whole_lines()])

    def save(self, path: str | os.PathLike[str]) -> None:
        """All figures, as JSON."""
        measured: dict[str, Any] = {"backend": self.backend, "threads": self.threads, "inputs": self.inputs}
        write_atomically(path, json.dumps(measured | self.cost.to_dict(), indent=1) + "\n")

    def _operator_lines(self, top: int | None) -> list[str]:
        operators = self.cost.operators
        total = sum(row.ms or 0.0 for row in operators) or 1.0
        lines = [f"{'':>4} {'operator':22} {'output':20} {'M MAdds':>9} {'parameters':>11} {'ms':>9} {'%':>6}"]
        for row in operators if top is None else sorted(operators, key=lambda row: -(row.ms or 0.0))[:top]:
            ms = row.ms or 0.0
            counts = f"{row.macs / 1e6:>9.2f} {row.parameters:>11,}"
            lines.append(
                f"{row.index:>4} {row.type:22} {row.shape_text:20} {counts} {ms:>9.4f} {100 * ms / total:>6.1f}"
            )
        return lines

    def _whole_lines(self) -> list[str]:
        cost, threads = self.cost, f"{self.threads} thread{'s' * (self.threads > 1)}"
        backend = self.backend + " (QDQ form, an approximation)" * self.is_approximate
        return [
            f"{cost.name or 'net'} on {backend}, {threads}: {self.ms:.3f} ms",
            f"  {len(cost.operators)} operators, {cost.macs / 1e6:.1f} M multiply-adds "
            f"({cost.macs / self.ms / 1e6:.1f} G/s)",
            f"  {cost.parameters:,} parameters, {cost.weight_bytes / MIB:.1f} MiB",
            f"  activations: {cost.peak_bytes / MIB:.1f} MiB at a time, "
            f"{cost.largest_pair_bytes / MIB:.1f} MiB around one operator",
        ]


def benchmark(net: Source, options: BenchmarkOptions | None = None) -> BenchmarkResult:
    """Time a net (anything open_net takes) on random inputs.

    A .tflite file, and an ONNX file that computes in bytes, runs as it is, as a whole. Raises ModelError for what is no
    net, shapes that do not fit, and a runtime that is not here.
    """
    options = options or BenchmarkOptions()
    if (file := open_file(net, options.kernels)) is not None:
        return benchmark_file(file, options)
    found = open_net(net)
    shapes = options.shapes(found)
    session = found.session(options.backend, options.threads, approximate=options.approximate)
    feeds = feeds_for(found, shapes)
    whole = time_net(session, feeds, options.runs, options.warmup)
    operators = [] if options.whole_only else time_operators(session, feeds, options.runs, options.warmup)
    return BenchmarkResult(
        cost=cost(found, shapes).with_times(whole, operators),
        backend=session.backend,
        threads=options.threads,
        inputs=shapes,
        is_approximate=options.approximate and found.is_quantized,
        has_operators=not options.whole_only,
        note=missing_kernels(found, session.backend) if options.backend == "auto" else None,
    )


def benchmark_file(file: ModelFile, options: BenchmarkOptions) -> BenchmarkResult:
    """Time a file in the runtime that is its own."""
    if options.backend not in ("auto", file.backend.partition(" ")[0]):
        raise ModelError(f"{file.path}: is run by {file.backend}, not by {options.backend}")
    shapes = options.shapes(file)
    run, feeds = file.session(options.threads), random_feeds(shapes)
    whole = median_ms(lambda: run(feeds), options.runs, options.warmup)
    return BenchmarkResult(
        cost=file.cost(shapes).with_times(whole, []),
        backend=file.backend,
        threads=options.threads,
        inputs=shapes,
        has_operators=False,
    )
