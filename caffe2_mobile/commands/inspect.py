"""Show a Caffe2 net, check it, or convert its files between binary and text.

Prints the task where it shows (classification, detection, style transfer ...), every operator with the shape it
writes, its parameters, multiply-adds and quantization, then what is wrong: operators that are not supported, blobs
that nothing writes, shapes that cannot be, scales that QNNPACK refuses. Exit status 1 where something is. Sizes that
only a run tells are the largest that can be. A graph without its init net is shown without shapes.

--convert IN OUT rewrites one file, binary or text by its name (.pb, .pbtxt), and makes sure that nothing is
lost.
"""

import argparse
import json
from pathlib import Path

from google.protobuf import text_format

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_mobile.commands.net_arguments import add_net_arguments, input_shapes, open_net
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models.files import TEXT_SUFFIXES, read_net, write_net
from caffe2_models.inspection import find_idle, find_problems, task_of
from caffe2_models.net import Net
from caffe2_models.preprocessing import get_preprocessing
from caffe2_models.profiling import NetCost, cost
from caffe2_models.proto import caffe2_pb2

MIB = 1 << 20


def main(argv: list[str]) -> int:
    args = parse(argv)
    if args.convert:
        convert(*args.convert)
        return 0
    net = open_net(args)
    shapes = input_shapes(net, args) if net.init_operators else {}
    problems = find_problems(net, shapes)
    print(f"{net.name or 'net'}: {len(net.operators)} operators")
    for name, shape in shapes.items():
        print(f"input {name}: {'x'.join(map(str, shape))}")
    print(f"output {', '.join(net.outputs)}")
    if (task := task_of(net, shapes if not problems and net.init_operators else None)) is not None:
        print(f"task: {task}")
    if (recorded := get_preprocessing(net.predict)) is not None:
        print(f"preprocessing {recorded.to_json()}")
    report = {"name": net.name, "inputs": shapes, "outputs": net.outputs, "task": task, "problems": problems}
    if not net.init_operators:
        print_graph(net)
    elif not problems:
        costs = cost(net, shapes)
        report.update(costs.to_dict())
        print_costs(costs)
    for note in find_idle(net):
        print(f"note: {note}")
    for problem in problems:
        print(f"problem: {problem}")
    if args.json is not None:
        write_atomically(args.json, json.dumps(report, indent=1) + "\n")
    return 1 if problems else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_net_arguments(parser)
    parser.add_argument("--json", metavar="F", help="also write all of it to this file")
    parser.add_argument("--convert", nargs=2, metavar=("IN", "OUT"), help="rewrite a file as .pb or .pbtxt")
    return parser.parse_args(argv)


def print_graph(net: Net) -> None:
    """A line for each operator: what it reads and writes."""
    for node in net.operators:
        print(f"{node.index:>4} {node.type:22} {' '.join(node.inputs)} -> {' '.join(node.outputs)}")


def print_costs(costs: NetCost) -> None:
    """A line for each operator, and the totals."""
    print(f"\n{'':>4} {'operator':22} {'writes':30} {'shape':18} {'quantization':>15} "
          f"{'parameters':>11} {'M MAdds':>8}")  # fmt: skip
    for row in costs.operators:
        writes = " ".join(row.outputs)
        scale = "" if row.scale is None else f"{row.scale:.6g}, {row.zero_point}"
        counts = f"{row.parameters:>11,} {row.macs / 1e6:>8.2f}"
        print(f"{row.index:>4} {row.type:22} {writes[:30]:30} {row.shape_text:18} {scale:>15} {counts}")
    weights, activations = costs.weight_bytes / MIB, costs.peak_bytes / MIB
    most = "" if costs.is_exact else "up to "
    print(f"\n{costs.parameters:,} parameters in {weights:.1f} MiB, {most}{costs.macs / 1e6:.1f} M multiply-adds")
    print(f"activations of {most}{activations:.1f} MiB at a time")


def convert(source: str, target: str) -> None:
    """Rewrite a net's file in the form that the target's name asks for.

    Raises ModelError, and writes nothing, where the other form would not hold all that the file does.
    """
    net = read_net(source)
    if Path(target).suffix not in TEXT_SUFFIXES:
        write_net(target, net)
        return
    text = text_format.MessageToString(net)
    again = text_format.Parse(text, caffe2_pb2.NetDef())
    if again.SerializeToString(deterministic=True) != net.SerializeToString(deterministic=True):
        raise ModelError(f"{source}: holds fields unknown to Caffe2, which a text file cannot keep")
    write_atomically(target, text)
