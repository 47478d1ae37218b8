#!/usr/bin/env python3
"""Find out where an int8 net's divergence comes from, as a Markdown table.

The float net is quantized, and runs again in float with parts of it on their steps: its activations, its weights, one
layer alone. Divergence: Kullback-Leibler, of the float net's probabilities from those of the part, nats an image.
What no rounding can avoid is the line of the activations; what no scale can avoid, that of the output alone.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.progress import progress
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.options import PreprocessingOptions
from caffe2_mobile.api.quantize import image_shape, labels_for
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net
from exporters.int8 import quantize
from exporters.int8.measurement import Answers, compare_answers
from exporters.int8.quantizer import Quantized
from exporters.int8.recipe import find_recipe
from exporters.int8.scales import Part, Quantization
from exporters.int8.sensitivity import on_steps
from exporters.layers import Graph, write_net
from scripts.quantization_ablation import Source, line, split
from validate.dataset import open_dataset

WORST = 12  # layers alone that are listed


def main(argv: list[str]) -> int:
    args = parse(argv)
    source = Source(open_dataset(args.images), PreprocessingOptions(), None)
    calibrated, measured = split(len(source), args.calibration_images, 0)
    measured = measured[:: max(len(measured) // args.measured_images, 1)]
    print(f"{len(calibrated)} images calibrate, {len(measured)} others are measured.\n")
    print(line("net, what is on its steps", ["divergence", "cross-entropy", "agreement"]))
    print(line("---", ["---:"] * 3))
    for path in args.nets:
        net = read_net(path)
        images, others = source.read(net, calibrated), source.read(net, measured)
        result = quantize(net, images, find_recipe(args.recipe), {net.inputs[0]: image_shape(net)}, args.threads)
        labels = labels_for(net, others, image_shape(net))
        rows = []
        for title, variant in progress(list(variants(result)), desc=Path(path).stem):
            backend = "auto" if variant is result.net else "onnxruntime"
            answers = compare_answers(net, variant, others, labels, args.threads, backend=backend)
            rows.append((title, answers))
        whole = [row for row in rows if not row[0].startswith("only ")]
        alone = sorted((row for row in rows if row[0].startswith("only ")), key=lambda row: -row[1].mean_divergence)
        for title, answers in [*whole, *alone[:WORST]]:
            print(line(f"{Path(path).stem}, {title}", cells(answers)), flush=True)
    return 0


def cells(answers: Answers) -> list[str]:
    rise = answers.cross_entropy_rise
    return [
        f"{answers.mean_divergence:.5f}",
        "" if rise is None else f"{rise:+.5f}",
        f"{answers.agreement:.2f}",
    ]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", metavar="NET", help="an ONNX file, or the folder of a Caffe2 net")
    parser.add_argument("--images", required=True, metavar="DIR", help="images in class folders")
    parser.add_argument("--calibration-images", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--measured-images", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--recipe", default="best", metavar="NAME", help="default: %(default)s")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    return parser.parse_args(argv)


def variants(result: Quantized) -> Iterator[tuple[str, Net]]:
    """What is on its steps, and the float net with that."""
    graph = result.graph
    blobs = [blob for blob in graph.activations if blob in result.scales.blobs]
    net = write_net(graph)
    steps = {blob.name: result.scales.parts.get(blob) or (Part(0.0, result.scales[blob]),) for blob in blobs}
    yield "all, in int8", result.net
    yield "nothing: the float net after its corrections", net
    yield "activations", on_steps(net, steps)
    yield "weights, rounded to the nearest step", write_net(with_weights(graph, result, nearest=True))
    yield "weights, as the int8 net has them", write_net(with_weights(graph, result))
    for blob in blobs:
        yield f"only {blob}", on_steps(net, {blob.name: steps[blob.name]})


def with_weights(graph: Graph, result: Quantized, nearest: bool = False) -> Graph:
    """The graph with the int8 net's weights and biases, or with its own weights to the nearest of the same steps."""
    graph = graph.copy()
    for layer in graph.weighted:
        if layer.output in result.weights:
            weight = result.weights[layer.output].weight
            quantization: Quantization = weight.quantization
            layer.weight = quantization.dequantize(quantization.quantize(layer.weight)) if nearest else weight.values
            layer.bias = result.weights[layer.output].bias.astype(np.float32)
    return graph


if __name__ == "__main__":
    run(main)
