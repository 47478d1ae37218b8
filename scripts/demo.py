#!/usr/bin/env python3
"""The whole chain on an embedded example: a small FBNet learns handwritten digits, and goes to the phone.

Trains fbnet_96 for some seconds on scikit-learn's digits, then runs the project's own commands as a user
would: PyTorch to ONNX, to Caffe2, to Caffe2 int8; each form validated on held-out images, its latency here
measured, on a Samsung S8 estimated. Leaves images, models and results in demo-output/.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnxruntime
import torch
from PIL import Image
from sklearn.datasets import load_digits

from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models import load_net
from caffe2_models.runtimes.onnx_runtime import open_session
from mobile_cv.model_zoo import create_model
from validate.predictions import Predictions

ROOT = Path(__file__).resolve().parent.parent
MODEL, CLASSES, SIZE = "fbnet_96", 10, 32
TRAINING, HELD_OUT = slice(0, 1297), slice(1297, None)
EPOCHS, BATCH, LEARNING_RATE = 10, 32, 0.05
INPUT = (
    f"--num-classes {CLASSES} --img-size {SIZE} --mean 0.5 0.5 0.5 --std 0.5 0.5 0.5 "
    "--interpolation bilinear --crop-pct 1"
)


@dataclass
class Form:
    """One form of the network and what is found of it."""

    name: str
    files: list[Path]
    validate: str  # the command that does, without the flags that all forms share
    top1: float = 0.0  # percent
    agreement: float = 0.0  # percent of the images that PyTorch takes for the same digit
    ms_here: float = 0.0
    ms_on_s8: float | None = None

    @property
    def megabytes(self) -> float:
        return sum(file.stat().st_size for file in self.files) / 1e6

    def row(self) -> str:
        phone = "-" if self.ms_on_s8 is None else f"{self.ms_on_s8:.2f}"
        numbers = f"{self.top1:8.1f} {self.agreement:9.1f} {self.megabytes:8.2f} {self.ms_here:8.2f}"
        return f"{self.name:12} {numbers} {phone:>14}"


HEADER = f"{'form':12} {'top-1 %':>8} {'agrees %':>9} {'size MB':>8} {'ms here':>8} {'est. ms on S8':>14}"


def write_images(folder: Path) -> None:
    """The digits, enlarged to SIZE pixels: training/0/0001.png ... held-out/9/1796.png."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    for part, chosen in (("training", TRAINING), ("held-out", HELD_OUT)):
        for index in order[chosen]:
            image = Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8))
            target = folder / part / str(digits.target[index])
            target.mkdir(parents=True, exist_ok=True)
            enlarged = image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)
            enlarged.save(target / f"{index:04}.png")


def read_images(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(N x 3 x SIZE x SIZE in -1 ... 1, N labels)"""
    files = sorted(folder.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels / np.float32(127.5) - 1), torch.tensor([int(file.parent.name) for file in files])


def train(images: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
    """SGD with one cycle of the learning rate. One thread: layers this small gain nothing by more."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = create_model(MODEL, num_classes=CLASSES, img_size=SIZE, drop_rate=0.0, bn_momentum=0.1)
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


def command(line: str) -> None:
    """Run one of the project's commands, and show it with what it prints."""
    print(f"\n$ python {line}", flush=True)
    run = subprocess.run([sys.executable, *shlex.split(line)], cwd=ROOT)
    if run.returncode:
        sys.exit(run.returncode)


def written(path: Path) -> str:
    """The path as one types it in the project's folder."""
    return shlex.quote(str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path))


def milliseconds(run, repeats: int = 50) -> float:
    """Median time of one call, after a warm-up."""
    times = []
    for _ in range(repeats + 5):
        start = time.perf_counter()
        run()
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times[5:]))


def latency_here(form: Form, model: torch.nn.Module) -> float:
    """ms for one image on this machine, one thread."""
    image = np.zeros((1, 3, SIZE, SIZE), np.float32)
    if form.name == "PyTorch":
        with torch.inference_mode():
            return milliseconds(lambda: model(torch.from_numpy(image)))
    if form.name == "ONNX":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = open_session(form.files[0], options)
        return milliseconds(lambda: session.run(None, {session.get_inputs()[0].name: image}))
    predict, init = form.files
    net = load_net(predict, init)
    session = net.session(threads=1)
    return milliseconds(lambda: session.run({net.inputs[0]: image}))


def judge(form: Form, out: Path, model: torch.nn.Module, judged: np.ndarray | None) -> np.ndarray:
    """Validate and time one form; returns the classes that it predicts."""
    name = form.name.replace(" ", "_").lower()
    results, predictions = out / f"{name}.json", out / f"{name}.csv"
    command(f"{form.validate} --results-file {written(results)} --predictions {written(predictions)}")
    classes = Predictions.load(predictions).outcomes.top[:, 0]
    form.top1 = json.loads(results.read_text())["top1"]
    form.agreement = 100 * float(np.mean(classes == (classes if judged is None else judged)))
    form.ms_here = latency_here(form, model)
    return classes


def main() -> None:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="folder for what it makes")
    out = parser.parse_args().output.resolve()
    out.mkdir(parents=True, exist_ok=True)
    write_images(out / "digits")
    training, held_out = out / "digits" / "training", out / "digits" / "held-out"

    start = time.perf_counter()
    images, labels = read_images(training)
    model = train(images, labels)
    print(f"{MODEL} trained on {len(images)} digits in {time.perf_counter() - start:.0f} s")

    checkpoint, onnx = out / "digits.pth", out / "digits.onnx"
    fp32, int8 = out / "digits_fp32", out / "digits_int8"
    torch.save(model.state_dict(), checkpoint)
    source = f"--model {MODEL} --checkpoint {written(checkpoint)} {INPUT}"
    command(f"onnx_export.py {written(onnx)} {source}")
    command(f"onnx_to_caffe.py {written(onnx)} --c2-prefix {written(fp32)}")
    command(
        f"onnx_to_caffe.py {written(onnx)} --c2-prefix {written(int8)} "
        f"--int8 --calibration-data {written(training)} --calibration-images 100"
    )

    def caffe2(name: str, prefix: Path) -> Form:
        files = [prefix.with_name(f"{prefix.name}.{part}.pb") for part in ("predict", "init")]
        return Form(name, files, f"caffe2_validate.py {written(held_out)} --c2-prefix {written(prefix)}")

    forms = [
        Form("PyTorch", [checkpoint], f"scripts/validate.py {written(held_out)} {source}"),
        Form("ONNX", [onnx], f"scripts/onnx_validate.py {written(held_out)} --onnx-input {written(onnx)}"),
        caffe2("Caffe2 fp32", fp32),
        caffe2("Caffe2 int8", int8),
    ]
    judged = None
    for form in forms:
        classes = judge(form, out, model, judged)
        judged = classes if judged is None else judged
    for form in forms[2:]:
        latency = form.files[0].with_suffix(".latency.json")
        command(f"get_runtime.py --model_path {written(form.files[0])} --top 5 --json {written(latency)}")
        form.ms_on_s8 = json.loads(latency.read_text())["latency_us"] / 1000

    print(f"\n{MODEL} on {len(judged)} held-out digits; one image, one thread")
    print("\n".join([HEADER, *(form.row() for form in forms)]))


if __name__ == "__main__":
    main()
