"""Pixels of images exactly on the input's steps.

Normalized bytes lie on steps of their own, a step apart in each channel, but zero is a step of a quantized blob, and
with most means lies between two of theirs: then each pixel is off by up to half a step. A scale and a shift for each
channel, in float, before the input is quantized, put them on the steps; the first layers' weights take both back. Only
what those layers pad with, zero, is off then.
"""

import math
from dataclasses import dataclass

import numpy as np

from exporters.int8.batching import Feed
from exporters.int8.calibration import Calibration
from exporters.int8.channels import Reader, find_readers
from exporters.int8.corrections import add_constants
from exporters.int8.scales import STEPS, Range
from exporters.int8.statistics import Statistics
from exporters.layers import Blob, Graph, Layer, constant

LEAST_LEVELS = 16  # of a channel, from which its steps are known
OFF_STEPS = 0.02  # of a step, by which pixels may be off theirs


@dataclass(frozen=True)
class Pixels:
    """Values that images have: step * (n + shift) for whole n; step and shift of each channel, float64 [C].

    low: the smallest n.
    """

    step: np.ndarray
    shift: np.ndarray
    low: int


def find_pixels(images: np.ndarray) -> Pixels | None:
    """Of images [N, C, H, W], if each channel has at most 256 steps; low is that of all channels."""
    found = [_steps_of(np.unique(images[:, channel]).astype(np.float64)) for channel in range(images.shape[1])]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    step, shift, lows, highs = (np.array(values) for values in zip(*known, strict=True))
    low, high = int(lows.min()), int(highs.max())
    return Pixels(step, shift, low) if low <= 0 <= high and high - low <= STEPS else None


def _steps_of(values: np.ndarray) -> tuple[float, float, int, int] | None:
    """(step, shift, smallest and largest n) of a channel's values, sorted."""
    gaps = np.diff(values)
    gaps = gaps[gaps > OFF_STEPS * gaps.max(initial=0)]
    if len(gaps) < LEAST_LEVELS:
        return None
    step = float(gaps.min())
    for _ in range(2):  # the second time from all of the values
        numbers = np.rint((values - values[0]) / step)
        step = float(np.polyfit(numbers, values, 1)[0])
    start = float(np.mean(values - numbers * step)) / step
    first = math.ceil(start - 0.5 - OFF_STEPS)  # the same of all channels whose zero is half way between two
    if numbers[-1] > STEPS or np.abs(values / step - numbers - start).max() > OFF_STEPS:
        return None
    return step, start - first, first, first + int(numbers[-1])


@dataclass(frozen=True)
class ExactInput:
    """A graph that begins with a layer to be left in float, its calibration, what that layer makes, in which range."""

    graph: Graph
    calibration: Calibration
    blob: Blob
    range: Range


def put_on_steps(graph: Graph, calibration: Calibration, images: Feed) -> ExactInput | None:
    """None where the one input is no image, the images' pixels are on no steps, or others than layers with weights read
    them.

    images: [N, C, H, W].
    """
    source = graph.inputs[0]
    if not (isinstance(images, np.ndarray) and source.is_image):
        return None
    graph, calibration = graph.copy(), calibration.copy()
    pixels, readers = find_pixels(images), find_readers(graph, source)
    if pixels is None or not readers or any(reader.layer.inputs[0] is not source for reader in readers):
        return None
    step = float(pixels.step.mean())
    factors, shifts = step / pixels.step, -step * pixels.shift
    target = Blob(source.known_shapes, name=f"{source}/on_steps")
    for reader in readers:
        _take_back(reader, factors, shifts)
        reader.layer.inputs[0] = target
    weight = constant(np.diag(factors).astype(np.float32)[:, :, None, None])  # a kernel of few groups would be slower
    layer = Layer("Conv", [source, weight, constant(shifts.astype(np.float32))], [target], {"kernel": 1}, target.name)
    graph.layers.insert(0, layer)
    along = (1, -1, 1, 1)
    calibration.blobs[target] = Statistics(len(factors))
    calibration.blobs[target].add((images * factors.reshape(along) + shifts.reshape(along)).astype(np.float32))
    return ExactInput(graph, calibration, target, Range(pixels.low * step, (pixels.low + STEPS) * step))


def _take_back(reader: Reader, factors: np.ndarray, shifts: np.ndarray) -> None:
    weight = reader.layer.weight.astype(np.float64).ravel()
    weight[reader.entries] /= factors[:, None]
    reader.layer.weight = weight.reshape(reader.layer.weight.shape).astype(np.float32)
    add_constants(reader, -shifts)
