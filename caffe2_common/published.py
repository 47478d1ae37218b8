"""The published figures of the zoo's models and nets: one row for each line of the tables that people know."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path

from caffe2_common.preprocessing import Preprocessing

# A table's short name, as in NAME@TABLE, and its own.
TABLES = {
    "pytorch": "mobile-vision, PyTorch",
    "torchscript-int8": "mobile-vision, int8 TorchScript",
    "caffe2": "mobile-vision, Caffe2",
    "fbnetv2-flops": "mobile-vision, FBNetV2",
    "fbnetv2-params": "mobile-vision, FBNetV2",
    "cifar10": "AnnaAraslanova/FBNet, CIFAR-10",
    "geffnet": "gen-efficientnet-pytorch",
    "geffnet-tf": "gen-efficientnet-pytorch, ported",
}


@dataclass(frozen=True)
class Published:
    """A line of a published table.

    name is the table's, model the zoo's ("" where no definition is public); table is one of TABLES, weights fp32 or
    int8; rule is the counting rule of mobile_cv.model_zoo.count.RULES. Counts, in millions, are text as printed there
    ("" where there is none), for their decimals matter; top1, top5 and top3 are percent of the validation images,
    latency_ms is on a Samsung S8, None where not told. preprocessing is what the accuracy was measured with; what the
    table leaves open has the defaults.
    """

    name: str
    model: str
    table: str
    weights: str
    rule: str
    params_m: str
    madds_m: str
    top1: float
    top5: float | None
    top3: float | None
    latency_ms: float | None
    preprocessing: Preprocessing
    classes: int

    @property
    def short_name(self) -> str:
        """Without the form of the weights and what the table adds in brackets."""
        return self.name.removesuffix(f"/{self.weights}").partition(" (")[0]

    def __str__(self) -> str:
        top5 = "" if self.top5 is None else f", top-5 {self.top5:g} %"
        return f"{self.short_name} ({self.table}, {self.weights}): top-1 {self.top1:g} %{top5}"


@functools.cache
def published_table() -> tuple[Published, ...]:
    """All lines of all tables, in their order."""
    with Path(__file__).with_name("published.csv").open(newline="", encoding="utf-8") as file:
        return tuple(map(_row, csv.DictReader(file)))


def agrees(printed: str, value: float) -> bool:
    """Whether a value, rounded to the decimals of a printed figure, is that figure."""
    return f"{value:.{_decimals(printed)}f}" == printed


def as_printed(printed: str, value: float, default: int = 1) -> str:
    """The value with the decimals of the printed figure, or with the default where there is none."""
    return f"{value:.{_decimals(printed) if printed else default}f}"


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])


def _row(fields: dict[str, str]) -> Published:
    preprocessing = Preprocessing(
        size=int(fields["size"]),
        mean=tuple(map(float, fields["mean"].split())),
        std=tuple(map(float, fields["std"].split())),
        channel_order=fields["channel_order"],
        tf_preprocessing=fields["tf_preprocessing"] == "1",
    ).replace(interpolation=fields["interpolation"] or None, crop_pct=_number(fields["crop_pct"]))
    texts = {name: fields[name] for name in ("name", "model", "table", "weights", "rule", "params_m", "madds_m")}
    return Published(
        **texts,
        top1=float(fields["top1"]),
        top5=_number(fields["top5"]),
        top3=_number(fields["top3"]),
        latency_ms=_number(fields["latency_ms"]),
        preprocessing=preprocessing,
        classes=int(fields["classes"]),
    )


def _number(text: str) -> float | None:
    return float(text) if text else None
