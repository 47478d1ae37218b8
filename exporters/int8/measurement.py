"""Measuring an int8 net against the float net that it came from: layer by layer, and by what it answers."""

import itertools
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from caffe2_common.progress import progress
from caffe2_models import Int8Tensor, Net
from caffe2_models.model_files import ModelFile
from exporters.int8.batching import Feed, batches, feeds_of, images_in, mixes_images
from exporters.int8.calibration import Images, batch_size
from exporters.int8.forms import FORMS, plan
from exporters.int8.functions import functions_of_blobs
from exporters.int8.quantizer import Quantized
from exporters.int8.ranges import log_probabilities
from exporters.layers import Layer, write_net

BATCH = 8
KEPT_FROM = 0.5  # the threshold on scores, by which detections are counted
LEAST_PROBABILITY = 1 / 512  # half a step of an Int8Softmax, which takes what is less for zero


@dataclass(frozen=True)
class LayerError:
    """One layer's int8 output against the float one.

    sqnr_db: signal to quantization noise, dB; cosine: of the two; noise: noise to signal; added: how much of it is
    not in any of the layer's inputs. Ranges are (low, high), real values: of the weight as it came, of the weight as
    it was quantized (after equalization), of the float activation, of what the 256 steps cover. is_aligned: measured
    after the best factor and shift of each channel, for the int8 net has them otherwise on purpose (equalization,
    absorption).
    """

    name: str
    type: str
    shape: tuple[int, ...]
    sqnr_db: float
    cosine: float
    noise: float
    added: float
    activation_range: tuple[float, float]
    covered_range: tuple[float, float] | None  # none of real values
    original_weight_range: tuple[float, float] | None
    weight_range: tuple[float, float] | None
    weight_scale: float | None
    is_aligned: bool = False


@dataclass
class Errors:
    """Running sums over the values of a blob in both nets. largest: the largest difference."""

    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    quantized: float = 0.0
    largest: float = 0.0

    def add(self, real: np.ndarray, int8: np.ndarray) -> None:
        real, int8 = real.astype(np.float64).ravel(), int8.astype(np.float64).ravel()
        self.signal += float(real @ real)
        self.quantized += float(int8 @ int8)
        self.product += float(real @ int8)
        difference = real - int8
        self.noise += float(difference @ difference)
        self.largest = max(self.largest, float(np.abs(difference).max(initial=0)))

    @property
    def noise_to_signal(self) -> float:
        return self.noise / self.signal if self.signal > 0 else float(self.noise > 0)

    @property
    def sqnr_db(self) -> float:
        """Signal to quantization noise, dB."""
        return float(-10 * np.log10(max(self.noise_to_signal, 1e-12)))

    @property
    def cosine(self) -> float:
        norm = np.sqrt(self.signal * self.quantized)
        return self.product / norm if norm > 0 else float(self.signal == self.quantized)


