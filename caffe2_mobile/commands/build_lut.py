"""Make a latency table: measure the operators of nets here, or have them measured on a phone.

Here:   build_lut.py --models ChamNet-A/int8,my_model/ --engine caffe2 --device my-laptop Phone:
build_lut.py --models all --export-phone FOLDER; FOLDER/run.sh speed_benchmark;
        build_lut.py --from-phone FOLDER --device my-phone

Each different operator is measured once: warmed up, repeated until its median is stable, on one core. The
table is DEVICE-op_lut_database.json in --out; what an interrupted run measured is kept beside it and not
measured again.
"""

import argparse
import json
import os
import re
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when numpy is imported: threads would share the one core
os.environ["OPENBLAS_NUM_THREADS"] = "1"
import numpy as np

from caffe2_common.files import write_atomically
from caffe2_common.progress import progress
from caffe2_mobile.api.nets import CONVERTERS
from caffe2_mobile.commands.program import ArgumentParser
from caffe2_models import Net
from caffe2_models.published import NAMES
from runtime_lut import measure, phone
from runtime_lut.models import find_net
from runtime_lut.operators import unique_cases
from runtime_lut.signature import Signature
from runtime_lut.table import DATABASE_NAMES, MEDIAN, Table


def main(argv: list[str]) -> int:
    """Write the table; 1 where --check does not hold."""
    args = parse(argv)
    if args.from_phone is not None:
        records = phone.read_back(args.from_phone, args.device, engine="caffe2", date=measure.machine()["date"])
        write_records(args.out / f"{args.device}-{DATABASE_NAMES[0]}", records)
        return 0
    nets = [(name, find_net(name, CONVERTERS)) for name in model_names(args.models)]
    if args.space:
        nets += nets_of_space(args.space, args.form)
    shapes = [args.input_dims or net.input_shapes(args.img_size) for _, net in nets]
    cases = unique_cases([(net, s) for (_, net), s in zip(nets, shapes, strict=True)])
    if args.op_types:
        cases = [case for case in cases if case.op.type in args.op_types.split(",")]
    if args.export_phone is not None:
        lots = phone.export(cases, args.export_phone)
        print(f"{args.export_phone}: {len(cases)} operators in {lots} nets; next: ./run.sh there")
        return 0
    measure.pin(args.core)
    settings = measure.Settings(
        warmup=args.warmup,
        min_rounds=min(12, args.max_rounds),
        max_rounds=args.max_rounds,
        threads=args.threads,
    )
    path = args.out / f"{args.device}-{DATABASE_NAMES[0]}"
    measure_table(cases, args, settings, path)
    if not args.check:
        return 0
    table = Table.load(path, args.device)
    times = {case.signature.key: table.time(case.signature) for case in cases}
    return check([(n, net, s) for (n, net), s in zip(nets, shapes, strict=True)], times, args.engine, settings)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        metavar="A,B,..",
        default="",
        help="as for get_runtime.py; all: the published nets; @FILE: one per line",
    )
    parser.add_argument("--space", metavar="NAME", help="all candidates of a search space (mobile_cv.search)")
    parser.add_argument("--form", choices=["int8", "fp32"], default="int8", help="of the space's candidates")
    parser.add_argument("--op-types", metavar="A,B,..", help="of their operators, only these types")
    parser.add_argument("--input-dims", type=json.loads, metavar="JSON", help="for every model")
    parser.add_argument("--img-size", type=int, metavar="N")
    parser.add_argument("--engine", choices=measure.ENGINES, default="caffe2")
    parser.add_argument("--device", help="name of the table (default: processor, engine and threads)")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="the core to stay on")
    parser.add_argument("--warmup", type=int, default=3, metavar="ROUNDS")
    parser.add_argument("--max-rounds", type=int, default=60)
    parser.add_argument(
        "--check",
        action="store_true",
        help="measure the whole nets too; exit with 1 where the sums are off by over 5 %% (median)",
    )
    parser.add_argument("--export-phone", type=Path, metavar="FOLDER", help="write nets and a script for adb")
    parser.add_argument("--from-phone", type=Path, metavar="FOLDER", help="make the table from what run.sh recorded")
    args = parser.parse_args(argv)
    if not args.models and not args.space and args.from_phone is None:
        parser.error("give --models or --space")
    if args.from_phone is not None and not args.device:
        parser.error("--from-phone needs --device")
    if args.threads > 1:
        parser.error("only one thread is supported: operators are measured on one core")
    args.device = args.device or default_device(args)
    return args


def default_device(args: argparse.Namespace) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", measure.cpu_name()).strip("-")
    return f"{words}-{args.engine}-{args.threads}t"


def model_names(text: str) -> list[str]:
    if text == "all":
        return list(NAMES)
    if text.startswith("@"):
        return Path(text[1:]).read_text().split()
    return [name for name in text.split(",") if name]


def nets_of_space(name: str, form: str) -> list[tuple[str, Net]]:
    """Nets that together have every candidate of a search space."""
    from caffe2_mobile.space_nets import space_nets
    from mobile_cv.search import get_space

    space = get_space(name)
    return [(f"{name}/{number}", net) for number, net in enumerate(space_nets(space, form))]


def measure_table(cases, args, settings, path: Path) -> None:
    """Measure what the unfinished table lacks, then give it its name."""
    part = path.with_name(f".{path.name}.part")
    kept = read_part(part)
    left = [case for case in cases if case.signature.key not in kept]
    more = {"engine": args.engine, "threads": settings.threads, **measure.machine()}
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("a") as file, progress(total=len(cases), initial=len(cases) - len(left), unit="op") as bar:
        for case, times in measure.measure_cases(left, args.engine, settings):
            record = case.record(measure.percentiles(times), args.device, **more)
            kept[case.signature.key] = record
            file.write(json.dumps(record) + "\n")
            file.flush()
            bar.update()
    write_records(path, [kept[case.signature.key] for case in cases])
    part.unlink()


def read_part(path: Path) -> dict[bytes, dict]:
    """The records of an unfinished table by their keys; a line that was cut short is dropped."""
    records = {}
    if path.is_file():
        whole = path.read_text().rpartition("\n")[0]
        path.write_text(whole + "\n" if whole else "")
        for line in whole.splitlines():
            record = json.loads(line)
            records[Signature.of_record(record).key] = record
    return records


def write_records(path: Path, records: list[dict]) -> None:
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))
    total = sum(record["runtime_us_p50"] for record in records)
    print(f"{path}: {len(records)} operators, {total / 1000:.1f} ms in all")


def check(nets, times: dict[bytes, float], engine: str, settings: measure.Settings) -> int:
    """Print each net's measured time beside the sum over the table; 1 where the median is off by over 5 %."""
    ratios = []
    for name, net, shapes in nets:
        whole = measure.percentiles(measure.measure_net(net, shapes, engine, settings))[MEDIAN]
        total = measure.sum_of_operators(net, shapes, times)
        ratios.append(total / whole - 1)
        print(f"{name:20} whole {whole / 1000:8.2f} ms  sum {total / 1000:8.2f} ms  {100 * ratios[-1]:+5.1f} %")
    median = float(np.median(np.abs(ratios)))
    print(f"median deviation {100 * median:.1f} %")
    return int(median > 0.05)
