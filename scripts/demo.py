#!/usr/bin/env python3
"""The whole chain on an embedded example: a small FBNet learns handwritten digits, and goes to the phone.

Trains fbnet_96 for some seconds on scikit-learn's digits, then runs the project's own commands as a user
would: PyTorch to ONNX, to Caffe2, to Caffe2 int8, and out again to ONNX, the same to the byte, and to LiteRT;
each form validated on held-out images, its latency here measured, on a Samsung S8 estimated. Leaves images,
models, results and a page to look at in demo-output/.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnxruntime
import torch
from PIL import Image
from sklearn.datasets import load_digits

from caffe2_common.files import write_atomically
from caffe2_common.progress import progress
from caffe2_mobile import load_net
from caffe2_mobile.chain import Chain, ImageFolders, Row
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models.model_files import open_model_file
from caffe2_models.runtimes.onnx_runtime import open_session
from mobile_cv.model_zoo import create_model

MODEL, CLASSES, SIZE = "fbnet_96", 10, 32
TRAINING, HELD_OUT = slice(0, 1297), slice(1297, None)
EPOCHS, BATCH, LEARNING_RATE = 10, 32, 0.05
WAYS_OUT = {"ONNX int8": "digits_int8.onnx", "LiteRT int8": "digits_int8.tflite"}
INPUT = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "interpolation": "bilinear", "crop_pct": 1.0}

HEADER = f"{'form':12} {'top-1 %':>8} {'agrees %':>9} {'size MB':>8} {'ms here':>8} {'est. ms on S8':>14}"


def main(argv: list[str]) -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo-output"), help="folder for what it makes")
    out = parser.parse_args(argv).output
    images = write_images(out)

    start = time.perf_counter()
    model = train(*read_images(images.calibration))
    print(f"{MODEL} trained on {TRAINING.stop} digits in {time.perf_counter() - start:.0f} s")
    definition, checkpoint = out / "digits.json", out / "digits.pth"
    write_atomically(definition, model.architecture.to_json(name=MODEL))
    torch.save(model.state_dict(), checkpoint)

    chain = Chain(definition, checkpoint, images, ["--top", "5"], show=True, ways_out=True)
    rows = chain.run()
    page = out / "digits.html"
    nets = (out / f"{name}.predict.pb" for name in ("digits", "digits_int8"))
    chain.command("view", *nets, "--images", images.held_out, "-o", page)
    print(f"\n{MODEL} on {len(list(images.held_out.rglob('*.png')))} held-out digits; one image, one thread")
    print("\n".join([HEADER, *(line(row, milliseconds(answer(row, out, model))) for row in rows)]))
    print(f"To look at: {page}")


def write_images(out: Path) -> ImageFolders:
    """The digits, enlarged to SIZE pixels: digits/training/0/0001.png ... digits/held-out/9/1796.png."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    images = ImageFolders(out / "digits" / "training", out / "digits" / "held-out", out / "classes.json")
    for folder, chosen in ((images.calibration, TRAINING), (images.held_out, HELD_OUT)):
        for index in order[chosen]:
            image = Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8))
            target = folder / str(digits.target[index])
            target.mkdir(parents=True, exist_ok=True)
            enlarged = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            enlarged.save(target / f"{index:04}.png")
    write_atomically(images.label_map, json.dumps([str(digit) for digit in range(CLASSES)]))
    return images


def read_images(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(N x 3 x SIZE x SIZE in -1 ... 1, N labels)"""
    files = sorted(folder.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels / np.float32(127.5) - 1), torch.tensor([int(file.parent.name) for file in files])


def train(images: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
    """SGD with one cycle of the learning rate. One thread: layers this small gain nothing by more."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model(MODEL, num_classes=CLASSES, img_size=SIZE, drop_rate=0.0, bn_momentum=0.1, **INPUT)
    optimizer = torch.optim.SGD(model.parameters(), LEARNING_RATE, momentum=0.9, weight_decay=1e-4, nesterov=True)
    steps = EPOCHS * (len(images) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, steps)
    for _ in progress(range(EPOCHS), desc=f"training {MODEL}"):
        for batch in torch.randperm(len(images)).split(BATCH)[: len(images) // BATCH]:
            loss = torch.nn.functional.cross_entropy(model(images[batch]), labels[batch], label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def answer(row: Row, out: Path, model: torch.nn.Module) -> Callable[[], object]:
    """What a form computes of one image, on one thread."""
    image = np.zeros((1, 3, SIZE, SIZE), np.float32)
    if row.form == "PyTorch":
        return torch.inference_mode()(lambda: model(torch.from_numpy(image)))
    if row.form == "ONNX":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        onnx = open_session(out / "digits.onnx", options)
        return lambda: onnx.run(None, {onnx.get_inputs()[0].name: image})
    if row.form in WAYS_OUT:
        file = open_model_file(out / WAYS_OUT[row.form])
        session = file.session(threads=1)
        return lambda: session(dict.fromkeys(file.inputs, image))
    prefix = out / ("digits_int8" if row.form == "Caffe2 int8" else "digits")
    net = load_net(f"{prefix}.predict.pb", f"{prefix}.init.pb")
    session = net.session(threads=1)
    return lambda: session.run({net.inputs[0]: image})


def milliseconds(call: Callable[[], object], repeats: int = 50) -> float:
    """Median time of one call, after a warm-up."""
    times = []
    for _ in range(repeats + 5):
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[5:]))


def line(row: Row, ms_here: float) -> str:
    phone = "-" if row.latency_ms is None else f"{row.latency_ms:.2f}"
    return f"{row.form:12} {row.top1:8.1f} {row.agreement:9.1f} {row.size_mb:8.2f} {ms_here:8.2f} {phone:>14}"


if __name__ == "__main__":
    run(main)