@dataclass
class OutputErrors(Errors):
    """Of an output of the net, and of its scores: the channels all of whose values are from 0 to 1 in the float net.

    A detector's channels are those of an image, or of [N, boxes, channels] or [N, channels, boxes] what there are fewer
    of. Of other outputs all values have to be scores.
    """

    _axis: int | None = None
    _are_scores: np.ndarray = field(default_factory=lambda: np.ones(1, bool), compare=False)  # [channels]
    _kept: np.ndarray = field(
        default_factory=lambda: np.zeros((3, 1)), compare=False
    )  # float, int8, both; [3, channels]

    def add(self, real: np.ndarray, int8: np.ndarray) -> None:
        super().add(real, int8)
        if self._axis is None and real.ndim > 2:
            self._axis = 1 if real.ndim > 3 or real.shape[1] <= real.shape[2] else 2
            self._are_scores, self._kept = np.ones(real.shape[self._axis], bool), np.zeros((3, real.shape[self._axis]))
        channels = len(self._are_scores)
        if self._axis is not None and real.shape[self._axis] != channels:  # boxes, whose number differs
            self._are_scores[:] = False
            return
        moved = [x if self._axis is None else np.moveaxis(x, self._axis, 0) for x in (real, int8)]
        rows, int8_rows = (x.reshape(channels, -1) for x in moved)
        self._are_scores &= (rows.min(axis=1, initial=0) >= 0) & (rows.max(axis=1, initial=0) <= 1)
        kept = rows >= KEPT_FROM, int8_rows >= KEPT_FROM
        self._kept = self._kept + np.stack([(x != 0).sum(axis=1) for x in (*kept, kept[0] & kept[1])])

    @property
    def score_channels(self) -> tuple[int, int]:
        """(those of scores, all)"""
        return int(self._are_scores.sum()), len(self._are_scores)

    @property
    def kept(self) -> tuple[int, int, int]:
        """Scores of at least KEPT_FROM: in the float net, in the int8 net, in both."""
        in_float, in_int8, in_both = self._kept[:, self._are_scores].sum(axis=1).astype(int).tolist()
        return in_float, in_int8, in_both


@dataclass
class Answers:
    """What two nets answer on the same images, by all outputs; and by classes, where the first output has some.

    float_loss, int8_loss: cross-entropy of the labels, nats, summed; divergence: Kullback-Leibler, of the float net's
    probabilities from the int8 net's, nats, summed. top-1 in percent; None where the images have no labels. changes:
    (image's place, class of the float net, class of the int8 net) of each image whose class is another.
    """

    images: int = 0
    agreed: int = 0
    float_hits: int = 0
    int8_hits: int = 0
    labelled: bool = False
    float_loss: float = 0.0
    int8_loss: float = 0.0
    divergence: float = 0.0
    classifies: bool = True
    outputs: dict[str, OutputErrors] = field(default_factory=dict)
    changes: list[tuple[int, int, int]] = field(default_factory=list)

    @property
    def agreement(self) -> float:
        """Percent of the images that get the same class."""
        return 100 * self.agreed / max(self.images, 1)

    @property
    def float_top1(self) -> float | None:
        return 100 * self.float_hits / max(self.images, 1) if self.labelled else None

    @property
    def int8_top1(self) -> float | None:
        return 100 * self.int8_hits / max(self.images, 1) if self.labelled else None

    @property
    def cross_entropy_rise(self) -> float | None:
        """From float to int8, nats an image."""
        return (self.int8_loss - self.float_loss) / max(self.images, 1) if self.labelled else None

    @property
    def mean_divergence(self) -> float:
        """Nats an image."""
        return self.divergence / max(self.images, 1)

    @property
    def drop(self) -> float:
        """Points of top-1 that were lost; without labels, percent of the images that changed their class; for other
        answers than classes, noise to signal of the worst output, percent.
        """
        if self.labelled:
            return 100 * (self.float_hits - self.int8_hits) / max(self.images, 1)
        if self.classifies:
            return 100 - self.agreement
        return 100 * max((errors.noise_to_signal for errors in self.outputs.values()), default=0.0)

    def add(
        self, images: int, real: dict[str, np.ndarray], int8: dict[str, np.ndarray], labels: np.ndarray | None
    ) -> None:
        """What both nets' outputs are for a batch of so many images, with labels int64 [N] or None."""
        for name, value in real.items():
            if value.shape == int8[name].shape:  # else they are detections, of which each net finds its own number
                self.outputs.setdefault(name, OutputErrors()).add(value, int8[name])
        first, second = next(iter(real.values())), next(iter(int8.values()))
        self.images += images
        classes = first.size // images
        self.classifies &= first.shape == second.shape and first.shape[:2] == (images, classes) and classes > 1
        if not self.classifies:
            self.labelled = False
            return
        first, second = first.reshape(len(first), -1), second.reshape(len(first), -1)
        guesses = first.argmax(axis=1), second.argmax(axis=1)
        places = np.flatnonzero(guesses[0] != guesses[1]).tolist()
        before = self.images - images
        self.changes += [(before + place, int(guesses[0][place]), int(guesses[1][place])) for place in places]
        self.agreed += images - len(places)
        are_probabilities = bool((first >= 0).all() and np.allclose(first.sum(axis=1), 1, atol=1e-3))
        first, second = (log_answers(scores, are_probabilities) for scores in (first, second))
        self.divergence += float((np.exp(first) * (first - second)).sum())
        if labels is not None:
            self.float_hits += int((guesses[0] == labels).sum())
            self.int8_hits += int((guesses[1] == labels).sum())
            index = np.arange(len(labels))
            self.float_loss -= float(first[index, labels].sum())
            self.int8_loss -= float(second[index, labels].sum())


