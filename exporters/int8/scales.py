"""Scale and zero point of every int8 blob: from its range, under what the operators and QNNPACK demand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from exporters.int8.forms import FORMS, Output
from exporters.int8.graph import Graph, Layer

STEPS = 255

# What QNNPACK accepts of (input scale / output scale), and of (input scale * weight scale / output scale).
ADD_RATIOS = (2.0**-14, 2.0**8)
POOL_RATIOS = (2.0**-8, 2.0**8)
LAYER_RATIOS = (2.0**-32, 1.0)
MARGIN = 1 + 2.0**-20  # keeps an adjusted ratio within its open end after rounding to float32


@dataclass(frozen=True)
class Range:
    """The real values that a blob's 256 steps cover; always holds zero."""

    low: float
    high: float

    def __or__(self, other: "Range") -> "Range":
        return Range(min(self.low, other.low), max(self.high, other.high))


@dataclass(frozen=True)
class Quantization:
    """real = scale * (q - zero_point), q in 0...255."""

    scale: float
    zero_point: int

    @classmethod
    def of_range(cls, extent: Range) -> "Quantization":
        """The steps that cover a range; zero is one of them exactly."""
        low, high = min(extent.low, 0.0), max(extent.high, 0.0)
        scale = float(np.float32((high - low) / STEPS))
        if not scale > float(np.finfo(np.float32).tiny):
            return cls(1.0, 0)
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, STEPS)))

    @property
    def range(self) -> Range:
        return Range(-self.zero_point * self.scale, (STEPS - self.zero_point) * self.scale)

    def at_least(self, scale: float) -> "Quantization":
        """The same with a scale no finer than this."""
        return self if self.scale >= scale else Quantization(float(np.float32(scale)), self.zero_point)

    def quantize(self, x: np.ndarray) -> np.ndarray:
        """uint8, ties to even."""
        return np.clip(np.rint(x / self.scale) + self.zero_point, 0, STEPS).astype(np.uint8)

    def dequantize(self, q: np.ndarray) -> np.ndarray:
        """float32"""
        return (q.astype(np.float32) - self.zero_point) * np.float32(self.scale)


PROBABILITY = Quantization(1 / 256, 0)


class Scales:
    """Quantization of the blobs of a graph.

    blobs: blob -> Quantization. wide: outputs of layers that must be made with a coarser scale than the blob has, and
    are brought to the blob's scale by an operator of their own.
    """

    def __init__(self, graph: Graph, choices: list[bool], ranges: Mapping[str, Range]):
        """choices: which layers are int8 (`forms.plan`); ranges: blob -> Range, of every activation."""
        self.graph = graph
        self.layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen]
        self.wide: dict[str, Quantization] = {}
        self._class: dict[str, str] = {}
        self._fixed: set[str] = set()
        self._ranges = dict(ranges)
        self._caps = {layer.output: layer.high for layer in graph.layers if layer.high < math.inf}
        self._join()
        self.blobs = {name: self._quantization(name) for name in self._ranges}

    def __getitem__(self, blob: str) -> Quantization:
        return self.blobs[blob]

    def legalize(self, weight_scales: Mapping[str, float]) -> None:
        """Make scales coarser until QNNPACK accepts every operator. weight_scales: output blob -> weight scale."""
        for _ in range(len(self.layers) + 1):
            if not any([self._legalize(layer, weight_scales.get(layer.output)) for layer in self.layers]):
                return

    def _find(self, name: str) -> str:
        while (parent := self._class.get(name, name)) != name:
            name = parent
        return name

    def _join(self) -> None:
        """Blobs that must be quantized alike share one range."""
        for layer in self.layers:
            output = FORMS[layer.type].output
            if output is Output.PROBABILITY:
                self._fixed.add(layer.output)
            elif output is Output.AS_INPUT and len(layer.inputs) == 1:
                self._class[layer.output] = self._find(layer.inputs[0])
            elif output is Output.AS_INPUT:
                self._join_inputs(layer)

    def _join_inputs(self, layer: Layer) -> None:
        roots = {self._find(name) for name in layer.inputs}
        union = self._ranges[layer.inputs[0]]
        for root in roots:
            union = union | (PROBABILITY.range if root in self._fixed else self._ranges[root])
        self._ranges[layer.output] = union
        for root in roots:
            cap = self._caps.get(root, math.inf)
            if root not in self._fixed and not self._ranges[root].high >= cap < union.high:
                self._class[root] = self._find(layer.output)
                self._ranges[layer.output] = union

    def _quantization(self, name: str) -> Quantization:
        root = self._find(name)
        return PROBABILITY if root in self._fixed else Quantization.of_range(self._ranges[root])

    def _coarsen(self, name: str, scale: float) -> None:
        """Give a blob, and all that are quantized as it is, at least this scale."""
        root = self._find(name)
        scale = scale * MARGIN
        if root in self._fixed or self._ranges[root].high >= self._caps.get(root, math.inf):
            self.wide[name] = self.wide.get(name, self.blobs[name]).at_least(scale)
            return
        for other in self.blobs:
            if self._find(other) == root:
                self.blobs[other] = self.blobs[other].at_least(scale)

    def _legalize(self, layer: Layer, weight_scale: float | None) -> bool:
        """Whether anything had to change."""
        y = self.wide.get(layer.output, self.blobs[layer.output]).scale
        inputs = [(name, self.blobs[name].scale) for name in layer.inputs]
        if weight_scale is not None:
            return self._adjust(layer, [(name, x * weight_scale) for name, x in inputs], y, LAYER_RATIOS)
        if layer.type == "Sum":
            return self._adjust(layer, inputs, y, ADD_RATIOS)
        if FORMS[layer.type].output is Output.FREE:
            return self._adjust(layer, inputs, y, POOL_RATIOS)
        return False

    def _adjust(self, layer: Layer, inputs: list[tuple[str, float]], y: float, ratios: tuple[float, float]) -> bool:
        lowest, highest = ratios
        changed = False
        for name, scale in inputs:
            if np.float32(scale) / np.float32(y) >= highest:
                self._coarsen(layer.output, scale / highest)
                changed = True
            elif np.float32(scale) / np.float32(y) < lowest:
                self._coarsen(name, self.blobs[name].scale * lowest * y / scale)
                changed = True
        return changed
