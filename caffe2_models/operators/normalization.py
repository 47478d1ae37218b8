"""Normalizations, softmax and reductions, float32."""

import math
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_models.operators.checks import canonical_axis, check_same_type, flattened
from caffe2_models.operators.convolution import from_nchw, image_shape, to_nchw
from caffe2_models.operators.elementwise import SameType
from caffe2_models.operators.registry import FLOATS, ROW_ARGUMENTS, Operator, operator
from caffe2_models.tensors import TensorType


def channel_shape(rank: int, order: str) -> tuple[int, ...]:
    """The shape that lays a vector along the channels of a blob of this rank."""
    return (-1,) if order == "NHWC" else (-1, *[1] * (rank - 2))


def check_channel_vectors(x: TensorType, order: str, *vectors: TensorType) -> None:
    if len(x.shape) < 2:
        raise ModelError(f"{list(x.shape)} has no channels")
    channels = x.shape[-1 if order == "NHWC" else 1]
    for vector in vectors:
        if vector.size != channels:
            raise ModelError(f"{vector.size} values for {channels} channels")


@operator("SpatialBN")
@dataclass(frozen=True)
class SpatialBN(Operator):
    """Batch normalization with the recorded mean and variance."""

    is_test: bool = False
    epsilon: float = 1e-5
    order: str = "NCHW"

    parameters = ("s", "b", "rm", "riv")
    carries_order = True

    def infer(self, x, scale, bias, mean, variance):
        if not self.is_test:
            raise ModelError("SpatialBN without is_test=1 trains; only inference is supported")
        check_channel_vectors(x, self.order, scale, bias, mean, variance)
        return x.with_shape(x.shape)

    def factors(self, *vectors):
        """(factor, term) of each channel"""
        scale, bias, mean, variance = (vector.ravel() for vector in vectors)
        alpha = scale / np.sqrt(variance + np.float32(self.epsilon))
        return alpha, bias - alpha * mean

    def compute(self, x, *vectors):
        alpha, beta = self.factors(*vectors)
        shape = channel_shape(x.ndim, self.order)
        return x * alpha.reshape(shape) + beta.reshape(shape)

    def lower(self, graph, x, *vectors):
        vectors = [v if len(v.shape) == 1 else graph.add("Reshape", v, graph.ints([-1])) for v in vectors]
        if self.order == "NCHW":
            return graph.add("BatchNormalization", x, *vectors, epsilon=self.epsilon)
        y = graph.add("BatchNormalization", graph.to_nchw(x), *vectors, epsilon=self.epsilon)
        return graph.to_nhwc(y)


@operator("AffineChannel")
@dataclass(frozen=True)
class AffineChannel(Operator):
    order: str = "NCHW"

    def infer(self, x, scale, bias):
        check_channel_vectors(x, self.order, scale, bias)
        return x.with_shape(x.shape)

    def factors(self, scale, bias):
        """(factor, term) of each channel"""
        return scale.ravel(), bias.ravel()

    def compute(self, x, scale, bias):
        shape = channel_shape(x.ndim, self.order)
        return x * scale.reshape(shape) + bias.reshape(shape)

    def lower(self, graph, x, scale, bias):
        shape = graph.ints(channel_shape(len(x.shape), self.order))
        return graph.add(
            "Add", graph.add("Mul", x, graph.add("Reshape", scale, shape)), graph.add("Reshape", bias, shape)
        )


