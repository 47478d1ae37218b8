#!/usr/bin/env python3
"""Run public scripts that were written for Caffe2, unmodified, with the project's own caffe2 in its place.

Clones their repositories at fixed commits, prepares nets and images, runs each script as `caffe2-mobile run SCRIPT`
does, and compares what it wrote or printed with what the project computes without it. What a script wants besides
Caffe2 comes from the package index into a folder of this tool's, or is stood in for, which the table says.
Exits with 1 where a script failed; one that cannot be tried here (no test data, no network) is skipped, and said so.
"""

import argparse
import fnmatch
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from clients.cases import CASES
from clients.workshop import Failed, Skipped, Workshop

from caffe2_mobile.commands.program import ArgumentParser, run

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", default=["*"], metavar="PATTERN", help="which scripts (default: all)")
    parser.add_argument("--cache", type=Path, help="where clones and packages stay (default: a temporary folder)")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="test data (default: ../shared)")
    parser.add_argument("--list", action="store_true", help="name the scripts and do nothing")
    args = parser.parse_args(argv)
    chosen = {name: case for name, case in CASES.items() if any(fnmatch.fnmatch(name, p) for p in args.scripts)}
    if args.list:
        print("\n".join(chosen))
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    with tempfile.TemporaryDirectory(prefix="clients-") as scratch:
        cache = (args.cache or Path(scratch) / "cache").resolve()
        print("| script | result | compared |\n|---|---|---|", flush=True)
        for number, (name, case) in enumerate(chosen.items()):
            folder = Path(scratch) / str(number)
            folder.mkdir()
            start = time.perf_counter()
            try:
                result, text = "passed", case(Workshop(folder, cache, args.shared))
            except Failed as error:
                result, text = "failed", str(error)
            except Skipped as error:
                result, text = "skipped", str(error)
            counts[result] += 1
            print(f"| {name} | {result}, {time.perf_counter() - start:.0f} s | {text} |", flush=True)
    print("\n" + ", ".join(f"{count} {result}" for result, count in counts.items()))
    return 1 if counts["failed"] or not chosen else 0


if __name__ == "__main__":
    run(main)
