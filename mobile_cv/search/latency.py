"""The latency of every candidate of a space on one device, and of the networks made of them. Times in ms."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from caffe2_common.errors import ModelError
from mobile_cv.search.space import SearchSpace, orderings

MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """candidates_ms: float64 [layers, candidates], 0 where a layer has fewer; fixed_ms: stem and head."""

    device: str
    candidates_ms: Tensor
    fixed_ms: float

    def __post_init__(self):
        times = [*self.candidates_ms.flatten().tolist(), self.fixed_ms]
        if not all(math.isfinite(time) and time >= 0 for time in times):
            raise ModelError(f"the latencies of {self.device} hold a time that is negative or no number")

    def of(self, choices: Sequence[int]) -> float:
        """The latency of the network of these choices, ms."""
        chosen = self.candidates_ms[torch.arange(len(choices)), torch.as_tensor(choices)]
        return self.fixed_ms + float(chosen.sum())

    def expected(self, weights: Tensor) -> Tensor:
        """Sum of weights x candidates_ms over all layers, plus stem and head, ms.

        weights: [..., layers, candidates], rows summing to 1; the mean over the leading dimensions (samples)
        is taken. Differentiable; the gradient with respect to a weight is that candidate's latency.
        """
        table = self.candidates_ms.to(weights)
        return (weights * table).sum((-2, -1)).mean() + self.fixed_ms

    def range(self, available: Tensor) -> tuple[float, float]:
        """The latencies of the fastest and of the slowest network, ms; available: bool, as candidates_ms."""
        fastest = self.candidates_ms.masked_fill(~available, math.inf).amin(1).sum()
        slowest = self.candidates_ms.masked_fill(~available, -math.inf).amax(1).sum()
        return self.fixed_ms + float(fastest), self.fixed_ms + float(slowest)

    def to_json(self) -> str:
        values = {"device": self.device, "fixed_ms": self.fixed_ms}
        return json.dumps({**values, "candidates_ms": self.candidates_ms.tolist()}) + "\n"

    @classmethod
    def from_json(cls, path: str | Path) -> "LatencyTable":
        """What to_json wrote; raises ModelError for another file."""
        try:
            values = json.loads(Path(path).read_text(encoding="utf-8"))
            device, fixed_ms = str(values["device"]), float(values["fixed_ms"])
            times = torch.tensor(values["candidates_ms"], dtype=torch.float64)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{path}: not a table of candidates' latencies ({error})") from None
        return cls(device, times, fixed_ms)


# The nine candidates as AnnaAraslanova/FBNet names them; s2 is the one with grouped 1x1 convs and a shuffle.
TEXT_NAMES = {"skip": "skip"} | {
    f"ir_k{kernel}_{theirs}": f"ir_k{kernel}_{ours}"
    for kernel in (3, 5)
    for theirs, ours in (("e1", "e1"), ("s2", "e1_g2"), ("e3", "e3"), ("e6", "e6"))
}


def read_text_table(path: str | Path, space: SearchSpace, fixed_ms: float = 0.0) -> LatencyTable:
    """The text table of AnnaAraslanova/FBNet (lookup_table.txt) for a space of its nine candidates.

    First line: the candidates' names; then a line per layer with a time per candidate, in µs. It holds
    nothing of stem and head: their time is fixed_ms. Raises ModelError where it is no such table, or is one
    of other layers or candidates.
    """
    path = Path(path)
    try:
        with path.open(encoding="utf-8") as file:
            header, *lines = file.read(MAX_TEXT_BYTES).split("\n")
        rows = [[float(field) for field in line.split()] for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not a readable text table of latencies ({error})") from None
    names = [TEXT_NAMES.get(name, name) for name in header.split()]
    if len(rows) != len(space.layers) or any(len(row) != len(names) for row in rows):
        raise ModelError(
            f"{path}: {len(rows)} rows under {len(names)} names are no table of the "
            f"{len(space.layers)} layers of space {space.name}"
        )
    times = torch.zeros(len(space.layers), space.width, dtype=torch.float64)
    for index, (layer, row) in enumerate(zip(space.layers, rows, strict=True)):
        for choice, candidate in enumerate(layer.candidates):
            if candidate not in names:
                raise ModelError(f"{path}: has no column of {candidate}; it has {', '.join(names)}")
            times[index, choice] = row[names.index(candidate)] / 1000
    return LatencyTable(path.name, times, fixed_ms)


def violations(table: LatencyTable, space: SearchSpace) -> list[str]:
    """The orderings that must hold and do not: a block faster than the same with less to do."""
    found = []
    for index, layer in enumerate(space.layers):
        for a, b in orderings(layer.candidates):
            less, more = table.candidates_ms[index, [a, b]].tolist()
            if less > more:
                found.append(
                    f"layer {index}: {layer.candidates[a]} {1000 * less:.0f} µs > "
                    f"{layer.candidates[b]} {1000 * more:.0f} µs"
                )
    return found


def count_orderings(space: SearchSpace) -> int:
    """How many orderings violations() looks at."""
    return sum(len(orderings(layer.candidates)) for layer in space.layers)
