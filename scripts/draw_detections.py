#!/usr/bin/env python3
"""Run a detector on an image and draw what it finds: boxes with class and score, masks where it has them.

    $ python scripts/draw_detections.py NET IMAGE OUT.png --size 320 --threshold 0.5

NET is a folder or a predict file of a net with BoxWithNMSLimit, such as Detectron's and Mask R-CNN2Go export. The image
is scaled so that its shorter side has --size pixels, and fed as BGR minus --mean, divided by --std.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from PIL import Image, ImageDraw

from caffe2_common.errors import ModelError
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net, load_net

COLORS = ["#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#46f0f0", "#f032e6", "#9a6324"]


@dataclass(frozen=True)
class Detection:
    """One object: box (x1, y1, x2, y2) in the image's pixels; mask, its probability over the box, or None."""

    box: tuple[float, float, float, float]
    score: float
    label: int
    mask: np.ndarray | None = None


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("net", metavar="NET")
    parser.add_argument("image", metavar="IMAGE")
    parser.add_argument("out", metavar="OUT")
    parser.add_argument("--size", type=int, default=320, help="the shorter side, pixels (default %(default)s)")
    parser.add_argument("--mean", type=float, nargs=3, default=(102.9801, 115.9465, 122.7717), metavar=("B", "G", "R"))
    parser.add_argument("--std", type=float, default=1.0)
    parser.add_argument("--threshold", type=float, default=0.5, help="least score to draw (default %(default)s)")
    parser.add_argument("--backend", default="auto")
    args = parser.parse_args(argv)
    image = read_image(args.image)
    found = detect(load_net(args.net), image, args.size, args.mean, args.std, args.backend)
    shown = [each for each in found if each.score >= args.threshold]
    draw(image, shown).save(args.out)
    print(f"{args.out}: {len(shown)} of {len(found)} detections")
    return 0


def read_image(path: str) -> Image.Image:
    try:
        return Image.open(path).convert("RGB")
    except OSError as error:
        raise ModelError(f"{path}: no image that can be read ({error})") from None


def detect(net: Net, image: Image.Image, size: int, mean, std: float, backend: str = "auto") -> list[Detection]:
    """What the net finds in the image, in its pixels. Raises ModelError for a net that is no detector."""
    limits = [node for node in net.operators if node.type == "BoxWithNMSLimit"]
    if not limits or len(net.inputs) != 2:
        raise ModelError(f"{net.name or 'net'}: no detector with an image and its size as inputs")
    scale = size / min(image.size)
    width, height = (round(side * scale) for side in image.size)
    pixels = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR), np.float32)[..., ::-1]
    data = ((pixels - np.array(mean, np.float32)) / np.float32(std)).transpose(2, 0, 1)[None]
    feeds = {
        name: np.array([[height, width, scale]], np.float32) if "info" in name else np.ascontiguousarray(data)
        for name in net.inputs
    }
    names = limits[-1].outputs[:3]
    results = net.session(backend).run(feeds, [*names, *(name for name in net.outputs if name not in names)])
    scores, boxes, classes = (results[name] for name in names)
    masks = next((value for name, value in results.items() if name not in names and is_mask(value, len(scores))), None)
    boxes = boxes / (scale if scaled_boxes(net) else 1.0)
    return [
        Detection(tuple(box.tolist()), float(score), int(label), None if masks is None else mask_of(masks[i], label))
        for i, (box, score, label) in enumerate(zip(boxes, scores, classes, strict=True))
    ]


def is_mask(value, count: int) -> bool:
    return isinstance(value, np.ndarray) and value.ndim == 4 and len(value) == count


def mask_of(masks: np.ndarray, label: float) -> np.ndarray:
    """The mask of the class, or the one that there is for all."""
    return masks[min(int(label), len(masks) - 1)]


def scaled_boxes(net: Net) -> bool:
    """Whether the net's boxes are in the scaled image that it was fed."""
    return any(node.operator.apply_scale for node in net.operators if node.type == "BBoxTransform")


def draw(image: Image.Image, found: list[Detection]) -> Image.Image:
    """The image with the detections over it."""
    result = image.copy()
    for each in found:
        color = COLORS[each.label % len(COLORS)]
        x1, y1, x2, y2 = (round(value) for value in each.box)
        if each.mask is not None and x2 > x1 and y2 > y1:
            mask = Image.fromarray((each.mask * 255).astype(np.uint8)).resize((x2 - x1, y2 - y1))
            half = mask.point(lambda value: 128 if value > 127 else 0)
            result.paste(Image.new("RGB", half.size, color), (x1, y1), half)
        pen = ImageDraw.Draw(result)
        pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=color, width=2)
        pen.text((x1 + 3, y1 + 2), f"{each.label} {each.score:.2f}", fill=color)
    return result


if __name__ == "__main__":
    run(main)
