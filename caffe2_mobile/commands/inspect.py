"""Show a net, check it, or convert a Caffe2 net's files between binary and text.

Prints the task where it shows (classification, detection, style transfer ...), every operator with the shape it
writes, its parameters, multiply-adds and quantization, then what is wrong: operators that are not supported, blobs
that nothing writes, shapes that do not fit, scales that QNNPACK refuses. Exit status 1 where something is. Sizes that
only a run tells are the largest possible. A graph without its init net is shown without shapes. A .tflite file, and an
ONNX file that computes in bytes, is shown as it is, operator by operator.

--convert IN OUT rewrites one file, binary or text by its name (.pb, .pbtxt), and makes sure that nothing is
lost.
"""

import argparse

from caffe2_common.files import require_writable
from caffe2_mobile.api.inspect import InspectOptions, convert_file, inspect
from caffe2_mobile.commands.net_arguments import add_net_arguments, named_source
from caffe2_mobile.commands.program import ArgumentParser, options_from


def main(argv: list[str]) -> int:
    """Print what was found; 1 where something is wrong."""
    args = parse(argv)
    if args.convert:
        convert_file(*args.convert)
        return 0
    if args.json is not None:
        require_writable(args.json)
    result = inspect(named_source(args), options_from(InspectOptions, args))
    print(result)
    if args.json is not None:
        result.save(args.json)
    return 0 if result.is_good else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_net_arguments(parser)
    parser.add_argument("--json", metavar="F", help="also write all of it to this file")
    parser.add_argument("--convert", nargs=2, metavar=("IN", "OUT"), help="rewrite a file as .pb or .pbtxt")
    return parser.parse_args(argv)
