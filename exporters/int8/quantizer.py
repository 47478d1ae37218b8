"""The pipeline: a Caffe2 float net and calibration images in, an int8 net out."""

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np

from caffe2_models import Net
from exporters.int8.assembly import Weights, Writer, assemble
from exporters.int8.batching import Feed, stacked
from exporters.int8.calibration import Calibration, Images, calibrate, find_scores
from exporters.int8.channels import importances
from exporters.int8.corrections import absorb_biases, remove_dead_channels
from exporters.int8.equalization import equalize
from exporters.int8.forms import plan
from exporters.int8.functions import functions_of_blobs
from exporters.int8.heads import split_heads
from exporters.int8.per_channel import ChannelWeight, round_channels
from exporters.int8.pixels import put_on_steps
from exporters.int8.preparation import clamp_of, prepare
from exporters.int8.qdq import QdqLayer, QdqWriter, assemble_qdq
from exporters.int8.ranges import METHODS, mean_square_error, of_pixels, of_scores, whole_of_scores, with_room
from exporters.int8.recipe import Recipe
from exporters.int8.reconstruction import reconstruct
from exporters.int8.scales import MARGIN, Quantization, Range, Scales
from exporters.int8.scores import find_scores_layer, parts_of_scores
from exporters.int8.simulation import images_that_fit
from exporters.int8.splitting import split_channels
from exporters.int8.weights import QuantizedWeight, native_range, round_to_nearest, weight_range
from exporters.int8.widening import widen
from exporters.layers import Blob, Graph, Layer

Target = Literal["qnnpack", "litert", "onnx"]
MEASURED_IMAGES = 32  # by which pixels are known, and what rounding does to the answers
TARGETS: tuple[Target, ...] = get_args(Target)


@dataclass
class Quantized:
    """What came out, and of what: the int8 net, the float graph before and after corrections, its calibration.

    weights: output blob -> those of each int8 layer; dead, absorbed, split, added: channels; factors: output blob ->
    those of each channel that was scaled. layout: of quantized images in the net. layers: of a target other than
    QNNPACK, what its file holds of each layer with weights, by the name of its quantized output.
    """

    net: Net
    original: Graph
    graph: Graph
    calibration: Calibration
    scales: Scales
    weights: dict[Blob, Weights]
    dead: int
    absorbed: int
    split: int
    added: int
    factors: dict[Blob, np.ndarray]
    layout: str = Writer.layout
    layers: dict[str, QdqLayer] = field(default_factory=dict)


