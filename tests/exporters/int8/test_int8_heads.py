"""Boxes in pixels beside scores that one convolution makes: each with scales of its own."""

import numpy as np
import pytest
from float_nets import FloatNet, sqnr_db

from exporters.int8.heads import find_runs
from exporters.int8.recipe import RECIPES
from exporters.int8.statistics import Statistics


def head(sizes: list[float], end: bool = True) -> FloatNet:
    """One layer whose channels are of these sizes; at the end of the net, or before further weights."""
    net = FloatNet(3, 9, 9)
    x = net.conv(net.conv("data", 16, kernel=3, relu=True), 16, kernel=3, relu=True)
    scale = np.array(sizes, np.float32)
    weight = net.draw(len(sizes), 16, 1, 1, scale=0.3) * scale[:, None, None, None]
    x = net.add("Conv", x, weight, net.draw(len(sizes)) * scale, kernel=1)
    if not end:
        net.conv(x, 4)
    return net


def statistics(sizes: list[float]) -> Statistics:
    seen = Statistics(len(sizes))
    seen.add(np.array(sizes, np.float32).reshape(1, -1, 1) * np.array([-1, 0.5, 1], np.float32))
    return seen


@pytest.mark.parametrize(
    ("sizes", "lengths"),
    [
        ([100, 120, 80, 90, 1, 1.5], [4, 2]),
        ([100, 120, 1, 1.5, 90, 80, 2, 1], [2, 2, 2, 2]),
        ([1, 1.5, 2, 3], [4]),
        ([100, 0, 90, 80], [4]),  # a channel that says nothing is no score
        ([0, 0], [2]),
        ([100, 1] * 20, [40]),  # too many parts to be worth it
        ([5], [1]),
    ],
)
def test_runs_of_channels(sizes, lengths):
    runs = find_runs(statistics(sizes))
    assert [run.stop - run.start for run in runs] == lengths
    assert [run.start for run in runs] == np.cumsum([0, *lengths[:-1]]).tolist()


SIZES = [200.0, 150.0, 170.0, 220.0, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("recipe", RECIPES)
def test_scores_are_as_exact_as_without_boxes(recipe):
    net = head(SIZES)
    int8, x = net.quantized(recipe).net, net.images()
    (want,), (got,) = (n.session("reference").run({"data": x}).values() for n in (net.net(), int8))
    assert sqnr_db(want[:, :4], got[:, :4]) > 20 and sqnr_db(want[:, 4:], got[:, 4:]) > 20
    assert [op.type for op in int8.predict.op].count("Int8Conv") == 2


@pytest.mark.parametrize("net", [head(SIZES, end=False), head([1.0] * 7)])
def test_other_layers_stay_whole(net):
    assert [op.type for op in net.quantized().net.predict.op].count("Int8Concat") == 0
    assert not any(op.type == "Concat" for op in net.quantized().net.predict.op)
