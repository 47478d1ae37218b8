"""The published accuracies, and whether a measured one agrees with them as far as its sample can tell."""

from dataclasses import dataclass

from caffe2_common.errors import ModelError
from caffe2_common.published import TABLES, Published, published_table
from validate.outcomes import Totals
from validate.statistics import least_hits

SIGNIFICANCE = 0.01  # how often a net that is exactly as good as published may be called worse


@dataclass(frozen=True)
class Comparison:
    """A measured accuracy beside the published one, both in percent.

    lowest is the least accuracy that a net as good as published reaches on n images with probability
    1 - SIGNIFICANCE; the measured one holds where it is not below.
    """

    metric: str
    ours: float
    published: float
    lowest: float
    holds: bool

    def __str__(self) -> str:
        verdict = "within" if self.holds else "BELOW"
        return (
            f"{self.metric}  {self.ours:6.2f} %, published {self.published:.2f} %, difference "
            f"{self.ours - self.published:+.2f}: {verdict} what chance allows (from {self.lowest:.2f} %)"
        )


def find_published(name: str, weights: str = "fp32", tf_preprocessing: bool = False) -> Published:
    """The row of NAME or NAME@TABLE, whatever the case of its letters; NAME may end in /fp32 or /int8.

    Of several the one for these weights comes first, then the one measured with (or without)
    TensorFlow's preprocessing, then the first in the tables. Raises ModelError, with what there is.
    """
    wanted, _, table = name.lower().partition("@")
    rows = [
        row
        for row in published_table()
        if wanted in (row.name.lower(), row.short_name.lower()) and table in ("", row.table)
    ]
    if not rows:
        names = ", ".join(dict.fromkeys(row.short_name for row in published_table()))
        raise ModelError(f"{name} is in none of the published tables ({', '.join(TABLES)}); they have {names}")
    return min(
        rows,
        key=lambda row: (row.weights != weights, row.preprocessing.tf_preprocessing != tf_preprocessing),
    )


def compare(totals: Totals, row: Published) -> list[Comparison]:
    """Top-1 and, where it is published, top-5 beside the row, each by a one-sided binomial test.

    Only worse counts: a sample that is easier than the validation set is no fault of the net.
    """
    if not totals.n:
        raise ModelError("no image was run, so there is nothing to compare with the published accuracy")
    figures = [("top-1", totals.top1, row.top1), ("top-5", totals.top5, row.top5)]
    return [_compare(metric, hits, totals.n, figure) for metric, hits, figure in figures if figure is not None]


def _compare(metric: str, hits: int, n: int, published: float) -> Comparison:
    lowest = least_hits(n, published / 100, SIGNIFICANCE)
    return Comparison(metric, 100 * hits / n, published, 100 * lowest / n, hits >= lowest)
