"""Times of operators that no table holds: interpolated between measured ones of their kind, else from
fitted prices.
"""

import functools
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from caffe2_common.errors import ModelError
from runtime_lut.cost import COLUMNS, CostModel, Prices, Workload, record_workload
from runtime_lut.table import Table

DATA = Path(__file__).parent / "data"

DEFAULT_DEVICE = "SM-G950U-7.0-24"  # Samsung Galaxy S8 (US), the published table\'s

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


INTERPOLATED = "interpolated"  # measured operators of its kind are near
ESTIMATED = "estimated"  # priced by its multiply-accumulates and the elements it moves


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
    """Estimates for one device. `source` says what it is fitted from, when it is first asked."""

    def __init__(
        self,
        device: str,
        source: str,
        fit: Callable[[], tuple[CostModel, "_Pools"]],
        net_spread: dict[str, float] | None = None,
        fallback: "Estimator | None" = None,
    ):
        """fallback answers for kinds of operators that this one has few of."""
        self.device = device
        self.source = source
        self.fallback = fallback
        self._fit = fit
        self._net_spread = net_spread or {}

    @functools.cached_property
    def _fitted(self) -> tuple[CostModel, "_Pools"]:
        return self._fit()

    @classmethod
    def of_table(cls, table: Table, fallback: "Estimator | None" = None) -> "Estimator":
        """Fitted from a table's records."""

        def fit():
            records = list(table.records())
            records = records[:: -(-len(records) // MAX_FITTED)]
            workloads = [record_workload(record) for record, _ in records]
            return _fit_workloads(workloads, [time_us for _, time_us in records])

        return cls(table.device, table.source, fit, fallback=fallback)

    @classmethod
    def of_workloads(cls, device: str, workloads: list[Workload], times_us: list[float]) -> "Estimator":
        """Fitted from measured workloads."""
        return cls(device, f"{len(workloads)} measurements", lambda: _fit_workloads(workloads, times_us))

    @classmethod
    def shipped(cls, device: str) -> "Estimator | None":
        """The one that comes with this package for a device without a table, or None."""
        path = DATA / f"{device}-estimate.json"
        if not path.is_file():
            return None
        content = json.loads(path.read_text(encoding="utf-8"))
        prices = {
            tuple(kind.split("/")): Prices(
                tuple(row.get(column, 0.0) for column in COLUMNS), content["operator_spread"]
            )
            for kind, row in content["prices"].items()
        }
        return cls(device, content["source"], lambda: (CostModel(prices), {}), content["net_spread"])

    def deviation_us(self, form: str, estimates: Iterable[tuple[float, float]]) -> float:
        """Standard deviation of the sum of a net's (int8 or fp32) estimates, given as (µs, spread) each.

        Where the prices were fitted to whole nets, what those deviate by is known; else it is the operators'
        own scatter and what whole nets deviate by in common.
        """
        times, spreads = np.array([*estimates, (0.0, 0.0)]).T
        if self._net_spread:
            return float(self._net_spread[form] * times.sum())
        return math.hypot(NET_SPREAD * times.sum(), np.linalg.norm(times * spreads))

    def estimate(self, work: Workload) -> Estimate:
        """The time of one workload. Raises ModelError where the device has nothing comparable."""
        model, pools = self._fitted
        if self.fallback is not None and model.count(work.kind[:FAMILY]) < FEW:
            return self.fallback.estimate(work)
        prices = model.prices_of(work.kind)
        if prices is None:
            raise ModelError(f"{self.device}: nothing to estimate {'/'.join(work.kind)} from")
        time = float(prices.time(work.amounts))
        if work.kind not in pools:
            return Estimate(time, prices.spread, ESTIMATED)
        pool = pools[work.kind]
        correction, nearest = pool.correction(work.amounts)
        if nearest > NEAR:
            return Estimate(time * math.exp(correction), prices.spread, ESTIMATED)
        return Estimate(time * math.exp(correction), min(prices.spread, pool.spread), INTERPOLATED)


def _fit_workloads(workloads: list[Workload], times_us: list[float]) -> tuple[CostModel, "_Pools"]:
    """Prices per kind, and what the measurements deviate from them by."""
    model = CostModel.fit(workloads, times_us)
    members: dict[tuple[str, ...], list[int]] = {}
    for index, work in enumerate(workloads):
        members.setdefault(work.kind, []).append(index)
    pools = {}
    for kind, rows in members.items():
        amounts = np.array([workloads[row].amounts for row in rows])
        prices = model.prices_of(kind)
        assert prices is not None  # the model was fitted to these
        predicted = prices.time(amounts)
        times = np.array([times_us[row] for row in rows])
        pools[kind] = _Pool(amounts, np.log(np.maximum(times, 1e-3) / np.maximum(predicted, 1e-3)))
    return model, pools


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

    @functools.cached_property
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


_Pools = dict[tuple[str, ...], _Pool]
