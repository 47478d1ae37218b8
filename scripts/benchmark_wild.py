#!/usr/bin/env python3
"""Time nets of other tasks beside the real Caffe2: detection in int8 on `exact`, style transfer on `onnxruntime`.

A net is a folder as load_net takes it, with expected.npz (arrays in:NAME that it is fed) beside it; or one with
recipe.json, a net of which only the graph is at hand: `checks/wild_nets.py` two folders up makes its weights from the
recipe's seed. Style transfer is fed a camera's image of --size instead. Both runtimes take turns on one thread; figures
are medians (with --fastest minima) of the ms of processor time that a second run takes after a first. CAFFE2_PYTHON
names the interpreter that has Caffe2.
"""

import argparse
import importlib.util
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.progress import progress
from caffe2_common.sizes import Size, pair_of, parse_size
from caffe2_mobile.commands.program import ArgumentParser, run
from caffe2_models import Net, load_net

ROOT = Path(__file__).resolve().parent.parent
WILD = ROOT.parent / "shared" / "golden" / "wild_nets"
DEFAULTS = ["mask_rcnn_2go_int8_2", "style_animals"]
BARS = {"exact": 4.0, "onnxruntime": 4.0}  # times as fast as Caffe2
PIXELS = "PackedInt8BGRANHWCToNCHWCStylizerPreprocess"


def main(argv: list[str]) -> int:
    args = parse(argv)
    rows = [measure(Path(folder), args) for folder in progress(args.nets, desc="nets")]
    print("| net | runtime | Caffe2, ms | ms | Caffe2 / runtime |\n|---|---|---:|---:|---:|")
    for name, runtime, caffe2, ours in rows:
        print(f"| {name} | {runtime} | {caffe2:.2f} | {ours:.2f} | {caffe2 / ours:.2f} |")
    reached = [caffe2 / ours >= BARS[runtime] for _, runtime, caffe2, ours in rows]
    for (name, runtime, *_), holds in zip(rows, reached, strict=True):
        print(f"{name}: bar {BARS[runtime]} times: {'reached' if holds else 'NOT reached'}")
    return 1 if args.check and not all(reached) else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", metavar="FOLDER", help="default: the two of ../shared/golden/wild_nets")
    parser.add_argument("--rounds", type=int, default=15, metavar="N", help="default %(default)s")
    parser.add_argument("--size", default="480x640", help="of a camera's image, default %(default)s")
    parser.add_argument("--fastest", action="store_true", help="minima instead of medians")
    parser.add_argument("--check", action="store_true", help="exit with 1 where a bar is not reached")
    args = parser.parse_args(argv)
    args.nets = args.nets or [WILD / name for name in DEFAULTS]
    args.size = parse_size(args.size)
    if args.rounds < 1:
        raise ModelError("--rounds must be at least 1")
    if not os.environ.get("CAFFE2_PYTHON"):
        raise ModelError("CAFFE2_PYTHON is not set (scripts/setup_caffe2.sh makes an interpreter with Caffe2)")
    return args


def measure(folder: Path, args: argparse.Namespace) -> tuple[str, str, float, float]:
    """(net, our runtime, Caffe2's ms, our ms)"""
    net, feeds = open_net(folder, args.size)
    caffe2, session = net.session("caffe2", threads=1), net.session(runtime_of(net), threads=1)
    timers: list[Callable[[], float]] = [lambda: caffe2.processor_time(feeds), processor_timer(session, feeds)]
    times: list[list[float]] = [[], []]
    for _ in range(args.rounds):
        for timer, measured in zip(timers, times, strict=True):
            measured.append(timer())
    figure = min if args.fastest else statistics.median
    return folder.name, session.backend, figure(times[0]), figure(times[1])


def runtime_of(net: Net) -> str:
    """`auto` would take `exact` for a float32 net whose last bits decide, too."""
    return "exact" if net.is_quantized else "onnxruntime"


def open_net(folder: Path, size: Size) -> tuple[Net, dict[str, Any]]:
    """(net, what it is fed)"""
    if (folder / "recipe.json").exists():
        recipe = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
        predict, init, feeds = load_maker(folder).make(recipe["net"], recipe["seed"])
        return Net(predict, init), feeds
    net = load_net(folder)
    if net.operators[0].type == PIXELS:
        image = np.random.default_rng(0).integers(0, 256, (1, *pair_of(size), 4))
        return net, {net.inputs[0]: image.astype(np.uint8)}
    try:
        expected = np.load(folder / "expected.npz")
    except OSError as error:
        raise ModelError(f"{folder}/expected.npz: {error.strerror}; it holds what the net is fed") from None
    return net, {key[3:]: expected[key] for key in expected.files if key.startswith("in:")}


def load_maker(folder: Path) -> Any:
    path = folder.resolve().parents[1].parent / "checks" / "wild_nets.py"
    spec = importlib.util.spec_from_file_location("wild_nets", path)
    if not path.exists() or spec is None or spec.loader is None:
        raise ModelError(f"{folder}: no {path}, which makes nets of recipes")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def processor_timer(session, feeds: dict[str, Any]) -> Callable[[], float]:
    def timer() -> float:
        session.run(feeds)
        start = time.process_time()
        session.run(feeds)
        return 1000 * (time.process_time() - start)

    return timer


if __name__ == "__main__":
    run(main)
