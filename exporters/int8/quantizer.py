"""The pipeline: a Caffe2 float net and calibration images in, an int8 net out."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caffe2_models import Net
from exporters.int8.assembly import assemble
from exporters.int8.calibration import Calibration, Images, calibrate
from exporters.int8.channels import importances
from exporters.int8.corrections import absorb_biases, remove_dead_channels
from exporters.int8.equalization import equalize
from exporters.int8.forms import plan
from exporters.int8.graph import Graph
from exporters.int8.preparation import prepare
from exporters.int8.ranges import METHODS, with_room
from exporters.int8.recipe import Recipe
from exporters.int8.reconstruction import Reconstruction
from exporters.int8.scales import Quantization, Range, Scales
from exporters.int8.simulation import images_that_fit
from exporters.int8.weights import QuantizedWeight, round_to_nearest, weight_range


@dataclass
class Quantized:
    """What came out, and of what: the int8 net, the float graph before and after corrections, its calibration."""

    net: Net
    original: Graph
    graph: Graph
    calibration: Calibration
    scales: Scales
    weights: dict[str, QuantizedWeight]
    dead: int
    absorbed: int
    factors: dict[str, np.ndarray]


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
    graph = original.copy()
    choices = plan(graph)
    sampled = min(len(images), images_that_fit(graph, choices))
    calibration = calibrate(graph, images, sampled, threads)
    dead = remove_dead_channels(graph, calibration) if recipe.dead_channels else 0
    factors = equalize(graph, calibration) if recipe.equalization else {}
    absorbed = absorb_biases(graph, calibration) if recipe.absorption else 0
    importance = importances(graph, calibration)
    if factors or absorbed:
        calibration.blobs = calibrate(graph, images, 0, threads).blobs
    scales = Scales(graph, choices, _ranges(graph, calibration, recipe))
    layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen and layer.is_weighted]
    scales.legalize({layer.output: Quantization.of_range(weight_range(layer.weight)).scale for layer in layers})
    choose = _reconstruction(graph, original, scales, calibration, importance, recipe, images, threads)
    weights: dict[str, QuantizedWeight] = {}

    def weights_for(writer, layer, source):
        if choose is not None:
            weight, bias = choose(writer, layer, source)
        else:
            weight, bias = round_to_nearest(layer, scales.finest_weight_scale(layer)), layer.bias
        weights[layer.output] = weight
        return weight, bias

    int8 = assemble(graph, choices, scales, weights_for)
    return Quantized(int8, original, graph, calibration, scales, weights, dead, absorbed, factors)


def _ranges(graph: Graph, calibration: Calibration, recipe: Recipe) -> dict[str, Range]:
    """Of every blob, as the recipe says; but the net's answers keep their extremes: the largest of them counts."""
    methods = dict.fromkeys(calibration.blobs, recipe.ranges) | dict.fromkeys(_answers(graph), "minmax")
    ranges = {name: METHODS[method](calibration.blobs[name]) for name, method in methods.items()}
    for layer in graph.layers if recipe.room else ():
        for name in layer.outputs:
            if name in ranges:
                clamp = Range(layer.low, layer.high)
                ranges[name] = with_room(ranges[name], clamp, calibration.blobs[name].images)
    return ranges


def _answers(graph: Graph) -> set[str]:
    """Outputs of the net, and what they are made of behind the last weights."""
    names = set(graph.outputs)
    for layer in reversed(graph.layers):
        if not (layer.is_weighted or names.isdisjoint(layer.outputs)):
            names.update(graph.activations(layer))
    return names


def _reconstruction(graph, original, scales, calibration, importance, recipe, images, threads) -> Reconstruction | None:
    """What chooses weights layer by layer, where the recipe asks for it."""
    if not recipe.simulates:
        return None
    first = np.stack([image for image, _ in zip(images, range(calibration.sampled), strict=False)])
    limits = {layer.output: weight_range(layer.weight) for layer in original.weighted}
    feeds = {graph.inputs[0]: first}
    return Reconstruction(graph, scales, calibration.samples, importance, limits, recipe, feeds, threads)
