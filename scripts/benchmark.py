#!/usr/bin/env python3
"""Speed and memory of float32 nets on the onnxruntime runtime; with --all, every other benchmark after it.

Each network is exported to ONNX with random weights and converted to Caffe2. Its ONNX form in ONNX Runtime,
its Caffe2 form here, and the real Caffe2 (where CAFFE2_PYTHON names it, by its own clock) take turns on one
thread; figures are medians, in ms of processor time. Memory is what a process of its own grows by at its
peak, from loading the net to the end of two runs, the runtime's library being loaded before; beside it stand
what ONNX Runtime takes for the ONNX form, the weights, and the largest pair of activations (what one operator
reads and writes).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net, load_net
from caffe2_models.profiling import cost, random_feeds
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.onnx_runtime import open_session

ROOT = Path(__file__).resolve().parent.parent
MODELS = "mobilenetv2_100,mnasnet_100,fbnetc_100,efficientnet_b0"
LEAST_RATIO = 0.95
MOST_MEMORY = 3.0  # times the weights and the largest pair of activations
MIB = 1 << 20
IMAGE = (1, 3, 224, 224)  # what the networks of MODELS take
ONNX_FORM, OURS, CAFFE2, REFERENCE = "ONNX Runtime", "onnxruntime", "Caffe2", "reference"


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.memory_of is not None:
        print(peak_growth(Path(args.memory_of[1]), args.memory_of[0]))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        rows = [measure(name, Path(folder), args) for name in progress(args.models.split(","), desc="nets")]
    print_table(rows)
    mean = statistics.geometric_mean(row[ONNX_FORM] / row[OURS] for row in rows)
    fast = mean >= LEAST_RATIO
    print(f"{OURS} against the ONNX form, geometric mean: {mean:.3f} (bar {LEAST_RATIO}: {verdict(fast)})")
    most = max(size / (row["weights"] + row["pair"]) for row in rows for size in row["memory"][1:])
    small = most <= MOST_MEMORY
    print(f"memory against weights and largest pair, at most: {most:.2f} times (bar {MOST_MEMORY}: {verdict(small)})")
    for script in ("benchmark_int8.py", "benchmark_islands.py", "benchmark_lut.py") if args.all else ():
        print(f"\n{script}:\n", flush=True)
        subprocess.run([sys.executable, ROOT / "scripts" / script], check=True)
    return 1 if args.check and not (fast and small) else 0


def verdict(holds: bool) -> str:
    return "reached" if holds else "NOT reached"


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=MODELS, help="of the zoo, separated by commas (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=30, metavar="N", help="default %(default)s")
    parser.add_argument("--all", action="store_true", help="also the benchmarks of int8 and of the latency table")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is not reached")
    parser.add_argument("--memory-of", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.rounds < 1:
        raise ModelError("--rounds must be at least 1")
    return args


def measure(name: str, folder: Path, args: argparse.Namespace) -> dict:
    """One row: what the net costs, each runtime's median ms, and the memory taken, in bytes."""
    onnx_path, prefix = folder / f"{name}.onnx", folder / name
    quietly("onnx_export.py", "--model", name, onnx_path, "--random-weights")
    quietly("onnx_to_caffe.py", onnx_path, "--c2-prefix", prefix)
    net = load_net(f"{prefix}.predict.pb", f"{prefix}.init.pb")
    shapes = net.input_shapes()
    costs, times = cost(net, shapes), take_turns(net, onnx_path, random_feeds(shapes), args.rounds)
    return {
        "name": name,
        "macs": costs.macs,
        **times,
        "memory": [peak_growth_elsewhere(*of) for of in ((ONNX_FORM, onnx_path), (OURS, prefix), (REFERENCE, prefix))],
        "weights": costs.weight_bytes,
        "pair": costs.largest_pair_bytes,
    }


