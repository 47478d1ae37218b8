"""Layer after layer: weights and biases that bring the int8 net's activations nearest to the float net's.

The int8 net is run as far as it is written. So each layer is rounded for the inputs that it will see on the phone, and
its bias makes up for the shift that all errors before it have caused.
"""

import math
import time

import numpy as np

from exporters.int8.assembly import Writer
from exporters.int8.calibration import Samples
from exporters.int8.graph import Graph, Layer
from exporters.int8.sampling import apply_rows, read_inputs
from exporters.int8.scales import Quantization, Range, Scales
from exporters.int8.simulation import Simulation
from exporters.int8.weights import (
    QuantizedWeight,
    best_range,
    estimate_covariance,
    round_to_nearest,
    round_with_compensation,
    split_inputs,
    weight_range,
)

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


class Reconstruction:
    """Chooses the weights of one layer after the other, as `assemble` asks for them.

    limits: output blob -> range of the original weight. Layers whose turn comes after the recipe's seconds are
    rounded to the nearest step.
    """

    def __init__(self, graph, scales, samples, importance, limits, recipe, feeds, threads=None):
        self.graph: Graph = graph
        self.scales: Scales = scales
        self.samples: dict[str, Samples] = samples
        self.importance: dict[str, np.ndarray] = importance
        self.limits: dict[str, Range] = limits
        self.recipe = recipe
        self.feeds, self.threads = feeds, threads
        self._deadline = time.monotonic() + (math.inf if recipe.seconds is None else recipe.seconds)
        self._simulation: Simulation | None = None
        self._last_use = {name: index for index, layer in enumerate(graph.layers) for name in layer.inputs}

    def __call__(self, writer: Writer, layer: Layer, source: str) -> tuple[QuantizedWeight, np.ndarray]:
        """The layer's weight and bias, given the net as it is written up to the layer's int8 input."""
        if self._simulation is None:
            self._simulation = Simulation(writer.predict, writer.parameters, self.feeds, self.threads)
        self._simulation.advance()
        self._forget(writer, layer)
        if layer.output not in self.samples:
            return round_to_nearest(layer, self.scales.finest_weight_scale(layer)), layer.bias
        samples = self.samples[layer.output]
        value = self._simulation[source]
        data = value.data.transpose(0, 3, 1, 2) if value.data.ndim == 4 else value.data
        inputs = read_inputs(data, layer, self.graph, samples.positions, value.zero_point)
        inputs = (inputs.astype(np.float32) - np.float32(value.zero_point)) * np.float32(value.scale)
        weight = self._round(layer, inputs)
        if not self.recipe.bias_correction:
            return weight, layer.bias
        rows = weight.values.swapaxes(0, 1) if layer.type == "ConvTranspose" else weight.values
        outputs = apply_rows(rows.reshape(len(layer.bias), -1), inputs) + layer.bias
        target = np.minimum(samples.values, samples.high.astype(np.float32))
        return weight, layer.bias + correct_bias(outputs, target, layer)

    def _round(self, layer: Layer, inputs: np.ndarray) -> QuantizedWeight:
        finest = self.scales.finest_weight_scale(layer)
        if time.monotonic() > self._deadline or not (self.recipe.clipping or self.recipe.compensation):
            return round_to_nearest(layer, finest)
        covariance = estimate_covariance(split_inputs(inputs))
        quantization = Quantization.of_range(weight_range(layer.weight)).at_least(finest)
        if self.recipe.clipping:
            coarsest = self.scales.coarsest_weight_scale(layer)
            importance, limit = self.importance[layer.output], self.limits[layer.output]
            quantization = best_range(layer, covariance, importance, limit, finest, coarsest)
        if self.recipe.compensation:
            return round_with_compensation(layer, covariance, quantization)
        return QuantizedWeight(quantization.quantize(layer.weight), quantization)

    def _forget(self, writer: Writer, layer: Layer) -> None:
        now = self.graph.layers.index(layer)
        for name, last in self._last_use.items():
            if last < now:
                self._simulation.forget(writer.forms_of(name))
