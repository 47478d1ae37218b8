"""Squeeze-and-excite, swish, hard-swish, mixed kernels: what QNNPACK lacks becomes few small islands of float."""

import zlib
from collections import Counter

import numpy as np
import pytest
import torch

from caffe2_common.preprocessing import Preprocessing
from exporters import torch_to_onnx
from exporters.int8 import quantize
from exporters.int8.recipe import RECIPES
from exporters.onnx_to_caffe2 import convert
from mobile_cv.model_zoo import create_model, get_architecture
from validate.calibration import open_images

pytestmark = pytest.mark.usefixtures("one_thread")

SIZE = 64

# All that is left in float, and how often islands are quantized again: behind every function, gate and pool of one.
ISLANDS = {
    "MobileNetV3": ({"HardSigmoid": 26, "Mul": 34, "AveragePool": 7}, 34),
    "tf_mobilenetv3_small_075": ({"HardSigmoid": 19, "Mul": 28, "AveragePool": 9}, 28),
    "efficientnet_b0": ({"Swish": 49, "Mul": 16, "AveragePool": 17}, 65),
    "mixnet_s": ({"Swish": 39, "Mul": 13, "AveragePool": 13}, 52),
    "mnasnet_a1": ({"Mul": 8}, 8),
}
DEEP = ["mobilenetv3_large_100", "mobilenetv3_small_100", "efficientnet_b0", "mixnet_s", "dmasking_l3"]
LAYOUT = {"NCHW2NHWC", "NHWC2NCHW", "Int8Quantize", "Int8Dequantize"}


@pytest.fixture(scope="module")
def photographs(shared):
    preprocessing = Preprocessing(size=SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
    return np.stack(list(open_images(shared / "data" / "imagenet-sample", 24, preprocessing, 3)))


def seeded(key: str, value: torch.Tensor) -> torch.Tensor:
    """A state dict's entry, drawn so that activations stay near one."""
    rng, shape = np.random.default_rng(zlib.crc32(key.encode())), tuple(value.shape)
    if not value.is_floating_point():
        return value
    if key.endswith("running_var"):
        drawn = 1 + 0.2 * np.abs(rng.normal(size=shape))
    elif value.ndim > 1:
        drawn = rng.normal(size=shape) * np.sqrt(1.7 / np.prod(shape[1:]))
    else:
        drawn = rng.normal(size=shape) * 0.05 + key.endswith("weight")
    return torch.from_numpy(np.asarray(drawn, np.float32))


def to_int8(model, calibration, recipe):
    net = convert(torch_to_onnx.export(model.eval(), (1, 3, SIZE, SIZE)))
    return net, quantize(net, calibration, RECIPES[recipe], {"data": (1, 3, SIZE, SIZE)}, threads=1).net


def logits(net, x) -> np.ndarray:
    return net.session(threads=1).run({"data": x})[net.outputs[0]].reshape(len(x), -1).astype(np.float64)


def cosines(real, quantized) -> np.ndarray:
    """Row by row."""
    return (real * quantized).sum(1) / np.linalg.norm(real, axis=1) / np.linalg.norm(quantized, axis=1)


@pytest.mark.parametrize("name", ISLANDS)
def test_logits_keep_their_direction(name, photographs):
    model = create_model(name, img_size=SIZE, softmax=False)
    model.load_state_dict({key: seeded(key, value) for key, value in model.state_dict().items()})
    net, int8 = to_int8(model, photographs[:16], "fast")
    assert cosines(logits(net, photographs[16:]), logits(int8, photographs[16:])).min() > 0.98


@pytest.mark.parametrize("name", ISLANDS)
def test_the_first_blocks_follow_every_image(name, photographs):
    """Normalized as training leaves it, so that logits differ from image to image; deeper nets of random weights
    amplify any noise."""
    torch.manual_seed(0)
    stages = get_architecture(name).stages[:3]  # all kinds of blocks that it has
    model = create_model(name, img_size=SIZE, stages=stages, softmax=False, zero_last_gamma=False).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # running statistics are those of the images
            module.train()
    with torch.inference_mode():
        model(torch.from_numpy(photographs))
    net, int8 = to_int8(model, photographs[:16], "minmax")
    assert cosines(logits(net, photographs[16:]), logits(int8, photographs[16:])).mean() > 0.98


@torch.no_grad()
def tamed(name, images):
    """At full depth, amplifying noise no more than trained nets do: its BatchNorms hold the images' statistics, its
    residual branches count a fifth, its activation functions get values around a deviation above zero.
    """
    torch.manual_seed(0)
    model = create_model(name, img_size=SIZE, softmax=False, zero_last_gamma=False)
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.bias.fill_(1)
    for module in model.modules():
        if getattr(module, "residual", False):
            [*_, last] = [part for part in module.modules() if isinstance(part, torch.nn.BatchNorm2d)]
            last.weight.mul_(0.2)
    model.train()(torch.from_numpy(images))
    return model.eval()


@torch.no_grad()
def noise_gain(model, images):
    """Noise to signal, of what differs from image to image, of the logits over that of noise on the images."""
    x, share = torch.from_numpy(images), 0.02
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)) * (share * x.std())
    y, noisy = model(x), model(x + noise)
    return float((noisy - y).square().sum() / (y - y.mean(0)).square().sum()) / share**2


@pytest.mark.parametrize("name", DEEP)
def test_deep_nets_answer_as_in_float(name, photographs):
    model = tamed(name, photographs)
    assert noise_gain(model, photographs[16:]) < 60  # a trained MobileNetV2's is 37; of untamed nets it is 90 to 2700
    net, int8 = to_int8(model, photographs[:16], "fast")
    real, quantized = logits(net, photographs[16:]), logits(int8, photographs[16:])
    assert cosines(real, quantized).min() > 0.98
    centre = real.mean(axis=0)  # what all images have in common is most of the logits, and hides the rest
    noise, signal = np.square(quantized - real).sum(), np.square(real - centre).sum()
    assert noise < 0.1 * signal


@pytest.mark.parametrize("name", ISLANDS)
def test_islands_are_few_and_small(name):
    calibration = np.random.default_rng(0).normal(size=(2, 3, SIZE, SIZE)).astype(np.float32)
    _, int8 = to_int8(create_model(name, img_size=SIZE), calibration, "minmax")
    counts = Counter(op.type for op in int8.predict.op)
    in_float = {kind: n for kind, n in counts.items() if not kind.startswith("Int8") and kind not in LAYOUT}
    assert (in_float, counts["Int8Quantize"] - 1) == ISLANDS[name]
