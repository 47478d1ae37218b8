"""Scale and zero point of every int8 blob: from its range, under what the operators and QNNPACK demand."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from caffe2_models.operators.registry import OutputScale
from exporters.int8.forms import FORMS
from exporters.int8.preparation import clamp_of
from exporters.layers import Blob, Graph, Layer

STEPS = 255
LARGEST_ZERO_POINT = 254  # QNNPACK refuses a ReLU whose one value is 255

# What QNNPACK accepts of (input scale / output scale), and of (input scale * weight scale / output scale).
ADD_RATIOS = (2.0**-14, 2.0**8)
POOL_RATIOS = (2.0**-8, 2.0**8)
LAYER_RATIOS = (2.0**-32, 1.0)

FINEST_SCALE = 2.0**-60  # of what is zero throughout, for one; products of two are normal numbers still
COARSEST_RATIO = 2.0**7  # half of what XNNPACK accepts of (input scale * weight scale / output scale)
FINEST_CHANNEL = 2.0**-30  # of weights that are zero throughout
MAX_BIAS = 2.0**30  # int32 with room for the accumulators
RESCALING_BITS = 7  # of the ratio of one operator that changes nothing but the scale
UNCLAMPED = (-math.inf, math.inf)
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
        scale = max(float(np.float32(max((high - low) / STEPS, -low / LARGEST_ZERO_POINT))), FINEST_SCALE)
        return cls(scale, int(np.clip(np.rint(-low / scale), 0, LARGEST_ZERO_POINT)))

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


@dataclass(frozen=True)
class Part:
    """One of the parts of a range that have steps of their own: what of the values lies above the edge, saturating.

    The values are the sum of what their parts stand for.
    """

    edge: float
    quantization: Quantization

    def round(self, values: np.ndarray) -> np.ndarray:
        """float32"""
        return self.quantization.dequantize(self.quantization.quantize(values - self.edge))


class Scales:
    """Quantization of the blobs of a graph.

    blobs: blob -> Quantization. wide: outputs of layers that must be made with a coarser scale than the blob has, and
    are brought to the blob's scale by an operator of their own. copies: (output of a layer, blob) -> Quantization,
    where the layer must read the blob with a coarser scale than the blob has. parts: of blobs that are made in parts,
    and are read in float only.
    """

    def __init__(self, graph: Graph, choices: list[bool], ranges: Mapping[Blob, Range]):
        """choices: which layers are int8 (`forms.plan`); ranges: blob -> Range, of every activation."""
        self.graph = graph
        self.layers = [layer for layer, chosen in zip(graph.layers, choices, strict=True) if chosen]
        self.wide: dict[Blob, Quantization] = {}
        self.copies: dict[tuple[Blob, Blob], Quantization] = {}
        self.parts: dict[Blob, tuple[Part, ...]] = {}
        self._rigid = False  # whether blobs keep their scales, and only copies get others
        self._class: dict[Blob, Blob] = {}
        self._fixed: set[Blob] = set()
        self._ranges = dict(ranges)
        self._clamps = {layer.output: _saturation(layer) for layer in self.layers}
        self._join()
        self.blobs = {blob: self._quantization(blob) for blob in self._ranges}

    def __getitem__(self, blob: Blob) -> Quantization:
        return self.blobs[blob]

    def read(self, layer: Layer, blob: Blob) -> Quantization:
        """How the layer reads one of its inputs."""
        if FORMS[layer.type].output is OutputScale.AS_INPUT:
            return self.blobs[layer.output]
        return self.copies.get((layer.output, blob), self.blobs[blob])

    def made(self, layer: Layer) -> Quantization:
        """How the layer makes its output; of parts, the one with the finest steps."""
        if parts := self.parts.get(layer.output):
            return min((part.quantization for part in parts), key=lambda quantization: quantization.scale)
        return self.wide.get(layer.output, self.blobs[layer.output])

    def finest_weight_scale(self, layer: Layer) -> float:
        """The smallest scale of its weight that QNNPACK accepts and that lets its bias fit into int32."""
        x, y = self.read(layer, layer.inputs[0]).scale, self.made(layer).scale
        return max(float(np.abs(layer.bias).max(initial=0)) / MAX_BIAS, LAYER_RATIOS[0] * y * MARGIN) / x

    def finest_channel_scales(self, layer: Layer) -> np.ndarray:
        """The smallest scales of its channels' weights with which the bias fits into int32, [O]."""
        x = self.read(layer, layer.inputs[0]).scale
        finest = np.maximum(np.abs(layer.bias) / MAX_BIAS / x, FINEST_CHANNEL)
        return np.minimum(finest, self.coarsest_channel_scale(layer)).astype(np.float32)

    def coarsest_channel_scale(self, layer: Layer) -> float:
        """The largest scale of a channel's weights: that of one whose outputs fill the range by a single step."""
        return COARSEST_RATIO * self.made(layer).scale / self.read(layer, layer.inputs[0]).scale

    def coarsest_weight_scale(self, layer: Layer) -> float:
        """The largest scale of its weight that QNNPACK accepts."""
        return self.made(layer).scale / self.read(layer, layer.inputs[0]).scale / MARGIN

    def bound(self) -> None:
        """Make outputs' scales coarser until none is so much finer than an input's that XNNPACK refuses the operator.

        Of layers with weights, the weights' scales are bounded instead.
        """
        for layer in self.layers:
            least = max((self.read(layer, blob).scale for blob in layer.activations), default=0.0) / COARSEST_RATIO
            if not layer.is_weighted and self.made(layer).scale < least:
                self._coarsen(layer.output, least)

    def legalize(self, weight_scales: Mapping[Blob, float]) -> None:
        """Make scales coarser until QNNPACK accepts every operator. weight_scales: output blob -> weight scale.

        Where that would go on forever, for what one layer needs spoils another, blobs are rescaled between layers.
        """
        initial = dict(self.blobs)
        if not self._settle(weight_scales):
            self.blobs, self.wide, self.copies, self._rigid = initial, {}, {}, True
            self._settle(weight_scales)

    def _settle(self, weight_scales: Mapping[Blob, float]) -> bool:
        """Whether every operator is accepted after some rounds of adjustments."""
        for _ in range(len(self.layers) + 1):
            if not any([self._legalize(layer, weight_scales.get(layer.output)) for layer in self.layers]):
                return True
        return False

    def _find(self, blob: Blob) -> Blob:
        while (parent := self._class.get(blob, blob)) is not blob:
            blob = parent
        return blob

    def _join(self) -> None:
        """Blobs that must be quantized alike share one range."""
        for layer in self.layers:
            output = FORMS[layer.type].output
            if output is OutputScale.PROBABILITY:
                self._fixed.add(layer.output)
            elif output is OutputScale.AS_INPUT and len(layer.activations) == 1:
                self._class[layer.output] = self._find(layer.inputs[0])
            elif output is OutputScale.AS_INPUT:
                self._join_inputs(layer)

    def _join_inputs(self, layer: Layer) -> None:
        roots = {self._find(blob): None for blob in layer.inputs}
        union = self._ranges[layer.inputs[0]]
        for root in roots:
            union = union | (PROBABILITY.range if root in self._fixed else self._ranges[root])
        self._ranges[layer.output] = union
        joined = [root for root in roots if root not in self._fixed and self._may_cover(root, union)]
        lows, highs = zip(UNCLAMPED, *map(self._held_ends, joined), strict=True)
        self._clamps[layer.output] = max(lows), min(highs)
        self._class.update((root, self._find(layer.output)) for root in joined)

    def _held_ends(self, root: Blob) -> tuple[float, float]:
        """The blob's clamp, as far as it is the ends of its range that clamp."""
        low, high = self._clamps.get(root, UNCLAMPED)
        own = self._ranges[root]
        return low if own.low <= low else -math.inf, high if own.high >= high else math.inf

    def _may_cover(self, root: Blob, wider: Range) -> bool:
        """Whether the blob stays clamped as it is when its steps cover a wider range."""
        low, high = self._held_ends(root)
        return low <= wider.low and wider.high <= high

    def _quantization(self, blob: Blob) -> Quantization:
        root = self._find(blob)
        return PROBABILITY if root in self._fixed else Quantization.of_range(self._ranges[root])

    def _coarsen(self, blob: Blob, scale: float) -> None:
        """Give a blob, and all that are quantized as it is, at least this scale."""
        root = self._find(blob)
        if self._is_bound(blob):
            self.wide[blob] = self.wide.get(blob, self.blobs[blob]).at_least(scale)
            return
        for other in self.blobs:
            if self._find(other) is root:
                self.blobs[other] = self.blobs[other].at_least(scale)

    def _is_bound(self, blob: Blob) -> bool:
        """Whether the blob cannot have a coarser scale."""
        root = self._find(blob)
        own = self.blobs[blob]
        return self._rigid or root in self._fixed or not self._may_cover(root, own.at_least(2 * own.scale).range)

    def _legalize(self, layer: Layer, weight_scale: float | None) -> bool:
        """Whether anything had to change."""
        y = self.made(layer).scale
        inputs = [(blob, self.read(layer, blob).scale) for blob in layer.activations]
        if weight_scale is not None:
            scale = max(weight_scale, self.finest_weight_scale(layer))
            return self._adjust(layer, [(blob, x * scale) for blob, x in inputs], y, LAYER_RATIOS)
        if layer.type == "Sum":
            return self._adjust(layer, inputs, y, ADD_RATIOS)
        if FORMS[layer.type].output is OutputScale.FREE:
            return self._adjust(layer, inputs, y, POOL_RATIOS)
        return False

    def _adjust(self, layer: Layer, inputs: list[tuple[Blob, float]], y: float, ratios: tuple[float, float]) -> bool:
        lowest, highest = ratios
        changed = False
        for blob, scale in inputs:
            ratio = np.float32(scale) / np.float32(y)
            if ratio >= highest:
                self._coarsen(layer.output, scale / highest * MARGIN)
                changed = True
            elif ratio < lowest:
                read = self.read(layer, blob)
                wanted = read.scale * lowest * y / scale * MARGIN
                if self._is_bound(blob):
                    self.copies[layer.output, blob] = read.at_least(wanted)
                else:
                    self._coarsen(blob, wanted)
                changed = True
        return changed


def rescaling(source: Quantization, target: Quantization) -> list[Quantization]:
    """What leads from one quantization to another, which is the last, at ratios that QNNPACK accepts.

    Those between have coarser steps than the finer end, and cover all of its range.
    """
    ratio = target.scale / source.scale
    count = max(math.ceil(abs(math.log2(ratio)) / RESCALING_BITS), 1)
    zero_point = source.zero_point if ratio > 1 else target.zero_point
    between = [source.scale * ratio ** (step / count) for step in range(1, count)]
    return [*(Quantization(float(np.float32(scale)), zero_point) for scale in between), target]


def _saturation(layer: Layer) -> tuple[float, float]:
    """The clamp of a layer's output, as far as no operator but the ends of the range sees to it."""
    low, high = clamp_of(layer)
    form = FORMS[layer.type]
    relu = form.type == "Int8Relu" or form.type_for(layer) == form.relu
    return -math.inf if relu else low, high
