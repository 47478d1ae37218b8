#!/usr/bin/env python3
"""Benchmark the latency table: loading, lookups, cold start, errors of estimates; prints a table in
Markdown.

    benchmark_lut.py [--shared DIR] [--measure ENGINE]

Times are medians. --shared: the folder with the table of the real Caffe2 (lut/). --measure: also make a
table of the published nets by this engine and hold the sums over it against the measured whole nets
(minutes).
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models.published import NAMES, published_net
from runtime_lut import fit_published, measure
from runtime_lut.cost import record_workload
from runtime_lut.estimate import Estimator
from runtime_lut.latency import net_latency
from runtime_lut.operators import unique_cases
from runtime_lut.search import Clock, candidate_times, inverted_residual, net_times
from runtime_lut.signature import Signature
from runtime_lut.table import MEDIAN, Table, find_table, make_record

ROOT = Path(__file__).resolve().parent.parent
X86 = "x86_64-avx512-caffe2_1.8.1-1t"
RECORDS = 100_000


def main(argv: list[str]) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", metavar="DIR")
    parser.add_argument("--measure", choices=measure.ENGINES, metavar="ENGINE")
    args = parser.parse_args(argv)
    print("| what | value |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CAFFE2_MOBILE_CACHE"] = f"{folder}/cache"
        large_table(Path(folder))
    search()
    row(
        "S8 int8, leave one net out",
        rmspe(fit_published.leave_one_out(fit_published.int8_samples()).values()),
    )
    if (args.shared / "lut").is_dir():
        known_table(args.shared / "lut")
    if args.measure:
        measured_nets(args.measure)


def row(what: str, value: str) -> None:
    print(f"| {what} | {value} |", flush=True)


def rmspe(errors) -> str:
    return f"{100 * float(np.sqrt(np.mean(np.square(list(errors))))):.1f} % RMSPE"


def median_time(call, repeat: int = 7) -> float:
    """Seconds of processor time, which other processes do not lengthen."""
    times = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return float(np.median(times))


def command_time(command: list, repeat: int = 7) -> str:
    """A command's time on the clock, and on the processor."""
    times = []
    for _ in range(repeat):
        start, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, capture_output=True)
        after = os.times()
        processor = after.children_user + after.children_system - before.children_user - before.children_system
        times.append((time.perf_counter() - start, processor))
    wall, processor = np.median(times, axis=0)
    return f"{wall:.2f} s ({processor:.2f} s of processor time)"


def large_table(folder: Path) -> None:
    """Loading, lookups and cold start with a table of RECORDS different operators."""
    path = folder / "made-up-op_lut_database.json"
    path.write_text("".join(made_up_records()), encoding="utf-8")
    size = path.stat().st_size / 1e6
    row(f"load {RECORDS:,} records ({size:.0f} MB), first time", f"{median_time(lambda: load(path), 1):.2f} s")
    row("load again, by the index", f"{1000 * median_time(lambda: load(path)):.0f} ms")
    table = load(path)
    signatures = [Signature.of_record(record) for record, _ in table.records()]
    keys = median_time(lambda: [s.key for s in signatures], 1)
    row("keys of operators", f"{len(signatures) / keys / 1e6:.2f} M/s")
    for look_up in (table.time, table.find):
        seconds = median_time(lambda look_up=look_up: list(map(look_up, signatures)))
        row(f"lookups by Table.{look_up.__name__}", f"{len(signatures) / seconds / 1e6:.1f} M/s")
    command = [sys.executable, ROOT / "get_runtime.py", "--model_path", "ChamNet-A/int8"]
    row("get_runtime.py, cold start, no table (estimate)", command_time(command))
    what = f"get_runtime.py, cold start, {RECORDS:,} records, most operators missing"
    row(what, command_time([*command, "--db_dir", folder]))


def load(path: Path) -> Table:
    return Table.load(path, "made-up")


