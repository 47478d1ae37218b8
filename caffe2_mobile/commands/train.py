"""Train a network of the zoo, or one of a definition F.json, as `caffe2-mobile search` writes it.

    caffe2-mobile train --model fbnet_samsung_s8 --data cifar10 --data-dir ~/data --out runs/s8
    torchrun --nproc-per-node 4 -m caffe2_mobile train --model found.json --data /imagenet -j 8 --out runs/found

Leaves in --out: model.json (the definition), model.pth (averaged weights: --checkpoint of all other
commands), training.pt (the state after the last epoch). The same command again goes on where an interrupted
one stopped, exactly as if it had not been.
"""

import argparse
import dataclasses

from caffe2_mobile.api.train import TrainOptions, train
from caffe2_mobile.commands.program import ArgumentParser, options_from, size
from caffe2_mobile.commands.run_arguments import add_run_arguments, add_settings, given_settings, is_first_process
from mobile_cv.settings import TrainingSettings


def main(argv: list[str]) -> int:
    """Train, save, and print the accuracy on the images held out."""
    args = parse(argv)
    settings = given_settings(args, TrainingSettings)
    result = train(args.model, dataclasses.replace(options_from(TrainOptions, args), settings=settings))
    if is_first_process():
        print(result)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", "-m", required=True, metavar="NAME", help="of the zoo, or F.json")
    parser.add_argument("--checkpoint", metavar="F", help="weights to begin with")
    parser.add_argument("--img-size", type=size, metavar="N|HxW", help="default: the data's or the model's own")
    parser.add_argument("--drop-rate", type=float, metavar="X", help="dropout; default: the model's own")
    parser.add_argument("--drop-connect-rate", type=float, default=0.0, metavar="X", help="stochastic depth")
    add_run_arguments(parser)
    add_settings(parser, TrainingSettings, "training")
    return parser.parse_args(argv)
