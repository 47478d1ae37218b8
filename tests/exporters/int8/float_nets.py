"""Small float nets for the quantizer, made by random or by hand, and images for them."""

import numpy as np
from random_nets import RandomNet, grow

from caffe2_models import Int8Tensor, Net
from caffe2_models.build import make_init
from exporters.int8 import quantize
from exporters.int8.batching import batches, mixes_images
from exporters.int8.quantizer import Quantized
from exporters.int8.recipe import RECIPES, Recipe
from exporters.layers import Blob, Layer, constant


def images(rng: np.random.Generator, shape: tuple[int, ...], count: int = 8) -> np.ndarray:
    """[count, C, H, W], normal."""
    return rng.normal(size=(count, *shape[1:])).astype(np.float32)


def fitting_batches(net: Net, x: np.ndarray) -> list[np.ndarray]:
    """Of the images [N, C, H, W] all at once; for a net that mixes several, each by itself, [1, C, H, W]."""
    return list(batches(x, 1 if mixes_images(net, {net.inputs[0]: x.shape}) else len(x)))


def outputs_on(net: Net, x: np.ndarray) -> dict[str, np.ndarray]:
    """Of all images [N, C, H, W]; of a net that mixes several, one after the other along the first axis."""
    session = net.session("reference", threads=1)
    answers = [session.run({net.inputs[0]: batch}) for batch in fitting_batches(net, x)]
    return {name: np.concatenate([answer[name] for answer in answers]) for name in answers[0]}


def weighted_layer(kind: str, weight: np.ndarray, bias: np.ndarray | None = None, **arguments) -> Layer:
    """A layer of its own; without a bias one of zeros."""
    bias = np.zeros(len(weight), np.float32) if bias is None else bias
    return Layer(kind, [Blob(name="x"), constant(weight), constant(bias)], [Blob(name="y")], arguments, "y")


