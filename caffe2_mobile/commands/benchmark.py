"""Time a Caffe2 net on a runtime, as a whole and operator by operator, with its work, parameters and memory.

Caffe2 and the reference time operators within the net; onnxruntime and exact fuse them, so there each
operator runs as a net of its own, and the times need not add up to the whole.
"""

import argparse
import json

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_mobile.commands.net_arguments import add_net_arguments, input_shapes, open_net
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models.profiling import NetCost, OperatorCost, cost, random_feeds, time_net, time_operators
from caffe2_models.runtimes import BACKENDS

MIB = 1 << 20


def main(argv: list[str]) -> None:
    args = parse(argv)
    net = open_net(args)
    shapes = input_shapes(net, args)
    session = net.session(args.backend, args.threads, approximate=args.approximate)
    feeds = random_feeds(shapes)
    whole = time_net(session, feeds, args.runs, args.warmup)
    operators = [] if args.whole_only else time_operators(session, feeds, args.runs, args.warmup)
    result = cost(net, shapes).with_times(whole, operators)
    if args.json is not None:
        measured = {"backend": session.backend, "threads": args.threads, "inputs": shapes, **result.to_dict()}
        write_atomically(args.json, json.dumps(measured, indent=1) + "\n")
    if not args.whole_only:
        print_operators(result, args.top)
    approximates = args.approximate and net.is_quantized
    print_whole(result, session.backend + " (QDQ form, an approximation)" * approximates, args.threads)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_net_arguments(parser)
    group = parser.add_argument_group("measurement")
    group.add_argument("--backend", default="auto", choices=BACKENDS, help="default %(default)s")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="default %(default)s")
    group.add_argument("--runs", type=int, default=20, metavar="N", help="medians of N (default %(default)s)")
    group.add_argument("--warmup", type=int, default=2, metavar="N", help="default %(default)s")
    group.add_argument("--approximate", action="store_true", help="let onnxruntime run int8 nets in QDQ form")
    group.add_argument("--whole-only", action="store_true", help="no times of operators")
    group.add_argument("--top", type=int, metavar="N", help="print only the N slowest operators")
    group.add_argument("--json", metavar="F", help="also write all figures to this file")
    args = parser.parse_args(argv)
    if min(args.runs, args.threads, args.batch_size) < 1 or args.warmup < 0:
        raise ModelError("--runs, --threads and --batch-size are at least 1, --warmup is at least 0")
    return args


def print_operators(result: NetCost, top: int | None) -> None:
    """A line for each operator, in order, or for the slowest ones, slowest first."""
    total = sum(row.ms for row in result.operators) or 1.0
    print(f"{'':>4} {'operator':22} {'output':20} {'M MAdds':>9} {'parameters':>11} {'ms':>9} {'%':>6}")
    rows = result.operators if top is None else sorted(result.operators, key=lambda row: -row.ms)[:top]
    for row in rows:
        print(f"{row.index:>4} {row.type:22} {shape_of(row):20} {row.macs / 1e6:>9.2f} {row.parameters:>11,} "
              f"{row.ms:>9.4f} {100 * row.ms / total:>6.1f}")  # fmt: skip
    print()


def shape_of(row: OperatorCost) -> str:
    return "x".join(map(str, row.shape))


def print_whole(result: NetCost, backend: str, threads: int) -> None:
    print(f"{result.name or 'net'} on {backend}, {threads} thread{'s' * (threads > 1)}: {result.ms:.3f} ms")
    print(f"  {len(result.operators)} operators, {result.macs / 1e6:.1f} M multiply-adds "
          f"({result.macs / result.ms / 1e6:.1f} G/s)")  # fmt: skip
    print(f"  {result.parameters:,} parameters, {result.weight_bytes / MIB:.1f} MiB")
    print(f"  activations: {result.peak_bytes / MIB:.1f} MiB at a time, "
          f"{result.largest_pair_bytes / MIB:.1f} MiB around one operator")  # fmt: skip
