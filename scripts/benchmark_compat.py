#!/usr/bin/env python3
"""Time the loop of an old script (FeedBlob, RunNet, FetchBlob) beside session.run on the same net.

Both run in turn, the first of each pair alternating, so that a busy machine is equally busy for both; a figure is the
median of the rounds in ms of the calling thread's CPU time (with --fastest the minimum): other programs change it less
than wall time, and pool threads that wait for work do not count. The loop copies the image in and the scores out, which
session.run does not.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_mobile.compat.python import workspace
from caffe2_models.build import make_init
from caffe2_models.published import published_net

DEFAULT = "FBNet-96/int8,FBNet-96/fp32,FBNet-C/int8,FBNet-C/fp32"
BAR = 1.05  # what the loop may take of session.run's time


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=DEFAULT, help=f"names, separated by commas (default: {DEFAULT})")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--fastest", action="store_true", help="minima instead of medians")
    parser.add_argument("--check", action="store_true", help=f"exit with 1 where a ratio is above {BAR}")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        raise ModelError("--rounds must be at least 1")
    figure = min if args.fastest else statistics.median
    print("| net | session.run, CPU ms | loop, CPU ms | ratio |\n|---|---:|---:|---:|")
    ratios = []
    for name in args.models.split(","):
        session_ms, loop_ms = (figure(times) for times in measure(name, args.rounds))
        ratios.append(loop_ms / session_ms)
        print(f"| {name} | {session_ms:.3f} | {loop_ms:.3f} | {ratios[-1]:.3f} |", flush=True)
    return 1 if args.check and max(ratios) > BAR else 0


def measure(name: str, rounds: int) -> tuple[list[float], list[float]]:
    """(ms of session.run, ms of the loop), one of each a round."""
    net = published_net(name)
    (blob,), output = net.inputs, net.outputs[0]
    shape = net.input_shapes()[blob]
    images = [np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32) for seed in range(2)]
    session = net.session()
    workspace.ResetWorkspace()
    workspace.RunNetOnce(make_init(net.parameters))  # not net.init: its random fills would draw others
    workspace.FeedBlob(blob, images[0])
    workspace.CreateNet(net.predict)

    def run_session(image: np.ndarray) -> np.ndarray:
        return session.run({blob: image}, [output])[output]

    def run_loop(image: np.ndarray) -> np.ndarray:
        workspace.FeedBlob(blob, image)
        workspace.RunNet(net.predict.name)
        return workspace.FetchBlob(output)

    if not np.array_equal(run_session(images[1]), run_loop(images[1])):
        raise ModelError(f"{name}: the loop's result is not the session's")
    calls: list[Callable[[np.ndarray], np.ndarray]] = [run_session, run_loop]
    times: dict[Callable, list[float]] = {call: [] for call in calls}
    for index in range(rounds):
        for call in calls[:: 1 if index % 2 else -1]:
            start = time.thread_time()
            call(images[index % 2])
            times[call].append(1000 * (time.thread_time() - start))
    return times[run_session], times[run_loop]


if __name__ == "__main__":
    run(main)