def quantize(
    net: Net,
    images: Images,
    recipe: Recipe | None = None,
    input_shapes: Mapping[str, tuple[int, ...]] | None = None,
    threads: int | None = None,
    target: Target = "qnnpack",
) -> Quantized:
    """The int8 form of a float net whose inputs are like these.

    For targets other than QNNPACK the net says what their file does, see `qdq`. Raises ModelError for a net that cannot
    be quantized.
    """
    recipe = recipe or Recipe()
    shapes = input_shapes or net.input_shapes()
    original = prepare(net, {name: (1, *shape[1:]) for name, shape in shapes.items()})
    for_qnnpack = target == "qnnpack"
    choices, fine = plan(original), find_scores_layer(original) if for_qnnpack and recipe.fine_scores else None
    if fine is not None:
        choices = [chosen and layer not in fine[1] for layer, chosen in zip(original.layers, choices, strict=True)]
    sampled = min(len(images), images_that_fit(original, choices))
    calibration = calibrate(original, images, sampled, threads)
    if find_scores(original) is None:  # of no classes, which are one kind
        original, calibration = split_heads(original, calibration)
        choices = plan(original)
    graph = original
    dead, absorbed, split, added = 0, 0, 0, 0
    factors: dict[Blob, np.ndarray] = {}
    if recipe.dead_channels:
        graph, calibration, dead = remove_dead_channels(graph, calibration)
    if recipe.equalization:
        graph, calibration, factors = equalize(graph, calibration)
    if recipe.absorption:
        graph, calibration, absorbed = absorb_biases(graph, calibration)
    if factors or absorbed:
        calibration = dataclasses.replace(calibration, blobs=calibrate(graph, images, 0, threads).blobs)
    exact = None
    if recipe.exact_pixels and for_qnnpack:
        exact = put_on_steps(graph, calibration, stacked(_first(images, MEASURED_IMAGES)))
    if exact is not None:
        graph, calibration, choices = exact.graph, exact.calibration, [False, *choices]

    def ranges_of_blobs() -> dict[Blob, Range]:
        ranges = _ranges(graph, choices, calibration, recipe, fine is not None)
        return ranges if exact is None else ranges | {exact.blob: exact.range}

    ranges = ranges_of_blobs()
    if recipe.widening:
        steps, first = Scales(graph, choices, ranges).blobs, _first(images, MEASURED_IMAGES)
        graph, calibration, split, added = widen(graph, calibration, steps, first, recipe.widening, threads)
        ranges = ranges_of_blobs()
    elif recipe.splitting:
        steps = Scales(graph, choices, ranges).blobs
        graph, calibration, split = split_channels(graph, calibration, steps)
    importance = importances(graph, calibration)
    scales = Scales(graph, choices, ranges)
    layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen and layer.is_weighted]
    if for_qnnpack:
        scales.legalize({layer.output: Quantization.of_range(weight_range(layer.weight)).scale for layer in layers})
    else:
        scales.bound()
    if fine is not None and calibration.scores is not None:
        layer = next(layer for layer in layers if layer.output is fine[0].output)
        finest = scales.read(layer, layer.inputs[0]).scale * Quantization.of_range(weight_range(layer.weight)).scale
        if parts := parts_of_scores(calibration.scores, ranges[layer.output], MARGIN * finest):
            scales.parts[layer.output] = parts
    if recipe.simulates:
        before = {layer.output.name: layer for layer in original.weighted}
        limits = {layer.output: native_range(before[layer.output.name].weight) for layer in layers}
        writer = Writer(graph, scales) if for_qnnpack else QdqWriter(graph, scales)
        held = stacked(_first(images, sampled))
        weights = reconstruct(
            graph, choices, scales, calibration, importance, limits, recipe, held, threads, writer=writer
        )
    else:
        weights = {layer.output: Weights(_nearest(layer, scales, for_qnnpack), layer.bias) for layer in layers}
    result = functools.partial(
        Quantized,
        original=original,
        graph=graph,
        calibration=calibration,
        scales=scales,
        weights=weights,
        dead=dead,
        absorbed=absorbed,
        split=split,
        added=added,
        factors=factors,
    )
    if for_qnnpack:
        return result(assemble(graph, choices, scales, weights))
    net, written = assemble_qdq(graph, choices, scales, weights)
    return result(net, layout=QdqWriter.layout, layers=written)


def _first(images: Images, count: int) -> list[Feed]:
    return [image for image, _ in zip(images, range(count), strict=False)]


def _nearest(layer: Layer, scales: Scales, for_qnnpack: bool) -> QuantizedWeight | ChannelWeight:
    if for_qnnpack:
        return round_to_nearest(layer, scales.finest_weight_scale(layer))
    return round_channels(layer, scales.finest_channel_scales(layer), scales.coarsest_channel_scale(layer))


def _ranges(
    graph: Graph, choices: list[bool], calibration: Calibration, recipe: Recipe, fine_scores: bool
) -> dict[Blob, Range]:
    """Of every blob, as the recipe says; but the net's answers keep their extremes: the largest of them counts.

    With `mse`, the input, the scores of classes and what only a function of each value reads have measures of their
    own. fine_scores: whether the scores have steps for all of their range.
    """
    methods = dict.fromkeys(calibration.blobs, recipe.ranges) | dict.fromkeys(_answers(graph), "minmax")
    ranges = {blob: METHODS[method](calibration.blobs[blob]) for blob, method in methods.items()}
    for blob, function in functions_of_blobs(graph, choices).items() if recipe.ranges == "mse" else ():
        ranges[blob] = mean_square_error(calibration.blobs[blob], function)
    for layer in graph.layers if recipe.room else ():
        for blob in layer.outputs:
            if blob in ranges:
                clamp = Range(*clamp_of(layer))
                ranges[blob] = with_room(ranges[blob], clamp, calibration.blobs[blob].images)
    if recipe.ranges == "mse":
        if len(graph.inputs) == 1:
            ranges[graph.inputs[0]] = of_pixels(calibration.pixels)
        if calibration.scores is not None and (scores := find_scores(graph)) is not None:
            ranges[scores] = (whole_of_scores if fine_scores else of_scores)(calibration.scores)
    return ranges


def _answers(graph: Graph) -> set[Blob]:
    """Outputs of the net, and what they are made of behind the last weights."""
    blobs = {blob for blob in graph.outputs if not blob.is_constant}
    for layer in reversed(graph.layers):
        if not (layer.is_weighted or blobs.isdisjoint(layer.outputs)):
            blobs.update(layer.activations)
    return blobs
