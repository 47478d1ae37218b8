#!/usr/bin/env python3
"""This quantizer, for each of its targets, beside ai-edge-quantizer and onnxruntime.quantization, in one table.

Of the images some, evenly spaced, calibrate; all others are measured. For each net and quantizer: top-1, the points
less than the float net's, how many of the images get the float net's class, the cross-entropy of the labels, and the
seconds that quantizing took. Files are run by the runtime that they are for: the bytes of QNNPACK, LiteRT with XNNPACK,
ONNX Runtime.

ai-edge-quantizer pins packages: --ai-edge-python names the interpreter of an environment of its own that has it.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_mobile.api.nets import read_net
from caffe2_mobile.api.quantize import image_shape, labels_for
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net
from caffe2_models.model_files import ModelFile, open_model_file
from caffe2_models.preprocessing import get_preprocessing
from exporters.caffe2_to_onnx import to_onnx
from exporters.int8.measurement import log_answers, outputs_of
from exporters.int8.quantizer import TARGETS, Target, quantize
from exporters.int8.recipe import RECIPES, find_recipe
from exporters.int8.targets import make_file
from exporters.onnx_files import save_onnx
from validate.calibration import FolderImages
from validate.dataset import open_dataset

# Run by another interpreter: FLOAT.tflite IMAGES.npy INPUT OUT.tflite
AI_EDGE = """
import sys
import numpy as np
from ai_edge_quantizer import quantizer, recipe
source, images, name, target = sys.argv[1:]
q = quantizer.Quantizer(source)
q.load_quantization_recipe(recipe.static_wi8_ai8())
pixels = np.ascontiguousarray(np.load(images).transpose(0, 2, 3, 1))
data = {"serving_default": [{name: pixels[i : i + 1]} for i in range(len(pixels))]}
q.quantize(q.calibrate(data)).export_model(target, overwrite=True)
"""


@dataclass(frozen=True)
class Setting:
    """A float net, the images that calibrate and those that are measured, with their labels."""

    net: Net
    calibration: np.ndarray
    measured: FolderImages
    labels: np.ndarray
    shapes: dict[str, tuple[int, ...]]
    threads: int | None
    folder: Path


Made = Net | ModelFile


def main(argv: list[str]) -> int:
    args = parse(argv)
    quantizers = {name: make for name, make in QUANTIZERS.items() if not args.only or any(w in name for w in args.only)}
    print(
        "| net | quantizer | run by | top-1 | drop | agreement | cross-entropy | seconds |\n|---|---|---|" + "---:|" * 5
    )
    for place in args.nets:
        with tempfile.TemporaryDirectory() as folder:
            setting = open_setting(place, args, Path(folder))
            reference = all_scores(setting, setting.net)
            print(line(Path(place).name, "float", "ONNX Runtime", setting, reference, reference, None), flush=True)
            for name, make in quantizers.items():
                if make is by_ai_edge and args.ai_edge_python is None:
                    continue
                start = time.perf_counter()
                made = make(setting, args)
                seconds = time.perf_counter() - start
                runtime = made.backend if isinstance(made, ModelFile) else "QNNPACK's bytes"
                scores = all_scores(setting, made)
                print(line(Path(place).name, name, runtime, setting, scores, reference, seconds), flush=True)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="+", metavar="NET", help="an ONNX file, or the place of a Caffe2 net")
    parser.add_argument("--images", required=True, metavar="DIR", help="images in class folders")
    parser.add_argument("--calibration-images", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--offset", type=int, default=0, metavar="N", help="of the first image that calibrates")
    parser.add_argument("--recipe", default="best", choices=RECIPES, help="default: %(default)s")
    parser.add_argument("--ai-edge-python", metavar="P", help="an interpreter that has ai-edge-quantizer")
    parser.add_argument("--only", nargs="+", metavar="WORD", help="quantizers whose name has one of these words")
    parser.add_argument("--threads", type=int, metavar="N", help="default: all cores")
    return parser.parse_args(argv)


def open_setting(place: str, args: argparse.Namespace, folder: Path) -> Setting:
    net, dataset = read_net(place), open_dataset(args.images)
    count, shape, preprocessing = len(dataset), image_shape(net), get_preprocessing(net.predict)
    if not 0 < args.calibration_images < count:
        raise ModelError(f"--calibration-images {args.calibration_images}: expected some of {count} images")
    if preprocessing is None:
        raise ModelError(f"{place}: its file does not say how images are read; export it with its preprocessing")
    chosen = np.sort((np.arange(args.calibration_images) * count // args.calibration_images + args.offset) % count)
    parts = [
        FolderImages(dataset, part, preprocessing.replace(size=shape[2]), shape[1])
        for part in (chosen, np.setdiff1d(np.arange(count), chosen))
    ]
    labels = labels_for(net, parts[1], shape)
    if labels is None:
        raise ModelError(f"{place}: its classes are not those of the images")
    calibration = np.stack(list(parts[0]))
    return Setting(net, calibration, parts[1], labels, {net.inputs[0]: shape}, args.threads, folder)


def by_us(target: Target) -> Callable[[Setting, argparse.Namespace], Made]:
    def make(setting: Setting, args: argparse.Namespace) -> Made:
        recipe = find_recipe(args.recipe)
        made = quantize(setting.net, setting.calibration, recipe, setting.shapes, setting.threads, target)
        return made.net if target == "qnnpack" else make_file(made, setting.shapes, target)

    return make


def by_ai_edge(setting: Setting, args: argparse.Namespace) -> Made:
    """Its recipe static_wi8_ai8: activations and weights in int8, weights by channel; of our float file."""
    from exporters.caffe2_to_tflite.conversion import to_tflite

    source, images, target = (setting.folder / name for name in ("float.tflite", "images.npy", "int8.tflite"))
    source.write_bytes(to_tflite(setting.net, setting.shapes).to_bytes())
    np.save(images, setting.calibration)
    command = [args.ai_edge_python, "-c", AI_EDGE, source, images, setting.net.inputs[0], target]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        raise ModelError(f"ai-edge-quantizer: {done.stderr.strip().rpartition(chr(10))[2]}")
    return open_model_file(target)


def by_onnx_runtime(method: str) -> Callable[[Setting, argparse.Namespace], Made]:
    """quantize_static in QDQ form on the pre-processed float model, weights by channel."""

    def make(setting: Setting, args: argparse.Namespace) -> Made:
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Reader(CalibrationDataReader):
            def __init__(self) -> None:
                self.rest: Iterator[np.ndarray] = iter(setting.calibration)

            def get_next(self):
                image = next(self.rest, None)
                return None if image is None else {setting.net.inputs[0]: image[None]}

        source, prepared, target = (str(setting.folder / name) for name in ("float.onnx", "pre.onnx", f"{method}.onnx"))
        save_onnx(to_onnx(setting.net, setting.shapes), source)
        quant_pre_process(source, prepared)
        quantize_static(
            prepared,
            target,
            Reader(),
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod[method],
        )
        return open_model_file(target)

    return make


QUANTIZERS: dict[str, Callable[[Setting, argparse.Namespace], Made]] = {
    **{f"ours, {target}": by_us(target) for target in TARGETS},
    "ai-edge-quantizer": by_ai_edge,
    "onnxruntime, min-max": by_onnx_runtime("MinMax"),
    "onnxruntime, entropy": by_onnx_runtime("Entropy"),
}


def all_scores(setting: Setting, made: Made) -> np.ndarray:
    """[n, classes]"""
    outputs, first = outputs_of(made, setting.net, setting.threads), setting.net.outputs[0]
    images = progress(setting.measured, total=len(setting.measured), desc="measured")
    return np.concatenate([outputs(image[None])[first].reshape(1, -1) for image in images])


def cross_entropy(setting: Setting, scores: np.ndarray) -> float:
    """Mean, nats an image."""
    are_probabilities = bool(scores.min() >= 0 and np.allclose(scores.sum(axis=1), 1, atol=0.05))
    logs = log_answers(scores, are_probabilities)
    return -float(logs[np.arange(len(scores)), setting.labels].mean())


def line(
    net: str,
    name: str,
    runtime: str,
    setting: Setting,
    scores: np.ndarray,
    reference: np.ndarray,
    seconds: float | None,
) -> str:
    top1, real = (100 * float((each.argmax(1) == setting.labels).mean()) for each in (scores, reference))
    agreement = 100 * float((scores.argmax(1) == reference.argmax(1)).mean())
    figures = [f"{top1:.2f}"]
    figures += ["", ""] if seconds is None else [f"{real - top1:.2f}", f"{agreement:.2f}"]
    figures += [f"{cross_entropy(setting, scores):.4f}", "" if seconds is None else f"{seconds:.0f}"]
    return f"| {net} | {name} | {runtime} | {' | '.join(figures)} |"


if __name__ == "__main__":
    run(main)
