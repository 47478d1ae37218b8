"""What a net said of every image, and what follows from it: counts that add up exactly."""

import dataclasses
import json
import math
import os
from dataclasses import dataclass

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.files import ARCHIVE_ERRORS, open_atomically

PENDING, BROKEN = -1, -2  # in place of a rank
LOSS_UNIT = 2.0**-24  # losses are summed as whole multiples of this, so that any order gives the same sum
TINY, LARGEST = np.finfo(np.float32).tiny, np.finfo(np.float32).max
TOP = 5


@dataclass(frozen=True)
class Totals:
    """Counts over images; those of disjoint sets add up. loss is in LOSS_UNIT."""

    n: int = 0
    top1: int = 0
    top5: int = 0
    loss: int = 0
    broken: int = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    @property
    def mean_loss(self) -> float:
        return self.loss * LOSS_UNIT / self.n if self.n else math.nan


class Outcomes:
    """One row for each image of a run, in its order.

    rank int32 [n]: how many classes scored above the right one (0 is a hit), PENDING or BROKEN;
    top int32 [n, 5]: the best classes, -1 where the net has fewer or says background; loss float32 [n].
    """

    def __init__(self, n: int):
        self.rank: np.ndarray = np.full(n, PENDING, np.int32)
        self.top: np.ndarray = np.full((n, TOP), -1, np.int32)
        self.loss: np.ndarray = np.zeros(n, np.float32)
        self.broken: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.rank)

    def record(self, positions: np.ndarray, scores: np.ndarray, labels: np.ndarray, offset: int, probabilities: bool):
        """Judge the scores, float [b, outputs], of the images at these positions.

        Class c is output c + offset. Equal scores rank by index, the lower first, as argmax does.
        """
        order = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")
        wanted = labels + offset
        self.rank[positions] = np.argmax(order == wanted[:, np.newaxis], axis=1)
        best = order[:, :TOP] - offset
        self.top[positions, : best.shape[1]] = best
        self.loss[positions] = np.minimum(cross_entropy(scores, wanted, probabilities), LARGEST)

    def mark_broken(self, position: int, reason: str) -> None:
        self.rank[position] = BROKEN
        self.broken[position] = reason

    def put(self, positions: np.ndarray, rows: "Outcomes") -> None:
        """Fill in the rows at these positions from another's."""
        for name in ("rank", "top", "loss"):
            getattr(self, name)[positions] = getattr(rows, name)
        self.broken.update({int(positions[row]): reason for row, reason in rows.broken.items()})

    @property
    def pending(self) -> np.ndarray:
        """Positions of the images that are still to be run."""
        return np.flatnonzero(self.rank == PENDING)

    def totals(self) -> Totals:
        done = self.rank >= 0
        return Totals(
            n=int(done.sum()),
            top1=int((self.rank == 0).sum()),
            top5=int((done & (self.rank < TOP)).sum()),
            loss=sum(int(loss) for loss in np.rint(self.loss[done].astype(np.float64) / LOSS_UNIT)),
            broken=int((self.rank == BROKEN).sum()),
        )

    def save(self, path: str | os.PathLike, identity: dict) -> None:
        """Write the state of a run, whole or not at all; identity says which run it is."""
        with open_atomically(path) as file:
            identity_text, broken_text = (np.array(json.dumps(value)) for value in (identity, self.broken))
            np.savez(file, identity=identity_text, broken=broken_text, rank=self.rank, top=self.top, loss=self.loss)

    @classmethod
    def load(cls, path: str | os.PathLike, identity: dict, n: int) -> "Outcomes":
        """Raises ModelError where the file is no state of this very run of n images."""
        try:
            with np.load(path, allow_pickle=False) as file:
                recorded = json.loads(str(file["identity"]))
                broken = {int(position): str(reason) for position, reason in json.loads(str(file["broken"])).items()}
                arrays = {name: file[name] for name in ("rank", "top", "loss")}
        except (KeyError, AttributeError, MemoryError, *ARCHIVE_ERRORS):
            raise ModelError(f"{path}: is no state of a validation run; delete it to start anew") from None
        differing = sorted(k for k in identity.keys() | recorded.keys() if identity.get(k) != recorded.get(k))
        if differing:
            raise ModelError(f"{path}: is of another run ({', '.join(differing)} differ); delete it to start anew")
        outcomes = cls(n)
        outcomes.broken = broken
        for name, array in arrays.items():
            own = getattr(outcomes, name)
            if array.shape != own.shape or array.dtype != own.dtype:
                raise ModelError(f"{path}: is damaged ({name}); delete it to start anew")
            own[:] = array
        return outcomes


def cross_entropy(scores: np.ndarray, wanted: np.ndarray, probabilities: bool) -> np.ndarray:
    """-log of the right class's probability, float64 [b], from logits or probabilities [b, outputs]."""
    scores = scores.astype(np.float64)
    right = np.take_along_axis(scores, wanted[:, np.newaxis], axis=1)[:, 0]
    if probabilities:
        return -np.log(np.maximum(right, TINY))
    peak = scores.max(axis=1)
    return peak + np.log(np.exp(scores - peak[:, np.newaxis]).sum(axis=1)) - right
