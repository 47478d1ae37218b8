import csv
import io
import json
import re

import pytest
from google.protobuf import text_format

from caffe2_models import Net
from caffe2_models.proto import caffe2_pb2
from caffe2_models.published import NAMES, published_net
from runtime_lut import report
from runtime_lut.estimate import Estimator
from runtime_lut.latency import net_latency
from runtime_lut.table import Table

RELUS = """
op { type: "Relu" input: "data" output: "y" }
op { type: "Relu" input: "y" output: "y" }
op { type: "MaxPool" input: "y" output: "y" arg { name: "kernel" i: 2 } arg { name: "stride" i: 2 } }
op { type: "Relu" input: "y" output: "data" }
external_input: "data"
"""


def net_of(text):
    return Net(text_format.Parse(text, caffe2_pb2.NetDef()))


@pytest.fixture
def relu_table(make_record):
    """Relu on 8 x 8 takes 10 µs, on 4 x 4 it takes 3."""
    records = [make_record("Relu", (), ((1, 2, size, size),), (1,), us) for size, us in ((8, 10.0), (4, 3.0))]
    return Table.of_records(records, "phone")


def test_each_operator_is_seen_at_its_own_moment(relu_table):
    """y is written in place and then with another shape; data is written again at the end."""
    latency = net_latency(net_of(RELUS), {"data": (1, 2, 8, 8)}, relu_table)
    assert [layer.time_us for layer in latency.layers] == [10.0, 10.0, None, 3.0]
    assert [layer.provenance for layer in latency.layers] == ["exact", "exact", "missing", "exact"]
    assert latency.total_us == 23.0
    assert not latency.all_found


@pytest.mark.parametrize("name", NAMES)
def test_the_table_of_the_real_caffe2_knows_all_published_nets(shared, x86_table, name):
    whole = json.loads((shared / "lut/whole_net.json").read_text())[name]
    net = published_net(name)
    latency = net_latency(net, net.input_shapes(), x86_table)
    assert latency.provenance == {"exact": len(net.operators)}
    # Records of equal operators are averaged over the nets, so sums differ a little from the net's own.
    assert latency.total_us == pytest.approx(whole["sum_of_ops_us"], rel=0.04)
    assert latency.total_us == pytest.approx(whole["whole_net_us_p50"], rel=0.05)


def test_what_is_estimated_never_stands_under_found(relu_table, shared, x86_table):
    estimator = Estimator.of_table(x86_table)
    latency = net_latency(net_of(RELUS), {"data": (1, 2, 8, 8)}, relu_table, estimator)
    assert not latency.all_found
    assert latency.provenance["exact"] == 3
    low, high = latency.interval_us
    pool = latency.layers[2]
    assert pool.provenance in ("estimated", "interpolated")
    assert low < latency.total_us < high
    assert high - low < latency.total_us  # what was measured is not in doubt
    lines = report.operator_lines(latency)
    assert lines[5].startswith(f"{pool.provenance}: [")
    assert [line.startswith("run_time: [") for line in lines[1::2]] == [True, True, False, True]
    assert "ESTIMATED" in report.summary_lines(latency)[1]


def test_missing_operators_are_listed_with_what_is_nearest(relu_table):
    net = net_of(RELUS)
    lines = report.summary_lines(net_latency(net, {"data": (1, 2, 10, 10)}, relu_table))
    assert lines[0] == "All operators found in the table? False"
    assert lines[2].startswith("Missing: 4 operators")
    assert lines[4] == "    nearest: Relu with input [[1, 2, 8, 8]]: 10.0"
    assert lines[8] == "    nearest: no record of this type"
    assert lines[10] == "    nearest: Relu with input [[1, 2, 4, 4]]: 3.0"


def test_a_substituted_operator_keeps_its_true_type(make_record):
    args = ('name: "kernel"\ni: 1\n', 'name: "order"\ns: "NHWC"\n')
    net = published_net("ChamNet-A/int8")
    (step, *_) = [s for s in net.walk(net.input_shapes()) if s.node.type == "Int8Conv"]
    shapes = [t.shape for t in step.inputs]
    record = make_record("Int8ConvRelu", [*args, 'name: "group"\ni: 32\n'], shapes, (6, 6, 2), 363.0)
    record["op_args"] = ['name: "group"\ni: 32\n', 'name: "kernel"\ni: 3\n', 'name: "pad"\ni: 1\n', args[1]]
    latency = net_latency(net, net.input_shapes(), Table.of_records([record], "phone"))
    (layer,) = [layer for layer in latency.layers if layer.provenance == "substituted"]
    assert (layer.op_type, layer.source_type, layer.time_us) == ("Int8Conv", "Int8ConvRelu", 363.0)
    lines = report.operator_lines(latency)
    assert lines[8] == "op type Int8Conv with input [[1, 112, 112, 32], [32, 3, 3, 1], [32]]"
    assert lines[9] == "run_time: [363.0]"
    assert "Substituted: 1 operators (Int8Conv by Int8ConvRelu)" in report.summary_lines(latency)


def test_other_forms_hold_the_same_figures(x86_table):
    net = published_net("FBNet-96/int8")
    latency = net_latency(net, net.input_shapes(), x86_table, model="FBNet-96/int8")
    content = json.loads(report.to_json([latency]))
    assert content["latency_us"] == latency.total_us
    assert sum(row["time_us"] for row in content["operators"]) == pytest.approx(latency.total_us)
    assert content["macs"] == pytest.approx(12.94e6, rel=1e-3)  # published
    assert len(json.loads(report.to_json([latency, latency]))) == 2
    rows = list(csv.DictReader(io.StringIO(report.to_csv([latency]))))
    assert [float(row["time_us"]) for row in rows] == [layer.time_us for layer in latency.layers]
    assert json.loads(rows[0]["input_shapes"]) == [[1, 3, 96, 96]]
    assert rows[0]["index"] == "0"
    assert sum(us for _, _, us in latency.by_type()) == pytest.approx(latency.total_us)
    times = [layer.time_us for layer in latency.top(5)]
    assert times == sorted((layer.time_us for layer in latency.layers), reverse=True)[:5]


def test_the_page_is_whole_and_escapes_what_nets_are_called(x86_table):
    net = published_net("FBNet-96/int8")
    latency = net_latency(net, net.input_shapes(), x86_table, model="<script>alert(1)</script>")
    page = report.to_html([latency])
    assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page
    assert "http:" not in page and "https:" not in page  # nothing is fetched
    operators = page.split('id="latency0-operators"')[1]
    longest = max(layer.time_us for layer in latency.layers)
    drawn = [layer for layer in latency.layers if layer.time_us >= 0.005 * longest]
    bars = re.findall(r'class="bar (\w+)" style="width:([\d.]+)%"', operators)
    assert [(p, float(w)) for p, w in bars] == [(x.provenance, round(100 * x.time_us / longest, 1)) for x in drawn]


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_the_plot_is_drawn(x86_table, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    net = published_net("FBNet-96/int8")
    latency = net_latency(net, net.input_shapes(), x86_table, model="FBNet-96/int8")
    report.save_plot([latency], tmp_path / f"plot.{suffix}")
    content = (tmp_path / f"plot.{suffix}").read_bytes()
    assert content.startswith(b"\x89PNG") or b"<svg" in content
