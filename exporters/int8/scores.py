"""Scores of classes in more than 256 steps.

Two scores that are closer than a step tie, and the wrong one may win. So the layer that makes them is there twice, with
one weight: once for the lower part of their range and once, with a bias that is less by where the first part ends, for
the upper. Each saturates where the other begins, and their real values are added in float:

    score = dequantize(lower(score)) + dequantize(upper(score - edge))
"""

import numpy as np

from exporters.int8.calibration import find_scores
from exporters.int8.ranges import NEEDED_GAIN, divergence_of_scores
from exporters.int8.scales import STEPS, Part, Quantization, Range
from exporters.layers import Graph, Layer

EDGES = np.linspace(0.0, 0.95, 20)  # shares of the highest score, at which the range may be divided


def find_scores_layer(graph: Graph) -> tuple[Layer, list[Layer]] | None:
    """The layer whose scores of classes are the net's one output, before no softmax, and those that move them."""
    blob = find_scores(graph)
    if blob is None:
        return None
    start = next(index for index, layer in enumerate(graph.layers) if layer.output is blob)
    behind, reached = [], {blob}
    for layer in graph.layers[start + 1 :]:
        if not reached.isdisjoint(layer.inputs):
            behind.append(layer)
            reached.update(layer.outputs)
    layer = graph.layers[start]
    return None if layer.is_clamped or any(other.type == "Softmax" for other in behind) else (layer, behind)


def parts_of_scores(scores: np.ndarray, extent: Range, finest: float) -> tuple[Part, ...]:
    """The two parts of the range with which probabilities diverge least from those of these scores [n, C], if they
    diverge less than with the range in one; else none. finest: the smallest scale.
    """
    whole = Quantization.of_range(extent).at_least(finest)
    best: tuple[Part, ...] = ()
    least = NEEDED_GAIN * divergence_of_scores(scores, whole.dequantize(whole.quantize(scores)))
    for share in EDGES:
        lower = Quantization.of_range(Range(extent.low, extent.high * share)).at_least(finest)
        edge = lower.range.high
        if edge >= extent.high:
            break
        upper = Quantization(float(np.float32((extent.high - edge) / STEPS)), 0).at_least(finest)
        parts = (Part(0.0, lower), Part(edge, upper))
        rounded = parts[0].round(scores) + parts[1].round(scores)
        if (divergence := divergence_of_scores(scores, rounded)) < least:
            best, least = parts, divergence
    return best
