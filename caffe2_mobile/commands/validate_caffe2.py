"""Measure the ImageNet accuracy of a Caffe2 net, fp32 or int8."""

import argparse

from caffe2_common.errors import ModelError
from caffe2_mobile.commands import validation
from caffe2_models.runtimes import BACKENDS
from validate.classifier import Classifier, load_caffe2


def add_model_arguments(parser: argparse._ArgumentGroup) -> None:
    parser.add_argument("--c2-prefix", metavar="P", help="the files P.init.pb and P.predict.pb")
    parser.add_argument("--c2-init", metavar="F", help="the init net")
    parser.add_argument("--c2-predict", metavar="F", help="the predict net")
    parser.add_argument("--model-dir", metavar="D", help="a folder that holds both")
    parser.add_argument("--backend", default="auto", choices=BACKENDS, help="what runs it (default: %(default)s)")
    parser.add_argument(
        "--approximate", action="store_true", help="let onnxruntime run an int8 net, some steps off Caffe2's"
    )


def open_classifier(args: argparse.Namespace) -> Classifier:
    files = []
    if args.c2_prefix:
        files.append((f"{args.c2_prefix}.predict.pb", f"{args.c2_prefix}.init.pb"))
    if args.model_dir:
        files.append((args.model_dir, None))
    if args.c2_predict:
        files.append((args.c2_predict, args.c2_init))
    if len(files) != 1:
        raise ModelError("name the net by one of --c2-prefix, --model-dir, or --c2-predict with --c2-init")
    return load_caffe2(*files[0], args.backend, args.img_size, args.approximate)


def main(argv: list[str]) -> int:
    return validation.main(argv, __doc__, add_model_arguments, open_classifier)
