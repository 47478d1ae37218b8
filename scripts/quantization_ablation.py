#!/usr/bin/env python3
"""Measure what each step of the quantizer is worth, or how recipes fare with other images, as a Markdown table.

With --recipes: each of them calibrates with --subsets sets of images, half of them evenly spaced from another first
image, half of them drawn at random; all images that did not calibrate are measured. Drop: points of top-1 below float.
Agreement: percent of the images that get the same class as in float. Cross-entropy: of the labels, how much it rises
from float. Divergence: Kullback-Leibler, of the float net's probabilities from the int8 net's. Both in nats an image.

Without, the steps of the pipeline one by one.
Corrections are added one after the other to plain min-max quantization; then the ways to choose activation ranges stand
side by side, with all corrections on. For each net: top-1 of the int8 net less that of the float net, and on how many
images the two answer alike. Nets are ONNX files, or folders of Caffe2 nets. Images are a folder, read as the net's file
says or as the flags do, or F.npz: `images`, float32 [N, C, H, W] as the net takes them, and `labels`, where there are
some.

There N images, evenly spaced over all in the order of their names, calibrate; all others are measured. --offset moves
the first of them along. With --recipes, some are compared on several sets of calibration images instead.
"""

import argparse
import dataclasses
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_common.progress import progress
from caffe2_common.sizes import Size, size_of
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.options import PreprocessingOptions
from caffe2_mobile.api.quantize import image_shape, labels_for
from caffe2_mobile.commands.preprocessing_arguments import add_preprocessing_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from, run, size
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing
from exporters.int8 import quantize
from exporters.int8.calibration import Images
from exporters.int8.measurement import Answers, compare_answers
from exporters.int8.ranges import METHODS
from exporters.int8.recipe import RECIPES, Recipe, find_recipe
from runtime_lut.estimate import DEFAULT_DEVICE, Estimator
from runtime_lut.latency import net_latency
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
    ("exact_pixels", "+ pixels on steps"),
]


def main(argv: list[str]) -> int:
    args = parse(argv)
    source = open_source(args)
    if args.recipes:
        return compare_recipes(args, source)
    calibrated, measured = split(len(source), args.calibration_images, args.offset)
    nets = {Path(path).stem: read_net(path) for path in args.nets}
    every = len(source) / len(calibrated)
    print(f"{len(calibrated)} images calibrate (every {every:g}th from the {args.offset}th on), "
          f"{len(measured)} others are measured.\n")  # fmt: skip
    heads = [f"{name}: {column}" for name in nets for column in ("top-1", "drop", "agreement")]
    print(line("recipe", heads))
    print(line("---", ["---"] * len(heads)), flush=True)
    images = {name: [source.read(net, part) for part in (calibrated, measured)] for name, net in nets.items()}
    tried = [case for case in cases() if args.only is None or any(word in case[0] for word in args.only)]
    for index, (title, recipe) in enumerate(progress(tried, desc="recipes")):
        answers = [measure(source, net, *images[name], recipe, args.threads).answers for name, net in nets.items()]
        if index == 0:
            print(line("float", [cell for a in answers for cell in (percent(a.float_top1), "", "")]))
        print(line(title, [cell for a in answers for cell in cells(a)]), flush=True)
    return 0


class Source:
    """Images by number, each net's own way to read them."""

    def __init__(self, dataset: Dataset, options: PreprocessingOptions, size: Size | None):
        self.dataset, self.options, self.size = dataset, options, size

    def __len__(self) -> int:
        return len(self.dataset)

    def shape(self, net: Net) -> tuple[int, int, int, int]:
        """Of the net's input."""
        return image_shape(net, self.size)

    def read(self, net: Net, numbers: np.ndarray) -> Images:
        """Raises ModelError for a net that does not say how, where no flag does."""
        recorded, shape = get_preprocessing(net.predict), self.shape(net)
        if recorded is None and self.options == PreprocessingOptions():
            raise ModelError(f"{net.name}: its file does not say how images are read; --mean, --std and others do")
        preprocessing = self.options.applied_to(recorded or Preprocessing(), size_of(shape))
        return FolderImages(self.dataset, numbers, preprocessing, shape[1])


class ArraySource(Source):
    """Images from an .npz file."""

    def __init__(self, path: str):
        """Raises ModelError for a file without images."""
        try:
            with np.load(path) as content:
                self.images = content["images"].astype(np.float32)
                self.labels = content.get("labels")
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(f"{path}: expected arrays `images` [N, C, H, W] and, if any, `labels` ({error})") from None

    def __len__(self) -> int:
        return len(self.images)

    def shape(self, net: Net) -> tuple[int, int, int, int]:
        return (1, *self.images.shape[1:])

    def read(self, net: Net, numbers: np.ndarray) -> Images:
        return Arrays(self.images[numbers], None if self.labels is None else self.labels[numbers])


