"""What training and search share: the run's options, its processes, its data, what it leaves behind."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from caffe2_common.errors import ModelError
from caffe2_mobile.api.options import require_positive

if TYPE_CHECKING:
    from mobile_cv.search import Data, Processes
    from mobile_cv.search.run import Record

Settings = TypeVar("Settings")
Made = TypeVar("Made")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Data, machine, and what is left behind.

    data: digits, cifar10, or a folder with train/ and val/, each of a folder per class. data_dir: where CIFAR-10's
    archive is, or shall be downloaded to. workers: processes that read images. threads: of each training process on a
    CPU. cpu: leave GPUs alone. out: folder of all that is made; a run that was interrupted goes on from what it holds,
    exactly as if it had not been, unless restart. tensorboard: write logs for TensorBoard too.
    """

    data: str = "digits"
    data_dir: str | os.PathLike[str] | None = None
    workers: int = 0
    threads: int | None = None
    cpu: bool = False
    out: str | os.PathLike[str] | None = None
    restart: bool = False
    tensorboard: bool = False

    def __post_init__(self) -> None:
        require_positive(self, "threads")
        if self.workers < 0:
            raise ModelError(f"invalid workers {self.workers}: expected a number from zero on")


def with_changes(preset: Settings, changes: Mapping[str, Any], title: str) -> Settings:
    """The preset with some of its fields changed; raises ModelError for unknown fields and invalid values.

    title: of the settings, in errors.
    """
    known = [field.name for field in dataclasses.fields(preset)]  # type: ignore[arg-type]
    for name, value in changes.items():
        if name not in known:
            raise ModelError(f"invalid {title} {name}: expected one of {', '.join(known)}")
        needs_one = name in ("epochs", "batch_size")
        if not isinstance(value, bool) and (value < 0 or (needs_one and value == 0)):
            expected = "above zero" if needs_one else "from zero on"
            raise ModelError(f"invalid {title} {name} {value}: expected a number {expected}")
    return dataclasses.replace(preset, **changes)  # type: ignore[type-var]


def start(options: RunOptions) -> Processes:
    """Join the processes of this run, and compute with the threads asked for."""
    import torch

    from mobile_cv.search import Processes

    if options.threads:
        torch.set_num_threads(options.threads)
    return Processes.start(options.cpu)


def load_data(options: RunOptions, processes: Processes) -> Data:
    """The data; where they are to be downloaded the first process does it, the others wait."""
    from mobile_cv.search import open_data

    root = Path(options.data_dir) if options.data_dir is not None else None
    return in_turn(processes, lambda: open_data(options.data, root))


def in_turn(processes: Processes, make: Callable[[], Made]) -> Made:
    """make() in the first process, then in the others, which find what the first left on disk."""
    if not processes.is_first:
        processes.wait()
        return make()
    made = make()
    processes.wait()
    return made


def forget(options: RunOptions, processes: Processes, *checkpoints: Path) -> None:
    """With restart, remove the checkpoints of an earlier run."""
    if options.restart and processes.is_first:
        for path in checkpoints:
            path.unlink(missing_ok=True)
    processes.wait()


def epoch_log(options: RunOptions, processes: Processes, out: Path, name: str) -> Callable[[int, Record], None] | None:
    """What writes each epoch's figures for TensorBoard, where that is asked for."""
    from mobile_cv.search.run import tensorboard_log

    return tensorboard_log(out / "tensorboard" / name) if options.tensorboard and processes.is_first else None
