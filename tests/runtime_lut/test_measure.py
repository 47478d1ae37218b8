import json
import os
import subprocess
import sys

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from caffe2_models.published import published_net
from runtime_lut import measure
from runtime_lut.operators import batches, operator_net, single_net, unique_cases
from runtime_lut.signature import Signature
from runtime_lut.table import Table, find_table

FAST = measure.Settings(warmup=0, min_rounds=2, max_rounds=2)


@pytest.fixture(scope="module")
def small():
    """(net, its input's shapes, its different operators)"""
    net = published_net("FBNet-96/int8")
    shapes = net.input_shapes()
    return net, shapes, unique_cases([(net, shapes)])


def test_every_operator_stands_once(small):
    net, shapes, cases = small
    keys = [case.signature.key for case in cases]
    assert len(set(keys)) == len(keys) < len(net.operators)
    assert set(keys) == {Signature.of_step(step).key for step in net.walk(shapes)}
    again = unique_cases([(net, shapes), (net, shapes)])
    assert [case.signature.key for case in again] == keys


def test_a_record_finds_the_operator_it_was_made_of(small):
    _, _, cases = small
    records = [case.record([index] * 5, "here") for index, case in enumerate(cases)]
    table = Table.of_records(records, "here")
    assert [table.time(case.signature) for case in cases] == list(range(len(cases)))


@pytest.mark.parametrize("producers", [False, True])
def test_operator_nets_run_the_same_operators(small, producers):
    """Walked as a net, the operators have the signatures they were taken from; and they run."""
    _, _, cases = small
    net = operator_net(cases, producers)
    steps = [step for step in net.walk({}) if step.node.name.startswith("op")]
    assert [Signature.of_step(step) for step in steps] == [case.signature for case in cases]
    last = steps[-1].node.outputs[0]
    assert net.session("reference").run({}, [last])[last].shape == steps[-1].outputs[0].shape


def test_lots_hold_everything_once(small):
    _, _, cases = small
    lots = list(batches(cases, max_operators=5, max_bytes=300_000))
    assert [case for lot in lots for case in lot] == cases
    assert max(map(len, lots)) <= 5
    assert all(len(lot) == 1 or sum(t.nbytes for c in lot for t in c.inputs) <= 300_000 for lot in lots)


def test_single_operators_run_alone(small):
    _, _, cases = small
    for case in cases:
        net, feeds = single_net(case)
        assert list(net.session("reference").run(feeds)) == list(case.op.output)


def test_medians_settle_or_rounds_end():
    rounds = []

    def slower_and_slower():
        rounds.append(None)
        return np.array([10.0 * len(rounds), 5.0])

    settings = measure.Settings(warmup=1, min_rounds=4, max_rounds=9, tolerance=1e-3)
    assert len(measure.settle(lambda: np.array([10.0, 5.0]), settings)) == 4
    assert measure.settle(slower_and_slower, settings).shape == (9, 2)
    assert len(rounds) == 10


@pytest.mark.parametrize("engine", ["reference", "exact"])
def test_engines_time_every_operator(small, engine):
    from caffe2_models import kernels

    if engine == "exact" and not kernels.is_available():
        pytest.skip("the kernels were not built")
    _, _, cases = small
    measured = list(measure.measure_cases(cases[:12], engine, FAST))
    assert [case for case, _ in measured] == cases[:12]
    assert all(times.shape == (2,) and (times > 0).all() for _, times in measured)


def test_onnxruntime_times_float_operators_only(small):
    net = published_net("FBNet-96/fp32")
    cases = unique_cases([(net, net.input_shapes())])[:6]
    assert all(times.min() >= 0 and times.max() > 0 for _, times in measure.measure_cases(cases, "onnxruntime", FAST))
    with pytest.raises(ModelError, match="Int8Quantize"):
        list(measure.measure_cases(small[2], "onnxruntime", FAST))


@pytest.mark.oracle
def test_the_real_caffe2_times_every_operator(small, caffe2_python):
    _, _, cases = small
    measured = list(measure.measure_cases(cases, "caffe2", FAST))
    assert [case for case, _ in measured] == cases
    assert all(times.shape == (2,) and (times > 0).all() for _, times in measured)


@pytest.fixture
def build_lut(root, cache):
    def run(*arguments):
        command = [sys.executable, str(root / "scripts/build_lut.py"), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, env=dict(os.environ))

    return run


def test_a_table_is_made_and_an_interrupted_one_goes_on(build_lut, tmp_path):
    arguments = ["--models", "FBNet-96/int8", "--op-types", "Int8Sum,Int8Softmax,Int8FC", "--out", tmp_path]
    arguments += ["--engine", "reference", "--max-rounds", 1, "--warmup", 0, "--device", "here"]
    done = build_lut(*arguments)
    assert done.returncode == 0, done.stderr
    path = find_table(tmp_path, "here")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert {record["op_type"] for record in records} == {"Int8Sum", "Int8Softmax", "Int8FC"}
    assert {(r["engine"], r["threads"], r["device"]) for r in records} == {("reference", 1, "here")}
    assert all(r["runtime_us_p0"] <= r["runtime_us_p50"] <= r["runtime_us_p100"] for r in records)
    assert all(r["cpu"] and r["date"] for r in records)
    assert not list(tmp_path.glob(".*"))  # nothing half-made is left

    kept = {**records[0], "runtime_us_p50": 12345.0}
    part = tmp_path / f".{path.name}.part"
    part.write_text(json.dumps(kept) + "\n" + json.dumps(records[1])[:40])  # the second line was cut short
    assert build_lut(*arguments).returncode == 0
    again = [json.loads(line) for line in path.read_text().splitlines()]
    assert [r["op_type"] for r in again] == [r["op_type"] for r in records]
    assert again[0] == kept
    assert not part.exists()


def test_cores_that_are_not_there(build_lut, tmp_path):
    done = build_lut("--models", "FBNet-96/int8", "--engine", "reference", "--core", 4096, "--out", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "build_lut.py: core 4096: this process cannot be pinned to it\n"


def test_systems_that_pin_nothing_measure_all_the_same(monkeypatch):
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    measure.pin()
    with pytest.raises(ModelError, match=r"core 0: .* leave the core out"):
        measure.pin(0)
