"""A trained network through the project's own commands: ONNX, Caffe2, int8, each validated and timed."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.progress import progress
from mobile_cv.search import Data
from mobile_cv.search.images import ArrayImages, Images
from validate.predictions import Predictions

ROOT = Path(__file__).resolve().parent.parent  # of the checkout
CALIBRATION_IMAGES = 100


@dataclass(frozen=True)
class Row:
    """One form of the network: percent right, percent as PyTorch says, MB, ms on the device."""

    form: str
    top1: float
    agreement: float
    size_mb: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class ImageFolders:
    """Images as the commands take them: folders of class folders, and the file that numbers the classes."""

    calibration: Path
    held_out: Path
    label_map: Path


def write_images(data: Data, folder: Path) -> ImageFolders:
    """The data's images on disk, unless they are folders already; some for calibration, all held out."""
    label_map = folder / "classes.json"
    if isinstance(data.train, ArrayImages):
        names = [str(index) for index in range(len(data.classes))]
        some = np.linspace(0, len(data.train) - 1, min(CALIBRATION_IMAGES, len(data.train))).astype(int)
        parts = {"calibration": (data.train, some), "held-out": (data.test, np.arange(len(data.test)))}
        for part, (images, indices) in parts.items():
            _write_part(images, indices.tolist(), folder / part)
        folders = [folder / part for part in parts]
    else:
        names = list(data.classes)
        folders = [data.train.root, data.test.root]
    write_atomically(label_map, json.dumps(names))
    return ImageFolders(*folders, label_map)


def _write_part(images: Images, indices: list[int], folder: Path) -> None:
    for index in progress(indices, desc=f"writing {folder.name} images", unit="image"):
        path = folder / str(images.labels[index]) / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images.read(index)).save(path)


class Chain:
    """The forms of one network in one folder: NAME.onnx, NAME.init.pb, NAME_int8.init.pb, commands.log ..."""

    def __init__(self, definition: Path, checkpoint: Path, images: ImageFolders, latency_flags: list[str]):
        """latency_flags: those of get_runtime.py that tell the device and its table."""
        self.definition, self.checkpoint = definition.resolve(), checkpoint.resolve()
        self.images, self.latency_flags = images, latency_flags
        self.out, self.name = self.definition.parent, self.definition.stem
        self.log = self.out / "commands.log"

    def run(self) -> list[Row]:
        """Convert, validate and time all forms. Raises ModelError where a command fails."""
        self.log.unlink(missing_ok=True)
        onnx, fp32, int8 = (self.out / f"{self.name}{end}" for end in (".onnx", "", "_int8"))
        weights = ["--model", self.definition, "--checkpoint", self.checkpoint]
        self.command("onnx_export.py", onnx, *weights)
        self.command("onnx_to_caffe.py", onnx, "--c2-prefix", fp32)
        self.command(
            *("onnx_to_caffe.py", onnx, "--c2-prefix", int8, "--int8"),
            *("--calibration-data", self.images.calibration, "--calibration-images", CALIBRATION_IMAGES),
        )
        forms = {
            "PyTorch": ([self.checkpoint], ["scripts/validate.py", *weights]),
            "ONNX": ([onnx], ["scripts/onnx_validate.py", "--onnx-input", onnx]),
            "Caffe2 fp32": (_pair(fp32), ["caffe2_validate.py", "--c2-prefix", fp32]),
            "Caffe2 int8": (_pair(int8), ["caffe2_validate.py", "--c2-prefix", int8]),
        }
        rows: list[Row] = []
        judged = None
        for form, (files, (script, *words)) in forms.items():
            top1, predicted = self.validate(form, script, *words)
            judged = predicted if judged is None else judged
            rows.append(
                Row(
                    form,
                    top1,
                    100 * float(np.mean(predicted == judged)),
                    sum(file.stat().st_size for file in files) / 1e6,
                    self.latency_ms(files[0]) if form.startswith("Caffe2") else None,
                )
            )
        return rows

    def validate(self, form: str, script: str, *words: object) -> tuple[float, np.ndarray]:
        """(top-1 in percent, the class predicted for each image held out)."""
        name = form.lower().replace(" ", "-")
        results = self.out / f"validation-{name}.json"
        predictions = self.out / f"validation-{name}.csv"
        self.command(
            *(script, self.images.held_out, *words, "--label-map", self.images.label_map),
            *("--results-file", results, "--predictions", predictions),
        )
        return json.loads(results.read_text())["top1"], Predictions.load(predictions).outcomes.top[:, 0]

    def latency_ms(self, predict: Path) -> float | None:
        """Of a Caffe2 net, by the device's table; None where that lacks some of it."""
        figures = self.out / f"latency-{predict.name.split('.')[0]}.json"
        self.command("get_runtime.py", "--model_path", predict, "--json", figures, *self.latency_flags)
        (latency,) = _listed(json.loads(figures.read_text()))
        return None if "missing" in latency["provenance"] else latency["latency_us"] / 1000

    def command(self, *words: object) -> None:
        """Run one of the project's commands; what it prints goes to the log."""
        line = [str(word) for word in words]
        run = subprocess.run([sys.executable, *line], cwd=ROOT, capture_output=True, text=True)
        with self.log.open("a") as log:
            log.write(f"$ python {shlex.join(line)}\n{run.stdout}{run.stderr}\n")
        if run.returncode:
            last = (run.stderr or run.stdout).strip().rpartition("\n")[2]
            raise ModelError(f"{self.log}: {line[0]} ended with status {run.returncode}: {last}")


def _pair(prefix: Path) -> list[Path]:
    return [prefix.with_name(f"{prefix.name}.{part}.pb") for part in ("predict", "init")]


def _listed(values: object) -> list:
    return values if isinstance(values, list) else [values]


def to_text(rows: list[Row], device: str) -> str:
    """The rows as a table."""
    last = f"ms on {device}"
    lines = [f"{'form':12} {'top-1 %':>8} {'agrees %':>9} {'size MB':>8}  {last}"]
    for row in rows:
        latency = "-" if row.latency_ms is None else f"{row.latency_ms:.4g}"
        figures = f"{row.top1:8.2f} {row.agreement:9.2f} {row.size_mb:8.3f}"
        lines.append(f"{row.form:12} {figures}  {latency:>{len(last)}}")
    return "\n".join(lines)
