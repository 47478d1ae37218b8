"""The pipeline: a Caffe2 float net and calibration images in, an int8 net out."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caffe2_models import Net
from exporters.int8.assembly import Weights, assemble
from exporters.int8.calibration import Calibration, Images, calibrate
from exporters.int8.channels import importances
from exporters.int8.corrections import absorb_biases, remove_dead_channels
from exporters.int8.equalization import equalize
from exporters.int8.forms import plan
from exporters.int8.preparation import prepare
from exporters.int8.ranges import METHODS, with_room
from exporters.int8.recipe import Recipe
from exporters.int8.reconstruction import reconstruct
from exporters.int8.scales import Quantization, Range, Scales
from exporters.int8.simulation import images_that_fit
from exporters.int8.weights import round_to_nearest, weight_range
from exporters.layers import Blob, Graph


@dataclass
class Quantized:
    """What came out, and of what: the int8 net, the float graph before and after corrections, its calibration.

    weights: output blob -> those of each int8 layer; dead, absorbed: channels; factors: output blob -> those of each
    channel that was scaled.
    """

    net: Net
    original: Graph
    graph: Graph
    calibration: Calibration
    scales: Scales
    weights: dict[Blob, Weights]
    dead: int
    absorbed: int
    factors: dict[Blob, np.ndarray]


def quantize(
    net: Net,
    images: Images,
    recipe: Recipe | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    threads: int | None = None,
) -> Quantized:
    """The int8 form of a float net whose one input is images like these.

    Raises ModelError for a net that cannot be quantized.
    """
    recipe = recipe or Recipe()
    shapes = input_shapes or net.input_shapes()
    original = prepare(net, {name: (1, *shape[1:]) for name, shape in shapes.items()})
    choices = plan(original)
    sampled = min(len(images), images_that_fit(original, choices))
    graph, calibration = original, calibrate(original, images, sampled, threads)
    dead, absorbed = 0, 0
    factors: dict[Blob, np.ndarray] = {}
    if recipe.dead_channels:
        graph, calibration, dead = remove_dead_channels(graph, calibration)
    if recipe.equalization:
        graph, calibration, factors = equalize(graph, calibration)
    if recipe.absorption:
        graph, calibration, absorbed = absorb_biases(graph, calibration)
    importance = importances(graph, calibration)
    if factors or absorbed:
        calibration = dataclasses.replace(calibration, blobs=calibrate(graph, images, 0, threads).blobs)
    scales = Scales(graph, choices, _ranges(graph, calibration, recipe))
    layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen and layer.is_weighted]
    scales.legalize({layer.output: Quantization.of_range(weight_range(layer.weight)).scale for layer in layers})
    if recipe.simulates:
        first = np.stack([image for image, _ in zip(images, range(sampled), strict=False)])
        limits = {layer.output: weight_range(layer.weight) for layer in original.weighted}
        weights = reconstruct(graph, choices, scales, calibration, importance, limits, recipe, first, threads)
    else:
        weights = {y.output: Weights(round_to_nearest(y, scales.finest_weight_scale(y)), y.bias) for y in layers}
    int8 = assemble(graph, choices, scales, weights)
    return Quantized(int8, original, graph, calibration, scales, weights, dead, absorbed, factors)


def _ranges(graph: Graph, calibration: Calibration, recipe: Recipe) -> dict[Blob, Range]:
    """Of every blob, as the recipe says; but the net's answers keep their extremes: the largest of them counts."""
    methods = dict.fromkeys(calibration.blobs, recipe.ranges) | dict.fromkeys(_answers(graph), "minmax")
    ranges = {blob: METHODS[method](calibration.blobs[blob]) for blob, method in methods.items()}
    for layer in graph.layers if recipe.room else ():
        for blob in layer.outputs:
            if blob in ranges:
                clamp = Range(layer.low, layer.high)
                ranges[blob] = with_room(ranges[blob], clamp, calibration.blobs[blob].images)
    return ranges


def _answers(graph: Graph) -> set[Blob]:
    """Outputs of the net, and what they are made of behind the last weights."""
    blobs = {blob for blob in graph.outputs if not blob.is_constant}
    for layer in reversed(graph.layers):
        if not (layer.is_weighted or blobs.isdisjoint(layer.outputs)):
            blobs.update(layer.activations)
    return blobs
