"""Measuring on a phone: operator nets and a script for Caffe2's speed_benchmark, and its output read back.

The folder holds, per lot of operators, LOT/init_net.pb and LOT/predict_net.pb; operators.json says which
operator each line of the output is about; run.sh pushes all over adb, runs every lot several times and
keeps what is printed in output.txt. One run gives the mean of its iterations, so the percentiles of a
record are over the runs.
"""

import json
import re
import shlex
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from runtime_lut.measure import percentiles
from runtime_lut.operators import Case, batches, operator_net

PHONE_FOLDER = "/data/local/tmp/caffe2_lut"
LOT_MARK = "caffe2_lut"

# What run.sh prints before each run, and what SimpleNet::TEST_Benchmark prints per operator (with glog's
# prefix or not): Operator #0 (op0, Int8Conv) 0.0421 ms/iter (0.0009 GFLOP, 21 GFLOPS)
LOT_LINE = re.compile(rf"^{LOT_MARK} lot (\d+) run (\d+)\s*$")
OPERATOR_LINE = re.compile(r"Operator #\d+ \((?P<name>[^,]*), (?P<type>[^)]*)\) (?P<ms>[-+.0-9e]+|nan|inf) ms/iter")

SCRIPT = """#!/bin/sh
# Measures the operators of this folder on the phone that adb sees: ./run.sh path/to/speed_benchmark
# SERIAL=... picks a phone; CORES=f0 (a mask for taskset) its cores; RUNS and ITERATIONS say how long to
# measure; FLAGS go to speed_benchmark as they are.
set -eu
cd "$(dirname "$0")"
binary=${{1:?usage: ./run.sh path/to/speed_benchmark (built by scripts/build_android.sh -DBUILD_BINARY=ON)}}
adb="adb ${{SERIAL:+-s $SERIAL}}"
runs=${{RUNS:-20}}
iterations=${{ITERATIONS:-10}}
cores=${{CORES:+taskset $CORES}}
$adb shell "rm -rf {folder} && mkdir -p {folder}"
$adb push "$binary" {folder}/speed_benchmark
$adb shell "chmod 755 {folder}/speed_benchmark"
: > output.part
for lot in {lots}; do
    $adb push "$lot" {folder}/
    run=0
    while [ "$run" -lt "$runs" ]; do
        echo "{mark} lot $lot run $run" >> output.part
        $adb shell "cd {folder} && $cores ./speed_benchmark \\
            --init_net $lot/init_net.pb --net $lot/predict_net.pb \\
            --warmup 2 --iter $iterations --run_individual=true ${{FLAGS:-}} 2>&1" \\
            >> output.part < /dev/null
        run=$((run + 1))
    done
    $adb shell "rm -rf {folder}/$lot"
done
mv output.part output.txt
echo "output.txt is written; read it back with scripts/build_lut.py --from-phone $(pwd)"
"""


def export(cases: list[Case], folder: Path) -> int:
    """Write the folder; returns the number of lots."""
    if folder.exists() and any(folder.iterdir()):
        raise ModelError(f"{folder}: is not empty; give a new folder")
    lots = list(batches(cases, max_operators=40, max_bytes=32 << 20))
    for number, lot in enumerate(lots):
        net = operator_net(lot, producers=True)
        for name, proto in (("predict_net.pb", net.predict), ("init_net.pb", net.init)):
            write_atomically(folder / str(number) / name, proto.SerializeToString(deterministic=True))
    operators = [[case.record([0] * 5, "") for case in lot] for lot in lots]
    write_atomically(folder / "operators.json", json.dumps(operators, indent=1))
    numbers = " ".join(str(number) for number in range(len(lots)))
    script = SCRIPT.format(folder=shlex.quote(PHONE_FOLDER), lots=numbers, mark=LOT_MARK)
    write_atomically(folder / "run.sh", script)
    (folder / "run.sh").chmod(0o755)
    return len(lots)


def read_back(folder: Path, device: str, **more) -> list[dict]:
    """Records from a folder that run.sh has filled; `more` is added to each.

    Raises ModelError where files are missing, cut short, or not of this folder's operators.
    """
    operators = _read_operators(folder / "operators.json")
    times = parse_output(folder / "output.txt")
    records = []
    for lot, known in enumerate(operators):
        for index, record in enumerate(known):
            measured = times.get((lot, f"op{index}", record["op_type"]))
            if not measured:
                raise ModelError(
                    f"{folder}/output.txt: no time of operator {index} ({record['op_type']}) in lot {lot}: "
                    "was the run cut short?"
                )
            names = [key for key in record if key.startswith("runtime_us_")]
            values = [round(value, 2) for value in percentiles(np.array(measured))]
            records.append(record | dict(zip(names, values, strict=True)) | {"device": device} | more)
    return records


def parse_output(path: Path) -> dict[tuple[int, str, str], list[float]]:
    """(lot, operator name, operator type) -> µs per run, from what run.sh recorded."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror}); has run.sh finished?") from None
    times: dict[tuple[int, str, str], list[float]] = {}
    lot = None
    for number, line in enumerate(lines, 1):
        if mark := LOT_LINE.match(line):
            lot = int(mark[1])
        elif found := OPERATOR_LINE.search(line):
            if lot is None:
                raise ModelError(f"{path}: line {number}: a time before any line '{LOT_MARK} lot N run N'")
            milliseconds = float(found["ms"])
            if not 0 <= milliseconds < 1e6:
                raise ModelError(f"{path}: line {number}: {found['ms']} ms is no time")
            times.setdefault((lot, found["name"], found["type"]), []).append(1000 * milliseconds)
    return times


def _read_operators(path: Path) -> list[list[dict]]:
    try:
        lots = json.loads(path.read_text(encoding="utf-8"))
        if all(record["op_type"] for lot in lots for record in lot):
            return lots
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, TypeError, KeyError):
        pass
    raise ModelError(f"{path}: not the list of operators that was written with run.sh")
