"""What the search minimizes: cross entropy joined with the expected latency.

of_weights: whether the latency is that of the weights of the step, as published, or that of the probabilities
behind them. At high temperatures weights are nearly even whatever the probabilities are, so that a penalty on
their latency drives the probabilities far beyond the target.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

MICROSECONDS = 1000.0  # per ms


@dataclass(frozen=True)
class TargetLoss:
    """Cross entropy, plus strength times the excess of the latency over target_ms, relative to it.

    Nothing is gained below the target, so that the network uses what it is given.
    """

    of_weights: ClassVar[bool] = False
    target_ms: float
    strength: float = 5.0

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        return cross_entropy + self.strength * (latency_ms / self.target_ms - 1).clamp(min=0)


@dataclass(frozen=True)
class PaperLoss:
    """Cross entropy x alpha x log(latency in µs)^beta: equation 2 of FBNet (arXiv:1812.03443)."""

    of_weights: ClassVar[bool] = True
    alpha: float = 0.2
    beta: float = 0.6

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        return cross_entropy * self.alpha * (latency_ms * MICROSECONDS).log().clamp(min=0) ** self.beta


@dataclass(frozen=True)
class AnnaFBNetLoss:
    """Cross entropy x alpha x log(latency in µs ^ beta): what AnnaAraslanova/FBNet computes instead.

    log(x^beta) is beta log(x): beta only scales this loss.
    """

    of_weights: ClassVar[bool] = True
    alpha: float = 0.2
    beta: float = 0.6

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        return cross_entropy * self.alpha * ((latency_ms * MICROSECONDS) ** self.beta).log()


LOSSES = {"target": TargetLoss, "paper": PaperLoss, "annafbnet": AnnaFBNetLoss}
