#!/usr/bin/env python3
"""Measure what each conversion of a model of the zoo takes: seconds, and memory over the model's bytes."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_mobile.commands.program import ArgumentParser, run
from exporters.benchmark import CLEAR, STEPS, measure_all


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mobilenetv2_100", metavar="NAME", help="(default: %(default)s)")
    arguments = parser.parse_args(argv)
    if not CLEAR.exists():
        raise ModelError(f"{CLEAR}: not on this system; the peak of memory is read from Linux")
    print(f"{'conversion of ' + arguments.model:34} {'seconds':>8} {'memory / model':>15}")
    for title, seconds, memory in measure_all(arguments.model, STEPS):
        print(f"{title:34} {seconds:8.2f} {memory:15.2f}", flush=True)
    return 0


if __name__ == "__main__":
    run(main)
