"""Corrections leave the float net what it was, and bring the int8 net nearer to it."""

import dataclasses

import numpy as np
import pytest
from float_nets import FloatNet, images, outputs_on, random_float_net, sqnr_db, weighted_layer
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from caffe2_models import Net
from caffe2_models.build import make_init
from exporters.int8.calibration import calibrate
from exporters.int8.corrections import absorb_biases, remove_dead_channels
from exporters.int8.equalization import equalize
from exporters.int8.measurement import layer_errors
from exporters.int8.preparation import prepare
from exporters.int8.recipe import RECIPES
from exporters.int8.scales import Range
from exporters.int8.weights import (
    best_range,
    estimate_covariance,
    mean_errors,
    round_to_nearest,
    round_with_compensation,
)
from exporters.layers import write_net

CORRECTIONS = [remove_dead_channels, equalize, absorb_biases]


def uneven(net: Net, rng: np.random.Generator) -> Net:
    """The net with output channels of its layers scaled a hundredfold apart, and some that never fire."""
    parameters = dict(net.parameters)
    for op in net.predict.op:
        if op.type in ("Conv", "FC") and len(op.input) > 2:
            weight, bias = parameters[op.input[1]], parameters[op.input[2]]
            factors = (10.0 ** rng.uniform(-1, 1, len(bias))).astype(np.float32)
            parameters[op.input[1]] = weight * factors.reshape(-1, *[1] * (weight.ndim - 1))
            parameters[op.input[2]] = factors * np.where(rng.random(len(bias)) < 0.1, -50, bias).astype(np.float32)
    return Net(net.predict, make_init(parameters))


def run(graph, x):
    return outputs_on(write_net(graph), x)


def assert_same_function(have: dict, want: dict, tolerance: float = 2e-4):
    for name, value in want.items():
        np.testing.assert_allclose(have[name], value, rtol=tolerance, atol=tolerance * np.abs(value).max(initial=1e-6))


@pytest.mark.slow
@settings(max_examples=70, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much])
@given(seed=st.integers(0, 2**32 - 1), steps=st.integers(3, 14))
def test_no_correction_changes_what_the_float_net_computes(seed, steps):
    """On the calibration images; equalization on any, where nothing is clamped from above."""
    net, shape, rng = random_float_net(seed, steps)
    assume(net.inputs and net.outputs)
    graph = prepare(uneven(net, rng), {"data": shape})
    x = images(rng, shape, 6)
    want = run(graph, x)
    calibration = calibrate(graph, x, len(x), 1)
    for correct in CORRECTIONS:
        graph, calibration, _ = correct(graph, calibration)
        assert_same_function(run(graph, x), want)


def bottleneck(clip: float | None = None, seed: int = 0) -> FloatNet:
    """Expansion, depthwise, projection; the depthwise weights' ranges are a thousandfold apart."""
    net = FloatNet(3, 12, 12, seed=seed)

    def activated(x):
        return net.add("Relu", x) if clip is None else net.add("Clip", x, min=0.0, max=clip)

    x = activated(net.conv("data", 16))
    weight = net.draw(16, 1, 3, 3, scale=0.4) * np.geomspace(0.03, 30, 16, dtype=np.float32).reshape(-1, 1, 1, 1)
    x = activated(net.add("Conv", x, weight, net.draw(16, scale=0.01), kernel=3, pad=1, group=16))
    weight = net.draw(8, 16, 1, 1, scale=0.3) / np.geomspace(0.03, 30, 16, dtype=np.float32).reshape(1, -1, 1, 1)
    net.add("Conv", x, weight, net.draw(8), kernel=1)
    return net


def prepared(net: FloatNet, x=None):
    graph = prepare(net.net(), {"data": net.input_shape})
    x = net.images() if x is None else x
    return graph, calibrate(graph, x, len(x), 1)


def test_equalization_evens_ranges_out_and_helps():
    net = bottleneck()
    graph, calibration = prepared(net)
    before = graph
    graph, calibration, factors = equalize(graph, calibration)
    depthwise = graph.layers[1]
    assert depthwise.output in factors and depthwise.is_depthwise
    spread = [np.abs(g.layers[1].weight).max(axis=(1, 2, 3)) for g in (before, graph)]
    assert spread[1].max() / spread[1].min() < 0.3 * spread[0].max() / spread[0].min()
    other = images(np.random.default_rng(7), net.input_shape)  # not those of the calibration: the function is the same
    assert_same_function(run(graph, other), run(before, other))
    minmax = RECIPES["minmax"]
    plain, equalized = (
        net.quantized(recipe).net.session().run({"data": net.images()})
        for recipe in (minmax, dataclasses.replace(minmax, equalization=True))
    )
    real = net.net().session("reference").run({"data": net.images()})
    for name, value in real.items():
        assert sqnr_db(value, equalized[name]) > sqnr_db(value, plain[name]) + 10