class FloatNet(RandomNet):
    """A float net on an image [1, C, H, W]; weights are drawn so that activations stay near one."""

    def __init__(self, *shape: int, seed: int = 0):
        super().__init__(np.random.default_rng(seed))
        self.input_shape = (1, *shape)
        self.values["data"] = images(self.rng, self.input_shape, 1)

    def draw(self, *shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * self.rng.normal(size=shape)).astype(np.float32)

    def conv(self, x: str, outputs: int, kernel: int = 1, group: int = 1, relu: bool = False, **arguments) -> str:
        inputs = self.shape(x)[1] // group
        weight = self.draw(outputs, inputs, kernel, kernel, scale=(2 / (inputs * kernel**2)) ** 0.5)
        if group > 1:
            arguments["group"] = group
        pad = arguments.pop("pad", kernel // 2)
        y = self.add("Conv", x, weight, self.draw(outputs, scale=0.3), kernel=kernel, pad=pad, **arguments)
        return self.add("Relu", y) if relu else y

    def fc(self, x: str, outputs: int) -> str:
        inputs = int(np.prod(self.shape(x)[1:]))
        return self.add("FC", x, self.draw(outputs, inputs, scale=inputs**-0.5), self.draw(outputs, scale=0.3))

    def images(self, count: int = 8) -> np.ndarray:
        return images(np.random.default_rng(1), self.input_shape, count)

    def quantized(self, recipe: str | Recipe = "minmax", calibration: np.ndarray | None = None) -> Quantized:
        calibration = self.images() if calibration is None else calibration
        recipe = RECIPES[recipe] if isinstance(recipe, str) else recipe
        return quantize(self.net(), calibration, recipe, {"data": self.input_shape}, threads=1)


def convolved(net, x):
    return net.conv(x, int(net.rng.integers(1, 14)), kernel=net.choose([1, 3]), relu=net.choose([False, True]))


def depthwise(net, x):
    channels = net.shape(x)[1]
    return net.conv(x, channels, kernel=3, group=channels, relu=net.choose([False, True]))


def clamped(net, x):
    limits = [{"min": 0.0, "max": 6.0}, {"min": 0.0, "max": 1.0}, {"min": -1.0, "max": 0.5}, {"max": 1.0}]
    return net.add("Clip", x, **net.choose(limits))


def gated(net, x):
    """By itself (hard swish), or by what is squeezed out of it."""
    gate = x
    if net.choose([False, True]):
        gate = net.conv(net.conv(net.add("AveragePool", x, global_pooling=1), 3, relu=True), net.shape(x)[1])
    kind = net.choose(["Sigmoid", "HardSigmoid"])
    return net.add("Mul", x, net.add(kind, gate, **({"alpha": 1 / 6, "beta": 0.5} if kind == "HardSigmoid" else {})))


def summed(net, x):
    others = net.others(x, lambda value: value.shape == net.shape(x))
    return net.add("Sum", x, *[net.choose(others) for _ in range(int(net.rng.integers(1, 4)))]) if others else None


def joined(net, x):
    others = net.others(x, lambda v: v.ndim == 4 and v.shape[2:] == net.shape(x)[2:] and v.shape[1] < 20)
    return net.add("Concat", x, net.choose([*others, x]), outputs=2, axis=1) if net.shape(x)[1] < 20 else None


def swapped(net, x):
    """Halves of the channels in the other order."""
    half = net.shape(x)[1] // 2
    if not half:
        return None
    first = net.add("Slice", x, starts=[0, 0, 0, 0], ends=[-1, half, -1, -1])
    second = net.add("Slice", x, starts=[0, half, 0, 0], ends=[-1, -1, -1, -1])
    return net.add("Concat", second, first, outputs=2, axis=1)


def grown(net, x):
    channels, height, width = net.shape(x)[1:]
    return net.add("ConvTranspose", x, net.draw(channels, 4, 2, 2, scale=0.4), net.draw(4), kernel=2, stride=2) if (
        height + width < 20) else None  # fmt: skip


def pooled(net, x):
    kinds = [{"global_pooling": 1}, {"kernel": 3, "stride": 2, "pad": 1}, {"kernel": 2, "stride": 1}]
    fits = min(net.shape(x)[2:]) > 2
    return net.add(net.choose(["MaxPool", "AveragePool"]), x, **net.choose(kinds if fits else kinds[:1]))


def averaged(net, x):
    return net.add("ReduceMean", x, axes=[2, 3], keepdims=net.choose([0, 1]))


def bent(net, x):
    if net.choose([False, True]):
        return net.add("LeakyRelu", x, alpha=net.choose([0.1, 1.0]))
    return net.add("PRelu", x, np.abs(net.draw(net.shape(x)[1], scale=0.3)))


def classified(net, x):
    return net.add(net.choose(["Relu", "Softmax", "Sigmoid"]), net.fc(x, int(net.rng.integers(1, 9))))


BLOCKS = [convolved, convolved, convolved, depthwise, clamped, clamped, gated, gated, summed, joined, swapped, grown,
          pooled, averaged, bent, classified]  # fmt: skip


def random_float_net(seed: int, steps: int) -> tuple[Net, tuple[int, ...], np.random.Generator]:
    """Chains and branches of all kinds of operators and blocks on an image of any size, from one channel on."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 9)), *(int(d) for d in rng.integers(5, 15, 2)))
    net = FloatNet(*shape)
    net.rng, blob = rng, "data"
    for _ in range(steps):
        if len(net.shape(blob)) == 4 and rng.random() < 0.6:
            blob = net.choose(BLOCKS)(net, blob) or blob
        else:
            blob = grow(net, blob, wild=False)
    return net.net(), net.input_shape, rng


def stretched(net: Net, rng: np.random.Generator) -> Net:
    """The net with some parameters tiny, huge, zero, constant, of one sign or with one outlier channel."""
    changes = [
        lambda v: v * 10.0 ** rng.uniform(-8, -2),
        lambda v: v * 10.0 ** rng.uniform(1, 6),
        lambda v: v * 0,
        lambda v: np.full_like(v, 0.5),
        lambda v: np.abs(v),
        lambda v: -np.abs(v) if v.ndim > 1 else np.abs(v),  # variances stay positive
        lambda v: v * np.where(np.arange(len(v)) == 0, 1e4, 1.0).reshape(-1, *[1] * (v.ndim - 1)),
    ]
    parameters = dict(net.parameters)
    for name, value in parameters.items():
        if value.dtype == np.float32 and rng.random() < 0.6:
            parameters[name] = changes[int(rng.integers(len(changes)))](value).astype(np.float32)
    return Net(net.predict, make_init(parameters))


def blobs_of(net: Net) -> list[str]:
    """All that its operators write."""
    return list(dict.fromkeys(name for op in net.predict.op for name in op.output))


def differing_blobs(have: dict, want: dict) -> list[str]:
    """The quantized blobs whose bytes, scale or zero point are not equal."""
    return [
        name
        for name, value in want.items()
        if isinstance(value, Int8Tensor)
        and (
            (have[name].scale, have[name].zero_point) != (value.scale, value.zero_point)
            or not np.array_equal(have[name].data, value.data)
        )
    ]


def sqnr_db(real: np.ndarray, int8: np.ndarray) -> float:
    """Signal to quantization noise, dB."""
    real, int8 = real.astype(np.float64), int8.astype(np.float64)
    signal, noise = (real**2).sum(), ((real - int8) ** 2).sum()
    return 10 * np.log10(max(signal, 1e-30) / max(noise, 1e-12 * signal, 1e-30))
