#!/usr/bin/env python3
"""Time layers of few channels on the kernels for rows of float images beside ONNX Runtime: where which is faster.

Each case is a chain of convolutions of C channels, each with an activation, as a net that the onnxruntime runtime runs
both ways in turns, on one thread. Figures are ONNX Runtime's time over ours, minima of processor time.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net, kernels
from caffe2_models.build import add_operator, make_init
from caffe2_models.kernels import rows
from caffe2_models.net import Part
from caffe2_models.proto import caffe2_pb2
from caffe2_models.runtimes.onnx_runtime import OnnxRuntimeSession
from caffe2_models.runtimes.session import input_types

CHANNELS = [4, 8, 12, 16, 24, 32, 48, 64]
CASES: list[tuple[str, str, dict[str, int], int, list[int]]] = [  # (label, operator, arguments, layers, pixels)
    ("1 x 1", "Conv", dict(kernel=1), 3, [28, 112]),
    ("3 x 3", "Conv", dict(kernel=3, pad=1), 3, [28, 112]),
    ("5 x 5", "Conv", dict(kernel=5, pad=2), 3, [28, 112]),
    ("3 x 3, stride 2", "Conv", dict(kernel=3, pad=1, stride=2), 2, [28, 112]),
    ("3 x 3 transposed, stride 2", "ConvTranspose", dict(kernel=3, pad=1, stride=2), 2, [28, 56]),
]
MAX_MACS = 1e9


def main(argv: list[str]) -> int:
    args = parse(argv)
    rows.MAX_CHANNELS = dict.fromkeys(rows.MAX_CHANNELS, max(CHANNELS))  # what the rule leaves out, too
    print(f"| kernel, pixels, {args.activation} | " + " | ".join(map(str, CHANNELS)) + " |")
    print("|---|" + "---:|" * len(CHANNELS))
    lines = [(case, size) for case in CASES for size in case[4]]
    for case, size in progress(lines, desc="layers"):
        label, kind, arguments, layers, _ = case
        ratios = [ratio(make_net(kind, arguments, layers, c, args.activation), c, size, args.rounds) for c in CHANNELS]
        print(f"| {label}, {size} x {size} | " + " | ".join(ratios) + " |")
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--activation", choices=["Relu", "PRelu"], default="Relu", help="default %(default)s")
    parser.add_argument("--rounds", type=int, default=12, metavar="N", help="default %(default)s")
    return parser.parse_args(argv)


def make_net(kind: str, arguments: dict[str, int], layers: int, channels: int, activation: str) -> Net:
    rng, kernel = np.random.default_rng(0), arguments["kernel"]
    shape = (channels, channels, kernel, kernel)
    parameters = {f"w{i}": rng.normal(0, 0.1, shape).astype(np.float32) for i in range(layers)}
    parameters["slope"] = np.full(channels, 0.2, np.float32)
    predict = caffe2_pb2.NetDef(name="layers", external_input=["x0", *parameters], external_output=[f"x{layers}"])
    for i in range(layers):
        add_operator(predict, kind, [f"x{i}", f"w{i}"], [f"y{i}"], **arguments)
        slope = ["slope"] if activation == "PRelu" else []
        add_operator(predict, activation, [f"y{i}", *slope], [f"x{i + 1}"])
    return Net(predict, make_init(parameters))


def ratio(net: Net, channels: int, size: int, rounds: int) -> str:
    """ONNX Runtime's time over that of rows; nothing for more work than one waits for."""
    feeds = {"x0": np.random.default_rng(0).normal(0, 1, (1, channels, size, size)).astype(np.float32)}
    types = input_types(feeds)
    if sum(step.macs for step in net.walk(types)) > MAX_MACS:
        return ""
    part = Part(net, net.operators)
    pool, instruction_set = kernels.ThreadPool(1), kernels.chosen_instruction_set()
    plans = [
        rows.RowPlan(part, types, net.outputs, instruction_set, pool),
        OnnxRuntimeSession(net, threads=1).compile(part, feeds, net.outputs),
    ]
    times = np.min([[timed(plan.run, feeds) for plan in plans] for _ in range(rounds)], axis=0)
    return f"{times[1] / times[0]:.2f}"


def timed(call: Callable, feeds: dict[str, np.ndarray]) -> float:
    """Processor time of a second call."""
    call(feeds)
    start = time.process_time()
    call(feeds)
    return time.process_time() - start


if __name__ == "__main__":
    run(main)
