"""An ONNX or .tflite file becomes a Caffe2 net, float or int8, that has proved itself."""

import argparse

from caffe2_common.errors import ModelError
from caffe2_mobile.api.convert import ConvertOptions, convert
from caffe2_mobile.commands import quantize
from caffe2_mobile.commands.program import ArgumentParser, options_from, require_writable_net, shape


def main(argv: list[str]) -> int:
    """Convert and compare with ONNX Runtime or LiteRT, or quantize too with --int8; 1 where a check does not hold."""
    args = parse(argv)
    if args.int8 and args.onnx is None:
        return quantize.quantize_caffe2(args.c2_predict, args)
    if args.int8:
        return quantize.quantize_onnx(args.onnx, args)
    require_writable_net(args.c2_prefix)
    result = convert(args.onnx, options_from(ConvertOptions, args))
    result.save(args.c2_prefix)
    print(f"{args.c2_prefix}.init.pb, {args.c2_prefix}.predict.pb: {result}")
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(
        description="Convert an ONNX model, or a .tflite file, to Caffe2: float, or int8 for QNNPACK where it is "
        "quantized already, or with --int8."
    )
    parser.add_argument("onnx", nargs="?", metavar="IN.onnx|IN.tflite")
    parser.add_argument("--c2-prefix", "-o", required=True, metavar="P", help="write P.init.pb and P.predict.pb")
    parser.add_argument("--int8", action="store_true", help="quantize to int8; needs --calibration-data")
    quantize.add_arguments(parser)
    parser.add_argument(
        "--shape",
        dest="shapes",
        type=shape,
        action="append",
        default=[],
        metavar="NAME=1x3x48x320",
        help="of an input, where the ONNX file leaves it free (? for what stays free); may be given for each",
    )
    args = parser.parse_args(argv)
    args.shapes = dict(args.shapes)
    if args.onnx is None and not (args.c2_init and args.c2_predict and args.int8):
        raise ModelError("give IN.onnx, or --c2-init and --c2-predict with --int8")
    if args.onnx is not None and (args.c2_init or args.c2_predict):
        raise ModelError("give either IN.onnx or --c2-init and --c2-predict; the output is named by --c2-prefix")
    if args.int8 and args.calibration_data is None:
        raise ModelError("--int8 needs --calibration-data DIR: images from which the ranges are measured")
    quantize.require_data(args.calibration_data)
    return args