def made_up_records():
    """JSON lines of convolutions of all sizes."""
    rng = np.random.default_rng(0)
    sizes = set()
    while len(sizes) < RECORDS:
        columns = (rng.integers(1, top, RECORDS).tolist() for top in (113, 400, 400, 4, 3))
        sizes.update(zip(*columns, strict=True))
    for size, channels, out_channels, half, stride in sorted(sizes)[:RECORDS]:
        kernel = 2 * half - 1
        numbers = {"kernel": kernel, "pad": half - 1, "stride": stride}
        arguments = ['name: "order"\ns: "NHWC"\n', *(f'name: "{k}"\ni: {v}\n' for k, v in numbers.items())]
        x, weight = (1, size, size, channels), (out_channels, kernel, kernel, channels)
        shapes = (x, weight, (out_channels,))
        yield json.dumps(make_record("Int8Conv", arguments, shapes, (6, 6, 2), [size] * 5, "made-up")) + "\n"


def search() -> None:
    """Candidate nets per second in a space of FBNet's size: 22 layers of 9 candidates."""
    clock = Clock(estimator=Estimator.shipped(fit_published.DEVICE))
    candidates = [(e, k, g) for k in (3, 5) for e, g in ((1, 1), (1, 2), (3, 1), (6, 1))] + [(6, 7, 1)]
    layers = [
        [inverted_residual(14, 112, 112, expansion, kernel, group=group) for expansion, kernel, group in candidates]
    ] * 22
    times = candidate_times(layers, clock)
    choices = np.random.default_rng(0).integers(0, 9, (100_000, 22))
    row(
        "search: nets per second, by tensor",
        f"{len(choices) / median_time(lambda: net_times(times, choices)):,.0f}",
    )


def known_table(folder: Path) -> None:
    """Against measured whole nets: sums over the table, and estimates without any of a net's operators."""
    whole = json.loads((folder / "whole_net.json").read_text(encoding="utf-8"))
    table = Table.load(find_table(folder, X86), X86)
    records = [(Signature.of_record(record).key, record_workload(record), us) for record, us in table.records()]
    for form in ("int8", "fp32"):
        sums, estimates = [], []
        for name in (name for name in NAMES if name.endswith(form)):
            net, measured = published_net(name), whole[name]["whole_net_us_p50"]
            sums.append(net_latency(net, table=table).total_us / measured - 1)
            own = {Signature.of_step(step).key for step in net.walk(net.input_shapes())}
            works, times = zip(*((work, us) for key, work, us in records if key not in own), strict=True)
            estimator = Estimator.of_workloads(X86, list(works), list(times))
            estimates.append(net_latency(net, estimator=estimator).total_us / measured - 1)
        row(
            f"x86-64 {form}, sum over the table against the whole net",
            f"{100 * np.median(np.abs(sums)):.1f} % median",
        )
        row(f"x86-64 {form}, leave one net out", rmspe(estimates))


def measured_nets(engine: str) -> None:
    """The sum over a table made here against the whole net, one after the other."""
    measure.pin()
    settings = measure.Settings()
    deviations = []
    names = [name for name in NAMES if name.endswith("fp32" if engine == "onnxruntime" else "int8")]
    for name in names:
        net = published_net(name)
        shapes = net.input_shapes()
        cases = unique_cases([(net, shapes)])
        times = {
            case.signature.key: float(np.median(rounds))
            for case, rounds in measure.measure_cases(cases, engine, settings)
        }
        whole = measure.percentiles(measure.measure_net(net, shapes, engine, settings))[MEDIAN]
        deviations.append(measure.sum_of_operators(net, shapes, times) / whole - 1)
        row(
            f"{engine}: {name}, whole {whole / 1000:.2f} ms, sum of operators",
            f"{100 * deviations[-1]:+.1f} %",
        )
    row(f"{engine}: median deviation", f"{100 * np.median(np.abs(deviations)):.1f} %")


if __name__ == "__main__":
    run(main)
