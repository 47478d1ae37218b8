#!/usr/bin/env python3
"""Time the operators of detectors at the sizes of real nets, beside the real Caffe2's.

A net with one operator for each case; both take turns on one thread, Caffe2 by its own clock of the operator, ours
around what a session does for an operator that it runs alone (check of the inputs, computation). Figures are minima in
ms. CAFFE2_PYTHON names the interpreter that has Caffe2. Exit status 1, with --check, where an operator is slower.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Int8Tensor, Net
from caffe2_models.build import add_operator, make_init
from caffe2_models.proto import caffe2_pb2

IMAGE = (800, 1216)  # height, width


@dataclass
class Case:
    name: str
    type: str
    inputs: list[Any]
    arguments: dict[str, Any] = field(default_factory=dict)
    outputs: int = 1


def main(argv: list[str]) -> int:
    args = parse(argv)
    rows = [(case, *measure(case, args.rounds)) for case in progress(list(cases()), desc="operators")]
    print("| operator | case | Caffe2, ms | ms | Caffe2 / ours |\n|---|---|---:|---:|---:|")
    for case, caffe2, ours in rows:
        print(f"| {case.type} | {case.name} | {caffe2:.3f} | {ours:.3f} | {caffe2 / ours:.2f} |")
    slower = [case for case, caffe2, ours in rows if ours > caffe2]
    print(f"slower than Caffe2: {', '.join(f'{case.type} ({case.name})' for case in slower) or 'none'}")
    return 1 if args.check and slower else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, metavar="N", help="default %(default)s")
    parser.add_argument("--check", action="store_true", help="exit with 1 where an operator is slower than Caffe2's")
    args = parser.parse_args(argv)
    if args.rounds < 1:
        raise ModelError("--rounds must be at least 1")
    if not os.environ.get("CAFFE2_PYTHON"):
        raise ModelError("CAFFE2_PYTHON is not set (scripts/setup_caffe2.sh makes an interpreter with Caffe2)")
    return args


def measure(case: Case, rounds: int) -> tuple[float, float]:
    """(Caffe2's ms, our ms)"""
    feeds = {f"x{i}": value for i, value in enumerate(case.inputs)}
    predict = caffe2_pb2.NetDef(external_input=list(feeds))
    add_operator(predict, case.type, list(feeds), [f"y{i}" for i in range(case.outputs)], **case.arguments)
    net = Net(predict, make_init({}))
    caffe2 = net.session("caffe2", threads=1)
    [node] = net.operators
    values = list(feeds.values())
    timers: list[Callable[[], float]] = [lambda: caffe2.benchmark(feeds, 1, 1)[1], lambda: timed(node, values)]
    times = [[timer() for timer in timers] for _ in range(rounds)]
    return min(caffe2 for caffe2, _ in times), min(ours for _, ours in times)


def timed(node, values: list[Any]) -> float:
    for _ in range(2):  # the first fills the caches, as Caffe2's own benchmark does
        start = time.perf_counter()
        node.check(values)
        node.compute(values)
    return 1000 * (time.perf_counter() - start)


def cases() -> Iterator[Case]:
    rng = np.random.default_rng(0)
    # ResNet-50 C4, then a level of a pyramid, then Mask R-CNN2Go at 20 x 20.
    for name, anchors, size, stride, before, after in (
        ("C4, 15 anchors", 15, (50, 76), 16, 6000, 1000),
        ("FPN, level 3", 3, (100, 152), 8, 1000, 1000),
        ("20 x 20, 15 anchors", 15, (20, 20), 16, 1000, 100),
    ):
        rules = {"spatial_scale": 1 / stride, "pre_nms_topN": before, "post_nms_topN": after, "min_size": 0.0}
        scores = rng.random((1, anchors, *size)).astype(np.float32)
        deltas = normal(rng, 1, 4 * anchors, *size, scale=0.3)
        yield Case(name, "GenerateProposals", [scores, deltas, info(), corners(rng, anchors, 40, 300)], rules, 2)
    deltas = normal(rng, 1, 5 * 15, 50, 76, scale=0.3)
    scores = rng.random((1, 15, 50, 76)).astype(np.float32)
    turned = np.concatenate([centered(rng, 15), rng.uniform(-90, 90, (15, 1))], 1).astype(np.float32)
    rules = {"spatial_scale": 1 / 16, "pre_nms_topN": 1000, "post_nms_topN": 300, "min_size": 0.0}
    yield Case("rotated, C4", "GenerateProposals", [scores, deltas, info(), turned], rules, 2)

    features = normal(rng, 1, 256, 50, 76)
    window = {"spatial_scale": 1 / 16, "pooled_h": 7, "pooled_w": 7}
    for name, count, ratio in (("1000 of 256 channels", 1000, 2), ("100, adaptive", 100, 0)):
        sampling = {**window, "sampling_ratio": ratio}
        yield Case(name, "RoIAlign", [features, regions(rng, count)], sampling)
        nhwc = np.ascontiguousarray(features.transpose(0, 2, 3, 1))
        yield Case(f"{name}, NHWC", "RoIAlign", [nhwc, regions(rng, count)], {**sampling, "order": "NHWC"})
        yield Case(name, "RoIAlignRotated", [features, rotated(rng, count)], sampling)
        data = rng.integers(0, 256, nhwc.shape, dtype=np.uint8)
        quantized = {**sampling, "order": "NHWC", "Y_scale": 0.05, "Y_zero_point": 120}
        yield Case(name, "Int8RoIAlign", [Int8Tensor(data, 0.05, 120), regions(rng, count)], quantized)

    for name, count, classes in (("1000 of 81 classes", 1000, 81), ("100 of 5 classes", 100, 5), ("20 of 2", 20, 2)):
        boxes = regions(rng, count)
        deltas = normal(rng, count, 4 * classes, scale=0.5)
        weights = {"weights": [10.0, 10.0, 5.0, 5.0], "apply_scale": 0}
        yield Case(name, "BBoxTransform", [boxes, deltas, info()], weights, 2)
        moved = np.repeat(boxes[:, None, 1:], classes, 1) + normal(rng, count, classes, 4, scale=9)
        limits = {"score_thresh": 0.05, "nms": 0.5, "detections_per_im": 100}
        for form, peak in (("peaked", 12.0), ("flat", 1.0)):
            logits = peak * normal(rng, count, classes)
            powers = np.exp(logits - logits.max(axis=1, keepdims=True))
            scores = powers / powers.sum(axis=1, keepdims=True)
            inputs = [scores, moved.reshape(count, -1).astype(np.float32)]
            yield Case(f"{name}, {form}", "BoxWithNMSLimit", inputs, limits, 3)
        soft = {**limits, "soft_nms_enabled": 1, "soft_nms_method": "linear"}
        yield Case(f"{name}, soft", "BoxWithNMSLimit", inputs, soft, 3)

    for count in (1000, 100):
        levels = [regions(rng, count) for _ in range(5)]
        scores = [rng.random(count).astype(np.float32) for _ in range(5)]
        limit = {"rpn_post_nms_topN": 1000}
        each = f"5 levels of {count}"
        yield Case(each, "CollectAndDistributeFpnRpnProposals", [*levels, *scores], limit, 6)
        yield Case(each, "CollectRpnProposals", [*levels, *scores], limit)
        yield Case(f"{count}", "DistributeFpnProposals", [regions(rng, count)], {}, 5)
        pooled = normal(rng, count, 256, 7, 7)
        yield Case(f"{count} of 256 x 7 x 7", "BatchPermutation", [pooled, rng.permutation(count).astype(np.int32)])
    for count in (100, 10):
        boxes = regions(rng, count)[:, 1:]
        yield Case(f"{count} of 17 points", "HeatmapMaxKeypoint", [normal(rng, count, 17, 56, 56), boxes])


def normal(rng, *shape: int, scale: float = 1.0) -> np.ndarray:
    return rng.normal(0, scale, shape).astype(np.float32)


def info() -> np.ndarray:
    return np.array([[*IMAGE, 1.0]], np.float32)


def centered(rng, count: int) -> np.ndarray:
    """(0, 0, width, height)"""
    return np.concatenate([np.zeros((count, 2)), rng.uniform(40, 300, (count, 2))], 1)


def corners(rng, count: int, low: float, high: float) -> np.ndarray:
    """Boxes around the origin."""
    half = rng.uniform(low, high, (count, 2)) / 2
    return np.concatenate([-half, half], 1).astype(np.float32)


def regions(rng, count: int) -> np.ndarray:
    """(image, x1, y1, x2, y2) within the image."""
    start = rng.uniform(0, np.array(IMAGE[::-1]) * 0.8, (count, 2))
    size = np.exp(rng.uniform(np.log(20), np.log(400), (count, 2)))
    return np.concatenate([np.zeros((count, 1)), start, start + size], 1).astype(np.float32)


def rotated(rng, count: int) -> np.ndarray:
    """(image, center x, center y, width, height, degrees)"""
    box = regions(rng, count)
    sides = box[:, 3:] - box[:, 1:3]
    angle = rng.uniform(-90, 90, (count, 1))
    return np.concatenate([box[:, :1], box[:, 1:3] + sides / 2, sides, angle], 1).astype(np.float32)


if __name__ == "__main__":
    run(main)
