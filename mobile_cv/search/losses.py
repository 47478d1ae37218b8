"""What the search minimizes: cross entropy joined with the expected latency."""

from dataclasses import dataclass

from torch import Tensor

MICROSECONDS = 1000.0  # per ms


@dataclass(frozen=True)
class TargetLoss:
    """Cross entropy, plus strength times the excess of the latency over target_ms, relative to it.

    Nothing is gained below the target, so that the network uses what it is given.
    """

    target_ms: float
    strength: float = 5.0

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        return cross_entropy + self.strength * (latency_ms / self.target_ms - 1).clamp(min=0)


@dataclass(frozen=True)
class PaperLoss:
    """Cross entropy x alpha x log(latency in µs)^beta: equation 2 of FBNet (arXiv:1812.03443)."""

    alpha: float = 0.2
    beta: float = 0.6

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        return cross_entropy * self.alpha * (latency_ms * MICROSECONDS).log().clamp(min=0) ** self.beta


@dataclass(frozen=True)
class AnnaFBNetLoss:
    """Cross entropy x alpha x log(latency in µs ^ beta): what AnnaAraslanova/FBNet computes instead.

    log(x^beta) is beta log(x): beta only scales this loss.
    """

    alpha: float = 0.2
    beta: float = 0.6

    def __call__(self, cross_entropy: Tensor, latency_ms: Tensor) -> Tensor:
        return cross_entropy * self.alpha * ((latency_ms * MICROSECONDS) ** self.beta).log()


LOSSES = {"target": TargetLoss, "paper": PaperLoss, "annafbnet": AnnaFBNetLoss}