def test_equalization_leaves_alone_what_reaches_its_clamp():
    net = bottleneck(clip=6.0)
    graph, calibration = prepared(net)
    reached = {layer.output: calibration.blobs[layer.output].channel_high >= 6 for layer in graph.weighted[:2]}
    before = graph
    graph, calibration, factors = equalize(graph, calibration)
    assert factors and any(channels.any() and not channels.all() for channels in reached.values())
    for name, values in factors.items():
        assert (values[reached[name]] == 1).all()
    assert_same_function(run(graph, net.images()), run(before, net.images()))


def test_equalization_keeps_statistics_in_step():
    net = bottleneck()
    graph, calibration = prepared(net)
    graph, calibration, _ = equalize(graph, calibration)
    again = calibrate(graph, net.images(), 8, 1)
    for layer in graph.weighted:
        have, want = calibration.blobs[layer.output], again.blobs[layer.output]
        np.testing.assert_allclose(have.channel_high, want.channel_high, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(have.channel_low, want.channel_low, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(have.channel_power, want.channel_power, rtol=1e-4, atol=1e-8)
        np.testing.assert_allclose(
            calibration.samples[layer.output].values, again.samples[layer.output].values, rtol=1e-3, atol=1e-4
        )


def with_dead_channel(weight: float = 300.0) -> FloatNet:
    """Channel 2 never fires; its weights are outliers on both sides."""
    net = FloatNet(3, 12, 12)
    first, second = net.draw(6, 3, 1, 1, scale=0.5), net.draw(4, 6, 3, 3, scale=0.2)
    first[2], second[:, 2] = weight, weight
    bias = net.draw(6)
    bias[2] = -1e5
    x = net.add("Relu", net.add("Conv", "data", first, bias, kernel=1))
    net.add("Conv", x, second, net.draw(4), kernel=3, pad=1)
    return net


def test_dead_channels_are_removed_and_the_others_kept():
    net = with_dead_channel()
    graph, calibration = prepared(net)
    before = graph
    graph, _, removed = remove_dead_channels(graph, calibration)
    assert removed == 1
    first, second = graph.layers
    assert not first.weight[2].any() and first.bias[2] == 0 and not second.weight[:, 2].any()
    for layer, old in zip(graph.layers, before.layers, strict=True):
        axis = 0 if layer is first else 1
        np.testing.assert_array_equal(np.delete(layer.weight, 2, axis), np.delete(old.weight, 2, axis))
    assert max(np.abs(layer.weight).max() for layer in graph.layers) < 3
    assert_same_function(run(graph, net.images()), run(before, net.images()), 1e-5)


def test_a_channel_seen_too_seldom_is_not_called_dead():
    net = with_dead_channel()
    graph, calibration = prepared(net, net.images(2))
    assert remove_dead_channels(graph, calibration)[2] == 0


def test_absorption_moves_what_is_always_there():
    net = FloatNet(3, 12, 12)
    bias = net.draw(6)
    bias[1:3] = 40, 50
    x = net.add("Relu", net.add("Conv", "data", net.draw(6, 3, 1, 1), bias, kernel=1))
    net.conv(x, 4)
    graph, calibration = prepared(net)
    before, widest = graph, calibration.blobs[graph.layers[0].output].high
    graph, _, absorbed = absorb_biases(graph, calibration)
    assert absorbed == 2
    after = calibrate(graph, net.images(), 0, 1).blobs[graph.layers[0].output]
    assert after.high < 0.5 * widest and after.channel_low[1:3] == pytest.approx([0, 0], abs=1e-4)
    assert_same_function(run(graph, net.images()), run(before, net.images()))


def test_absorption_leaves_readers_that_pad_alone():
    """At the border they would see another constant."""
    net = FloatNet(3, 12, 12)
    x = net.add("Relu", net.add("Conv", "data", net.draw(6, 3, 1, 1), np.full(6, 40, np.float32), kernel=1))
    net.conv(x, 4, kernel=3, pad=1)
    assert absorb_biases(*prepared(net))[2] == 0


@pytest.mark.parametrize("shape", [[1, 3, 12, 8], [1, 12, 4, 6], [1, 6, 48]])
def test_a_reshape_that_mixes_channels_and_pixels_ends_an_equalization(shape):
    """Behind it a channel's factor would be undone in other channels."""
    net = FloatNet(3, 8, 6)
    uneven_weight = net.draw(6, 3, 1, 1) * np.logspace(-1, 1, 6, dtype=np.float32).reshape(-1, 1, 1, 1)
    x = net.add("Reshape", net.add("Relu", net.add("Conv", "data", uneven_weight, net.draw(6), kernel=1)),
                outputs=2, shape=shape)  # fmt: skip
    if len(shape) == 3:
        net.fc(x, 4)
    else:
        net.conv(x, 4)
    graph, calibration = prepared(net)
    before = graph
    graph, _, _ = equalize(graph, calibration)
    assert_same_function(run(graph, net.images()), run(before, net.images()))


def coarse_net(clip: float | None) -> FloatNet:
    """Layers whose weights share their steps with one outlier."""
    net, x = FloatNet(3, 12, 12), "data"
    for channels in (12, 12, 6):
        weight = net.draw(channels, net.shape(x)[1], 3, 3, scale=0.15)
        weight[0, 0, 1, 1] = 3
        x = net.add("Conv", x, weight, net.draw(channels), kernel=3, pad=1)
        x = net.add("Relu", x) if clip is None else net.add("Clip", x, min=0.0, max=clip)
    return net


@pytest.mark.parametrize("clip", [None, 3.0])
def test_bias_correction_gives_channels_their_means_back(clip):
    """Behind the clamp, of every layer, in steps of the activation."""
    net = coarse_net(clip)
    x = np.abs(net.images())
    shifts = []
    for correct in (False, True):
        result = net.quantized(dataclasses.replace(RECIPES["minmax"], bias_correction=correct), x)
        names = [layer.output.name for layer in result.graph.weighted]
        real = write_net(result.graph).session("reference").run({"data": x}, names)
        int8 = result.net.session("reference").run({"data": x}, [f"{name}_int8" for name in names])
        differences = [
            (int8[f"{name}_int8"].dequantize().mean(axis=(0, 1, 2)) - real[name].mean(axis=(0, 2, 3)))
            / int8[f"{name}_int8"].scale
            for name in names
        ]
        shifts.append(np.abs(np.concatenate(differences)).mean())
    assert shifts[1] < 0.1 * shifts[0] and shifts[1] < 0.05


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(4, 40))
def test_compensated_rounding_errs_less_than_rounding(seed, groups, size):
    """Over many rows: of a single one, what is greedy may err more."""
    outputs = 64
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(groups * outputs, size, 1, 1)).astype(np.float32)
    layer = weighted_layer("Conv", weight, kernel=1, group=groups)
    inputs = rng.normal(size=(groups, 400, size)) @ rng.normal(size=(groups, size, size))
    covariance = estimate_covariance(inputs)
    nearest = round_to_nearest(layer, 0.0)
    quantization = dataclasses.replace(nearest.quantization, scale=nearest.quantization.scale * 8)  # 5 bits
    nearest = quantization.dequantize(quantization.quantize(layer.weight))
    errors = [
        mean_errors((values - layer.weight).reshape(groups, outputs, size), covariance).sum()
        for values in (nearest, round_with_compensation(layer, covariance, quantization).values)
    ]
    assert errors[1] < 0.9 * errors[0]


