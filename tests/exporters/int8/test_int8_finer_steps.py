"""Finer steps where they count: copies of channels, in dead ones' places or their own, scores of classes in two parts,
pixels on steps.
"""

import dataclasses

import numpy as np
import pytest
from float_nets import FloatNet

from caffe2_models import load_net
from exporters.caffe2_to_onnx import to_onnx
from exporters.int8 import quantize
from exporters.int8.calibration import calibrate
from exporters.int8.measurement import layer_errors
from exporters.int8.pixels import OFF_STEPS, find_pixels
from exporters.int8.preparation import prepare
from exporters.int8.ranges import divergence_of_scores, whole_of_scores
from exporters.int8.recipe import Recipe
from exporters.int8.scales import Quantization, Range
from exporters.int8.scores import parts_of_scores
from exporters.int8.splitting import split_channels
from exporters.int8.widening import multiplications, widen
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
    steps = {blob: Quantization.of_range(Range(blobs[blob].low, blobs[blob].high)) for blob in blobs}
    split, _, count = split_channels(graph, calibration, steps)
    return graph, split, count, {blob: chosen.scale for blob, chosen in steps.items()}


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
    assert split_channels(graph, calibration, dict.fromkeys(calibration.blobs, Quantization(0.01, 0)))[2] == 0


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


def widened(net: FloatNet, budget: float):
    """(graph, the graph with more channels, how many were dead, how many are new)"""
    graph, images = prepare(net.net(), {"data": net.input_shape}), net.images(16)
    calibration = calibrate(graph, images, 16, 1)
    blobs = calibration.blobs
    steps = {blob: Quantization.of_range(Range(blobs[blob].low, blobs[blob].high)) for blob in blobs}
    wide, _, filled, added = widen(graph, calibration, steps, images[:8], budget, 1)
    return graph, wide, filled, added


@pytest.mark.parametrize("clip", [None, 1.5])
@pytest.mark.parametrize("depthwise", [False, True])
def test_a_wider_net_computes_the_same_within_its_budget(depthwise, clip):
    net = with_dead_channels(depthwise, clip)
    graph, wide, filled, added = widened(net, 1.0)
    assert filled == 4 and added > 0 and len(wide.layers[0].bias) % 8 == 0
    costs = [sum(multiplications(layer) for layer in one.weighted) for one in (graph, wide)]
    assert costs[0] < costs[1] <= 2 * costs[0]
    x = net.images(4)
    before, after = (write_net(one).session("reference", 1).run({"data": x}) for one in (graph, wide))
    for name, value in before.items():
        assert after[name].shape == value.shape
        assert np.abs(after[name] - value).max() < 0.02 * np.abs(value).max()
    original = [layer.output.shape for layer in prepare(net.net(), {"data": net.input_shape}).layers]
    assert [layer.output.shape for layer in graph.layers] == original  # blobs are shared: none was changed in place


def test_without_a_budget_no_channel_is_added():
    _, wide, filled, added = widened(with_dead_channels(depthwise=True), 0.001)
    assert (filled, added) == (4, 0) and len(wide.layers[0].bias) == 10


def with_coarse_steps() -> FloatNet:
    """One channel of the first layer is so large that the steps of the others are coarse."""
    net = FloatNet(3, 20, 20)
    weight = net.draw(10, 3, 3, 3, scale=0.3)
    weight[3] *= 30
    x = net.add("Relu", net.add("Conv", "data", weight, net.draw(10, scale=0.3), kernel=3, pad=1))
    next_weight = net.draw(8, 10, 1, 1, scale=0.3)
    next_weight[:, 3] /= 30
    x = net.add("Conv", x, next_weight, net.draw(8, scale=0.3), kernel=1)
    net.fc(net.add("AveragePool", x, global_pooling=1), 12)
    return net


def test_a_wider_net_errs_less_and_comes_out_the_same_every_time():
    net = with_coarse_steps()
    kept = Recipe(equalization=False, clipping=False, refitting=False)
    plain, wide, again = (
        net.quantized(dataclasses.replace(kept, widening=share, splitting=False)) for share in (0.0, 2.0, 2.0)
    )
    assert plain.added == 0 and wide.added > 0
    assert wide.net.predict.SerializeToString() == again.net.predict.SerializeToString()
    assert wide.net.init.SerializeToString() == again.net.init.SerializeToString()
    images = net.images(16)
    first, second = (layer_errors(one, images)[1].noise for one in (plain, wide))
    assert second < 0.6 * first


def byte_images(mean: list[float], std: list[float]) -> np.ndarray:
    """Normalized bytes, [16, 3, 20, 20]."""
    pixels = np.random.default_rng(1).integers(0, 256, (16, 3, 20, 20)).astype(np.float32)
    along = (1, 3, 1, 1)
    return (pixels / 255 - np.float32(mean).reshape(along)) / np.float32(std).reshape(along)


@pytest.mark.parametrize(
    ("mean", "std"), [([0.5] * 3, [0.5] * 3), ([0.4985, 0.499, 0.4995], [0.229, 0.224, 0.225]), ([0.0] * 3, [1.0] * 3)]
)
def test_steps_of_pixels_are_found(mean, std):
    images = byte_images(mean, std)
    found = find_pixels(images)
    np.testing.assert_allclose(found.step, 1 / 255 / np.array(std), rtol=1e-5)
    along = (1, 3, 1, 1)
    steps = images / found.step.reshape(along) - found.shift.reshape(along)
    assert np.abs(steps - np.rint(steps)).max() < 1e-3 and np.rint(steps).min() == found.low
    assert np.abs(found.shift).max() <= 0.5 + OFF_STEPS


def test_images_of_no_bytes_have_no_steps_nor_channels_that_together_have_too_many():
    assert find_pixels(byte_images([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])) is None
    assert find_pixels(np.random.default_rng(0).random((4, 3, 20, 20), np.float32)) is None
    assert find_pixels(np.zeros((4, 3, 20, 20), np.float32)) is None


def test_pixels_lie_on_the_steps_that_the_first_layer_reads():
    net = with_dead_channels(depthwise=False)
    images = byte_images([0.5] * 3, [0.5, 0.5, 0.49])
    recipe = Recipe(exact_pixels=True)
    result = quantize(net.net(), images, recipe, {"data": net.input_shape}, 1)
    session = result.net.session("auto", 1)
    values = session.run({"data": images}, outputs=["data/on_steps", "data/on_steps_int8"])
    real, rounded = values["data/on_steps"], values["data/on_steps_int8"].dequantize().transpose(0, 3, 1, 2)
    assert np.abs(real - rounded).max() < 0.01 * values["data/on_steps_int8"].scale
