"""Per-image predictions as a table, and what two forms of a net agree on."""

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from caffe2_common.files import write_atomically
from validate.dataset import Dataset
from validate.outcomes import Outcomes
from validate.statistics import binomial_cdf

COLUMNS = ["image", "label", "predicted", "rank", "top5", "loss"]
MAX_PREDICTIONS_BYTES = 1 << 28
FLIPS_SHOWN = 20


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a net predicted for each image (labels and predictions are class indices; -1 is background)."""

    images: list[str]
    labels: np.ndarray
    outcomes: Outcomes

    def to_csv(self) -> str:
        """A row for every image: rank 0 is a hit, top5 the five best classes, best first."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        o = self.outcomes
        for row in range(len(self.images)):
            top5 = " ".join(map(str, o.top[row].tolist()))
            writer.writerow(
                [self.images[row], self.labels[row], o.top[row, 0], o.rank[row], top5, f"{o.loss[row]:.6g}"]
            )
        return text.getvalue()

    def save(self, path: str | os.PathLike) -> None:
        write_atomically(path, self.to_csv())

    @classmethod
    def of_run(cls, dataset: Dataset, indices: np.ndarray, outcomes: Outcomes) -> "Predictions":
        """Of a run's images at these indices of the dataset, without broken ones."""
        done = np.flatnonzero(outcomes.rank >= 0)
        table = Outcomes(len(done))
        table.rank, table.top, table.loss = outcomes.rank[done], outcomes.top[done], outcomes.loss[done]
        images = [dataset.names[index] for index in indices[done]]
        return cls(images, dataset.labels[indices[done]], table)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Predictions":
        """Raises ModelError where the file is none that save wrote."""
        path = Path(path)
        if path.stat().st_size > MAX_PREDICTIONS_BYTES:
            raise ModelError(f"{path}: is larger than {MAX_PREDICTIONS_BYTES >> 20} MiB, which no predictions are")
        images, labels, outcomes = [], [], []
        try:
            with open(path, newline="", encoding="utf-8") as file:
                for fields in csv.DictReader(file):
                    images.append(fields["image"])
                    labels.append(int(fields["label"]))
                    top5 = [int(v) for v in fields["top5"].split()]
                    outcomes.append((int(fields["rank"]), top5, float(fields["loss"])))
            table = Outcomes(len(images))
            for row, (rank, top5, loss) in enumerate(outcomes):
                table.rank[row], table.top[row], table.loss[row] = rank, top5, loss
        except (KeyError, ValueError, TypeError, AttributeError, OverflowError, csv.Error):
            raise ModelError(f"{path}: is no table of predictions (columns {', '.join(COLUMNS)})") from None
        if not images:
            raise ModelError(f"{path}: holds no predictions")
        return cls(images, np.array(labels), table)


@dataclass(frozen=True)
class Agreement:
    """Two forms, first and second, over the same images.

    agree counts equal top-1 predictions; the other four count images that both, one or neither got right;
    flips lists (image, label, first's prediction, second's) where the two differ.
    """

    n: int
    agree: int
    both: int
    only_first: int
    only_second: int
    neither: int
    flips: list[tuple[str, int, int, int]]

    @property
    def p_value(self) -> float:
        """McNemar's exact test of the images that only one got right: would chance split them so unevenly?

        Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
        Psychometrika 12 (1947).
        """
        discordant = self.only_first + self.only_second
        return min(1.0, 2 * binomial_cdf(min(self.only_first, self.only_second), discordant, 0.5))

    def to_text(self, first: str, second: str) -> str:
        """first and second are the two's files, or what else to call them."""
        first, second = Path(first).stem, Path(second).stem
        lines = [
            f"{first} and {second} agree on {self.agree} of {self.n} images "
            f"({100 * self.agree / self.n:.2f} %), {self.n - self.agree} flips",
            f"both right {self.both}, only {first} {self.only_first}, only {second} {self.only_second}, "
            f"neither {self.neither}",
            f"difference in top-1 {100 * (self.only_second - self.only_first) / self.n:+.2f} points; "
            f"chance alone makes one as large with p = {self.p_value:.2g}",
        ]
        for image, label, one, two in self.flips[:FLIPS_SHOWN]:
            lines.append(f"  {image}: class {label}, {first} {one}, {second} {two}")
        if len(self.flips) > FLIPS_SHOWN:
            lines.append(f"  ... and {len(self.flips) - FLIPS_SHOWN} more")
        return "\n".join(lines)

    def save(self, path: str | os.PathLike, first: str, second: str) -> None:
        """As JSON with all flips, or else as text."""
        content = self.to_json() if Path(path).suffix == ".json" else self.to_text(first, second)
        write_atomically(path, content + "\n")

    def to_json(self) -> str:
        names = ("n", "agree", "both", "only_first", "only_second", "neither")
        flips = [dict(zip(("image", "label", "first", "second"), flip, strict=True)) for flip in self.flips]
        return json.dumps({**{k: getattr(self, k) for k in names}, "p_value": self.p_value, "flips": flips}, indent=1)


def compare_predictions(first: Predictions, second: Predictions) -> Agreement:
    """Raises ModelError where the two are not over the same images."""
    rows = {image: row for row, image in enumerate(second.images)}
    if missing := sorted(set(first.images) ^ set(second.images)):
        raise ModelError(
            f"the two are over different images: {missing[0]} and {len(missing) - 1} others are in one only"
        )
    order = np.array([rows[image] for image in first.images])
    one, two = first.outcomes.top[:, 0], second.outcomes.top[order, 0]
    right_one, right_two = first.outcomes.rank == 0, second.outcomes.rank[order] == 0
    differing = np.flatnonzero(one != two)
    return Agreement(
        n=len(order),
        agree=int((one == two).sum()),
        both=int((right_one & right_two).sum()),
        only_first=int((right_one & ~right_two).sum()),
        only_second=int((~right_one & right_two).sum()),
        neither=int((~right_one & ~right_two).sum()),
        flips=[(first.images[k], int(first.labels[k]), int(one[k]), int(two[k])) for k in differing.tolist()],
    )
