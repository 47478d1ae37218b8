#!/usr/bin/env python3
"""Take every model of the zoo from PyTorch to ONNX, to Caffe2 and back; tabulate how far the forms differ."""

import argparse
import math
import platform
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_common.progress import progress
from caffe2_mobile.commands.program import ArgumentParser, run
from exporters.sweep import FORMS, Journal, Row, sweep
from exporters.verification import TOLERANCE, real_caffe2_is_at_hand
from mobile_cv.model_zoo import get_architecture, list_models
from mobile_cv.model_zoo.registry import canonical_name

PLAIN_SIZE = 224
ODD_SIZE = 193  # SAME padding is lopsided there in other layers than at 224
TABLE = Path(__file__).resolve().parent.parent / "docs" / "zoo_sweep.md"


def main(argv: list[str]) -> int:
    arguments = parse(argv)
    jobs = [(name, size) for name in names(arguments.models) for size in sizes(name)]
    first, count = arguments.shard
    journal = Journal(arguments.journal) if arguments.journal else None
    done = journal.read() if journal else {}
    failures = []
    for job in progress(jobs[first::count], desc="zoo"):
        if job in done:
            continue
        try:
            done[job] = sweep(*job)
        except ModelError as error:
            failures.append(f"{job[0]} at {job[1]}: {error}")
        else:
            if journal:
                journal.add(done[job])
    done |= journal.read() if journal else {}  # what other shards have done meanwhile
    rows = [done[job] for job in jobs if job in done]
    failures += [f"{row.model} at {row.size}: outputs differ" for row in rows if not row.holds]
    write_atomically(arguments.output, document(rows, failures))
    if journal and len(rows) == len(jobs):
        journal.remove()  # the table is whole; the next one is measured anew
    print(f"{arguments.output}: {len(rows)} of {len(jobs)} rows, {len(failures)} failures")
    for failure in failures:
        print(failure)
    return 1 if failures or not rows else 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="*", metavar="PATTERN", help="shell pattern (default: the whole zoo)")
    parser.add_argument("--shard", type=shard, default=(0, 1), metavar="K/N", help="every Nth, from K")
    parser.add_argument("--journal", type=Path, metavar="F.jsonl",
                        help="keep each row here until the table is whole, and go on from the rows in it")  # fmt: skip
    parser.add_argument("--output", type=Path, default=TABLE, metavar="F.md", help="(default: docs/zoo_sweep.md)")
    return parser.parse_args(argv)


def shard(text: str) -> tuple[int, int]:
    first, _, count = text.partition("/")
    if not (first.isdigit() and count.isdigit() and int(first) < int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not K/N with K below N")
    return int(first), int(count)


def names(pattern: str) -> list[str]:
    """The models that match, each under its own name only."""
    found = [name for name in list_models(pattern) if canonical_name(name) == name]
    if not found:
        raise ModelError(f"no model of the zoo matches {pattern!r}")
    return found


def sizes(name: str) -> list[int]:
    """The model's own size; models with SAME padding also at 224 and at an odd size."""
    own = get_architecture(name).size
    return sorted({own, PLAIN_SIZE, ODD_SIZE} if name.startswith("tf_") else {own}, reverse=True)


def document(rows: list[Row], failures: list[str]) -> str:
    caffe2 = "the real Caffe2 1.8.1" if real_caffe2_is_at_hand() else "no real Caffe2 at hand"
    worst = max((gap for row in rows for gap in row.differences.values() if not math.isnan(gap)), default=0)
    lines = [
        "# The zoo, all the way",
        "",
        "Made by `make zoo-sweep` (`python scripts/zoo_sweep.py`). Every model of the zoo, with seeded",
        "random weights and BatchNorm statistics, goes from PyTorch to ONNX, to Caffe2 and back to ONNX; models",
        f"with SAME padding (tf_) also at {PLAIN_SIZE} and {ODD_SIZE} pixels.",
        "The last columns are the largest difference of each form's outputs from PyTorch's over the largest",
        f"output, on a random and an image-like input; at most {TOLERANCE:.0e} passes. Here the largest is",
        f"{worst:.1e}; {len(failures)} failures.",
        "",
        f"{platform.machine()}, torch {version('torch')}, onnx {version('onnx')}, "
        f"ONNX Runtime {version('onnxruntime')}, {caffe2}.",
        "",
        "| model | size | parameters (M) | operators | export (s) | convert (s) | " + " | ".join(FORMS) + " |",
        "|---|---:|---:|---|---:|---:|" + "---:|" * len(FORMS),
    ]
    for row in rows:
        counts = ", ".join(f"{count} {kind}" for kind, count in row.operators.items())
        gaps = " | ".join("" if math.isnan(gap) else f"{gap:.1e}" for gap in row.differences.values())
        times = f"{row.export_seconds:.2f} | {row.convert_seconds:.2f}"
        operators = f"{sum(row.operators.values())}: {counts}"
        size = f"{row.size} | {row.parameters / 1e6:.2f}"
        lines.append(f"| {row.model} | {size} | {operators} | {times} | {gaps} |")
    return "\n".join([*lines, "", *failures]).rstrip() + "\n"


if __name__ == "__main__":
    run(main)
