"""A table in the making: what is measured is kept at once, and an interrupted run goes on."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffe2_common.files import naming, write_atomically
from caffe2_common.progress import progress
from caffe2_models import Net
from runtime_lut import measure
from runtime_lut.operators import Case
from runtime_lut.signature import Signature
from runtime_lut.table import DATABASE_NAMES, MEDIAN

MOST_DEVIATION = 0.05  # of a sum from the whole net's time, median over nets

Record = dict[str, Any]
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class NetCheck:
    """A whole net's measured time beside the sum over its operators' table times, µs."""

    name: str
    whole_us: float
    sum_us: float

    @property
    def deviation(self) -> float:
        """Of the sum from the whole, as a share."""
        return self.sum_us / self.whole_us - 1

    def __str__(self) -> str:
        whole, total = self.whole_us / 1000, self.sum_us / 1000
        return f"{self.name:20} whole {whole:8.2f} ms  sum {total:8.2f} ms  {100 * self.deviation:+5.1f} %"


def table_path(folder: Path, device: str) -> Path:
    """Where a device's table lies in a folder."""
    return folder / f"{device}-{DATABASE_NAMES[0]}"


def measure_table(cases: list[Case], path: Path, device: str, engine: str, settings: measure.Settings) -> list[Record]:
    """Measure what the unfinished table lacks, write the table, and give its records."""
    part = path.with_name(f".{path.name}.part")
    with naming(path):
        part.parent.mkdir(parents=True, exist_ok=True)
        kept = _read_part(part)
        left = [case for case in cases if case.signature.key not in kept]
        more = {"engine": engine, "threads": settings.threads, **measure.machine()}
        with (
            part.open("a", encoding="utf-8") as file,
            progress(total=len(cases), initial=len(cases) - len(left), unit="op") as bar,
        ):
            for case, times in measure.measure_cases(left, engine, settings):
                record = case.record(measure.percentiles(times), device, **more)
                kept[case.signature.key] = record
                file.write(json.dumps(record) + "\n")
                file.flush()
                bar.update()
    records = [kept[case.signature.key] for case in cases]
    write_records(path, records)
    part.unlink()
    return records


def write_records(path: Path, records: Iterable[Record]) -> None:
    """A table in its form: a JSON object a line."""
    write_atomically(path, "".join(json.dumps(record) + "\n" for record in records))


def total_us(records: Iterable[Record]) -> float:
    """Sum of the records' medians, µs."""
    return sum(record[f"runtime_us_p{measure.RANKS[MEDIAN]}"] for record in records)


def check_nets(
    nets: Iterable[tuple[str, Net, Shapes]], times_us: Mapping[bytes, float], engine: str, settings: measure.Settings
) -> list[NetCheck]:
    """Measure whole nets beside the sums of their operators; times_us: of each operator, by its signature's key."""
    checks = []
    for name, net, shapes in nets:
        whole = measure.percentiles(measure.measure_net(net, dict(shapes), engine, settings))[MEDIAN]
        checks.append(NetCheck(name, whole, measure.sum_of_operators(net, dict(shapes), dict(times_us))))
    return checks


def median_deviation(checks: Iterable[NetCheck]) -> float:
    """Of the sums from the wholes, as a share, whatever its sign."""
    return float(np.median([abs(check.deviation) for check in checks]))


def _read_part(path: Path) -> dict[bytes, Record]:
    """The records of an unfinished table by their keys; a line that was cut short is dropped."""
    records: dict[bytes, Record] = {}
    if path.is_file():
        whole = path.read_text(encoding="utf-8").rpartition("\n")[0]
        path.write_text(whole + "\n" if whole else "", encoding="utf-8")
        for line in whole.splitlines():
            record = json.loads(line)
            records[Signature.of_record(record).key] = record
    return records
