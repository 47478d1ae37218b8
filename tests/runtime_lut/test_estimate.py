import json

import numpy as np
import pytest

from caffe2_common.errors import ModelError
from caffe2_models.published import NAMES, publication, published_net
from runtime_lut import fit_published
from runtime_lut.cost import CostModel, Workload, record_workload
from runtime_lut.estimate import DATA, ESTIMATED, INTERPOLATED, Estimator
from runtime_lut.latency import net_latency
from runtime_lut.signature import Signature
from runtime_lut.table import Table

INT8 = [name for name in NAMES if name.endswith("int8")]
S8 = fit_published.DEVICE


def rmspe(errors) -> float:
    return 100 * float(np.sqrt(np.mean(np.square(list(errors)))))


@pytest.fixture
def left_out(shared, x86_table, published_steps):
    """name -> (estimate without any record of the net's operators, measured µs of the whole net)."""
    whole = json.loads((shared / "lut/whole_net.json").read_text())
    records = [(Signature.of_record(r).key, record_workload(r), time) for r, time in x86_table.records()]

    def leave_out(name):
        own = {signature.key for signature, _ in published_steps[name]}
        rest = [(work, time) for key, work, time in records if key not in own]
        estimator = Estimator.of_workloads("x86", [work for work, _ in rest], [time for _, time in rest])
        net = published_net(name)
        return net_latency(net, net.input_shapes(), estimator=estimator), whole[name]["whole_net_us_p50"]

    return leave_out


def test_x86_nets_left_out_of_the_table_are_estimated(left_out):
    """Every record that equals an operator of the net is taken away, in whichever net it was measured."""
    results = [left_out(name) for name in INT8]
    assert rmspe(latency.total_us / measured - 1 for latency, measured in results) <= 4.0
    within = [latency.interval_us[0] <= measured <= latency.interval_us[1] for latency, measured in results]
    assert sum(within) >= 10  # of 12; 90 % intervals
    assert {layer.provenance for latency, _ in results for layer in latency.layers} == {
        INTERPOLATED,
        ESTIMATED,
    }
    assert not any(latency.all_found for latency, _ in results)


def test_s8_nets_left_out_of_the_fit_are_estimated():
    """ChamNet-A is left out together with the operator times that were published of it."""
    errors = fit_published.leave_one_out(fit_published.int8_samples())
    assert list(errors) == INT8
    assert rmspe(errors.values()) <= 7.0


def test_the_published_latencies_are_those_on_record(shared):
    models = json.loads((shared / "facts/models.json").read_text())
    on_record = {r["name"]: r for r in models if r["latency_int8_ms"]}
    for name in NAMES:
        short, form = name.split("/")
        assert publication(name).latency_ms == on_record[short][f"latency_{form}_ms"]


def test_the_data_file_is_what_the_script_fits():
    content = json.loads((DATA / f"{S8}-estimate.json").read_text())
    fitted = fit_published.fit_all()
    assert content["net_spread"]["int8"] <= 0.07
    assert {kind: list(row) for kind, row in content["prices"].items()} == {
        k: list(r) for k, r in fitted["prices"].items()
    }
    for kind, row in content["prices"].items():
        assert all(price >= 0 for price in row.values())
        assert row == pytest.approx(fitted["prices"][kind], rel=1e-3, abs=1e-6)


def test_prices_of_the_s8_are_physically_sensible():
    """8 cores at 1.7-2.4 GHz, of which Caffe2 used some: int8 GEMMs at tens of GMAC/s, depthwise slower,
    fp32 slower.
    """
    prices = json.loads((DATA / f"{S8}-estimate.json").read_text())["prices"]
    gemm = prices["int8/pointwise"]["macs"]
    assert 1 / 100 < gemm < 1 / 10  # µs per thousand: 10 to 100 GMAC/s
    assert prices["int8/depthwise"]["macs"] > gemm
    assert prices["int8/conv"]["macs"] > gemm
    assert prices["fp32/pointwise"]["macs"] > gemm
    assert 1 < prices["int8/pointwise"]["launch"] < 20  # µs


@pytest.mark.parametrize("name", INT8)
def test_published_nets_on_the_s8_without_a_table(name):
    net = published_net(name)
    latency = net_latency(net, net.input_shapes(), estimator=Estimator.shipped(S8))
    published_us = 1000 * publication(name).latency_ms
    assert latency.total_us == pytest.approx(published_us, rel=0.10 if name == "ChamNet-A/int8" else 0.20)
    assert not latency.all_found
    assert latency.provenance == {ESTIMATED: len(net.operators)}
    assert latency.interval_us[0] < latency.total_us < latency.interval_us[1]


def test_matrix_products_are_priced_by_their_macs_on_the_s8(make_record):
    """Kinds that no published net has: 10 M MAdds are not free."""
    estimator = Estimator.shipped(S8)
    shapes = ((1, 14, 14, 64), (64, 4, 4, 64), (64,))
    window = ['name: "kernel"\ni: 4\n', 'name: "stride"\ni: 2\n', 'name: "order"\ns: "NHWC"\n']
    transposed = make_record("Int8ConvTranspose", window, shapes, (6, 6, 2))
    product = make_record("MatMul", (), ((100, 1000), (1000, 100)), (1, 1))
    for record, low, high in ((transposed, 100, 2000), (product, 500, 10_000)):
        assert low < estimator.estimate(record_workload(record)).time_us < high


def test_a_device_that_nobody_measured_has_no_estimator():
    assert Estimator.shipped("Nokia-3310") is None


def conv_record(make_record, channels, us):
    args = ('name: "kernel"\ni: 1\n', 'name: "order"\ns: "NHWC"\n')
    shapes = ((1, 14, 14, channels), (channels, 1, 1, channels), (channels,))
    return make_record("Int8Conv", args, shapes, (6, 6, 2), us)


def test_interpolation_follows_measurements_that_prices_cannot(make_record):
    """Operators of about 70 channels take twice what the prices say: so does one between them."""
    records = [conv_record(make_record, c, 1e-3 * c * c * (2 if 60 <= c <= 80 else 1)) for c in
               (8, 16, 24, 32, 64, 68, 76, 80, 128, 192, 256, 384, 512)]  # fmt: skip
    estimator = Estimator.of_table(Table.of_records(records, "phone"))
    near = estimator.estimate(record_workload(conv_record(make_record, 72, 0)))
    far = estimator.estimate(record_workload(conv_record(make_record, 2048, 0)))
    assert near.provenance == INTERPOLATED
    assert near.time_us == pytest.approx(2e-3 * 72 * 72, rel=0.1)
    assert far.provenance == ESTIMATED
    assert far.time_us == pytest.approx(1e-3 * 2048 * 2048, rel=0.5)
    assert near.interval_us[0] < near.time_us < near.interval_us[1]


def test_kinds_that_a_table_has_few_of_are_left_to_the_fallback(make_record):
    fallback = Estimator.shipped(S8)
    table = Table.of_records([make_record(us=1e6)], "phone")
    work = record_workload(conv_record(make_record, 64, 0))
    assert Estimator.of_table(table, fallback).estimate(work) == fallback.estimate(work)
    assert Estimator.of_table(table).estimate(work) != fallback.estimate(work)


def test_nothing_comparable_is_an_error():
    estimator = Estimator("phone", "nothing", lambda: (CostModel({}), {}))
    with pytest.raises(ModelError, match="phone: nothing to estimate int8/fc from"):
        estimator.estimate(Workload(("int8", "fc"), (1.0, 1.0, 1.0, 1.0, 1.0)))
