"""Times of operators that no table holds: interpolated between measured ones of their kind, else from
fitted prices.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_models.errors import ModelError
from runtime_lut.cost import COLUMNS, CostModel, Prices, Workload, record_workload
from runtime_lut.table import Table

DATA = Path(__file__).parent / "data"

Z90 = 1.645  # a normal variable lies within this many standard deviations nine times out of ten

NEIGHBOURS = 3  # more change nothing (leave-one-net-out over the x86-64 table)
REACH = 1.0  # distance (in the logarithm of the amounts) at which a neighbour corrects half of its deviation
NEAR = 0.7  # beyond it (a factor of two in one amount) nothing is called interpolated

FAMILY = 2  # elements of a kind's path that name a family: int8/depthwise
FEW = 8  # records of a family that are too few to fit its prices from

MAX_FITTED = 4000  # records that a fit takes, evenly from the table

# What the sum over a whole net was off by where its operators were estimated, beyond their own scatter
# (x86-64, leave one net out: 2.3 % in int8).
NET_SPREAD = 0.03


@dataclass(frozen=True)
class Estimate:
    """A time in µs with the range that holds it nine times out of ten; provenance interpolated or
    estimated.
    """

    time_us: float
    spread: float  # standard deviation of the logarithm
    provenance: str

    @property
    def interval_us(self) -> tuple[float, float]:
        return interval(self.time_us, self.spread)


def interval(time_us: float, spread: float) -> tuple[float, float]:
    """The range about a time that holds the true one nine times out of ten."""
    factor = math.exp(Z90 * spread)
    return time_us / factor, time_us * factor


class Estimator:
    """Estimates for one device. `source` says what it was fitted from; `fallback` answers for kinds it has
    few of.
    """

    def __init__(
        self,
        device: str,
        model: CostModel,
        source: str,
        net_spread: dict[str, float] | None = None,
        fallback: "Estimator | None" = None,
    ):
        self.device = device
        self.model = model
        self.source = source
        self.fallback = fallback
        self._net_spread = net_spread or {}
        self._pools: dict[tuple[str, ...], _Pool] = {}

    @classmethod
    def of_table(cls, table: Table, fallback: "Estimator | None" = None) -> "Estimator":
        """Fitted from a table's records."""
        records = list(table.records())
        records = records[:: -(-len(records) // MAX_FITTED)]
        estimator = cls.of_workloads(
            table.device,
            [record_workload(record) for record, _ in records],
            [time_us for _, time_us in records],
            f"{len(records)} records of {table.source}",
        )
        estimator.fallback = fallback
        return estimator

    @classmethod
    def of_workloads(
        cls, device: str, workloads: list[Workload], times_us: list[float], source: str
    ) -> "Estimator":
        """Fitted from measured workloads."""
        estimator = cls(device, CostModel.fit(workloads, times_us), source)
        members: dict[tuple[str, ...], list[int]] = {}
        for index, work in enumerate(workloads):
            members.setdefault(work.kind, []).append(index)
        for kind, rows in members.items():
            amounts = np.array([workloads[row].amounts for row in rows])
            predicted = estimator.model.prices_of(kind).time(amounts)
            times = np.array([times_us[row] for row in rows])
            estimator._pools[kind] = _Pool(
                amounts, np.log(np.maximum(times, 1e-3) / np.maximum(predicted, 1e-3))
            )
        return estimator

    @classmethod
    def shipped(cls, device: str) -> "Estimator | None":
        """The one that comes with this package for a device without a table, or None."""
        path = DATA / f"{device}-estimate.json"
        if not path.is_file():
            return None
        content = json.loads(path.read_text())
        prices = {
            tuple(kind.split("/")): Prices(
                tuple(row.get(column, 0.0) for column in COLUMNS), content["operator_spread"]
            )
            for kind, row in content["prices"].items()
        }
        return cls(device, CostModel(prices), content["source"], content["net_spread"])

    def net_spread(self, form: str) -> float:
        """What whole nets (int8 or fp32) deviate by in common, as a standard deviation of the logarithm."""
        return self._net_spread.get(form, NET_SPREAD)

    def estimate(self, work: Workload) -> Estimate:
        """The time of one workload. Raises ModelError where the device has nothing comparable."""
        if self.fallback is not None and self.model.count(work.kind[:FAMILY]) < FEW:
            return self.fallback.estimate(work)
        prices = self.model.prices_of(work.kind)
        if prices is None:
            raise ModelError(f"{self.device}: nothing to estimate {'/'.join(work.kind)} from")
        time = float(prices.time(work.amounts))
        pool = self._pools.get(work.kind)
        if pool is None:
            return Estimate(time, prices.spread, "estimated")
        correction, nearest = pool.correction(work.amounts)
        spread = min(prices.spread, pool.spread) if nearest <= NEAR else prices.spread
        return Estimate(
            time * math.exp(correction), spread, "interpolated" if nearest <= NEAR else "estimated"
        )


class _Pool:
    """Measured workloads of one kind and the logarithms of measured over priced time."""

    def __init__(self, amounts: np.ndarray, deviations: np.ndarray):
        self.points = _coordinates(amounts)
        self.deviations = deviations

    def correction(self, amounts, without: int | None = None) -> tuple[float, float]:
        """(what to add to the logarithm of the priced time, distance of the nearest measurement)."""
        distances = np.linalg.norm(self.points - _coordinates(np.asarray(amounts)), axis=1)
        if without is not None:
            distances[without] = np.inf
        nearest = np.argsort(distances, kind="stable")[:NEIGHBOURS]
        nearest = nearest[np.isfinite(distances[nearest])]
        if not len(nearest):
            return 0.0, math.inf
        weights = 1 / (distances[nearest] ** 2 + 1e-4)
        trust = REACH**2 / (REACH**2 + distances[nearest[0]] ** 2)
        return trust * float(weights @ self.deviations[nearest] / weights.sum()), float(distances[nearest[0]])

    @property
    def spread(self) -> float:
        """Scatter of what interpolation leaves, each measurement predicted from the others (at most 200 of
        them).
        """
        rows = range(0, len(self.points), -(-len(self.points) // 200))
        left = [self.deviations[row] - self.correction(np.exp(self.points[row]), row)[0] for row in rows]
        return max(float(np.sqrt(np.mean(np.square(left)))), 0.02) if len(left) > 2 else math.inf


def _coordinates(amounts: np.ndarray) -> np.ndarray:
    """Amounts as points whose distances are ratios."""
    return np.log(np.maximum(amounts, 1e-3))
