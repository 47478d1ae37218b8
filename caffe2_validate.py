#!/usr/bin/env python3
"""Measure the ImageNet accuracy of a Caffe2 net, fp32 or int8."""

import argparse

from caffe2_models.command import run
from caffe2_models.errors import ModelError
from validate import command
from validate.classifier import Classifier, load_caffe2


def add_model_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--c2-prefix", metavar="P", help="the files P.init.pb and P.predict.pb")
    parser.add_argument("--c2-init", metavar="F", help="the init net")
    parser.add_argument("--c2-predict", metavar="F", help="the predict net")
    parser.add_argument("--model-dir", metavar="D", help="a folder that holds both")
    parser.add_argument(
        "--backend", default="auto", choices=["auto", "reference", "exact", "onnxruntime", "caffe2"]
    )


def open_classifier(args: argparse.Namespace) -> Classifier:
    given = [bool(args.c2_prefix), bool(args.model_dir), bool(args.c2_predict)]
    if sum(given) != 1:
        raise ModelError("name the net by one of --c2-prefix, --model-dir, --c2-init with --c2-predict")
    if args.model_dir:
        return load_caffe2(args.model_dir, None, args.backend, args.img_size)
    if args.c2_prefix:
        return load_caffe2(
            f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb", args.backend, args.img_size
        )
    return load_caffe2(args.c2_predict, args.c2_init, args.backend, args.img_size)


def main(argv: list[str]) -> int:
    return command.main(argv, __doc__, add_model_arguments, open_classifier)


if __name__ == "__main__":
    run(main)
