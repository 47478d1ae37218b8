"""The command onnx_to_caffe.py: an ONNX file becomes a Caffe2 net that has proved itself."""

import argparse
from collections import Counter
from pathlib import Path

from caffe2_common.errors import ModelError
from caffe2_mobile.commands import quantization
from caffe2_mobile.commands.program import ArgumentParser, positive
from caffe2_models import Net
from caffe2_models.files import read_net
from caffe2_models.preprocessing import get_preprocessing
from exporters.onnx_files import load_onnx
from exporters.onnx_to_caffe2 import convert
from exporters.verification import input_shapes, make_samples, report, verify_net


def main(argv: list[str]) -> int:
    """Convert and compare with ONNX Runtime, then quantize where asked; 1 where a check does not hold."""
    arguments = parse(argv)
    if arguments.onnx is None:
        net, status = Net(read_net(arguments.c2_predict), read_net(arguments.c2_init)), 0
    else:
        net, status = convert_file(arguments)
    if not arguments.int8 or status != 0:
        return status
    return quantization.command(net, arguments)


def convert_file(arguments: argparse.Namespace) -> tuple[Net, int]:
    """Convert the ONNX file; without --int8 the float net is what is written."""
    model = load_onnx(arguments.onnx)
    net = convert(model, arguments.img_size)
    if not arguments.int8:
        net.save(arguments.c2_prefix)
        print(describe(net, arguments.c2_prefix), flush=True)
    preprocessing = get_preprocessing(net.predict)
    samples = make_samples(input_shapes(model, preprocessing, arguments.img_size), preprocessing)
    del model
    return net, report(verify_net(net, arguments.onnx, samples))


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description="Convert an ONNX model to Caffe2 (float, or int8 for QNNPACK).")
    parser.add_argument("onnx", nargs="?", metavar="IN.onnx")
    parser.add_argument("--c2-prefix", required=True, metavar="P", help="write P.init.pb and P.predict.pb")
    parser.add_argument("--c2-init", metavar="I", help="instead of IN.onnx: quantize this Caffe2 net")
    parser.add_argument("--c2-predict", metavar="Q")
    parser.add_argument("--img-size", type=positive, metavar="N",
                        help="height and width, where the ONNX file leaves them free")  # fmt: skip
    parser.add_argument("--int8", action="store_true", help="quantize to int8; needs --calibration-data")
    parser.add_argument("--calibration-data", type=Path, metavar="DIR", help="images, in class folders or not")
    parser.add_argument("--calibration-images", type=positive, metavar="N")
    quantization.add_arguments(parser)
    arguments = parser.parse_args(argv)
    if arguments.onnx is None and not (arguments.c2_init and arguments.c2_predict and arguments.int8):
        raise ModelError("give IN.onnx, or --c2-init and --c2-predict with --int8")
    if arguments.onnx is not None and (arguments.c2_init or arguments.c2_predict):
        raise ModelError("give either IN.onnx or --c2-init and --c2-predict; the output is named by --c2-prefix")
    if arguments.int8 and arguments.calibration_data is None:
        raise ModelError("--int8 needs --calibration-data DIR: images from which the ranges are measured")
    if arguments.calibration_data is not None and not arguments.calibration_data.is_dir():
        raise ModelError(f"{arguments.calibration_data}: no such folder of calibration images")
    return arguments


def describe(net: Net, prefix: str) -> str:
    counts = Counter(node.type for node in net.operators)
    listed = ", ".join(f"{count} {kind}" for kind, count in counts.most_common())
    size = sum(t.nbytes for t in net.parameter_types.values())
    files = f"{prefix}.init.pb, {prefix}.predict.pb"
    return f"{files}: {len(net.operators)} operators ({listed}), {size / 1e6:.1f} MB of parameters"
