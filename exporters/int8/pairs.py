"""Measuring an int8 net against a float net where both come from files, blob by blob."""

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from caffe2_models import Int8Tensor, Net
from caffe2_models.net import Node
from caffe2_models.tensors import TensorType
from exporters.int8.batching import batches, mixes_images
from exporters.int8.measurement import LayerError, as_float, extent

BATCH = 2  # images: all activations of both nets are kept at a time
ALIGNED_GAIN = 2.0  # of noise, from which a blob is taken to have channels that were scaled or shifted on purpose


class _Sums:
    """Running sums over the values of a blob in both nets, channel by channel."""

    def __init__(self) -> None:
        self.count, self.noise = 0, 0.0
        self.low, self.high = math.inf, -math.inf  # of the float net's
        self.moments = np.zeros((5, 0))  # [5, C] of the real, the int8, their squares and their product

    def add(self, real: np.ndarray, int8: np.ndarray) -> None:
        """Both [N, C, ...]."""
        self.low, self.high = min(self.low, float(real.min())), max(self.high, float(real.max()))
        shape = (len(real), int(np.prod(real.shape[1:2])), -1)
        x, y = (values.astype(np.float64).reshape(shape) for values in (real, int8))
        moments = [x.sum(axis=(0, 2)), y.sum(axis=(0, 2))]
        moments += [np.einsum("ncp,ncp->c", a, b) for a, b in ((x, x), (y, y), (x, y))]
        self.moments = self.moments + np.stack(moments) if self.count else np.stack(moments)
        self.count += x[:, 0].size
        self.noise += float(((x - y) ** 2).sum())

    @property
    def signal(self) -> float:
        return float(self.moments[2].sum())

    @property
    def noise_to_signal(self) -> float:
        return self.noise / self.signal if self.signal > 0 else float(self.noise > 0)

    @property
    def aligned_noise(self) -> float:
        """Noise to signal that is left after the best factor and shift of each channel of the int8 net."""
        real, int8, squares, int8_squares, products = self.moments
        variance = squares - real**2 / max(self.count, 1)
        covariance = products - real * int8 / max(self.count, 1)
        left = np.maximum(int8_squares - int8**2 / max(self.count, 1), 0) * np.maximum(variance, 0) - covariance**2
        with np.errstate(divide="ignore", invalid="ignore"):
            noise = np.where(covariance > 0, np.maximum(left, 0) * variance / covariance**2, variance)
        return float(np.minimum(noise, variance).clip(0).sum()) / self.signal if self.signal > 0 else 0.0

    @property
    def is_aligned(self) -> bool:
        """Whether alignment leaves so much less noise that the channels were meant to be otherwise."""
        return self.noise_to_signal >= ALIGNED_GAIN * max(self.aligned_noise, 1e-12)

    @property
    def left(self) -> float:
        """Noise to signal, of channels aligned where they need it."""
        return self.aligned_noise if self.is_aligned else self.noise_to_signal

    @property
    def cosine(self) -> float:
        norm = float(np.sqrt(self.signal * self.moments[3].sum()))
        return float(self.moments[4].sum()) / norm if norm > 0 else float(self.signal == self.moments[3].sum())


def pair_errors(
    net: Net, int8: Net, images: Iterable[np.ndarray], shape: tuple[int, ...], threads: int | None = None
) -> list[LayerError]:
    """As layer_errors, of two nets from files: of the int8 blobs that have their like in the float net, and outputs.

    shape: of the one input of both, for one image. The like of X_int8 is X, else it is the blob of the same name; rows
    have the int8 net's names. Raises ModelError for nets that do not take such an input.
    """
    types, int8_types = (one.infer_types(dict.fromkeys(one.inputs, shape)) for one in (net, int8))
    likes = _find_likes(net, types, int8, int8_types)
    sums = _summed(net, int8, likes, images, 1 if mixes_images(net, {net.inputs[0]: shape}) else BATCH, threads)
    writers = {name: node for node in int8.operators for name in node.outputs}
    return [
        _error(name, types[like].shape, int8_types[name], sums, writers, likes, int8, _original_range(net, like))
        for name, like in likes.items()
    ]


