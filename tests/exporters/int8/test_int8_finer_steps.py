"""Finer steps where they count: dead channels become copies of others, scores of classes are made in two parts."""

import numpy as np
import pytest
from float_nets import FloatNet

from caffe2_models import load_net
from exporters.caffe2_to_onnx import to_onnx
from exporters.int8.calibration import calibrate
from exporters.int8.measurement import layer_errors
from exporters.int8.preparation import prepare
from exporters.int8.ranges import divergence_of_scores, whole_of_scores
from exporters.int8.recipe import Recipe
from exporters.int8.scales import Quantization
from exporters.int8.scores import parts_of_scores
from exporters.int8.splitting import split_channels
from exporters.layers import write_net

RNG = np.random.default_rng(0)
PLAIN = Recipe(splitting=False)
FINE = Recipe(fine_scores=True)


def with_dead_channels(depthwise: bool, clip: float | None = None) -> FloatNet:
    """Of the first layer's ten channels four never fire."""
    net = FloatNet(3, 20, 20)

    def activated(x):
        return net.add("Relu", x) if clip is None else net.add("Clip", x, min=0.0, max=clip)

    bias = net.draw(10, scale=0.3)
    bias[[1, 4, 5, 8]] = -80
    x = activated(net.add("Conv", "data", net.draw(10, 3, 3, 3, scale=0.3), bias, kernel=3, pad=1))
    if depthwise:
        x = activated(net.conv(x, 10, kernel=3, group=10))
    x = net.conv(x, 8)
    net.fc(net.add("AveragePool", x, global_pooling=1), 12)
    return net


def divided(net: FloatNet):
    """(graph, the graph with copies, how many, the steps)"""
    graph = prepare(net.net(), {"data": net.input_shape})
    calibration = calibrate(graph, net.images(16), 16, 1)
    blobs = calibration.blobs
    steps = {blob: (blobs[blob].high - min(blobs[blob].low, 0)) / 255 for blob in blobs}
    split, _, count = split_channels(graph, calibration, steps)
    return graph, split, count, steps


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("depthwise", [False, True])
def test_copies_take_the_places_of_dead_channels_and_share_their_weights(depthwise, clip):
    net = with_dead_channels(depthwise, clip)
    graph, split, count, steps = divided(net)
    assert count == 4
    x = net.images(4)
    before, after = (write_net(one).session("reference", 1).run({"data": x}) for one in (graph, split))
    for name, value in before.items():  # a shift by less than a step, where a ReLU's bend or a border is near, remains
        step = max(steps[layer.output] for layer in graph.weighted[: 1 + depthwise])
        reach = np.abs(graph.weighted[1 + depthwise].rows).sum(axis=1).max()
        assert np.abs(after[name] - value).max() <= step * reach
        assert np.abs(after[name] - value).max() < 0.01 * np.abs(value).max()
    first = split.layers[0]
    for place in (1, 4, 5, 8):
        twin = next(c for c in range(10) if c != place and (first.weight[c] == first.weight[place]).all())
        assert 0 < abs(first.bias[twin] - first.bias[place]) < steps[first.output]


def test_copies_together_have_finer_steps():
    net = with_dead_channels(depthwise=False)
    graph, split, _, steps = divided(net)
    first, x = split.layers[0], net.images(8)
    before, after = (
        write_net(one).session("onnxruntime", 1).run({"data": x}, outputs=[first.output.name])[first.output.name]
        for one in (graph, split)
    )
    step = steps[first.output]
    rounded = np.rint(after / step) * step
    channels = [c for c in range(10) if c not in (1, 4, 5, 8)]
    twins = {c: [other for other in range(10) if (first.weight[other] == first.weight[c]).all()] for c in channels}
    assert sorted(len(twin) for twin in twins.values())[-1] > 1
    for channel, twin in twins.items():
        error = (rounded[:, twin].mean(axis=1) - before[:, channel])[before[:, channel] > step]
        assert error.std() == pytest.approx(step / len(twin) / 12**0.5, rel=0.1)


def test_the_recipe_says_whether_channels_are_copied():
    net = with_dead_channels(depthwise=True)
    assert net.quantized(PLAIN).split == 0 and net.quantized("best").split == 4


