#!/usr/bin/env python3
"""Estimate cycles per multiply-add of the kernels for ARM beside QNNPACK's, by llvm-mca: no run, no measurement.

    python scripts/estimate_arm.py QNNPACK

QNNPACK is a checkout of pytorch/QNNPACK. Both are compiled by aarch64-linux-gnu-gcc; of each function that is compared
the loop with the most multiplications is given to llvm-mca as if it ran forever with all operands in the first-level
cache. What lies outside it (requantization, packing of rows, edges) does not count.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from caffe2_common.errors import ModelError
from caffe2_mobile.commands.program import ArgumentParser, run

ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "caffe2_models" / "kernels"

# llvm-mca's models, and the processors that they stand for.
PROCESSORS = {"cortex-a55": "Cortex-A55", "neoverse-n1": "Cortex-A76", "neoverse-v1": "Cortex-X1"}

# Multiply-adds of one instruction.
MACS = {"usmmla": 32, "sdot": 16, "usdot": 16, "smull": 8, "smull2": 8, "smlal": 8, "smlal2": 8}

LABEL = re.compile(r"^(\.?\w+):")
BRANCH = re.compile(r"^(?:b(?:\.?[a-z]{2})?|cbn?z|tbn?z)\s+(?:.*,\s*)?(\.?\w+)$", re.IGNORECASE)


@dataclass(frozen=True)
class Loop:
    """depthwise_runs: of a depthwise convolution, how often it runs for 8 channels of a pixel with 3 x 3 taps."""

    name: str
    lines: list[str]
    depthwise_runs: float | None = None

    @property
    def macs(self) -> float:
        """Multiply-adds of one run that count."""
        if self.depthwise_runs is not None:
            return 72 / self.depthwise_runs
        return sum(map(multiply_adds, self.lines))


def main(argv: list[str]) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("qnnpack", metavar="QNNPACK", type=Path)
    parser.add_argument("--mca", default=None, help="the program (default: the newest llvm-mca on PATH)")
    args = parser.parse_args(argv)
    mca = args.mca or next((p for v in range(30, 18, -1) if (p := shutil.which(f"llvm-mca-{v}"))), None)
    if mca is None:
        raise ModelError("no llvm-mca from LLVM 19 on; install Debian's llvm-19")
    if not (args.qnnpack / "src" / "q8gemm").is_dir():
        raise ModelError(f"{args.qnnpack}: no src/q8gemm in it; give a checkout of pytorch/QNNPACK")
    print(f"| loop | {' | '.join(PROCESSORS.values())} |\n|---|{'---:|' * len(PROCESSORS)}")
    for loop in [*qnnpack_loops(args.qnnpack), *own_loops()]:
        figures = [loop.macs / cycles(mca, cpu, loop.lines) for cpu in PROCESSORS]
        print(f"| {loop.name} | {' | '.join(f'{figure:.1f}' for figure in figures)} |")
    return 0


def qnnpack_loops(folder: Path) -> list[Loop]:
    gemm = preprocess(folder / "src" / "q8gemm" / "8x8-aarch64-neon.S", folder)
    with tempfile.TemporaryDirectory() as stubs:  # of libraries whose headers it includes, and does not use here
        for name in ("cpuinfo.h", "fp16.h", "fxdiv.h", "pthreadpool.h"):
            Path(stubs, name).write_text("#define CPUINFO_ARCH_ARM64 1\n", encoding="utf-8")
        depthwise = compile_to_assembly(folder / "src" / "q8dwconv" / "up8x9-neon.c", "gcc", folder, f"-I{stubs}")
    return [
        Loop("QNNPACK q8gemm 8x8", heaviest_loop(gemm)),
        Loop("QNNPACK q8dwconv up8x9", heaviest_loop(depthwise), depthwise_runs=1),
    ]


def own_loops() -> list[Loop]:
    """A depthwise loop's run is a tap of 8 pixels: 3 columns by 2 groups of two rows, or by 1.5 of four."""
    loops = []
    for name, rows in (("neon", 4), ("neon_dot", 6), ("neon_i8mm", 6)):
        text = compile_to_assembly(KERNELS / f"{name}.cpp", "g++", KERNELS)
        groups = 2 if name == "neon" else 1.5
        parts = functions(text)
        tile = [part for symbol, part in parts.items() if "convolve_tile" in symbol and f"Li{rows}ELi2E" in symbol]
        tile = tile or [part for symbol, part in parts.items() if "11convolution" in symbol]  # inlined there
        pixels = [part for symbol, part in parts.items() if "depthwise_row" in symbol and "Li8ELi1E" in symbol]
        loops.append(Loop(f"{name}, {rows} x 16", heaviest_loop("\n".join(tile))))
        loops.append(Loop(f"{name}, depthwise 3 x 3", heaviest_loop("\n".join(pixels)), 3 * groups / 8))
    return loops


