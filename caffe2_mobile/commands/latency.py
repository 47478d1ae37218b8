"""The command get_runtime.py: the latency of nets on a device, operator by operator."""

import argparse
import json
import sys
from pathlib import Path

from caffe2_common.dtypes import CODE_OF_NUMPY, NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_mobile.api.nets import CONVERTERS
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models import Net
from caffe2_models.tensors import TensorType
from runtime_lut import report
from runtime_lut.estimate import DEFAULT_DEVICE
from runtime_lut.latency import NetLatency, net_latency
from runtime_lut.models import find_net
from runtime_lut.sources import find_sources
from runtime_lut.table import POLICIES


def main(argv: list[str]) -> int:
    """Print each net's latency; 1 where --strict and an operator is not in the table."""
    args = parse(argv)
    sources = find_sources(args.device, args.db_dir, args.mode, args.estimate)
    if sources.note:
        print(sources.note, file=sys.stderr)
    names = [name for name in args.model_path.split(",") if name]
    if not names:
        raise ModelError("--model_path names no model")
    latencies = []
    for name in names:
        net = find_net(name, CONVERTERS)
        shapes = input_types(net, args)
        if args.int8 and not net.is_quantized:
            net = quantized(net, shapes, name)
        latencies.append(net_latency(net, shapes, sources.table, sources.estimator, name))
    for latency in latencies:
        print_latency(latency, args, heading=len(latencies) > 1)
    write_files(latencies, args)
    return int(args.strict and not all(latency.all_found for latency in latencies))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        description="Latency of Caffe2 nets from a device's table of operator times, or estimated (µs).",
    )
    parser.add_argument(
        "--model_path",
        "--model-path",
        required=True,
        metavar="DIR_OR_NAME[,..]",
        help="model folder, .pb, .pbtxt or .onnx file, published name (ChamNet-A/int8) or zoo name",
    )
    parser.add_argument(
        "--input_dims",
        "--input-dims",
        type=dims,
        metavar="JSON",
        help='shapes of the inputs, {"data": [1, 3, 224, 224]} (default: the net\'s own)',
    )
    parser.add_argument(
        "--input_dtype",
        "--input-dtype",
        type=int,
        choices=sorted(NUMPY_OF_CODE),
        default=CODE_OF_NUMPY["float32"],
        metavar="CODE",
        help="TensorProto.DataType of the inputs (default: 1, float32)",
    )
    parser.add_argument(
        "--img_size", "--img-size", type=int, metavar="N", help="height and width of the net's one input"
    )
    parser.add_argument("--batch", type=int, metavar="N", help="images at once, where --input_dims is not given")
    parser.add_argument(
        "--db_dir",
        "--db-dir",
        type=Path,
        metavar="D",
        help="folder with DEVICE-op_lut_database.json (default: where scripts/download.py puts it)",
    )
    parser.add_argument("--device", metavar="NAME", help=f"default: {DEFAULT_DEVICE}, or the only one in --db_dir")
    parser.add_argument("--mode", choices=POLICIES, default="ave", help="what several records of one operator give")
    parser.add_argument("--estimate", action="store_true", help="estimate the operators that the table lacks")
    parser.add_argument("--int8", action="store_true", help="of float models, the int8 form (quantized by noise)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if an operator is not in the table")
    parser.add_argument("--top", type=int, metavar="N", help="print the N slowest operators instead of all")
    parser.add_argument("--by", choices=["type"], help="print the time by operator type instead of all operators")
    parser.add_argument("--json", metavar="F", help="write all figures as JSON (- for stdout alone)")
    parser.add_argument("--csv", metavar="F", help="write a row per operator")
    parser.add_argument("--plot", metavar="F", help="draw a bar per operator (.png, .svg; needs matplotlib)")
    parser.add_argument("--html", metavar="F", help="write a page that needs no other file")
    args = parser.parse_args(argv)
    for name in ("img_size", "batch", "top"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return args


def dims(text: str) -> dict[str, tuple[int, ...]]:
    """Shapes of inputs from JSON, for argparse."""
    try:
        shapes = {name: tuple(shape) for name, shape in json.loads(text).items()}
    except (ValueError, AttributeError, TypeError):
        shapes = None
    sizes = [dim for shape in shapes.values() for dim in shape] if shapes else [None]
    if not all(isinstance(dim, int) and not isinstance(dim, bool) and dim > 0 for dim in sizes):
        raise argparse.ArgumentTypeError(f'{text!r} is not of the form {{"data": [1, 3, 224, 224]}}')
    return shapes


def input_types(net: Net, args: argparse.Namespace) -> dict[str, TensorType]:
    """Types of the net's inputs: as --input_dims says, or the net's own."""
    shapes = args.input_dims or net.input_shapes(args.img_size, args.batch or 1)
    dtype = NUMPY_OF_CODE[args.input_dtype]
    return {name: TensorType(shape, dtype) for name, shape in shapes.items()}


def quantized(net: Net, types: dict[str, TensorType], name: str) -> Net:
    """The int8 net with the operators that a float net's would have; what it computes is of no use."""
    if len(types) != 1:
        raise ModelError(f"{name}: only nets with one input are quantized here")
    return CONVERTERS.to_int8(net, {blob: kind.shape for blob, kind in types.items()})


def print_latency(latency: NetLatency, args: argparse.Namespace, heading: bool) -> None:
    if args.json == "-":
        return
    lines = [f"{latency.model} on {latency.device}"] if heading else []
    if args.top:
        lines += report.top_lines(latency, args.top)
    if args.by:
        lines += report.type_lines(latency)
    if not (args.top or args.by):
        lines += report.operator_lines(latency)
    print("\n".join([*lines, *report.summary_lines(latency)]))


def write_files(latencies: list[NetLatency], args: argparse.Namespace) -> None:
    if args.json == "-":
        print(report.to_json(latencies), end="")
    elif args.json:
        write_atomically(args.json, report.to_json(latencies))
    if args.csv:
        write_atomically(args.csv, report.to_csv(latencies))
    if args.html:
        write_atomically(args.html, report.to_html(latencies))
    if args.plot:
        report.save_plot(latencies, args.plot)