def test_compensated_rounding_of_independent_inputs_is_rounding():
    rng = np.random.default_rng(0)
    layer = weighted_layer("FC", rng.normal(size=(5, 9)).astype(np.float32))
    nearest = round_to_nearest(layer, 0.0)
    covariance = np.diag(rng.uniform(1, 2, 9))[None]
    np.testing.assert_array_equal(round_with_compensation(layer, covariance, nearest.quantization).data, nearest.data)


def test_narrower_weight_ranges_are_taken_where_they_err_less():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 64)).astype(np.float32)
    weight[:2, 0] = 30, -30  # of an input that is never more than a thousandth
    layer = weighted_layer("FC", weight)
    variances = np.ones(64)
    variances[0] = 1e-6
    chosen = best_range(layer, np.diag(variances)[None], np.ones(8), Range(-30.0, 30.0), 0.0, np.inf)
    assert chosen.range.high < 15
    variances[0] = 1
    chosen = best_range(layer, np.diag(variances)[None], np.ones(8), Range(-30.0, 30.0), 0.0, np.inf)
    assert chosen.range.high > 29


@pytest.mark.parametrize("seed", [0, 1])
def test_recipes_are_better_the_more_they_do(seed):
    net = bottleneck(6.0, seed)
    real = net.net().session("reference").run({"data": net.images()})
    quality = {}
    for name in ("minmax", "fast", "best"):
        result = net.quantized(name)
        (got,) = result.net.session().run({"data": net.images()}).values()
        quality[name] = sqnr_db(*real.values(), got)
        last = layer_errors(result, net.images(), 1)[-1]
        assert last.sqnr_db == pytest.approx(quality[name], abs=0.01)
    assert quality["minmax"] + 3 < quality["fast"] < quality["best"] + 0.5
