"""The search: weights and architecture parameters trained by turns, then the network chosen."""

import json
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from caffe2_common.errors import ModelError
from mobile_cv.search.budget import select
from mobile_cv.search.images import Augmented, Data, batches_of, load_batches, split
from mobile_cv.search.latency import LatencyTable
from mobile_cv.search.losses import AnnaFBNetLoss, PaperLoss, TargetLoss
from mobile_cv.search.processes import Processes
from mobile_cv.search.run import Meter, Record, Run, accuracy, cosine, set_lr, to_input
from mobile_cv.search.space import SearchSpace
from mobile_cv.search.supernet import Choice, Supernet, gumbel_noise, temperature_at
from mobile_cv.settings import TOLERANCE, SearchSettings

Loss = TargetLoss | PaperLoss | AnnaFBNetLoss


@dataclass(frozen=True)
class Found:
    """What a search ended with: choices of the space, their latency, and the probabilities they are from."""

    choices: tuple[int, ...]
    latency_ms: float
    probabilities: list[list[float]] = field(repr=False)

    def to_json(self) -> str:
        return json.dumps(vars(self)) + "\n"


class Search(Run):
    """A search of a space on data, with a table of latencies and a loss that joins them."""

    def __init__(
        self,
        space: SearchSpace,
        table: LatencyTable,
        loss: Loss,
        data: Data,
        settings: SearchSettings,
        processes: Processes | None = None,
        workers: int = 0,
    ):
        super().__init__(settings, processes or Processes(), workers)
        self.space, self.table, self.loss, self.data = space, table, loss, data
        torch.manual_seed(settings.seed)
        self.supernet = self.processes.prepare(Supernet(space))
        self.choice = Choice(space).to(self.processes.device)
        self._parallel_supernet = self.processes.parallel(self.supernet, find_unused_parameters=settings.hard)
        self._parallel_choice = self.processes.parallel(self.choice)
        self.weight_optimizer = torch.optim.SGD(
            self.supernet.parameters(), settings.lr, settings.momentum, weight_decay=settings.weight_decay
        )
        self.theta_optimizer = torch.optim.Adam(
            self.choice.parameters(), settings.theta_lr, weight_decay=settings.theta_weight_decay
        )
        self.images = Augmented(data.train, data.augment, space.network.size, settings.seed)
        self.parts = split(len(data.train), settings.weight_share, settings.seed)
        for part, name in zip(self.parts, ("weights", "architecture parameters"), strict=True):
            if len(part) < settings.batch_size:
                raise ModelError(
                    f"{data.name}: {len(part)} images for the {name} make no batch of {settings.batch_size}"
                )
        self.processes.share([0] * settings.batch_size)

    def modules(self) -> dict:
        return {
            "supernet": self.supernet,
            "choice": self.choice,
            "weight_optimizer": self.weight_optimizer,
            "theta_optimizer": self.theta_optimizer,
        }

    def identity(self) -> dict:
        return {
            **super().identity(),
            "space": repr(self.space),
            "data": self.data.name,
            "loss": repr(self.loss),
            "latencies": self.table.to_json(),
        }

    def train_epoch(self) -> Record:
        """All batches of the weights' part, then, after the warm-up, all of the architecture parameters'."""
        settings, epoch = self.settings, self.epoch
        set_lr(self.weight_optimizer, settings.lr * cosine(epoch / settings.epochs))
        phases = [("weights", self._train_weights, self.parts[0])]
        if epoch >= settings.warmup_epochs:
            phases.append(("theta", self._train_theta, self.parts[1]))
        plan = {name: batches_of(part, settings.batch_size, epoch, settings.seed) for name, _, part in phases}
        record: Record = {}
        with self.bar(sum(map(len, plan.values()))) as bar:
            for name, step, _ in phases:
                meter = Meter()
                keys = [self.processes.share(batch) for batch in plan[name]]
                for number, (images, labels) in enumerate(load_batches(self.images, keys, self.workers)):
                    noise = self._noise(self.seed_step(epoch, name, number))
                    labels = labels.to(self.processes.device)
                    mean, std = self.space.network.mean, self.space.network.std
                    meter.add(len(labels), **step(to_input(images, mean, std, noise.device), labels, noise))
                    means = meter.means()
                    bar.set_postfix_str(_summary(name, means, self.choice.entropy()), refresh=False)
                    bar.update()
                record |= {f"{name}_{key}": value for key, value in meter.means(self.processes).items()}
        probabilities = self.choice.probabilities()
        return record | {
            "entropy": self.choice.entropy(),
            "latency_ms": float(self.table.expected(probabilities)),
            "temperature": self.temperature,
        }

    @property
    def temperature(self) -> float:
        settings = self.settings
        return temperature_at(self.epoch, settings.temperature, settings.temperature_decay, settings.warmup_epochs)

    def _noise(self, generator: torch.Generator) -> Tensor:
        """Gumbel noise of a step: for the whole batch, or for each sample of this process's share."""
        shape = tuple(self.choice.theta.shape)
        if not self.settings.per_sample:
            return gumbel_noise(shape, generator).to(self.processes.device)
        noise = gumbel_noise((self.settings.batch_size, *shape), generator)
        return noise[self.processes.rank :: self.processes.count].to(self.processes.device)

    def _train_weights(self, images: Tensor, labels: Tensor, noise: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            drawn = self.choice(noise, self.temperature, self.settings.hard)
        figures = self._figures(self._parallel_supernet, images, labels, *drawn)
        self._step(self.weight_optimizer, figures["loss"])
        return figures

    def _train_theta(self, images: Tensor, labels: Tensor, noise: Tensor) -> dict[str, Tensor]:
        self.supernet.requires_grad_(False)
        drawn = self._parallel_choice(noise, self.temperature, self.settings.hard)
        figures = self._figures(self.supernet, images, labels, *drawn)
        self._step(self.theta_optimizer, figures["loss"])
        self.supernet.requires_grad_(True)
        return figures

    def _figures(self, supernet, images, labels, weights, probabilities) -> dict[str, Tensor]:
        logits = supernet(images, weights)
        latency = self.table.expected(weights if self.loss.of_weights else probabilities)
        latency = self.processes.mean(latency)
        loss = self.loss(F.cross_entropy(logits, labels), latency)
        return {"loss": loss, "accuracy": accuracy(logits, labels), "latency_ms": latency}

    @staticmethod
    def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def result(self, target_ms: float | None = None, rng: np.random.Generator | None = None) -> Found:
        """The most probable network whose latency is at most target_ms, and at most 5 % below it.

        Without a target the most probable of all; with rng a network drawn from the probabilities instead.
        Raises ModelError where the space has no such network.
        """
        logits = self.choice.logits.detach().cpu().double()
        if target_ms is None:
            low, high = 0.0, 2 * self.table.range(self.choice.available.cpu())[1]
        else:
            low, high = (1 - TOLERANCE) * target_ms, target_ms
        choices = within(self.table, logits.log_softmax(-1), low, high, rng)
        return Found(tuple(choices), self.table.of(choices), self.choice.probabilities().tolist())


def within(
    table: LatencyTable, scores: Tensor, low: float, high: float, rng: np.random.Generator | None = None
) -> list[int]:
    """select() over whole networks: low and high, in ms, include stem and head."""
    fixed = table.fixed_ms
    try:
        return select(scores.numpy(), table.candidates_ms.numpy(), max(0.0, low - fixed), high - fixed, rng)
    except ModelError:
        fastest, slowest = table.range(torch.isfinite(scores))
        raise ModelError(
            f"no network of the space takes {low:.4g} to {high:.4g} ms on {table.device}: "
            f"they take {fastest:.4g} to {slowest:.4g} ms"
        ) from None


def random_networks(
    space: SearchSpace, table: LatencyTable, low: float, high: float, count: int, seed: int = 0
) -> list[list[int]]:
    """Choices of different networks whose latency is from low to high ms, every one as likely; fewer than
    count where there are not so many.
    """
    rng = np.random.default_rng(seed)
    scores = torch.zeros(space.available.shape, dtype=torch.float64).masked_fill(~space.available, -torch.inf)
    networks: dict[tuple[int, ...], None] = {}
    for _ in range(20 * count):
        networks.setdefault(tuple(within(table, scores, low, high, rng)))
        if len(networks) == count:
            break
    return [list(choices) for choices in networks]


def _summary(phase: str, means: Record, entropy: float) -> str:
    return (
        f"{phase}: loss {means['loss']:.3f}, accuracy {means['accuracy']:.1f} %, "
        f"latency {means['latency_ms']:.4g} ms, entropy {entropy:.2f}"
    )