def compile_to_assembly(source: Path, compiler: str, include: Path, *flags: str) -> str:
    language = ["-std=c++20"] if compiler == "g++" else ["-std=gnu11"]
    includes = [f"-I{include}", f"-I{include / 'include'}", f"-I{include / 'src'}"]
    command = [
        f"aarch64-linux-gnu-{compiler}",
        *language,
        "-O3",
        "-ffp-contract=off",
        *flags,
        *includes,
        "-S",
        "-o",
        "-",
        source,
    ]
    return finished(command)


def preprocess(source: Path, folder: Path) -> str:
    return finished(["aarch64-linux-gnu-gcc", "-E", "-P", f"-I{folder / 'src'}", source])


def finished(command: list, content: str | None = None) -> str:
    done = subprocess.run(command, input=content, capture_output=True, text=True)
    if done.returncode != 0:
        raise ModelError(f"{command[0]} failed: {done.stderr[-500:]}")
    return done.stdout


def functions(text: str) -> dict[str, str]:
    """symbol -> its lines."""
    parts = re.split(r"^(_Z\w+):", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def heaviest_loop(text: str) -> list[str]:
    """The lines of the innermost loop (from a label to a branch back to it) with the most multiply-adds."""
    lines = [line.split("//")[0].rstrip() for line in text.replace(";", "\n").splitlines()]
    labels: dict[str, int] = {}
    best: list[str] = []
    for i, line in enumerate(lines):
        if found := LABEL.match(line.strip()):
            labels[found[1]] = i
        if (target := branch_target(line)) in labels:
            inside = lines[labels[target] + 1 : i + 1]
            if any(LABEL.match(other.strip()) for other in inside):
                continue  # not the innermost
            body = [other for other in inside if other.strip() and not is_directive(other)]
            if sum(map(multiply_adds, body)) > sum(map(multiply_adds, best)):
                best = body
    if not best:
        raise ModelError("no loop with multiplications found")
    return best


def branch_target(line: str) -> str | None:
    """The label that a branch goes to; a number's b (backwards) is none of it."""
    found = BRANCH.match(line.strip())
    return None if found is None else re.sub(r"^(\d+)b$", r"\1", found[1])


def is_directive(line: str) -> bool:
    return line.strip().startswith((".", "#")) or LABEL.match(line.strip()) is not None


def multiply_adds(line: str) -> int:
    word = line.split()[0].lower() if line.split() else ""
    count = MACS.get(word, 0)
    return 4 if count == 8 and re.search(r"\.4s", line, re.IGNORECASE) else count


def cycles(mca: str, cpu: str, lines: list[str]) -> float:
    """Of one run of the loop, over 200 of them."""
    runs = 200
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", "-mattr=+dotprod,+i8mm", f"-iterations={runs}"]
    printed = finished(command, "\n".join(line for line in lines if branch_target(line) is None) + "\n")
    found = re.search(r"Total Cycles:\s+(\d+)", printed)
    if found is None:
        raise ModelError(f"{mca} printed no cycles")
    return int(found[1]) / runs


if __name__ == "__main__":
    run(main)
