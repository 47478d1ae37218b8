#!/usr/bin/env python3
"""ONNX's own node tests with float input, each converted to Caffe2 and run: a table by operator, and every refusal.

Exits with 1 where one computes something else than ONNX says.
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
    parser.add_argument("--backend", default="reference", help="what runs the nets (default: reference)")
    parser.add_argument("--refusals", action="store_true", help="list every test that is refused, and why")
    arguments = parser.parse_args()
    tests = node_tests()
    outcomes = list(run_tests(progress(tests, desc="node tests", unit="test"), arguments.backend))
    for outcome in outcomes:
        if outcome.outcome == "wrong" or (arguments.refusals and outcome.outcome == "refused"):
            print(f"{outcome.name} is {outcome.outcome}: {outcome.reason}")
    counts = Counter(outcome.outcome for outcome in outcomes)
    listed = ", ".join(f"{counts[kind]} {kind}" for kind in OUTCOMES)
    print(f"onnx {onnx.__version__}, {len(outcomes)} node tests with float input: {listed}")
    return int(counts["wrong"] > 0)


if __name__ == "__main__":
    sys.exit(main())
