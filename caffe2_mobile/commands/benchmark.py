"""Time a net on a runtime, as a whole and operator by operator, with its work, parameters and memory.

Caffe2 and the reference time operators within the net; onnxruntime and exact fuse them, so there each
operator runs as a net of its own, and the times need not add up to the whole. A .tflite file (LiteRT), and an ONNX
file that computes in bytes (ONNX Runtime), runs as it is, as a whole.
"""

import argparse

from caffe2_common.files import require_writable
from caffe2_mobile.api.benchmark import BenchmarkOptions, benchmark
from caffe2_mobile.commands.net_arguments import add_net_arguments, named_source
from caffe2_mobile.commands.program import ArgumentParser, note, options_from
from caffe2_models.runtimes import BACKENDS, DEFAULT_KERNELS, KERNELS


def main(argv: list[str]) -> None:
    args = parse(argv)
    options = options_from(BenchmarkOptions, args)
    if args.json is not None:
        require_writable(args.json)
    result = benchmark(named_source(args), options)
    if result.note is not None:
        note(result.note)
    if args.json is not None:
        result.save(args.json)
    print(result.to_text(args.top))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_net_arguments(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--backend", default="auto", choices=BACKENDS, help="default %(default)s")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="default %(default)s")
    group.add_argument("--runs", type=int, default=20, metavar="N", help="medians of N (default %(default)s)")
    group.add_argument("--warmup", type=int, default=2, metavar="N", help="default %(default)s")
    group.add_argument("--approximate", action="store_true", help="let onnxruntime run int8 nets in QDQ form")
    group.add_argument(
        "--kernels", choices=KERNELS, help=f"LiteRT's set, of a .tflite file (default {DEFAULT_KERNELS})"
    )
    group.add_argument("--whole-only", action="store_true", help="no times of operators")
    group.add_argument("--top", type=int, metavar="N", help="print only the N slowest operators")
    group.add_argument("--json", metavar="F", help="also write all figures to this file")
    return parser.parse_args(argv)
