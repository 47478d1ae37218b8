"""Tables of latencies: the text form, what is wrong with the published one, bad files."""

import json

import pytest
import torch

from caffe2_common.errors import ModelError
from mobile_cv.search import LatencyTable, get_space, read_text_table, violations
from mobile_cv.search.latency import count_orderings

FBNET = get_space("fbnet")


def write_text(path, columns, rows):
    lines = [" ".join(columns), *(" ".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def published(shared, tmp_path):
    facts = json.loads((shared / "facts/nas_facts.json").read_text())["anna_fbnet"]
    table = facts["lookup_table_us"]
    return facts, write_text(tmp_path / "lookup_table.txt", table["columns"], table["rows"])


def test_the_published_text_table(published):
    facts, path = published
    table = read_text_table(path, FBNET, fixed_ms=1.5)
    assert table.candidates_ms[0, 0] == pytest.approx(5.1298)
    assert table.candidates_ms[21, 5] == pytest.approx(1.6201)  # ir_k5_s2 there, ir_k5_e1_g2 here
    broken, all_of_them = facts["lookup_table_us"]["order_violations"]
    assert (len(violations(table, FBNET)), count_orderings(FBNET)) == (broken, all_of_them) == (66, 154)
    names = [FBNET.candidates.index(n.replace("_s2", "_e1_g2")) for n in facts["archs"]["fbnet_cpu_sample1"]]
    # "uniform" is what a softmax of equal parameters expects
    uniform = torch.full(FBNET.available.shape, 1 / 9).double()
    sums = facts["lut_sum_ms_22_blocks"]
    assert table.of(names) - 1.5 == pytest.approx(sums["fbnet_cpu_sample1"], abs=0.005)
    assert float(table.expected(uniform)) - 1.5 == pytest.approx(sums["uniform"], abs=0.005)


def test_a_table_in_order_has_no_violations():
    times = torch.tensor([1.0, 0.9, 2.0, 3.0, 1.5, 1.2, 2.5, 3.5, 0.0]).double().repeat(22, 1)
    table = LatencyTable("phone", times, 0.0)
    assert violations(table, FBNET) == []
    times[3, 0] = 2.2
    assert violations(table, FBNET) == [
        "layer 3: ir_k3_e1 2200 µs > ir_k3_e3 2000 µs",
        "layer 3: ir_k3_e1 2200 µs > ir_k5_e1 1500 µs",
    ]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "0 rows"),
        ("skip\n1\n2", "2 rows"),
        ("skip\n" + "x\n" * 22, "not a readable"),
        ("skip\n" + "1\n" * 22, "no column of ir_k3_e1"),
        ("skip\n" + "1 2\n" * 22, "no table"),
    ],
)
def test_a_wrong_text_table_is_one_line(tmp_path, text, message):
    path = tmp_path / "table.txt"
    path.write_text(text)
    with pytest.raises(ModelError, match=message):
        read_text_table(path, FBNET)


def test_times_must_be_numbers():
    for bad in (float("nan"), -1.0, float("inf")):
        with pytest.raises(ModelError, match="negative or no number"):
            LatencyTable("phone", torch.tensor([[bad]]).double(), 0.0)
