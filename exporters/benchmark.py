"""What conversions take: seconds, and memory over the model's bytes. For Linux, which tells a process's peak."""

import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from caffe2_models import load_net
from exporters.caffe2_to_onnx import to_onnx
from exporters.onnx_files import load_onnx, save_onnx
from exporters.onnx_to_caffe2 import convert

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")  # Linux's memory figures
WARM_UP = "mobilenetv1_025"  # converted first, so that imports do not count


class Step(NamedTuple):
    """A conversion, to a file, of what `prepare` makes, which does not count, or of the file of the step before."""

    title: str
    prepare: Callable[[str, Path], object]
    convert: Callable[[object, Path], None]


def measure_all(model: str, steps: Iterable[Step]) -> Iterator[tuple[str, float, float]]:
    """(title, seconds, memory over the size of the model's ONNX file), one step after the other."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / model.replace("/", "_"), Path(folder) / "warm_up"]
        for step in steps:
            seconds, taken = in_new_process(measure, step, [model, WARM_UP], paths)
            yield step.title, seconds, taken / paths[0].with_suffix(".onnx").stat().st_size


def create(name: str, path: Path):
    from exporters import torch_to_onnx

    return torch_to_onnx.create_module(name)


def export(module, path: Path, exporter: str = "torchscript") -> None:
    from exporters import torch_to_onnx

    save_onnx(torch_to_onnx.export(module, exporter=exporter), path.with_suffix(".onnx"))


def export_by_dynamo(module, path: Path) -> None:
    export(module, path, "dynamo")


def nothing(name: str, path: Path) -> None:
    return None


def to_caffe2(_, path: Path) -> None:
    convert(load_onnx(path.with_suffix(".onnx"))).save(path)


def back_to_onnx(_, path: Path) -> None:
    net = load_net(f"{path}.predict.pb", f"{path}.init.pb")
    save_onnx(to_onnx(net, {"data": (1, 3, 224, 224)}), path.with_suffix(".back.onnx"))


STEPS = [
    Step("PyTorch to ONNX", create, export),
    Step("PyTorch to ONNX, torch's dynamo", create, export_by_dynamo),
    Step("ONNX to Caffe2", nothing, to_caffe2),
    Step("Caffe2 to ONNX", nothing, back_to_onnx),
]


def measure(step: Step, names: list[str], paths: list[Path]) -> tuple[float, int]:
    """(seconds, bytes at the peak beyond what was there before) of a step, after a first one of the same."""
    step.convert(step.prepare(names[1], paths[1]), paths[1])
    given = step.prepare(names[0], paths[0])
    before = memory("VmRSS")
    CLEAR.write_text("5", encoding="utf-8")  # VmHWM begins anew
    start = time.perf_counter()
    step.convert(given, paths[0])
    return time.perf_counter() - start, memory("VmHWM") - before


def memory(field: str) -> int:
    """Bytes, of this process."""
    return next(
        1024 * int(line.split()[1])
        for line in STATUS.read_text(encoding="utf-8").splitlines()
        if line.startswith(field)
    )


def in_new_process(function: Callable, *arguments):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
