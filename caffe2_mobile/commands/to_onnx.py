"""Convert a Caffe2 net to ONNX, and check that ONNX Runtime computes the same."""

import argparse

from caffe2_common.files import require_writable
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.to_onnx import ToOnnxOptions, to_onnx
from caffe2_mobile.commands.net_arguments import add_shape_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from
from caffe2_models import load_net
from exporters.caffe2_to_onnx import INT8_FORMS


def main(argv: list[str]) -> int:
    """Convert and compare; 1 where the outputs differ, or an exact int8 form is not equal to the byte."""
    args = parse(argv)
    require_writable(args.output)
    if args.c2_prefix is not None:
        net = load_net(f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb")
    else:
        net = read_net(args.net or args.model_dir)
    result = to_onnx(net, options_from(ToOnnxOptions, args))
    result.save(args.output)
    print(f"{args.output}: {result}")
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, usage="%(prog)s [-h] NET -o OUT.onnx [...]")
    parser.add_argument("net", nargs="?", metavar="NET", help="a folder, predict file or prefix")
    parser.add_argument("-o", "--output", metavar="OUT.onnx")
    source = parser.add_argument_group("the same in other words", "As in: --c2-prefix P OUT.onnx")
    source.add_argument("--c2-prefix", metavar="P", help="read P.init.pb and P.predict.pb")
    source.add_argument("--model-dir", metavar="D", help="read the net in this folder")
    add_shape_arguments(parser)
    parser.add_argument(
        "--int8",
        choices=INT8_FORMS,
        default=ToOnnxOptions().int8,
        help="form of an int8 net: equal to the byte, or (qdq, qlinear) near and in some runtimes faster",
    )
    args = parser.parse_args(argv)
    if args.output is None:
        args.net, args.output = None, args.net
    if args.output is None or [args.net, args.c2_prefix, args.model_dir].count(None) != 2:
        parser.error("name one net and the file to write: NET -o OUT.onnx")
    return args
