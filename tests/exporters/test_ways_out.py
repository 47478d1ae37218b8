"""Nets of many kinds, out of Caffe2: exact ONNX, LiteRT in float and in bytes, each against the net itself."""

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (the extra `litert`)")

from random_nets import RandomNet

from caffe2_models import Net
from exporters.caffe2_to_onnx import compare_onnx, to_onnx
from exporters.caffe2_to_tflite.conversion import to_tflite
from exporters.int8 import quantize
from exporters.int8.recipe import RECIPES
from exporters.int8_comparison import compare_int8
from exporters.litert import TfliteRun
from exporters.verification import Sample, compare, run_net


class FloatNet(RandomNet):
    """On images [1, C, H, W]; weights keep activations near one."""

    def __init__(self, *shape: int):
        super().__init__(np.random.default_rng(0))
        self.input_shape = (1, *shape)
        self.values["data"] = self.rng.normal(size=self.input_shape).astype(np.float32)

    def draw(self, *shape: int) -> np.ndarray:
        return (self.rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)

    def conv(self, x: str, outputs: int, kernel: int = 1, group: int = 1, relu: bool = False, **arguments) -> str:
        weight = self.draw(outputs, self.shape(x)[1] // group, kernel, kernel)
        arguments = {"pad": kernel // 2} | arguments | ({"group": group} if group > 1 else {})
        y = self.add("Conv", x, weight, 0.1 * self.draw(outputs), kernel=kernel, **arguments)
        return self.add("Relu", y) if relu else y

    def fc(self, x: str, outputs: int) -> str:
        return self.add("FC", x, self.draw(outputs, int(np.prod(self.shape(x)[1:]))), 0.1 * self.draw(outputs))

    def hard_swish(self, x: str) -> str:
        return self.add("Mul", x, self.add("HardSigmoid", x, alpha=1 / 6, beta=0.5))


def mobilenet_v3() -> FloatNet:
    """Squeeze-and-excite, hard-swish, strides over odd sizes."""
    net = FloatNet(3, 33, 29)
    x = net.hard_swish(net.conv("data", 8, 3, stride=2))
    x = net.hard_swish(net.conv(net.conv(x, 16), 16, 5, group=16, stride=2))
    squeezed = net.conv(net.add("AveragePool", x, global_pooling=1), 4, relu=True)
    x = net.conv(net.add("Mul", x, net.add("Sigmoid", net.conv(squeezed, 16))), 8)
    net.fc(net.add("AveragePool", x, global_pooling=1), 7)
    return net


def lenet() -> FloatNet:
    """Fully connected layers behind a flattened image."""
    net = FloatNet(1, 13, 11)
    x = net.add("MaxPool", net.conv("data", 6, 5, relu=True, pad=0), kernel=2, stride=2)
    x = net.fc(net.add("Flatten", net.conv(x, 10, 3, relu=True)), 20)
    net.add("Softmax", net.fc(net.add("Relu", x), 5))
    return net


def single_pixels() -> FloatNet:
    net = FloatNet(16, 1, 1)
    x = net.conv(net.conv("data", 24, relu=True), 12)
    net.fc(net.add("Sum", x, net.conv("data", 12)), 3)
    return net


def detector() -> FloatNet:
    """Heads on two levels, boxes and scores, and a map upsampled: five outputs."""
    net = FloatNet(3, 65, 49)
    x = net.conv(net.conv("data", 8, 3, relu=True, stride=2), 16, 3, relu=True, stride=2)
    for level in (x, net.conv(x, 24, 3, relu=True, stride=2)):
        channels = net.shape(level)[1]
        net.conv(net.conv(level, channels, 3, group=channels, relu=True), 12)
        net.add("Sigmoid", net.conv(level, 6))
    net.conv(net.add("ResizeNearest", level, width_scale=2.0, height_scale=2.0), 4)
    return net


def shufflenet() -> FloatNet:
    net = FloatNet(6, 15, 17)
    x = net.add("ChannelShuffle", net.conv("data", 12, relu=True, group=2), group=3, kernel=1)
    pooled = net.add("AveragePool", x, kernel=3, stride=2, pad=1)
    x = net.add("Relu", net.add("Concat", net.conv(x, 12, 3, group=12, stride=2), pooled, axis=1))
    x = net.add("LeakyRelu", net.conv(x, 8), alpha=0.1)
    net.add("Softmax", net.fc(net.add("MaxPool", x, global_pooling=1), 6))
    return net


def column() -> FloatNet:
    """Dilation on an image of one column; a softmax of pixels."""
    net = FloatNet(3, 21, 1)
    x = net.conv("data", 8, 3, relu=True, dilation=2, pad=2)
    x = net.conv(net.add("Clip", net.conv(x, 8, 3, group=8), min=0.0, max=6.0), 5)
    net.add("Softmax", net.add("AveragePool", x, global_pooling=1))
    return net


NETS = [mobilenet_v3, lenet, single_pixels, detector, shufflenet, column]


def cases(make) -> tuple[Net, Net, dict, list[Sample]]:
    """(float net, int8 net, shapes, two samples)"""
    made = make()
    net, shapes = made.net(), {"data": made.input_shape}
    images = np.random.default_rng(1).normal(size=(6, *made.input_shape[1:])).astype(np.float32)
    int8 = quantize(net, images, RECIPES["minmax"], shapes, threads=1).net
    return net, int8, shapes, [Sample("drawn", {"data": image[None]}) for image in images[:2]]


@pytest.mark.parametrize("make", NETS)
def test_int8_nets_are_equal_to_the_byte(make):
    _, int8, shapes, samples = cases(make)
    assert compare_onnx(int8, to_onnx(int8, shapes), samples, "exact").equal
    for kind in ("uint8", "int8"):
        converted = to_tflite(int8, shapes, kind)
        blobs = [name for name in converted.blobs if name.endswith("_int8") and name not in converted.outputs]
        assert not converted.inexact
        run = TfliteRun(converted, "reference", tuple(blobs))
        report = compare_int8(int8, kind, samples, blobs, run)
        assert report.equal and report.values > 50, report


@pytest.mark.parametrize("make", NETS)
def test_float_nets_are_close(make):
    made = make()
    net, shapes = made.net(), {"data": made.input_shape}
    samples = [Sample("drawn", {"data": made.values["data"]})]
    (want,) = run_net(net, samples)
    for kernels in ("reference", "xnnpack"):
        (got,) = TfliteRun(to_tflite(net, shapes), kernels)(samples)
        assert want.keys() == set(net.outputs)
        assert compare(kernels, samples[0], want, got).holds
