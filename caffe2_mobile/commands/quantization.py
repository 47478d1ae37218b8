"""onnx_to_caffe.py --int8: the flags, and one run of the quantizer."""

import argparse
import dataclasses
import math
import time
from collections import Counter
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.preprocessing import Preprocessing
from caffe2_mobile.commands.preprocessing_arguments import add_preprocessing_arguments, override
from caffe2_mobile.commands.program import positive
from caffe2_models import Net
from caffe2_models.preprocessing import get_preprocessing, set_preprocessing
from exporters.int8.measurement import compare_answers, layer_errors
from exporters.int8.quantizer import Quantized, quantize
from exporters.int8.ranges import METHODS
from exporters.int8.recipe import DEFAULT, RECIPES, Recipe, find_recipe
from exporters.int8.report import Latency, Report, check_path
from runtime_lut.estimate import DEFAULT_DEVICE, Estimator
from runtime_lut.latency import net_latency
from validate.calibration import open_images

CALIBRATION_IMAGES = 100
MEASURED_IMAGES = 16  # whose activations are compared layer by layer
BACKGROUND_OUTPUTS = 1001  # ImageNet's 1000 classes behind one for the background

SWITCHES = {
    "dead_channels": "zero the weights around channels that never fire",
    "equalization": "scale channels between layers",
    "absorption": "move constant parts of activations into biases",
    "bias_correction": "give every channel its mean back",
    "clipping": "narrow weight ranges where that errs less",
    "compensation": "round weights so that their errors cancel",
    "room": "let activation ranges be wider than what was seen",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of --int8, besides --calibration-data and --calibration-images."""
    group = parser.add_argument_group("int8", "See docs/quantization.md.")
    names = ", ".join(RECIPES)
    group.add_argument(
        "--recipe", default=DEFAULT, metavar="NAME", help=f"{names}, or a .json file (default: {DEFAULT})"
    )
    group.add_argument("--ranges", choices=list(METHODS), help="how activation ranges are chosen")
    for name, what in SWITCHES.items():
        flag = f"--{name.replace('_', '-')}"
        group.add_argument(flag, action=argparse.BooleanOptionalAction, help=what)
    group.add_argument(
        "--seconds", type=not_negative, metavar="S", help="then round what is left to the nearest step (default: never)"
    )
    group.add_argument("--threads", type=positive, metavar="N", help="default: all cores")
    rules = parser.add_argument_group("calibration images", "Default: what the net's file records.")
    add_preprocessing_arguments(rules)
    output = parser.add_argument_group("int8 report")
    output.add_argument("--report", nargs="+", default=[], metavar="FILE", help="write it as .html, .json or .txt")
    output.add_argument(
        "--evaluation-data", type=Path, metavar="DIR", help="labelled images for the accuracy of both nets"
    )
    output.add_argument("--evaluation-images", type=positive, metavar="N", help="only N of them, evenly spaced")
    output.add_argument(
        "--max-drop", type=float, metavar="X",
        help="exit with 1 where int8 loses more than X points of top-1 (of agreement, without labels)",
    )  # fmt: skip


def not_negative(text: str) -> float:
    """A number from zero on, for argparse."""
    number = float(text)
    if not number >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number from zero on")
    return number


def command(net: Net, arguments: argparse.Namespace) -> int:
    """Quantize the float net as the flags say, save it, report; returns the exit status."""
    for path in arguments.report:
        check_path(path)
    recipe = chosen_recipe(arguments)
    shape = input_shape(net, arguments.img_size)
    preprocessing = chosen_preprocessing(net, arguments, shape[2])
    set_preprocessing(net.predict, preprocessing)
    count = arguments.calibration_images or CALIBRATION_IMAGES
    images = open_images(arguments.calibration_data, count, preprocessing, shape[1])
    others = None
    if arguments.evaluation_data is not None:
        others = open_images(arguments.evaluation_data, arguments.evaluation_images, preprocessing, shape[1])
    started = time.monotonic()
    result = quantize(net, images, recipe, {net.inputs[0]: shape}, arguments.threads)
    seconds = time.monotonic() - started
    result.net.save(arguments.c2_prefix)
    print(f"{arguments.c2_prefix}.init.pb, {arguments.c2_prefix}.predict.pb:", flush=True)
    report = measure(net, result, recipe, images, others, seconds, arguments.threads)
    print("\n".join(report.summary_lines()))
    print("\n".join(report.layer_lines(report.guilty[:5])))
    for path in arguments.report:
        report.save(path)
    return judge(report, arguments.max_drop)


def measure(
    net: Net, result: Quantized, recipe: Recipe, images, others, seconds: float, threads: int | None = None
) -> Report:
    """The report of a quantization."""
    int8 = result.net
    first = [image for image, _ in zip(images, range(MEASURED_IMAGES), strict=False)]
    return Report(
        model=net.name or "net",
        recipe=dataclasses.asdict(recipe),
        calibration_images=len(images),
        operators=dict(Counter(node.type for node in int8.operators).most_common()),
        float_bytes=sum(t.nbytes for t in net.parameter_types.values()),
        int8_bytes=sum(t.nbytes for t in int8.parameter_types.values()),
        dead_channels=result.dead,
        absorbed_channels=result.absorbed,
        clamps=sum(0 < layer.high < math.inf for layer in result.graph.layers),
        equalized_layers=len(result.factors),
        seconds=seconds,
        calibration=compare_answers(net, int8, images, labels_for(net, images), threads),
        evaluation=compare_answers(net, int8, others, labels_for(net, others), threads) if others is not None else None,
        latency=estimated_latency(int8),
        layers=layer_errors(result, first, threads),
    )


def judge(report: Report, max_drop: float | None) -> int:
    """The exit status: 1 where the drop is larger than allowed."""
    if max_drop is None:
        return 0
    answers = report.judged
    drop, what = answers.drop, "points of top-1" if answers.labelled else "% of the images change their class"
    verdict = "within" if drop <= max_drop else "more than"
    print(f"drop: {drop:.2f} {what}, {verdict} --max-drop {max_drop:g}")
    return int(drop > max_drop)


def chosen_recipe(arguments: argparse.Namespace) -> Recipe:
    """The recipe with what flags say of it."""
    given = {name: getattr(arguments, name) for name in (*SWITCHES, "ranges", "seconds")}
    return dataclasses.replace(
        find_recipe(arguments.recipe), **{name: value for name, value in given.items() if value is not None}
    )


def chosen_preprocessing(net: Net, arguments: argparse.Namespace, size: int) -> Preprocessing:
    """What the net records of its input, with what flags say."""
    return override(get_preprocessing(net.predict) or Preprocessing(), arguments, size)


def input_shape(net: Net, size: int | None) -> tuple[int, ...]:
    """[1, C, H, W]; raises ModelError where the net has not one image as input."""
    try:
        shapes = net.input_shapes(size)
    except ModelError as error:
        raise ModelError(f"{error} (--img-size N)") from None
    if len(shapes) != 1:
        raise ModelError(
            f"{net.name or 'net'}: inputs {', '.join(shapes)}; a net with one input, an image, is expected"
        )
    (shape,) = shapes.values()
    if len(shape) != 4 or shape[2] != shape[3]:
        raise ModelError(f"{net.name or 'net'}: its input {list(shape)} is no square image")
    return (1, *shape[1:])


def labels_for(net: Net, images) -> np.ndarray | None:
    """The images' labels as indices of the net's outputs, or None where they have none or mean other classes."""
    labels = getattr(images, "labels", None)
    if labels is None:
        return None
    shape = (1, images.channels, *[images.preprocessing.size] * 2)
    outputs = int(np.prod(net.infer_shapes({net.inputs[0]: shape})[net.outputs[0]][0]))
    if images.is_imagenet and outputs == BACKGROUND_OUTPUTS:
        return labels + 1
    fits = outputs == BACKGROUND_OUTPUTS - 1 if images.is_imagenet else labels.max(initial=0) < outputs
    return labels if fits else None


def estimated_latency(net: Net) -> Latency:
    """Of a net on the phone that the published latencies are of."""
    estimate = net_latency(net, estimator=Estimator.shipped(DEFAULT_DEVICE))
    low, high = estimate.interval_us
    return Latency(estimate.device, estimate.total_us / 1000, low / 1000, high / 1000)