def test_channels_that_may_come_to_life_are_no_free_places():
    net = FloatNet(3, 20, 20)
    bias = net.draw(6, scale=0.3)
    weight = net.draw(6, 3, 1, 1, scale=0.3)
    bias[2] = -4 * np.abs(weight[2]).sum()  # not seen to fire, but within reach
    x = net.add("Relu", net.add("Conv", "data", weight, bias, kernel=1))
    net.conv(x, 4)
    graph = prepare(net.net(), {"data": net.input_shape})
    x = np.clip(net.images(16), -3, 3)
    calibration = calibrate(graph, x, 16, 1)
    first = graph.layers[0]
    values = calibration.samples[first.output].values[:, 2]
    assert values.max() < 0  # dead on these images
    values += 3.9 * values.std() - (values.mean() + 4 * values.std())  # four deviations would reach zero
    assert split_channels(graph, calibration, dict.fromkeys(calibration.blobs, 0.01))[2] == 0


def test_two_parts_of_the_scores_range_halve_the_steps():
    scores = RNG.normal(0, 2, (60, 40)).astype(np.float32)
    extent = whole_of_scores(scores)
    lower, upper = parts_of_scores(scores, extent, 0)
    assert lower.quantization.range.high == upper.edge and upper.quantization.zero_point == 0
    whole = Quantization.of_range(extent)
    assert lower.quantization.scale + upper.quantization.scale == pytest.approx(whole.scale, rel=0.02)
    rounded = lower.round(scores) + upper.round(scores)
    limit = max(lower.quantization.scale, upper.quantization.scale) / 2
    assert np.abs(rounded - scores).max() <= limit * 1.001
    once = whole.dequantize(whole.quantize(scores))
    assert divergence_of_scores(scores, rounded) < 0.5 * divergence_of_scores(scores, once)


def test_no_parts_where_steps_cannot_be_finer():
    scores = RNG.normal(0, 2, (60, 40)).astype(np.float32)
    extent = whole_of_scores(scores)
    assert parts_of_scores(scores, extent, Quantization.of_range(extent).scale) == ()


def scored(kind: str) -> FloatNet:
    net = FloatNet(3, 12, 12)
    x = net.add("AveragePool", net.conv("data", 16, kernel=3, relu=True), global_pooling=1)
    if kind == "FC":
        net.fc(x, 30)
    else:
        net.add("Flatten", net.conv(x, 30))
    return net


@pytest.mark.parametrize("kind", ["FC", "Conv"])
def test_scores_are_made_twice_with_one_weight(kind, tmp_path):
    net = scored(kind)
    calibration, x = net.images(40), net.images(12)
    plain, fine = net.quantized(PLAIN, calibration), net.quantized(FINE, calibration)
    made = [op for op in fine.net.predict.op if op.type == f"Int8{kind}"][-2:]
    assert made[0].input[1] == made[1].input[1] and made[0].input[2] != made[1].input[2]
    assert [op.type for op in fine.net.predict.op].count("Sum") == 1
    sizes = [sum(kind.nbytes for kind in one.net.parameter_types.values()) for one in (plain, fine)]
    assert sizes[1] - sizes[0] <= 4 * 30 + 64  # another bias

    want, coarse, have = (one.session("reference", 1).run({"data": x}) for one in (net.net(), plain.net, fine.net))
    (name,) = want
    distinct = [len(np.unique(one[name])) for one in (coarse, have)]
    assert distinct[1] > distinct[0] and have[name].shape == want[name].shape
    np.testing.assert_array_equal(fine.net.session("auto", 1).run({"data": x})[name], have[name])

    fine.net.save(tmp_path / "net")
    read = load_net(tmp_path)
    np.testing.assert_array_equal(read.session("auto", 1).run({"data": x})[name], have[name])
    to_onnx(read, {"data": (1, 3, 12, 12)})
    errors = layer_errors(fine, x)
    assert errors[-1].type == f"Int8{kind}" or errors[-2].type == f"Int8{kind}"
    assert min(error.cosine for error in errors) > 0.99
