"""Training of one network: SGD with Nesterov momentum, cosine schedule, label smoothing, averaged weights."""

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from caffe2_common.errors import ModelError
from mobile_cv.search.images import Augmented, Data, batches_of, load_batches
from mobile_cv.search.processes import Processes
from mobile_cv.search.run import (
    Meter,
    Record,
    Run,
    accuracy,
    cosine,
    evaluate,
    save_atomically,
    set_lr,
    to_input,
)
from mobile_cv.settings import TrainingSettings


class Training(Run):
    """The training of a network of the zoo on data that has its number of classes."""

    def __init__(
        self,
        model: nn.Module,
        data: Data,
        settings: TrainingSettings,
        processes: Processes | None = None,
        workers: int = 0,
    ):
        super().__init__(settings, processes or Processes(), workers)
        if len(data.train) < settings.batch_size:
            raise ModelError(f"{data.name}: {len(data.train)} images make no batch of {settings.batch_size}")
        self.processes.share([0] * settings.batch_size)
        self.data = data
        self.model = self.processes.prepare(model)
        self.average = copy.deepcopy(self.model).eval().requires_grad_(False)
        self._parallel_model = self.processes.parallel(self.model)
        self.optimizer = torch.optim.SGD(
            _decayed_apart(self.model, settings.weight_decay), settings.lr, settings.momentum, nesterov=True
        )
        self.images = Augmented(data.train, data.augment, model.default_cfg["size"], settings.seed)
        _quicken_batch_norms(self.model, settings.epochs * (len(data.train) // settings.batch_size))

    def modules(self) -> dict:
        return {"model": self.model, "average": self.average, "optimizer": self.optimizer}

    def identity(self) -> dict:
        architecture = repr(self.model.architecture)
        return {**super().identity(), "model": architecture, "data": self.data.name}

    def train_epoch(self) -> Record:
        settings, epoch, config = self.settings, self.epoch, self.model.default_cfg
        batches = batches_of(range(len(self.data.train)), settings.batch_size, epoch, settings.seed)
        keys = [self.processes.share(batch) for batch in batches]
        self.model.train()
        meter = Meter()
        with self.bar(len(keys)) as bar:
            for number, (images, labels) in enumerate(load_batches(self.images, keys, self.workers)):
                self.seed_step(epoch, number)
                progress = (epoch + number / len(keys)) / settings.epochs
                warmup = min(settings.warmup_epochs / settings.epochs, 0.5)
                set_lr(self.optimizer, settings.lr * max(cosine(progress, warmup), 1e-3))
                images = to_input(images, config["mean"], config["std"], self.processes.device)
                labels = labels.to(self.processes.device)
                logits = self._parallel_model(images)
                loss = F.cross_entropy(logits, labels, label_smoothing=settings.label_smoothing)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                self._update_average(epoch * len(keys) + number)
                meter.add(len(labels), loss=loss, accuracy=accuracy(logits, labels))
                means = meter.means()
                bar.set_postfix_str(f"loss {means['loss']:.3f}, accuracy {means['accuracy']:.1f} %", refresh=False)
                bar.update()
        record = {f"train_{key}": value for key, value in meter.means(self.processes).items()}
        return record | {f"test_{key}": value for key, value in self.evaluate().items()}

    def evaluate(self) -> Record:
        """Loss and accuracy (top-1, percent) of the averaged weights on the images held out."""
        return evaluate(self.average, self.data.test, self.processes, self.workers)

    @torch.no_grad()
    def _update_average(self, step: int) -> None:
        """Towards the weights by 1 - ema_decay; faster in the first steps, to forget the start."""
        decay = min(self.settings.ema_decay, (1 + step) / (10 + step))
        for mean, value in zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)

    def save_weights(self, path: str | Path) -> None:
        """The file that create_model(..., checkpoint_path=path) loads: the averaged weights."""
        save_atomically({"state_dict": self.average.state_dict()}, path)


def _quicken_batch_norms(model: nn.Module, steps: int) -> None:
    """Let running statistics settle in the steps there are: some families' momentum is for ImageNet's."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = max(module.momentum, min(0.1, 10 / steps))


def _decayed_apart(model: nn.Module, weight_decay: float) -> list[dict]:
    """Parameters for an optimizer: no weight decay on biases and BatchNorm."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