@operator("InstanceNorm")
@dataclass(frozen=True)
class InstanceNorm(Operator):
    """Each image and channel to zero mean and unit variance; outputs 2 and 3 are mean and 1 / deviation."""

    epsilon: float = 1e-5
    order: str = "NCHW"

    parameters = ("s", "b")
    carries_order = True

    def infer(self, x, scale, bias):
        check_channel_vectors(x, self.order, scale, bias)
        moments = TensorType((x.shape[0], scale.size), x.dtype)
        return x.with_shape(x.shape), moments, moments

    def compute(self, x, scale, bias):
        axes = tuple(range(2, x.ndim)) if self.order == "NCHW" else tuple(range(1, x.ndim - 1))
        mean = x.mean(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
        variance = x.var(axis=axes, keepdims=True, dtype=np.float64).astype(np.float32)
        inverse = np.float32(1) / np.sqrt(variance + np.float32(self.epsilon))
        shape = channel_shape(x.ndim, self.order)
        y = (x - mean) * inverse * scale.reshape(shape) + bias.reshape(shape)
        return y, mean.reshape(x.shape[0], -1), inverse.reshape(x.shape[0], -1)

    def lower(self, graph, x, scale, bias):
        image = x if self.order == "NCHW" else graph.to_nchw(x)
        y = graph.add("InstanceNormalization", image, scale, bias, epsilon=self.epsilon)
        rank = len(x.shape)
        axes = range(2, rank) if self.order == "NCHW" else range(1, rank - 1)
        mean, deviation = graph.moments(x, tuple(axes), self.epsilon, x.shape[0], scale.type.size)
        return y if self.order == "NCHW" else graph.to_nhwc(y), mean, graph.add("Reciprocal", deviation)


@operator("LayerNorm")
@dataclass(frozen=True)
class LayerNorm(Operator):
    """What lies from `axis` on to zero mean and unit variance; outputs 2 and 3 are mean and deviation."""

    axis: int = 1
    epsilon: float = 1e-5
    elementwise_affine: bool = False

    parameters = ("s", "b")
    side_outputs = ("mean", "std")

    def infer(self, x, scale=None, bias=None):
        axis = canonical_axis(self.axis, len(x.shape))
        if self.elementwise_affine and (scale is None or bias is None):
            raise ModelError("elementwise_affine goes with a scale and a bias")
        for vector in (scale, bias):
            if vector is not None and vector.size != math.prod(x.shape[axis:]):
                raise ModelError(f"{vector.size} values for {list(x.shape[axis:])}")
        moments = TensorType((*x.shape[:axis], 1), x.dtype)
        return x.with_shape(x.shape), moments, moments

    def compute(self, x, scale=None, bias=None):
        axis = canonical_axis(self.axis, x.ndim)
        rows = x.reshape(flattened(x.shape, axis))
        mean = rows.mean(axis=1, keepdims=True)
        variance = (rows * rows).mean(axis=1, keepdims=True) - mean * mean  # less exact, but Caffe2's way
        deviation = np.sqrt(variance + np.float32(self.epsilon))
        inverse = np.float32(1) / deviation
        y = rows * inverse - mean * inverse
        if self.elementwise_affine:
            y = y * scale.ravel() + bias.ravel()
        moments = (*x.shape[:axis], 1)
        return y.reshape(x.shape), mean.reshape(moments), deviation.reshape(moments)

    def lower(self, graph, x, scale=None, bias=None):
        axis = canonical_axis(self.axis, len(x.shape))
        if self.elementwise_affine:
            shape = graph.ints(x.shape[axis:])
            scale, bias = graph.add("Reshape", scale, shape), graph.add("Reshape", bias, shape)
        else:
            scale, bias = graph.constant(np.ones(x.shape[axis:], np.float32)), None
        y = graph.add("LayerNormalization", x, scale, bias, axis=axis, epsilon=self.epsilon)
        axes = tuple(range(axis, len(x.shape)))
        return y, *graph.moments(x, axes, self.epsilon, *x.shape[:axis], 1)


@operator("LRN")
@dataclass(frozen=True)
class LRN(Operator):
    """Local response normalization across `size` neighbouring channels.

    Output 2 is the divisor before it is raised to beta.
    """

    size: int = 0
    alpha: float = 0.0
    beta: float = 0.0
    bias: float = 1.0
    order: str = "NCHW"

    side_outputs = ("scale",)
    carries_order = True

    def infer(self, x):
        if self.size < 1 or self.size % 2 == 0 or len(x.shape) != 4:
            raise ModelError(f"LRN over {self.size} channels of {list(x.shape)} (size must be odd, the blob an image)")
        return x.with_shape(x.shape), x.with_shape(x.shape)

    def compute(self, x):
        image, half = to_nchw(x, self.order), self.size // 2
        squares, total = image * image, np.zeros_like(image)
        for shift in range(-half, half + 1):
            kept = max(image.shape[1] - abs(shift), 0)
            total[:, max(-shift, 0) :][:, :kept] += squares[:, max(shift, 0) :][:, :kept]
        scale = np.float32(self.bias) + np.float32(self.alpha / self.size) * total
        y = image * np.power(scale, np.float32(-self.beta))
        return from_nchw(y, self.order), from_nchw(scale, self.order)

    def lower(self, graph, x):
        image = x if self.order == "NCHW" else graph.to_nchw(x)
        y = graph.add("LRN", image, size=self.size, alpha=self.alpha, beta=self.beta, bias=self.bias)
        channels = np.arange(image_shape(x.type, self.order)[1])
        near = abs(channels[:, None] - channels) <= self.size // 2
        band = graph.constant(near[..., None, None] * self.alpha / self.size, np.float32)
        total = graph.add("Conv", graph.add("Mul", image, image), band)
        scale = graph.add("Add", total, graph.constant(np.float32(self.bias)))
        return (y, scale) if self.order == "NCHW" else (graph.to_nhwc(y), graph.to_nhwc(scale))

    def macs(self, x):
        return x.size * self.size


@operator("Normalize")
@dataclass(frozen=True)
class Normalize(SameType):
    """Unit L2 norm along `axis`."""

    axis: int = -1

    epsilon = np.float32(1e-12)

    def infer(self, x):
        canonical_axis(self.axis, len(x.shape))
        return super().infer(x)

    def compute(self, x):
        return x / np.maximum(np.sqrt((x * x).sum(axis=self.axis, keepdims=True)), self.epsilon)

    def lower(self, graph, x):
        norm = graph.add("ReduceL2", x, axes=[self.axis], keepdims=1)
        return graph.add("Div", x, graph.add("Max", norm, graph.constant(self.epsilon)))


PACKET = 4  # floats that Eigen adds at a time, on x86-64


def row_sums(rows: np.ndarray) -> np.ndarray:
    """Sums of the rows of float32 [N, D], rounded as Eigen rounds them in Caffe2 1.8.1.

    It adds packets from the first aligned address on, two at a time, then what lies before and behind them: equal
    rows may have sums that differ in the last bit, and so come in an order where detectors rank them.
    """
    count, size = rows.shape
    sums = np.zeros(count, np.float32)
    start_of = -np.arange(count) * size % PACKET
    for start in np.unique(start_of):
        some = rows[start_of == start].T
        packets = max(size - int(start), 0) // PACKET
        if not packets:
            sums[start_of == start] = _in_order(some)
            continue
        end = int(start) + packets * PACKET
        body = some[start:end].reshape(packets, PACKET, -1)
        total = body[0]
        if packets > 1:
            pairs = packets // 2 * 2
            total = _in_order(body[0:pairs:2]) + _in_order(body[1:pairs:2])
            total = total + body[-1] if packets % 2 else total
        across = (total[0] + total[2]) + (total[1] + total[3])
        sums[start_of == start] = _in_order(np.concatenate([across[None], some[:start], some[end:]]))
    return sums


def _in_order(terms: np.ndarray) -> np.ndarray:
    """The sum along the first axis, one term after the other."""
    return np.add.accumulate(terms, axis=0)[-1] if len(terms) else np.zeros(terms.shape[1:], np.float32)


def softmax(rows: np.ndarray) -> np.ndarray:
    """Softmax of each row."""
    shifted = rows - rows.max(axis=1, keepdims=True, initial=-np.inf)
    powers = np.exp(shifted.astype(np.float64)).astype(np.float32)
    return powers * (np.float32(1) / row_sums(powers))[:, None]


@operator("Softmax")
@dataclass(frozen=True)
class Softmax(SameType):
    """Softmax over all that lies from `axis` on, taken as one row."""

    axis: int = 1

    carries_order = True
    idle_arguments = ROW_ARGUMENTS

    def infer(self, x):
        canonical_axis(self.axis, len(x.shape))
        return super().infer(x)

    def compute(self, x):
        return softmax(x.reshape(flattened(x.shape, canonical_axis(self.axis, x.ndim)))).reshape(x.shape)

    def lower(self, graph, x):
        axis = canonical_axis(self.axis, len(x.shape))
        if axis == len(x.shape) - 1:
            return graph.add("Softmax", x, axis=axis)
        y = graph.add("Softmax", graph.add("Flatten", x, axis=axis), axis=1)
        return graph.add("Reshape", y, graph.ints(x.shape))


@operator("GroupNorm")
@dataclass(frozen=True)
class GroupNorm(Operator):
    """Each image's channels, in groups, to zero mean and unit variance; outputs 2 and 3 are mean and 1 / deviation."""

    group: int = 32
    epsilon: float = 1e-5
    order: str = "NCHW"

    def infer(self, x, scale, bias):
        check_channel_vectors(x, self.order, scale, bias)
        if self.group < 1 or scale.size % self.group or not x.size:
            raise ModelError(f"channels of {list(x.shape)} do not divide into {self.group} groups")
        moments = x.with_shape((x.shape[0], self.group))
        return x.with_shape(x.shape), moments, moments

    def compute(self, x, scale, bias):
        image = x if self.order == "NCHW" else np.moveaxis(x, -1, 1)
        groups = image.reshape(x.shape[0], self.group, -1)
        mean = groups.mean(axis=2, keepdims=True, dtype=np.float64)
        inverse = 1 / np.sqrt(groups.var(axis=2, keepdims=True, dtype=np.float64) + self.epsilon)
        shape = channel_shape(x.ndim, "NCHW")
        y = ((groups - mean) * inverse).astype(np.float32).reshape(image.shape)
        y = y * scale.reshape(shape) + bias.reshape(shape)
        y = y if self.order == "NCHW" else np.ascontiguousarray(np.moveaxis(y, 1, -1))
        return y, mean[..., 0].astype(np.float32), inverse[..., 0].astype(np.float32)

    def lower(self, graph, x, scale, bias):
        rank, groups = len(x.shape), graph.ints([x.shape[0], self.group, -1])
        to_front, to_back = (0, rank - 1, *range(1, rank - 1)), (0, *range(2, rank), 1)
        image = x if self.order == "NCHW" else graph.add("Transpose", x, perm=to_front)
        rows = graph.add("Reshape", image, groups)
        ones, zeros = graph.constant(np.ones(self.group, np.float32)), graph.constant(np.zeros(self.group, np.float32))
        y = graph.add("InstanceNormalization", rows, ones, zeros, epsilon=self.epsilon)
        shape = x.shape if self.order == "NCHW" else tuple(x.shape[axis] for axis in to_front)
        channels = graph.ints(channel_shape(rank, "NCHW"))
        y = graph.add("Mul", graph.add("Reshape", y, graph.ints(shape)), graph.add("Reshape", scale, channels))
        y = graph.add("Add", y, graph.add("Reshape", bias, channels))
        mean, deviation = graph.moments(rows, (2,), self.epsilon, x.shape[0], self.group)
        y = y if self.order == "NCHW" else graph.add("Transpose", y, perm=to_back)
        return y, mean, graph.add("Reciprocal", deviation)


@operator("RMSNorm")
@dataclass(frozen=True)
class RMSNorm(Operator):
    """What lies from `axis` on by its root mean square, times a scale, plus a bias; output 2 is 1 / that root."""

    axis: int = 1
    eps: float = 0.0

    dtypes = FLOATS

    def infer(self, x, scale, bias):
        axis = canonical_axis(self.axis, len(x.shape))
        check_same_type(x, scale, bias)
        for vector in (scale, bias):
            if vector.size != math.prod(x.shape[axis:]) or not vector.size:
                raise ModelError(f"{vector.size} values for {list(x.shape[axis:])}")
        return x.with_shape(x.shape), x.with_shape(x.shape[:axis])

    def compute(self, x, scale, bias):
        axis = canonical_axis(self.axis, x.ndim)
        rows = x.reshape(flattened(x.shape, axis))
        squares = np.square(rows, dtype=np.float64).mean(axis=1, keepdims=True) + self.eps
        inverse = (1 / np.sqrt(squares)).astype(x.dtype)
        y = rows * inverse * scale.ravel() + bias.ravel()
        return y.reshape(x.shape), inverse.reshape(x.shape[:axis])

    def lower(self, graph, x, scale, bias):
        axis = canonical_axis(self.axis, len(x.shape))
        inner = graph.ints(x.shape[axis:])
        squares = graph.add("ReduceMean", graph.add("Mul", x, x), axes=tuple(range(axis, len(x.shape))))
        root = graph.add("Sqrt", graph.add("Add", squares, graph.constant(self.eps, x.type.dtype)))
        y = graph.add("Mul", graph.add("Div", x, root), graph.add("Reshape", scale, inner))
        y = graph.add("Add", y, graph.add("Reshape", bias, inner))
        return y, graph.add("Reshape", graph.add("Reciprocal", root), graph.ints(x.shape[:axis]))


@operator("NormalizeL1")
@dataclass(frozen=True)
class NormalizeL1(SameType):
    """Unit L1 norm along `axis`."""

    axis: int = -1

    def infer(self, x):
        canonical_axis(self.axis, len(x.shape))
        return super().infer(x)

    def compute(self, x):
        norm = np.abs(x).sum(axis=self.axis, keepdims=True)
        return x / np.where(norm == 0, np.float32(1), norm)

    def lower(self, graph, x):
        norm = graph.add("ReduceL1", x, axes=[self.axis], keepdims=1)
        return graph.add("Div", x, graph.add("Max", norm, graph.constant(np.finfo(np.float32).tiny)))


@operator("NormalizePlanarYUV")
@dataclass(frozen=True)
class NormalizePlanarYUV(Operator):
    """Images [N, C, H, W] less each channel's mean, divided by its deviation, both [1, C]."""

    def infer(self, x, mean, deviation):
        if len(x.shape) != 4 or any(
            len(v.shape) != 2 or v.shape[1] != x.shape[1] or not v.size for v in (mean, deviation)
        ):
            raise ModelError(f"images {list(x.shape)}, mean {list(mean.shape)}, deviation {list(deviation.shape)}")
        return x.with_shape(x.shape)

    def compute(self, x, mean, deviation):
        return (x - mean[0][:, None, None]) / deviation[0][:, None, None]

    def lower(self, graph, x, mean, deviation):
        mean, deviation = (
            graph.add("Reshape", graph.add("Gather", v, graph.ints([0])), graph.ints([-1, 1, 1]))
            for v in (mean, deviation)
        )
        return graph.add("Div", graph.add("Sub", x, mean), deviation)
