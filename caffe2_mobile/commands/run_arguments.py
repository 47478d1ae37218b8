"""The flags that training and search share: data, machine, settings."""

import argparse
import dataclasses
import os
from pathlib import Path

from caffe2_mobile.api.runs import RunOptions
from caffe2_mobile.commands.program import positive


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags for data, machine and what is left behind."""
    defaults = RunOptions()
    group = parser.add_argument_group("data and machine")
    group.add_argument(
        "--data",
        default=defaults.data,
        metavar="NAME",
        help="digits, cifar10, or a folder with train/ and val/, each of a folder per class",
    )
    group.add_argument("--data-dir", metavar="DIR", help="where CIFAR-10's archive is, or shall be downloaded to")
    group.add_argument(
        "-j", "--workers", type=int, default=defaults.workers, metavar="N", help="processes that read images"
    )
    group.add_argument("--threads", type=positive, metavar="N", help="of each training process on a CPU")
    group.add_argument("--cpu", action="store_true", help="leave GPUs alone")
    group.add_argument("--out", type=Path, metavar="DIR", help="folder of all that is made")
    group.add_argument("--restart", action="store_true", help="begin anew, even where --out holds part of this run")
    group.add_argument("--tensorboard", action="store_true", help="write logs for TensorBoard too")


def add_settings(parser: argparse.ArgumentParser, kind: type, title: str, prefix: str = "") -> None:
    """A flag for each field of a dataclass of settings; unless given, what is usual for the data counts."""
    group = parser.add_argument_group(title, "Defaults depend on the data.")
    for field in dataclasses.fields(kind):
        flag = f"--{prefix}{field.name.replace('_', '-')}"
        if field.type is bool:
            group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            group.add_argument(flag, type=field.type, metavar="X" if field.type is float else "N")  # type: ignore[arg-type]


def given_settings(args: argparse.Namespace, kind: type, prefix: str = "") -> dict[str, int | float | bool]:
    """The fields that flags tell."""
    flags = {field.name: getattr(args, f"{prefix}{field.name}".replace("-", "_")) for field in dataclasses.fields(kind)}
    return {name: value for name, value in flags.items() if value is not None}


def is_first_process() -> bool:
    """Whether this is the process that prints, of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"
