"""Layer after layer: weights and biases that bring the int8 net's activations nearest to the float net's.

The int8 net is run as far as it is written. So each layer is rounded for the inputs that it will see on the phone, and
its bias makes up for the shift that all errors before it have caused.
"""

import dataclasses
import math
import time
from collections.abc import Mapping

import numpy as np

from caffe2_models import Int8Tensor
from exporters.int8.assembly import Weights, Writer
from exporters.int8.batching import Feed, feeds_of
from exporters.int8.calibration import Calibration, Samples, batch_size
from exporters.int8.per_channel import (
    ChannelWeight,
    best_scales,
    round_channels,
    round_channels_with_compensation,
    round_to_scales,
    scales_of,
)
from exporters.int8.qdq import QdqWriter
from exporters.int8.recipe import Recipe
from exporters.int8.refitting import refit
from exporters.int8.sampling import apply_rows, read_inputs
from exporters.int8.scales import Quantization, Range, Scales
from exporters.int8.simulation import BATCH, Simulation
from exporters.int8.weights import (
    QuantizedWeight,
    best_range,
    estimate_covariance,
    round_to_nearest,
    round_with_compensation,
    split_inputs,
    weight_range,
)
from exporters.layers import Blob, Graph, Layer

BIAS_STEPS = 12  # of Newton's method, for the bias that gives the right mean behind a clamp
LEAST_ACTIVE = 0.05  # share of unclamped outputs below which the method's steps grow no further


def correct_bias(outputs: np.ndarray, target: np.ndarray, layer: Layer) -> np.ndarray:
    """What to add to outputs [S, O], before the clamp, so that behind it each channel has the target's mean.

    Before the clamp is the wrong place to compare: noise moves the mean of what a ReLU lets through.
    """
    wanted = np.clip(target, layer.low, layer.high).mean(axis=0, dtype=np.float64)
    shift = (target - outputs).mean(axis=0, dtype=np.float64)
    for _ in range(BIAS_STEPS if layer.is_clamped else 0):
        moved = outputs + shift.astype(np.float32)
        active = ((moved > layer.low) & (moved < layer.high)).mean(axis=0)
        means = np.clip(moved, layer.low, layer.high).mean(axis=0, dtype=np.float64)
        shift += (wanted - means) / np.maximum(active, LEAST_ACTIVE)
    return shift


def reconstruct(
    graph: Graph,
    choices: list[bool],
    scales: Scales,
    calibration: Calibration,
    importance: Mapping[Blob, np.ndarray],
    limits: Mapping[Blob, Range],
    recipe: Recipe,
    images: Feed,
    threads: int | None = None,
    writer: Writer | QdqWriter | None = None,
) -> dict[Blob, Weights]:
    """Output blob -> weights of every int8 layer that has some.

    importance: of each output channel's error; limits: range of the original weight, by output blob. images: those that
    the samples come from, [N, C, H, W], or the inputs by name. writer: of the net in the target's form (default:
    QNNPACK's). Layers whose turn comes after the recipe's seconds are rounded to the nearest step.
    """
    writer = writer or Writer(graph, scales)
    feeds = dict(feeds_of([blob.name for blob in graph.inputs], images))
    batch = min(batch_size(graph), BATCH)
    simulation = Simulation(writer.predict, writer.parameters, feeds, threads, writer.backend, batch)
    kind = _Rounding if isinstance(writer, Writer) else _ChannelRounding
    rounding = kind(scales, importance, limits, recipe)
    last_use = {blob: index for index, layer in enumerate(graph.layers) for blob in layer.inputs}
    weights: dict[Blob, Weights] = {}
    for index, (layer, chosen) in enumerate(zip(graph.layers, choices, strict=True)):
        if chosen and layer.is_weighted:
            source = writer.requantized(layer, layer.inputs[0])
            simulation.advance()
            for blob in [blob for blob, last in last_use.items() if last < index]:
                simulation.forget(writer.forms_of(blob))
            weights[layer.output] = rounding.of_layer(layer, simulation[source], calibration.samples.get(layer.output))
        writer.add(layer, chosen, weights.get(layer.output))
    return weights


