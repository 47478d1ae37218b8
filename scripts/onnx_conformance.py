#!/usr/bin/env python3
"""ONNX's own node tests, each converted to Caffe2, run, and turned back into ONNX: how many pass, and every refusal.

Exits with 1 where one computes something else than ONNX says, or ends in anything but an answer or a refusal.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import onnx

from caffe2_common.progress import progress
from exporters.conformance import OUTCOMES, node_tests, run_tests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backends", nargs="+", default=["reference"], help="what runs the nets (default: reference)")
    parser.add_argument("--refusals", action="store_true", help="list every test that is refused, and why")
    parser.add_argument("--only", default="", metavar="TEXT", help="the tests with this in their names")
    arguments = parser.parse_args()
    tests = [test for test in node_tests() if arguments.only in test.name]
    outcomes = list(run_tests(progress(tests, desc="node tests", unit="test"), arguments.backends))
    shown = {"wrong", "crashed", *(["refused"] if arguments.refusals else [])}
    for outcome in outcomes:
        if outcome.outcome in shown:
            print(f"{outcome.name} is {outcome.outcome}: {outcome.reason}")
    print(f"onnx {onnx.__version__}, by {' and '.join(arguments.backends)}, and back in ONNX")
    for what, kept in (("with float input", True), ("without", False)):
        counts = Counter(outcome.outcome for outcome in outcomes if outcome.is_float is kept)
        listed = ", ".join(f"{counts[kind]} {kind}" for kind in OUTCOMES)
        print(f"{sum(counts.values())} node tests {what}: {listed}")
    return int(any(outcome.outcome in ("wrong", "crashed") for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
