#!/usr/bin/env python3
"""Measure a list of nets and print their accuracy beside the published one.

Each line of the list is a form (caffe2, onnx or pytorch), a published name (or -) and the flags of that
form's command:

    caffe2   ChamNet-A            --model-dir nets/ChamNet-A/int8
    onnx     tf_efficientnet_b0   --onnx-input b0.onnx --tf-preprocessing
    pytorch  fbnetc_100           --model fbnetc_100

Results are kept in the output folder, one file a line; a run that was interrupted goes on where it
stopped, and lines that are done are not run again.
"""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from caffe2_mobile.commands.program import ArgumentParser, run
from validate import published
from validate.results import Result, csv_table

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = {
    "caffe2": ROOT / "caffe2_validate.py",
    "onnx": ROOT / "scripts" / "onnx_validate.py",
    "pytorch": ROOT / "scripts" / "validate.py",
}


@dataclass(frozen=True)
class Line:
    """One line of the list: its number, form, published name (or -) and flags."""

    number: int
    form: str
    name: str
    flags: tuple[str, ...]

    def results_file(self, folder: Path, common: list[str]) -> Path:
        """Where its result is kept; another list, data set or flag gives another file."""
        digest = hashlib.sha256(json.dumps([self.form, self.name, self.flags, common]).encode()).hexdigest()[:10]
        return folder / f"{self.form}-{'net' if self.name == '-' else self.name.replace('/', '_')}-{digest}.json"


def main(argv: list[str]) -> int:
    end = argv.index("--") if "--" in argv else len(argv)
    parser = ArgumentParser(
        usage="%(prog)s [-h] [--output FOLDER] LIST DIR [-- FLAGS FOR EVERY NET]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("list", metavar="LIST", help="the nets, one a line")
    parser.add_argument("data", metavar="DIR", help="the images")
    parser.add_argument("--output", metavar="FOLDER", default="validation", help="default %(default)s")
    args = parser.parse_args(argv[:end])
    common = [args.data, *argv[end + 1 :]]
    lines = read_list(Path(args.list))
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    failed = {}
    for line in lines:
        path = line.results_file(folder, common)
        if not path.exists() and (reason := validate(line, path, common)):
            failed[line] = reason
            print(f"{line.form} {line.name}: {reason}", file=sys.stderr)
    done = {line: Result.from_json(path) for line in lines if (path := line.results_file(folder, common)).exists()}
    write_atomically(folder / "results.csv", csv_table(done.values()))
    return print_table(lines, done, failed)


def read_list(path: Path) -> list[Line]:
    """Raises ModelError for the first line that is none."""
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            words = shlex.split(text, comments=True)
        except ValueError as error:
            raise ModelError(f"{path}: line {number}: {error}") from None
        if not words:
            continue
        if len(words) < 3 or words[0] not in COMMANDS:
            raise ModelError(
                f"{path}: line {number}: expected one of {', '.join(COMMANDS)}, a published name or -, flags"
            )
        if words[1] != "-":
            published.find_published(words[1])
        lines.append(Line(number, words[0], words[1], tuple(words[2:])))
    if not lines:
        raise ModelError(f"{path}: lists no nets")
    return lines


def validate(line: Line, path: Path, common: list[str]) -> str | None:
    """Run one net in a process of its own; returns what went wrong, if anything."""
    command = [
        sys.executable,
        str(COMMANDS[line.form]),
        *common,
        *line.flags,
        "--results-file",
        str(path),
        "--resume",
    ]
    if line.name != "-":
        command += ["--published", line.name]
    process = subprocess.run(command, stdout=subprocess.PIPE, stderr=None, text=True)
    if path.exists():
        return None
    return f"ended with status {process.returncode}"


def print_table(lines: list[Line], done: dict[Line, Result], failed: dict[Line, str]) -> int:
    """Ours beside published, a line for each net; returns the exit status."""
    header = ("net", "form", "images", "top-1", "published", "top-5", "published", "")
    rows, status = [header], 0
    for line in lines:
        if line in failed:
            rows.append((line.name, line.form, "", "", "", "", "", failed[line]))
            status = 2
            continue
        result = done[line]
        ours = (f"{result.top1:.2f}", f"{result.top5:.2f}")
        theirs, verdict = ("", ""), ""
        if line.name != "-":
            row = published.find_published(line.name, result.weights, result.preprocessing.tf_preprocessing)
            theirs = (f"{row.top1:.2f}", "" if row.top5 is None else f"{row.top5:.2f}")
            holds = all(comparison.holds for comparison in published.compare(result.totals, row))
            verdict = "holds" if holds else "BELOW"
            status = status or int(not holds)
        name = result.model if line.name == "-" else line.name
        rows.append((name, result.form, str(result.totals.n), ours[0], theirs[0], ours[1], theirs[1], verdict))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if k < 2 else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    return status


if __name__ == "__main__":
    run(main)
