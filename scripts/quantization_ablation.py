#!/usr/bin/env python3
"""Measure what each step of the quantizer is worth, or how recipes fare with other images, as a Markdown table.

With --recipes: each of them calibrates with --subsets sets of images, half of them evenly spaced from another first
image, half of them drawn at random; all images that did not calibrate are measured. Drop: points of top-1 below float.
Agreement: percent of the images that get the same class as in float. Cross-entropy: of the labels, how much it rises
from float. Divergence: Kullback-Leibler, of the float net's probabilities from the int8 net's. Both in nats an image.

Without, the steps of the pipeline one by one.
Corrections are added one after the other to plain min-max quantization; then the ways to choose activation ranges stand
side by side, with all corrections on. For each net: top-1 of the int8 net less that of the float net, and on how many
images the two answer alike. Nets are ONNX files, or folders of Caffe2 nets.

There N images, evenly spaced over all in the order of their names, calibrate; all others are measured. --offset moves
the first of them along.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.quantize import image_shape, labels_for
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from exporters.int8 import quantize
from exporters.int8.measurement import Answers, compare_answers
from exporters.int8.ranges import METHODS
from exporters.int8.recipe import RECIPES, Recipe, find_recipe
from validate.calibration import FolderImages
from validate.dataset import Dataset, open_dataset

STEPS = [
    ("dead_channels", "+ dead channels"),
    ("equalization", "+ equalization"),
    ("absorption", "+ absorption"),
    ("bias_correction", "+ bias correction"),
    ("clipping", "+ clipping of weights"),
    ("compensation", "+ compensated rounding"),
    ("room", "+ room beyond what was seen"),
    ("splitting", "+ copies in dead channels"),
    ("fine_scores", "+ finer scores"),
    ("refitting", "+ weights fitted to int8 inputs"),
]


def main(argv: list[str]) -> int:
    args = parse(argv)
    dataset = open_dataset(args.images)
    if args.recipes:
        return compare_recipes(args, dataset)
    calibrated, measured = split(len(dataset), args.calibration_images, args.offset)
    nets = {Path(path).stem: read_net(path) for path in args.nets}
    every = len(dataset) / len(calibrated)
    print(f"{len(calibrated)} images calibrate (every {every:g}th from the {args.offset}th on), "
          f"{len(measured)} others are measured.\n")  # fmt: skip
    heads = [f"{name}: {column}" for name in nets for column in ("top-1", "drop", "agreement")]
    print(line("recipe", heads))
    print(line("---", ["---"] * len(heads)), flush=True)
    images = {name: both(net, dataset, calibrated, measured) for name, net in nets.items()}
    tried = [case for case in cases() if args.only is None or any(word in case[0] for word in args.only)]
    for index, (title, recipe) in enumerate(progress(tried, desc="recipes")):
        answers = [measure(net, *images[name], recipe, args.threads)[0] for name, net in nets.items()]
        if index == 0:
            print(line("float", [cell for a in answers for cell in (f"{a.float_top1:.2f}", "", "")]))
        print(line(title, [cell for a in answers for cell in cells(a)]), flush=True)
    return 0


def compare_recipes(args: argparse.Namespace, dataset: Dataset) -> int:
    """A line for each net, recipe and set of images that calibrate, then one of their means."""
    print(line("net, recipe", ["images", "drop", "agreement", "cross-entropy", "divergence", "seconds"]))
    print(line("---", ["---:"] * 6), flush=True)
    for path in args.nets:
        net = read_net(path)
        for recipe in args.recipes:
            rows = []
            for number in range(args.subsets):
                calibrated, measured = subset(len(dataset), args.calibration_images, number, args.subsets)
                images, others = both(net, dataset, calibrated, measured)
                answers, seconds = measure(net, images, others, find_recipe(recipe), args.threads)
                rise = answers.cross_entropy_rise or 0.0
                rows.append((answers.drop, answers.agreement, rise, answers.mean_divergence, seconds))
                kind = "even" if number < (args.subsets + 1) // 2 else "random"
                print(result_line(f"{Path(path).stem}, {recipe}", f"{kind} {number}", rows[-1]), flush=True)
            print(result_line(f"**{Path(path).stem}, {recipe}**", "mean", np.mean(rows, axis=0)), flush=True)
    return 0


def subset(count: int, wanted: int, number: int, subsets: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images that calibrate, and of all others: the first half of the subsets is evenly spaced."""
    evenly = (subsets + 1) // 2
    if number < evenly:
        return split(count, wanted, number)
    calibrated = np.sort(np.random.default_rng(number - evenly).permutation(count)[:wanted])
    return calibrated, np.setdiff1d(np.arange(count), calibrated)


def result_line(title: str, images: str, values: Sequence[float]) -> str:
    drop, agreement, rise, divergence, seconds = values
    cells = [images, f"{drop:.2f}", f"{agreement:.2f}", f"{rise:+.4f}", f"{divergence:.4f}", f"{seconds:.0f}"]
    return line(title, cells)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", metavar="NET", help="an ONNX file, or the folder of a Caffe2 net")
    parser.add_argument("--images", required=True, metavar="DIR", help="images in class folders")
    parser.add_argument("--calibration-images", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="of the first image that calibrates")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="recipes whose title has one of these words")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="compare these, instead of the steps")
    parser.add_argument("--subsets", type=int, default=6, metavar="N", help="of images (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    return parser.parse_args(argv)


def cases() -> list[tuple[str, Recipe]]:
    """(title, recipe): steps upon steps, then the methods for ranges."""
    recipe = RECIPES["minmax"]
    result = [("min-max only", recipe)]
    for field, title in STEPS:
        recipe = dataclasses.replace(recipe, **{field: True})
        result.append((title, recipe))
    best = RECIPES["best"]
    result += [(f"all, ranges {method}", dataclasses.replace(best, ranges=method)) for method in METHODS]
    return result


def split(count: int, wanted: int, offset: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images that calibrate, and of all others; raises ModelError where either would be none."""
    if not 0 < wanted < count:
        raise ModelError(f"--calibration-images {wanted}: of {count} images some must calibrate, and some be measured")
    calibrated = (np.arange(wanted) * count // wanted + offset) % count
    return np.sort(calibrated), np.setdiff1d(np.arange(count), calibrated)


def both(net: Net, dataset: Dataset, *parts: np.ndarray) -> list[FolderImages]:
    """The images of each part, as the net's file says that it reads them."""
    shape, preprocessing = image_shape(net), get_preprocessing(net.predict)
    if preprocessing is None:
        raise ModelError(f"{net.name}: its file does not say how images are read; export it with its preprocessing")
    return [FolderImages(dataset, part, preprocessing.replace(size=shape[2]), shape[1]) for part in parts]


def measure(
    net: Net, images: FolderImages, others: FolderImages, recipe: Recipe, threads: int | None
) -> tuple[Answers, float]:
    """How the int8 net answers on the other images, and the seconds that its making took."""
    shape = image_shape(net)
    started = time.monotonic()
    result = quantize(net, images, recipe, {net.inputs[0]: shape}, threads)
    seconds = time.monotonic() - started
    labels = labels_for(net, others, shape)
    if labels is None:
        raise ModelError(f"{net.name}: its classes are not those of the images")
    return compare_answers(net, result.net, others, labels, threads), seconds


def cells(answers: Answers) -> list[str]:
    return [f"{answers.int8_top1:.2f}", f"{answers.drop:.2f}", f"{answers.agreement:.2f}"]


def line(title: str, values: list[str]) -> str:
    return f"| {title} | {' | '.join(values)} |"


if __name__ == "__main__":
    run(main)
