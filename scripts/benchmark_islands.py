#!/usr/bin/env python3
"""Time int8 nets with islands of float beside the float nets that they come from, on one thread.

Nets of the zoo, a text detector and a recognizer with attention as PaddleOCR has them, and the demo's tiny net, with
weights from a seed, are quantized on noise: time does not depend on either. Both forms take turns within each round,
each by a second call after a first; a figure is the median of its rounds, in ms of processor time.
"""

import argparse
import functools
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmark import processor_timer, session_call

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net
from exporters import torch_to_onnx
from exporters.int8 import quantize
from exporters.int8.recipe import RECIPES
from exporters.int8.report import is_float
from exporters.onnx_to_caffe2 import convert
from mobile_cv.model_zoo import create_model

FLOAT, INT8 = "float", "int8"
ROUNDS = 15


def hard_swish(x: torch.Tensor) -> torch.Tensor:
    """As Paddle2ONNX writes it."""
    return x * torch.clamp(x + 3, 0, 6) / 6


class Convolved(nn.Module):
    """Conv, BatchNorm, activation function."""

    def __init__(self, i: int, o: int, kernel: int = 1, stride: int | tuple[int, int] = 1, group: int = 1, act=None):
        super().__init__()
        self.conv = nn.Conv2d(i, o, kernel, stride, kernel // 2, groups=group, bias=False)
        self.norm, self.act = nn.BatchNorm2d(o), act

    def forward(self, x):
        y = self.norm(self.conv(x))
        return self.act(y) if self.act is not None else y


class Gated(nn.Module):
    """Squeeze-and-excite with Paddle's hard sigmoid."""

    def __init__(self, width: int):
        super().__init__()
        self.squeeze, self.excite = nn.Conv2d(width, width // 4, 1), nn.Conv2d(width // 4, width, 1)

    def forward(self, x):
        gate = self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * torch.clamp(0.2 * gate + 0.5, 0, 1)


class Bottleneck(nn.Module):
    def __init__(self, i: int, wide: int, o: int, kernel: int, stride: int, act, gated: bool):
        super().__init__()
        layers = [Convolved(i, wide, act=act), Convolved(wide, wide, kernel, stride, wide, act)]
        self.body = nn.Sequential(*layers, *([Gated(wide)] if gated else []), Convolved(wide, o))
        self.adds = i == o and stride == 1

    def forward(self, x):
        return x + self.body(x) if self.adds else self.body(x)


# kernel, expanded width, width, gated, hard swish, stride of MobileNetV3-large (arXiv:1905.02244, table 1), halved
STAGES = [
    [(3, 8, 8, 0, 0, 1), (3, 32, 16, 0, 0, 2), (3, 40, 16, 0, 0, 1)],
    [(5, 40, 24, 1, 0, 2), (5, 64, 24, 1, 0, 1), (5, 64, 24, 1, 0, 1)],
    [
        (3, 120, 40, 0, 1, 2),
        (3, 104, 40, 0, 1, 1),
        (3, 96, 40, 0, 1, 1),
        (3, 96, 40, 0, 1, 1),
        (3, 240, 56, 1, 1, 1),
        (3, 336, 56, 1, 1, 1),
    ],
    [(5, 336, 80, 1, 1, 2), (5, 480, 80, 1, 1, 1), (5, 480, 80, 1, 1, 1)],
]


class TextDetector(nn.Module):
    """PaddleOCR's mobile detector (arXiv:1911.08947): MobileNetV3, a feature pyramid, a probability for each pixel."""

    def __init__(self, width: int = 96):
        super().__init__()
        i, stages = 8, []
        for rows in STAGES:
            blocks = []
            for kernel, wide, o, gated, swish, stride in rows:
                act = hard_swish if swish else torch.relu
                blocks.append(Bottleneck(i, wide, o, kernel, stride, act, bool(gated)))
                i = o
            stages.append(nn.Sequential(*blocks))
        self.stem, self.stages = Convolved(3, 8, 3, 2, act=hard_swish), nn.ModuleList(stages)
        self.last = Convolved(i, 480, act=hard_swish)
        self.lateral = nn.ModuleList(nn.Conv2d(c, width, 1, bias=False) for c in (16, 24, 56, 480))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width // 4, 3, 1, 1, bias=False) for _ in range(4))
        self.head = nn.Sequential(
            Convolved(width, width // 4, 3, act=torch.relu),
            nn.ConvTranspose2d(width // 4, width // 4, 2, 2),
            nn.BatchNorm2d(width // 4),
            nn.ReLU(),
            nn.ConvTranspose2d(width // 4, 1, 2, 2),
            nn.Sigmoid(),
        )

    def forward(self, x):
        x, features = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        features[-1] = self.last(x)
        levels = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for i in (2, 1, 0):
            levels[i] = levels[i] + nn.functional.interpolate(levels[i + 1], scale_factor=2.0)
        smoothed = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        enlarged = [nn.functional.interpolate(y, scale_factor=2.0**i) if i else y for i, y in enumerate(smoothed)]
        return self.head(torch.cat(enlarged[::-1], 1))


class Mixing(nn.Module):
    """A block of attention between columns, [N, T, C] to [N, T, C] (arXiv:2205.00159)."""

    def __init__(self, width: int, heads: int = 8):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.mixed, self.joined = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x):
        _, times, width = x.shape
        parts = self.mixed(self.norms[0](x)).reshape(-1, times, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        share = (q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5).softmax(-1)
        x = x + self.joined((share @ v).transpose(1, 2).reshape(-1, times, width))
        return x + self.narrow(nn.functional.silu(self.wide(self.norms[1](x))))


class TextRecognizer(nn.Module):
    """PaddleOCR's mobile recognizer: a narrow MobileNet, two blocks of attention, classes for each column."""

    def __init__(self, width: int = 120, classes: int = 97):
        super().__init__()
        layers: list[nn.Module] = [Convolved(3, 16, 3, 2, act=hard_swish)]
        i = 16
        widths = [(32, 1), (64, 2), (64, 1), (128, (2, 1)), (128, 1), (256, (2, 1)), (256, 1), (512, (2, 1))]
        stride: int | tuple[int, int]
        for o, stride in widths:
            kernel = 3 if o < 256 else 5
            layers += [Convolved(i, i, kernel, stride, i, hard_swish), Convolved(i, o, act=hard_swish)]
            i = o
        self.body = nn.Sequential(*layers, nn.AvgPool2d((2, 1)), Convolved(i, width, act=nn.functional.silu))
        self.blocks = nn.Sequential(Mixing(width), Mixing(width), nn.LayerNorm(width), nn.Linear(width, classes))

    def forward(self, x):
        return self.blocks(self.body(x).mean(2).transpose(1, 2)).softmax(-1)


def text_detector(size: int) -> nn.Module:
    torch.manual_seed(0)
    return TextDetector()


def text_recognizer(size: int) -> nn.Module:
    torch.manual_seed(0)
    return TextRecognizer()


def of_zoo(name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, img_size=size, softmax=False)


ZOO = ("mobilenetv3_large_100", "mobilenetv3_small_100", "efficientnet_b0", "mixnet_s", "dmasking_l3")
MODELS: dict[str, tuple[int, Callable[[int], nn.Module]]] = {
    **{name: (224, functools.partial(of_zoo, name)) for name in ZOO},
    "text_detector": (640, text_detector),
    "text_recognizer": (128, text_recognizer),
    "fbnet_96 of the demo": (32, functools.partial(of_zoo, "fbnet_96")),
}


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS), help="separated by commas (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="default %(default)s")
    parser.add_argument(
        "--check", action="store_true", help="exit with 1 where an int8 net is slower than its float form"
    )
    args = parser.parse_args(argv)
    names = args.models.split(",")
    if unknown := [name for name in names if name not in MODELS]:
        raise ModelError(f"--models {unknown[0]} is none of {', '.join(MODELS)}")
    if args.rounds < 1:
        raise ModelError("--rounds must be at least 1")
    print("| net | float, ms | int8, ms | float / int8 | operators in float | returns to int8 |")
    print("|---|---:|---:|---:|---:|---:|")
    slower = [name for name in progress(names, desc="nets") if not measure(name, args.rounds)]
    print(f"int8 nets that are slower than their float forms: {', '.join(slower) or 'none'}")
    return int(args.check and bool(slower))


def measure(name: str, rounds: int) -> bool:
    """Print a row; whether int8 is no slower."""
    size, make = MODELS[name]
    net, int8, feeds = make_pair(make(size), size)
    calls = {label: processor_timer(session_call(n, feeds, "auto")) for label, n in ((FLOAT, net), (INT8, int8))}
    times: dict[str, list[float]] = {label: [] for label in calls}
    for _ in range(rounds):
        for label, call in calls.items():
            times[label].append(call())
    ms = {label: statistics.median(values) for label, values in times.items()}
    counts = Counter(node.type for node in int8.operators)
    in_float = sum(count for kind, count in counts.items() if is_float(kind))
    cells = [name, *(f"{value:.2f}" for value in ms.values()), f"{ms[FLOAT] / ms[INT8]:.2f}"]
    print(f"| {' | '.join([*cells, str(in_float), str(max(counts['Int8Quantize'] - 1, 0))])} |", flush=True)
    return ms[INT8] <= ms[FLOAT]


def make_pair(module: nn.Module, size: int) -> tuple[Net, Net, dict[str, np.ndarray]]:
    """(float net, int8 net, feeds)"""
    shape = (1, 3, size, size)
    net = convert(torch_to_onnx.export(module.eval(), shape))
    images = np.random.default_rng(0).normal(size=(2, *shape[1:])).astype(np.float32)
    int8 = quantize(net, images, RECIPES["minmax"], {net.inputs[0]: shape}, threads=1).net
    return net, int8, {net.inputs[0]: images[:1]}


if __name__ == "__main__":
    run(main)
