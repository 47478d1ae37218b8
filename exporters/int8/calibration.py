"""Running the float graph over calibration images: statistics of every activation, samples of every layer."""

import copy
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from exporters.int8.batching import Feed, batches, feeds_of, images_in, mixes_images
from exporters.int8.sampling import Positions, apply_rows, draw_positions, read_inputs
from exporters.int8.statistics import Statistics
from exporters.layers import Blob, Graph, Layer, write_net

BATCH_BYTES = 1 << 27  # of a batch's activations
SAMPLES = 4096  # pixels of each layer, over all images
PIXELS = 1 << 16  # values of the input that are kept
SCORED = 256  # images whose scores are kept
HUGE = 1e30  # beyond what a layer makes


FLATTENING = ("Flatten", "Reshape", "Squeeze")


class Images(Protocol):
    """Calibration images: float32 [channels, height, width] each, in the same order every time.

    Of a net with several inputs, or one that is no image, each is a mapping from the inputs' names to arrays.
    """

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Feed]: ...


@dataclass
class Samples:
    """A layer's outputs before its clamp, float32 [S, O], at positions in the first images.

    high: the float net's clamp of each channel from above, [O].
    """

    positions: Positions
    values: np.ndarray
    high: np.ndarray


@dataclass
class Calibration:
    """What the images show of a graph: blob -> Statistics; output blob of a layer with weights -> Samples.

    Samples come from the first `sampled` images. pixels: of the inputs, float32 [PIXELS] at most; scores: of the
    classes of the first images, where the net has some (`find_scores`), float32 [n, C], before a softmax.
    """

    sampled: int
    blobs: dict[Blob, Statistics] = field(default_factory=dict)
    samples: dict[Blob, Samples] = field(default_factory=dict)
    pixels: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    scores: np.ndarray | None = None

    def copy(self) -> "Calibration":
        """The same with records of its own; the samples' values are shared (nobody changes one in place)."""
        blobs = {blob: copy.deepcopy(statistics) for blob, statistics in self.blobs.items()}
        samples = {blob: dataclasses.replace(drawn) for blob, drawn in self.samples.items()}
        return dataclasses.replace(self, blobs=blobs, samples=samples)


def calibrate(graph: Graph, images: Images, sampled: int, threads: int | None = None) -> Calibration:
    """One pass over all images; the first `sampled` of them give the samples."""
    session = write_net(graph).session("onnxruntime", threads)
    blobs = graph.activations
    result = Calibration(sampled, {blob: Statistics(_channels(blob.shape)) for blob in blobs})
    rng = np.random.default_rng(0)
    layers = [layer for layer in graph.weighted if layer.type != "ConvTranspose"] if sampled else []
    for layer in layers:
        positions = draw_positions(sampled, layer.output.shape, SAMPLES, rng)
        values = np.empty((len(positions.image), len(layer.bias)), np.float32)
        result.samples[layer.output] = Samples(positions, values, np.full(len(layer.bias), layer.high))
    start, pixels, scores, source = 0, [], [], find_scores(graph)
    names = [blob.name for blob in graph.inputs]
    each = max(PIXELS // (len(images) * len(names)), 1)
    with progress(total=len(images), desc="calibration", unit="image") as bar:
        for batch in batches(images, batch_size(graph)):
            feeds = feeds_of(names, batch)
            values = session.run(feeds, outputs=[blob.name for blob in blobs])
            for blob in blobs:
                result.blobs[blob].add(_of_images(_finite(graph, blob, values[blob.name]), blob.shape))
            for layer in layers if start < sampled else ():
                first_row = start * layer.output.shape[0]
                _sample(layer, values[layer.inputs[0].name], result.samples[layer.output], first_row)
            pixels += [image.ravel()[:: -(-image.size // each)].copy() for x in feeds.values() for image in x]
            count = images_in(batch)
            if source is not None and start < SCORED:
                scores.append(values[source.name].reshape(count, -1))
            start += count
            bar.update(count)
    result.pixels = np.concatenate(pixels)
    result.scores = np.concatenate(scores) if scores else None
    return result


def find_scores(graph: Graph) -> Blob | None:
    """The scores of classes that the net's one output is: rows [1, C] from a layer with weights, before a softmax."""
    if len(graph.outputs) != 1:
        return None
    writers, blob = graph.producers(), graph.outputs[0]
    while (layer := writers.get(blob)) is not None and not layer.is_weighted:
        if layer.type not in ("Softmax", *FLATTENING):
            return None
        blob = layer.inputs[0]
    classes = blob.shape[1] if len(blob.shape) in (2, 4) else 0
    return blob if layer is not None and classes > 1 and math.prod(blob.shape) == classes else None


def batch_size(graph: Graph) -> int:
    """Images in a batch whose activations together take about BATCH_BYTES; one where the graph mixes several."""
    if mixes_images(write_net(graph), {blob.name: blob.shape for blob in graph.inputs}):
        return 1
    bytes_per_image = 4 * sum(math.prod(blob.shape) for blob in graph.activations)
    return int(np.clip(BATCH_BYTES // max(bytes_per_image, 1), 1, 16))


def _of_images(value: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """[N, C, ...]; where one image makes several rows [R, C, ...], as [1, C, R, ...]."""
    return value if shape[:1] == (1,) or value.ndim < 2 else value.swapaxes(0, 1)[np.newaxis]


def _sample(layer: Layer, x: np.ndarray, samples: Samples, start: int) -> None:
    """Fill in the samples that lie in the rows from `start` on."""
    stop = start + len(x)
    chosen = np.flatnonzero((samples.positions.image >= start) & (samples.positions.image < stop))
    inputs = read_inputs(x, layer, samples.positions.of_images(start, stop))
    samples.values[chosen] = apply_rows(layer.rows, inputs) + layer.bias


def _finite(graph: Graph, blob: Blob, values: np.ndarray) -> np.ndarray:
    """The values; those that a mask puts out of a Softmax, infinite or next to it, are the others' extremes."""
    if values.dtype.kind != "f" or max(-values.min(initial=0), values.max(initial=0)) < HUGE:
        return values
    if np.isnan(values).any() or blob in graph.inputs or any(blob is layer.output for layer in graph.weighted):
        raise ModelError(f"{graph.name}: {blob} is not finite on the calibration images; is their preprocessing right?")
    seen = values[np.abs(values) < HUGE]
    return np.clip(values, seen.min(initial=0), seen.max(initial=0))


def _channels(shape: tuple[int, ...]) -> int:
    return shape[1] if len(shape) > 1 else 1
