"""Convert a Caffe2 net to ONNX, and check that ONNX Runtime computes the same."""

import argparse

from caffe2_common.files import require_writable
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.to_onnx import ToOnnxOptions, to_onnx
from caffe2_mobile.commands.program import ArgumentParser, options_from, size
from caffe2_models import load_net
from exporters.caffe2_to_onnx import INT8_FORMS


def main(argv: list[str]) -> int:
    """Convert and compare; 1 where the outputs differ, or an exact int8 form is not equal to the byte."""
    args = parse(argv)
    require_writable(args.output)
    if args.c2_prefix is not None:
        net = load_net(f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb")
    else:
        net = read_net(args.model_dir)
    result = to_onnx(net, options_from(ToOnnxOptions, args))
    result.save(args.output)
    print(f"{args.output}: {result}")
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--c2-prefix", metavar="P", help="read P.init.pb and P.predict.pb")
    source.add_argument("--model-dir", metavar="D", help="read the net in this folder")
    parser.add_argument("output", metavar="OUT.onnx")
    parser.add_argument("--img-size", type=size, metavar="N|HxW", help="height and width, if not recorded")
    parser.add_argument(
        "--int8",
        choices=INT8_FORMS,
        default=ToOnnxOptions().int8,
        help="form of an int8 net: equal to the byte, or (qdq, qlinear) near and in some runtimes faster",
    )
    return parser.parse_args(argv)
