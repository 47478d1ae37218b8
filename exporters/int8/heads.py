"""Outputs of very different size in one layer at the end of a net, such as boxes in pixels beside scores, apart.

One scale of weights and one of values would be too coarse for the small ones: a layer for each run of channels, joined
as real values, computes the same with scales of their own.
"""

import dataclasses
import itertools

import numpy as np

from exporters.int8.calibration import Calibration, Samples
from exporters.int8.forms import lead_to_weights
from exporters.int8.statistics import Statistics
from exporters.layers import Blob, Graph, Layer, constant

LEAST_GAP = 8.0  # between the sizes of large and of small channels, as a ratio
MOST_RUNS = 12  # of channels of one kind
DEAD = 2.0**-12  # of the largest: a channel that says nothing


def split_heads(graph: Graph, calibration: Calibration) -> tuple[Graph, Calibration]:
    """The graph with such layers split, and the calibration with what is known of their parts."""
    graph, calibration = graph.copy(), calibration.copy()
    used = lead_to_weights(graph)
    for layer in graph.weighted:
        if layer.type != "Conv" or layer.group > 1 or layer.output in used:
            continue
        runs = find_runs(calibration.blobs[layer.output])
        if len(runs) > 1:
            _split(graph, calibration, layer, runs)
    return graph, calibration


def find_runs(seen: Statistics) -> list[slice]:
    """Neighbouring channels that are all large or all small, where there are two such kinds."""
    sizes = np.maximum(np.abs(seen.channel_low), np.abs(seen.channel_high)).astype(np.float64)
    whole = [slice(0, len(sizes))]
    alive = np.sort(sizes[sizes > DEAD * sizes.max(initial=0)])
    if len(alive) < 2:
        return whole
    ratios = alive[1:] / alive[:-1]
    if ratios.max() < LEAST_GAP:
        return whole
    is_small = (sizes <= alive[ratios.argmax()]) & (sizes > DEAD * sizes.max())
    starts = [0, *(np.flatnonzero(np.diff(is_small)) + 1).tolist(), len(sizes)]
    runs = [slice(*ends) for ends in itertools.pairwise(starts)]
    return runs if len(runs) <= MOST_RUNS else whole


def _split(graph: Graph, calibration: Calibration, layer: Layer, runs: list[slice]) -> None:
    whole, parts = layer.output, []
    for run in runs:
        shapes = [(shape[0], run.stop - run.start, *shape[2:]) for shape in whole.shapes]
        part = Blob((shapes[0], shapes[1]), name=f"{whole}/{run.start}-{run.stop - 1}")
        weights = [constant(layer.weight[run]), constant(layer.bias[run])]
        parts.append(dataclasses.replace(layer, inputs=[layer.inputs[0], *weights], outputs=[part], name=part.name,
                                         arguments={**layer.arguments}))  # fmt: skip
        calibration.blobs[part] = calibration.blobs[whole].of_channels(run)
        if (drawn := calibration.samples.get(whole)) is not None:
            calibration.samples[part] = Samples(drawn.positions, drawn.values[:, run], drawn.high[run])
    calibration.samples.pop(whole, None)
    extents = np.array([run.stop - run.start for run in runs], np.int32)
    side = constant(extents, f"{whole}/split_info")
    joined = Layer("Concat", [part.output for part in parts], [whole, side], {"axis": 1}, whole.name)
    graph.replace(layer, *parts, joined)