def log_answers(scores: np.ndarray, are_probabilities: bool) -> np.ndarray:
    """float64 [N, C], of scores before a softmax, or of probabilities as they are."""
    return log_probabilities(np.log(np.maximum(scores, LEAST_PROBABILITY)) if are_probabilities else scores)


def layer_errors(result: Quantized, images: Iterable[Feed], threads: int | None = None) -> list[LayerError]:
    """Of every layer that is computed in int8, in order; images: as many as shall be looked at.

    Of values that a net reads by a function of each alone (swish), what that makes of them.
    """
    graph, int8 = result.graph, result.net
    written = {name for node in int8.operators for name in node.outputs}
    likes = {layer: name for layer in graph.layers if (name := _name_in_int8(result, layer, written)) is not None}
    layers, names = list(likes), [layer.output.name for layer in likes]
    sums = {name: Errors() for name in names}
    float_session = write_net(graph).session("onnxruntime", threads)
    int8_session = _session(int8, result.layout, threads)
    functions = functions_of_blobs(graph, plan(graph))
    for batch in batches(images, min(batch_size(graph), BATCH)):
        feeds = feeds_of([blob.name for blob in graph.inputs], batch)
        real = float_session.run(feeds, outputs=names)
        quantized = int8_session.run(feeds, outputs=list(likes.values()))
        for layer, like in likes.items():
            both = real[layer.output.name], as_float(quantized[like], result.layout)
            function = functions.get(layer.output)
            sums[layer.output.name].add(*(both if function is None else map(function, both)))
    return list(_layer_errors(result, layers, sums))


Outputs = Callable[[Feed], dict[str, np.ndarray]]


def compare_answers(
    net: Net | ModelFile,
    int8: Net | ModelFile,
    images: Images,
    labels: np.ndarray | None,
    threads: int | None = None,
    what: str = "comparison",
    backend: str = "auto",
) -> Answers:
    """What both nets answer on all images. labels: int64 [n], indices of the nets' outputs, or None.

    backend: of the second net.
    """
    answers = Answers(labelled=labels is not None)
    like = net if isinstance(net, Net) else int8
    if not isinstance(like, Net):
        raise TypeError("one of both has to be a net")
    firsts = itertools.islice(images, 1)
    shapes = [{name: (1, *x.shape) for name, x in feeds_of(like.inputs, first).items()} for first in firsts]
    size = 1 if any(mixes_images(like, each) for each in shapes) else BATCH
    both = [outputs_of(net, like, threads), outputs_of(int8, like, threads, backend)]
    with progress(total=len(images), desc=what, unit="image") as bar:
        for batch in batches(images, size):
            count = images_in(batch)
            truth = None if labels is None else labels[answers.images : answers.images + count]
            answers.add(count, both[0](batch), both[1](batch), truth)
            bar.update(count)
    return answers