def peak_growth_elsewhere(runtime: str, path: Path) -> int:
    """peak_growth in a process of its own."""
    command = [sys.executable, __file__, "--memory-of", runtime, path]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def quietly(script: str, *arguments) -> None:
    """Run one of the commands; raises ModelError with its last words where it fails."""
    command = [sys.executable, ROOT / script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ModelError(f"{script}: {(done.stderr or done.stdout).strip().splitlines()[-1]}")


def take_turns(net: Net, onnx_path: Path, feeds: dict[str, np.ndarray], rounds: int) -> dict[str, float]:
    """Each runtime's median ms, in rounds in which each runs the net."""
    timers = {
        ONNX_FORM: processor_timer(onnx_call(onnx_path, feeds)),
        OURS: processor_timer(session_call(net, feeds)),
    }
    if os.environ.get("CAFFE2_PYTHON"):
        caffe2 = net.session("caffe2", threads=1)
        timers[CAFFE2] = lambda: caffe2.benchmark(feeds, warmup=1, runs=1)[0]
    times: dict[str, list[float]] = {label: [] for label in timers}
    for _ in range(rounds):
        for label, timer in timers.items():
            times[label].append(timer())
    return {label: statistics.median(values) for label, values in times.items()}


def processor_timer(call: Callable[[], object]) -> Callable[[], float]:
    """What gives the ms of processor time of a second call after a first, which has filled the caches."""

    def timer() -> float:
        call()
        start = time.process_time()
        call()
        return 1000 * (time.process_time() - start)

    return timer


def session_call(net: Net, feeds: dict[str, np.ndarray], backend: str = OURS) -> Callable[[], object]:
    session = net.session(backend, threads=1)
    return lambda: session.run(feeds)


def onnx_call(path: Path, feeds: dict[str, np.ndarray]) -> Callable[[], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = open_session(path, options)
    inputs = dict(zip((x.name for x in session.get_inputs()), feeds.values(), strict=True))
    return lambda: session.run(None, inputs)


def peak_growth(path: Path, runtime: str) -> int:
    """Bytes by which this process grows at its peak while it loads a net, prepares it and runs it twice.

    path is an ONNX file, for ONNX Runtime alone, or the prefix of a Caffe2 net.
    """
    warm = OURS if runtime == ONNX_FORM else runtime
    relu = caffe2_pb2.OperatorDef(type="Relu", input=["x"], output=["y"])
    Net(caffe2_pb2.NetDef(op=[relu])).session(warm, threads=1).run(random_feeds({"x": (1,)}))
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    before = memory("VmRSS")
    if runtime == ONNX_FORM:
        call = onnx_call(path, random_feeds({"data": IMAGE}))
    else:
        net = load_net(f"{path}.predict.pb", f"{path}.init.pb")
        call = session_call(net, random_feeds(net.input_shapes()), runtime)
    call()
    call()
    return memory("VmHWM") - before


def memory(field: str) -> int:
    """A figure of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def print_table(rows: list[dict]) -> None:
    """Markdown: times in ms, how many times as fast ours is, memory in MiB."""
    labels = [label for label in (CAFFE2, ONNX_FORM, OURS) if label in rows[0]]
    titles = ["net", "M MAdds", *(f"{label}, ms" for label in labels), f"{ONNX_FORM} / {OURS}"]
    titles += [f"{ONNX_FORM}, MiB", f"{OURS}, MiB", f"{REFERENCE}, MiB", "weights", "largest pair"]
    print(f"| {' | '.join(titles)} |\n|---{'|---:' * (len(titles) - 1)}|")
    for row in rows:
        cells = [row["name"], f"{row['macs'] / 1e6:.0f}", *(f"{row[label]:.2f}" for label in labels)]
        cells.append(f"{row[ONNX_FORM] / row[OURS]:.3f}")
        cells += [f"{size / MIB:.1f}" for size in (*row["memory"], row["weights"], row["pair"])]
        print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    run(main)
