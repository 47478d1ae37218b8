#!/usr/bin/env python3
"""The whole chain on an embedded example: a small FBNet learns handwritten digits, and goes to the phone.

Trains fbnet_96 for some seconds on scikit-learn's digits, then runs the project's own commands as a user would: PyTorch
to ONNX, to Caffe2, to Caffe2 int8; each form validated on held-out images, its latency here measured, on a Samsung S8
estimated. Leaves images, models and results in demo-output/.
"""

import argparse
import json
import shlex
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import onnxruntime
import torch
from PIL import Image
from sklearn.datasets import load_digits

from caffe2_models import load_net
from caffe2_models.command import progress
from mobile_cv.model_zoo import create_model
from validate.predictions import Predictions

MODEL, CLASSES, SIZE = "fbnet_96", 10, 32
TRAINING, HELD_OUT = slice(0, 1297), slice(1297, None)
EPOCHS, BATCH, LEARNING_RATE = 12, 32, 0.05
INPUT = ["--img-size", str(SIZE), "--mean", "0.5", "0.5", "0.5", "--std", "0.5", "0.5", "0.5"]


@dataclass
class Form:
    """One form of the network: its name, its file, and how to validate it."""

    name: str
    files: list[Path]
    validate: list[str]


def write_images(folder: Path) -> None:
    """The digits as JPEG-like folders: training/0/0001.png ... held-out/9/1796.png, enlarged to SIZE pixels."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.images))
    for part, chosen in (("training", TRAINING), ("held-out", HELD_OUT)):
        for index in order[chosen]:
            image = Image.fromarray((digits.images[index] * 255 / 16).astype(np.uint8))
            target = folder / part / str(digits.target[index])
            target.mkdir(parents=True, exist_ok=True)
            image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR).save(target / f"{index:04}.png")


def read_images(folder: Path) -> tuple[torch.Tensor, torch.Tensor]:
    """(N x 3 x SIZE x SIZE in -1 ... 1, N labels)"""
    files = sorted(folder.glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files]).transpose(0, 3, 1, 2)
    return torch.from_numpy(pixels / np.float32(127.5) - 1), torch.tensor([int(file.parent.name) for file in files])


def train(images: torch.Tensor, labels: torch.Tensor) -> torch.nn.Module:
    """SGD with one cycle of the learning rate; some seconds on two cores."""
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


def command(*words: object) -> str:
    """Run one of the project's commands, show it and what it printed, and return that."""
    shown = [str(word.relative_to(ROOT)) if isinstance(word, Path) else str(word) for word in words]
    print(f"\n$ python {shlex.join(shown)}", flush=True)
    run = subprocess.run([sys.executable, *shown], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    print(run.stdout, end="", flush=True)
    if run.returncode:
        sys.exit(run.returncode)
    return run.stdout


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
        torch.set_num_threads(1)
        with torch.inference_mode():
            return milliseconds(lambda: model(torch.from_numpy(image)))
    if form.name == "ONNX":
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        session = onnxruntime.InferenceSession(form.files[0], options)
        return milliseconds(lambda: session.run(None, {session.get_inputs()[0].name: image}))
    predict, init = form.files
    net = load_net(predict, init)
    session = net.session(threads=1)
    return milliseconds(lambda: session.run({net.inputs[0]: image}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "demo-output", help="folder of what the demo makes")
    out = parser.parse_args().output.resolve()
    shutil.rmtree(out, ignore_errors=True)
    write_images(out / "digits")
    held_out = out / "digits" / "held-out"

    start = time.perf_counter()
    images, labels = read_images(out / "digits" / "training")
    model = train(images, labels)
    checkpoint, onnx_file = out / "fbnet_digits.pth", out / "fbnet_digits.onnx"
    torch.save(model.state_dict(), checkpoint)
    print(f"{MODEL} trained on {len(images)} digits in {time.perf_counter() - start:.0f} s")

    float_net, int8_net = out / "fbnet_digits", out / "fbnet_digits_int8"
    command("onnx_export.py", "--model", MODEL, onnx_file, "--checkpoint", checkpoint, "--num-classes", CLASSES, *INPUT,
            "--interpolation", "bilinear", "--crop-pct", "1.0")  # fmt: skip
    command("onnx_to_caffe.py", onnx_file, "--c2-prefix", float_net)
    command("onnx_to_caffe.py", onnx_file, "--c2-prefix", int8_net, "--int8", "--calibration-data",
            out / "digits" / "training", "--calibration-images", 100)  # fmt: skip

    def pair(prefix: Path) -> list[Path]:
        return [prefix.with_name(f"{prefix.name}.{part}.pb") for part in ("predict", "init")]

    forms = [
        Form("PyTorch", [checkpoint], ["scripts/validate.py", held_out, "--model", MODEL, "--checkpoint", checkpoint,
                                       "--num-classes", CLASSES, *INPUT, "--interpolation", "bilinear", "--crop-pct", "1.0"]),
        Form("ONNX", [onnx_file], ["scripts/onnx_validate.py", held_out, "--onnx-input", onnx_file]),
        Form("Caffe2 fp32", pair(float_net), ["caffe2_validate.py", held_out, "--c2-prefix", float_net]),
        Form("Caffe2 int8", pair(int8_net), ["caffe2_validate.py", held_out, "--c2-prefix", int8_net]),
    ]  # fmt: skip
    rows, judged = [], None
    for number, form in enumerate(forms):
        results, predictions = out / f"results_{number}.json", out / f"predictions_{number}.csv"
        command(*form.validate, "--results-file", results, "--predictions", predictions)
        classes = Predictions.load(predictions).outcomes.top[:, 0]
        judged = classes if judged is None else judged
        agreement = 100 * float(np.mean(classes == judged))
        size = sum(file.stat().st_size for file in form.files) / 1e6
        rows.append([form.name, json.loads(results.read_text())["top1"], agreement, size, latency_here(form, model), None])
    for row, prefix in ((rows[2], float_net), (rows[3], int8_net)):
        latency = out / f"latency_{prefix.name}.json"
        command("get_runtime.py", "--model_path", pair(prefix)[0], "--json", latency)
        row[-1] = total_ms(latency)

    print(f"\n{MODEL} on {len(list(held_out.glob('*/*.png')))} held-out digits, one thread")
    print(f"{'form':12} {'top-1 %':>8} {'agrees %':>9} {'size MB':>8} {'ms here':>8} {'est. ms on S8':>14}")
    for name, top1, agreement, size, here, phone in rows:
        print(f"{name:12} {top1:8.1f} {agreement:9.1f} {size:8.2f} {here:8.2f} {'-' if phone is None else f'{phone:.1f}':>14}")


if __name__ == "__main__":
    main()
