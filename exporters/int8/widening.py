"""Copies of channels in places of their own: time is spent where it makes the answers' noise less.

As in `splitting`, n copies of a channel, shifted by parts of a step, have steps n times as fine together, and so have
the weights that they share. Here layers get more channels for them, as long as a budget of multiplications lasts: first
where copies lessen the answers' noise most for what they cost. What the rounding of a whole blob or weight does to the
answers is measured; between its channels the weights that read them tell, or how much they vary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from exporters.int8.batching import Feed
from exporters.int8.calibration import Calibration, Samples
from exporters.int8.channels import Reader, find_readers, importances
from exporters.int8.scales import Quantization
from exporters.int8.sensitivity import Sensitivity
from exporters.int8.splitting import Chain, allot, find_chains, free_places, gains_of_copies
from exporters.int8.weights import native_range
from exporters.layers import Blob, Graph, Layer

LANES = 8  # channels that kernels compute at a time: as many are added


def widen(
    graph: Graph,
    calibration: Calibration,
    steps: Mapping[Blob, Quantization],
    images: Sequence[Feed],
    budget: float,
    threads: int | None = None,
) -> tuple[Graph, Calibration, int, int]:
    """The graph, the calibration in step, how many dead channels have become copies, how many were added.

    images: by which noise is measured; budget: multiplications that may be added, as a share of those
    that there are. Widened blobs are others than before.
    """
    graph, calibration, steps = graph.copy(), calibration.copy(), dict(steps)
    known, chains = importances(graph, calibration), find_chains(graph, calibration)
    sensitivity = Sensitivity(graph, images, threads)
    plans = []
    for chain in chains:
        costs = np.zeros(chain.channels)
        for part in chain.layers:
            costs += _shares(known[part.output]) * sensitivity.to_rounding(part.output, steps[part.output])
        for reader in _layers_of(chain.readers):
            costs += _costs_of_weights(chain, reader, calibration, sensitivity)
        plans.append(_Plan(chain, costs, free_places(chain, calibration)))
    _spend(plans, {layer: multiplications(layer) for layer in graph.weighted}, budget)
    for plan in plans:
        first = plan.chain.channels
        copies = allot(np.pad(plan.costs, (0, plan.added)), [*plan.free, *range(first, first + plan.added)])
        chain = _append(graph, plan.chain, calibration, steps, plan.added) if plan.added else plan.chain
        chain.fill(copies, calibration, steps)
    return graph, calibration, sum(len(plan.free) for plan in plans), sum(plan.added for plan in plans)


def multiplications(layer: Layer) -> float:
    """Of a layer with weights, for one image."""
    side = layer.inputs[0] if layer.type == "ConvTranspose" else layer.output
    return float(layer.weight.size * math.prod(side.shape[2:]))


def _costs_of_weights(chain: Chain, reader: Layer, calibration: Calibration, sensitivity: Sensitivity) -> np.ndarray:
    """What the rounding of a reader's weights does to the answers, by the channels that they multiply, [C].

    Shared out among n copies, a weight has steps n times as fine.
    """
    last = chain.layers[-1]
    values = np.clip(calibration.samples[last.output].values, last.low, last.high)
    quantization = Quantization.of_range(native_range(reader.weight))
    error = quantization.dequantize(quantization.quantize(reader.weight)) - reader.weight
    means = np.repeat(values.mean(axis=0), error[0].size // chain.channels)
    bias = reader.bias - error.reshape(len(error), -1) @ means
    return _shares(values.var(axis=0)) * sensitivity.to_weights(reader, reader.weight + error, bias)


def _layers_of(readers: list[Reader]) -> list[Layer]:
    return list(dict.fromkeys(reader.layer for reader in readers))


def _shares(importance: np.ndarray) -> np.ndarray:
    return importance / max(float(importance.sum()), 1e-30)


class _Plan:
    """How many places a chain gets. gain: what the next `block` of them would gain."""

    def __init__(self, chain: Chain, costs: np.ndarray, free: list[int]):
        """costs: of each channel's rounding, [C]; free: places of dead channels."""
        self.chain, self.costs, self.free, self.added = chain, costs, free, 0
        self._left = costs.copy()
        self._left[free] = 0
        self._counts = np.ones(chain.channels)
        self._gain_of(len(free))
        self.gain = self._gain_of(self.block)

    @property
    def channels(self) -> int:
        return self.chain.channels + self.added

    @property
    def block(self) -> int:
        """Places that are added together."""
        return LANES - self.channels % LANES

    @property
    def widened(self) -> list[Layer]:
        """The layers that compute the more, the more channels there are: none where something lies between them."""
        direct = all(reader.layer.inputs[0] is self.chain.output for reader in self.chain.readers)
        return [*self.chain.layers, *_layers_of(self.chain.readers)] if direct else []

    def grow(self) -> None:
        self.added += self.block
        self.gain = self._gain_of(self.block)

    def _gain_of(self, places: int) -> float:
        gained = 0.0
        for _ in range(places):
            gains = gains_of_copies(self._left, self._counts)
            best = int(gains.argmax())
            gained += float(gains[best])
            self._counts[best] += 1
        return gained


def _spend(plans: list[_Plan], costs: dict[Layer, float], budget: float) -> None:
    """Let plans grow where they gain most for their multiplications. costs: those of each layer."""
    left = budget * sum(costs.values())
    candidates = [plan for plan in plans if plan.widened and plan.gain > 0]
    while candidates:
        shares = [plan.block / plan.channels for plan in candidates]
        before = [sum(costs[layer] for layer in plan.widened) for plan in candidates]
        prices = [share * cost for share, cost in zip(shares, before, strict=True)]
        best = max(range(len(candidates)), key=lambda index: candidates[index].gain / prices[index])
        plan = candidates[best]
        if prices[best] > left:
            candidates.remove(plan)
            continue
        left -= prices[best]
        for layer in plan.widened:
            costs[layer] *= 1 + shares[best]
        plan.grow()


def _append(graph: Graph, chain: Chain, calibration: Calibration, steps: dict[Blob, Quantization], added: int) -> Chain:
    """The chain with more channels, which are like its first and have no weight where they are read."""
    channels = chain.channels + added
    sources = np.where(np.arange(channels) < chain.channels, np.arange(channels), 0)
    for layer in _layers_of(chain.readers):
        weight = layer.weight.reshape(len(layer.bias), chain.channels, -1)
        wider = np.zeros((len(weight), channels, weight.shape[2]), np.float32)
        wider[:, : chain.channels] = weight
        layer.weight = wider.reshape(len(weight), -1, *layer.weight.shape[2:])
    for layer in chain.layers:
        layer.weight, layer.bias = layer.weight[sources], layer.bias[sources]
        if layer.is_depthwise or layer.group > 1:
            layer.arguments["group"] = channels
        old = layer.output
        new = Blob(old.shapes_with(lambda shape: (shape[0], channels, *shape[2:])), name=old.name)
        for other in graph.layers:
            other.inputs = [new if blob is old else blob for blob in other.inputs]
        layer.outputs = [new, *layer.outputs[1:]]
        calibration.blobs[new] = calibration.blobs.pop(old).of_channels(sources)
        drawn = calibration.samples.pop(old)
        calibration.samples[new] = Samples(drawn.positions, drawn.values[:, sources], drawn.high[sources])
        steps[new] = steps.pop(old)
    return Chain(chain.layers, find_readers(graph, chain.output) or [])
