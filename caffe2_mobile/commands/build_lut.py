"""Make a latency table: measure the operators of nets here, or have them measured on a phone.

Here:   caffe2-mobile build-lut --models ChamNet-A/int8,my_model/ --engine caffe2 --device my-laptop
Phone:  caffe2-mobile build-lut --models all --export-phone FOLDER; FOLDER/run.sh speed_benchmark;
        caffe2-mobile build-lut --from-phone FOLDER --device my-phone

Each different operator is measured once: warmed up, repeated until its median is stable, on one core. The
table is DEVICE-op_lut_database.json in --out; what an interrupted run measured is kept beside it and not
measured again.
"""

import argparse
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # read when numpy is imported: threads would share the one core
os.environ["OPENBLAS_NUM_THREADS"] = "1"

from caffe2_mobile.api.build_lut import FORMS, BuildLutOptions, build_lut, export_phone, lut_from_phone
from caffe2_mobile.commands.net_arguments import add_shape_arguments
from caffe2_mobile.commands.program import ArgumentParser, options_from
from caffe2_models.published import NAMES
from runtime_lut import measure


def main(argv: list[str]) -> int:
    """Write the table; 1 where --check does not hold."""
    args = parse(argv)
    if args.from_phone is not None:
        print(lut_from_phone(args.from_phone, args.device, args.out))
        return 0
    options = options_from(BuildLutOptions, args)
    models = model_names(args.models)
    if args.export_phone is not None:
        print(export_phone(models, args.export_phone, options))
        return 0
    result = build_lut(models, options)
    print(result)
    return 0 if result.holds else 1


def parse(argv: list[str]) -> argparse.Namespace:
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models",
        metavar="A,B,..",
        default="",
        help="as for `caffe2-mobile latency`; all: the published nets; @FILE: one per line",
    )
    parser.add_argument("--space", metavar="NAME", help="all candidates of a search space (mobile_cv.search)")
    parser.add_argument("--form", choices=FORMS, default="int8", help="of the space's candidates")
    parser.add_argument("--op-types", type=types, metavar="A,B,..", help="of their operators, only these types")
    add_shape_arguments(parser)
    parser.add_argument("--engine", choices=measure.ENGINES, default="caffe2")
    parser.add_argument("--device", help="name of the table (default: processor, engine and threads)")
    parser.add_argument("--out", type=Path, default=Path("."), metavar="DIR")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--core", type=int, help="the core to stay on (default: the last one here)")
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
    return args


def types(text: str) -> tuple[str, ...]:
    """Names between commas, for argparse."""
    return tuple(text.split(","))


def model_names(text: str) -> list[str]:
    if text == "all":
        return list(NAMES)
    if text.startswith("@"):
        return Path(text[1:]).read_text(encoding="utf-8").split()
    return [name for name in text.split(",") if name]
