"""Measure the ImageNet accuracy of an ONNX file with ONNX Runtime."""

import argparse

from caffe2_common.errors import ModelError
from caffe2_mobile.commands import validation
from validate.classifier import Classifier, load_onnx


def add_model_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--onnx-input", metavar="F", help="the ONNX file")


def open_classifier(args: argparse.Namespace) -> Classifier:
    if args.onnx_input is None:
        raise ModelError("name the net by --onnx-input")
    return load_onnx(args.onnx_input)


def main(argv: list[str]) -> int:
    return validation.main(argv, __doc__, add_model_arguments, open_classifier)
