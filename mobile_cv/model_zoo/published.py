"""What was published of the zoo's models: one row per line of the tables that people know."""

import csv
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Published:
    """A line of a published table. Figures are text, as printed there ("" where it has none).

    name is the table's, model the zoo's ("" where no definition is public); rule is the counting rule of
    count.RULES. params_m and madds_m are in millions, top1, top5 and top3 in percent of the validation
    images, latency_ms on a Samsung S8. preprocessing is set where it is not the model's own.
    """

    name: str
    model: str
    table: str
    rule: str
    params_m: str
    madds_m: str
    top1: str
    top5: str
    top3: str
    latency_ms: str
    preprocessing: str


def read_published() -> list[Published]:
    """All lines of all tables, in their order."""
    with Path(__file__).with_name("published.csv").open(newline="") as file:
        return [Published(**row) for row in csv.DictReader(file)]


def agrees(printed: str, value: float) -> bool:
    """Whether a value, rounded to the decimals of a printed figure, is that figure."""
    return f"{value:.{_decimals(printed)}f}" == printed


def as_printed(printed: str, value: float, default: int = 1) -> str:
    """The value with the decimals of the printed figure, or with the default where there is none."""
    return f"{value:.{_decimals(printed) if printed else default}f}"


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])
