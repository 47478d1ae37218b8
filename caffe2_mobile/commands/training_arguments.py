"""What scripts/search.py and scripts/train.py share: flags for data and settings, processes, logs."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from caffe2_common.errors import ModelError
from mobile_cv.search import Data, Processes, open_data
from mobile_cv.search.run import Record, tensorboard_log


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags for data, machine and what is left behind."""
    group = parser.add_argument_group("data and machine")
    group.add_argument(
        "--data",
        default="digits",
        metavar="NAME",
        help="digits, cifar10, or a folder with train/ and val/, each of a folder per class",
    )
    group.add_argument("--data-dir", metavar="DIR", help="where CIFAR-10's archive is, or shall be downloaded to")
    group.add_argument("-j", "--workers", type=int, default=0, metavar="N", help="processes that read images")
    group.add_argument("--threads", type=positive, metavar="N", help="of each training process on a CPU")
    group.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    group.add_argument("--out", type=Path, metavar="DIR", help="folder of all that is made")
    group.add_argument("--restart", action="store_true", help="begin anew, even where --out holds part of this run")
    group.add_argument("--tensorboard", action="store_true", help="write logs for TensorBoard too")


def add_settings(parser: argparse.ArgumentParser, kind: type, title: str, prefix: str = "") -> None:
    """A flag for each field of a dataclass of settings; unless given, the preset of the data counts."""
    group = parser.add_argument_group(title, "Defaults depend on the data.")
    for field in dataclasses.fields(kind):
        flag = f"--{prefix}{field.name.replace('_', '-')}"
        if field.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            group.add_argument(flag, type=field.type, metavar="X" if field.type is float else "N")


def chosen_settings(args: argparse.Namespace, preset: Any, prefix: str = "") -> Any:
    """The preset with what the flags say instead."""
    names = {field.name: f"{prefix}{field.name}".replace("-", "_") for field in dataclasses.fields(preset)}
    given = {name: getattr(args, flag) for name, flag in names.items() if getattr(args, flag) is not None}
    settings = dataclasses.replace(preset, **given)
    for name, value in dataclasses.asdict(settings).items():
        if not isinstance(value, bool) and (value < 0 or (name in ("epochs", "batch_size") and value == 0)):
            raise ModelError(f"--{prefix}{name.replace('_', '-')} {value}: not a positive number")
    return settings


def start(args: argparse.Namespace) -> Processes:
    """Join the processes of this run, and compute with the threads asked for."""
    if args.threads:
        torch.set_num_threads(args.threads)
    return Processes.start(args.cpu)


def load_data(args: argparse.Namespace, processes: Processes) -> Data:
    """The data; where they are to be downloaded the first process does it, the others wait."""
    return in_turn(processes, lambda: open_data(args.data, args.data_dir))


def in_turn(processes: Processes, make: Callable[[], Any]) -> Any:
    """make() in the first process, then in the others, which find what the first left on disk."""
    if not processes.is_first:
        processes.wait()
        return make()
    made = make()
    processes.wait()
    return made


def forget(args: argparse.Namespace, processes: Processes, *checkpoints: Path) -> None:
    """With --restart, remove the checkpoints of an earlier run."""
    if args.restart and processes.is_first:
        for path in checkpoints:
            path.unlink(missing_ok=True)
    processes.wait()


def epoch_log(args: argparse.Namespace, name: str) -> Callable[[int, Record], None] | None:
    return tensorboard_log(args.out / "tensorboard" / name) if args.tensorboard else None


def positive(text: str) -> int:
    """An integer above zero, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number
