"""The published rows, and a test that neither fails a good net nor passes a bad one."""

import json

import pytest

from caffe2_common.errors import ModelError
from caffe2_common.images import complete
from caffe2_common.published import published_table
from validate.outcomes import Totals
from validate.published import compare, find_published
from validate.statistics import binomial_cdf, least_hits


def test_every_published_figure_is_in_the_table(shared):
    ours = {(row.short_name, row.weights, row.top1, row.preprocessing.size) for row in published_table()}
    for fact in json.loads((shared / "facts" / "models.json").read_text()):
        name = fact["name"].removesuffix(" *tfp").split(" (")[0]
        figures = {"int8": fact["accuracy_int8"], "fp32": fact["accuracy_fp32"]}
        if figures == {"int8": None, "fp32": None}:
            figures["fp32"] = fact["top1_table"]
        for weights, top1 in figures.items():
            if top1 is not None:
                assert (name, weights, top1, fact["resolution"]) in ours


def test_every_row_can_be_run():
    for row in published_table():
        assert complete(row.preprocessing) == row.preprocessing
        assert 40 < row.top1 < 90 and (row.top5 is None or row.top1 < row.top5 < 100)


def test_rows_are_found_by_name_form_and_table():
    assert find_published("chamnet-a", "int8").top1 == 74.6
    assert find_published("ChamNet-A").top1 == 75.4
    assert find_published("FBNet-C/int8", "int8").top1 == 73.2
    assert find_published("FBNet-s8").top1 == find_published("FBNet-s8 (Samsung Galaxy S8)").top1 == 79.6
    assert find_published("fbnetc_100", "int8").top1 == 75.124  # only published in fp32
    assert find_published("tf_efficientnet_b0").top1 == 76.528
    assert find_published("tf_efficientnet_b0", tf_preprocessing=True).top1 == 76.828
    assert find_published("dmasking_f4").top1 == 75.5
    assert find_published("dmasking_f4@fbnetv2-flops").top1 == 76.0
    assert find_published("FBNet-A@cifar10").classes == 10
    with pytest.raises(ModelError, match="fbnet_a, fbnet_b"):
        find_published("resnet50")


@pytest.mark.parametrize("n", [100, 500, 5000, 50000])
def test_a_good_net_fails_one_time_in_a_hundred_at_most_and_a_bad_one_does_not_pass(n):
    row = find_published("fbnetc_100")
    edge = least_hits(n, row.top1 / 100, 0.01)
    assert binomial_cdf(edge - 1, n, row.top1 / 100) < 0.01
    worse = {100: 20, 500: 10, 5000: 3, 50000: 1}[n]  # points; what the sample is large enough to see
    assert binomial_cdf(edge - 1, n, row.top1 / 100 - worse / 100) > 0.95


def test_comparison_reports_both_figures():
    row = find_published("fbnetc_100")
    good = compare(Totals(n=500, top1=370, top5=460), row)
    assert [c.holds for c in good] == [True, True]
    assert str(good[0]) == (
        "top-1   74.00 %, published 75.12 %, difference -1.12: within what chance allows (from 70.60 %)"
    )
    assert [c.holds for c in compare(Totals(n=500, top1=300, top5=460), row)] == [False, True]
    assert all(c.holds for c in compare(Totals(n=500, top1=500, top5=500), row))  # easier images are no fault
    assert len(compare(Totals(n=9, top1=9, top5=9), find_published("ChamNet-A"))) == 1
    with pytest.raises(ModelError, match="no image"):
        compare(Totals(), row)