class _Rounding:
    """Chooses the weights of one layer after the other."""

    layout = Writer.layout

    def __init__(self, scales: Scales, importance: Mapping, limits: Mapping, recipe: Recipe):
        self.scales, self.importance, self.limits, self.recipe = scales, importance, limits, recipe
        self._deadline = time.monotonic() + (math.inf if recipe.seconds is None else recipe.seconds)

    @property
    def _is_late(self) -> bool:
        return time.monotonic() > self._deadline

    def of_layer(self, layer: Layer, value: Int8Tensor, samples: Samples | None) -> Weights:
        """value: the layer's int8 input on all images."""
        if samples is None:
            return Weights(self._nearest(layer), layer.bias)
        data = value.data
        if data.ndim == 4 and self.layout == "NHWC":
            data = data.transpose(0, 3, 1, 2)
        inputs = read_inputs(data, layer, samples.positions, value.zero_point)
        inputs = (inputs.astype(np.float32) - np.float32(value.zero_point)) * np.float32(value.scale)
        target = np.minimum(samples.values, samples.high.astype(np.float32))
        if self.recipe.refitting and not self._is_late:
            layer = self._refitted(layer, inputs, target, samples.positions.image % 2 == 0)
        weight = self._round(layer, inputs)
        if not self.recipe.bias_correction:
            return Weights(weight, layer.bias)
        rows = weight.values.swapaxes(0, layer.weight_axis)
        outputs = apply_rows(rows.reshape(len(layer.bias), -1), inputs) + layer.bias
        return Weights(weight, layer.bias + correct_bias(outputs, target, layer))

    def _refitted(self, layer: Layer, inputs: np.ndarray, target: np.ndarray, fold: np.ndarray) -> Layer:
        """The layer with weights that mend what its inputs err by, as far as the clamp lets it through."""
        outputs = apply_rows(layer.rows, inputs) + layer.bias
        outputs += correct_bias(outputs, target, layer).astype(np.float32)
        residuals = np.clip(target, layer.low, layer.high) - np.clip(outputs, layer.low, layer.high)
        change = refit(inputs, residuals, fold)
        fitted = dataclasses.replace(layer, inputs=[*layer.inputs])
        fitted.weight = layer.weight + change.reshape(layer.weight.shape)
        return fitted

    def _round(self, layer: Layer, inputs: np.ndarray) -> QuantizedWeight | ChannelWeight:
        if self._is_late or not (self.recipe.clipping or self.recipe.compensation):
            return self._nearest(layer)
        return self._best(layer, estimate_covariance(split_inputs(inputs)))

    def _nearest(self, layer: Layer) -> QuantizedWeight | ChannelWeight:
        return round_to_nearest(layer, self.scales.finest_weight_scale(layer))

    def _best(self, layer: Layer, covariance: np.ndarray) -> QuantizedWeight | ChannelWeight:
        """Given the covariance of the layer's inputs."""
        finest = self.scales.finest_weight_scale(layer)
        quantization = Quantization.of_range(weight_range(layer.weight)).at_least(finest)
        if self.recipe.clipping:
            coarsest = self.scales.coarsest_weight_scale(layer)
            importance, limit = self.importance[layer.output], self.limits[layer.output]
            quantization = best_range(layer, covariance, importance, limit, finest, coarsest)
        if self.recipe.compensation:
            return round_with_compensation(layer, covariance, quantization)
        return QuantizedWeight(quantization.quantize(layer.weight), quantization)


class _ChannelRounding(_Rounding):
    """In steps of its own for each channel."""

    layout = QdqWriter.layout

    def _nearest(self, layer: Layer) -> ChannelWeight:
        return round_channels(
            layer, self.scales.finest_channel_scales(layer), self.scales.coarsest_channel_scale(layer)
        )

    def _best(self, layer: Layer, covariance: np.ndarray) -> ChannelWeight:
        finest = self.scales.finest_channel_scales(layer)
        coarsest = self.scales.coarsest_channel_scale(layer)
        scales = scales_of(layer, finest, coarsest)
        if self.recipe.clipping:
            grid = Quantization.of_range(self.limits[layer.output]).scale
            scales = best_scales(layer, covariance, finest, grid, coarsest)
        if self.recipe.compensation:
            return round_channels_with_compensation(layer, covariance, scales)
        return round_to_scales(layer, scales)
