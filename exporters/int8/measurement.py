"""Measuring an int8 net against the float net that it came from: layer by layer, and by what it answers."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from caffe2_common.progress import progress
from caffe2_models import Int8Tensor, Net
from exporters.int8.calibration import Images, batch_size, batches
from exporters.int8.forms import FORMS
from exporters.int8.quantizer import Quantized
from exporters.layers import write_net

BATCH = 8


@dataclass(frozen=True)
class LayerError:
    """One layer's int8 output against the float one.

    sqnr_db: signal to quantization noise, dB; cosine: of the two; noise: noise to signal; added: how much of it is
    not in any of the layer's inputs. Ranges are (low, high), real values: of the weight as it came, of the weight as
    it was quantized (after equalization), of the float activation, of what the 256 steps cover.
    """

    name: str
    type: str
    shape: tuple[int, ...]
    sqnr_db: float
    cosine: float
    noise: float
    added: float
    activation_range: tuple[float, float]
    covered_range: tuple[float, float]
    original_weight_range: tuple[float, float] | None
    weight_range: tuple[float, float] | None
    weight_scale: float | None


@dataclass
class _Sums:
    """Running sums over the values of a blob in both nets."""

    signal: float = 0.0
    noise: float = 0.0
    product: float = 0.0
    quantized: float = 0.0

    def add(self, real: np.ndarray, int8: np.ndarray) -> None:
        real, int8 = real.astype(np.float64).ravel(), int8.astype(np.float64).ravel()
        self.signal += float(real @ real)
        self.quantized += float(int8 @ int8)
        self.product += float(real @ int8)
        self.noise += float(((real - int8) ** 2).sum())

    @property
    def noise_to_signal(self) -> float:
        return self.noise / self.signal if self.signal > 0 else float(self.noise > 0)

    @property
    def cosine(self) -> float:
        norm = np.sqrt(self.signal * self.quantized)
        return self.product / norm if norm > 0 else float(self.signal == self.quantized)


@dataclass
class Answers:
    """What two nets answer on the same images. top-1 in percent; None where the images have no labels."""

    images: int = 0
    agreed: int = 0
    float_hits: int = 0
    int8_hits: int = 0
    labelled: bool = False

    @property
    def agreement(self) -> float:
        return 100 * self.agreed / max(self.images, 1)

    @property
    def float_top1(self) -> float | None:
        return 100 * self.float_hits / max(self.images, 1) if self.labelled else None

    @property
    def int8_top1(self) -> float | None:
        return 100 * self.int8_hits / max(self.images, 1) if self.labelled else None

    @property
    def drop(self) -> float:
        """Points of top-1 that were lost or, without labels, percent of the images that changed their class."""
        return self.float_top1 - self.int8_top1 if self.labelled else 100 - self.agreement


def layer_errors(result: Quantized, images: Iterable[np.ndarray], threads: int | None = None) -> list[LayerError]:
    """Of every layer that is computed in int8, in order; images: as many as shall be looked at."""
    graph, int8 = result.graph, result.net
    written = {name for node in int8.operators for name in node.outputs}
    layers = [layer for layer in graph.layers if layer.type in FORMS and f"{layer.output}_int8" in written]
    names = [layer.output.name for layer in layers]
    sums = {name: _Sums() for name in names}
    float_session = write_net(graph).session("onnxruntime", threads)
    int8_session = int8.session("auto", threads)
    for batch in batches(images, min(batch_size(graph), BATCH)):
        real = float_session.run({graph.inputs[0].name: batch}, outputs=names)
        quantized = int8_session.run({graph.inputs[0].name: batch}, outputs=[f"{name}_int8" for name in names])
        for name in names:
            sums[name].add(real[name], _as_float(quantized[f"{name}_int8"]))
    return list(_layer_errors(result, layers, sums))


def compare_answers(
    net: Net, int8: Net, images: Images, labels: np.ndarray | None, threads: int | None = None, what: str = "comparison"
) -> Answers:
    """Top-1 of both nets on all images. labels: int64 [n], indices of the nets' outputs, or None."""
    answers = Answers(labelled=labels is not None)
    first, second = net.session("auto", threads), int8.session("auto", threads)
    with progress(total=len(images), desc=what, unit="image") as bar:
        for batch in batches(images, BATCH):
            guesses = [_top1(session, batch) for session in (first, second)]
            if labels is not None:
                truth = labels[answers.images : answers.images + len(batch)]
                answers.float_hits += int((guesses[0] == truth).sum())
                answers.int8_hits += int((guesses[1] == truth).sum())
            answers.agreed += int((guesses[0] == guesses[1]).sum())
            answers.images += len(batch)
            bar.update(len(batch))
    return answers


def _top1(session, batch: np.ndarray) -> np.ndarray:
    name = session.net.outputs[0]
    value = session.run({session.net.inputs[0]: batch}, outputs=[name])[name]
    value = value.dequantize() if isinstance(value, Int8Tensor) else value
    return value.reshape(len(batch), -1).argmax(axis=1)


def _as_float(value: Int8Tensor) -> np.ndarray:
    real = value.dequantize()
    return real.transpose(0, 3, 1, 2) if real.ndim == 4 else real


def _layer_errors(result: Quantized, layers, sums: dict[str, _Sums]) -> Iterator[LayerError]:
    original = {layer.output: layer for layer in result.original.weighted}
    parameters = {node.outputs[0]: node for node in result.net.operators}
    for layer in layers:
        own = sums[layer.output.name]
        before = [sums[blob.name].noise_to_signal for blob in layer.inputs if blob.name in sums]
        statistics, scale = result.calibration.blobs[layer.output], result.scales[layer.output]
        weight = result.weights.get(layer.output)
        yield LayerError(
            name=layer.output.name,
            type=parameters[f"{layer.output}_int8"].type,
            shape=layer.output.shape,
            sqnr_db=float(-10 * np.log10(max(own.noise_to_signal, 1e-12))),
            cosine=own.cosine,
            noise=own.noise_to_signal,
            added=max(own.noise_to_signal - max(before, default=0.0), 0.0),
            activation_range=(statistics.low, statistics.high),
            covered_range=(scale.range.low, scale.range.high),
            original_weight_range=_extent(original[layer.output].weight) if layer.output in original else None,
            weight_range=_extent(layer.weight) if layer.is_weighted else None,
            weight_scale=weight.weight.quantization.scale if weight is not None else None,
        )


def _extent(weight: np.ndarray) -> tuple[float, float]:
    return float(weight.min()), float(weight.max())
