#!/usr/bin/env python3
"""Find out whether a deep net loses in int8 by its weights or by the recipe, as a Markdown table.

Nets of the zoo at their full depth, with weights of two kinds, both normalized as training leaves it (BatchNorms hold
the statistics of images): as initialized, and tamed, so that they amplify noise no more than trained nets do: residual
branches count a fifth, and what goes into an activation function is a deviation above zero.

Noise gain: noise to signal (what differs from image to image) of the logits, over that of noise put on the images.
Cosine: of int8 and float logits; centred: of both less the float net's mean over the images. "Activations": of the
float net in which only these are on the int8 net's steps, which is what no rounding of weights can mend.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.preprocessing import Preprocessing
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net
from exporters import torch_to_onnx
from exporters.int8 import quantize
from exporters.int8.recipe import find_recipe
from exporters.onnx_to_caffe2 import convert
from mobile_cv.model_zoo import create_model
from scripts.quantization_floor import on_steps
from validate.calibration import open_images

MODELS = ("mobilenetv3_large_100", "mobilenetv3_small_100", "efficientnet_b0", "mixnet_s", "dmasking_l3")
MEASURED = 32  # images, beside those that calibrate
BRANCH = 0.2  # what a residual branch counts, in tamed nets
SHIFT = 1.0  # of what goes into an activation function, in deviations
NOISE = 0.02  # on the images, in deviations


def main(argv: list[str]) -> int:
    args = parse(argv)
    preprocessing = Preprocessing(size=args.img_size, mean=(0.5,) * 3, std=(0.5,) * 3)
    images = np.stack(list(open_images(args.images, args.calibration_images + MEASURED, preprocessing, 3)))
    measured = np.linspace(0, len(images) - 1, MEASURED).astype(int)
    calibration, others = np.delete(images, measured, axis=0), images[measured]
    print("| net, weights | noise gain | cosine | centred | activations | centred |")
    print("|---|---:|---:|---:|---:|---:|")
    cases = [(name, tamed) for name in args.models.split(",") for tamed in (False, True)]
    for name, tamed in progress(cases, desc="nets"):
        model = normalized(name, calibration, tamed)
        net = convert(torch_to_onnx.export(model, (1, *images.shape[1:])))
        shape = {net.inputs[0]: (1, *images.shape[1:])}
        result = quantize(net, calibration, find_recipe(args.recipe), shape, args.threads)
        blobs = [blob for blob in result.graph.activations if blob in result.scales.blobs]
        variants = (result.net, "auto"), (on_steps(result.graph, result, blobs), "onnxruntime")
        real = logits(net, others, "auto", args.threads)
        cells = [f"{noise_gain(model, others):.0f}"]
        for variant, backend in variants:
            int8 = logits(variant, others, backend, args.threads)
            cells += [f"{cosine(real, int8):.4f}", f"{cosine(real - real.mean(0), int8 - real.mean(0)):.4f}"]
        print(f"| {name}, {'tamed' if tamed else 'as initialized'} | {' | '.join(cells)} |", flush=True)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, metavar="DIR", help="a folder of images")
    parser.add_argument("--models", default=",".join(MODELS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--img-size", type=int, default=64, metavar="N", help="default: %(default)s")
    parser.add_argument("--calibration-images", type=int, default=64, metavar="N", help="default: %(default)s")
    parser.add_argument("--recipe", default="best", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    return parser.parse_args(argv)


def normalized(name: str, images: np.ndarray, tamed: bool) -> nn.Module:
    """A net of the zoo, its weights from a seed, whose BatchNorms hold the statistics of images [N, C, H, W]."""
    torch.manual_seed(0)
    model = create_model(name, img_size=images.shape[2], softmax=False, zero_last_gamma=False)
    if tamed:
        tame(model)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain averages
    with torch.no_grad():
        model.train()(torch.from_numpy(images))
    return model.eval()


@torch.no_grad()
def tame(model: nn.Module) -> None:
    """Make the net amplify noise less, in place."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.fill_(SHIFT)
    for module in model.modules():
        if getattr(module, "residual", False):
            norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
            norms[-1].weight.mul_(BRANCH)


@torch.no_grad()
def noise_gain(model: nn.Module, images: np.ndarray) -> float:
    """Noise to signal of the logits over that of the images, which get a little noise."""
    x = torch.from_numpy(images)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * (NOISE * x.std())
    y, noisy = model(x), model(x + noise)
    return float((noisy - y).square().sum() / (y - y.mean(0)).square().sum()) / NOISE**2


def logits(net: Net, images: np.ndarray, backend: str, threads: int | None) -> np.ndarray:
    """float64 [N, C]"""
    session = net.session(backend, threads)
    rows = [session.run({net.inputs[0]: image[None]}, outputs=net.outputs)[net.outputs[0]] for image in images]
    return np.concatenate(rows).reshape(len(images), -1).astype(np.float64)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


if __name__ == "__main__":
    run(main)
