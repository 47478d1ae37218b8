"""What the latency tests share: a cache of their own, small tables, the table of the real Caffe2."""

import json
from pathlib import Path

import pytest

from caffe2_models.published import NAMES, published_net
from runtime_lut.cost import step_workload
from runtime_lut.signature import Signature
from runtime_lut.table import Table, find_table

X86 = "x86_64-avx512-caffe2_1.8.1-1t"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """Keeps indexes and downloads out of the user's cache."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("CAFFE2_MOBILE_CACHE", str(folder))
    return folder


@pytest.fixture
def x86_table(shared) -> Table:
    return Table.load(find_table(shared / "lut", X86), X86)


@pytest.fixture(scope="session")
def published_steps() -> dict[str, list]:
    """name -> (signature, workload) of every operator of the published nets."""
    steps = {}
    for name in NAMES:
        net = published_net(name)
        walk = net.walk(net.input_shapes())
        steps[name] = [(Signature.of_step(step), step_workload(step)) for step in walk]
    return steps


def record(op_type="Int8Relu", args=(), shapes=((1, 8, 8, 16),), dtypes=(6,), us=10.0, device="phone") -> dict:
    """A record of a table, all percentiles about `us`."""
    times = {f"runtime_us_{p}": us * factor for p, factor in
             (("p0", 0.9), ("p10", 0.95), ("p50", 1.0), ("p90", 1.1), ("p100", 2.0))}  # fmt: skip
    shapes = [list(shape) for shape in shapes]
    return {"op_type": op_type, "op_args": list(args), "input_shapes": shapes, "input_dtypes": list(dtypes),
            **times, "device": device}  # fmt: skip


def write_table(folder: Path, records: list[dict], device="phone") -> Path:
    path = folder / f"{device}-op_lut_database.json"
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


@pytest.fixture
def make_record():
    return record


@pytest.fixture
def make_table(tmp_path):
    return lambda records, device="phone": write_table(tmp_path, records, device)
