"""The supernet: every candidate of every layer at once, weighted by a Gumbel-softmax."""

import torch
from torch import Tensor, nn

from mobile_cv.model_zoo.networks import build
from mobile_cv.search.space import SearchSpace


class MixedLayer(nn.ModuleList):
    """The candidates of one layer; what comes out is their weighted sum.

    Candidates of weight zero (a hard choice) are not computed, unless the weights' gradient is wanted.
    """

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """x: float32 NCHW; weights: [candidates], or [N, candidates] for a choice per sample."""
        if weights.requires_grad:
            active = range(len(self))
        else:
            active = weights.reshape(-1, weights.shape[-1]).any(0).nonzero().flatten().tolist()
        return sum(weights[..., index, None, None, None] * self[index](x) for index in active)


class Supernet(nn.Module):
    """All networks of a space in one, without the parameters of the choice.

    The candidates, stem and head are those of networks that the zoo builds, initialized as it does it.
    """

    def __init__(self, space: SearchSpace, in_chans: int = 3):
        super().__init__()
        columns = [build(space.architecture(choices), in_chans) for choices in space.columns()]
        self.stem = columns[0].first
        self.layers = nn.ModuleList(
            MixedLayer(columns[choice].stages[index] for choice in range(len(layer.candidates)))
            for index, layer in enumerate(space.layers)
        )
        self.head = columns[0].last_stages

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Logits [N, classes] of x [N, channels, H, W]; weights: [layers, candidates] for the whole batch, or
        [N, layers, candidates] for each sample.
        """
        x = self.stem(x)
        for index, layer in enumerate(self.layers):
            x = layer(x, weights[..., index, : len(layer)])
        return self.head(x)


class Choice(nn.Module):
    """The architecture parameters theta [layers, candidates], and weights drawn from them."""

    def __init__(self, space: SearchSpace):
        super().__init__()
        self.theta = nn.Parameter(torch.full((len(space.layers), space.width), 1 / space.width))
        self.register_buffer("available", space.available, persistent=False)

    @property
    def logits(self) -> Tensor:
        return self.theta.masked_fill(~self.available, -torch.inf)

    def probabilities(self) -> Tensor:
        """[layers, candidates], without a gradient."""
        return self.logits.detach().softmax(-1)

    def entropy(self) -> float:
        """Mean over the layers, in nats: log(candidates) where all are as likely, 0 where one is certain."""
        return float(torch.special.entr(self.probabilities()).sum(-1).mean())

    def forward(self, noise: Tensor, temperature: float, hard: bool = False) -> tuple[Tensor, Tensor]:
        """(weights [..., layers, candidates] from Gumbel noise of that shape, probabilities).

        hard: one candidate per layer, by the straight-through estimator (the gradient is the soft weights').
        Probabilities are those with which hard weights take each candidate, whatever the temperature.
        """
        logits = self.logits
        soft, probabilities = ((logits + noise) / temperature).softmax(-1), logits.softmax(-1)
        if not hard:
            return soft, probabilities
        chosen = torch.zeros_like(soft).scatter_(-1, soft.argmax(-1, keepdim=True), 1.0)
        return chosen + soft - soft.detach() if soft.requires_grad else chosen, probabilities


def gumbel_noise(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Samples of the standard Gumbel distribution: -log of exponential ones."""
    return -torch.empty(shape).exponential_(generator=generator).log()


def temperature_at(epoch: int, start: float = 5.0, decay: float = 0.9559974818331, constant: int = 0) -> float:
    """start, times decay per epoch after the first `constant` ones.

    The defaults reach 0.0024 at epoch 180, as AnnaAraslanova/FBNet has it with constant = 10.
    """
    return start * decay ** max(0, epoch - constant)
