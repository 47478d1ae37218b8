"""Fits the Samsung S8's prices from what was published, for use where its table is not at hand.

Data: the latencies of the twelve int8 and twelve fp32 nets (caffe2_models.published) and the six operator
times that the reference tool's README prints for ChamNet-A/int8.
"""

from dataclasses import dataclass

import numpy as np

from caffe2_models.published import NAMES, publication, published_net
from runtime_lut.cost import COLUMNS, Workload, non_negative_least_squares, step_workload

DEVICE = "SM-G950U-7.0-24"

# README example of ChamNet-A/int8: operator index -> µs.
README_NET = "ChamNet-A/int8"
README_TIMES_US = {0: 276.0, 1: 127.0, 2: 960.0, 3: 674.0, 4: 363.0, -1: 5.0}
README_WEIGHT = 0.3  # of one operator's relative error against one net's


# kind -> column -> the fitted price; a name that stands twice is one price. Every operator pays for its
# launch; GEMMs for multiply-accumulates and for the outputs they requantize, the first convolution (few
# input channels) at a price of its own; a fully connected layer at batch 1 streams its weights from memory.
GEMM = {"launch": "launch", "macs": "gemm", "outputs": "requantize"}
INT8 = {
    "int8/pointwise": GEMM,
    "int8/grouped": GEMM,
    "int8/gemm": GEMM,
    "int8/conv": GEMM | {"macs": "conv"},
    "int8/depthwise": {"launch": "launch", "macs": "depthwise"},
    "int8/fc": {"launch": "launch", "weights": "fc"},
    "int8/other": {"launch": "launch", "outputs": "light", "inputs": "light"},
    "int8/other/Int8Quantize": {"launch": "launch", "outputs": "quantize"},
    "fp32/other/NCHW2NHWC": {"launch": "launch", "outputs": "layout"},
    "fp32/other": {"launch": "launch", "outputs": "light", "inputs": "light"},
}

# NNPACK has a depthwise kernel for 3x3 only (no dearer than its GEMM); 5x5 goes channel by channel and
# costs more than all the rest.
FP32 = {
    "fp32/pointwise": {"macs": "gemm"},
    "fp32/conv": {"macs": "gemm"},
    "fp32/grouped": {"macs": "gemm"},
    "fp32/gemm": {"macs": "gemm"},
    "fp32/depthwise": {"macs": "depthwise"},
    "fp32/depthwise/3x3": {"macs": "gemm"},
    "fp32/fc": {"weights": "fc"},
}


@dataclass(frozen=True)
class Sample:
    """A measured time (µs): how much of each price it needs, what of it is known already, how much it
    counts.
    """

    net: str
    amounts: np.ndarray
    time_us: float
    known_us: float = 0.0
    weight: float = 1.0

    def error(self, prices: np.ndarray) -> float:
        """Predicted / measured - 1."""
        return float((self.amounts @ prices + self.known_us) / self.time_us - 1)


def names_of(table: dict) -> list[str]:
    return sorted({name for columns in table.values() for name in columns.values()})


def columns_of(work: Workload, table: dict) -> dict[str, str]:
    """The table's row for a workload, by the narrowest kind there; empty where there is none."""
    paths = ("/".join(work.kind[:length]) for length in range(len(work.kind), 0, -1))
    return next((table[path] for path in paths if path in table), {})


def amounts_of(works: list[Workload], table: dict) -> np.ndarray:
    """Per price, what the workloads need of it."""
    names = names_of(table)
    total = np.zeros(len(names))
    for work in works:
        for column, name in columns_of(work, table).items():
            total[names.index(name)] += work.amounts[COLUMNS.index(column)]
    return total


def fit(samples: list[Sample]) -> np.ndarray:
    """Non-negative prices of least relative error."""
    rows = np.array([s.weight * s.amounts / s.time_us for s in samples])
    return non_negative_least_squares(rows, np.array([s.weight * (1 - s.known_us / s.time_us) for s in samples]))


def leave_one_out(samples: list[Sample]) -> dict[str, float]:
    """net -> error from the other nets alone (ChamNet-A also without its operators' times)."""
    nets = [s for s in samples if s.weight == 1]
    return {held.net: held.error(fit([s for s in samples if s.net != held.net])) for held in nets}


def rms(errors) -> float:
    return float(np.sqrt(np.mean(np.square(list(errors)))))


def workloads(name: str) -> list[Workload]:
    net = published_net(name)
    return [step_workload(step) for step in net.walk(net.input_shapes())]


def int8_samples() -> list[Sample]:
    """Published int8 latencies and the README's operator times."""
    works = {name: workloads(name) for name in NAMES if name.endswith("int8")}
    nets = [Sample(n, amounts_of(w, INT8), publication(n).latency_ms * 1000) for n, w in works.items()]
    return nets + [
        Sample(README_NET, amounts_of([works[README_NET][index]], INT8), time_us, weight=README_WEIGHT)
        for index, time_us in README_TIMES_US.items()
    ]


def fp32_samples(int8_prices: np.ndarray) -> list[Sample]:
    """Published fp32 latencies; what is no layer costs what it costs in int8 nets."""
    samples = []
    for name in (name for name in NAMES if name.endswith("fp32")):
        works = workloads(name)
        known = amounts_of([w for w in works if not columns_of(w, FP32)], INT8) @ int8_prices
        samples.append(Sample(name, amounts_of(works, FP32), publication(name).latency_ms * 1000, float(known)))
    return samples


def operator_spread(samples: list[Sample]) -> float:
    """Scatter (of the logarithm) of the README's layers about what all else predicts of them.

    Only of those whose prices other operators pay too: 1x1 and depthwise.
    """
    layer = [names_of(INT8).index(name) for name in ("gemm", "depthwise")]
    held = [s for s in samples if s.weight < 1 and s.amounts[layer].any()]
    return rms(np.log1p(s.error(fit([other for other in samples if other is not s]))) for s in held)


def fit_all() -> dict:
    """The data file's content."""
    int8 = int8_samples()
    fp32 = fp32_samples(fit(int8))
    errors = {"int8": leave_one_out(int8), "fp32": leave_one_out(fp32)}
    rows: dict[str, dict[str, float]] = {}
    for table, samples in ((INT8, int8), (FP32, fp32)):
        prices = dict(zip(names_of(table), fit(samples).tolist(), strict=True))
        rows |= {k: {c: float(f"{prices[n]:.6g}") for c, n in columns.items()} for k, columns in table.items()}
    return {
        "device": DEVICE,
        "source": "24 published whole-net latencies and 6 operator times",
        "unit": "µs per launch, and per thousand multiply-accumulates, outputs, inputs or weights",
        "leave_one_net_out": {form: {n: round(e, 4) for n, e in errors[form].items()} for form in errors},
        "net_spread": {form: round(rms(errors[form].values()), 4) for form in errors},
        "operator_spread": round(operator_spread(int8), 4),
        "prices": rows,
    }