def _find_likes(
    net: Net, types: Mapping[str, TensorType], int8: Net, int8_types: Mapping[str, TensorType]
) -> dict[str, str]:
    """Blob of the int8 net -> its like in the float net, of those that are written once in either.

    Of the int8 net's real values, only outputs have one, where they are no int8 blob's: sums of parts, joined maps.
    """
    once, int8_once = _written_once(net), _written_once(int8)
    likes = {}
    for name in int8_once:
        for like in (name.removesuffix("_int8"), name):
            if like in once and _is_like(types[like], int8_types[name]):
                likes[name] = like
                break
    for name in int8.outputs:
        if name in once and name in int8_once and name not in likes.values():
            real, other = int8_types[name], types[name]
            if not real.is_quantized and real.is_exact and other.is_exact and real.shape == other.shape:
                likes[name] = name
    return likes


def _error(
    name: str,
    shape: tuple[int, ...],
    kind: TensorType,
    sums: Mapping[str, _Sums],
    writers: Mapping[str, Node],
    likes: Mapping[str, str],
    int8: Net,
    original_range: tuple[float, float] | None,
) -> LayerError:
    own, node = sums[name], writers[name]
    before = max((sums[x].left for x in _likes_before(node, likes, writers)), default=0.0)
    weight = _weight_of(node, int8)
    return LayerError(
        name=name,
        type=node.type,
        shape=shape,
        sqnr_db=float(-10 * np.log10(max(own.left, 1e-12))),
        cosine=own.cosine,
        noise=own.left,
        added=max(own.left - before, 0.0),
        activation_range=(own.low, own.high),
        covered_range=_covered(kind),
        original_weight_range=original_range,
        weight_range=extent(weight.dequantize()) if weight is not None else None,
        weight_scale=weight.scale if weight is not None else None,
        is_aligned=own.is_aligned,
    )


def _covered(kind: TensorType) -> tuple[float, float] | None:
    """From the lowest to the highest value that a byte stands for."""
    if not kind.is_quantized:
        return None
    scale, zero_point = kind.quantization()
    return -scale * zero_point, scale * (255 - zero_point)


def _summed(
    net: Net, int8: Net, likes: Mapping[str, str], images: Iterable[np.ndarray], size: int, threads: int | None
) -> dict[str, _Sums]:
    """The sums of every blob of the int8 net beside its like, over the images, so many at a time."""
    sums = {name: _Sums() for name in likes}
    first, second = net.session("onnxruntime", threads), int8.session("auto", threads)
    for batch in batches(images, size):
        real = first.run({net.inputs[0]: batch}, outputs=[*dict.fromkeys(likes.values())])
        quantized = second.run({int8.inputs[0]: batch}, outputs=list(likes))
        for name, like in likes.items():
            value = quantized[name]
            sums[name].add(real[like], as_float(value) if isinstance(value, Int8Tensor) else value)
    return sums


def _is_like(real: TensorType | None, int8: TensorType) -> bool:
    """Whether a float blob (NCHW) may be what an int8 one (NHWC) stands for."""
    if real is None or real.is_quantized or not int8.is_quantized or not (real.is_exact and int8.is_exact):
        return False
    shape = int8.shape
    return real.shape == ((shape[0], shape[3], *shape[1:3]) if len(shape) == 4 else shape)


def _written_once(net: Net) -> list[str]:
    """Blobs whose last value is their only one."""
    times = Counter(name for node in net.operators for name in node.outputs)
    return [name for name, count in times.items() if count == 1]


def _likes_before(node: Node, likes: Mapping[str, str], writers: Mapping[str, Node]) -> Iterator[str]:
    """The blobs with likes that an operator reads, through operators that write none."""
    seen: set[str] = set()
    names = [*node.inputs]
    while names:
        name = names.pop()
        if name in seen:
            continue
        seen.add(name)
        if name in likes:
            yield name
        elif name in writers:
            names += writers[name].inputs


def _weight_of(node: Node, net: Net) -> Int8Tensor | None:
    weight = net.parameters.get(node.inputs[1]) if len(node.inputs) > 1 else None
    return weight if isinstance(weight, Int8Tensor) else None


def _original_range(net: Net, name: str) -> tuple[float, float] | None:
    """Of the weights behind a float blob, through the activation functions that wrote it."""
    writers = {name: node for node in net.operators for name in node.outputs}
    node = writers.get(name)
    while node is not None:
        weight = net.parameters.get(node.inputs[1]) if len(node.inputs) > 1 else None
        if isinstance(weight, np.ndarray) and weight.ndim > 1:
            return extent(weight)
        before = writers.get(node.inputs[0]) if len(node.inputs) == 1 else None
        node = before if before is not None and before.index < node.index else None
    return None
