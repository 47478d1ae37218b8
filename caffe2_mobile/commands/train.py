"""Train a network of the zoo, or one of a definition F.json, as scripts/search.py writes it.

    train.py --model fbnet_samsung_s8 --data cifar10 --data-dir ~/data --out runs/s8
    torchrun --nproc-per-node 4 scripts/train.py --model found.json --data /imagenet -j 8 --out runs/found

Leaves in --out: model.json (the definition), model.pth (averaged weights: --checkpoint of all other
commands), training.pt (the state after the last epoch). The same command again goes on where an interrupted
one stopped, exactly as if it had not been.
"""

import argparse
from pathlib import Path

import torch

from caffe2_common.files import write_atomically
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_mobile.commands.training_arguments import (
    add_run_arguments,
    add_settings,
    chosen_settings,
    epoch_log,
    forget,
    load_data,
    start,
)
from mobile_cv.model_zoo import create_model
from mobile_cv.search import Training, TrainingSettings
from mobile_cv.search.training import PRESETS


def main(argv: list[str]) -> int:
    """Train, save, and print the accuracy on the images held out."""
    args = parse(argv)
    processes = start(args)
    data = load_data(args, processes)
    settings = chosen_settings(args, PRESETS.get(data.name, TrainingSettings()))
    torch.manual_seed(settings.seed)
    model = create_model(
        args.model,
        checkpoint_path=args.checkpoint,
        num_classes=len(data.classes),
        img_size=args.img_size or data.size,
        drop_rate=args.drop_rate,
        drop_connect_rate=args.drop_connect_rate,
        mean=data.mean,
        std=data.std,
        channel_order="RGB",
        **({"crop_pct": 1.0} if data.size else {}),
    )
    state = args.out / "training.pt"
    forget(args, processes, state)
    training = Training(model, data, settings, processes, args.workers)
    training.run(state, epoch_log(args, "training") if processes.is_first else None)
    figures = training.evaluate()
    if processes.is_first:
        training.save_weights(args.out / "model.pth")
        write_atomically(args.out / "model.json", model.architecture.to_json(name=args.model))
        parameters = sum(p.numel() for p in model.parameters())
        print(
            f"{args.model}: top-1 {figures['accuracy']:.2f} % of {len(data.test)} images, "
            f"loss {figures['loss']:.4f}, {parameters / 1e6:.2f} M parameters"
        )
        print(f"{args.out / 'model.json'}, {args.out / 'model.pth'}")
    processes.stop()
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", "-m", required=True, metavar="NAME", help="of the zoo, or F.json")
    parser.add_argument("--checkpoint", metavar="F", help="weights to begin with")
    parser.add_argument("--img-size", type=int, metavar="N", help="default: the data's or the model's own")
    parser.add_argument("--drop-rate", type=float, metavar="X", help="dropout; default: the model's own")
    parser.add_argument("--drop-connect-rate", type=float, default=0.0, metavar="X", help="stochastic depth")
    add_run_arguments(parser)
    add_settings(parser, TrainingSettings, "training")
    args = parser.parse_args(argv)
    args.out = args.out or Path("runs") / f"train-{Path(args.model).stem}-{Path(args.data).name}"
    return args