def outputs_of(net: Net | ModelFile, like: Net, threads: int | None = None, backend: str = "auto") -> Outputs:
    """A function from images, [N, C, H, W], to all outputs' values, named and laid out as those of the net `like`.

    backend: of a net's session.
    """
    if isinstance(net, ModelFile):
        return _file_outputs(net, like, threads)
    session = net.session(backend, threads)

    def outputs(batch: Feed) -> dict[str, np.ndarray]:
        values = session.run(feeds_of(net.inputs, batch), outputs=net.outputs)
        return {name: value.dequantize() if isinstance(value, Int8Tensor) else value for name, value in values.items()}

    return outputs


def _file_outputs(file: ModelFile, like: Net, threads: int | None) -> Outputs:
    """As many images at a time as the file is made for."""
    run = file.session(threads)
    dims = next(iter(file.inputs.values()))

    def outputs(batch: Feed) -> dict[str, np.ndarray]:
        count, feeds = images_in(batch), feeds_of(like.inputs, batch)
        size = dims[0] or count
        parts = []
        for start in range(0, count, size):
            named = zip(file.inputs, like.inputs, strict=True)
            parts.append(list(run({data: feeds[name][start : start + size] for data, name in named}).values()))
        wanted = like.infer_shapes({name: x.shape for name, x in feeds.items()})
        joined = [np.concatenate(values) for values in zip(*parts, strict=True)]
        return {name: _as_nchw(v, wanted[name][0]) for name, v in zip(like.outputs, joined, strict=True)}

    return outputs


def _as_nchw(value: np.ndarray, wanted: tuple[int, ...]) -> np.ndarray:
    """Of a file that stores images as N, H, W, C."""
    if value.ndim == 4 and (turned := value.transpose(0, 3, 1, 2)).shape == wanted:
        return turned
    return value


def _session(int8: Net, layout: str, threads: int | None) -> Any:
    """What computes a quantized net as the phone will; one in QDQ form but for float32 sums."""
    backend = "auto" if layout == "NHWC" else "onnxruntime"
    return int8.session(backend, threads, approximate=backend != "auto")


def _name_in_int8(result: Quantized, layer: Layer, written: Container[str]) -> str | None:
    """What the int8 net calls the output of a layer that it computes in int8; of one in parts, their sum in float."""
    if layer.output in result.scales.parts:
        image = f"{layer.output}_NHWC"
        return image if image in written else layer.output.name
    name = f"{layer.output}_int8"
    return name if layer.type in FORMS and name in written else None


def as_float(value: Int8Tensor | np.ndarray, layout: str = "NHWC") -> np.ndarray:
    """The real values, NCHW, of an image in this layout."""
    real = value.dequantize() if isinstance(value, Int8Tensor) else value
    return real.transpose(0, 3, 1, 2) if real.ndim == 4 and layout == "NHWC" else real


def _layer_errors(result: Quantized, layers, sums: dict[str, Errors]) -> Iterator[LayerError]:
    original = {layer.output.name: layer for layer in result.original.weighted}
    for layer in layers:
        own = sums[layer.output.name]
        before = [sums[blob.name].noise_to_signal for blob in layer.inputs if blob.name in sums]
        statistics, scale = result.calibration.blobs[layer.output], result.scales[layer.output]
        weight, made = result.weights.get(layer.output), original.get(layer.output.name)
        yield LayerError(
            name=layer.output.name,
            type=FORMS[layer.type].type_for(layer) if result.layout == "NHWC" else layer.type,
            shape=layer.output.shape,
            sqnr_db=own.sqnr_db,
            cosine=own.cosine,
            noise=own.noise_to_signal,
            added=max(own.noise_to_signal - max(before, default=0.0), 0.0),
            activation_range=(statistics.low, statistics.high),
            covered_range=(scale.range.low, scale.range.high),
            original_weight_range=extent(made.weight) if made is not None else None,
            weight_range=extent(layer.weight) if layer.is_weighted else None,
            weight_scale=weight.weight.scale if weight is not None else None,
        )


def extent(weight: np.ndarray) -> tuple[float, float]:
    """(lowest, highest)"""
    return float(weight.min()), float(weight.max())
