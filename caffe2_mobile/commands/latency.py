"""The latency of nets on a device, operator by operator (get_runtime.py)."""

import argparse
from pathlib import Path

from caffe2_common.dtypes import CODE_OF_NUMPY, NUMPY_OF_CODE
from caffe2_common.errors import ModelError
from caffe2_common.files import require_writable
from caffe2_mobile.api.latency import LatencyOptions, LatencyResult, latency
from caffe2_mobile.commands.net_arguments import add_shape_arguments
from caffe2_mobile.commands.program import ArgumentParser, note, options_from
from runtime_lut import report
from runtime_lut.estimate import DEFAULT_DEVICE
from runtime_lut.sources import find_sources
from runtime_lut.table import POLICIES

STDOUT = "-"


def main(argv: list[str]) -> int:
    """Print each net's latency; 1 where --strict and an operator is not in the table."""
    args = parse(argv)
    names = [*args.net, *filter(None, (args.model_path or "").split(","))]
    if not names:
        raise ModelError("name a net: NET, or --model_path, which names no model")
    files = {form: path for form in report.FORMS if (path := getattr(args, form)) and path != STDOUT}
    for path in files.values():
        require_writable(path)
    options = options_from(LatencyOptions, args)
    sources = find_sources(args.device, args.db_dir, args.mode, args.estimate)
    if sources.note:
        note(sources.note)
    results = [latency(name, options, sources) for name in names]
    latencies = [result.latency for result in results]
    if args.json == STDOUT:
        print(report.to_json(latencies), end="")
    else:
        print_results(results, args)
    for form, path in files.items():
        report.save(latencies, path, form)
    return int(args.strict and not all(result.all_found for result in results))


def print_results(results: list[LatencyResult], args: argparse.Namespace) -> None:
    for result in results:
        if len(results) > 1:
            print(f"{result.latency.model} on {result.latency.device}")
        print(result.to_text(args.top, args.by == "type"))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        description="Latency of Caffe2 nets from a device's table of operator times, or estimated (µs).",
    )
    kinds = "model folder, .pb, .pbtxt or .onnx file, published name (ChamNet-A/int8) or zoo name"
    parser.add_argument("net", nargs="*", metavar="NET", help=kinds)
    parser.add_argument("--model_path", "--model-path", metavar="NET[,..]", help="the same, between commas")
    add_shape_arguments(parser)
    parser.add_argument(
        "--input_dtype",
        "--input-dtype",
        type=int,
        choices=sorted(NUMPY_OF_CODE),
        default=CODE_OF_NUMPY["float32"],
        metavar="CODE",
        help="TensorProto.DataType of the inputs (default: 1, float32)",
    )
    parser.add_argument("--batch", type=int, metavar="N", help="images at once, where no shape is given")
    parser.add_argument(
        "--db_dir",
        "--db-dir",
        type=Path,
        metavar="D",
        help="folder with DEVICE-op_lut_database.json (default: where `caffe2-mobile download` puts it)",
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
    for name in ("batch", "top"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return args
