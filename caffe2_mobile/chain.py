"""A trained network through the project's own commands: ONNX, Caffe2, int8, each validated and timed."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically, write_atomically
from caffe2_common.progress import progress
from validate.predictions import Predictions

if TYPE_CHECKING:
    from mobile_cv.search import Data
    from mobile_cv.search.images import Images

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
    from mobile_cv.search.images import FolderImages

    label_map = folder / "classes.json"
    if isinstance(data.train, FolderImages) and isinstance(data.test, FolderImages):
        write_atomically(label_map, json.dumps(list(data.classes)))
        return ImageFolders(data.train.root, data.test.root, label_map)
    some = np.linspace(0, len(data.train) - 1, min(CALIBRATION_IMAGES, len(data.train))).astype(int)
    images = ImageFolders(folder / "calibration", folder / "held-out", label_map)
    _write_part(data.train, some.tolist(), images.calibration)
    _write_part(data.test, list(range(len(data.test))), images.held_out)
    write_atomically(label_map, json.dumps([str(index) for index in range(len(data.classes))]))
    return images


def _write_part(images: Images, indices: list[int], folder: Path) -> None:
    for index in progress(indices, desc=f"writing {folder.name} images", unit="image"):
        path = folder / str(images.labels[index]) / f"{index:05}.png"
        with open_atomically(path) as file:
            Image.fromarray(images.read(index)).save(file, format="PNG")


class Chain:
    """The forms of one network in one folder: NAME.onnx, NAME.init.pb, NAME_int8.init.pb, commands.log ...

    With ways_out, also those that go on from the int8 net: NAME_int8.onnx, NAME_int8.tflite.
    """

    def __init__(
        self,
        definition: Path,
        checkpoint: Path,
        images: ImageFolders,
        latency_flags: Sequence[str] = (),
        show: bool = False,
        ways_out: bool = False,
    ):
        """latency_flags: those of `caffe2-mobile latency` that tell the device and its table.

        show: print the commands with what they print, in place of the log.
        """
        self.definition, self.checkpoint = definition.resolve(), checkpoint.resolve()
        self.images, self.latency_flags, self.show = images, latency_flags, show
        self.ways_out = ways_out
        self.out, self.name = self.definition.parent, self.definition.stem
        self.log = self.out / "commands.log"

    def run(self) -> list[Row]:
        """Convert, validate and time all forms. Raises ModelError where a command fails."""
        self.log.unlink(missing_ok=True)
        onnx, fp32, int8 = (self.out / f"{self.name}{end}" for end in (".onnx", "", "_int8"))
        weights = ["--model", self.definition, "--checkpoint", self.checkpoint]
        self.command("export", onnx, *weights)
        self.command("convert", onnx, "--c2-prefix", fp32)
        self.command(
            *("quantize", onnx, "--c2-prefix", int8),
            *("--calibration-data", self.images.calibration, "--calibration-images", CALIBRATION_IMAGES),
        )
        forms: dict[str, tuple[list[Path], list[object]]] = {
            "PyTorch": ([self.checkpoint], [*weights]),
            "ONNX": ([onnx], ["--onnx-input", onnx]),
            "Caffe2 fp32": (_pair(fp32), ["--c2-prefix", fp32]),
            "Caffe2 int8": (_pair(int8), ["--c2-prefix", int8]),
        }
        if self.ways_out:
            exact, tflite = (int8.with_name(f"{int8.name}{end}") for end in (".onnx", ".tflite"))
            self.command("to-onnx", "--c2-prefix", int8, exact)
            self.command("to-tflite", int8, "-o", tflite)
            forms |= {"ONNX int8": ([exact], [exact]), "LiteRT int8": ([tflite], [tflite])}
        rows: list[Row] = []
        judged: np.ndarray | None = None
        for form, (files, words) in forms.items():
            top1, predicted = self.validate(form, *words)
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

    def validate(self, form: str, *words: object) -> tuple[float, np.ndarray]:
        """(top-1 in percent, the class predicted for each image held out)."""
        name = form.lower().replace(" ", "-")
        results = self.out / f"validation-{name}.json"
        predictions = self.out / f"validation-{name}.csv"
        self.command(
            *("validate", self.images.held_out, *words, "--label-map", self.images.label_map),
            *("--results-file", results, "--predictions", predictions),
        )
        return json.loads(results.read_text(encoding="utf-8"))["top1"], Predictions.load(predictions).outcomes.top[:, 0]

    def latency_ms(self, predict: Path) -> float | None:
        """Of a Caffe2 net, by the device's table; None where that lacks some of it."""
        figures = self.out / f"latency-{predict.name.split('.')[0]}.json"
        self.command("latency", "--model_path", predict, "--json", figures, *self.latency_flags)
        latency = json.loads(figures.read_text(encoding="utf-8"))
        return None if "missing" in latency["provenance"] else latency["latency_us"] / 1000

    def command(self, *words: object) -> None:
        """Run one of the project's commands; what it prints goes to the log, or is shown."""
        line = [str(word) for word in words]
        heading = f"$ caffe2-mobile {shlex.join(line)}\n"
        if self.show:
            print(f"\n{heading}", end="", flush=True)
        run = run_command(line, capture_output=not self.show)
        if not self.show:
            with self.log.open("a", encoding="utf-8") as log:
                log.write(f"{heading}{run.stdout}{run.stderr}\n")
        if run.returncode:
            last = (run.stderr or run.stdout or "see above").strip().rpartition("\n")[2]
            raise ModelError(f"{self.log}: {line[0]} ended with status {run.returncode}: {last}")


def run_command(words: Sequence[str], capture_output: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `caffe2-mobile VERB ...` in a process of its own, which finds the same packages as this one."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-m", "caffe2_mobile", *words]
    return subprocess.run(command, env=environment, capture_output=capture_output, text=True)


def _pair(prefix: Path) -> list[Path]:
    return [prefix.with_name(f"{prefix.name}.{part}.pb") for part in ("predict", "init")]


def to_text(rows: Sequence[Row], device: str) -> str:
    """The rows as a table."""
    last = f"ms on {device}"
    lines = [f"{'form':12} {'top-1 %':>8} {'agrees %':>9} {'size MB':>8}  {last}"]
    for row in rows:
        latency = "-" if row.latency_ms is None else f"{row.latency_ms:.4g}"
        figures = f"{row.top1:8.2f} {row.agreement:9.2f} {row.size_mb:8.3f}"
        lines.append(f"{row.form:12} {figures}  {latency:>{len(last)}}")
    return "\n".join(lines)
