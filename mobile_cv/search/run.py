"""What the search and the training of a network share: epochs, checkpoints, records, input."""

import dataclasses
import json
import math
import pickle
import sys
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from tqdm import tqdm

from caffe2_common.errors import ModelError
from caffe2_common.files import open_atomically
from caffe2_common.preprocessing import Preprocessing
from mobile_cv.search.images import Images, Plain, load_batches
from mobile_cv.search.processes import Processes

EVALUATION_BATCH = 256

Record = dict[str, float]


class Run:
    """Epochs one after the other, each followed by a checkpoint; the next run with its file goes on from it.

    Subclasses train: all randomness must follow from settings.seed and the place in the run, so that nothing
    more than state() is needed to go on exactly.
    """

    def __init__(self, settings, processes: Processes, workers: int = 0):
        self.settings, self.processes, self.workers = settings, processes, workers
        self.epoch = 0
        self.history: list[Record] = []

    def train_epoch(self) -> Record:
        """Train self.epoch and say how it went."""
        raise NotImplementedError

    def modules(self) -> dict:
        """name -> what has a state_dict to be kept."""
        raise NotImplementedError

    def identity(self) -> dict:
        """What must be equal for a checkpoint to be of this run, as JSON has it."""
        return dataclasses.asdict(self.settings)

    def run(self, checkpoint: str | Path | None = None, log: Callable[[int, Record], None] | None = None):
        """Train what is left of settings.epochs. log is called, in the first process, after each epoch.

        Raises ModelError for a checkpoint that cannot be read or is of another run.
        """
        if checkpoint is not None and Path(checkpoint).exists():
            self.load(checkpoint)
        while self.epoch < self.settings.epochs:
            record = self.train_epoch()
            self.history.append(record)
            self.epoch += 1
            if self.processes.is_first:
                if checkpoint is not None:
                    self.save(checkpoint)
                if log is not None:
                    log(self.epoch, record)
        self.processes.wait()

    def save(self, path: str | Path) -> None:
        states = {name: module.state_dict() for name, module in self.modules().items()}
        identity = json.dumps(self.identity(), sort_keys=True)
        values = {"identity": identity, "epoch": self.epoch, "history": self.history, "states": states}
        save_atomically(values, path)

    def load(self, path: str | Path) -> None:
        values = load_safely(path, self.processes.device)
        self._require_same(path, str(values.get("identity")))
        try:
            for name, module in self.modules().items():
                module.load_state_dict(values["states"][name])
            self.epoch, self.history = int(values["epoch"]), list(values["history"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ModelError(f"{path}: damaged checkpoint ({error}); --restart begins anew") from None

    def _require_same(self, path: str | Path, identity: str) -> None:
        mine = json.loads(json.dumps(self.identity()))
        try:
            theirs = dict(json.loads(identity))
        except (TypeError, ValueError):
            theirs = {}
        different = sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key))
        if different:
            raise ModelError(
                f"{path}: is of another run ({', '.join(different)}); "
                "repeat it as it was, choose another --out, or begin anew with --restart"
            )

    def seed_step(self, *place) -> torch.Generator:
        """Seed torch for a step of the run, and a generator that is the same in all processes."""
        number = zlib.crc32("/".join(map(str, (self.settings.seed, *place))).encode())
        torch.manual_seed(number + self.processes.rank)
        return torch.Generator().manual_seed(number)

    def bar(self, total: int) -> tqdm:
        """A progress bar of this epoch on stderr, silent where that is no terminal."""
        hidden = None if self.processes.is_first else True
        description = f"epoch {self.epoch + 1}/{self.settings.epochs}"
        return tqdm(total=total, desc=description, disable=hidden, file=sys.stderr, dynamic_ncols=True)


class Meter:
    """Means of named figures over the samples of an epoch."""

    def __init__(self):
        self.sums: dict[str, Tensor] = {}
        self.count = 0

    def add(self, count: int, **figures: Tensor) -> None:
        self.count += count
        for name, figure in figures.items():
            figure = count * figure.detach().double()
            self.sums[name] = self.sums[name] + figure if name in self.sums else figure

    def means(self, processes: Processes | None = None) -> Record:
        """Over this process's samples, or over all processes'."""
        values = torch.stack([*self.sums.values(), torch.tensor(float(self.count)).double()])
        if processes is not None:
            values = processes.sum(values.to(processes.device))
        *sums, count = values.tolist()
        return {name: total / max(count, 1) for name, total in zip(self.sums, sums, strict=True)}


def cosine(progress: float, warmup: float = 0.0) -> float:
    """The learning rate's factor at progress 0 ... 1: rises linearly up to warmup, then falls as a cosine."""
    if progress < warmup:
        return progress / warmup
    return 0.5 * (1 + math.cos(math.pi * (progress - warmup) / (1 - warmup)))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


def to_input(images: Tensor, mean: Sequence[float], std: Sequence[float], device: torch.device) -> Tensor:
    """NCHW (in channels-last order) of torch's default type from uint8 NHWC: (pixel / 255 - mean) / std."""
    images = images.to(device).permute(0, 3, 1, 2).to(torch.get_default_dtype())
    mean, std = (torch.tensor(values, device=device)[:, None, None] * 255 for values in (mean, std))
    return (images - mean) / std


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Top-1, percent."""
    return 100 * (logits.argmax(1) == labels).double().mean()


@torch.inference_mode()
def evaluate(model: nn.Module, images: Images, processes: Processes, workers: int = 0) -> Record:
    """Loss and accuracy (top-1, percent) of a network of the zoo, in eval mode, on images held out.

    From image to input it is validation's way, with the network's own preprocessing.
    """
    training = model.training
    model.eval()
    indices = list(range(processes.rank, len(images), processes.count))
    batches = [indices[i : i + EVALUATION_BATCH] for i in range(0, len(indices), EVALUATION_BATCH)]
    meter = Meter()
    for pixels, labels in load_batches(Plain(images, Preprocessing(**model.default_cfg)), batches, workers):
        logits = model(pixels.to(processes.device, torch.get_default_dtype()))
        labels = labels.to(processes.device)
        loss = nn.functional.cross_entropy(logits, labels)
        meter.add(len(labels), loss=loss, accuracy=accuracy(logits, labels))
    model.train(training)
    return meter.means(processes)


def save_atomically(values: object, path: str | Path) -> None:
    """torch.save under a temporary name, then renamed: whole or not at all."""
    with open_atomically(path) as file:
        torch.save(values, file)


def load_safely(path: str | Path, device: torch.device | str = "cpu") -> dict:
    """What save_atomically wrote; no code in the file is run."""
    try:
        values = torch.load(path, map_location=device, weights_only=True)
    except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: cannot be read ({reason}); --restart begins anew") from None
    if not isinstance(values, dict):
        raise ModelError(f"{path}: not a checkpoint of this program; --restart begins anew")
    return values


def tensorboard_log(folder: str | Path) -> Callable[[int, Record], None]:
    """A log that writes each epoch's figures for TensorBoard. Raises ModelError where it is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ModelError("logs for TensorBoard need it: pip install 'caffe2-mobile[logs]'") from None
    writer = SummaryWriter(str(folder))

    def log(epoch: int, record: Record) -> None:
        for name, value in record.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return log