@dataclasses.dataclass(frozen=True)
class Arrays:
    """images: float32 [N, C, H, W]; labels: int64 [N], or None."""

    images: np.ndarray
    labels: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.images)


def open_source(args: argparse.Namespace) -> Source:
    if args.images.endswith(".npz"):
        return ArraySource(args.images)
    return Source(open_dataset(args.images), options_from(PreprocessingOptions, args), args.img_size)


def compare_recipes(args: argparse.Namespace, source: Source) -> int:
    """A line for each net, recipe and set of images that calibrate, then one of their means."""
    columns = ["images", "drop", "agreement", "cross-entropy", "divergence", "seconds", "S8, ms"]
    print(line("net, recipe", columns))
    print(line("---", ["---:"] * len(columns)), flush=True)
    for path in args.nets:
        net = read_net(path)
        name = Path(path).stem
        for recipe in args.recipes:
            results = []
            for number in range(args.subsets):
                calibrated, measured = subset(len(source), args.calibration_images, number, args.subsets)
                images, others = source.read(net, calibrated), source.read(net, measured)
                results.append(measure(source, net, images, others, find_recipe(recipe), args.threads))
                kind = "even" if number < (args.subsets + 1) // 2 else "random"
                print(line(f"{name}, {recipe}", [f"{kind} {number}", *results[-1].cells]), flush=True)
            print(line(f"**{name}, {recipe}**", ["mean", *mean_of(results).cells]), flush=True)
    return 0


@dataclasses.dataclass(frozen=True)
class Result:
    """How an int8 net answers, the seconds that its making took, its latency on the S8 in ms, estimated."""

    answers: Answers
    seconds: float
    latency: float

    @property
    def cells(self) -> list[str]:
        a, rise = self.answers, self.answers.cross_entropy_rise
        figures = [f"{a.drop:.2f}", f"{a.agreement:.2f}", "" if rise is None else f"{rise:+.4f}"]
        return [*figures, f"{a.mean_divergence:.4f}", f"{self.seconds:.0f}", f"{self.latency:.1f}"]


def mean_of(results: list[Result]) -> Result:
    """Of sets of images of one size: that of their totals."""
    names = ("images", "agreed", "float_hits", "int8_hits", "float_loss", "int8_loss", "divergence")
    totals = {name: sum(getattr(result.answers, name) for result in results) for name in names}
    answers = Answers(labelled=results[0].answers.labelled, **totals)
    count = len(results)
    return Result(answers, sum(r.seconds for r in results) / count, sum(r.latency for r in results) / count)


def subset(count: int, wanted: int, number: int, subsets: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the images that calibrate, and of all others: the first half of the subsets is evenly spaced."""
    evenly = (subsets + 1) // 2
    if number < evenly:
        return split(count, wanted, number)
    calibrated = np.sort(np.random.default_rng(number - evenly).permutation(count)[:wanted])
    return calibrated, np.setdiff1d(np.arange(count), calibrated)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", metavar="NET", help="an ONNX file, or the folder of a Caffe2 net")
    parser.add_argument(
        "--images", required=True, metavar="DIR|F.npz", help="a folder of images, in class folders or not, or F.npz"
    )
    parser.add_argument("--calibration-images", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="of the first image that calibrates")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="recipes whose title has one of these words")
    parser.add_argument("--recipes", nargs="+", metavar="NAME", help="compare these, instead of the steps")
    parser.add_argument("--subsets", type=int, default=6, metavar="N", help="of images (default: %(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    parser.add_argument("--img-size", type=size, metavar="N|HxW", help="where the file leaves it free")
    add_preprocessing_arguments(parser.add_argument_group("images", "Default: what the net's file records."))
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


def measure(source: Source, net: Net, images: Images, others: Images, recipe: Recipe, threads: int | None) -> Result:
    """Of the net's int8 form, on the other images."""
    shape = source.shape(net)
    started = time.monotonic()
    int8 = quantize(net, images, recipe, {net.inputs[0]: shape}, threads).net
    seconds = time.monotonic() - started
    answers = compare_answers(net, int8, others, labels_for(net, others, shape), threads)
    latency = net_latency(int8, {net.inputs[0]: shape}, estimator=Estimator.shipped(DEFAULT_DEVICE))
    return Result(answers, seconds, latency.total_us / 1000)


def cells(answers: Answers) -> list[str]:
    return [percent(answers.int8_top1), f"{answers.drop:.2f}", f"{answers.agreement:.2f}"]


def percent(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def line(title: str, values: list[str]) -> str:
    return f"| {title} | {' | '.join(values)} |"


if __name__ == "__main__":
    run(main)
