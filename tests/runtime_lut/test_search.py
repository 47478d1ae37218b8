import json
import math

import numpy as np
import pytest

from caffe2_models.published import published_net
from runtime_lut.estimate import Estimator
from runtime_lut.search import (
    Clock,
    activation,
    candidate_times,
    convolution,
    expected_time,
    inverted_residual,
    net_times,
)

BLOCKS = [(112, 16, 24, 2), (56, 24, 24, 1), (56, 24, 32, 2), (28, 32, 32, 1)]
CANDIDATES = [(expansion, kernel) for expansion in (1, 3, 6) for kernel in (3, 5)]
SPACE = [
    [inverted_residual(size, channels, out, expansion, kernel, stride) for expansion, kernel in CANDIDATES]
    for size, channels, out, stride in BLOCKS
]


@pytest.mark.parametrize("name", ["ChamNet-A", "ChamNet-D", "FBNet-A", "FBNet-96"])
def test_blocks_are_those_of_the_published_nets(shared, x86_table, published_steps, name):
    """The table of the real Caffe2 knows every operator of the blocks; together they are the net's own."""
    facts = json.loads((shared / "facts/nas_facts.json").read_text())["models"][name]
    own = {signature.key for signature, _ in published_steps[f"{name}/int8"]}
    for block in facts["blocks"]:
        operations = inverted_residual(
            block["hw_in"],
            block["cin"],
            block["cout"],
            block["expand"],
            block["k"],
            block["s"],
            group=block["pw_groups"],
            depthwise_relu=block["int8_relu_after_dw"][0],
        )
        assert {operation.signature.key for operation in operations} <= own, block["id"]
        assert not math.isnan(Clock(x86_table).block_time(operations))


def test_times_of_nets_are_sums_over_their_blocks(x86_table):
    clock = Clock(x86_table, Estimator.of_table(x86_table))
    times = candidate_times(SPACE, clock)
    assert times.shape == (4, 6)
    assert (times > 0).all()
    choices = np.random.default_rng(0).integers(0, 6, (1000, 4))
    nets = net_times(times, choices)
    by_hand = [sum(clock.block_time(SPACE[layer][c]) for layer, c in enumerate(choice)) for choice in choices[:20]]
    assert nets[:20] == pytest.approx(by_hand)
    certain = np.eye(6)[choices]
    assert expected_time(times, certain) == pytest.approx(nets)
    assert expected_time(times, np.full((4, 6), 1 / 6)) == pytest.approx(times.mean(axis=1).sum())


def test_more_work_takes_longer(x86_table):
    """Without a table: a wider expansion and a larger kernel are never cheaper."""
    times = candidate_times(SPACE, Clock(estimator=Estimator.shipped("SM-G950U-7.0-24"))).reshape(4, 3, 2)
    assert (np.diff(times, axis=1) > 0).all()
    assert (np.diff(times, axis=2) > 0).all()


def test_layers_with_fewer_candidates_are_filled_up(x86_table):
    clock = Clock(estimator=Estimator.of_table(x86_table))
    times = candidate_times([SPACE[0], SPACE[1][:2]], clock)
    assert np.isinf(times[1, 2:]).all()
    weights = np.array([[1 / 6] * 6, [0.5, 0.5, 0, 0, 0, 0]])
    assert expected_time(times, weights) == pytest.approx(times[0].mean() + times[1, :2].mean())


def test_what_nobody_knows_is_no_number(x86_table):
    operation = convolution(activation(1, 13, 7), 11, 3)
    assert math.isnan(Clock(x86_table).operator_time(operation))
    assert Clock(x86_table, Estimator.of_table(x86_table)).operator_time(operation) > 0


def test_whole_nets(x86_table):
    net = published_net("ChamNet-E/int8")
    measured = Clock(x86_table).net_time(net)
    estimated = Clock(estimator=Estimator.of_table(x86_table)).net_time(net)
    assert measured == pytest.approx(3800, rel=0.02)  # µs, whole_net.json
    assert estimated == pytest.approx(measured, rel=0.1)
    assert math.isnan(Clock(x86_table).net_time(net, {"data": (2, 3, 160, 160)}))
