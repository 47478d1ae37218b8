"""Fold BatchNorm and constants in an ONNX file, and check that it still computes the same."""

import argparse

from caffe2_common.files import require_writable
from caffe2_mobile.api.optimize import optimize
from caffe2_mobile.commands.program import ArgumentParser


def main(argv: list[str]) -> int:
    """Optimize and compare; 1 where the outputs differ."""
    args = parse(argv)
    require_writable(args.output)
    result = optimize(args.input)
    result.save(args.output)
    print(f"{args.output}: {result}")
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("input", metavar="IN.onnx")
    parser.add_argument("output", metavar="OUT.onnx")
    return parser.parse_args(argv)
